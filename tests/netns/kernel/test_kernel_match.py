"""Which route the kernel takes for an address: the best of all tables, whoever made it, or why none."""
from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from calicopy.fib import Hop, KernelMatch, RouteKind, RouteTarget
from calicopy.kernel.kernel import Kernel
from calicopy.net import Prefix

pytestmark = pytest.mark.netns


async def test_the_longest_prefix_and_then_the_lowest_metric_win_whoever_made_them(netns, kernel: Kernel) -> None:
    netns.ip("route add 10.9.0.0/24 via 192.168.0.2 proto 117 metric 1024")
    address, va = ip_address("10.9.0.7"), netns.index("va")

    def to(gateway: str, prefix: str, protocol: int, *, metric: int, table: int = 254) -> KernelMatch:
        target = RouteTarget(RouteKind.UNICAST, (Hop(ip_address(gateway), va),))
        return KernelMatch(address, Prefix.parse(prefix), protocol, metric, table, target)

    assert await kernel.match(address) == to("192.168.0.2", "10.9.0.0/24", 117, metric=1024)
    netns.ip("route add 10.9.0.0/24 via 192.168.0.3 proto static metric 5")
    assert await kernel.match(address) == to("192.168.0.3", "10.9.0.0/24", 4, metric=5)
    netns.ip("route add 10.9.0.7/32 via 192.168.0.4 proto boot")
    assert await kernel.match(address) == to("192.168.0.4", "10.9.0.7/32", 3, metric=0)
    netns.ip("route add 10.9.0.0/16 via 192.168.0.5 table 100")
    netns.ip("rule add to 10.9.0.0/16 lookup 100 priority 10")
    assert await kernel.match(address) == to("192.168.0.5", "10.9.0.0/16", 3, metric=0, table=100)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("blackhole", errno.EINVAL), ("unreachable", errno.EHOSTUNREACH), ("prohibit", errno.EACCES),
     ("", errno.ENETUNREACH)],
)  # fmt: skip
async def test_what_is_dropped_says_by_what(netns, kernel: Kernel, kind: str, number: int) -> None:
    if kind:
        netns.ip(f"route add {kind} 10.9.0.0/24")
    assert await kernel.match(ip_address("10.9.0.7")) == KernelMatch(ip_address("10.9.0.7"), errno=number)


async def test_an_address_of_the_host_is_local(netns, kernel: Kernel) -> None:
    found = await kernel.match(ip_address("192.168.0.1"))
    assert (found.local, str(found.prefix)) == (True, "192.168.0.1/32")


async def test_ipv6_answers_too(netns, kernel: Kernel) -> None:
    netns.ip("-6 address add fd00:1::1/64 dev va nodad")
    netns.ip("-6 route add fd00:9::/48 via fd00:1::2 proto 117 metric 1024")
    found = await kernel.match(ip_address("fd00:9::7"))
    assert (str(found.prefix), found.protocol, found.metric) == ("fd00:9::/48", 117, 1024)
