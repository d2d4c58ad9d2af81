"""What other processes, links and full buffers do to the kernel's routes and objects, and that ours heal.

Each with the real FIB and the real kernel; what is not ours has to stay as it is.
"""
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, ip_address

import pytest
from fibloop import GATEWAY, FibLoop
from fibs import Path, Selection, blocks

from calicopy.fib import (
    BLACKHOLE,
    FibPool,
    Hop,
    NextHopChange,
    NextHopObject,
    NextHopOp,
    RouteBatch,
    RouteKind,
    RouteOp,
    RouteTarget,
)
from calicopy.fib.types import NEXT_HOP_IDS
from calicopy.kernel.encode import Identity
from calicopy.kernel.events import KernelEventsLost
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.netlink import NetlinkOverrunError, NetlinkSocket
from calicopy.kernel.writer import RouteWriter
from calicopy.net import Family, Prefix

pytestmark = pytest.mark.netns
V4, V6 = Family.IPV4, Family.IPV6
THEIRS = Identity(protocol=4, metric=5)


@pytest.fixture
async def loop(netns, kernel: Kernel) -> AsyncIterator[FibLoop]:
    netns.sysctl("ipv4/nexthop_compat_mode", 0)
    agent = FibLoop(kernel)
    await agent.start()
    agent.fib.allow_sweep(True)
    async with agent.running():
        yield agent


def only_object(loop: FibLoop) -> int:
    (number,) = loop.fib.next_hops
    return number


async def in_sync(netns, loop: FibLoop, eventually, count: int, gateway: str = str(GATEWAY)) -> None:
    """Until so many routes of ours are there, and the first leads to the gateway."""
    await eventually(lambda: loop.fib.in_sync and len(netns.routes()) == count and netns.leads("10.0.0.1") == gateway)


async def test_an_object_that_another_process_deletes_comes_back_with_its_routes(netns, loop, eventually) -> None:
    netns.ip("nexthop add id 9 via 192.168.0.99 dev va proto static")
    netns.ip("route add 10.0.0.0/26 nhid 9 metric 5 proto static")
    theirs = netns.ip("route show proto static"), netns.ip("nexthop show id 9")
    loop.learn(blocks(100)[1:])
    await eventually(lambda: len(netns.routes()) == 99 and loop.fib.in_sync)
    netns.ip(f"nexthop delete id {only_object(loop)}")
    assert len(netns.routes()) < 99
    await eventually(lambda: len(netns.routes()) == 99 and loop.fib.in_sync)
    assert netns.leads("10.0.0.65") == str(GATEWAY)
    assert (netns.ip("route show proto static"), netns.ip("nexthop show id 9")) == theirs


async def test_an_object_that_another_process_points_elsewhere_is_put_right(netns, loop, eventually) -> None:
    loop.learn(blocks(10))
    await in_sync(netns, loop, eventually, 10)
    netns.ip(f"nexthop replace id {only_object(loop)} via 192.168.0.50 dev va proto 117")
    await in_sync(netns, loop, eventually, 10)
    netns.ip(f"nexthop replace id {only_object(loop)} blackhole proto 117")
    await in_sync(netns, loop, eventually, 10)


async def test_an_object_that_another_process_takes_over_stays_its_own_and_ours_goes_elsewhere(
    netns, loop: FibLoop, eventually
) -> None:
    loop.learn(blocks(10))
    await in_sync(netns, loop, eventually, 10)
    taken = only_object(loop)
    netns.ip(f"nexthop replace id {taken} via 192.168.0.50 dev va proto static")
    await in_sync(netns, loop, eventually, 10)
    assert only_object(loop) != taken
    assert f"id {taken} via 192.168.0.50 dev va" in netns.ip("nexthop show proto 4")


