"""The kernel edge behind one asynchronous face.

Theory of operation: everything that talks to the kernel and may take long runs in one worker thread, in the order in
which it was asked for, over one socket for routes and one for the rest; `send` and `recv` release the interpreter
lock, so the loop goes on. Only the event socket is read on the loop, in small portions. Nothing is decided here: what
to write comes from the FIB, what to ensure from the agent.

The network namespace is that of the thread which calls `open`.
"""
from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from calicopy.fib.types import (
    DEFAULT_METRIC,
    DEFAULT_PROTOCOL,
    KernelDump,
    KernelMatch,
    NextHopChange,
    NextHopResult,
    RouteBatch,
    RouteOp,
    WriteResult,
)
from calicopy.kernel.dump import dump_all
from calicopy.kernel.encode import Identity
from calicopy.kernel.events import KernelEvent
from calicopy.kernel.links import interfaces
from calicopy.kernel.match import match_address
from calicopy.kernel.monitor import Monitor
from calicopy.kernel.netlink import NetlinkError, NetlinkSocket
from calicopy.kernel.nft import Counted, NftSpec, NftTable
from calicopy.kernel.problems import KernelProblem, ProblemKind
from calicopy.kernel.resolve import resolve
from calicopy.kernel.sysctl import SysctlProblem, SysctlSpec, ensure_sysctls
from calicopy.kernel.tunnel import TunnelSpec, TunnelStatus, ensure_tunnel
from calicopy.kernel.writer import RouteWriter
from calicopy.net import Family, IPAddress, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

_Result = TypeVar("_Result")


class KernelPort(Protocol):
    """What the agent asks of the kernel; `Kernel` is the real one, `FakeKernel` keeps routes in memory."""

    async def dump(self) -> KernelDump:
        """Our routes."""

    async def write(self, batches: Iterable[RouteBatch]) -> list[WriteResult]:
        """Write batches; one result each."""

    async def resolve(self, addresses: Iterable[IPAddress]) -> dict[IPAddress, NextHopFacts]:
        """How the addresses are reached."""

    async def interfaces(self) -> dict[int, InterfaceFacts]:
        """Every interface."""

    def events(self) -> AsyncIterator[KernelEvent]:
        """What happens."""


class Kernel:
    """The real kernel, in the namespace of the thread that opens it. Call `open` first, and `close` in the end."""

    def __init__(self, *, protocol: int = DEFAULT_PROTOCOL, metric: int = DEFAULT_METRIC) -> None:
        self.identity = Identity(protocol, metric)
        self._thread: ThreadPoolExecutor | None = None
        self._routes: NetlinkSocket | None = None
        self._other: NetlinkSocket | None = None
        self._monitor: Monitor | None = None
        self._nft = NftTable()
        self._nft_thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Open the sockets and begin to read events. OSError where the kernel gives no netlink socket."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kernel")
        self._nft_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nft")  # it waits for a process
        self._routes, self._other = NetlinkSocket(), NetlinkSocket()
        self._monitor = Monitor(self.identity, ignored_port=self._routes.port_id)
        self._monitor.start()
        up = {index for index, link in (await self.interfaces()).items() if link.up}
        self._monitor.seen_up(up)

    async def close(self) -> None:
        """Close everything; the kernel keeps what was made."""
        if self._monitor is not None:
            self._monitor.close()
        for thread in (self._thread, self._nft_thread):
            if thread is not None:
                await asyncio.to_thread(thread.shutdown)
        self._thread = self._nft_thread = None
        for socket in (self._routes, self._other):
            if socket is not None:
                socket.close()

    async def dump(self) -> KernelDump:
        """Our routes of both families in table main."""
        return await self._run(lambda: dump_all(self._route_socket(), self.identity))

    async def write(self, batches: Iterable[RouteBatch]) -> list[WriteResult]:
        """Write batches in order; a failure stops nothing. Without CAP_NET_ADMIN every prefix fails with EPERM."""
        todo = list(batches)
        return await self._run(lambda: RouteWriter(self._route_socket(), self.identity).write(todo))

    async def write_next_hops(self, changes: Iterable[NextHopChange]) -> list[NextHopResult]:
        """Write changes of nexthop objects in order, at once: they do not wait for routes that are being written."""
        raise NotImplementedError  # writer: yours

    async def resolve(self, addresses: Iterable[IPAddress]) -> dict[IPAddress, NextHopFacts]:
        """How each address is reached; routes of ours do not count."""
        wanted = list(addresses)

        def work() -> dict[IPAddress, NextHopFacts]:
            socket = self._other_socket()
            return resolve(socket, wanted, protocol=self.identity.protocol, interfaces=interfaces(socket))

        return await self._run(work)

    async def match(self, address: IPAddress) -> KernelMatch:
        """The route that a packet to the address takes now, whoever made it."""
        return await self._run(lambda: match_address(self._other_socket(), address))

    async def interfaces(self) -> dict[int, InterfaceFacts]:
        """Every interface of the namespace by index."""
        return await self._run(lambda: interfaces(self._other_socket()))

    async def ensure_tunnel(self, spec: TunnelSpec) -> TunnelStatus:
        """Bring tunl0 to what `spec` says."""
        return await self._run(lambda: ensure_tunnel(self._other_socket(), spec))

    async def ensure_sysctls(self, spec: SysctlSpec) -> list[SysctlProblem]:
        """Bring forwarding and rp_filter to what `spec` says; what could not be set comes back."""
        return await self._run(lambda: ensure_sysctls(self._other_socket(), spec))

    async def ensure_nft(self, spec: NftSpec) -> list[KernelProblem]:
        """Bring the nft table to what `spec` says."""
        return await self._run_nft(lambda: self._nft.ensure(spec))

    @property
    def nft_replaced(self) -> int:
        """How often the nft table was written: at a first start, then when what is wanted or is there changed."""
        return self._nft.replaced

    async def nft_counters(self) -> Mapping[str, Counted]:
        """The counters of the nft table, by name. Starts a process."""
        return await self._run_nft(self._nft.counters)

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
        return await _in(self._thread, work)

    async def _run_nft(self, work: Callable[[], _Result]) -> _Result:
        return await _in(self._nft_thread, work)

    def _route_socket(self) -> NetlinkSocket:
        assert self._routes is not None, "open() comes first"
        return self._routes

    def _other_socket(self) -> NetlinkSocket:
        assert self._other is not None, "open() comes first"
        return self._other


async def _in(thread: ThreadPoolExecutor | None, work: Callable[[], _Result]) -> _Result:
    if thread is None:
        raise NetlinkError(errno.ENOTCONN, "the kernel edge is not open")
    return await asyncio.get_running_loop().run_in_executor(thread, work)
