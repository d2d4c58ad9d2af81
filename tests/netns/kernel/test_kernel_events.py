"""The FIB and the kernel edge together: drift, links, addresses, lost events, restarts."""
from __future__ import annotations

import asyncio
import errno
import subprocess
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from fibloop import FibLoop
from fibs import blocks

from calicopy.fib import UnprogrammedReason
from calicopy.kernel.encode import Identity
from calicopy.kernel.events import (
    KernelEventsLost,
    LinksChanged,
    RoutesChanged,
    UnderlayChanged,
)
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.monitor import Monitor
from calicopy.net import Family, Prefix

pytestmark = pytest.mark.netns
V4 = Family.IPV4


@pytest.fixture(params=[True, False], ids=["objects", "plain"])
def with_objects(request: pytest.FixtureRequest) -> bool:
    """Both with nexthop objects, and as on a kernel that has none."""
    return bool(request.param)


@pytest.fixture
async def kernel(netns, with_objects: bool) -> AsyncIterator[Kernel]:
    edge = Kernel(next_hop_objects=with_objects)
    await edge.open()
    try:
        yield edge
    finally:
        await edge.close()


@pytest.fixture
async def loop(kernel: Kernel) -> AsyncIterator[FibLoop]:
    agent = FibLoop(kernel)
    await agent.start()
    agent.fib.allow_sweep(True)
    async with agent.running():
        yield agent


async def test_a_route_that_another_process_deletes_comes_back(netns, loop: FibLoop, eventually) -> None:
    loop.learn(blocks(3))
    await eventually(lambda: len(netns.routes()) == 3)
    netns.ip("route delete 10.0.0.64/26")
    await eventually(lambda: len(netns.routes()) == 3)


async def test_a_route_that_another_process_changes_is_put_right(netns, loop: FibLoop, eventually) -> None:
    loop.learn(blocks(1))
    await eventually(lambda: netns.leads("10.0.0.1") == "192.168.0.2")
    netns.ip("route replace 10.0.0.0/26 via 192.168.0.50 metric 1024 proto 117")
    await eventually(lambda: netns.leads("10.0.0.1") == "192.168.0.2")
    assert len(netns.routes()) == 1


async def test_a_foreign_route_that_takes_our_key_stays_until_its_owner_takes_it_away(netns, loop, eventually) -> None:
    loop.learn(blocks(1))
    await eventually(lambda: len(netns.routes()) == 1)
    netns.ip("route replace 10.0.0.0/26 via 192.168.0.50 metric 1024 proto static")
    await eventually(lambda: loop.reason("10.0.0.0/26") is UnprogrammedReason.FOREIGN_ROUTE)
    assert netns.routes("proto static") == ["10.0.0.0/26 via 192.168.0.50 dev va metric 1024"]
    netns.ip("route delete 10.0.0.0/26 proto static")
    await eventually(lambda: len(netns.routes()) == 1)
    await eventually(lambda: loop.reason("10.0.0.0/26") is None)


async def test_the_same_destination_of_another_protocol_and_metric_lives_beside_ours(netns, loop, eventually) -> None:
    loop.learn(blocks(1))
    await eventually(lambda: len(netns.routes()) == 1)
    netns.ip("route add 10.0.0.0/26 via 192.168.0.50 proto static")
    loop.learn(blocks(2))
    await eventually(lambda: len(netns.routes()) == 2)
    assert len(netns.routes("proto static")) == 1


async def test_a_link_that_goes_down_and_up_has_its_routes_again(netns, loop: FibLoop, eventually) -> None:
    loop.learn(blocks(1000))
    await eventually(lambda: len(netns.routes()) == 1000)
    netns.ip("link set va down")
    await eventually(lambda: loop.reason("10.0.0.0/26") is UnprogrammedReason.NEXT_HOP_UNREACHABLE)
    assert netns.routes() == []
    netns.ip("link set va up")
    await eventually(lambda: loop.fib.in_sync and len(netns.routes()) == 1000)


async def test_an_address_that_is_removed_and_put_back_has_its_routes_again(netns, loop: FibLoop, eventually) -> None:
    loop.learn(blocks(10))
    await eventually(lambda: len(netns.routes()) == 10)
    netns.ip("address delete 192.168.0.1/24 dev va")
    await eventually(lambda: netns.routes() == [] and not loop.fib.desired(V4))  # what outlived it is deleted
    netns.ip("address add 192.168.0.1/24 dev va")
    await eventually(lambda: len(netns.routes()) == 10)


async def test_a_gateway_that_is_unreachable_while_adding_stays_pending_and_heals_on_the_event(
    netns, kernel: Kernel, eventually
) -> None:
    agent = FibLoop(kernel)
    await agent.start()
    agent.learn(blocks(2))
    netns.ip("link set va down")
    await agent.write()
    status = agent.fib.status(Prefix.parse("10.0.0.0/26"))
    assert status is not None
    assert status.reason is not None
    assert status.reason.reason is UnprogrammedReason.KERNEL_ERROR
    assert status.reason.errno in (errno.ENETDOWN, errno.ENETUNREACH)
    assert agent.fib.delta(100, time.monotonic() - 1) == []
    async with agent.running():
        netns.ip("link set va up")
        await eventually(lambda: len(netns.routes()) == 2)


async def test_a_new_agent_adopts_what_is_there_without_one_route_event(
    netns, kernel: Kernel, with_objects: bool
) -> None:
    first = FibLoop(kernel)
    await first.start()
    first.learn(blocks(500))
    first.fib.set_blackholes([Prefix.parse("10.255.0.0/26")])
    first.fib.set_workload_routes({Prefix.parse("10.255.0.1/32"): netns.index("vb")})
    await first.write()
    netns.ip("route add 10.254.0.0/26 via 192.168.0.2 metric 1024 proto 117")
    assert len(netns.routes()) == 503
    watch = await asyncio.create_subprocess_exec("ip", "monitor", "route", stdout=subprocess.PIPE)
    try:
        again = Kernel(next_hop_objects=with_objects)
        await again.open()
        try:
            second = FibLoop(again)
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
    agent = FibLoop(kernel)
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
        agent = FibLoop(kernel)
        await agent.start()
        agent.learn(blocks(2000))
        await agent.write()
        monitor.start()  # only now, or it might read as fast as the kernel tells
        async with asyncio.timeout(5):
            async for event in monitor.events():
                if isinstance(event, KernelEventsLost):
                    break
    finally:
        monitor.close()


def set_ipv4(name: str, value: int) -> None:
    Path("/proc/sys/net/ipv4", name).write_text(f"{value}\n")


async def test_a_setting_of_an_interface_that_another_process_changes_is_told(netns) -> None:
    monitor = Monitor(Identity(117, 1024))
    monitor.start()
    try:
        for name, value in (("conf/va/forwarding", 1), ("conf/va/rp_filter", 1)):
            set_ipv4(name, value)
            async with asyncio.timeout(5):
                assert LinksChanged() in [await anext(aiter(monitor.events()))]
    finally:
        monitor.close()


async def test_our_own_writes_raise_no_event(netns, loop: FibLoop, eventually) -> None:
    loop.learn(blocks(2000))
    await eventually(lambda: loop.fib.in_sync and len(netns.routes()) == 2000)
    netns.ip("route add 172.30.0.0/24 via 192.168.0.9")
    await eventually(lambda: any(isinstance(event, UnderlayChanged) for event in loop.seen))
    assert not any(isinstance(event, RoutesChanged) for event in loop.seen)
