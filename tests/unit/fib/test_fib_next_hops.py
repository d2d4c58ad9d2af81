"""Nexthop objects between the routes and the nodes: what is written when something changes, and what is not."""
from __future__ import annotations

from dataclasses import replace
from errno import EINVAL
from ipaddress import IPv4Address

import pytest
from fibs import Path, Selection, followed, led, reached, write, write_next_hops

from calicopy.fib import (
    BLACKHOLE,
    Fib,
    FibPool,
    Hop,
    NextHopChange,
    NextHopObject,
    NextHopOp,
    NextHopResult,
    UnderlayAddress,
    UnprogrammedReason,
    format_target,
)
from calicopy.kernel.fake import FailureFlag, FakeKernel, HeldObject
from calicopy.net import Encapsulation, EncapsulationMode, Family, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

V4 = Family.IPV4
A, B, C = (IPv4Address(f"192.0.2.{number}") for number in (2, 3, 4))
GATEWAY = IPv4Address("192.0.2.254")
ETH0, ETH1, TUNL0 = 2, 3, 9
BLOCKS = [prefix.packed for prefix in Prefix.parse("10.0.0.0/22").subnets(26)]


class Host:
    """A FIB on a kernel; everything is written until nothing is left to do."""

    def __init__(self, kernel: FakeKernel | None = None) -> None:
        self.kernel = kernel or FakeKernel()
        self.fib = Fib()
        self.fib.set_nodes({int(one): (UnderlayAddress(one, 24),) for one in (A, B, C)})
        self.fib.set_interfaces({
            index: InterfaceFacts(index, f"eth{index}", True, True, 1500, ((IPv4Address("192.0.2.1"), 24),))
            for index in (ETH0, ETH1)
        })
        self.fib.set_next_hops({one: NextHopFacts(one, True, on_link=True, ifindex=ETH0) for one in (A, B, C)})
        self.fib.kernel_state(self.kernel.dump_now())
        self.now = 0.0

    def learn(self, *ways: IPv4Address, prefixes: list[bytes] = BLOCKS) -> None:
        """These prefixes are reached by these next hops, owners of the same address; none: not at all."""
        selection = Selection(tuple(Path(way, int(way)) for way in ways)) if ways else None
        self.fib.apply_decisions(V4, [(selection, prefixes)])

    def write(self) -> int:
        """Gives how many messages that took."""
        before = self.kernel.writes
        write(self.fib, self.kernel, self.now)
        return self.kernel.writes - before

    def settle(self) -> None:
        """Long enough for what is not used any more to be found."""
        for _ in range(4):
            self.now += 100.0
            self.write()

    @property
    def hops(self) -> set[tuple[IPv4Address, ...]]:
        """The gateways that routes of ours lead to in the kernel; () for a blackhole."""
        return {tuple(hop.gateway for hop in one.hops) for one in reached(self.kernel).values()}


def on_tunnel(host: Host, mode: EncapsulationMode = EncapsulationMode.ALWAYS) -> None:
    host.fib.set_tunnels({Encapsulation.IPIP: TUNL0})
    host.fib.set_pools([FibPool(Prefix.parse("10.0.0.0/22"), Encapsulation.IPIP, mode)])


def test_routes_wait_for_their_object_and_name_it() -> None:
    host = Host()
    host.learn(A)
    assert host.fib.delta(100, 0.0) == [], "the object is not there yet"
    (change,) = host.fib.next_hop_delta(0.0)
    assert (change.op, change.object.hop) == (NextHopOp.ADD, Hop(A, ETH0))
    assert host.fib.delta(100, 0.0) == []
    host.fib.next_hops_written(host.kernel.write_next_hops_now([change]), 0.0)
    (batch,) = host.fib.delta(100, 0.0)
    assert batch.target is not None
    assert (batch.target.next_hop_id, batch.target.hops) == (change.object.id, ())
    host.fib.written(host.kernel.write_now([batch]), 0.0)
    assert host.fib.in_sync


