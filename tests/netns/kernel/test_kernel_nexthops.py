"""Nexthop objects against the real kernel, in a namespace: ours, those of others, and the routes that name them."""
from __future__ import annotations

import asyncio
import errno
import json
from ipaddress import IPv4Address, ip_address

import pytest
from fibs import blocks

from calicopy.fib.types import (
    HELD_PROTOCOL,
    NEXT_HOP_IDS,
    Hop,
    NextHopChange,
    NextHopObject,
    NextHopOp,
    RouteBatch,
    RouteKind,
    RouteOp,
    RouteTarget,
)
from calicopy.kernel.encode import Identity
from calicopy.kernel.events import KernelEvent, NextHopsChanged, RoutesChanged
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.netlink import NetlinkSocket
from calicopy.kernel.nexthops import NextHopWriter, dump_next_hops
from calicopy.net import Family

pytestmark = pytest.mark.netns
V4, V6 = Family.IPV4, Family.IPV6
FIRST = NEXT_HOP_IDS.start


def via(number: int, ifindex: int, gateway: str, *, onlink: bool = False) -> NextHopObject:
    address = ip_address(gateway)
    family = V4 if address.version == 4 else V6
    return NextHopObject(FIRST + number, family, Hop(address, ifindex, onlink=onlink))


def group(number: int, *members: int, family: Family = V4) -> NextHopObject:
    return NextHopObject(FIRST + number, family, members=tuple((FIRST + member, 1) for member in members))


def add(*objects: NextHopObject) -> list[NextHopChange]:
    return [NextHopChange(NextHopOp.ADD, one) for one in objects]


def replace(*objects: NextHopObject) -> list[NextHopChange]:
    return [NextHopChange(NextHopOp.REPLACE, one) for one in objects]


def delete(*objects: NextHopObject) -> list[NextHopChange]:
    return [NextHopChange(NextHopOp.DELETE, one) for one in objects]


async def done(kernel: Kernel, changes: list[NextHopChange]) -> bool:
    results = await kernel.write_next_hops(changes)
    assert [result.change for result in results] == changes
    return all(result.errno == 0 and not result.foreign for result in results)


def by_id(number: int) -> RouteTarget:
    return RouteTarget(RouteKind.UNICAST, next_hop_id=FIRST + number)


async def test_each_kind_of_object_reads_back_as_it_was_written(netns, kernel: Kernel) -> None:
    netns.ip("-6 address add fd00::1/64 dev va nodad")
    index = netns.index("va")
    wanted = [
        via(1, index, "192.168.0.2"),
        via(2, index, "172.16.0.1", onlink=True),
        via(3, index, "fd00::2"),
        via(4, index, "fd00::3"),
        NextHopObject(FIRST + 5, V4),
        NextHopObject(FIRST + 6, V6),
        NextHopObject(FIRST + 7, V4, members=((FIRST + 1, 1), (FIRST + 2, 3))),
        group(8, 3, 4, family=V6),
        group(9, 6, family=V6),
    ]
    assert await done(kernel, add(*wanted))
    assert (await kernel.dump()).next_hops == {one.id: one for one in wanted}
    assert await kernel.read_next_hops([FIRST + 8, FIRST + 99]) == {FIRST + 8: wanted[7], FIRST + 99: None}
    assert await done(kernel, delete(*reversed(wanted)))
    assert (await kernel.dump()).next_hops == {}


