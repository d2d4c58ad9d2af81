"""Pictures of the node as a whole: status, pools, blocks, addresses, and what is wrong."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from calicopy.core.core import Core
from calicopy.core.drain_state import DrainPhase
from calicopy.core.ready import TUNNEL_SILENT, is_told, readiness
from calicopy.core.show.peer import session_problems
from calicopy.core.show.route import SHADOWED, described
from calicopy.core.show.ways import NO_ROUND_TRIPS, foreign_sources, next_hop_views, tunnel_views
from calicopy.core.views import (
    AddressView,
    BlockState,
    BlockView,
    FibView,
    Health,
    IpamView,
    NodeStatusView,
    PoolView,
    ProblemView,
    ReasonView,
    SpeakerView,
)
from calicopy.ipam import AddressRecord
from calicopy.ipam import BlockState as IpamState
from calicopy.net import IPAddress, Prefix

_BLOCK_STATES = {
    IpamState.PENDING: BlockState.PENDING,
    IpamState.CONFIRMED: BlockState.CONFIRMED,
    IpamState.LOST: BlockState.LOST,
    IpamState.RETIRING: BlockState.RETIRING,
}



def status_view(
    core: Core,
    *,
    version: str,
    started_at: float,
    config_file: str,
    counters: dict[str, int],
    more: Sequence[ProblemView] = (),
    ways: bool = False,
    round_trips: Mapping[IPAddress, float] = NO_ROUND_TRIPS,
) -> NodeStatusView:
    """The whole status; `counters` and the problems in `more` are those of the edges, added to the core's own. The ways
    to the other nodes with `ways` alone, with the `round_trips` of their tunnel addresses, in seconds.
    """
    found = (*problems(core), *more)
    return NodeStatusView(
        node=core.node.name,
        router_id=_router_id(core),
        asn=core.node.asn,
        addresses=core.node.addresses,
        version=version,
        started_at=started_at,
        health=_health(core, found),
        problems=found,
        speaker=SpeakerView(
            core.sessions.attached, core.sessions.instance, core.sessions.speaker_pid, core.sessions.detached_reason
        ),
        fib=_fib(core),
        ipam=_ipam(core),
        peers_total=len(core.peers),
        peers_established=sum(peer.is_up for peer in core.peers.values()),
        tunnels=tunnel_views(core, counters),
        counters={**core.counters, **counters, "ipam.store_failures": core.requests.store_failures},
        config_file=config_file,
        drain=core.drainer.view(),
        workload_mtu=core.host.workload_mtu,
        next_hops=next_hop_views(core, round_trips) if ways else (),
        readiness=readiness(core, found),
    )


def _fib(core: Core) -> FibView:
    counts, agent = core.fib.counts(), core.node.cluster.agent
    return FibView(
        desired=counts.desired,
        installed=counts.installed,
        pending=counts.pending,
        failed=counts.failed,
        in_sync=core.sweeping and counts.in_sync,
        protocol=agent.route_protocol,
        metric=agent.route_metric,
    )


def _router_id(core: Core) -> IPAddress:
    if core.node.router_id is None:
        raise ValueError("the core runs only with a router id")
    return core.node.router_id


def _health(core: Core, found: tuple[ProblemView, ...]) -> Health:
    if any(map(is_told, found)):
        return Health.DEGRADED
    if core.drainer.phase is not DrainPhase.ACTIVE:
        return Health.DRAINED
    return Health.OK if core.sweeping and core.gate.is_open else Health.STARTING


def _ipam(core: Core) -> IpamView:
    views = core.ipam.blocks()
    families = []
    for family in sorted({view.prefix.family for view in views}):
        own = [view for view in views if view.prefix.family is family]
        free = sum(view.free for view in own if view.state is IpamState.CONFIRMED)
        families.append((family, sum(view.used for view in own), free))
    return IpamView(
        blocks=len(views),
        pending_blocks=sum(view.state is IpamState.PENDING for view in views),
        assigned=sum(assigned for _, assigned, _ in families),
        free=sum(free for _, _, free in families),
        conflicts=len(core.ipam.block_conflicts()) + len(core.ipam.address_conflicts()),
        families=tuple(families),
    )


def problems(core: Core) -> Iterator[ProblemView]:
    """Everything that is wrong now, each with its place."""
    yield from _drain_problem(core)
    if not core.sessions.attached:
        yield _problem("speaker", "", "detached", f"the speaker is not reachable: {core.sessions.detached_reason}")
    if core.wanted.error:
        yield _problem("speaker", "", "sessions-refused", core.wanted.error)
    if core.kernel.error:
        yield _problem("kernel", "", "dump-failed", core.kernel.error)
    for own in core.node.addresses if core.host.interfaces else ():
        if not core.host.has_addresses((own,)):
            text = f"this node's address {own} is on no interface: waiting for it"
            yield _problem("kernel", str(own), "no-address", text)
    yield from _links(core)
    for name in core.node.unreachable_nodes:
        text = f"node {name} has no address in the cluster file to peer with"
        yield _problem("config", name, "no-node-address", text)
    yield from session_problems(core)
    counts = core.fib.counts()
    if counts.failed:
        text = f"{_count(counts.failed, 'route')} could not be written: `calicopy routes` says which and why"
        yield _problem("kernel", "", "routes-failed", text)
    if counts.unprogrammed:
        text = f"no usable way for {_count(counts.unprogrammed, 'prefix', 'prefixes')} that others announce: "
        text += "`calicopy routes` says why"
        yield _problem("kernel", "", "routes-unprogrammed", text)
    yield from _shadowed(core)
    if core.requests.store_error:
        yield _problem("ipam", "store", "store-failed", core.requests.store_error)
    for block in core.ipam.block_conflicts():
        yield _problem("ipam", str(block.block), "block-conflict", str(block))
    for address in core.ipam.address_conflicts():
        yield _problem("ipam", str(address.address), "address-conflict", str(address))
    for component, entries in core.host.problems.items():
        for subject, text in entries.items():
            yield _problem(component, subject, "not-set", text)
    for node, text in foreign_sources(core):
        yield _problem("tunnel", node, "foreign-source", text)
    for device, error in core.host.tunnels.problems().items():
        yield _problem("tunnel", device, "tunnel-failed", error)
    for node, tunnel in core.host.probes.silent():
        text = (
            f"the tunnel address {tunnel} of node {node} does not answer: packets between its pods and ours are lost, "
            "or it answers no echo request"
        )
        yield _problem("tunnel", node, TUNNEL_SILENT, text)


def _links(core: Core) -> Iterator[ProblemView]:
    """Said before any session has noticed: until then packets to other nodes may go by the default route."""
    for own in core.node.addresses:
        holders = [one for one in core.host.interfaces if any(address == own for address, _ in one.addresses)]
        if holders and not any(one.up and one.carrier for one in holders):
            state = "has no carrier" if holders[0].up else "is down"
            text = f"the interface of this node's address {own} {state}"
            yield _problem("kernel", holders[0].name, "link-down", text)


def _shadowed(core: Core) -> Iterator[ProblemView]:
    """Theirs is never touched, so packets go where it says until somebody takes it away."""
    for family, foreign in core.host.foreign.items():
        shadowed = foreign.keys() & core.fib.desired(family).keys()
        if shadowed:
            packed = min(shadowed, key=lambda one: (one[1:], one[0]))
            prefix, count = Prefix(family, packed), _count(len(shadowed), "prefix", "prefixes")
            text = f"{prefix}: {described(foreign[packed])} goes before ours ({count})"
            yield _problem("fib", str(prefix), SHADOWED, text)


def _drain_problem(core: Core) -> Iterator[ProblemView]:
    drainer = core.drainer
    if drainer.phase is DrainPhase.DRAINED:
        text = f"drained {drainer.since}: nothing is announced, no address is given out; `calicopy undrain` ends it"
        yield _problem("drain", "", "drained", text)
    elif drainer.phase is DrainPhase.DRAINING:
        yield _problem("drain", "", "draining", f"draining {drainer.since}: everything is announced as a last resort")


def _count(number: int, one: str, many: str = "") -> str:
    return f"1 {one}" if number == 1 else f"{number} {many or one + 's'}"


def _problem(component: str, subject: str, code: str, message: str) -> ProblemView:
    return ProblemView(component, subject, ReasonView(code, message))


# -- IPAM -------------------------------------------------------------------------------------------------------


def pool_views(core: Core) -> list[PoolView]:
    """All pools of the file."""
    use = {pool.cidr: pool for pool in core.ipam.pools()}
    mine = {pool.cidr for pool in core.node.pools}
    return [
        PoolView(
            name=pool.label,
            cidr=pool.cidr,
            block_size=pool.block_length,
            encapsulation=pool.encapsulation.value,
            mode=pool.mode.value,
            nat_outgoing=pool.nat_outgoing,
            selected=pool.cidr in mine,
            total_blocks=use[pool.cidr].blocks,
            own_blocks=use[pool.cidr].own,
            reserved_blocks=use[pool.cidr].reserved_elsewhere + use[pool.cidr].pinned_elsewhere,
        )
        for pool in core.node.cluster.pools
    ]


def block_views(core: Core, *, include_reserved: bool) -> list[BlockView]:
    """Own blocks, then those reserved for or pinned to other nodes."""
    conflicts = {
        conflict.block: ReasonView("block-conflict", str(conflict), "docs/ipam.md")
        for conflict in core.ipam.block_conflicts()
    }
    own = [
        BlockView(
            cidr=view.prefix,
            pool=view.pool,
            node=core.node.name,
            state=_BLOCK_STATES[view.state],
            pinned=view.pinned,
            size=view.size,
            assigned=view.used,
            conflict=conflicts.get(view.prefix),
        )
        for view in core.ipam.blocks()
    ]
    if not include_reserved:
        return own
    return own + [
        BlockView(
            cidr=record.prefix,
            pool=_pool_of(core, record.prefix),
            node=record.node,
            state=BlockState.RESERVED,
            pinned=record.prefix in core.node.pinned,
            size=record.prefix.size,
            assigned=0,
        )
        for record in core.ipam.reservations()
    ]


def _pool_of(core: Core, prefix: Prefix) -> str:
    return next((pool.label for pool in core.node.cluster.pools if prefix in pool.cidr), "")


def address_views(core: Core, *, address: IPAddress | None, handle: str) -> list[AddressView]:
    """Assigned addresses; with `address` that one, whatever it is."""
    if address is not None:
        return [address_view(core, address)]
    records = core.ipam.held_by(handle) if handle else core.ipam.addresses()
    return [_record_view(core, record) for record in records]


def address_view(core: Core, address: IPAddress) -> AddressView:
    """What is known of one address."""
    found = core.ipam.lookup(address)
    if found.record is not None and found.record.in_use:
        return _record_view(core, found.record)
    state = "free" if found.node == core.node.name else "reserved" if found.node else "unclaimed"
    if found.pool is None:
        state = "outside-pools"
    return AddressView(
        address=address,
        block=found.block,
        pool=found.pool or "",
        handle="",
        sequence=found.record.sequence if found.record else 0,
        node=found.node or "",
        state=state,
    )


def _record_view(core: Core, record: AddressRecord) -> AddressView:
    conflict = next((one for one in core.ipam.address_conflicts() if one.address == record.address), None)
    return AddressView(
        address=record.address,
        block=record.block,
        pool=_pool_of(core, record.block),
        handle=record.handle or "",
        sequence=record.sequence,
        node=core.node.name,
        state="assigned",
        conflict=None if conflict is None else ReasonView("address-conflict", str(conflict), "docs/ipam.md"),
    )
