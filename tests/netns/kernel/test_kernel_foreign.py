"""Routes of other programs that go before ours: read, and told of by events."""
from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from calicopy.agent.kernel_edge import KernelEdge
from calicopy.agent.udp_edge import UdpEdge
from calicopy.core import events as ev
from calicopy.fib import ForeignRoute
from calicopy.kernel.encode import Identity
from calicopy.kernel.foreign import preferred_foreign
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.netlink import NetlinkSocket
from calicopy.net import Family, Packed, Prefix

pytestmark = pytest.mark.netns
V4, V6 = Family.IPV4, Family.IPV6
POOLS = (Prefix.parse("10.0.0.0/16"), Prefix.parse("10.9.0.0/16"), Prefix.parse("fd00:9::/48"))
STATIC = 4


def key(text: str) -> Packed:
    return Prefix.parse(text).packed


@pytest.fixture
async def seen(kernel: Kernel, tmp_path: Path) -> AsyncIterator[list[ev.ForeignRoutesRead]]:
    """What the edge of the agent has told the core, from its start on."""
    told: list[ev.ForeignRoutesRead] = []

    def post(event: ev.CoreEvent) -> None:
        if isinstance(event, ev.ForeignRoutesRead):
            told.append(event)

    edge = KernelEdge(kernel, POOLS, post, udp=UdpEdge(tmp_path, post))
    tasks = [asyncio.create_task(edge.listen()), asyncio.create_task(edge.routes.run())]
    yield told
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_only_foreign_routes_inside_the_pools_with_a_lower_metric_count(netns, kernel: Kernel) -> None:
    for route in (
        "10.0.0.0/26 via 192.168.0.9 proto static", "10.0.0.0/26 via 192.168.0.9 proto bird metric 32",
        "10.9.1.0/24 via 192.168.0.9 proto bird metric 32", "10.0.1.0/26 via 192.168.0.9 proto static metric 1024",
        "10.0.2.0/26 via 192.168.0.9 proto static metric 2000", "10.0.3.0/26 via 192.168.0.9 proto 117 metric 5",
        "10.1.0.0/26 via 192.168.0.9 proto static", "10.0.4.0/26 via 192.168.0.9 proto static table 99",
        "default via 192.168.0.9",
    ):  # fmt: skip
        netns.ip(f"route add {route}")
    netns.ip("-6 route add fd00:9::/122 dev va proto static metric 7")
    netns.ip("-6 route add fd00:8::/122 dev va proto static metric 7")
    assert await kernel.preferred_foreign(POOLS) == {
        V4: {key("10.0.0.0/26"): ForeignRoute(STATIC, 0), key("10.9.1.0/24"): ForeignRoute(12, 32)},
        V6: {key("fd00:9::/122"): ForeignRoute(STATIC, 7)},
    }


async def test_one_that_is_there_at_the_start_is_told_of_and_so_is_its_end(netns, seen, eventually: Callable) -> None:
    netns.ip("route add 10.0.0.0/26 via 192.168.0.9 proto static")
    await eventually(lambda: bool(seen) and seen[-1].routes[V4] == {key("10.0.0.0/26"): ForeignRoute(STATIC, 0)})
    netns.ip("route delete 10.0.0.0/26")
    await eventually(lambda: seen[-1].routes[V4] == {})


async def test_one_that_comes_later_is_told_of_and_goes_with_its_link_of_which_the_kernel_says_nothing(
    netns, seen, eventually: Callable
) -> None:
    await eventually(lambda: bool(seen))
    assert seen[-1].routes[V4] == {}
    netns.ip("route add blackhole 10.9.9.0/26 proto static")
    netns.ip("route add 10.0.0.0/26 via 192.168.0.9 proto static")
    await eventually(lambda: len(seen[-1].routes[V4]) == 2)
    netns.ip("link set va down")
    await eventually(lambda: seen[-1].routes[V4].keys() == {key("10.9.9.0/26")})


def test_a_hundred_thousand_foreign_routes_are_read_quickly(netns) -> None:
    lines = "".join(f"route add 10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32 via 192.168.0.9\n" for n in range(100_000))
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    with closing(NetlinkSocket()) as socket:
        for pools, count in ((POOLS, 65_536), ((Prefix.parse("10.200.0.0/16"),), 0)):
            began = time.thread_time()
            found = preferred_foreign(socket, pools, Identity(117, 1024))
            print(f"{count} of 100,000 in the pools: {time.thread_time() - began:.3f} s")
            assert len(found[V4]) == count
            assert time.thread_time() - began < 2.0  # some 0.3 s and 0.07 s are usual
