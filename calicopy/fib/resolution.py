"""From a selection of paths to a route target, or to the reason why there is none.

Theory of operation: a target depends on the selection and on the pool's rule, never on the prefix itself, so it is
found once per (selection, rule) and shared by all prefixes that have both: a `Resolution`. When facts change, the
resolutions are found anew, which are few; only where one came out differently are its prefixes visited.

The rules. NEXT_HOP decides what is resolvable, and what crosses a subnet; the tunnel's end is the owner's address of
the node list, and without a known owner nothing is tunnelled. Hops that cannot be used leave the others in use.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from calicopy.fib.types import (
    FibPool,
    Hop,
    RouteKind,
    RouteTarget,
    Selected,
    SelectedPath,
    UnderlayAddress,
    Unprogrammed,
    UnprogrammedReason,
)
from calicopy.net import Encapsulation, EncapsulationMode, Family, IPAddress, Packed
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts
from calicopy.net.tunnel import tunnel_end, underlay_family


@dataclass(slots=True)
class Underlay:
    """All facts of the outside that decide on targets. `tunnels` are the ifindexes of the tunnel devices that work."""

    interfaces: Mapping[int, InterfaceFacts] = field(default_factory=dict)
    nodes: Mapping[int, tuple[UnderlayAddress, ...]] = field(default_factory=dict)
    next_hops: dict[IPAddress, NextHopFacts] = field(default_factory=dict)
    tunnels: Mapping[Encapsulation, int] = field(default_factory=dict)
    host_nodes: frozenset[IPAddress] = frozenset()
    family: Family = Family.IPV4
    """What VXLAN and udp travel over."""

    def set_nodes(self, nodes: Mapping[int, tuple[UnderlayAddress, ...]]) -> None:
        """Take the node list. A node that it knows as a host prefix (`host_nodes`) is in nobody's subnet."""
        self.nodes = dict(nodes)
        self.host_nodes = frozenset(
            known.address
            for addresses in self.nodes.values()
            for known in addresses
            if known.prefix_length == known.address.max_prefixlen
        )
        self.family = underlay_family([known.address for known in addresses] for addresses in self.nodes.values())


@dataclass(slots=True, eq=False)
class Resolution:
    """What a selection under a rule comes to; `excluded` has the reason of each path that is not used."""

    selection: Selected
    target: RouteTarget | None = None
    excluded: tuple[Unprogrammed, ...] = ()


@dataclass(slots=True, eq=False)
class Rule:
    """The encapsulation of one pool (or of what lies in no pool), with the resolutions found under it by selection id.

    A resolution holds its selection, so the id stays that selection's own.
    """

    encapsulation: Encapsulation
    mode: EncapsulationMode
    resolutions: dict[int, Resolution] = field(default_factory=dict)


