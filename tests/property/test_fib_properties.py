"""What must hold of the FIB for every history."""
from __future__ import annotations

from dataclasses import replace

from fibs import led, reached, write
from fibstates import BLOCKS, ETH0, FAR, HOSTS, NODES, V4, State, bring_in, states
from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.fib import BLACKHOLE, Fib
from calicopy.fib.types import HELD_PROTOCOL
from calicopy.kernel.fake import FailureFlag, FakeKernel, Held
from calicopy.net import Prefix

flags = st.sets(st.sampled_from(list(FailureFlag))).map(
    lambda chosen: FailureFlag(sum(flag.value for flag in chosen))
)


def apply(fib: Fib, kernel: FakeKernel, now: float) -> None:
    write(fib, kernel, now, 3)


@given(st.lists(states, min_size=1, max_size=5), st.booleans())
def test_incremental_equals_from_scratch(history: list[State], objects: bool) -> None:
    fib, fresh, kernel = Fib(), Fib(), FakeKernel(has_objects=objects)
    fib.kernel_state(kernel.dump_now())
    for number, state in enumerate(history):
        bring_in(fib, state)
        if number % 2:
            apply(fib, kernel, 0.0)
    apply(fib, kernel, 0.0)
    fresh.kernel_state(FakeKernel(has_objects=objects).dump_now())
    bring_in(fresh, history[-1])
    fresh.delta(10, 0.0)
    assert led(fib) == led(fresh)
    assert kernel.ours() == dict(fib.desired(V4))
    assert reached(kernel) == led(fib)
    assert fib.in_sync


@given(st.lists(st.tuples(states, flags), min_size=1, max_size=4), st.booleans())
def test_a_first_apply_may_fail_in_any_way_and_the_second_does_not(
    history: list[tuple[State, FailureFlag]], objects: bool
) -> None:
    fib, kernel = Fib(), FakeKernel(has_objects=objects)
    fib.kernel_state(kernel.dump_now())
    fib.allow_sweep(True)
    now = 0.0
    for state, failing in history:
        bring_in(fib, state)
        kernel.failing = failing
        apply(fib, kernel, now)
        now += 100.0
        kernel.failing = FailureFlag.NONE
        fib.kernel_state(kernel.dump_now())  # the slow timer: some flags change the table behind our back
        apply(fib, kernel, now)
        assert kernel.ours() == dict(fib.desired(V4))
        assert reached(kernel) == led(fib)
        assert fib.in_sync


