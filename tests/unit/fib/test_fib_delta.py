"""The delta against a stateful kernel: adoption, sweeping, failures and retries."""
from __future__ import annotations

from collections.abc import Iterator
from errno import ENETUNREACH
from ipaddress import IPv4Address

import pytest
from fibs import Path, Selection
from fibs import write as apply

from calicopy.fib import BLACKHOLE, Fib, KernelDump, KernelRoute, RouteOp, UnprogrammedReason, check, forgetting
from calicopy.fib.types import workload_target
from calicopy.kernel.fake import FailureFlag, FakeKernel, Held
from calicopy.net import Family, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

V4 = Family.IPV4
GATEWAY = IPv4Address("192.0.2.2")
ETH0 = 2
SELECTION = Selection((Path(GATEWAY),))


def some(count: int) -> list[bytes]:
    return [prefix.packed for _, prefix in zip(range(count), _blocks(), strict=False)]


def _blocks() -> Iterator[Prefix]:
    return Prefix.parse("10.0.0.0/8").subnets(26)


def a_fib(kernel: FakeKernel) -> Fib:
    fib = Fib()
    fib.set_interfaces({ETH0: InterfaceFacts(ETH0, "eth0", True, True, 1500, ((IPv4Address("192.0.2.1"), 24),))})
    fib.set_next_hops({GATEWAY: NextHopFacts(GATEWAY, True, on_link=True, ifindex=ETH0)})
    fib.kernel_state(kernel.dump_now())
    return fib


def learn(fib: Fib, prefixes: list[bytes]) -> None:
    fib.apply_decisions(V4, [(SELECTION, prefixes)])


def test_nothing_is_written_before_the_kernel_was_read() -> None:
    fib = Fib()
    fib.set_blackholes([Prefix.parse("10.0.0.0/26")])
    assert fib.delta(10, 0.0) == []
    assert fib.next_deadline(0.0) is None
    assert not fib.in_sync
    fib.kernel_state(KernelDump({}))
    assert fib.next_deadline(0.0) == 0.0
    assert [batch.op for batch in fib.delta(10, 0.0)] == [RouteOp.ADD]


def test_prefixes_with_one_target_go_out_in_one_batch_and_no_more_than_the_limit() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, some(25))
    (batch,) = fib.delta(10, 0.0)
    assert (batch.op, len(batch.prefixes)) == (RouteOp.ADD, 10)
    assert fib.next_deadline(0.0) == 0.0, "others may go meanwhile"
    fib.written(kernel.write_now([batch]), 0.0)
    assert apply(fib, kernel, limit=10) == 2
    assert set(kernel.ours()) == set(some(25))
    assert fib.in_sync


def test_a_restart_adopts_equal_routes_without_a_write_and_sweeps_only_when_allowed() -> None:
    kernel = FakeKernel(has_objects=False)
    before = a_fib(kernel)
    learn(before, some(20))
    apply(before, kernel)
    written = kernel.writes
    fib = a_fib(kernel)
    assert apply(fib, kernel) == 0
    learn(fib, some(15))
    assert apply(fib, kernel) == 0
    assert kernel.writes == written
    assert fib.in_sync
    fib.allow_sweep(True)
    assert apply(fib, kernel) == 1
    assert set(kernel.ours()) == set(some(15))


def test_what_was_wanted_and_is_not_any_more_goes_before_sweeping_is_allowed() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, some(2))
    apply(fib, kernel)
    fib.apply_decisions(V4, [(None, some(1))])
    apply(fib, kernel)
    assert list(kernel.ours()) == some(2)[1:]


def test_routes_of_ours_with_another_metric_are_swept_with_that_metric() -> None:
    kernel = FakeKernel(has_objects=False)
    kernel.table[V4, some(1)[0], 50] = Held(117, BLACKHOLE)
    kernel.table[V4, some(1)[0], 60] = Held(4, BLACKHOLE)
    fib = a_fib(kernel)
    assert apply(fib, kernel) == 0
    fib.allow_sweep(True)
    apply(fib, kernel)
    assert list(kernel.table) == [(V4, some(1)[0], 60)]
    assert fib.in_sync