def test_a_node_that_is_gone_costs_one_message_and_one_that_is_back_another() -> None:
    host = Host()
    host.learn(A)
    host.write()
    host.fib.set_dead_next_hops(frozenset({A}))
    assert host.write() == 1
    assert host.hops == {()}
    status = host.fib.status(Prefix(V4, BLOCKS[0]))
    assert status is not None
    assert status.reason is not None
    assert (status.reason.reason, status.reason.next_hop) == (UnprogrammedReason.NEXT_HOP_GONE, A)
    assert status.actual is not None
    assert format_target(status.actual, {}) == "blackhole"
    assert status.actual.next_hop_id in host.kernel.our_objects()
    host.fib.set_dead_next_hops(frozenset())
    assert host.write() == 1
    assert host.hops == {(A,)}


def test_the_blackhole_does_not_wait_for_routes_that_are_being_written() -> None:
    host = Host()
    host.learn(A)
    host.write()
    host.learn(B, prefixes=BLOCKS[:8])
    host.write()
    host.learn(A, prefixes=BLOCKS[:4])
    assert host.fib.delta(100, 0.0), "a write is under way"
    host.fib.set_dead_next_hops(frozenset({A}))
    assert [change.object.is_blackhole for change in host.fib.next_hop_delta(0.0)] == [True]


@pytest.mark.parametrize("count", [2, 3, 16])
def test_a_member_that_is_gone_leaves_its_groups_and_no_route_is_touched(count: int) -> None:
    host = Host()
    ways = tuple(IPv4Address(f"192.0.2.{number}") for number in range(2, 2 + count))
    host.fib.set_next_hops({one: NextHopFacts(one, True, on_link=True, ifindex=ETH0) for one in ways})
    host.learn(*ways)
    host.write()
    assert host.hops == {ways}
    host.fib.set_dead_next_hops(frozenset({ways[0]}))
    assert host.write() == 2, "the group without it, and its own object"
    assert host.hops == {ways[1:]}
    host.fib.set_dead_next_hops(frozenset(ways))
    host.write()
    assert host.hops == {()}
    host.fib.set_dead_next_hops(frozenset({ways[1]}))
    host.write()
    assert host.hops == {(ways[0], *ways[2:])}


def test_another_way_to_a_node_is_one_message() -> None:
    host = Host()
    on_tunnel(host, EncapsulationMode.CROSS_SUBNET)
    host.learn(A)
    host.write()
    assert host.hops == {(A,)}
    host.fib.set_next_hops({A: NextHopFacts(A, True, on_link=True, ifindex=ETH1)})
    assert host.write() == 1
    host.fib.set_next_hops({A: NextHopFacts(A, True, on_link=False, ifindex=ETH0, gateway=GATEWAY)})
    assert host.write() == 1, "from direct to the tunnel"
    assert set(reached(host.kernel).values()) == {replace(one, next_hop_id=0) for one in led(host.fib).values()}
    assert {hop.ifindex for one in reached(host.kernel).values() for hop in one.hops} == {TUNL0}
    host.fib.set_tunnels({Encapsulation.IPIP: TUNL0 + 1})
    assert host.write() == 1, "the device was made anew"


def test_ecmp_over_the_tunnel_has_a_member_for_each_node() -> None:
    host = Host()
    on_tunnel(host)
    host.learn(A, B)
    host.write()
    (target,) = set(reached(host.kernel).values())
    assert target.hops == (Hop(A, TUNL0, onlink=True), Hop(B, TUNL0, onlink=True))


def test_a_member_that_the_kernel_refuses_does_not_keep_the_others_from_being_used() -> None:
    host = Host(FakeKernel(down={ETH1}))
    host.fib.set_next_hops({A: NextHopFacts(A, True, on_link=True, ifindex=ETH1)})
    host.learn(A, B)
    host.write()
    assert host.hops == {(B,)}
    assert host.fib.counts().failed == 1
    host.kernel.down.clear()
    host.fib.interfaces_lost(frozenset())
    host.write()
    assert host.hops == {(A, B)}
    assert host.fib.in_sync


