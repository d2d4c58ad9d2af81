"""Views to proto messages, one function per view. Addresses and prefixes become text, enums their proto numbers."""
from __future__ import annotations

from calicopy.api.convert_peer import peer, tunnel_answer
from calicopy.api.scalars import FAMILIES, text, timestamp
from calicopy.core.drain_state import DrainPhase, DrainStep, DrainView
from calicopy.core.views import (
    AddressView,
    BlockState,
    BlockView,
    ChangeView,
    FibView,
    Health,
    KernelRouteView,
    LogView,
    NextHopView,
    NodeStatusView,
    PathState,
    PathView,
    PeerView,
    PoolView,
    ProblemView,
    ReasonView,
    RouteView,
    TunnelView,
    WorkloadView,
)
from calicopy.v1 import ipam_pb2, node_pb2, peer_pb2, route_pb2, types_pb2, watch_pb2, workload_pb2

HEALTHS = {
    Health.OK: node_pb2.HEALTH_OK,
    Health.STARTING: node_pb2.HEALTH_STARTING,
    Health.DEGRADED: node_pb2.HEALTH_DEGRADED,
    Health.DRAINED: node_pb2.HEALTH_DRAINED,
}
DRAIN_PHASES = {
    DrainPhase.ACTIVE: node_pb2.DRAIN_PHASE_ACTIVE,
    DrainPhase.DRAINING: node_pb2.DRAIN_PHASE_DRAINING,
    DrainPhase.DRAINED: node_pb2.DRAIN_PHASE_DRAINED,
}
PATH_STATES = {
    PathState.BEST: route_pb2.PATH_STATE_BEST,
    PathState.MULTIPATH: route_pb2.PATH_STATE_MULTIPATH,
    PathState.LOST: route_pb2.PATH_STATE_LOST,
    PathState.REJECTED: route_pb2.PATH_STATE_REJECTED,
    PathState.LOCAL: route_pb2.PATH_STATE_LOCAL,
}
BLOCK_STATES = {
    BlockState.PENDING: ipam_pb2.BLOCK_STATE_PENDING,
    BlockState.CONFIRMED: ipam_pb2.BLOCK_STATE_CONFIRMED,
    BlockState.LOST: ipam_pb2.BLOCK_STATE_LOST,
    BlockState.RESERVED: ipam_pb2.BLOCK_STATE_RESERVED,
    BlockState.RETIRING: ipam_pb2.BLOCK_STATE_RETIRING,
}


def reason(view: ReasonView | None) -> types_pb2.Reason | None:
    """None stays an unset field."""
    if view is None:
        return None
    return types_pb2.Reason(code=view.code, message=view.message, source=view.source)


def node_status(view: NodeStatusView) -> node_pb2.NodeStatus:
    """The whole status."""
    speaker, ipam = view.speaker, view.ipam
    return node_pb2.NodeStatus(
        node=view.node,
        router_id=str(view.router_id),
        asn=view.asn,
        addresses=[str(address) for address in view.addresses],
        version=view.version,
        started_at=timestamp(view.started_at),
        health=HEALTHS[view.health],
        problems=map(_problem, view.problems),
        ready=view.readiness.ready,
        reasons=map(_problem, view.readiness.reasons),
        degraded=map(_problem, view.readiness.degraded),
        speaker=node_pb2.SpeakerStatus(
            attached=speaker.attached, instance=speaker.instance, pid=speaker.pid, last_error=speaker.last_error
        ),
        fib=_fib(view.fib),
        ipam=node_pb2.IpamStatus(
            blocks=ipam.blocks,
            pending_blocks=ipam.pending_blocks,
            assigned=ipam.assigned,
            free=ipam.free,
            conflicts=ipam.conflicts,
            families=[
                node_pb2.FamilyAddresses(family=FAMILIES[family], assigned=assigned, free=free)
                for family, assigned, free in ipam.families
            ],
        ),
        peers=node_pb2.PeerSummary(total=view.peers_total, established=view.peers_established),
        counters=view.counters,
        config_file=view.config_file,
        drain=drain(view.drain),
        tunnels=[_tunnel(tunnel) for tunnel in view.tunnels],
        next_hops=[_next_hop(one) for one in view.next_hops],
        workload_mtu=view.workload_mtu,
    )


def _problem(view: ProblemView) -> node_pb2.Problem:
    return node_pb2.Problem(component=view.component, object=view.object, reason=reason(view.reason))


def _fib(view: FibView) -> node_pb2.FibStatus:
    return node_pb2.FibStatus(
        desired=view.desired,
        installed=view.installed,
        pending=view.pending,
        failed=view.failed,
        in_sync=view.in_sync,
        protocol=view.protocol,
        metric=view.metric,
    )


def drain(view: DrainView | None) -> node_pb2.DrainStatus | None:
    """None stays an unset field: the node is in service."""
    if view is None:
        return None
    return node_pb2.DrainStatus(
        phase=DRAIN_PHASES[view.phase],
        since=timestamp(view.since),
        wait_s=view.wait_s,
        waiting=view.waiting,
        without_alternative=[str(prefix) for prefix in view.without_alternative],
        without_count=view.without_count,
    )


def drain_step(view: DrainStep) -> node_pb2.DrainResponse:
    """One step of a drain."""
    return node_pb2.DrainResponse(step=view.code, message=view.message, drain=drain(view.view), last=view.last)


def _tunnel(view: TunnelView) -> node_pb2.TunnelStatus:
    return node_pb2.TunnelStatus(
        device=view.device,
        up=view.up,
        mtu=view.mtu,
        error=view.error,
        encapsulation=view.encapsulation.value,
        used=view.used,
        addresses=[str(address) for address in view.addresses],
        stranger_packets=view.stranger_packets,
    )


