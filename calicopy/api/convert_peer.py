"""Views of BGP sessions to proto messages."""
from __future__ import annotations

from calicopy.api.scalars import FAMILIES, text, timestamp
from calicopy.core.views import (
    BfdEffect,
    BfdView,
    CapabilitiesView,
    NotificationView,
    PeerFamilyView,
    PeerKind,
    PeerRole,
    PeerView,
    RestartView,
    TimersView,
    TunnelAnswerView,
)
from calicopy.seam.bfd import BfdState, SessionState
from calicopy.seam.speaker import FsmState
from calicopy.v1 import peer_pb2, types_pb2

SESSION_STATES = {
    FsmState.IDLE: peer_pb2.SESSION_STATE_IDLE,
    FsmState.CONNECT: peer_pb2.SESSION_STATE_CONNECT,
    FsmState.ACTIVE: peer_pb2.SESSION_STATE_ACTIVE,
    FsmState.OPEN_SENT: peer_pb2.SESSION_STATE_OPEN_SENT,
    FsmState.OPEN_CONFIRM: peer_pb2.SESSION_STATE_OPEN_CONFIRM,
    FsmState.ESTABLISHED: peer_pb2.SESSION_STATE_ESTABLISHED,
}
PEER_KINDS = {PeerKind.MESH: peer_pb2.PEER_KIND_MESH, PeerKind.CONFIGURED: peer_pb2.PEER_KIND_CONFIGURED}
PEER_ROLES = {
    PeerRole.MESH: peer_pb2.PEER_ROLE_MESH,
    PeerRole.CLIENT: peer_pb2.PEER_ROLE_CLIENT,
    PeerRole.NON_CLIENT: peer_pb2.PEER_ROLE_NON_CLIENT,
    PeerRole.REFLECTOR: peer_pb2.PEER_ROLE_REFLECTOR,
    PeerRole.INTERNAL: peer_pb2.PEER_ROLE_INTERNAL,
    PeerRole.EXTERNAL: peer_pb2.PEER_ROLE_EXTERNAL,
}
BFD_STATES = {
    SessionState.ADMIN_DOWN: peer_pb2.BFD_STATE_ADMIN_DOWN,
    SessionState.DOWN: peer_pb2.BFD_STATE_DOWN,
    SessionState.INIT: peer_pb2.BFD_STATE_INIT,
    SessionState.UP: peer_pb2.BFD_STATE_UP,
}
BFD_EFFECTS = {
    BfdEffect.OFF: peer_pb2.BFD_EFFECT_UNSPECIFIED,
    BfdEffect.IGNORED: peer_pb2.BFD_EFFECT_IGNORED,
    BfdEffect.UP: peer_pb2.BFD_EFFECT_UP,
    BfdEffect.DOWN: peer_pb2.BFD_EFFECT_DOWN,
    BfdEffect.DAMPED: peer_pb2.BFD_EFFECT_DAMPED,
}


def peer(view: PeerView) -> peer_pb2.Peer:
    """One session with its families."""
    more = view.details
    return peer_pb2.Peer(
        name=view.name,
        address=str(view.address),
        tunnels=map(tunnel_answer, view.tunnels),
        asn=view.asn,
        local_asn=view.local_as,
        local_address=text(view.local_address),
        kind=PEER_KINDS[view.kind],
        state=SESSION_STATES[view.state],
        state_since=timestamp(view.state_since),
        last_error=view.last_error,
        last_error_at=timestamp(view.last_error_at),
        router_id=text(view.router_id),
        passive=view.passive,
        hold_time_s=view.hold_time_s,
        capabilities=view.capabilities,
        families=[peer_family(family) for family in view.families],
        updates_received=view.updates_received,
        sessions_established=view.sessions_established,
        sessions_lost=view.sessions_lost,
        graceful_restart=view.graceful_restart,
        graceful_restart_time_s=view.graceful_restart_time_s,
        malformed_updates=view.malformed_updates,
        role=PEER_ROLES[more.role],
        stopped=more.stopped,
        stop_code=more.stop_code,
        import_filters=more.import_filters,
        export_filters=more.export_filters,
        advertise=more.advertise.value,
        prefix_limit_action=more.prefix_limit_action.value,
        timers=timers(more.timers),
        negotiated=None if more.capabilities is None else capabilities(more.capabilities),
        last_notification=None if more.last_notification is None else notification(more.last_notification),
        beyond_limit=more.beyond_limit,
        notifications_received=more.notifications_received,
        notifications_sent=more.notifications_sent,
        refreshes_received=more.refreshes_received,
        refreshes_sent=more.refreshes_sent,
        end_of_rib_held=more.end_of_rib_held,
        lingering=more.lingering,
        bfd=None if more.bfd is None else bfd(more.bfd),
    )


