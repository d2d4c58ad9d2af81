"""Pictures of one BGP session for the API, and what is wrong between sessions: reading only."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from calicopy.bgp import GracefulRestart, Negotiated
from calicopy.core.core import Core
from calicopy.core.peering.peer import Notice, Peer, Phase
from calicopy.core.show.bfd import bfd_problem, bfd_view
from calicopy.core.show.ways import NO_ROUND_TRIPS, tunnel_answers
from calicopy.core.views import (
    CapabilitiesView,
    NotificationView,
    PeerDetails,
    PeerFamilyView,
    PeerKind,
    PeerRole,
    PeerView,
    ProblemView,
    ReasonView,
    RestartView,
    TimersView,
)
from calicopy.net import Family, IPAddress
from calicopy.rib import ImportReason

Clock = Callable[[float], float]


def peer_view(
    core: Core, peer: Peer, clock: Clock, round_trips: Mapping[IPAddress, float] = NO_ROUND_TRIPS
) -> PeerView:
    """One session. `clock` turns the core's monotonic seconds into wall-clock seconds; `round_trips`: of the tunnel
    addresses that answered, in seconds.
    """
    session, negotiated = peer.configured, peer.negotiated
    restart = negotiated.graceful_restart if negotiated else None
    return PeerView(
        name=session.name,
        address=session.address,
        asn=session.asn,
        local_as=session.local_asn,
        local_address=session.local_address,
        kind=PeerKind.MESH if session.mesh else PeerKind.CONFIGURED,
        state=peer.state,
        state_since=clock(peer.changed_at),
        last_error=peer.stopped or peer.over_limit or peer.failure,
        last_error_at=clock(peer.failed_at) if peer.failed_at is not None else 0.0,
        router_id=peer.opened.router_id if peer.opened else None,
        passive=session.passive,
        hold_time_s=negotiated.hold_time_s if negotiated else session.hold_time_s,
        capabilities=_names(negotiated),
        families=tuple(_family_view(core, peer, family) for family in session.families),
        updates_received=peer.counters.updates_received,
        sessions_established=peer.counters.sessions_established,
        sessions_lost=peer.counters.sessions_lost,
        graceful_restart=restart is not None,
        graceful_restart_time_s=restart.restart_time_s if restart else 0,
        malformed_updates=peer.counters.malformed_updates,
        details=_details(core, peer, clock),
        tunnels=tunnel_answers(core, session.node, round_trips) if session.node is not None else (),
    )


def _family_view(core: Core, peer: Peer, family: Family) -> PeerFamilyView:
    counters = core.rib.counters(peer.key, family)
    sync = peer.families.get(family)
    return PeerFamilyView(
        family=family,
        negotiated=sync is not None,
        received=counters.received,
        accepted=counters.accepted,
        rejected=sum(counters.rejected.values()),
        stale=counters.stale,
        advertised=len(core.exports.out.told(peer.key, family)) if peer.is_up else 0,
        end_of_rib_received=sync is not None and sync.end_of_rib_received,
        end_of_rib_sent=sync is not None and sync.end_of_rib_sent,
        in_sync=sync is not None and sync.phase is Phase.IN_SYNC,
        rejected_by_reason={reason.value: count for reason, count in counters.rejected.items()},
        prefix_limit=peer.configured.prefix_limit,
    )


def _names(negotiated: Negotiated | None) -> tuple[str, ...]:
    if negotiated is None:
        return ()
    flags = {
        "4-octet-as": negotiated.asn4,
        "route-refresh": negotiated.route_refresh,
        "enhanced-route-refresh": negotiated.enhanced_refresh,
        "graceful-restart": negotiated.graceful_restart is not None,
        "extended-message": negotiated.extended_message,
        "add-path-send": bool(negotiated.add_path_send),
        "add-path-receive": bool(negotiated.add_path_receive),
    }
    families = (f"{family}-unicast" for family in sorted(negotiated.families))
    return (*families, *(name for name, on in flags.items() if on))


def _details(core: Core, peer: Peer, clock: Clock) -> PeerDetails:
    session, counters = peer.configured, peer.counters
    return PeerDetails(
        role=role(core, peer),
        advertise=session.advertise,
        import_filters=tuple(one.name for one in session.import_filters),
        export_filters=tuple(one.name for one in session.export_filters),
        prefix_limit_action=session.prefix_limit_action,
        stopped=peer.stopped,
        stop_code=peer.stop_code,
        end_of_rib_held=peer.key in core.exports.hold_end_of_rib,
        lingering=core.linger.reason(peer.key),
        capabilities=_capabilities(peer),
        timers=_timers(peer, clock),
        last_notification=None if peer.last_notice is None else _notification(peer.last_notice, clock),
        beyond_limit=core.rib.beyond_limit(peer.key),
        notifications_received=counters.notifications_received,
        notifications_sent=counters.notifications_sent,
        refreshes_received=counters.refreshes_received,
        refreshes_sent=counters.refreshes_sent,
        bfd=bfd_view(core, peer, clock),
    )


def role(core: Core, peer: Peer) -> PeerRole:
    """What the peer is to this node."""
    session = peer.configured
    if session.mesh:
        return PeerRole.MESH
    if not session.ibgp:
        return PeerRole.EXTERNAL
    if session.client:
        return PeerRole.CLIENT
    clusters = {node.name: node.cluster_id for node in core.node.nodes}
    if clusters.get(core.node.name) is not None:
        return PeerRole.NON_CLIENT
    return PeerRole.REFLECTOR if clusters.get(session.node or "") is not None else PeerRole.INTERNAL


def _capabilities(peer: Peer) -> CapabilitiesView | None:
    negotiated, ours, theirs = peer.negotiated, peer.local_opened, peer.opened
    if negotiated is None or ours is None or theirs is None:
        return None
    said = theirs.capabilities
    return CapabilitiesView(
        four_octet_as=negotiated.asn4,
        route_refresh=negotiated.route_refresh,
        enhanced_refresh=negotiated.enhanced_refresh,
        extended_message=negotiated.extended_message,
        extended_next_hop=negotiated.extended_next_hop,
        add_path_send=tuple(sorted(negotiated.add_path_send)),
        add_path_receive=tuple(sorted(negotiated.add_path_receive)),
        restart_ours=_restart(ours.capabilities.graceful_restart),
        restart_theirs=_restart(said.graceful_restart),
        unknown=tuple((code, octets.hex()) for code, octets in said.unknown),
        other_families=tuple(f"{afi}/{safi}" for afi, safi in said.other_families),
        host_name=said.fqdn.host if said.fqdn is not None else "",
    )


def _restart(restart: GracefulRestart | None) -> RestartView | None:
    if restart is None:
        return None
    return RestartView(restart.restart_time_s, restart.restarting, restart.notification, restart.families)


def _timers(peer: Peer, clock: Clock) -> TimersView:
    session, negotiated = peer.configured, peer.negotiated
    hold_s = negotiated.hold_time_s if negotiated else 0

    def moment(at: float | None) -> float:
        return 0.0 if at is None else clock(at)

    return TimersView(
        hold_time_configured_s=session.hold_time_s,
        hold_time_offered_s=peer.opened.hold_time_s if peer.opened else 0,
        hold_time_s=hold_s,
        keepalive_s=session.keepalive_s or hold_s // 3,
        stale_until=moment(peer.stale_until),
        stopped_until=moment(peer.stopped_until),
        lingering_since=moment(peer.lingering_since),
    )


def _notification(notice: Notice, clock: Clock) -> NotificationView:
    said = notice.notification
    return NotificationView(
        code=said.code,
        subcode=said.subcode,
        text=said.sentence,
        communication=said.communication or "",
        sent=notice.sent,
        at=clock(notice.at),
    )


def session_problems(core: Core) -> Iterator[ProblemView]:
    """What is wrong with sessions: down, stopped, over their limit; reflectors that refuse each other's routes."""
    for peer in core.peers.values():
        session = peer.configured
        if peer.stopped:
            yield _problem(peer, peer.stop_code, peer.stopped)
        elif not peer.is_up:
            cause = peer.failure or "no session yet"
            if session.password_file is not None:
                cause += " (a TCP MD5 key that differs from the peer's looks like this, too)"
            yield _problem(peer, "down", f"{session.address}: {cause}")
        elif peer.over_limit:
            yield _problem(peer, "prefix-limit", peer.over_limit)
        if out := bfd_problem(core, peer):
            yield _problem(peer, "bfd-down", out)
    yield from _clashes(core)


def _clashes(core: Core) -> Iterator[ProblemView]:
    """Reflectors of the file with our cluster id whose routes we refuse for it (RFC 4456 section 8)."""
    clusters = {node.name: node.cluster_id for node in core.node.nodes}
    ours = clusters.get(core.node.name)
    for peer in core.peers.values() if ours is not None else ():
        name = peer.configured.node
        if name is None or clusters.get(name) != ours:
            continue
        refused = core.rib.counters(peer.key).rejected.get(ImportReason.CLUSTER_LOOP, 0)
        if refused:
            text = (
                f"the route reflectors {core.node.name} and {name} both have the cluster id {ours}: each refuses what "
                f"the other reflected, {refused} paths here; give each a cluster id of its own"
            )
            yield _problem(peer, "cluster-id-clash", text)


def _problem(peer: Peer, code: str, message: str) -> ProblemView:
    return ProblemView("peer", peer.configured.name, ReasonView(code, message))
