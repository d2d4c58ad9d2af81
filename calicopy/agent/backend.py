"""The agent as the API sees it: reads from the core, changes through it."""
from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from calicopy import __version__
from calicopy.agent.workloads import Workloads
from calicopy.api.backend import (
    ANY_ADDRESSES,
    AddressWishes,
    ChangeSink,
    ConfigBackend,
    RefusalKind,
    RefusedError,
)
from calicopy.core import events as ev
from calicopy.core import show
from calicopy.core.commands import DrainProgress, Reply
from calicopy.core.core import Core
from calicopy.core.drain_state import DrainStep
from calicopy.core.explain.explain import explain
from calicopy.core.peering.peer import Peer
from calicopy.core.ready import readiness
from calicopy.core.requests import StoreFailedError
from calicopy.core.views import (
    AddressView,
    BlockView,
    ChangeView,
    ExplainView,
    KernelRouteView,
    NodeStatusView,
    PeerView,
    PoolView,
    ProblemView,
    ReadinessView,
    ReasonView,
    RouteQuery,
    RouteView,
    WorkloadView,
)
from calicopy.fib import KernelMatch
from calicopy.ipam import (
    AddressRecord,
    ClaimPendingError,
    IpamError,
    PoolExhaustedError,
    UnknownBlockError,
    UnknownPoolError,
)
from calicopy.net import Family, IPAddress, Prefix

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 15.0