def test_a_link_that_goes_takes_objects_and_routes_and_all_are_written_again() -> None:
    host = Host()
    host.learn(A)
    host.learn(A, B, prefixes=BLOCKS[:4])
    host.write()
    before = host.kernel.our_objects()
    host.kernel.link_down(ETH0)
    host.kernel.link_up(ETH0)
    host.fib.interfaces_lost({ETH0})
    assert not host.fib.in_sync
    host.write()
    assert host.kernel.our_objects() == before
    assert host.kernel.ours() == dict(host.fib.desired(V4))
    assert host.fib.in_sync


def test_a_restart_adopts_objects_and_routes_and_writes_nothing() -> None:
    host = Host()
    host.learn(A)
    host.learn(A, B, prefixes=BLOCKS[:4])
    host.write()
    again = Host(host.kernel)
    again.learn(A, B, prefixes=BLOCKS[:4])  # in another order
    again.learn(A, prefixes=BLOCKS[4:])
    again.fib.allow_sweep(True)
    assert again.write() == 0
    assert again.fib.in_sync


def test_an_object_of_before_that_leads_elsewhere_is_not_taken() -> None:
    host = Host()
    host.learn(A)
    host.write()
    (number,) = host.kernel.our_objects()
    host.kernel.objects[number].object = NextHopObject(number, V4, Hop(C, ETH0))
    again = Host(host.kernel)
    again.learn(A, prefixes=BLOCKS[:4])
    again.write()
    assert host.kernel.our_objects()[number].hop == Hop(C, ETH0), "routes that wait for the sweep are on it"
    assert {followed(host.kernel, host.kernel.ours()[one]).hops for one in BLOCKS[:4]} == {(Hop(A, ETH0),)}
    again.fib.allow_sweep(True)
    again.settle()
    assert number not in host.kernel.our_objects()
    assert set(host.kernel.ours()) == set(BLOCKS[:4])


def test_an_object_goes_when_the_last_route_to_it_has_gone() -> None:
    host = Host()
    host.learn(A)
    host.learn(A, B, prefixes=BLOCKS[:4])
    host.learn(C, prefixes=BLOCKS[8:])
    host.write()
    assert len(host.kernel.our_objects()) == 4
    host.learn(A, prefixes=BLOCKS[:8])
    host.settle()
    assert {one.hop for one in host.kernel.our_objects().values()} == {Hop(A, ETH0), Hop(C, ETH0)}
    host.learn()
    host.settle()
    assert host.kernel.our_objects() == {}
    assert host.fib.in_sync


def test_an_id_that_another_process_holds_is_left_alone_and_another_is_taken() -> None:
    host = Host()
    host.learn(A)
    (change,) = host.fib.next_hop_delta(0.0)
    theirs = HeldObject(3, NextHopObject(change.object.id, V4, Hop(B, ETH0)))
    host.kernel.objects[change.object.id] = theirs
    host.fib.next_hops_written(host.kernel.write_next_hops_now([change]), 0.0)
    host.write()
    assert host.kernel.objects[change.object.id] == theirs
    assert host.hops == {(A,)}
    again = Host(host.kernel)
    again.learn(A)
    assert again.write() == 0, "the dump said whose it is"


def test_an_object_that_another_process_took_away_is_put_back_with_its_routes() -> None:
    host = Host()
    host.learn(A)
    host.write()
    (number,) = host.kernel.our_objects()
    host.kernel.remove_object(number)
    host.fib.next_hops_changed({number: None})
    host.write()
    assert host.hops == {(A,)}
    assert len(host.kernel.ours()) == len(BLOCKS)


