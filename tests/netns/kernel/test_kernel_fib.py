"""The FIB on the real kernel, in a namespace: what it wants of objects and routes is what the kernel makes of it."""
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from fibs import Path, Selection, blocks

from calicopy.fib import Fib
from calicopy.kernel.kernel import Kernel
from calicopy.net import Family
from calicopy.net.nexthop import NextHopFacts

pytestmark = pytest.mark.netns
V4, V6 = Family.IPV4, Family.IPV6
WAYS = tuple(IPv4Address(f"192.168.0.{number}") for number in range(2, 18))
MANY = blocks(300)


async def a_fib(kernel: Kernel, ifindex: int) -> Fib:
    fib = Fib()
    fib.set_next_hops({one: NextHopFacts(one, True, on_link=True, ifindex=ifindex) for one in WAYS})
    fib.kernel_state(await kernel.dump())
    return fib


def learn(fib: Fib, *ways: IPv4Address, prefixes: list[bytes] = MANY) -> None:
    fib.apply_decisions(V4, [(Selection(tuple(map(Path, ways))) if ways else None, prefixes)])


async def settle(fib: Fib, kernel: Kernel, now: float = 0.0) -> int:
    """Write until nothing is left to do; how many changes and routes that took."""
    count = 0
    for _ in range(200):
        changes = fib.next_hop_delta(now)
        if changes:
            fib.next_hops_written(await kernel.write_next_hops(changes), now)
        batches = fib.delta(1000, now)
        fib.written(await kernel.write(batches), now)
        count += len(changes) + sum(len(batch.prefixes) for batch in batches)
        if not (changes or batches) and now not in (fib.next_deadline(now), fib.next_hop_deadline(now)):
            return count
    raise AssertionError("the FIB does not come to rest")


async def differs(fib: Fib, kernel: Kernel) -> bool:
    """Whether the kernel holds something else than what the FIB wants, in objects or routes."""
    dump = await kernel.dump()
    return dump.routes[V4] != fib.desired(V4) or dump.next_hops != fib.next_hops


async def test_groups_of_sixteen_lose_and_get_members_and_no_route_is_written(netns, kernel: Kernel) -> None:
    fib = await a_fib(kernel, netns.index("va"))
    learn(fib, *WAYS)
    learn(fib, *WAYS[:2], prefixes=MANY[:10])
    assert await settle(fib, kernel) == 16 + 2 + 300
    assert not await differs(fib, kernel)
    for dead, leads in ((WAYS[:1], True), (WAYS[:2], False), (WAYS, False), (WAYS[1:], True), ((), True)):
        fib.set_dead_next_hops(frozenset(dead))
        assert await settle(fib, kernel) <= 16 + 2
        assert not await differs(fib, kernel)
        assert bool(netns.leads("10.0.0.1")) is leads, "over the group of two"
    assert fib.in_sync


async def test_a_node_that_is_gone_is_one_change_and_nothing_leaks_by_the_default_route(netns, kernel: Kernel) -> None:
    netns.ip("route add default via 192.168.0.99")
    fib = await a_fib(kernel, netns.index("va"))
    learn(fib, WAYS[0])
    await settle(fib, kernel)
    assert netns.leads("10.0.0.1") == str(WAYS[0])
    fib.set_dead_next_hops(frozenset(WAYS[:1]))
    assert await settle(fib, kernel) == 1
    assert netns.leads("10.0.0.1") == ""
    learn(fib)
    await settle(fib, kernel)
    assert netns.leads("10.0.0.1") == "192.168.0.99"
    await settle(fib, kernel, 100.0)
    assert netns.ip("nexthop show proto 117") == "", "nothing uses it any more"


async def test_after_the_carrier_was_gone_objects_and_routes_are_as_before(
    netns, kernel: Kernel, eventually
) -> None:
    fib = await a_fib(kernel, netns.index("va"))
    learn(fib, WAYS[0])
    learn(fib, *WAYS[:3], prefixes=MANY[:10])
    await settle(fib, kernel)
    before = await kernel.dump()
    netns.ip("link set vb down")
    await eventually(lambda: not netns.routes())
    netns.ip("link set vb up")
    await eventually(lambda: "NO-CARRIER" not in netns.ip("link show va"))
    fib.interfaces_lost({netns.index("va")})
    await settle(fib, kernel)
    assert await kernel.dump() == before


async def test_what_survived_an_address_event_is_left_as_it_is(netns, kernel: Kernel) -> None:
    fib = await a_fib(kernel, netns.index("va"))
    learn(fib, *WAYS[:2])
    await settle(fib, kernel)
    before = await kernel.dump()
    fib.interfaces_lost({netns.index("va")})
    await settle(fib, kernel)
    assert await kernel.dump() == before
    assert fib.in_sync


async def test_an_agent_that_starts_takes_objects_and_routes_as_they_are(netns, kernel: Kernel) -> None:
    first = await a_fib(kernel, netns.index("va"))
    learn(first, *WAYS)
    learn(first, WAYS[0], prefixes=MANY[:10])
    await settle(first, kernel)
    second = await a_fib(kernel, netns.index("va"))
    learn(second, *reversed(WAYS), prefixes=MANY[10:])
    learn(second, WAYS[0], prefixes=MANY[:10])
    second.allow_sweep(True)
    assert await settle(second, kernel) == 0
    assert second.in_sync


async def test_an_id_of_another_process_is_passed_over_and_left_as_it_is(netns, kernel: Kernel) -> None:
    fib = await a_fib(kernel, netns.index("va"))
    learn(fib, WAYS[0])
    (change,) = fib.next_hop_delta(0.0)
    netns.ip(f"nexthop add id {change.object.id} via 192.168.0.77 dev va proto 99")
    fib.next_hops_written(await kernel.write_next_hops([change]), 0.0)
    await settle(fib, kernel)
    assert netns.leads("10.0.0.1") == str(WAYS[0])
    assert "192.168.0.77" in netns.ip(f"nexthop show id {change.object.id}")
    assert fib.in_sync


async def test_ipv6_has_objects_groups_and_blackholes_of_its_own(netns, kernel: Kernel) -> None:
    netns.ip("-6 address add fd00::1/64 dev va nodad")
    ways = tuple(IPv6Address(f"fd00::{number}") for number in range(2, 5))
    fib = await a_fib(kernel, netns.index("va"))
    fib.set_next_hops({one: NextHopFacts(one, True, on_link=True, ifindex=netns.index("va")) for one in ways})
    some = blocks(100, V6)
    both, one = Selection(tuple(map(Path, ways))), Selection((Path(ways[0]),))
    fib.apply_decisions(V6, [(both, some[:50]), (one, some[50:])])
    assert await settle(fib, kernel) == 3 + 1 + 100
    for dead, leads in ((ways[:1], True), (ways, False), ((), True)):
        fib.set_dead_next_hops(frozenset(dead))
        assert await settle(fib, kernel) <= 3 + 1
        dump = await kernel.dump()
        assert dump.routes[V6] == fib.desired(V6)
        assert dump.next_hops == fib.next_hops
        assert bool(netns.leads("fd10::1")) is leads, "over the group"
    fib.apply_decisions(V6, [(None, some)])
    await settle(fib, kernel)
    await settle(fib, kernel, 100.0)
    assert netns.ip("nexthop show proto 117") == ""
    assert fib.in_sync