class AgentBackend:
    """Implements `calicopy.api.backend.Backend`. `edge_counters` gives the edges' counters for the status,
    `match_route` the kernel's own answer for an address (OSError when there is none); `count_packets` brings those
    counters up to date that are not read without need. `round_trips`: of tunnel addresses, in seconds, as they are now.
    """

    def __init__(
        self,
        core: Core,
        post: Callable[[ev.CoreEvent], None],
        *,
        config_file: str,
        edge_counters: Callable[[], dict[str, int]],
        match_route: Callable[[IPAddress], Awaitable[KernelMatch]],
        count_packets: Callable[[], Awaitable[None]],
        round_trips: Mapping[IPAddress, float],
    ) -> None:
        self._core = core
        self._post = post
        self._config_file = config_file
        self._edge_counters = edge_counters
        self._match_route = match_route
        self._count_packets = count_packets
        self._round_trips = round_trips
        self._started_at = time.time()
        self._epoch = self._started_at - time.monotonic()
        self._requests: dict[int, asyncio.Future[Reply]] = {}
        self._next_request = 0
        self._sinks: list[ChangeSink] = []
        self._drains: list[asyncio.Queue[DrainStep]] = []
        self._revision = 0
        self.on_watched: Callable[[], None] = lambda: None
        """Called when the first watcher comes, before it is shown anything."""
        self.workload_calls: Workloads | None = None
        self.config_calls: ConfigBackend | None = None
        self.more_problems: Callable[[], Sequence[ProblemView]] = tuple
        """What is wrong beside the core: with the configuration, and with the agent itself."""

    # -- reading ------------------------------------------------------------------------------------------------

    def clock(self, monotonic: float) -> float:
        """Monotonic seconds as seconds since the epoch."""
        return self._epoch + monotonic

    def status(self) -> NodeStatusView:
        """The status from memory."""
        return self._status()

    async def full_status(self) -> NodeStatusView:
        """The whole status, with packets as they are counted now, and the way to each node."""
        await self._count_packets()
        return self._status(ways=True)

    def _status(self, *, ways: bool = False) -> NodeStatusView:
        return show.status_view(
            self._core,
            version=__version__,
            started_at=self._started_at,
            config_file=self._config_file,
            counters=self._edge_counters(),
            more=self.more_problems(),
            ways=ways,
            round_trips=self._round_trips,
        )

    def readiness(self) -> ReadinessView:
        """Whether the node is ready, and why not, from memory."""
        return readiness(self._core, (*show.problems(self._core), *self.more_problems()))

    def peers(self, *, timed: bool = True) -> Sequence[PeerView]:
        """All peers, in order of name; with the round-trip times of their tunnels unless not `timed`."""
        peers = sorted(self._core.peers.values(), key=lambda peer: peer.configured.name)
        return [show.peer_view(self._core, peer, self.clock, self._round_trips if timed else {}) for peer in peers]

    def _peer(self, name: str) -> Peer:
        for peer in self._core.peers.values():
            if name in (peer.configured.name, peer.key):
                return peer
        known = ", ".join(sorted(peer.configured.name for peer in self._core.peers.values())) or "none"
        message = f"no peer {name!r}: the peers of this node are {known}"
        raise RefusedError(RefusalKind.NOT_FOUND, "unknown-peer", message, subject=name)

    def routes(
        self,
        query: RouteQuery,
        *,
        peer: str = "",
        family: Family | None = None,
        within: Prefix | None = None,
        reason: str = "",
    ) -> Iterator[Sequence[RouteView]]:
        """Routes in pages. Raises RefusedError for an unknown peer."""
        chosen = self._peer(peer) if peer else None
        if chosen is None and query is RouteQuery.ADVERTISED:
            raise RefusedError(RefusalKind.INVALID, "peer-missing", "advertised routes are those to a peer: name one")
        pages = show.routes(self._core, query, peer=chosen, family=family, within=within, reason=reason)
        return ([_with_errno(route) for route in page] for page in pages)

    async def explain(self, target: Prefix) -> ExplainView:
        """Everything about a prefix or an address; without the kernel's own answer when it gives none."""
        match = None
        try:
            match = await self._match_route(target.address)
        except OSError as error:
            log.warning("explain %s: the kernel was not asked: %s", target, error)
        return explain(self._core, target, match, named=_kernel_with_errno, now=time.monotonic())

    def pools(self) -> Sequence[PoolView]:
        """All pools of the cluster file."""
        return show.pool_views(self._core)

    def blocks(self, *, include_reserved: bool) -> Sequence[BlockView]:
        """Own blocks, and those reserved for others when asked."""
        return show.block_views(self._core, include_reserved=include_reserved)

    def addresses(self, *, address: IPAddress | None = None, handle: str = "") -> Sequence[AddressView]:
        """Assigned addresses."""
        return show.address_views(self._core, address=address, handle=handle)

    def workloads(self) -> Sequence[WorkloadView]:
        """All workloads, in order of name."""
        return self._workloads.views()

    @property
    def _workloads(self) -> Workloads:
        if self.workload_calls is None:
            raise RefusedError(RefusalKind.UNAVAILABLE, "starting", "the agent is starting: try again")
        return self.workload_calls

    @property
    def configuration(self) -> ConfigBackend:
        """What runs, and changing it. Raises RefusedError while the agent starts."""
        if self.config_calls is None:
            raise RefusedError(RefusalKind.UNAVAILABLE, "starting", "the agent is starting: try again")
        return self.config_calls

    # -- changing -----------------------------------------------------------------------------------------------

    def reply(self, reply: Reply) -> None:
        """The core's answer to a request."""
        waiting = self._requests.pop(reply.request, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    async def _ask(self, event: Callable[[int], ev.RequestEvent]) -> Reply:
        self._next_request += 1
        request = self._next_request
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._requests[request] = future
        self._post(event(request))
        try:
            reply = await asyncio.wait_for(future, REQUEST_TIMEOUT_S)
        except TimeoutError:
            raise RefusedError(RefusalKind.UNAVAILABLE, "no-answer", "the agent did not answer in time") from None
        finally:
            self._requests.pop(request, None)
        if reply.error is not None:
            raise refusal(reply.error)
        return reply

    async def assign(
        self, handle: str, *, family: Family = Family.IPV4, pool: str = "", address: IPAddress | None = None
    ) -> AddressRecord:
        """An address for `handle`, on disk. Raises RefusedError."""
        reply = await self._ask(lambda request: ev.AddressRequested(request, handle, family, pool, address))
        return reply.addresses[0]

    async def release(self, handle: str, *, sequence: int | None = None) -> tuple[AddressRecord, ...]:
        """Free what `handle` holds. Raises RefusedError."""
        reply = await self._ask(lambda request: ev.AddressReleased(request, handle, sequence))
        return reply.addresses

    async def assign_address(
        self, handle: str, *, family: Family, pool: str = "", address: IPAddress | None = None
    ) -> AddressView:
        """The same, as a view."""
        record = await self.assign(handle, family=family, pool=pool, address=address)
        return show.address_view(self._core, record.address)

    async def release_address(self, handle: str, *, sequence: int | None = None) -> Sequence[AddressView]:
        """The same, as views of what is now free."""
        released = await self.release(handle, sequence=sequence)
        return [show.address_view(self._core, record.address) for record in released]

    async def release_block(self, cidr: Prefix) -> BlockView:
        """Forgets a reservation, or gives up an own block without addresses. Raises RefusedError."""
        before = {view.cidr: view for view in self.blocks(include_reserved=True)}
        await self._ask(lambda request: ev.BlockReleased(request, cidr))
        return before[cidr]

    async def attach(
        self, netns: str, name: str, *, interface: str = "eth0", wishes: AddressWishes = ANY_ADDRESSES
    ) -> tuple[WorkloadView, bool]:
        """Attaches a namespace. Raises RefusedError."""
        return await self._workloads.attach(netns, name, interface=interface, wishes=wishes)

    async def detach(self, name: str) -> bool:
        """Undoes it; False when there was none. Raises RefusedError."""
        return await self._workloads.detach(name)

    async def refresh_peer(self, name: str, *, inbound: bool, outbound: bool) -> PeerView:
        """Asks a peer for its routes again, has ours sent again. Raises RefusedError."""
        peer = self._peer(name)
        session = peer.configured.name
        if peer.negotiated is None:
            message = f"the session with {session} is not up: there is nothing to refresh"
            raise RefusedError(RefusalKind.CONFLICT, "peer-down", message, subject=name)
        if inbound and not peer.negotiated.route_refresh:
            message = f"{session} cannot send its routes again (no route refresh): `calicopy peers reset` does it"
            raise RefusedError(RefusalKind.CONFLICT, "no-route-refresh", message, subject=name)
        self._post(ev.PeerRefreshRequested(peer.key, inbound, outbound))
        return show.peer_view(self._core, peer, self.clock)

    async def reset_peer(self, name: str) -> PeerView:
        """Ends a session, to begin it anew; a stopped one is wanted again. Raises RefusedError."""
        peer = self._peer(name)
        if not peer.stopped and not peer.is_up:
            waits = "the peer is the one to dial" if peer.configured.passive else "it is dialled all the time already"
            message = f"the session with {peer.configured.name} is not up, and {waits}"
            raise RefusedError(RefusalKind.CONFLICT, "peer-down", message, subject=name)
        self._post(ev.PeerResetRequested(peer.key))
        return show.peer_view(self._core, peer, self.clock)

    # -- drain ------------------------------------------------------------------------------------------------------

    async def drain(self, *, force: bool, wait_s: float, stopping: bool = False) -> AsyncIterator[DrainStep]:
        """Takes the node out of service, step by step. Raises RefusedError. `stopping`: for the end of the process."""
        steps: asyncio.Queue[DrainStep] = asyncio.Queue()
        self._drains.append(steps)
        try:
            at = time.time()
            await self._ask(lambda request: ev.DrainRequested(request, force, wait_s, at, stopping=stopping))
            while True:
                step = await steps.get()
                yield step
                if step.last:
                    return
        finally:
            self._drains.remove(steps)

    def drain_went_on(self, progress: DrainProgress) -> None:
        """A step of a drain, for all who wait for it."""
        for steps in self._drains:
            steps.put_nowait(progress.step)

    async def undrain(self) -> bool:
        """Brings the node back into service. Raises RefusedError."""
        was_drained = self._core.drainer.view() is not None
        await self._ask(ev.UndrainRequested)
        return was_drained

    # -- watching -----------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """Grows with each change."""
        return self._revision

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._sinks)

    def subscribe(self, sink: ChangeSink) -> None:
        """From now on every change goes to `sink`."""
        if not self._sinks:
            self.on_watched()
        self._sinks.append(sink)

    def unsubscribe(self, sink: ChangeSink) -> None:
        """Ends it."""
        if sink in self._sinks:
            self._sinks.remove(sink)

    def publish(self, changes: Sequence[ChangeView]) -> None:
        """Tell the watchers."""
        if not changes:
            return
        self._revision += 1
        stamped = [replace(change, at=time.time()) for change in changes]
        for sink in tuple(self._sinks):
            sink.push(self._revision, stamped)