async def test_ids_that_are_taken_already_are_not_used(netns, kernel: Kernel, eventually) -> None:
    first = FibLoop(kernel)
    await first.start()
    first.learn(blocks(1))
    await first.write()
    favourite = only_object(first)
    netns.ip(f"nexthop delete id {favourite}")
    netns.ip(f"nexthop add id {favourite} via 192.168.0.50 dev va proto static")
    second = FibLoop(kernel)
    await second.start()
    second.learn(blocks(10))
    await second.write()
    assert len(netns.routes()) == 10
    assert netns.leads("10.0.0.1") == str(GATEWAY)
    assert only_object(second) != favourite
    assert f"id {favourite} via 192.168.0.50 dev va" in netns.ip("nexthop show proto 4")


async def test_an_id_that_is_taken_after_the_dump_is_met_by_the_write(netns, kernel: Kernel) -> None:
    agent = FibLoop(kernel)
    await agent.start()
    agent.learn(blocks(10))
    (change,) = agent.fib.next_hop_delta(time.monotonic())
    netns.ip(f"nexthop add id {change.object.id} via 192.168.0.50 dev va proto static")
    agent.fib.next_hops_written(await kernel.write_next_hops([change]), time.monotonic())
    await agent.write()
    assert agent.fib.in_sync
    assert netns.leads("10.0.0.1") == str(GATEWAY)
    assert only_object(agent) != change.object.id
    assert f"id {change.object.id} via 192.168.0.50 dev va" in netns.ip("nexthop show proto 4")


async def test_a_foreign_route_with_a_better_metric_lives_beside_ours_and_the_match_shows_whose_it_is(
    netns, loop: FibLoop, eventually
) -> None:
    loop.learn(blocks(2))
    await in_sync(netns, loop, eventually, 2)
    netns.ip("route add 10.0.0.0/26 via 192.168.0.50 metric 5 proto static")
    loop.learn(blocks(3))
    await eventually(lambda: len(netns.routes()) == 3 and loop.fib.in_sync)
    assert netns.leads("10.0.0.1") == "192.168.0.50"
    found = await loop.kernel.match(IPv4Address("10.0.0.1"))
    assert (found.protocol, found.metric) == (4, 5)
    await loop.read()
    assert loop.fib.in_sync  # it is seen as ours beside theirs, not as drift
    netns.ip("route delete 10.0.0.0/26 proto static")
    assert netns.leads("10.0.0.1") == str(GATEWAY)


async def test_a_hundred_thousand_foreign_routes_beside_ours_cost_a_dump_next_to_nothing(netns, kernel) -> None:
    socket = NetlinkSocket()
    try:
        hop = Hop(IPv4Address("192.168.0.50"), netns.index("va"))
        theirs = RouteTarget(RouteKind.UNICAST, (hop,))
        (result,) = RouteWriter(socket, THEIRS).write([RouteBatch(RouteOp.ADD, V4, theirs, blocks(100_000))])
        assert not result.failures
    finally:
        socket.close()
    agent = FibLoop(kernel)
    await agent.start()
    agent.learn(blocks(1000))
    await agent.write()
    began = time.process_time()
    dump = await kernel.dump()
    took = time.process_time() - began
    assert set(dump.routes[V4]) == set(blocks(1000))
    print(f"dump of 1,000 routes beside 100,000 of others: {took * 1000:.1f} ms of CPU")
    assert took < 0.2  # what it takes to make values of 100,000 is about that much alone
    agent.fib.kernel_state(dump)
    assert agent.fib.in_sync
    assert len(netns.routes("proto static")) == 100_000


@pytest.mark.parametrize("end", ["va", "vb"], ids=["the-link-itself", "carrier-alone"])
async def test_a_link_flap_restores_a_thousand_routes_as_soon_as_the_link_is_up(
    netns, loop: FibLoop, eventually, end: str
) -> None:
    loop.learn(blocks(1000))
    await in_sync(netns, loop, eventually, 1000)
    for _ in range(3):
        netns.ip(f"link set {end} down")
        await eventually(lambda: not netns.routes() and not loop.fib.next_hops)
        netns.ip(f"link set {end} up")
        began = time.monotonic()
        await eventually(lambda: loop.fib.in_sync and len(loop.fib.actual(V4)) == 1000, 10)
        took = time.monotonic() - began
        assert len(netns.routes()) == 1000
        print(f"{end}: 1,000 routes were back {took * 1000:.0f} ms after the link")
        assert took < 1.0  # 50 ms where nothing else runs


