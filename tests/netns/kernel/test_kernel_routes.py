"""Writing, dumping and resolving against the real kernel, in a namespace."""
from __future__ import annotations

import errno
import time
from ipaddress import IPv4Address

import pytest
from fibs import blocks

from calicopy.fib.types import (
    BLACKHOLE,
    Hop,
    RouteBatch,
    RouteKind,
    RouteOp,
    RouteTarget,
    workload_target,
)
from calicopy.kernel.kernel import Kernel
from calicopy.net import Family, Prefix, pack

pytestmark = pytest.mark.netns
V4, V6 = Family.IPV4, Family.IPV6


def via(ifindex: int, *gateways: str) -> RouteTarget:
    return RouteTarget(RouteKind.UNICAST, tuple(Hop(IPv4Address(gateway), ifindex) for gateway in gateways))


async def test_ten_thousand_routes_are_added_replaced_and_deleted_and_the_dump_agrees(netns, kernel: Kernel) -> None:
    wanted = blocks(10_000)
    one, two = via(netns.index("va"), "192.168.0.2"), via(netns.index("va"), "192.168.0.2", "192.168.0.3")
    started = time.monotonic()
    (added,) = await kernel.write([RouteBatch(RouteOp.ADD, V4, one, wanted)])
    assert (added.failures, added.foreign) == ([], [])
    assert (await kernel.dump()).routes[V4] == dict.fromkeys(wanted, one)
    (replaced,) = await kernel.write([RouteBatch(RouteOp.REPLACE, V4, two, wanted)])
    assert (replaced.failures, replaced.foreign) == ([], [])
    assert (await kernel.dump()).routes[V4] == dict.fromkeys(wanted, two)
    (deleted,) = await kernel.write([RouteBatch(RouteOp.DELETE, V4, None, wanted)])
    assert (deleted.failures, deleted.foreign) == ([], [])
    assert (await kernel.dump()).routes[V4] == {}
    assert time.monotonic() - started < 5


async def test_each_kind_of_target_reads_back_as_it_was_written(netns, kernel: Kernel) -> None:
    index = netns.index("va")
    targets = [
        BLACKHOLE,
        workload_target(index),
        via(index, "192.168.0.9"),
        RouteTarget(RouteKind.UNICAST, (Hop(IPv4Address("172.16.0.1"), index, onlink=True),)),
        RouteTarget(
            RouteKind.UNICAST,
            (Hop(IPv4Address("172.16.0.1"), index, onlink=True), Hop(IPv4Address("172.16.0.2"), index, onlink=True)),
        ),
    ]
    batches = [RouteBatch(RouteOp.ADD, V4, target, [pack(10 << 24 | n << 8, 24 + n, V4)])
               for n, target in enumerate(targets)]
    assert all(not result.failures for result in await kernel.write(batches))
    held = (await kernel.dump()).routes[V4]
    assert held == {batch.prefixes[0]: batch.target for batch in batches}
    assert "10.0.1.0/25 dev va scope link metric 1024" in netns.routes()
    assert "blackhole 10.0.0.0/24 metric 1024" in netns.routes()


async def test_ipv6_routes_read_back_as_they_were_written(netns, kernel: Kernel) -> None:
    index = netns.index("va")
    netns.ip("-6 address add fd00::1/64 dev va nodad")
    from ipaddress import IPv6Address

    target = RouteTarget(RouteKind.UNICAST, (Hop(IPv6Address("fd00::2"), index),))
    block = Prefix.parse("fd10::/122").packed
    host = Prefix.parse("fd10::41/128").packed
    hole = Prefix.parse("fd10::80/122").packed
    batches = [
        RouteBatch(RouteOp.ADD, V6, target, [block]),
        RouteBatch(RouteOp.ADD, V6, workload_target(index), [host]),
        RouteBatch(RouteOp.ADD, V6, BLACKHOLE, [hole]),
    ]
    assert all(not result.failures for result in await kernel.write(batches))
    assert (await kernel.dump()).routes[V6] == {block: target, host: workload_target(index), hole: BLACKHOLE}
    assert not (await kernel.write([RouteBatch(RouteOp.DELETE, V6, None, [block, host, hole])]))[0].failures
    assert (await kernel.dump()).routes[V6] == {}


async def test_a_route_of_another_process_at_our_key_is_left_alone_and_named_foreign(netns, kernel: Kernel) -> None:
    netns.ip("route add 10.0.0.0/26 via 192.168.0.77 metric 1024 proto static")
    netns.ip("route add 10.0.0.64/26 via 192.168.0.77 metric 5 proto static")
    target = via(netns.index("va"), "192.168.0.2")
    (result,) = await kernel.write([RouteBatch(RouteOp.ADD, V4, target, blocks(3))])
    assert result.foreign == [blocks(1)[0]]
    assert result.failures == []
    assert "10.0.0.0/26 via 192.168.0.77 dev va metric 1024" in netns.routes("proto static")
    assert set((await kernel.dump()).routes[V4]) == set(blocks(3)[1:])
    await kernel.write([RouteBatch(RouteOp.DELETE, V4, None, blocks(3))])
    assert len(netns.routes("proto static")) == 2