def _next_hop(view: NextHopView) -> node_pb2.NextHopStatus:
    return node_pb2.NextHopStatus(
        node=view.node,
        address=str(view.address),
        encapsulation=view.encapsulation.value,
        device=view.device,
        gateway=text(view.gateway),
        mtu=view.mtu,
        pod_mtu=view.pod_mtu,
        pools=view.pools,
        answers=map(tunnel_answer, view.answers),
    )


def route(view: RouteView) -> route_pb2.Route:
    """A prefix with its paths, and what the kernel holds."""
    return route_pb2.Route(
        prefix=str(view.prefix), paths=[path(each) for each in view.paths], kernel=kernel_route(view.kernel)
    )


def path(view: PathView) -> route_pb2.Path:
    """One path. LOCAL_PREF and MED stay unset when the path has none."""
    return route_pb2.Path(
        peer=view.peer,
        peer_address=view.peer_address,
        path_id=view.path_id,
        state=PATH_STATES[view.state],
        reason=reason(view.reason),
        stale=view.stale,
        next_hop=text(view.next_hop),
        owner=view.owner,
        origin=view.origin,
        as_path=view.as_path,
        local_pref=view.local_pref,
        med=view.med,
        communities=view.communities,
        large_communities=view.large_communities,
        originator_id=view.originator_id,
        cluster_list=view.cluster_list,
        rule=view.rule,
    )


def kernel_route(view: KernelRouteView | None) -> route_pb2.KernelRoute | None:
    """None stays an unset field: the prefix is not meant for the kernel."""
    if view is None:
        return None
    return route_pb2.KernelRoute(
        installed=view.installed,
        text=view.text,
        reason=reason(view.reason),
        origin=view.origin,
        next_hop_id=view.next_hop_id,
    )


def pool(view: PoolView) -> ipam_pb2.Pool:
    """A pool with its counts."""
    return ipam_pb2.Pool(
        name=view.name,
        cidr=str(view.cidr),
        block_size=view.block_size,
        encapsulation=view.encapsulation,
        mode=view.mode,
        nat_outgoing=view.nat_outgoing,
        selected=view.selected,
        total_blocks=view.total_blocks,
        own_blocks=view.own_blocks,
        reserved_blocks=view.reserved_blocks,
    )


def block(view: BlockView) -> ipam_pb2.Block:
    """A block. Its size is held to 32 bits: an IPv6 block may hold more addresses than anybody counts."""
    return ipam_pb2.Block(
        cidr=str(view.cidr),
        pool=view.pool,
        node=view.node,
        state=BLOCK_STATES[view.state],
        pinned=view.pinned,
        size=min(view.size, 0xFFFFFFFF),
        assigned=view.assigned,
        conflict=reason(view.conflict),
    )


def address(view: AddressView) -> ipam_pb2.Address:
    """An address and who has it."""
    return ipam_pb2.Address(
        address=str(view.address),
        block=text(view.block),
        pool=view.pool,
        handle=view.handle,
        sequence=view.sequence,
        node=view.node,
        state=view.state,
        conflict=reason(view.conflict),
    )


def workload(view: WorkloadView) -> workload_pb2.Workload:
    """A workload."""
    return workload_pb2.Workload(
        name=view.name,
        netns=view.netns,
        interface=view.interface,
        host_interface=view.host_interface,
        addresses=[str(each) for each in view.addresses],
        mac=view.mac,
        mtu=view.mtu,
        attached_at=timestamp(view.attached_at),
        problem=view.problem,
    )


def log_event(view: LogView) -> watch_pb2.LogEvent:
    """A line of the event log."""
    return watch_pb2.LogEvent(
        component=view.component, object=view.object, code=view.code, message=view.message, level=view.level
    )


def change(view: ChangeView, *, revision: int, now: float) -> watch_pb2.WatchResponse:
    """A change for the watch stream; of what is deleted, only the key is filled in."""
    at = timestamp(view.at or now)
    if isinstance(view.object, LogView):
        return watch_pb2.WatchResponse(revision=revision, at=at, event=log_event(view.object))
    made = _deleted(view) if view.deleted else _set(view)
    return watch_pb2.WatchResponse(revision=revision, at=at, change=made)


def _set(view: ChangeView) -> watch_pb2.Change:
    kind = watch_pb2.CHANGE_KIND_SET
    match view.object:
        case NodeStatusView() as status:
            return watch_pb2.Change(kind=kind, status=node_status(status))
        case PeerView() as session:
            return watch_pb2.Change(kind=kind, peer=peer(session))
        case RouteView() as prefix:
            return watch_pb2.Change(kind=kind, route=route(prefix))
        case BlockView() as held:
            return watch_pb2.Change(kind=kind, block=block(held))
        case WorkloadView() as namespace:
            return watch_pb2.Change(kind=kind, workload=workload(namespace))
        case LogView():
            raise TypeError("a log line is an event, not a change of an object")


def _deleted(view: ChangeView) -> watch_pb2.Change:
    kind = watch_pb2.CHANGE_KIND_DELETED
    match view.object:
        case PeerView() as session:
            gone = peer_pb2.Peer(name=session.name, address=str(session.address))
            return watch_pb2.Change(kind=kind, peer=gone)
        case RouteView() as prefix:
            return watch_pb2.Change(kind=kind, route=route_pb2.Route(prefix=str(prefix.prefix)))
        case BlockView() as held:
            return watch_pb2.Change(kind=kind, block=ipam_pb2.Block(cidr=str(held.cidr)))
        case WorkloadView() as namespace:
            return watch_pb2.Change(kind=kind, workload=workload_pb2.Workload(name=namespace.name))
        case NodeStatusView() | LogView():
            raise TypeError("the status and the log are never deleted")