def test_an_object_that_another_process_changed_is_put_right() -> None:
    host = Host()
    host.learn(A)
    host.write()
    (number,) = host.kernel.our_objects()
    changed = host.kernel.objects[number].object = NextHopObject(number, V4, Hop(C, ETH0))
    host.fib.next_hops_changed({number: changed})
    assert host.write() == 1
    assert host.hops == {(A,)}


def test_an_object_that_vanished_shows_when_it_is_replaced_and_comes_back_with_its_routes() -> None:
    host = Host()
    host.learn(A)
    host.write()
    host.kernel.remove_object(*host.kernel.our_objects())
    host.fib.set_next_hops({A: NextHopFacts(A, True, on_link=True, ifindex=ETH1)})
    host.write()
    assert host.hops == {(A,)}
    assert len(host.kernel.ours()) == len(BLOCKS)
    assert host.fib.in_sync


def test_a_dump_does_not_undo_what_was_written_beside_it() -> None:
    host = Host()
    host.fib.dump_begins()
    dump = host.kernel.dump_now()
    host.learn(A)
    write_next_hops(host.fib, host.kernel, 0.0)
    host.fib.kernel_state(dump)
    host.write()
    before = host.kernel.writes
    assert host.write() == 0
    assert host.kernel.writes == before
    assert host.fib.in_sync


def test_a_change_that_fails_is_tried_again_after_a_pause_and_told_with_its_errno() -> None:
    host = Host()
    host.learn(A)
    host.kernel.failing = FailureFlag.NEXT_HOP
    host.write()
    status = host.fib.status(Prefix(V4, BLOCKS[0]))
    assert status is not None
    assert status.reason is not None
    assert status.reason.reason is UnprogrammedReason.KERNEL_ERROR
    assert host.fib.next_hop_deadline(0.0) == 0.1
    host.now = 0.1
    host.write()
    assert host.fib.in_sync


def test_a_kernel_without_objects_gets_routes_with_hops() -> None:
    host = Host(FakeKernel(has_objects=False))
    host.learn(A, B)
    host.write()
    assert host.kernel.our_objects() == {}
    assert {one.hops for one in host.kernel.ours().values()} == {(Hop(A, ETH0), Hop(B, ETH0))}


def test_own_blocks_and_workloads_have_no_objects() -> None:
    host = Host()
    host.fib.set_blackholes([Prefix.parse("10.0.0.0/26")])
    host.fib.set_workload_routes({Prefix.parse("10.0.0.5/32"): 7})
    host.write()
    assert host.kernel.our_objects() == {}
    assert host.kernel.ours()[BLOCKS[0]] is BLACKHOLE


def test_the_fake_kernel_refuses_what_the_real_one_refuses() -> None:
    host = Host()
    host.learn(A, B)
    host.write()
    (group,) = (one for one in host.kernel.our_objects().values() if one.members)
    member = host.kernel.our_objects()[group.members[0][0]]
    for wrong in (replace(group, members=(), hop=Hop(A, ETH0)), replace(member, hop=None)):
        (result,) = host.kernel.write_next_hops_now([NextHopChange(NextHopOp.REPLACE, wrong)])
        assert result.errno == EINVAL


def restarted(host: Host) -> Host:
    """An agent without memory on the same kernel."""
    return Host(host.kernel)


def test_an_agent_that_starts_while_a_node_is_gone_rewrites_no_route_when_it_is_back() -> None:
    host = Host()
    host.learn(A)
    host.write()
    host.fib.set_dead_next_hops(frozenset({A}))
    host.write()
    table = dict(host.kernel.table)
    host = restarted(host)
    assert host.write() == 0
    host.learn(A)
    assert host.write() == 1
    assert host.hops == {(A,)}
    assert host.kernel.table == table