def test_a_failed_write_is_tried_again_after_pauses_that_double() -> None:
    kernel = FakeKernel(has_objects=False, down={ETH0})
    fib = a_fib(kernel)
    learn(fib, some(1))
    attempts, now = [], 0.0
    for _ in range(5):
        apply(fib, kernel, now)
        due = fib.next_deadline(now)
        assert due is not None
        attempts.append(round(due - now, 3))
        now = due
    assert attempts == [0.1, 0.2, 0.4, 0.8, 1.6]
    kernel.down.clear()
    apply(fib, kernel, now)
    assert fib.in_sync


def test_a_failed_write_is_tried_at_once_when_a_link_changes() -> None:
    kernel = FakeKernel(has_objects=False, down={ETH0})
    fib = a_fib(kernel)
    learn(fib, some(3))
    apply(fib, kernel, 0.0)
    kernel.down.clear()
    assert apply(fib, kernel, 0.01) == 0
    fib.interfaces_lost(frozenset())
    apply(fib, kernel, 0.01)
    assert fib.in_sync


def test_a_kernel_error_is_told_with_its_errno_and_no_other_prefix_suffers() -> None:
    kernel = FakeKernel(has_objects=False, failing=FailureFlag.EVERY_SECOND | FailureFlag.ADD)
    fib = a_fib(kernel)
    fib.set_workload_routes({Prefix.parse("10.255.0.1/32"): 7})
    apply(fib, kernel, 0.0)
    status = fib.status(Prefix.parse("10.255.0.1/32"))
    assert status is not None
    assert status.reason is not None
    assert (status.reason.reason, status.reason.errno) == (UnprogrammedReason.KERNEL_ERROR, ENETUNREACH)
    assert fib.counts().failed == 1
    apply(fib, kernel, 1.0)
    assert kernel.ours() == {Prefix.parse("10.255.0.1/32").packed: workload_target(7)}


def test_a_foreign_route_is_a_reason_and_gives_way_when_an_event_says_that_it_is_gone() -> None:
    kernel = FakeKernel(has_objects=False)
    key = (V4, some(1)[0], kernel.metric)
    kernel.table[key] = Held(4, BLACKHOLE)
    fib = a_fib(kernel)
    learn(fib, some(1))
    apply(fib, kernel, 0.0)
    status = fib.status(Prefix(V4, some(1)[0]))
    assert status is not None
    assert status.reason is not None
    assert status.reason.reason is UnprogrammedReason.FOREIGN_ROUTE
    assert kernel.table[key] == Held(4, BLACKHOLE)
    del kernel.table[key]
    assert apply(fib, kernel, 1.0) == 0
    fib.kernel_changed(V4, {some(1)[0]: None})
    apply(fib, kernel, 1.0)
    assert fib.in_sync


def test_drift_that_an_event_tells_is_healed() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, some(3))
    apply(fib, kernel)
    first, second, _ = some(3)
    del kernel.table[V4, first, kernel.metric]
    kernel.table[V4, second, kernel.metric] = Held(117, BLACKHOLE)
    fib.kernel_changed(V4, {first: None, second: BLACKHOLE})
    apply(fib, kernel)
    assert kernel.ours() == dict(fib.desired(V4))


def test_drift_that_a_dump_shows_is_healed_and_an_unwanted_route_of_ours_is_swept() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    fib.allow_sweep(True)
    learn(fib, some(3))
    apply(fib, kernel)
    first, second, _ = some(3)
    del kernel.table[V4, first, kernel.metric]
    kernel.table[V4, second, kernel.metric] = Held(117, BLACKHOLE)
    kernel.table[V4, some(9)[8], kernel.metric] = Held(117, BLACKHOLE)
    fib.kernel_state(kernel.dump_now())
    apply(fib, kernel)
    assert kernel.ours() == dict(fib.desired(V4))


def test_a_change_of_mind_while_a_write_is_in_flight_is_written_after_it() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, some(1))
    batches = fib.delta(10, 0.0)
    fib.apply_decisions(V4, [(None, some(1))])
    assert fib.delta(10, 0.0) == []
    fib.written(kernel.write_now(batches), 0.0)
    apply(fib, kernel)
    assert kernel.ours() == {}
    assert fib.in_sync


def test_a_dump_that_was_read_while_a_write_was_in_flight_does_no_harm() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, some(2))
    dump = kernel.dump_now()
    batches = fib.delta(10, 0.0)
    fib.kernel_state(dump)
    fib.written(kernel.write_now(batches), 0.0)
    apply(fib, kernel)
    assert kernel.ours() == dict(fib.desired(V4))
    assert fib.in_sync