def peer_family(view: PeerFamilyView) -> peer_pb2.PeerFamily:
    """One family of a session."""
    return peer_pb2.PeerFamily(
        family=FAMILIES[view.family],
        negotiated=view.negotiated,
        received=view.received,
        accepted=view.accepted,
        rejected=view.rejected,
        stale=view.stale,
        advertised=view.advertised,
        end_of_rib_received=view.end_of_rib_received,
        end_of_rib_sent=view.end_of_rib_sent,
        in_sync=view.in_sync,
        rejected_by_reason=view.rejected_by_reason,
        prefix_limit=view.prefix_limit,
    )


def timers(view: TimersView) -> peer_pb2.PeerTimers:
    """Seconds, and moments that are unset where there is none."""
    return peer_pb2.PeerTimers(
        hold_time_configured_s=view.hold_time_configured_s,
        hold_time_offered_s=view.hold_time_offered_s,
        hold_time_s=view.hold_time_s,
        keepalive_s=view.keepalive_s,
        stale_until=timestamp(view.stale_until),
        stopped_until=timestamp(view.stopped_until),
        lingering_since=timestamp(view.lingering_since),
    )


def capabilities(view: CapabilitiesView) -> peer_pb2.PeerCapabilities:
    """What was negotiated, and what each side offered of graceful restart."""
    return peer_pb2.PeerCapabilities(
        four_octet_as=view.four_octet_as,
        route_refresh=view.route_refresh,
        enhanced_route_refresh=view.enhanced_refresh,
        extended_message=view.extended_message,
        extended_next_hop=view.extended_next_hop,
        add_path_send=[FAMILIES[family] for family in view.add_path_send],
        add_path_receive=[FAMILIES[family] for family in view.add_path_receive],
        restart_ours=restart(view.restart_ours),
        restart_theirs=restart(view.restart_theirs),
        unknown=[peer_pb2.UnknownCapability(code=code, value=value) for code, value in view.unknown],
        other_families=view.other_families,
        host_name=view.host_name,
    )


def restart(view: RestartView | None) -> peer_pb2.GracefulRestartCapability | None:
    """None stays an unset field."""
    if view is None:
        return None
    return peer_pb2.GracefulRestartCapability(
        restart_time_s=view.restart_time_s,
        restarting=view.restarting,
        notification=view.notification,
        families=[
            peer_pb2.GracefulRestartFamily(family=FAMILIES[family], forwarding=kept) for family, kept in view.families
        ],
    )


def notification(view: NotificationView) -> peer_pb2.PeerNotification:
    """The last NOTIFICATION."""
    return peer_pb2.PeerNotification(
        code=view.code,
        subcode=view.subcode,
        text=view.text,
        communication=view.communication,
        sent_by_us=view.sent,
        at=timestamp(view.at),
    )


def tunnel_answer(view: TunnelAnswerView) -> types_pb2.TunnelAnswer:
    """Whether a tunnel address answers."""
    millis = None if view.round_trip_s is None else view.round_trip_s * 1000
    return types_pb2.TunnelAnswer(address=str(view.address), answers=view.answers, round_trip_ms=millis)


def bfd(view: BfdView) -> peer_pb2.Bfd:
    """What BFD says of a peer, and what that means."""
    return peer_pb2.Bfd(
        effect=BFD_EFFECTS[view.effect],
        reason=view.reason,
        out_of_use_since=timestamp(view.since),
        out_of_use_until=timestamp(view.until),
        next_hops=map(str, view.next_hops),
        session=None if view.state is None else bfd_session(view, view.state),
    )


def bfd_session(view: BfdView, state: BfdState) -> peer_pb2.BfdSession:
    """The session as the process has it."""
    return peer_pb2.BfdSession(
        state=BFD_STATES[state.state],
        state_since=timestamp(view.state_since),
        remote_state=BFD_STATES[state.remote_state],
        diagnostic=view.diagnostic,
        remote_diagnostic=view.remote_diagnostic,
        local_discriminator=state.local_discriminator,
        remote_discriminator=state.remote_discriminator,
        remote_independent=state.remote_independent,
        hop=state.hop.value,
        ups=state.ups,
        downs=state.downs,
        heard=state.heard,
        tx_interval_us=state.tx_interval_us,
        detection_time_us=state.detection_time_us,
        remote_detect_mult=state.remote_detect_mult,
        holding=state.holding,
        sent=state.sent,
        received=state.received,
        dropped=state.dropped,
    )
