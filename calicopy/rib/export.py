"""What becomes of a path on its way out: who may hear it, and with which attributes.

Theory of operation: an `ExportTarget` is what peers have in common that hear the same; an `Exporter` is made for one,
and judges the outcome of a prefix, or an own prefix, into the routes to announce. Nothing of a prefix enters but its
class under the target's filters. In order:

1. who may hear it: RFC 1997 (NO_EXPORT, NO_ADVERTISE), RFC 4456 section 6 (a reflector passes on what clients sent to
   everybody, what others sent to clients), and the session's scope. Own prefixes go to everybody: their communities are
   for those who receive them;
2. the attributes: within the AS as they are, with ORIGINATOR_ID and CLUSTER_LIST where reflected (RFC 4456 section 8);
   towards another AS without MED, LOCAL_PREF and those two (RFC 4271 section 5.1), and with our next hop. Optional
   transitive ones that we do not know get the Partial bit (RFC 4271 section 5);
3. the export filters;
4. GRACEFUL_SHUTDOWN while this node drains (RFC 8326); towards another AS our AS before the path.

What does not fit into a message of the session is not announced (RFC 4271 section 9.2: it would be withdrawn there).
"""
from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from calicopy.bgp.as_path import AsPath
from calicopy.bgp.attribute_rules import RULES
from calicopy.bgp.attributes import AttributeCode, AttributeFlag, Origin, PathAttributes, RawAttribute
from calicopy.bgp.communities import GRACEFUL_SHUTDOWN, NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED
from calicopy.bgp.encode import attribute_list
from calicopy.bgp.session import SessionOptions
from calicopy.net import Family, IPAddress
from calicopy.policy import AdvertiseScope, Chain, NextHopMode, PathFacts, PrefixClass, RouteSource
from calicopy.rib.model import DEFAULT_LOCAL_PREF, Path, RibContext
from calicopy.rib.outcome import Outcome
from calicopy.rib.policy import OWNER_FUNCTION, TUNNEL_FUNCTION, peer_types, reserved
from calicopy.rib.reasons import UNUSABLE, DecisionStep, ExportReason
from calicopy.rib.routes import MAX_PATHS, OWN_PATH_ID, OutAttributes, OutRoute, OwnCommunities

_STEPS = {step: number for number, step in enumerate(DecisionStep)}
_NON_TRANSITIVE = 0x40  # in the first octet of an extended community (RFC 4360 section 2)
_SMALL_OCTETS = 1024  # attributes that are no more fit into any message
_NLRI_OCTETS = {Family.IPV4: 7 + 9, Family.IPV6: 25 + 21}  # NEXT_HOP or MP_REACH_NLRI with one prefix and its path id
_EXTENDED_OCTETS = {AttributeCode.EXTENDED_COMMUNITIES: 8, AttributeCode.IPV6_EXTENDED_COMMUNITIES: 20}


@dataclass(frozen=True, slots=True)
class ExportTarget:
    """What peers of one update group have in common. `next_hop` is our end of their sessions, in the family.

    `chain`, the export filters, is equal only to itself: equal filters must be one chain.
    """

    family: Family
    ibgp: bool
    local_asn: int
    next_hop: IPAddress
    chain: Chain
    mesh: bool = False
    client: bool = False
    scope: AdvertiseScope = AdvertiseScope.OWN
    next_hop_mode: NextHopMode | None = None
    add_path: bool = False
    extended_message: bool = False


def owner_community(context: RibContext) -> tuple[int, int, int]:
    """The large community that says that a prefix is this node's."""
    return context.cluster_as, OWNER_FUNCTION, context.router_id


def tunnel_community(context: RibContext, place: int) -> tuple[int, int, int]:
    """The large community that says where in its block a tunnel address of ours is."""
    return context.cluster_as, TUNNEL_FUNCTION, place


