"""What the API asks of an agent, answered from memory."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from ipaddress import ip_address

from calicopy.api.backend import ANY_ADDRESSES, AddressWishes, ChangeSink, ConfigKind, RefusalKind, RefusedError
from calicopy.core import views
from calicopy.core.drain_state import DrainPhase, DrainStep, DrainView
from calicopy.core.views import (
    ApplyStage,
    ConfigTextView,
    ExplainView,
    HoldingView,
    PlanView,
    ProgressView,
    UnderWayView,
)
from calicopy.net import Encapsulation, Family, IPAddress, Prefix
from calicopy.policy import AdvertiseScope, LimitAction
from calicopy.seam.bfd import BfdState, HopMode, SessionState
from calicopy.seam.speaker import FsmState

STARTED_AT = 1_790_000_000.25


def peer_view(name: str, address: str, *, state: FsmState = FsmState.ESTABLISHED) -> views.PeerView:
    family = views.PeerFamilyView(
        family=Family.IPV4,
        negotiated=True,
        received=3,
        accepted=2,
        rejected=1,
        stale=0,
        advertised=1,
        end_of_rib_received=True,
        end_of_rib_sent=True,
        in_sync=True,
        rejected_by_reason={"outside-pools": 1},
        prefix_limit=250_000,
    )
    up = state is FsmState.ESTABLISHED
    return views.PeerView(
        name=name,
        address=ip_address(address),
        asn=64512,
        local_as=64512,
        local_address=ip_address("192.0.2.1"),
        kind=views.PeerKind.MESH,
        state=state,
        state_since=STARTED_AT + 2,
        last_error="" if up else "hold timer expired",
        last_error_at=0 if up else STARTED_AT + 2,
        router_id=ip_address(address) if up else None,
        passive=False,
        hold_time_s=9,
        capabilities=("multiprotocol ipv4", "route-refresh"),
        families=(family,) if up else (),
        updates_received=4,
        sessions_established=1,
        sessions_lost=0,
        graceful_restart=True,
        graceful_restart_time_s=120,
        malformed_updates=0,
        details=peer_details(up=up),
    )


def peer_details(*, up: bool) -> views.PeerDetails:
    restart = views.RestartView(120, restarting=False, notification=False, families=((Family.IPV4, True),))
    capabilities = views.CapabilitiesView(
        four_octet_as=True,
        route_refresh=True,
        enhanced_refresh=False,
        extended_message=True,
        extended_next_hop=False,
        add_path_send=(Family.IPV4,),
        add_path_receive=(),
        restart_ours=restart,
        restart_theirs=restart,
        unknown=((200, "c0ffee"),),
        other_families=("25/65",),
        host_name="node2",
    )
    return views.PeerDetails(
        role=views.PeerRole.MESH,
        advertise=AdvertiseScope.OWN,
        import_filters=("prefer-rack",),
        export_filters=(),
        prefix_limit_action=LimitAction.STOP,
        stopped="",
        stop_code="",
        end_of_rib_held=False,
        lingering="",
        capabilities=capabilities if up else None,
        timers=views.TimersView(
            hold_time_configured_s=90, hold_time_offered_s=9, hold_time_s=9 if up else 0, keepalive_s=3,
            stale_until=0.0 if up else STARTED_AT + 122, stopped_until=0.0, lingering_since=0.0,
        ),
        last_notification=views.NotificationView(
            6, 2, 'cease: administrative shutdown, "back at 4"', "back at 4", sent=False, at=STARTED_AT + 1
        ),
        beyond_limit=0,
        notifications_received=1,
        notifications_sent=0,
        refreshes_received=2,
        refreshes_sent=1,
        bfd=bfd_view(up=up),
    )  # fmt: skip


def bfd_view(*, up: bool) -> views.BfdView:
    state = BfdState(
        peer="192.0.2.2", state=SessionState.UP if up else SessionState.DOWN, remote_state=SessionState.UP,
        diagnostic=0 if up else 1, remote_diagnostic=0, local_discriminator=17, remote_discriminator=4711,
        remote_independent=True, hop=HopMode.MULTI, ups=1, downs=0 if up else 1, heard=up, changed_at=0.0,
        tx_interval_us=100_000, detection_time_us=300_000, remote_detect_mult=3, sent=100, received=99,
        dropped={"bad-ttl": 2},
    )  # fmt: skip
    return views.BfdView(
        effect=views.BfdEffect.UP if up else views.BfdEffect.DOWN,
        reason="" if up else "BFD: no packet from it for 300 ms",
        since=0.0 if up else STARTED_AT,
        until=0.0,
        next_hops=(ip_address("192.0.2.2"),),
        state=state,
        state_since=STARTED_AT,
        diagnostic="" if up else "control detection time expired",
        remote_diagnostic="",
    )


def route_view(prefix: str, *, state: views.PathState = views.PathState.BEST) -> views.RouteView:
    path = views.PathView(
        peer="node2",
        peer_address="192.0.2.2",
        path_id=0,
        state=state,
        reason=None,
        stale=False,
        next_hop=ip_address("192.0.2.2"),
        owner="node2",
        origin="igp",
        as_path="",
        local_pref=100,
        med=None,
        communities=(),
        large_communities=("64512:1:3221225986",),
        originator_id="",
        cluster_list=(),
    )
    kernel = views.KernelRouteView(installed=True, text="via 192.0.2.2 dev eth1", reason=None, origin="bgp")
    return views.RouteView(Prefix.parse(prefix), (path,), kernel)


def block_view(cidr: str, *, node: str = "node1", reserved: bool = False) -> views.BlockView:
    state = views.BlockState.RESERVED if reserved else views.BlockState.CONFIRMED
    return views.BlockView(
        cidr=Prefix.parse(cidr), pool="pods", node=node, state=state, pinned=False, size=64, assigned=2
    )


class MemoryBackend:
    """Answers from lists that a test may change."""

    def __init__(self) -> None:
        self.health = views.Health.OK
        self.readiness = views.ReadinessView()
        self.problems: tuple[views.ProblemView, ...] = ()
        self.peer_list = [
            peer_view("node2", "192.0.2.2"),
            peer_view("node3", "192.0.2.3", state=FsmState.ACTIVE),
        ]
        self.route_list = [route_view("10.244.0.64/26"), route_view("10.244.0.128/26")]
        self.explained: dict[Prefix, ExplainView] = {}
        self.block_list = [block_view("10.244.0.0/26")]
        self.reserved = [block_view("10.244.0.64/26", node="node2", reserved=True)]
        self.workload_list: list[views.WorkloadView] = []
        self.assigned: dict[str, views.AddressView] = {}
        self.configuration = MemoryConfig()
        self.sinks: list[ChangeSink] = []
        self.revision = 7
        self.queries: list[object] = []
        self.in_use = False
        self.drained: DrainView | None = None
        self.counters = {"speaker.events_lost": 0}
        tunnel_address = (ip_address("10.244.0.1"),)
        self.tunnels = (
            views.TunnelView(Encapsulation.IPIP, "tunl0", True, True, tunnel_address, 1480, stranger_packets=3),
            views.TunnelView(Encapsulation.VXLAN, "calivx0", False, True, (), 1450, stranger_packets=0),
        )
        self.next_hops: tuple[views.NextHopView, ...] = (
            views.NextHopView(
                "node2", ip_address("192.0.2.2"), Encapsulation.IPIP, "eth1", ip_address("192.0.2.254"), 1500, 1480,
                ("pods",),
            ),
            views.NextHopView("node3", ip_address("192.0.2.3"), Encapsulation.NONE, "", None, 0, 0, ("pods",)),
        )  # fmt: skip
        self.before_change: Callable[[], object] | None = None
        self.changed = asyncio.Event()

    def publish(self, *changes: views.ChangeView) -> None:
        self.revision += 1
        for sink in [*self.sinks]:
            sink.push(self.revision, changes)

    def status(self) -> views.NodeStatusView:
        return views.NodeStatusView(
            node="node1",
            router_id=ip_address("192.0.2.1"),
            asn=64512,
            addresses=(ip_address("192.0.2.1"),),
            version="0.1.0",
            started_at=STARTED_AT,
            health=self.health,
            problems=self.problems,
            speaker=views.SpeakerView(attached=True, instance="a1", pid=4242, last_error=""),
            fib=views.FibView(desired=3, installed=3, pending=0, failed=0, in_sync=True, protocol=117, metric=1024),
            ipam=views.IpamView(blocks=1, pending_blocks=0, assigned=2, free=62, conflicts=0),
            peers_total=len(self.peer_list),
            peers_established=1,
            tunnels=self.tunnels,
            counters=self.counters,
            config_file="/etc/calicopy/cluster.yaml",
            drain=self.drained,
            workload_mtu=1480,
            next_hops=self.next_hops,
            readiness=self.readiness,
        )

    async def full_status(self) -> views.NodeStatusView:
        return self.status()

    def peers(self) -> Sequence[views.PeerView]:
        return self.peer_list

    def routes(
        self,
        query: views.RouteQuery,
        *,
        peer: str = "",
        family: Family | None = None,
        within: Prefix | None = None,
        reason: str = "",
    ) -> Iterator[Sequence[views.RouteView]]:
        if peer and peer not in [known.name for known in self.peer_list]:
            raise RefusedError(RefusalKind.NOT_FOUND, "unknown-peer", f"no peer {peer!r}", subject=peer)
        self.queries.append((query, peer, family, within))
        chosen = [route for route in self.route_list if within is None or route.prefix in within]
        if reason:
            codes = {route.prefix: {path.reason.code for path in route.paths if path.reason} for route in chosen}
            chosen = [route for route in chosen if reason in codes[route.prefix]]
        return (chosen[first : first + 1000] for first in range(0, len(chosen), 1000))

    async def explain(self, target: Prefix) -> ExplainView:
        found = self.explained.get(target)
        if found is not None:
            return found
        nobody = HoldingView("", None, "", "", None, "", "outside-pools", "", (), "it lies in no pool")
        return ExplainView(target, None, False, f"{target} has no answer", nobody, (), (), None, None, (), ())

    def pools(self) -> Sequence[views.PoolView]:
        return [
            views.PoolView(
                name="pods",
                cidr=Prefix.parse("10.244.0.0/16"),
                block_size=26,
                encapsulation="none",
                mode="always",
                nat_outgoing=True,
                selected=True,
                total_blocks=1024,
                own_blocks=1,
                reserved_blocks=1,
            )
        ]

    def blocks(self, *, include_reserved: bool) -> Sequence[views.BlockView]:
        return self.block_list + (self.reserved if include_reserved else [])

    def addresses(self, *, address: IPAddress | None = None, handle: str = "") -> Sequence[views.AddressView]:
        if address is not None and address not in [held.address for held in self.assigned.values()]:
            return [self._address(address, "", 0, "free")]
        return [
            held
            for held in self.assigned.values()
            if (address is None or held.address == address) and handle in ("", held.handle)
        ]

    @staticmethod
    def _address(address: IPAddress, handle: str, sequence: int, state: str) -> views.AddressView:
        return views.AddressView(
            address=address,
            block=Prefix.parse("10.244.0.0/26"),
            pool="pods",
            handle=handle,
            sequence=sequence,
            node="node1",
            state=state,
        )

    def workloads(self) -> Sequence[views.WorkloadView]:
        return self.workload_list

    async def _changing(self) -> None:
        if self.before_change is not None:
            await self.before_change()  # type: ignore[misc]  # a test's own

    async def assign_address(
        self, handle: str, *, family: Family, pool: str = "", address: IPAddress | None = None
    ) -> views.AddressView:
        await self._changing()
        if pool not in ("", "pods"):
            message = f"pool {pool} has no free address"
            raise RefusedError(RefusalKind.EXHAUSTED, "pool-exhausted", message, subject=pool)
        number = len(self.assigned)
        chosen = address or ip_address("10.244.0.1") + number
        return self.assigned.setdefault(handle, self._address(chosen, handle, number + 1, "assigned"))

    async def release_address(self, handle: str, *, sequence: int | None = None) -> Sequence[views.AddressView]:
        await self._changing()
        held = self.assigned.get(handle)
        if held is None:
            return []
        if sequence not in (None, held.sequence):
            raise RefusedError(RefusalKind.CONFLICT, "sequence-differs", f"{handle} has sequence {held.sequence}")
        return [self.assigned.pop(handle)]

    async def release_block(self, cidr: Prefix) -> views.BlockView:
        for block in self.reserved:
            if block.cidr == cidr:
                self.reserved.remove(block)
                return block
        raise RefusedError(RefusalKind.NOT_FOUND, "unknown-block", f"no block {cidr}", subject=str(cidr))

    async def attach(
        self, netns: str, name: str, *, interface: str = "eth0", wishes: AddressWishes = ANY_ADDRESSES
    ) -> tuple[views.WorkloadView, bool]:
        await self._changing()
        for workload in self.workload_list:
            if workload.name == name:
                return workload, False
        made = views.WorkloadView(
            name=name,
            netns=netns,
            interface=interface,
            host_interface="cali0",
            addresses=wishes.addresses or tuple(
                ip_address("10.244.0.1" if family is Family.IPV4 else "fd00:10:244::1")
                for family in wishes.families or Family
            ),
            mac="ee:ee:ee:ee:ee:ee",
            mtu=1500,
            attached_at=STARTED_AT,
        )
        self.workload_list.append(made)
        self.changed.set()
        return made, True

    async def detach(self, name: str) -> bool:
        await self._changing()
        before = len(self.workload_list)
        self.workload_list = [workload for workload in self.workload_list if workload.name != name]
        return len(self.workload_list) < before

    async def refresh_peer(self, name: str, *, inbound: bool, outbound: bool) -> views.PeerView:
        return await self._ask_peer(name, f"refresh in={inbound} out={outbound}")

    async def reset_peer(self, name: str) -> views.PeerView:
        return await self._ask_peer(name, "reset")

    async def _ask_peer(self, name: str, what: str) -> views.PeerView:
        peer = next(peer for peer in self.peer_list if peer.name == name)
        if peer.state is not FsmState.ESTABLISHED:
            raise RefusedError(RefusalKind.CONFLICT, "peer-down", f"the session with {name} is not up", subject=name)
        self.queries.append((name, what))
        return peer

    async def drain(self, *, force: bool, wait_s: float) -> AsyncIterator[DrainStep]:
        if self.in_use and not force:
            message = "1 address is in use here: 10.244.0.1 (workload:web); detach them first, or drain with --force"
            raise RefusedError(RefusalKind.CONFLICT, "addresses-in-use", message)
        self.drained = DrainView(DrainPhase.DRAINING, STARTED_AT, wait_s, waiting=1)
        yield DrainStep("recorded", "recorded", self.drained)
        yield DrainStep("waiting", "waiting for other paths of 1 prefix", self.drained)
        alone = (Prefix.parse("10.244.0.0/26"),)
        self.drained = DrainView(DrainPhase.DRAINED, STARTED_AT, wait_s, without_count=1, without_alternative=alone)
        yield DrainStep("no-alternative", "no other path is known of 1 prefix: 10.244.0.0/26", self.drained)
        yield DrainStep("drained", "all is withdrawn", self.drained, last=True)

    async def undrain(self) -> bool:
        await self._changing()
        was, self.drained = self.drained, None
        return was is not None

    def subscribe(self, sink: ChangeSink) -> None:
        self.sinks.append(sink)

    def unsubscribe(self, sink: ChangeSink) -> None:
        if sink in self.sinks:
            self.sinks.remove(sink)


class MemoryConfig:
    """What the API asks of a configuration, answered from memory: `outcome` is how the next change ends."""

    def __init__(self) -> None:
        self.running, self.startup = b"nodes: []\n", b"nodes: []\n"
        self.view = PlanView()
        self.outcome = ProgressView(ApplyStage.DONE, "all has come up")
        self.refusal: RefusedError | None = None
        self.change: UnderWayView | None = None
        self.calls: list[tuple[object, ...]] = []

    def _called(self, *call: object) -> None:
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal

    async def plan(self, text: bytes, filename: str) -> PlanView:
        self._called("plan", text, filename)
        return self.view

    async def apply(self, text: bytes, filename: str, *, confirm_s: int = 0) -> AsyncIterator[ProgressView]:
        self._called("apply", text, filename, confirm_s)
        yield ProgressView(ApplyStage.RUNNING, "the new configuration runs")
        yield ProgressView(ApplyStage.WAITING, "not up yet", ("session with tor: idle",))
        yield self.outcome

    async def confirm(self) -> ProgressView:
        self._called("confirm")
        return self.outcome

    async def rollback(self, *, confirm_s: int = 0) -> AsyncIterator[ProgressView]:
        self._called("rollback", confirm_s)
        yield self.outcome

    def config(self, kind: ConfigKind) -> ConfigTextView:
        self._called("config", kind)
        text = self.running if kind is ConfigKind.RUNNING else self.startup
        return ConfigTextView(text, "/etc/calicopy/cluster.yaml", self.running == self.startup, self.change)
