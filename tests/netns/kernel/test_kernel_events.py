"""The FIB and the kernel edge together: drift, links, addresses, lost events, restarts."""
from __future__ import annotations

import asyncio
import contextlib
import errno
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from calicopy.fib import Fib, FibPool, UnprogrammedReason
from calicopy.kernel.encode import Identity
from calicopy.kernel.events import KernelEvent, KernelEventsLost, LinksChanged, RoutesChanged, UnderlayChanged
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.monitor import Monitor
from calicopy.net import Family, Prefix, pack

pytestmark = pytest.mark.netns
V4 = Family.IPV4
POOL = FibPool(Prefix.parse("10.0.0.0/8"))
GATEWAY = IPv4Address("192.168.0.2")


@dataclass(frozen=True)
class Path:
    next_hop: IPv4Address
    owner: int | None = None


@dataclass(frozen=True, eq=False)
class Selection:
    paths: tuple[Path, ...]


def blocks(count: int) -> list[bytes]:
    return [pack((10 << 24) + (number << 6), 26, V4) for number in range(count)]


class Loop:
    """What the agent does with the FIB and the kernel, in its smallest form."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.fib = kernel, Fib()
        self.selection = Selection((Path(GATEWAY),))
        self.seen: list[KernelEvent] = []
        self._wake = asyncio.Event()

    async def start(self) -> None:
        self.fib.set_pools([POOL])
        await self.look()
        self.fib.kernel_state(await self.kernel.dump())

    async def look(self) -> None:
        self.fib.set_interfaces(await self.kernel.interfaces())
        self.fib.set_next_hops(await self.kernel.resolve([GATEWAY]))

    def learn(self, prefixes: list[bytes]) -> None:
        self.fib.apply_decisions(V4, [(self.selection, prefixes)])
        self._wake.set()

    async def write(self) -> None:
        while batches := self.fib.delta(5000, time.monotonic()):
            self.fib.written(await self.kernel.write(batches), time.monotonic())

    async def read_events(self) -> None:
        async for event in self.kernel.events():
            self.seen.append(event)
            match event:
                case LinksChanged(lost):
                    await self.look()
                    self.fib.interfaces_lost(lost)
                case RoutesChanged(changes):
                    for family, routes in changes.items():
                        self.fib.kernel_changed(family, routes)
                case UnderlayChanged():
                    await self.look()
                case KernelEventsLost():
                    await self.look()
                    self.fib.kernel_state(await self.kernel.dump())
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self.write()
            due = self.fib.next_deadline(time.monotonic())
            pause = None if due is None else max(0.0, due - time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
            self._wake.clear()


@pytest.fixture
async def loop(kernel: Kernel) -> AsyncIterator[Loop]:
    agent = Loop(kernel)
    await agent.start()
    tasks = [asyncio.create_task(agent.read_events()), asyncio.create_task(agent.run())]
    try:
        yield agent
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


Eventually = Callable[[Callable[[], bool]], object]


async def test_a_route_that_another_process_deletes_comes_back(netns, loop: Loop, eventually) -> None:
    loop.learn(blocks(3))
    await eventually(lambda: len(netns.routes()) == 3)
    netns.ip("route delete 10.0.0.64/26")
    await eventually(lambda: len(netns.routes()) == 3)


async def test_a_route_that_another_process_changes_is_put_right(netns, loop: Loop, eventually) -> None:
    loop.learn(blocks(1))
    await eventually(lambda: netns.routes() == ["10.0.0.0/26 via 192.168.0.2 dev va metric 1024"])
    netns.ip("route replace 10.0.0.0/26 via 192.168.0.50 metric 1024 proto 117")
    await eventually(lambda: netns.routes() == ["10.0.0.0/26 via 192.168.0.2 dev va metric 1024"])


async def test_a_foreign_route_that_takes_our_key_stays_until_its_owner_takes_it_away(netns, loop, eventually) -> None:
    loop.learn(blocks(1))
    await eventually(lambda: len(netns.routes()) == 1)
    netns.ip("route replace 10.0.0.0/26 via 192.168.0.50 metric 1024 proto static")
    prefix = Prefix.parse("10.0.0.0/26")
    await eventually(lambda: _reason(loop, prefix) is UnprogrammedReason.FOREIGN_ROUTE)
    assert netns.routes("proto static") == ["10.0.0.0/26 via 192.168.0.50 dev va metric 1024"]
    netns.ip("route delete 10.0.0.0/26 proto static")
    await eventually(lambda: len(netns.routes()) == 1)
    assert _reason(loop, prefix) is None


async def test_the_same_destination_of_another_protocol_and_metric_lives_beside_ours(netns, loop, eventually) -> None:
    loop.learn(blocks(1))
    await eventually(lambda: len(netns.routes()) == 1)
    netns.ip("route add 10.0.0.0/26 via 192.168.0.50 proto static")
    loop.learn(blocks(2))
    await eventually(lambda: len(netns.routes()) == 2)
    assert len(netns.routes("proto static")) == 1


async def test_a_link_that_goes_down_and_up_has_its_routes_again(netns, loop: Loop, eventually) -> None:
    loop.learn(blocks(1000))
    await eventually(lambda: len(netns.routes()) == 1000)
    netns.ip("link set va down")
    await eventually(lambda: _reason(loop, Prefix.parse("10.0.0.0/26")) is UnprogrammedReason.NEXT_HOP_UNREACHABLE)
    assert netns.routes() == []
    netns.ip("link set va up")
    await eventually(lambda: loop.fib.in_sync and len(netns.routes()) == 1000)


async def test_an_address_that_is_removed_and_put_back_has_its_routes_again(netns, loop: Loop, eventually) -> None:
    loop.learn(blocks(10))
    await eventually(lambda: len(netns.routes()) == 10)
    netns.ip("address delete 192.168.0.1/24 dev va")
    await eventually(lambda: netns.routes() == [] and not loop.fib.desired(V4))
    netns.ip("address add 192.168.0.1/24 dev va")
    await eventually(lambda: len(netns.routes()) == 10)


async def test_a_gateway_that_is_unreachable_while_adding_stays_pending_and_heals_on_the_event(
    netns, kernel: Kernel, eventually
) -> None:
    agent = Loop(kernel)
    await agent.start()
    agent.learn(blocks(2))
    netns.ip("link set va down")
    now = time.monotonic()
    agent.fib.written(await kernel.write(agent.fib.delta(100, now)), now)
    status = agent.fib.status(Prefix.parse("10.0.0.0/26"))
    assert status is not None
    assert status.reason is not None
    assert status.reason.reason is UnprogrammedReason.KERNEL_ERROR
    assert status.reason.errno in (errno.ENETDOWN, errno.ENETUNREACH)
    assert agent.fib.delta(100, now) == []
    reader, writer = asyncio.create_task(agent.read_events()), asyncio.create_task(agent.run())
    try:
        netns.ip("link set va up")
        await eventually(lambda: len(netns.routes()) == 2)
    finally:
        for task in (reader, writer):
            task.cancel()
        await asyncio.gather(reader, writer, return_exceptions=True)


async def test_a_new_agent_adopts_what_is_there_without_one_route_event(netns, kernel: Kernel) -> None:
    first = Loop(kernel)
    await first.start()
    first.learn(blocks(500))
    first.fib.set_blackholes([Prefix.parse("10.255.0.0/26")])
    first.fib.set_workload_routes({Prefix.parse("10.255.0.1/32"): netns.index("vb")})
    await first.write()
    netns.ip("route add 10.254.0.0/26 via 192.168.0.2 metric 1024 proto 117")
    assert len(netns.routes()) == 503
    watch = await asyncio.create_subprocess_exec("ip", "monitor", "route", stdout=subprocess.PIPE)
    try:
        again = Kernel()
        await again.open()
        try:
            second = Loop(again)
            await second.start()
            await second.write()
            second.learn(blocks(500))
            second.fib.set_blackholes([Prefix.parse("10.255.0.0/26")])
            second.fib.set_workload_routes({Prefix.parse("10.255.0.1/32"): netns.index("vb")})
            await second.write()
            assert len(netns.routes()) == 503
            second.fib.allow_sweep(True)
            await second.write()
            assert second.fib.in_sync
        finally:
            await again.close()
        assert watch.stdout is not None
        line = (await asyncio.wait_for(watch.stdout.readline(), 5)).decode()
    finally:
        watch.terminate()
        await watch.wait()
    assert line.startswith("Deleted 10.254.0.0/26"), line  # the stale one, and the first event at all
    assert len(netns.routes()) == 502


async def test_a_workloads_host_route_wins_over_the_blackhole_of_its_block(netns, kernel: Kernel) -> None:
    agent = Loop(kernel)
    await agent.start()
    agent.fib.set_blackholes([Prefix.parse("10.1.0.0/26"), Prefix.parse("10.2.0.1/32")])
    agent.fib.set_workload_routes({Prefix.parse("10.1.0.5/32"): netns.index("va"),
                                   Prefix.parse("10.2.0.1/32"): netns.index("va")})
    await agent.write()
    assert netns.routes() == [
        "blackhole 10.1.0.0/26 metric 1024",
        "10.1.0.5 dev va scope link metric 1024",
        "10.2.0.1 dev va scope link metric 1024",
    ]
    assert "dev va" in netns.ip("route get 10.1.0.5")
    (free,) = (await kernel.resolve([IPv4Address("10.1.0.6")])).values()
    assert not free.reachable


async def test_an_event_socket_that_overruns_says_so_and_all_is_read_again(netns, kernel: Kernel) -> None:
    monitor = Monitor(Identity(117, 1024), receive_buffer=4096)
    try:
        agent = Loop(kernel)
        await agent.start()
        agent.learn(blocks(2000))
        now = time.monotonic()
        agent.fib.written(await kernel.write(agent.fib.delta(5000, now)), now)
        monitor.start()  # only now, or it might read as fast as the kernel tells
        async with asyncio.timeout(5):
            async for event in monitor.events():
                if isinstance(event, KernelEventsLost):
                    break
    finally:
        monitor.close()


async def test_our_own_writes_raise_no_event(netns, loop: Loop, eventually) -> None:
    loop.learn(blocks(2000))
    await eventually(lambda: loop.fib.in_sync and len(netns.routes()) == 2000)
    netns.ip("route add 172.30.0.0/24 via 192.168.0.9")
    await eventually(lambda: any(isinstance(event, UnderlayChanged) for event in loop.seen))
    assert not any(isinstance(event, RoutesChanged) for event in loop.seen)


def _reason(loop: Loop, prefix: Prefix) -> UnprogrammedReason | None:
    status = loop.fib.status(prefix)
    assert status is not None
    return None if status.reason is None else status.reason.reason
