"""What the BFD process took out of use stays so until the core has taken that as its own wish."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from fibs import Path, Selection, reached, write

from calicopy.fib import Fib, Hop, NextHopOp, UnderlayAddress, UnprogrammedReason
from calicopy.fib.types import DEFAULT_PROTOCOL, HELD_PROTOCOL
from calicopy.kernel.fake import FakeKernel
from calicopy.net import Family, Prefix
from calicopy.net.nexthop import NextHopFacts

V4 = Family.IPV4
A, B = (IPv4Address(f"192.0.2.{number}") for number in (2, 3))
ETH0 = 2
BLOCKS = [prefix.packed for prefix in Prefix.parse("10.0.0.0/24").subnets(26)]


class Host:
    """A FIB on a kernel, with routes to A and, as a group, to A and B."""

    def __init__(self, kernel: FakeKernel | None = None) -> None:
        self.kernel = kernel or FakeKernel()
        self.fib = Fib()
        self.fib.set_nodes({int(one): (UnderlayAddress(one, 24),) for one in (A, B)})
        self.fib.set_next_hops({one: NextHopFacts(one, True, on_link=True, ifindex=ETH0) for one in (A, B)})
        self.fib.kernel_state(self.kernel.dump_now())
        self.learn()
        self.write()

    def learn(self) -> None:
        both = Selection((Path(A, int(A)), Path(B, int(B))))
        alone = Selection((Path(A, int(A)),))
        self.fib.apply_decisions(V4, [(alone, BLOCKS[:2]), (both, BLOCKS[2:])])

    def write(self) -> int:
        before = self.kernel.writes
        write(self.fib, self.kernel, 0.0)
        return self.kernel.writes - before

    @property
    def number(self) -> int:
        """The id of the object that leads to A."""
        return next(one.id for one in self.fib.next_hops.values() if one.hop is None or one.hop.gateway == A)

    def see(self, *ids: int) -> list[int]:
        """Tell the FIB what the kernel holds there."""
        ours = self.kernel.our_objects()
        return self.fib.next_hops_changed({number: ours.get(number) for number in ids})

    @property
    def gateways(self) -> list[tuple[IPv4Address, ...]]:
        table = reached(self.kernel)
        return [tuple(hop.gateway for hop in table[block].hops) for block in BLOCKS]

    def reason(self) -> UnprogrammedReason | None:
        status = self.fib.status(Prefix(V4, BLOCKS[0]))
        assert status is not None
        assert status.installed
        return None if status.reason is None else status.reason.reason


HELD = [(), (), (B,), (B,)]
WHOLE = [(A,), (A,), (A, B), (A, B)]


@pytest.fixture
def host() -> Host:
    host = Host()
    assert host.gateways == WHOLE
    return host


def test_a_hold_that_the_kernel_tells_of_before_bfd_says_a_word_is_never_healed(host: Host) -> None:
    changed = host.kernel.hold(host.number)
    assert host.see(*changed) == [], "nothing drifted"
    assert host.write() == 0
    host.fib.retry_now()
    host.fib.kernel_state(host.kernel.dump_now())
    host.learn()
    assert host.write() == 0
    assert (host.gateways, host.fib.in_sync) == (HELD, True)
    assert host.reason() is UnprogrammedReason.NEXT_HOP_HELD


def test_whichever_of_group_and_member_is_seen_first_the_group_gets_no_held_member_back(host: Host) -> None:
    for number in sorted(host.kernel.hold(host.number)):
        host.see(number)
        host.write()
    assert host.gateways == HELD


def test_a_dead_next_hop_that_is_held_is_replaced_by_a_blackhole_of_our_own(host: Host) -> None:
    host.see(*host.kernel.hold(host.number))
    host.fib.set_dead_next_hops(frozenset({A}))
    assert host.write() == 1
    held = host.kernel.objects[host.number]
    assert (held.protocol, held.object.is_blackhole) == (DEFAULT_PROTOCOL, True)
    assert host.reason() is UnprogrammedReason.NEXT_HOP_GONE
    host.fib.set_dead_next_hops(frozenset())
    host.write()
    assert host.gateways == WHOLE


def test_the_word_of_bfd_that_comes_before_the_kernels_takes_the_hold_over_at_once(host: Host) -> None:
    number = host.number
    host.kernel.hold(number)
    host.fib.set_dead_next_hops(frozenset({A}))
    host.write()
    assert host.kernel.objects[number].protocol == DEFAULT_PROTOCOL


def test_a_write_that_crosses_a_hold_leaves_it(host: Host) -> None:
    host.fib.set_next_hops({A: NextHopFacts(A, True, on_link=True, ifindex=3)})
    changes = host.fib.next_hop_delta(0.0)
    assert [change.object.hop for change in changes if change.op is NextHopOp.REPLACE][:1] == [Hop(A, 3)]
    number, changed = host.number, host.kernel.hold(host.number)
    results = host.kernel.write_next_hops_now(changes)
    assert [result.held for result in results if result.change.object.id == number] == [True]
    host.see(*changed)
    host.fib.next_hops_written(results, 0.0)
    host.write()
    assert host.kernel.objects[number].protocol == HELD_PROTOCOL
    assert (host.gateways, host.fib.in_sync) == (HELD, True)


def test_a_hold_that_overwrote_what_was_in_flight_is_found(host: Host) -> None:
    host.fib.set_next_hops({A: NextHopFacts(A, True, on_link=True, ifindex=3)})
    number = host.number
    results = host.kernel.write_next_hops_now(host.fib.next_hop_delta(0.0))
    host.see(*host.kernel.hold(number))
    host.fib.next_hops_written(results, 0.0)
    host.write()
    assert host.kernel.objects[number].protocol == HELD_PROTOCOL
    assert (host.gateways, host.fib.in_sync) == (HELD, True)


def test_holds_that_are_let_go_of_are_healed_and_later_ones_count_again(host: Host) -> None:
    assert not host.fib.abandon_holds()
    host.see(*host.kernel.hold(host.number))
    assert host.fib.abandon_holds()
    host.write()
    assert host.gateways == WHOLE
    host.see(*host.kernel.hold(host.number))
    host.write()
    assert host.gateways == HELD


def test_an_agent_that_starts_honours_the_holds_of_before(host: Host) -> None:
    host.kernel.hold(host.number)
    again = Host(host.kernel)
    again.fib.allow_sweep(True)
    for step in range(1, 5):
        write(again.fib, again.kernel, step * 100.0)
    assert again.gateways == HELD
    again.fib.set_dead_next_hops(frozenset({A}))
    again.write()
    assert {held.protocol for held in again.kernel.objects.values()} == {DEFAULT_PROTOCOL}
    again.fib.set_dead_next_hops(frozenset())
    again.write()
    assert again.gateways == WHOLE


def test_a_held_object_that_nobody_wants_any_more_is_deleted(host: Host) -> None:
    host.see(*host.kernel.hold(host.number))
    host.fib.apply_decisions(V4, [(None, BLOCKS)])
    host.fib.allow_sweep(True)
    for step in range(1, 5):
        write(host.fib, host.kernel, step * 100.0)
    assert host.kernel.objects == {}


def test_the_table_for_bfd_is_told_once_until_it_is_another(host: Host) -> None:
    table = host.fib.bfd_table()
    assert table is not None
    assert sorted(table.objects.values(), key=repr) == [(V4, A), (V4, B)]
    ((family, members),) = table.groups.values()
    assert (family, set(members)) == (V4, set(table.objects))
    assert set(table.objects) | set(table.groups) == set(host.kernel.objects)
    host.fib.set_dead_next_hops(frozenset({A}))
    host.see(*host.kernel.hold(host.number))
    host.write()
    assert host.fib.bfd_table() is None
    host.fib.apply_decisions(V4, [(None, BLOCKS)])
    for step in range(1, 5):
        write(host.fib, host.kernel, step * 100.0)
    assert replace(host.fib.bfd_table() or table) != table