class Exporter:
    """What the peers of a target hear. `draining`: everything says that this node is about to go."""

    def __init__(self, context: RibContext, target: ExportTarget, *, draining: bool = False) -> None:
        self._context = context
        self._target = target
        self._draining = draining
        self._types = peer_types(ibgp=target.ibgp, mesh=target.mesh)
        self._reserved = reserved(context)

    def own(self, communities: OwnCommunities, prefix_class: PrefixClass) -> tuple[OutRoute, ...]:
        """One of our own prefixes: LOCAL_PREF within the AS, the owner's large community, and its own communities."""
        target = self._target
        attributes = PathAttributes(
            origin=Origin.IGP,
            as_path=AsPath(),
            local_pref=DEFAULT_LOCAL_PREF if target.ibgp else None,
            communities=communities.communities,
            large_communities=(owner_community(self._context), *communities.large_communities),
        )
        facts = PathFacts(self._types, RouteSource.OWN, "", self._reserved)
        sent = self._send(attributes, prefix_class, facts)
        if sent is None:
            return ()
        return (OutRoute(OWN_PATH_ID if target.add_path else 0, OutAttributes(target.next_hop, sent)),)

    def learned(self, outcome: Outcome, prefix_class: PrefixClass) -> tuple[OutRoute, ...]:
        """The best path; with ADD-PATH all that can be used, best first."""
        if outcome.selection is None:
            return ()
        if not self._target.add_path:
            route = self._route(outcome.selection.best, 0, prefix_class)
            return () if route is None else (route,)
        routes: list[OutRoute] = []
        used = {OWN_PATH_ID}
        for path in _usable(outcome):
            path_id = _path_id(path, used)
            route = self._route(path, path_id, prefix_class)
            if route is not None:
                used.add(path_id)
                routes.append(route)
            if len(routes) == MAX_PATHS:
                break
        return tuple(routes)

    def refusal(self, path: Path) -> ExportReason | None:
        """Why nobody of the target may hear a learned path, whatever its filters say."""
        target, communities = self._target, path.effective.communities
        if target.scope is AdvertiseScope.OWN:
            return ExportReason.NOT_OWN
        if NO_ADVERTISE in communities:
            return ExportReason.NO_ADVERTISE
        if not target.ibgp:
            kept = NO_EXPORT in communities or NO_EXPORT_SUBCONFED in communities
            return ExportReason.NO_EXPORT if kept else None
        passed = not path.peer.ibgp or path.peer.client or target.client
        return None if passed else ExportReason.NOT_REFLECTED

    def _route(self, path: Path, path_id: int, prefix_class: PrefixClass) -> OutRoute | None:
        target = self._target
        if path.next_hop is None or self.refusal(path) is not None:
            return None
        external = not (path.peer.ibgp and target.ibgp)
        ours = target.next_hop_mode is NextHopMode.SELF or (target.next_hop_mode is None and not target.ibgp)
        # a reflector leaves the next hop alone whatever is asked for (RFC 4456 section 10)
        next_hop = target.next_hop if ours and external else path.next_hop
        attributes = self._internal(path) if target.ibgp else _external(path.effective)
        source = RouteSource.IBGP if path.peer.ibgp else RouteSource.EBGP
        sent = self._send(attributes, prefix_class, PathFacts(self._types, source, path.peer.name, self._reserved))
        if sent is None:
            return None
        originator = None if sent.originator_id is None else int(sent.originator_id)
        return OutRoute(path_id, OutAttributes(next_hop, sent), path.peer.key, originator)

    def _internal(self, path: Path) -> PathAttributes:
        """As an internal peer hears it; reflected when an internal peer sent it."""
        received = path.effective
        originator, clusters = received.originator_id, received.cluster_list
        if path.peer.ibgp:
            originator = originator or IPv4Address(path.peer.router_id)
            clusters = (IPv4Address(self._context.cluster_id), *clusters)
        return replace(
            received,
            next_hop=None,
            local_pref=path.local_pref,
            originator_id=originator,
            cluster_list=clusters,
            unknown=_passed_on(received.unknown),
        )

    def _send(self, attributes: PathAttributes, prefix_class: PrefixClass, facts: PathFacts) -> PathAttributes | None:
        """The attributes after the filters, as they go out; None when the filters refuse."""
        target = self._target
        judged = target.chain.judge(attributes, prefix_class, facts)
        if not judged.accepted:
            return None
        sent = judged.attributes
        if self._draining:
            shutdown = () if GRACEFUL_SHUTDOWN in sent.communities else (GRACEFUL_SHUTDOWN,)
            sent = replace(sent, communities=(*sent.communities, *shutdown), local_pref=0)
        if not target.ibgp:
            as_path = sent.as_path.without_confed().prepend(target.local_asn, 1 + judged.prepend)
            sent = replace(sent, as_path=as_path, local_pref=None)
        return sent if self._fits(sent) else None

    def _fits(self, sent: PathAttributes) -> bool:
        """Whether one prefix with these attributes fits into a message. Few have to be looked at closely."""
        numbers = sum(len(segment.asns) for segment in sent.as_path.segments) + len(sent.communities)
        numbers += len(sent.cluster_list) + 3 * len(sent.large_communities)
        if 4 * numbers + sum(4 + len(one.value) for one in sent.unknown) <= _SMALL_OCTETS:
            return True
        session = SessionOptions(ibgp=self._target.ibgp, extended_message=self._target.extended_message)
        attributes = sum(len(one.value) + (4 if len(one.value) > 255 else 3) for one in attribute_list(sent, session))
        return 4 + attributes + _NLRI_OCTETS[self._target.family] <= session.body_octets