async def test_an_address_that_goes_while_others_stay_leaves_nothing_behind(netns, loop, eventually) -> None:
    netns.ip("address add 192.168.7.1/24 dev va")
    loop.learn(blocks(100))
    await in_sync(netns, loop, eventually, 100)
    netns.ip("address delete 192.168.0.1/24 dev va")  # the kernel keeps routes and objects: there is another address
    await eventually(lambda: not netns.routes())
    netns.ip("address add 192.168.0.1/24 dev va")
    await in_sync(netns, loop, eventually, 100)


async def test_a_gateway_that_cannot_be_reached_while_adding_is_tried_again_on_the_event(
    netns, loop: FibLoop, eventually
) -> None:
    netns.ip("link set va down")
    loop.learn(blocks(10))
    netns.ip("link set va up")
    await in_sync(netns, loop, eventually, 10)


async def test_a_storm_of_foreign_changes_overruns_the_event_socket_and_nothing_of_ours_is_lost(
    netns, kernel: Kernel, eventually
) -> None:
    agent = FibLoop(kernel)
    await agent.start()
    agent.fib.allow_sweep(True)
    agent.learn(blocks(1000))
    await agent.write()
    socket = NetlinkSocket()
    try:  # nobody reads the events meanwhile, as when the loop is busy
        writer = RouteWriter(socket, THEIRS)
        for op in (RouteOp.ADD, RouteOp.DELETE):
            target = BLACKHOLE if op is RouteOp.ADD else None
            (result,) = writer.write([RouteBatch(op, V4, target, blocks(20_000))])
            assert not result.failures
        ours = RouteWriter(socket, kernel.identity)
        (result,) = ours.write([RouteBatch(RouteOp.DELETE, V4, None, blocks(1000)[:500])])
        assert not result.failures
    finally:
        socket.close()
    assert len(netns.routes()) == 500
    async with agent.running():
        await in_sync(netns, agent, eventually, 1000)
    assert any(isinstance(event, KernelEventsLost) for event in agent.seen)


async def test_answers_that_overrun_their_buffer_are_asked_for_again(netns) -> None:
    socket = NetlinkSocket(receive_buffer=4096)
    try:
        bad = RouteTarget(RouteKind.UNICAST, (Hop(IPv4Address("172.16.0.1"), netns.index("va")),))
        good = RouteTarget(RouteKind.UNICAST, (Hop(GATEWAY, netns.index("va")),))
        writer = RouteWriter(socket, Identity(117, 1024))
        wrong = RouteBatch(RouteOp.ADD, V4, bad, blocks(500))
        with pytest.raises(NetlinkOverrunError):
            writer._exchange([(writer._work(wrong), wrong.prefixes)])
        socket.drain()
        right = RouteBatch(RouteOp.ADD, V4, good, blocks(1000)[500:])
        first, second = writer.write([wrong, right])
        assert [packed for packed, _ in first.failures] == wrong.prefixes
        assert (second.failures, second.foreign) == ([], [])
        (gone,) = writer.write([RouteBatch(RouteOp.DELETE, V4, None, blocks(1000))])  # half of them answer ESRCH
        assert (gone.failures, gone.foreign) == ([], [])
        assert netns.routes() == []
    finally:
        socket.close()


async def test_a_send_buffer_that_could_not_be_made_large_takes_more_sends(netns) -> None:
    socket = NetlinkSocket(send_buffer=8192)
    try:
        assert socket.largest_send < 20_000
        target = RouteTarget(RouteKind.UNICAST, (Hop(GATEWAY, netns.index("va")),))
        (result,) = RouteWriter(socket, Identity(117, 1024)).write([RouteBatch(RouteOp.ADD, V4, target, blocks(2000))])
        assert (result.failures, result.foreign) == ([], [])
        assert len(netns.routes()) == 2000
    finally:
        socket.close()


