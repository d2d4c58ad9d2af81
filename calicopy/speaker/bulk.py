"""ExaBGP's announcements in bulk: our handler of its bulk commands, and our Adj-RIB-Out.

Imported by the launcher alone. ExaBGP copies a route and its attributes for each peer (0.3 ms), though nobody ever
changes them; sends IPv6 prefixes in an UPDATE each; and sorts what it sends. Here a route is one object for all peers
that hear it, and all prefixes of a set of attributes share their UPDATEs. Of a command ExaBGP's parser, which takes 30
us a prefix, reads the attributes and the first prefix; we read the others.
"""
from __future__ import annotations

import inspect
import socket
from collections.abc import Callable, Iterator
from typing import Any

from exabgp.bgp.message import Action, Update
from exabgp.bgp.message.open.asn import ASN
from exabgp.bgp.message.refresh import RouteRefresh
from exabgp.bgp.message.update.attribute import Aggregator, ASPath, GenericAttribute
from exabgp.bgp.message.update.nlri import CIDR
from exabgp.protocol.ip import IPv4
from exabgp.reactor.api.command.command import Command
from exabgp.reactor.api.command.limit import extract_neighbors, match_neighbors
from exabgp.rib.change import Change
from exabgp.rib.outgoing import OutgoingRIB

ROUTES_PER_STEP = 200  # (prefix, peer) pairs between two looks at the sessions: about a millisecond
NEXT_HOP_SELF = " next-hop self "  # the one thing that differs between peers
COMMANDS = {"announce attributes": Action.ANNOUNCE, "withdraw attributes": Action.WITHDRAW}
PARAMETERS = ["self", "reactor", "service", "line", "use_json"]  # of the handlers in ExaBGP's register
PREFIXES = " nlri "  # what comes before them
PARTIAL = 0x20  # RFC 4271 section 4.3
AGGREGATOR_OCTETS = 8  # RFC 6793 section 3
Handler = Callable[..., Any]


