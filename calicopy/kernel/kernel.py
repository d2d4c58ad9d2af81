"""The kernel edge behind one asynchronous face.

Theory of operation: what talks to the kernel and may take long runs in three lanes, each a thread with a socket that
does things in the order in which they were asked for: routes, nexthop objects, and the rest. `send` and `recv` release
the interpreter lock, so the loop goes on. A change of an object is what stops packets to a node that is gone, and a
look at links and next hops is how that is noticed, so neither waits for 100,000 routes that are being written. Only the
event socket is read on the loop, in small portions. Nothing is decided here: what to write comes from the FIB, what to
ensure from the agent.

The network namespace is that of the thread which calls `open`.
"""
from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, TypeVar

from calicopy.fib.types import (
    DEFAULT_METRIC,
    DEFAULT_PROTOCOL,
    ForeignRoute,
    KernelDump,
    KernelMatch,
    NextHopChange,
    NextHopObject,
    NextHopResult,
    RouteBatch,
    RouteOp,
    WriteResult,
)
from calicopy.kernel.dump import dump_all
from calicopy.kernel.encode import Identity
from calicopy.kernel.events import KernelEvent
from calicopy.kernel.foreign import preferred_foreign
from calicopy.kernel.links import interfaces
from calicopy.kernel.match import match_address
from calicopy.kernel.monitor import Monitor
from calicopy.kernel.netlink import NetlinkError, NetlinkSocket
from calicopy.kernel.nexthops import NextHopWriter, dump_next_hops
from calicopy.kernel.nft import Counted, NftSpec, NftTable
from calicopy.kernel.problems import KernelProblem, ProblemKind
from calicopy.kernel.resolve import resolve
from calicopy.kernel.sysctl import SysctlProblem, SysctlSpec, ensure_sysctls
from calicopy.kernel.tunnel import TunnelSpec, TunnelStatus, ensure_tun, ensure_tunnel, retire_tunnel
from calicopy.kernel.vxlan import VxlanSpec, ensure_vxlan
from calicopy.kernel.writer import RouteWriter
from calicopy.net import Family, IPAddress, Packed, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

_Result = TypeVar("_Result")


class KernelPort(Protocol):
    """What the agent asks of the kernel; `Kernel` is the real one, `FakeKernel` keeps routes in memory."""

    async def dump(self) -> KernelDump:
        """Our routes."""

    async def write(self, batches: Iterable[RouteBatch]) -> list[WriteResult]:
        """Write batches; one result each."""

    async def write_next_hops(self, changes: Iterable[NextHopChange]) -> list[NextHopResult]:
        """Change nexthop objects; one result each."""

    async def resolve(self, addresses: Iterable[IPAddress]) -> dict[IPAddress, NextHopFacts]:
        """How the addresses are reached."""

    async def interfaces(self) -> dict[int, InterfaceFacts]:
        """Every interface."""

    def events(self) -> AsyncIterator[KernelEvent]:
        """What happens."""