@pytest.mark.parametrize("compat", [0, 1])
async def test_routes_by_id_read_back_the_same_whatever_the_kernel_tells_beside_it(netns, kernel, compat: int) -> None:
    netns.sysctl("ipv4/nexthop_compat_mode", compat)
    netns.ip("-6 address add fd00::1/64 dev va nodad")
    index = netns.index("va")
    objects = [via(1, index, "192.168.0.2"), via(2, index, "172.16.0.1", onlink=True), via(3, index, "fd00::2"),
               NextHopObject(FIRST + 4, V4), NextHopObject(FIRST + 5, V6), group(6, 1, 2), group(7, 4)]
    assert await done(kernel, add(*objects))
    v4 = blocks(5)
    v6 = blocks(2, V6)
    routes = {
        V4: dict(zip(v4, map(by_id, (1, 2, 4, 6, 7)), strict=True)),
        V6: dict(zip(v6, map(by_id, (3, 5)), strict=True)),
    }
    batches = [RouteBatch(RouteOp.ADD, family, target, [packed])
               for family, part in routes.items() for packed, target in part.items()]
    assert not any(result.failures or result.foreign for result in await kernel.write(batches))
    assert (await kernel.dump()).routes == routes
    again = [RouteBatch(RouteOp.ADD, V4, by_id(2), [v4[0]])]  # met, read back by a look-up, and put right
    assert not any(result.failures or result.foreign for result in await kernel.write(again))
    assert (await kernel.dump()).routes[V4][v4[0]] == by_id(2)


async def test_one_replace_moves_every_route_of_an_object(netns, kernel: Kernel) -> None:
    index = netns.index("va")
    assert await done(kernel, add(via(1, index, "192.168.0.2")))
    await kernel.write([RouteBatch(RouteOp.ADD, V4, by_id(1), blocks(1000))])
    assert await done(kernel, replace(via(1, index, "192.168.0.3")))
    assert "via 192.168.0.3" in netns.ip("route get 10.0.0.1")
    assert await done(kernel, replace(NextHopObject(FIRST + 1, V4)))
    assert (await kernel.match(IPv4Address("10.0.200.1"))).errno == errno.EINVAL
    assert len((await kernel.dump()).routes[V4]) == 1000


async def test_a_member_leaves_a_group_by_one_replace_and_a_blackhole_stays_for_the_last(netns, kernel) -> None:
    index = netns.index("va")
    one, two, hole = via(1, index, "192.168.0.2"), via(2, index, "192.168.0.3"), NextHopObject(FIRST + 3, V4)
    assert await done(kernel, add(one, two, hole, group(4, 1, 2)))
    await kernel.write([RouteBatch(RouteOp.ADD, V4, by_id(4), blocks(10))])
    assert await done(kernel, replace(group(4, 1)))
    assert "via 192.168.0.2" in netns.ip("route get 10.0.0.1")
    assert await done(kernel, replace(group(4, 3)))
    assert (await kernel.match(IPv4Address("10.0.0.1"))).errno == errno.EINVAL
    (refused,) = await kernel.write_next_hops(replace(group(4, 1, 3)))
    assert refused.errno == errno.EINVAL


async def test_an_id_that_another_process_took_is_foreign_and_stays_as_it_is(netns, kernel: Kernel) -> None:
    netns.ip(f"nexthop add id {FIRST + 1} via 192.168.0.77 dev va proto static")
    netns.ip("nexthop add id 7 via 192.168.0.78 dev va proto static")
    before, mine = netns.ip("nexthop show"), via(1, netns.index("va"), "192.168.0.2")
    results = await kernel.write_next_hops([*add(mine), *replace(mine), *delete(mine)])
    assert [(result.errno, result.foreign) for result in results] == [
        (errno.EEXIST, True), (errno.EEXIST, True), (0, True)
    ]
    assert netns.ip("nexthop show") == before
    dump = await kernel.dump()
    assert (dump.next_hops, dump.foreign_ids) == ({}, {FIRST + 1})