def inject(api: Any, reactor: Any, service: str, line: str, action: int) -> Iterator[bool]:
    """Carry out a bulk command, a slice at a time; one answer at the end, as from ExaBGP's own handler."""
    try:
        descriptions, command = extract_neighbors(line)
        peers = named(descriptions, reactor.peers(service))
        changes = routes_of(api, command) if peers else []
    except (ValueError, IndexError, OSError):
        changes = []
    if not changes:
        api.log_failure(f"command names no neighbor or no route: {line[:200]}")
        reactor.processes.answer_error(service)
        return
    widen(changes[0].attributes)
    family = changes[0].nlri.family().afi_safi()
    neighbors = [reactor.configuration.neighbors[peer] for peer in peers if peer in reactor.configuration.neighbors]
    ribs = [neighbor.rib.outgoing for neighbor in neighbors if family in neighbor.families()]
    step = max(1, ROUTES_PER_STEP // max(1, len(ribs)))
    for start in range(0, len(changes), step):
        part = changes[start : start + step]
        for change in part:
            change.nlri.action = action
        for rib in ribs:
            for change in part:
                rib.add_to_rib(change)
        yield False
    reactor.processes.answer_done(service)


def routes_of(api: Any, command: str) -> list[Any]:
    """The routes of a bulk command; none when ExaBGP cannot read it. All have the attributes and family of the first.
    ValueError or OSError for what is no prefix of that family.
    """
    head, _, prefixes = command.partition(PREFIXES)
    first, *others = prefixes.split()
    changes: list[Any] = api.api_attributes(f"{head}{PREFIXES}{first}", [])
    for model in changes[:1]:
        like, attributes = model.nlri, model.attributes
        make, family = type(like), (like.afi, like.safi)
        kind, bits = (socket.AF_INET, 32) if "." in first else (socket.AF_INET6, 128)
        for prefix in others:
            address, _, length = prefix.partition("/")
            packed, mask = socket.inet_pton(kind, address), int(length)
            if not 0 <= mask <= bits or int.from_bytes(packed, "big") & (1 << bits - mask) - 1:
                raise ValueError(f"{prefix} is no prefix")
            route = make(*family, like.action)
            route.cidr, route.nexthop, route.path_info = CIDR(packed, mask), like.nexthop, like.path_info
            changes.append(Change(route, attributes))
    return changes


def named(descriptions: list[list[str]], peers: list[str]) -> list[str]:
    """The peers that a command is for. ExaBGP searches each of its names for each of the command's."""
    known = {" ".join(peer.split(" ", 2)[:2]): peer for peer in peers}  # of `neighbor ADDRESS local-ip ...`
    if descriptions and all(len(words) == 1 and words[0] in known for words in descriptions):
        return [known[words[0]] for words in descriptions]
    return list(match_neighbors(peers, descriptions))


class FourOctetAttribute(GenericAttribute):  # type: ignore[misc]  # exabgp ships no types
    """AS_PATH or AGGREGATOR given in hexadecimal, so with four-octet AS numbers: to an old peer in two (RFC 6793)."""

    def pack(self, negotiated: Any = None) -> bytes:
        """The attribute for this session, AS4_PATH or AS4_AGGREGATOR after it where that is needed."""
        if negotiated is None or negotiated.asn4:
            return bytes(super().pack(negotiated))
        if self.ID == ASPath.ID:
            narrow = ASPath._new_aspaths(self.data, True, ASPath)
        else:
            narrow = Aggregator(ASN.unpack(self.data[:4]), IPv4.unpack(self.data[4:]))
        packed = narrow.pack(negotiated)
        return bytes((packed[0] | self.FLAG & PARTIAL, *packed[1:]))


def widen(attributes: Any) -> None:
    """Make FourOctetAttributes of the hexadecimal ones that hold AS numbers. All routes of a command share them."""
    for code in (ASPath.ID, Aggregator.ID):
        given = attributes.get(code)
        if type(given) is GenericAttribute and (code == ASPath.ID or len(given.data) == AGGREGATOR_OCTETS):
            attributes[code] = FourOctetAttribute(code, given.FLAG, given.data)


def bulk_handler(action: int, original: Handler) -> Handler:
    """A handler for ExaBGP's register of commands."""

    def handle(self: Any, reactor: Any, service: str, line: str, use_json: bool) -> Any:
        if NEXT_HOP_SELF in line:
            return original(self, reactor, service, line, use_json)
        reactor.asynchronous.schedule(service, line, inject(self, reactor, service, line, action))
        return True

    return handle


class LeanRIB(OutgoingRIB):  # type: ignore[misc]  # exabgp ships no types
    """ExaBGP's Adj-RIB-Out, where a route waits once, as it was said last, and goes out with all of its attributes.

    ExaBGP's own keeps a route that was announced and then withdrawn, or announced with other attributes, before it was
    sent, in both places; which of the two goes out last depends on what other routes did meanwhile.
    """

    _new_nlri: dict[Any, Any]  # index to the route that waits
    _new_attr_af_nlri: dict[Any, dict[Any, dict[Any, Any]]]  # the same by attributes and family
    _new_attribute: dict[Any, Any]
    _refresh_families: set[Any]
    _refresh_changes: list[Any]

    def _update_rib(self, change: Any) -> None:
        before = self._new_nlri.pop(change.index(), None)
        if before is not None:
            waiting = self._new_attr_af_nlri.get(before.attributes.index(), {}).get(before.nlri.family().afi_safi(), {})
            waiting.pop(before.index(), None)
        super()._update_rib(change)

    def updates(self, grouped: bool) -> Iterator[Any]:
        """What is to be sent, in as few messages as it takes. It may be told more while this runs."""
        waiting, attributes, latest = self._new_attr_af_nlri, self._new_attribute, self._new_nlri
        self._new_nlri, self._new_attr_af_nlri, self._new_attribute = {}, {}, {}
        families, self._refresh_families = self._refresh_families, set()
        refresh = {change.index(): change for change in self._refresh_changes}
        self._refresh_changes = []
        self._prepare_refresh(refresh, latest, waiting)
        for afi, safi in families:
            yield RouteRefresh(afi, safi, RouteRefresh.start)
        again: dict[tuple[object, object], list[Any]] = {}
        for change in refresh.values():
            again.setdefault((change.attributes.index(), change.nlri.family().afi_safi()), []).append(change)
        for alike in again.values():
            yield Update([change.nlri for change in alike], alike[0].attributes)
        for afi, safi in families:
            yield RouteRefresh(afi, safi, RouteRefresh.end)
        for index, per_family in waiting.items():
            for changes in per_family.values():
                if changes:
                    yield Update([change.nlri for change in changes.values()], attributes[index])


def register_bulk_commands() -> None:
    """Take over ExaBGP's bulk commands. RuntimeError when its register has changed."""
    for name, action in COMMANDS.items():
        original = Command.callback["text"].get(name)
        if original is None or list(inspect.signature(original).parameters) != PARAMETERS:
            raise RuntimeError(f"the register of commands has no {name!r} as we know it")
        Command.register(name)(bulk_handler(action, original))


def register_rib() -> None:
    """Let ExaBGP's sessions use LeanRIB. RuntimeError when its module has changed."""
    from exabgp import rib

    fields = {"_new_nlri", "_new_attr_af_nlri", "_new_attribute", "_refresh_families", "_refresh_changes"}
    if not issubclass(rib.OutgoingRIB, OutgoingRIB) or fields - vars(OutgoingRIB(True, [])).keys():
        raise RuntimeError("the Adj-RIB-Out is no longer rib.outgoing.OutgoingRIB as we know it")
    rib.OutgoingRIB = LeanRIB
