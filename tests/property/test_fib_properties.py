"""What must hold of the FIB for every history."""
from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

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
class Path:
    next_hop: IPv4Address
    owner: int | None


@dataclass(frozen=True, eq=False)
class Selection:
    paths: tuple[Path, ...]


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
    fib.set_blackholes(state.blocks)
    fib.set_workload_routes(dict(state.workloads))


def apply(fib: Fib, kernel: FakeKernel, now: float, limit: int = 3) -> None:
    for _ in range(200):
        batches = fib.delta(limit, now)
        if not batches and fib.next_deadline(now) != now:
            return
        fib.written(kernel.write_now(batches), now)
    raise AssertionError("the FIB does not come to rest")


@settings(deadline=None)
@given(st.lists(states, min_size=1, max_size=5))
def test_incremental_equals_from_scratch(history: list[State]) -> None:
    fib, fresh, kernel = Fib(), Fib(), FakeKernel()
    fib.kernel_state(kernel.dump_now())
    for state in history:
        bring_in(fib, state)
    apply(fib, kernel, 0.0)
    bring_in(fresh, history[-1])
    fresh.delta(10, 0.0)
    assert dict(fib.desired(V4)) == dict(fresh.desired(V4))
    assert kernel.ours() == dict(fresh.desired(V4))
    assert fib.in_sync


@settings(deadline=None)
@given(st.lists(st.tuples(states, flags), min_size=1, max_size=4))
def test_a_first_apply_may_fail_in_any_way_and_the_second_does_not(history: list[tuple[State, FailureFlag]]) -> None:
    fib, kernel = Fib(), FakeKernel()
    fib.kernel_state(kernel.dump_now())
    fib.allow_sweep(True)
    now = 0.0
    for state, failing in history:
        bring_in(fib, state)
        kernel.failing = failing
        apply(fib, kernel, now)
        now += 100.0
        fib.kernel_state(kernel.dump_now())  # the slow timer: some flags change the table behind our back
        apply(fib, kernel, now)
        assert kernel.ours() == dict(fib.desired(V4))
        assert fib.in_sync


@settings(deadline=None)
@given(states, states, st.lists(st.sampled_from(BLOCKS + HOSTS)), st.lists(st.sampled_from(BLOCKS)))
def test_whatever_the_kernel_holds_the_delta_leads_to_desired_and_leaves_foreign_routes(
    before: State, after: State, leftovers: list[Prefix], foreign: list[Prefix]
) -> None:
    kernel, first = FakeKernel(), Fib()
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
    blocked = {packed for _, packed, _ in theirs}
    assert kernel.ours() == {packed: target for packed, target in fib.desired(V4).items() if packed not in blocked}
    assert {key: kernel.table[key] for key in theirs} == theirs


@settings(deadline=None)
@given(states)
def test_an_adopted_table_that_is_as_wanted_is_never_written(state: State) -> None:
    kernel, first = FakeKernel(), Fib()
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