class Kernel:
    """The real kernel, in the namespace of the thread that opens it. Call `open` first, and `close` in the end."""

    def __init__(
        self, *, protocol: int = DEFAULT_PROTOCOL, metric: int = DEFAULT_METRIC, next_hop_objects: bool = True
    ) -> None:
        """`next_hop_objects` False behaves as on a kernel before 5.3, which has none."""
        self.identity = Identity(protocol, metric)
        self._with_objects = next_hop_objects
        self._routes: _Lane | None = None
        self._next_hops: _Lane | None = None
        self._host: _Lane | None = None
        self._looks: _Lane | None = None  # what is reached how: waits for nothing that is ensured on links
        self._monitor: Monitor | None = None
        self._nft = NftTable()
        self._nft_lane: _Lane | None = None  # it waits for a process

    async def open(self) -> None:
        """Open the sockets and begin to read events. OSError where the kernel gives no netlink socket."""
        self._routes, self._next_hops, self._host = _Lane("routes"), _Lane("next hops", urgent=True), _Lane("kernel")
        self._nft_lane, self._looks = _Lane("nft"), _Lane("looks", urgent=True)
        self._monitor = Monitor(self.identity, ignored_ports=(self._routes.port_id, self._next_hops.port_id))
        self._monitor.start()
        up = {index for index, link in (await self.interfaces()).items() if link.up}
        self._monitor.seen_up(up)

    async def close(self) -> None:
        """Close everything; the kernel keeps what was made."""
        if self._monitor is not None:
            self._monitor.close()
        for lane in (self._routes, self._next_hops, self._host, self._nft_lane, self._looks):
            if lane is not None:
                await lane.close()
        self._routes = self._next_hops = self._host = self._nft_lane = self._looks = None

    async def dump(self) -> KernelDump:
        """Our routes of both families in table main, and our nexthop objects.

        Either part is what was there after the writes that were asked for before, and ends before those after it.
        """
        found = await _open(self._routes).run(lambda socket: dump_all(socket, self.identity))
        if not self._with_objects:
            return found
        held = await _open(self._next_hops).run(lambda socket: dump_next_hops(socket, self.identity))
        return found if held is None else replace(found, next_hops=held.ours, foreign_ids=held.foreign_ids)

    async def preferred_foreign(self, pools: Collection[Prefix]) -> dict[Family, dict[Packed, ForeignRoute]]:
        """Routes of others in `pools` with a lower metric than ours; from now on events say when to read them again."""
        if self._monitor is not None:
            self._monitor.set_pools(pools)
        return await _open(self._routes).run(lambda socket: preferred_foreign(socket, pools, self.identity))

    async def write(self, batches: Iterable[RouteBatch]) -> list[WriteResult]:
        """Write batches in order; a failure stops nothing. Without CAP_NET_ADMIN every prefix fails with EPERM."""
        return await self.begin_write(batches)

    def begin_write(self, batches: Iterable[RouteBatch]) -> asyncio.Future[list[WriteResult]]:
        """The same, begun now: the kernel goes on to it as soon as it is through with what was asked for before."""
        todo = list(batches)
        return _open(self._routes).begin(lambda socket: RouteWriter(socket, self.identity).write(todo))

    async def write_next_hops(self, changes: Iterable[NextHopChange]) -> list[NextHopResult]:
        """Write changes of nexthop objects in order, at once: they do not wait for routes that are being written."""
        return await self.begin_next_hops(changes)

    def begin_next_hops(self, changes: Iterable[NextHopChange]) -> asyncio.Future[list[NextHopResult]]:
        """The same, begun now."""
        todo = list(changes)
        return _open(self._next_hops).begin(lambda socket: self._write_next_hops(socket, todo))

    def _write_next_hops(self, socket: NetlinkSocket, changes: list[NextHopChange]) -> list[NextHopResult]:
        if not self._with_objects:
            return [NextHopResult(change, errno.EOPNOTSUPP) for change in changes]
        return NextHopWriter(socket, self.identity).write(changes)

    async def read_next_hops(self, ids: Collection[int]) -> dict[int, NextHopObject | None]:
        """Our objects with these ids; None where there is none, or another process holds it."""
        return await _open(self._next_hops).run(lambda socket: NextHopWriter(socket, self.identity).read(ids))

    async def resolve(self, addresses: Iterable[IPAddress]) -> dict[IPAddress, NextHopFacts]:
        """How each address is reached; routes of ours do not count."""
        wanted = list(addresses)

        def work(socket: NetlinkSocket) -> dict[IPAddress, NextHopFacts]:
            return resolve(socket, wanted, protocol=self.identity.protocol, interfaces=interfaces(socket))

        return await _open(self._looks).run(work)

    async def match(self, address: IPAddress) -> KernelMatch:
        """The route that a packet to the address takes now, whoever made it."""
        return await self._run(lambda: match_address(self._other_socket(), address))

    async def interfaces(self) -> dict[int, InterfaceFacts]:
        """Every interface of the namespace by index."""
        return await _open(self._looks).run(interfaces)

    async def ensure_tunnel(self, spec: TunnelSpec) -> TunnelStatus:
        """Bring tunl0 to what `spec` says."""
        return await self._run(lambda: ensure_tunnel(self._other_socket(), spec))

    async def ensure_tun(self, spec: TunnelSpec) -> TunnelStatus:
        """Bring the TUN device of udp to what `spec` says."""
        return await self._run(lambda: ensure_tun(self._other_socket(), spec))

    async def ensure_vxlan(self, spec: VxlanSpec) -> TunnelStatus:
        """Bring the VXLAN device and its entries to what `spec` says; later changes of its entries are events."""
        status = await self._run(lambda: ensure_vxlan(self._other_socket(), spec))
        if self._monitor is not None and status.ifindex is not None:
            self._monitor.watched = frozenset({status.ifindex})
        return status

    async def retire_tunnel(self, spec: TunnelSpec) -> list[KernelProblem]:
        """Have a tunnel device of ours take no packet any more."""
        return await self._run(lambda: retire_tunnel(self._other_socket(), spec))

    async def ensure_sysctls(self, spec: SysctlSpec) -> list[SysctlProblem]:
        """Bring forwarding and rp_filter to what `spec` says; what could not be set comes back."""
        return await self._run(lambda: ensure_sysctls(self._other_socket(), spec))

    async def ensure_nft(self, spec: NftSpec) -> list[KernelProblem]:
        """Bring the nft table to what `spec` says."""
        return await _open(self._nft_lane).run(lambda _: self._nft.ensure(spec))

    @property
    def nft_replaced(self) -> int:
        """How often the nft table was written: at a first start, then when what is wanted or is there changed."""
        return self._nft.replaced

    async def nft_counters(self) -> Mapping[str, Counted]:
        """The counters of the nft table, by name. Starts a process."""
        return await _open(self._nft_lane).run(lambda _: self._nft.counters())

    async def permission_problem(self) -> KernelProblem | None:
        """A problem when we may not change routes here (no CAP_NET_ADMIN over this namespace), else None."""
        probe = RouteBatch(RouteOp.DELETE, Family.IPV4, None, [Prefix.host("255.255.255.255").packed])
        (result,) = await self.write([probe])
        if any(code == errno.EPERM for _, code in result.failures):
            text = "CAP_NET_ADMIN is missing: no route, tunnel or setting can be changed"
            return KernelProblem(ProblemKind.NO_PERMISSION, "rtnetlink", text)
        return None

    def events(self) -> AsyncIterator[KernelEvent]:
        """Merged events, to one reader; ends with `close`."""
        assert self._monitor is not None, "open() comes first"
        return self._monitor.events()

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        return await _open(self._host).run(lambda _: work())

    def _other_socket(self) -> NetlinkSocket:
        return _open(self._host).socket


