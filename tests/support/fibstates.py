"""Everything that a FIB is told, as one value, for tests that play histories of it."""
from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from fibs import Path, Selection
from hypothesis import strategies as st

from calicopy.fib import Fib, FibPool, UnderlayAddress
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