def refusal(error: IpamError) -> RefusedError:
    """An IPAM refusal as the API gives it."""
    kinds: tuple[tuple[type[IpamError], RefusalKind], ...] = (
        (StoreFailedError, RefusalKind.FAILED),
        (ClaimPendingError, RefusalKind.UNAVAILABLE),
        (PoolExhaustedError, RefusalKind.EXHAUSTED),
        (UnknownBlockError, RefusalKind.NOT_FOUND),
        (UnknownPoolError, RefusalKind.INVALID),
    )
    kind = next((kind for cls, kind in kinds if isinstance(error, cls)), RefusalKind.CONFLICT)
    name = type(error).__name__.removesuffix("Error")
    code = "".join("-" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("-")
    return RefusedError(kind, code, str(error))


def _with_errno(route: RouteView) -> RouteView:
    return route if route.kernel is None else replace(route, kernel=_kernel_with_errno(route.kernel))


def _kernel_with_errno(kernel: KernelRouteView) -> KernelRouteView:
    """Names the errno of a failed write, which the core knows as a number only."""
    if kernel.reason is None or not kernel.reason.code.startswith("kernel-error:"):
        return kernel
    code, _, number = kernel.reason.code.partition(":")
    name = errno.errorcode.get(int(number), number)
    reason = ReasonView(code, f"the kernel refused the route: {name}, {os.strerror(int(number)).lower()}")
    return replace(kernel, reason=reason)