def test_an_agent_that_starts_while_a_member_is_gone_rewrites_no_route_when_it_is_back() -> None:
    host = Host()
    host.learn(A, B)
    host.write()
    host.fib.set_dead_next_hops(frozenset({A}))
    host.write()
    table = dict(host.kernel.table)
    host = restarted(host)
    host.learn(A, B)
    assert host.write() == 2, "the member, then the group"
    assert host.hops == {(A, B)}
    assert host.kernel.table == table


def test_an_object_that_leads_to_another_node_is_not_taken_for_that_of_its_id() -> None:
    host = Host()
    host.learn(A)
    host.write()
    (number,) = host.kernel.our_objects()
    host.kernel.objects[number].object = NextHopObject(number, V4, Hop(B, ETH0))
    host = restarted(host)
    host.learn(A, prefixes=BLOCKS[:1])
    host.write()
    assert host.kernel.objects[number].object.hop == Hop(B, ETH0), "routes to it may be those of B"
    assert followed(host.kernel, host.kernel.ours()[BLOCKS[0]]).hops == (Hop(A, ETH0),)


def test_a_group_of_before_that_nobody_wants_does_not_keep_a_node_that_is_gone_in_use() -> None:
    host = Host()
    host.learn(A, B)
    host.write()
    host = restarted(host)
    host.learn(A, prefixes=BLOCKS[:1])
    host.write()
    host.fib.set_dead_next_hops(frozenset({A}))
    assert host.write() == 2
    assert host.hops == {(), (B,)}
    assert not host.fib.next_hop_delta(0.0)


def test_an_object_that_somebody_deletes_while_it_is_replaced_comes_back_with_its_routes() -> None:
    host = Host()
    host.learn(A)
    host.write()
    host.fib.set_next_hops({A: NextHopFacts(A, True, on_link=True, ifindex=ETH1)})
    (change,) = host.fib.next_hop_delta(0.0)
    results = host.kernel.write_next_hops_now([change])
    host.kernel.remove_object(change.object.id)
    host.fib.next_hops_changed({change.object.id: None})
    host.fib.next_hops_written(results, 0.0)
    host.write()
    assert host.hops == {(A,)}
    assert host.kernel.ours().keys() == set(BLOCKS)


def test_an_object_that_was_deleted_within_a_dump_comes_back_with_its_routes() -> None:
    host = Host()
    host.learn(A)
    host.write()
    host.fib.dump_begins()
    dump = host.kernel.dump_now()
    (number,) = host.kernel.our_objects()
    host.kernel.remove_object(number)
    host.fib.kernel_state(replace(dump, next_hops={}))  # routes were read before, objects after
    host.fib.next_hops_changed({number: None})
    host.write()
    assert host.kernel.ours().keys() == set(BLOCKS)


def test_routes_whose_object_vanished_before_they_came_wait_for_it_and_for_no_pause() -> None:
    host = Host()
    host.learn(A)
    write_next_hops(host.fib, host.kernel, 0.0)
    batches = host.fib.delta(1000, 0.0)
    (number,) = host.kernel.our_objects()
    host.kernel.remove_object(number)
    host.fib.next_hops_changed({number: None})
    host.fib.written(host.kernel.write_now(batches), 0.0)
    host.write()
    assert host.kernel.ours().keys() == set(BLOCKS)


def test_a_group_that_failed_and_has_nothing_to_lead_to_any_more_is_no_failure() -> None:
    host = Host()
    host.learn(A, B)
    changes = host.fib.next_hop_delta(0.0)
    results = host.kernel.write_next_hops_now(changes)
    host.fib.next_hops_written([*results[:2], NextHopResult(changes[2], EINVAL)], 0.0)
    assert host.fib.counts().failed == 1
    host.kernel.link_down(ETH0)
    host.fib.interfaces_lost({ETH0})
    host.fib.set_next_hops({one: NextHopFacts.unreachable(one) for one in (A, B)})
    host.settle()
    assert host.fib.counts().failed == 0
    assert host.fib.in_sync