def test_routes_over_a_lost_interface_are_written_again() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, some(5))
    fib.set_blackholes([Prefix.parse("10.200.0.0/26")])
    apply(fib, kernel)
    kernel.link_down(ETH0)
    kernel.link_up(ETH0)
    fib.interfaces_lost({ETH0})
    apply(fib, kernel)
    assert kernel.ours() == dict(fib.desired(V4))


def test_a_failure_that_a_dump_shows_to_be_settled_is_forgotten_and_one_that_is_not_stays_scheduled() -> None:
    kernel = FakeKernel(has_objects=False, down={ETH0})
    fib = a_fib(kernel)
    learn(fib, some(2))
    apply(fib, kernel, 0.0)
    kernel.table[V4, some(1)[0], kernel.metric] = Held(117, fib.desired(V4)[some(1)[0]])
    fib.kernel_state(kernel.dump_now())
    assert fib.counts().failed == 1
    kernel.down.clear()
    due = fib.next_deadline(0.0)
    assert due == 0.1
    apply(fib, kernel, due)
    assert fib.in_sync


def test_workload_routes_overtake_a_long_queue() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, some(100))
    fib.set_workload_routes({Prefix.parse("10.255.0.1/32"): 7})
    batches = fib.delta(10, 0.0)
    assert Prefix.parse("10.255.0.1/32").packed in [packed for batch in batches for packed in batch.prefixes]


@pytest.mark.parametrize("metric", [None, 50])
def test_the_fake_kernel_never_deletes_what_is_not_ours(metric: int | None) -> None:
    kernel = FakeKernel(has_objects=False)
    kernel.table[V4, some(1)[0], metric or kernel.metric] = Held(4, BLACKHOLE)
    dump = KernelDump({V4: {}}, (KernelRoute(V4, some(1)[0], BLACKHOLE, metric or kernel.metric),))
    fib = Fib()
    fib.kernel_state(dump)
    fib.allow_sweep(True)
    apply(fib, kernel)
    assert len(kernel.table) == 1


def test_a_dump_that_says_all_otherwise_is_taken_in_slices() -> None:
    kernel = FakeKernel()
    fib = a_fib(kernel)
    learn(fib, prefixes := some(45_000))
    apply(fib, kernel, limit=20_000)
    fib.interfaces_lost({ETH0})
    while fib.actual(V4):
        before = len(fib.actual(V4))
        fib.delta(1, 0.0)
        assert before - len(fib.actual(V4)) <= forgetting.AT_ONCE
    fib.kernel_state(kernel.dump_now())
    grown = []
    while len(fib.actual(V4)) < len(prefixes) - 10:
        before = len(fib.actual(V4))
        fib.delta(1, 0.0)
        grown.append(len(fib.actual(V4)) - before)
    assert max(grown) <= check.FEW_AT_ONCE


def test_a_route_that_others_delete_while_it_is_written_is_written_again() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, prefixes := some(3))
    batches = fib.delta(10, 0.0)
    results = kernel.write_now(batches)
    del kernel.table[V4, prefixes[1], kernel.metric]
    fib.kernel_changed(V4, {prefixes[1]: None})
    fib.written(results, 0.0)
    assert apply(fib, kernel) == 1
    assert set(kernel.ours()) == set(prefixes)
    assert fib.in_sync


def test_an_echo_of_what_is_being_written_is_no_change() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, prefixes := some(3))
    results = kernel.write_now(fib.delta(10, 0.0))
    fib.kernel_changed(V4, kernel.ours())
    fib.written(results, 0.0)
    assert apply(fib, kernel) == 0
    fib.apply_decisions(V4, [(None, prefixes)])
    results = kernel.write_now(fib.delta(10, 0.0))
    fib.kernel_changed(V4, dict.fromkeys(prefixes))
    fib.written(results, 0.0)
    assert apply(fib, kernel) == 0
    assert fib.in_sync


def test_a_route_that_others_deleted_after_a_dump_read_it_is_written_again() -> None:
    kernel = FakeKernel(has_objects=False)
    fib = a_fib(kernel)
    learn(fib, prefixes := some(3))
    apply(fib, kernel)
    fib.dump_begins()
    dump = kernel.dump_now()
    del kernel.table[V4, prefixes[1], kernel.metric]
    fib.kernel_changed(V4, {prefixes[1]: None})
    fib.kernel_state(dump)
    apply(fib, kernel)
    assert set(kernel.ours()) == set(prefixes)