class _Lane:
    """A socket and the one thread that uses it; what is asked for is done in order. `urgent`: at once, also on a host
    that is busy, where the kernel lets us.
    """

    def __init__(self, name: str, *, urgent: bool = False) -> None:
        self.socket = NetlinkSocket()
        self.port_id = self.socket.port_id
        self._thread = ThreadPoolExecutor(1, name, initializer=_run_before_others if urgent else None)
        self._thread.submit(int)  # it begins now: in the network namespace of its opener, as the socket does

    async def run(self, work: Callable[[NetlinkSocket], _Result]) -> _Result:
        """Do this after all that was asked for before."""
        return await self.begin(work)

    def begin(self, work: Callable[[NetlinkSocket], _Result]) -> asyncio.Future[_Result]:
        """The same, asked for now."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work, self.socket)

    async def close(self) -> None:
        """End, after what was begun."""
        await asyncio.to_thread(self._thread.shutdown)
        self.socket.close()


def _run_before_others() -> None:
    """For a thread that seldom works, and for less than a millisecond then: on a host whose processors are all taken it
    waits some 20 ms for its turn otherwise. Needs CAP_SYS_NICE; without that it takes its turn (sched(7)).
    """
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def _open(lane: _Lane | None) -> _Lane:
    if lane is None:
        raise NetlinkError(errno.ENOTCONN, "the kernel edge is not open")
    return lane