@given(st.lists(st.tuples(states, st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_a_link_that_flaps_in_the_middle_of_anything_leaves_what_is_desired(
    history: list[tuple[State, bool, bool]],
) -> None:
    fib, kernel = Fib(), FakeKernel()
    fib.kernel_state(kernel.dump_now())
    now = 0.0
    for state, early, late in history:
        bring_in(fib, state)
        changes, batches = fib.next_hop_delta(now), fib.delta(3, now)
        if early:
            flap(kernel, ETH0)
            fib.interfaces_lost({ETH0})
        results, written = kernel.write_next_hops_now(changes), kernel.write_now(batches)
        if late:  # told before the results, which are of before it
            flap(kernel, ETH0)
            fib.interfaces_lost({ETH0})
        if changes:
            fib.next_hops_written(results, now)
        fib.written(written, now)
        now += 100.0
        apply(fib, kernel, now)
        assert kernel.ours() == dict(fib.desired(V4))
        assert reached(kernel) == led(fib)
        assert fib.in_sync


def flap(kernel: FakeKernel, ifindex: int) -> None:
    kernel.link_down(ifindex)
    kernel.link_up(ifindex)


@given(states, states, st.lists(st.sampled_from(BLOCKS + HOSTS)), st.lists(st.sampled_from(BLOCKS)), st.booleans())
def test_whatever_the_kernel_holds_the_delta_leads_to_desired_and_leaves_foreign_routes(
    before: State, after: State, leftovers: list[Prefix], foreign: list[Prefix], objects: bool
) -> None:
    kernel, first = FakeKernel(has_objects=objects), Fib()
    first.kernel_state(kernel.dump_now())
    bring_in(first, before)
    apply(first, kernel, 0.0)
    for prefix in leftovers:
        kernel.table[V4, prefix.packed, kernel.metric] = Held(kernel.protocol, BLACKHOLE)
    theirs = {(V4, prefix.packed, kernel.metric): Held(4, BLACKHOLE) for prefix in foreign}
    kernel.table |= theirs
    fib = Fib()
    fib.kernel_state(kernel.dump_now())
    bring_in(fib, after)
    apply(fib, kernel, 0.0)
    fib.allow_sweep(True)
    apply(fib, kernel, 0.0)
    apply(fib, kernel, 100.0)
    blocked = {packed for _, packed, _ in theirs}
    assert kernel.ours() == {packed: target for packed, target in fib.desired(V4).items() if packed not in blocked}
    assert {key: kernel.table[key] for key in theirs} == theirs
    used = {target.next_hop_id for target in kernel.ours().values()} - {0}
    used |= {number for one in used for number, _ in kernel.objects[one].object.members}
    assert used <= kernel.our_objects().keys()


@given(states, states, st.booleans())
def test_objects_that_nothing_leads_to_are_deleted_in_the_end(before: State, after: State, restart: bool) -> None:
    kernel, fib = FakeKernel(), Fib()
    fib.kernel_state(kernel.dump_now())
    bring_in(fib, before)
    apply(fib, kernel, 0.0)
    if restart:
        fib = Fib()
        fib.kernel_state(kernel.dump_now())
    bring_in(fib, replace(after, blocks=frozenset(), workloads=()))  # what a local route hides is not idle
    fib.allow_sweep(True)
    for turn in range(1, 5):
        apply(fib, kernel, turn * 100.0)
    objects = kernel.our_objects()
    used = {target.next_hop_id for target in fib.desired(V4).values()} - {0}
    groups = {number for number in used if objects[number].members}
    in_groups = {number for one in groups for number, _ in objects[one].members}
    assert used | in_groups <= objects.keys()
    assert groups or objects.keys() == used


@given(states, st.booleans())
def test_an_adopted_table_that_is_as_wanted_is_never_written(state: State, objects: bool) -> None:
    state = replace(state, dead=frozenset())
    kernel, first = FakeKernel(has_objects=objects), Fib()
    first.kernel_state(kernel.dump_now())
    bring_in(first, state)
    apply(first, kernel, 0.0)
    written = kernel.writes
    second = Fib()
    second.kernel_state(kernel.dump_now())
    bring_in(second, state)
    second.allow_sweep(True)
    apply(second, kernel, 0.0)
    assert kernel.writes == written
    assert second.in_sync


@given(states)
def test_a_restart_while_nodes_are_gone_rewrites_no_route_when_they_are_back(state: State) -> None:
    kernel, first = FakeKernel(), Fib()
    first.kernel_state(kernel.dump_now())
    bring_in(first, replace(state, dead=frozenset()))
    apply(first, kernel, 0.0)
    first.set_dead_next_hops(state.dead)
    apply(first, kernel, 0.0)
    table = {key: held.target for key, held in kernel.table.items()}
    second = Fib()
    second.kernel_state(kernel.dump_now())
    apply(second, kernel, 0.0)
    bring_in(second, replace(state, dead=frozenset()))
    apply(second, kernel, 0.0)
    assert {key: held.target for key, held in kernel.table.items()} == table
    assert reached(kernel) == led(second)


@settings(max_examples=60)
@given(states, states, st.lists(st.integers(0, 9), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_what_bfd_holds_stays_a_blackhole_out_of_all_groups_until_it_is_dead_or_let_go_of(
    before: State, after: State, picks: list[int], restart: bool, let_go: bool
) -> None:
    kernel, fib = FakeKernel(), Fib()
    fib.kernel_state(kernel.dump_now())
    bring_in(fib, replace(before, dead=frozenset()))
    apply(fib, kernel, 0.0)
    singles = sorted(number for number, one in kernel.our_objects().items() if one.hop is not None)
    held = {singles[pick % len(singles)] for pick in picks} if singles else set()
    for number in held:
        changed = kernel.hold(number)
        if not restart:
            fib.next_hops_changed({one: kernel.our_objects().get(one) for one in changed})
    if restart:
        fib = Fib()
        fib.kernel_state(kernel.dump_now())
    # On the way to what comes after, no message may touch a hold, but to take it away.
    bring_in(fib, replace(after, dead=frozenset()))
    apply(fib, kernel, 0.0)
    for number in held & kernel.objects.keys():
        assert kernel.objects[number].protocol == HELD_PROTOCOL
        groups = [one.object.members for one in kernel.objects.values() if number in dict(one.object.members)]
        assert all(len(members) == 1 for members in groups)
    if let_go:
        fib.abandon_holds()
    else:
        fib.set_dead_next_hops(frozenset((NODES | FAR).values()))
    apply(fib, kernel, 0.0)
    fib.set_dead_next_hops(frozenset())
    fib.allow_sweep(True)
    apply(fib, kernel, 100.0)
    assert kernel.ours() == dict(fib.desired(V4))
    assert reached(kernel) == led(fib)