async def test_ipv6_in_bulk_is_written_dumped_and_deleted_as_ipv4(netns, kernel: Kernel) -> None:
    netns.ip("-6 address add fd00::1/64 dev va nodad")
    gateway = ip_address("fd00::2")
    agent = FibLoop(kernel, FibPool(Prefix.parse("fd10::/16")))
    agent.wanted = {gateway}
    await agent.start()
    wanted = blocks(20_000, V6)
    agent.learn(wanted, Selection((Path(gateway),)), V6)
    await agent.write()
    assert agent.fib.in_sync
    number = only_object(agent)
    held = (await kernel.dump()).routes[V6]
    assert held == dict.fromkeys(wanted, RouteTarget(RouteKind.UNICAST, next_hop_id=number))
    agent.lose(wanted, V6)
    await agent.write()
    assert (await kernel.dump()).routes[V6] == {}


async def test_ipv6_routes_of_others_at_our_key_are_left_alone_and_ours_are_put_right(netns, kernel: Kernel) -> None:
    netns.ip("-6 address add fd00::1/64 dev va nodad")
    index, first = netns.index("va"), NEXT_HOP_IDS.start
    one, two = (NextHopObject(first + n, V6, Hop(ip_address(f"fd00::{2 + n}"), index)) for n in range(2))
    await kernel.write_next_hops([NextHopChange(NextHopOp.ADD, one), NextHopChange(NextHopOp.ADD, two)])
    led, other = (RouteTarget(RouteKind.UNICAST, next_hop_id=each.id) for each in (one, two))
    foreign, ours, better, *many = blocks(100, V6)
    netns.ip(f"-6 route add {Prefix(V6, foreign)} via fd00::9 proto static")  # 1024 is what IPv6 takes without a metric
    netns.ip(f"-6 route add {Prefix(V6, better)} via fd00::9 proto static metric 5")
    await kernel.write([RouteBatch(RouteOp.ADD, V6, other, [ours, better, *many])])
    for wanted in ([foreign, ours, better], [foreign, ours, better, *many]):  # looked up one by one, and dumped
        (result,) = await kernel.write([RouteBatch(RouteOp.ADD, V6, led, wanted)])
        assert (result.failures, result.foreign) == ([], [foreign])
        assert {(await kernel.dump()).routes[V6][packed] for packed in wanted[1:]} == {led}
    (gone,) = await kernel.write([RouteBatch(RouteOp.DELETE, V6, None, [foreign, ours, better, *many])])
    assert (gone.failures, gone.foreign) == ([], [])
    assert (await kernel.dump()).routes[V6] == {}
    assert len(netns.ip("-6 route show proto static").splitlines()) == 2


async def test_a_node_that_is_gone_costs_one_message_while_routes_are_being_written(netns, kernel: Kernel) -> None:
    netns.sysctl("ipv4/nexthop_compat_mode", 0)
    index, number = netns.index("va"), NEXT_HOP_IDS.start
    one = NextHopObject(number, V4, Hop(GATEWAY, index))
    (added,) = await kernel.write_next_hops([NextHopChange(NextHopOp.ADD, one)])
    assert added.errno == 0
    led = RouteTarget(RouteKind.UNICAST, next_hop_id=number)
    everything = blocks(40_000)
    await kernel.write([RouteBatch(RouteOp.ADD, V4, led, everything[:20_000])])
    bulk = kernel.begin_write([RouteBatch(RouteOp.ADD, V4, led, everything[20_000:])])
    await asyncio.sleep(0)
    began = time.monotonic()
    (gone,) = await kernel.write_next_hops([NextHopChange(NextHopOp.REPLACE, NextHopObject(number, V4))])
    took = time.monotonic() - began
    early = not bulk.done()
    await bulk
    assert gone.errno == 0
    print(f"the blackhole took {took * 1000:.1f} ms beside a bulk write{'' if early else ' that was through'}")
    assert (await kernel.match(IPv4Address("10.0.0.1"))).errno != 0
    assert took < 0.5  # 5 ms where nothing else runs
