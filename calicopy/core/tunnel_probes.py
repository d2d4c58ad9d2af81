"""The tunnel addresses of the other nodes, and whether they answer.

Theory of operation: a node names the addresses of its tunnel devices in a large community of the block that holds them:
`<cluster AS>:2:<place in the block>`. A place, not an address, so that it serves both families and can name nothing
outside of a block that the node announces. It travels with the path, also over reflectors; others do not look at it,
and a node that names none is not asked. What is known follows from the selected paths. The whole set to ask goes to the
edge that asks; each answer is the verdict of now, and only those of addresses that are still known count.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from calicopy.config.resolve import NodeConfig
from calicopy.core.commands import Command, ProbeTunnels
from calicopy.core.events import TunnelsAnswered
from calicopy.net import Family, IPAddress, Packed, Prefix
from calicopy.rib import TUNNEL_FUNCTION, Decisions, Path

MOST_OF_A_NODE = 8
"""Addresses that are asked of one node: one of each encapsulation and family is what there can be."""


class TunnelProbes:
    """What to ask, and what came of it. `answers`: of each address that is asked, once it is known."""

    def __init__(self, node: NodeConfig, *, emit: Callable[[Command], None]) -> None:
        self._emit = emit
        self._heard: dict[Family, dict[Packed, tuple[int, tuple[IPAddress, ...]]]] = {family: {} for family in Family}
        self._sources: dict[int, IPAddress] = {}
        self._asked: Mapping[IPAddress, IPAddress] = {}
        self._changed = True
        self.nodes: dict[str, tuple[IPAddress, ...]] = {}
        self.answers: dict[IPAddress, bool] = {}
        self.configure(node)

    def configure(self, node: NodeConfig) -> None:
        """Another cluster file, or the first."""
        self._cluster_as = node.cluster.cluster.asn
        self._names = {
            int(other.router_id): other.name
            for other in node.nodes
            if other.router_id is not None and other.name != node.name
        }
        self._changed = True

    def heard(self, decisions: Decisions) -> None:
        """Learn what the selected paths name."""
        for family, runs in decisions.changes.items():
            known = self._heard[family]
            for selection, prefixes in runs:
                places = () if selection is None else self._places(selection.best)
                if places and selection is not None and selection.best.owner is not None:
                    for packed in prefixes:
                        known[packed] = selection.best.owner, _addresses(Prefix(family, packed), places)
                    self._changed = True
                elif known and not known.keys().isdisjoint(prefixes):
                    for packed in prefixes:
                        known.pop(packed, None)
                    self._changed = True

    def _places(self, path: Path) -> tuple[int, ...]:
        large = path.attributes.large_communities
        return tuple(
            place for asn, function, place in large if function == TUNNEL_FUNCTION and asn == self._cluster_as
        )

    def advance(self, own: frozenset[IPAddress]) -> None:
        """Compare and ask. `own`: addresses of our tunnel devices, of which one of each family is what others see."""
        sources: dict[int, IPAddress] = {one.version: one for one in sorted(own, key=_order, reverse=True)}
        if not self._changed and sources == self._sources:
            return
        self._changed, self._sources = False, sources
        found: dict[str, set[IPAddress]] = {}
        for known in self._heard.values():
            for owner, addresses in known.values():
                if owner in self._names:
                    found.setdefault(self._names[owner], set()).update(addresses)
        self.nodes = {
            name: tuple(sorted(held, key=_order)[:MOST_OF_A_NODE])
            for name, held in sorted(found.items())
            if held
        }
        targets = {
            address: sources[address.version]
            for addresses in self.nodes.values()
            for address in addresses
            if address.version in sources
        }
        self.answers = {address: answers for address, answers in self.answers.items() if address in targets}
        if targets != self._asked:
            self._asked = targets
            self._emit(ProbeTunnels(targets))

    def answered(self, event: TunnelsAnswered) -> None:
        """What those who ask have found."""
        self.answers = {address: answers for address, answers in event.answers.items() if address in self._asked}

    def silent(self) -> Iterator[tuple[str, IPAddress]]:
        """Nodes with a tunnel address that does not answer."""
        for name, addresses in self.nodes.items():
            for address in addresses:
                if self.answers.get(address) is False:
                    yield name, address

    @property
    def asked_nodes(self) -> int:
        """Nodes of which it is known whether they answer."""
        return sum(any(address in self.answers for address in addresses) for addresses in self.nodes.values())


def _order(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)


def _addresses(block: Prefix, places: tuple[int, ...]) -> tuple[IPAddress, ...]:
    return tuple(block.address_at(place) for place in places if place < block.size)