async def test_many_foreign_routes_are_told_from_ours_with_one_dump(netns, kernel: Kernel) -> None:
    target, other = via(netns.index("va"), "192.168.0.2"), via(netns.index("va"), "192.168.0.3")
    everything = blocks(300)
    for packed in everything[:60]:
        netns.ip(f"route add {Prefix(V4, packed)} via 192.168.0.77 metric 1024 proto static")
    await kernel.write([RouteBatch(RouteOp.ADD, V4, other, everything[60:200])])
    (result,) = await kernel.write([RouteBatch(RouteOp.ADD, V4, target, everything)])
    assert sorted(result.foreign) == sorted(everything[:60])
    assert result.failures == []
    assert (await kernel.dump()).routes[V4] == dict.fromkeys(everything[60:], target)


async def test_adding_what_is_there_already_changes_nothing_and_sends_no_event(
    netns, kernel: Kernel, eventually
) -> None:
    await eventually(lambda: "tentative" not in netns.ip("-6 address show"))  # its end is an event of its own
    target = via(netns.index("va"), "192.168.0.2")
    await kernel.write([RouteBatch(RouteOp.ADD, V4, target, blocks(10))])
    watcher = Kernel()
    await watcher.open()
    try:
        (result,) = await kernel.write([RouteBatch(RouteOp.ADD, V4, target, blocks(10))])
        assert (result.failures, result.foreign) == ([], [])
        assert watcher._monitor is not None
        watcher._monitor._readable()
        assert watcher._monitor._take() == []
    finally:
        await watcher.close()


async def test_a_failing_message_stops_no_other_and_tells_its_errno(netns, kernel: Kernel) -> None:
    good, bad = via(netns.index("va"), "192.168.0.2"), via(netns.index("va"), "172.16.0.1")
    results = await kernel.write(
        [RouteBatch(RouteOp.ADD, V4, bad, blocks(1500)), RouteBatch(RouteOp.ADD, V4, good, blocks(5, base=11 << 24))]
    )
    assert {code for _, code in results[0].failures} == {errno.ENETUNREACH}
    assert len(results[0].failures) == 1500
    assert results[1].failures == []
    assert len((await kernel.dump()).routes[V4]) == 5


async def test_deleting_what_is_gone_is_done_and_a_foreign_route_of_that_prefix_stays(netns, kernel: Kernel) -> None:
    netns.ip("route add 10.0.0.0/26 via 192.168.0.77 metric 1024 proto static")
    (result,) = await kernel.write([RouteBatch(RouteOp.DELETE, V4, None, blocks(2))])
    assert (result.failures, result.foreign) == ([], [])
    assert len(netns.routes("proto static")) == 1


async def test_our_routes_with_another_metric_are_strays_which_a_delete_with_that_metric_removes(netns, kernel) -> None:
    netns.ip("route add 10.0.0.0/26 via 192.168.0.2 metric 50 proto 117")
    netns.ip("route add 10.0.0.0/26 via 192.168.0.2 metric 60 proto static")
    (stray,) = (await kernel.dump()).strays
    assert (stray.metric, str(Prefix(V4, stray.packed))) == (50, "10.0.0.0/26")
    await kernel.write([RouteBatch(RouteOp.DELETE, V4, None, [stray.packed], metric=50)])
    assert netns.routes() == []
    assert len(netns.routes("proto static")) == 1


async def test_a_route_with_something_we_never_set_equals_no_wanted_target(netns, kernel: Kernel) -> None:
    netns.ip("route add 10.0.0.0/26 via 192.168.0.2 metric 1024 proto 117 mtu 1300")
    (held,) = (await kernel.dump()).routes[V4].values()
    assert held.altered
    assert held != via(netns.index("va"), "192.168.0.2")
    target = via(netns.index("va"), "192.168.0.2")
    (result,) = await kernel.write([RouteBatch(RouteOp.ADD, V4, target, blocks(1))])
    assert result.failures == []
    assert list((await kernel.dump()).routes[V4].values()) == [target]


async def test_next_hops_resolve_as_the_kernel_sees_them(netns, kernel: Kernel) -> None:
    netns.ip("route add 172.20.0.0/16 via 192.168.0.254 metric 7")
    netns.ip("route add 172.21.0.0/16 via 192.168.0.254 proto 117 metric 1024")
    netns.ip("route add blackhole 172.22.0.0/16")
    names = ["192.168.0.2", "172.20.0.1", "172.21.0.1", "172.22.0.1", "8.8.8.8", "192.168.0.1", "127.0.0.1"]
    facts = await kernel.resolve([IPv4Address(name) for name in names])
    on_link, routed, own, hole, none, local, loopback = (facts[IPv4Address(name)] for name in names)
    assert (on_link.reachable, on_link.on_link, on_link.ifindex) == (True, True, netns.index("va"))
    assert (on_link.mtu, on_link.source) == (1500, IPv4Address("192.168.0.1"))
    assert (routed.reachable, routed.on_link, routed.gateway) == (True, False, IPv4Address("192.168.0.254"))
    assert routed.metric == 7
    assert not any(facts.reachable for facts in (own, hole, none, local, loopback))


async def test_interfaces_come_with_their_addresses_state_and_kind(netns, kernel: Kernel) -> None:
    netns.ip("link set vb mtu 1400")
    netns.ip("link set vb down")
    facts = {link.name: link for link in (await kernel.interfaces()).values()}
    assert (IPv4Address("192.168.0.1"), 24) in facts["va"].addresses
    assert (facts["va"].up, facts["va"].carrier, facts["va"].kind) == (True, False, "veth")
    assert (facts["vb"].up, facts["vb"].mtu) == (False, 1400)
    assert facts["lo"].loopback
    assert facts["va"].holds(IPv4Address("192.168.0.200"))
    assert not facts["va"].holds(IPv4Address("192.168.1.1"))