async def test_a_blackhole_that_bfd_holds_is_ours_and_overwritten_only_on_purpose(netns, kernel: Kernel) -> None:
    index = netns.index("va")
    netns.ip("link set lo up")
    one = via(1, index, "192.168.0.2")
    assert await done(kernel, add(one, group(2, 1)))
    netns.ip(f"nexthop replace id {FIRST + 1} blackhole protocol {HELD_PROTOCOL}")
    held = NextHopObject(FIRST + 1, V4, held=True)
    assert await kernel.read_next_hops([FIRST + 1]) == {FIRST + 1: held}
    dump = await kernel.dump()
    assert dump.next_hops is not None
    assert (dump.next_hops[FIRST + 1], dump.foreign_ids) == (held, frozenset())
    for change in (*replace(one), *add(one)):
        (result,) = await kernel.write_next_hops([change])
        assert (result.held, result.errno) == (True, errno.EBUSY)
    own = NextHopObject(FIRST + 1, V4)
    assert await done(kernel, [NextHopChange(NextHopOp.REPLACE, own, over_hold=True)])
    assert await kernel.read_next_hops([FIRST + 1]) == {FIRST + 1: own}
    assert await done(kernel, replace(one))
    netns.ip(f"nexthop replace id {FIRST + 1} blackhole protocol {HELD_PROTOCOL}")
    assert await done(kernel, delete(group(2, 1), one))


async def test_an_add_that_meets_an_object_of_ours_brings_it_to_what_is_wanted(netns, kernel: Kernel) -> None:
    index = netns.index("va")
    assert await done(kernel, add(via(1, index, "192.168.0.2"), via(2, index, "192.168.0.3")))
    await kernel.write([RouteBatch(RouteOp.ADD, V4, by_id(1), blocks(10))])
    changed = via(2, index, "192.168.0.4")
    assert await done(kernel, add(via(1, index, "192.168.0.2"), changed))
    dump = await kernel.dump()
    assert dump.next_hops == {FIRST + 1: via(1, index, "192.168.0.2"), FIRST + 2: changed}
    assert len(dump.routes[V4]) == 10


async def test_what_is_gone_is_deleted_already_and_cannot_be_replaced(netns, kernel: Kernel) -> None:
    one = via(1, netns.index("va"), "192.168.0.2")
    results = await kernel.write_next_hops([*delete(one), *replace(one), *add(one), *replace(one)])
    assert [result.errno for result in results] == [0, errno.ENOENT, 0, 0]


async def test_one_change_that_fails_stops_no_other(netns, kernel: Kernel) -> None:
    index = netns.index("va")
    results = await kernel.write_next_hops(
        add(via(1, index, "192.168.0.2"), via(2, index, "172.16.0.1"), group(3, 1, 9), via(4, index, "192.168.0.3"))
    )
    assert [result.errno for result in results] == [0, errno.ENETUNREACH, errno.EINVAL, 0]
    assert set((await kernel.dump()).next_hops or {}) == {FIRST + 1, FIRST + 4}


async def test_an_object_of_ours_that_another_process_made_anew_in_another_way_equals_nothing_wanted(
    netns, kernel: Kernel
) -> None:
    netns.ip(f"nexthop add id {FIRST + 1} encap ip id 5 dst 192.168.0.9 via 192.168.0.2 dev va proto 117")
    wanted = via(1, netns.index("va"), "192.168.0.2")
    (held,) = ((await kernel.dump()).next_hops or {}).values()
    assert held != wanted
    assert not held.is_blackhole
    assert await done(kernel, add(wanted))
    assert (await kernel.dump()).next_hops == {wanted.id: wanted}


async def test_a_kernel_without_objects_says_so(netns) -> None:
    edge = Kernel(next_hop_objects=False)
    await edge.open()
    try:
        assert (await edge.dump()).next_hops is None
        (result,) = await edge.write_next_hops(add(via(1, netns.index("va"), "192.168.0.2")))
        assert result.errno == errno.EOPNOTSUPP
    finally:
        await edge.close()