def _external(received: PathAttributes) -> PathAttributes:
    """As another AS hears it, but for our AS (RFC 4271 sections 5.1.4 and 5.1.5, RFC 4456 section 8, RFC 4360 6)."""
    unknown = (_between_ases(one) for one in _passed_on(received.unknown))
    return replace(
        received,
        next_hop=None,
        med=None,
        local_pref=None,
        originator_id=None,
        cluster_list=(),
        unknown=tuple(one for one in unknown if one.value or one.code not in _EXTENDED_OCTETS),
    )


def _passed_on(unknown: tuple[RawAttribute, ...]) -> tuple[RawAttribute, ...]:
    """Attributes that we hand on unread: the Partial bit says so of those that we do not recognize."""
    partial = int(AttributeFlag.PARTIAL)
    return tuple(one if one.code in RULES else replace(one, flags=one.flags | partial) for one in unknown)


def _between_ases(one: RawAttribute) -> RawAttribute:
    """Extended communities that are not transitive stay in their AS (RFC 4360 section 6)."""
    size = _EXTENDED_OCTETS.get(AttributeCode(one.code)) if one.code in RULES else None
    if size is None:
        return one
    parts = (one.value[at : at + size] for at in range(0, len(one.value), size))
    return replace(one, value=b"".join(part for part in parts if not part[0] & _NON_TRANSITIVE))


def _usable(outcome: Outcome) -> Iterator[Path]:
    """The paths that the decision could use, best first: the selected, then those that lost late before those early."""
    if outcome.selection is not None:
        yield from outcome.selection.paths
    lost = [row for row in outcome.losing if row[1] not in UNUSABLE]
    for path, _ in sorted(lost, key=lambda row: -_STEPS[row[1]]):
        yield path


def _path_id(path: Path, used: set[int]) -> int:
    """A path id that follows from the peer and the path id that it came under alone, so that it is the same in every
    process (an agent that starts finds its own announcements again). The rare clash within a prefix takes the next one.
    """
    path_id = zlib.crc32(f"{path.peer.key} {path.path_id}".encode()) or OWN_PATH_ID
    while path_id in used:
        path_id = path_id % 0xFFFFFFFF + 1
    return path_id