class RuleIndex:
    """Finds the rule of a prefix: that of the pool which holds it, else plain routing. One family.

    The first 16 bits decide where every pool that meets them covers them whole, and are remembered; else the pools,
    which do not overlap, are tried one by one.
    """

    def __init__(self, family: Family, pools: Iterable[FibPool]) -> None:
        self._plain = Rule(Encapsulation.NONE, EncapsulationMode.ALWAYS)
        self._bits = family.bits
        self._pools = [
            (pool.prefix.length, pool.prefix.first >> (family.bits - pool.prefix.length), pool.prefix,
             Rule(pool.encapsulation, pool.mode))
            for pool in pools
            if pool.prefix.family is family
        ]
        self.by_start: dict[bytes, Rule] = {}
        """The rule by a prefix's length and first two address octets, where those decide: a shortcut past `find`."""

    def rules(self) -> list[Rule]:
        """Every rule there is."""
        return [self._plain, *(rule for _, _, _, rule in self._pools)]

    def find(self, packed: Packed) -> Rule:
        """The rule for a prefix."""
        rule = self._search(packed) if packed[0] < 16 else self._whole(packed[1:3])
        if rule is None:
            return self._search(packed)
        self.by_start[packed[:3]] = rule
        return rule

    def _whole(self, start: bytes) -> Rule | None:
        """The one rule for all prefixes within these 16 bits; None when they differ."""
        value = int.from_bytes(start.ljust(2, b"\0"), "big")
        for length, first, _, rule in self._pools:
            if length <= 16 and value >> (16 - length) == first:
                return rule
            if length > 16 and first >> (length - 16) == value:
                return None
        return self._plain

    def _search(self, packed: Packed) -> Rule:
        network, prefix_length = int.from_bytes(packed[1:].ljust(self._bits // 8, b"\0"), "big"), packed[0]
        for length, first, _, rule in self._pools:
            if prefix_length >= length and network >> (self._bits - length) == first:
                return rule
        return self._plain


def resolve_selection(selection: Selected, rule: Rule, family: Family, underlay: Underlay) -> Resolution:
    """The target of `selection` under `rule`, or the reasons, one per path that cannot be used."""
    hops: set[Hop] = set()
    excluded: list[Unprogrammed] = []
    for path in selection.paths:
        outcome = _hop(path, rule, family, underlay)
        if isinstance(outcome, Hop):
            hops.add(outcome)
        else:
            excluded.append(outcome)
    if not hops:
        return Resolution(selection, None, tuple(excluded))
    # A fixed order makes equal sets of hops equal targets, whatever the order of the paths.
    ordered = sorted(hops, key=lambda hop: (int(hop.gateway or 0), hop.ifindex, hop.onlink))
    return Resolution(selection, RouteTarget(RouteKind.UNICAST, tuple(ordered)), tuple(excluded))


@dataclass(frozen=True, slots=True)
class Way:
    """How one selected path is taken to the kernel: the pool's rule, the next hop's facts, and what came of both.

    `crosses_subnet`: the next hop is outside the subnet of the interface that reaches it; False when it is not reached.
    """

    path: SelectedPath
    encapsulation: Encapsulation
    mode: EncapsulationMode
    facts: NextHopFacts | None
    crosses_subnet: bool
    outcome: Hop | Unprogrammed


def ways_of(selection: Selected, rule: Rule, family: Family, underlay: Underlay) -> tuple[Way, ...]:
    """For people: the way of each path of `selection`, with all that decided on it."""
    ways = []
    for path in selection.paths:
        facts = None if path.next_hop is None else underlay.next_hops.get(path.next_hop)
        crosses = facts is not None and facts.reachable and _crosses_subnet(facts, underlay)
        outcome = _hop(path, rule, family, underlay)
        ways.append(Way(path, rule.encapsulation, rule.mode, facts, crosses, outcome))
    return tuple(ways)


def _hop(path: SelectedPath, rule: Rule, family: Family, underlay: Underlay) -> Hop | Unprogrammed:
    next_hop = path.next_hop
    facts = None if next_hop is None else underlay.next_hops.get(next_hop)
    if facts is None or not facts.reachable:
        return Unprogrammed(UnprogrammedReason.NEXT_HOP_UNREACHABLE, next_hop)
    if rule.encapsulation is not Encapsulation.NONE and (
        rule.mode is EncapsulationMode.ALWAYS or _crosses_subnet(facts, underlay)
    ):
        return _tunnel_hop(path, rule.encapsulation, family, underlay)
    if not facts.on_link:
        return Unprogrammed(UnprogrammedReason.NOT_ON_LINK, next_hop)
    return Hop(next_hop, facts.ifindex)


def _crosses_subnet(facts: NextHopFacts, underlay: Underlay) -> bool:
    """Whether the next hop is outside the prefix of the interface that reaches it."""
    if not facts.on_link or facts.address in underlay.host_nodes:
        return True
    interface = underlay.interfaces.get(facts.ifindex)
    return interface is None or not interface.holds(facts.address)


def _tunnel_hop(
    path: SelectedPath, encapsulation: Encapsulation, family: Family, underlay: Underlay
) -> Hop | Unprogrammed:
    """A hop through the tunnel to the owner. The gateway names the owner within the tunnel."""
    known = () if path.owner is None else underlay.nodes.get(path.owner, ())
    end = tunnel_end([one.address for one in known], encapsulation, underlay.family)
    if end is None:
        return Unprogrammed(UnprogrammedReason.NO_TUNNEL_ENDPOINT, path.next_hop)
    gateway, ifindex = end.gateway(family), underlay.tunnels.get(encapsulation)
    if gateway is None or ifindex is None:
        return Unprogrammed(UnprogrammedReason.TUNNEL_UNAVAILABLE, path.next_hop)
    return Hop(gateway, ifindex, onlink=True)