async def test_the_match_of_an_address_shows_what_the_object_leads_to(netns, kernel: Kernel) -> None:
    index = netns.index("va")
    assert await done(kernel, add(via(1, index, "192.168.0.2"), via(2, index, "192.168.0.3"), group(3, 1, 2)))
    one, both = blocks(2)
    await kernel.write([RouteBatch(RouteOp.ADD, V4, by_id(1), [one]), RouteBatch(RouteOp.ADD, V4, by_id(3), [both])])
    first, second = Hop(IPv4Address("192.168.0.2"), index), Hop(IPv4Address("192.168.0.3"), index)
    found = await kernel.match(IPv4Address("10.0.0.1"))
    assert found.target == RouteTarget(RouteKind.UNICAST, (first,), next_hop_id=FIRST + 1)
    found = await kernel.match(IPv4Address("10.0.0.65"))
    assert found.target == RouteTarget(RouteKind.UNICAST, (first, second), next_hop_id=FIRST + 3)


async def test_events_name_the_ids_in_our_range_that_others_touched_and_nothing_that_we_wrote(
    netns, kernel: Kernel, eventually
) -> None:
    netns.sysctl("ipv4/nexthop_compat_mode", 0)
    index = netns.index("va")
    seen: list[KernelEvent] = []

    async def read() -> None:
        async for event in kernel.events():
            seen.append(event)  # noqa: PERF401 (what came so far is looked at meanwhile)

    reader = asyncio.create_task(read())
    try:
        assert await done(kernel, add(via(1, index, "192.168.0.2"), via(2, index, "192.168.0.3"), group(3, 1, 2)))
        await kernel.write([RouteBatch(RouteOp.ADD, V4, by_id(3), blocks(100))])
        netns.ip("nexthop add id 9 via 192.168.0.99 dev va")
        netns.ip(f"nexthop delete id {FIRST + 1}")
        await eventually(lambda: _touched(seen) == {FIRST + 1, FIRST + 3})  # it left the group, too
        assert (await kernel.read_next_hops([FIRST + 1, FIRST + 3])) == {FIRST + 1: None, FIRST + 3: group(3, 2)}
        netns.ip(f"nexthop replace id {FIRST + 2} via 192.168.0.50 dev va proto static")
        await eventually(lambda: _touched(seen) == {FIRST + 1, FIRST + 2, FIRST + 3})
        assert await kernel.read_next_hops([FIRST + 2]) == {FIRST + 2: None}
        assert not any(isinstance(event, RoutesChanged) for event in seen)
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


def _touched(seen: list[KernelEvent]) -> set[int]:
    return {number for event in seen if isinstance(event, NextHopsChanged) for number in event.ids}


async def test_a_change_of_an_object_does_not_wait_for_routes_that_are_being_written(netns, kernel: Kernel) -> None:
    index = netns.index("va")
    assert await done(kernel, add(via(1, index, "192.168.0.2")))
    bulk = asyncio.create_task(kernel.write([RouteBatch(RouteOp.ADD, V4, by_id(1), blocks(60_000))]))
    changes = 0
    while not bulk.done():
        assert await done(kernel, replace(via(1, index, f"192.168.0.{2 + changes % 2}")))
        changes += 1
    assert changes >= 2  # the last one may have ended after it
    assert not (await bulk)[0].failures


async def test_thousands_of_changes_and_a_tiny_answer_buffer_lose_nothing(netns) -> None:
    index = netns.index("va")
    socket = NetlinkSocket(receive_buffer=4096)
    try:
        writer = NextHopWriter(socket, Identity(117, 1024))
        good = [via(number, index, f"192.168.0.{2 + number % 200}") for number in range(1000)]
        assert all(result.errno == 0 for result in writer.write(add(*good)))
        bad = [via(number, index, "172.16.0.1") for number in range(1000, 2000)]
        assert {result.errno for result in writer.write(add(*bad))} == {errno.ENETUNREACH}
        assert all(result.errno == 0 for result in writer.write(replace(*good)))
        assert writer.read([one.id for one in good]) == {one.id: one for one in good}
        held = dump_next_hops(socket, Identity(117, 1024))
        assert held is not None
        assert len(held.ours) == 1000
        assert len(json.loads(netns.ip("-j nexthop show"))) == 1000
    finally:
        socket.close()
