"""What must hold of the FIB for every history."""
from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from fibs import Path, Selection, led, reached, write
from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.fib import BLACKHOLE, Fib, FibPool, UnderlayAddress
from calicopy.kernel.fake import FailureFlag, FakeKernel, Held
from calicopy.net import Encapsulation, EncapsulationMode, Family, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

V4 = Family.IPV4
BLOCKS = [Prefix.parse(f"10.{pool}.0.{host}/26") for pool in range(2) for host in (0, 64, 128, 192)]
HOSTS = [Prefix.parse(f"10.{pool}.0.{host}/32") for pool in range(2) for host in (1, 65)]
NODES = {number: IPv4Address(f"192.0.2.{number}") for number in range(2, 6)}
FAR = {6: IPv4Address("198.51.100.6")}
ETH0, TUNL0 = 2, 9


@dataclass(frozen=True)
class State:
    """A whole set of inputs; the FIB's wishes must depend on nothing else."""

    learned: tuple[tuple[Prefix, tuple[Path, ...]], ...]
    blocks: frozenset[Prefix]
    workloads: tuple[tuple[Prefix, int], ...]
    unreachable: frozenset[IPv4Address]
    encapsulation: Encapsulation
    mode: EncapsulationMode
    tunnel: int | None
    dead: frozenset[IPv4Address] = frozenset()


paths = st.builds(
    Path, st.sampled_from([*NODES.values(), *FAR.values()]), st.sampled_from([None, *NODES, *FAR, 99])
)
states = st.builds(
    State,
    learned=st.dictionaries(
        st.sampled_from(BLOCKS + HOSTS), st.lists(paths, min_size=1, max_size=3).map(tuple)
    ).map(lambda found: tuple(found.items())),
    blocks=st.frozensets(st.sampled_from(BLOCKS), max_size=3),
    workloads=st.dictionaries(st.sampled_from(HOSTS), st.integers(20, 22)).map(lambda found: tuple(found.items())),
    unreachable=st.frozensets(st.sampled_from([*NODES.values(), *FAR.values()]), max_size=2),
    encapsulation=st.sampled_from(Encapsulation),
    mode=st.sampled_from(EncapsulationMode),
    tunnel=st.sampled_from([None, TUNL0]),
    dead=st.frozensets(st.sampled_from([*NODES.values(), *FAR.values()]), max_size=3),
)
flags = st.sets(st.sampled_from(list(FailureFlag))).map(
    lambda chosen: FailureFlag(sum(flag.value for flag in chosen))
)


def bring_in(fib: Fib, state: State) -> None:
    """Bring a FIB, whatever it was told before, to `state`."""
    fib.set_pools([FibPool(Prefix.parse("10.0.0.0/16"), state.encapsulation, state.mode),
                   FibPool(Prefix.parse("10.1.0.0/16"))])
    fib.set_nodes({number: (UnderlayAddress(address, 24),) for number, address in (NODES | FAR).items()})
    fib.set_interfaces({ETH0: InterfaceFacts(ETH0, "eth0", True, True, 1500, ((IPv4Address("192.0.2.1"), 24),))})
    fib.set_tunnels({} if state.tunnel is None else {state.encapsulation: state.tunnel})
    facts = {address: NextHopFacts(address, True, True, ETH0) for address in NODES.values()}
    facts |= {address: NextHopFacts(address, True, False, ETH0, IPv4Address("192.0.2.254")) for address in FAR.values()}
    facts |= {address: NextHopFacts.unreachable(address) for address in state.unreachable}
    fib.set_next_hops(facts)
    learned = {prefix.packed: found for prefix, found in state.learned}
    shared = {found: Selection(found) for found in learned.values()}
    gone = [packed for packed in (prefix.packed for prefix in BLOCKS + HOSTS) if packed not in learned]
    fib.apply_decisions(V4, [(None, gone), *((shared[found], [packed]) for packed, found in learned.items())])
    fib.set_dead_next_hops(frozenset(state.dead))
    fib.set_blackholes(state.blocks)
    fib.set_workload_routes(dict(state.workloads))


def apply(fib: Fib, kernel: FakeKernel, now: float) -> None:
    write(fib, kernel, now, 3)


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
@given(states, st.booleans())
def test_an_adopted_table_that_is_as_wanted_is_never_written(state: State, objects: bool) -> None:
    state = replace(state, dead=frozenset())  # a blackhole does not tell whose it was
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
