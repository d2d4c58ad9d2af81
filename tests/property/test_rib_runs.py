"""A run that is decided as a whole comes to the same as its prefixes decided one by one.

Two RIBs are told the same, step by step: one takes every run, however short, as a whole where it can; the other none.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from ipaddress import IPv4Address

from decided import changed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calicopy.bgp import NlriBatch, PathAttributes, Update
from calicopy.net import Family, Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.rib import Decisions, Holder, NodeFacts, PeerInfo, PoolFacts, Rib, RibContext, table, waiting

V4, AS = Family.IPV4, 64512
ADDRESSES = {n: IPv4Address(f"10.0.0.{n}") for n in range(1, 5)}
IDS = {n: int(address) for n, address in ADDRESSES.items()}
CONTEXT = RibContext(
    AS, AS, IDS[1], IDS[1], frozenset({ADDRESSES[1]}), (PoolFacts(Prefix.parse("10.244.0.0/24"), 28),),
    {IDS[n]: NodeFacts(f"n{n}", IDS[n], AS, frozenset({ADDRESSES[n]})) for n in (1, 2, 3)},
)  # fmt: skip
PEERS = [
    PeerInfo("10.0.0.2", "n2", ADDRESSES[2], AS, AS, IDS[2], node="n2"),
    PeerInfo("10.0.0.3", "n3", ADDRESSES[3], AS, AS, IDS[3], node="n3"),
    PeerInfo("10.0.0.4", "reflector", ADDRESSES[4], AS, AS, IDS[4], trust_owner=True),
]
BLOCKS = [block.packed for block in Prefix.parse("10.244.0.0/26").subnets(28)]
OTHERS = [Prefix.parse(text).packed for text in ("10.244.0.5/32", "10.244.0.17/32", "10.9.0.0/28", "10.244.0.0/27")]
runs = st.one_of(
    st.sampled_from([BLOCKS, BLOCKS[:2], BLOCKS[2:], BLOCKS[1:]]),
    st.lists(st.sampled_from(BLOCKS + OTHERS), min_size=1, max_size=6),
)
peers = st.sampled_from(PEERS)
Step = Callable[[Rib], object]


def announce(peer: PeerInfo, prefixes: list[bytes], med: int | None, owner: int | None) -> Step:
    large = () if owner is None else ((AS, 1, IDS[owner]),)
    update = Update(announced=(NlriBatch(V4, prefixes, None, peer.address),),
                    attributes=PathAttributes(med=med, large_communities=large))  # fmt: skip

    def step(rib: Rib) -> None:
        rib.peer_up(peer)
        rib.update(peer.key, update)

    return step


def withdraw(peer: PeerInfo, prefixes: list[bytes]) -> Step:
    def step(rib: Rib) -> None:
        rib.peer_up(peer)
        rib.update(peer.key, Update(withdrawn=(NlriBatch(V4, prefixes),)))

    return step


def hold(prefixes: list[bytes], owner: int | None) -> Step:
    holder = None if owner is None else Holder(IDS[owner])
    return lambda rib: rib.set_holders(V4, dict.fromkeys(prefixes, holder))


steps = st.one_of(
    st.builds(announce, peers, runs, st.sampled_from([None, None, 1]), st.sampled_from([None, None, 2, 3])),
    st.builds(withdraw, peers, runs),
    st.builds(hold, st.sampled_from([BLOCKS, BLOCKS[:2], BLOCKS[:1]]), st.sampled_from([None, 2, 3])),
    st.builds(lambda peer, retain: lambda rib: rib.peer_down(peer.key, retain=retain), peers, st.booleans()),
    st.builds(lambda blocks: lambda rib: rib.set_own(V4, blocks), st.sampled_from([[], BLOCKS[:1], BLOCKS[1:]])),
    st.builds(
        lambda n, reachable: lambda rib: rib.set_next_hops({ADDRESSES[n]: NextHopFacts(ADDRESSES[n], reachable)}),
        st.integers(2, 4), st.booleans(),
    ),
)  # fmt: skip


@contextmanager
def least_run(size: int, *, slack: int):
    """`slack` beyond twice the prefixes that there are, as many wait in runs of their own. A run of all that waits is
    the one whose prefixes may have come to the same paths from different ones.
    """
    kept = table.LEAST_RUN, waiting.SMALL, waiting.SLACK
    table.LEAST_RUN, waiting.SMALL, waiting.SLACK = size, size, slack
    try:
        yield
    finally:
        table.LEAST_RUN, waiting.SMALL, waiting.SLACK = kept


class Watched:
    """A RIB, and what its decisions add up to."""

    def __init__(self) -> None:
        self.rib = Rib(CONTEXT)
        self.rib.set_next_hops({ip: NextHopFacts(ip, reachable=True) for ip in ADDRESSES.values()})
        self.reached: dict[bytes, tuple] = {}
        self.conflicts: Counter = Counter()
        self.judged: set = set()
        self.owners: set = set()

    def take(self, decisions: Decisions) -> None:
        for prefix, selection in changed(decisions).get(V4, ()):
            assert selection is self.rib.selection(V4, prefix), "not what is selected now"
            now = None if selection is None else tuple((path.peer.key, path.med) for path in selection.paths)
            assert now != self.reached.get(prefix) or now is not None, "withdrawn twice"
            self.reached[prefix] = now
        self.conflicts.update(decisions.conflicts)
        self.conflicts.subtract(decisions.conflicts_over)
        self.judged.update(decisions.judged.get(V4, ()))
        self.owners.update(decisions.owners_seen)

    def settle(self) -> tuple[tuple, dict[str, set]]:
        """(all that it has told, once nothing is left to decide; what was judged and seen since the last time)."""
        while True:
            decisions = self.rib.decide(3)
            self.take(decisions)
            if not decisions.more:
                break
        reached = {prefix: now for prefix, now in self.reached.items() if now is not None}
        seen = {"judged": self.judged, "owners": self.owners}
        uses = sorted((outcome.uses, outcome.owner or 0) for outcome in self.rib._tables[V4].outcomes())
        self.judged, self.owners = set(), set()
        places, had = self.rib._tables[V4].places, set(self.rib.prefixes(V4))
        inside = {block: prefixes & had for block, prefixes in places._inside.items()}
        assert inside == places._inside, "remembers prefixes without paths"
        assert all(inside.values()), "remembers blocks of nothing"
        counters = tuple(self.rib.counters(peer.key) for peer in PEERS)
        return (reached, +self.conflicts, -self.conflicts, uses, self.rib.wanted_next_hops(), counters), seen


NEW_BESIDE_KNOWN_OWNERS = [
    (hold(BLOCKS, 2), 0),
    (announce(PEERS[0], BLOCKS[:2], None, None), None),
    (announce(PEERS[0], BLOCKS, 1, None), None),
]
"""One run, half of which is told to the owners' book-keeper, half not."""
SELECTED_BEFORE_BESIDE_NEW = [
    (announce(PEERS[0], BLOCKS[:2], None, None), None),
    (announce(PEERS[0], BLOCKS, None, None), 0),
    (hold(BLOCKS, 2), None),
]
"""One run, half of which is reached as before."""

CONFLICTS_THAT_END_WITH_THE_PATHS = [
    (hold(BLOCKS, 2), 0),
    (announce(PEERS[0], BLOCKS, None, None), None),
    (announce(PEERS[1], BLOCKS, None, None), None),
    (withdraw(PEERS[0], BLOCKS), 0),
    (withdraw(PEERS[1], BLOCKS), None),
]


@given(
    st.lists(st.tuples(steps, st.sampled_from([0, 0, 2, 7, None])), min_size=2, max_size=14),
    st.sampled_from([3, -2 * len(BLOCKS + OTHERS)]),
)
@example(NEW_BESIDE_KNOWN_OWNERS, -100)
@example(SELECTED_BEFORE_BESIDE_NEW, -100)
@example(CONFLICTS_THAT_END_WITH_THE_PATHS, 3)
@settings(max_examples=400, deadline=None)
def test_a_run_as_a_whole_comes_to_the_same_as_prefix_by_prefix(history, slack) -> None:
    whole, single, sliced = Watched(), Watched(), False
    for step, decide in [*history, (lambda _: None, None)]:
        told = []
        for watched, size in ((whole, 1), (single, 1 << 30)):
            with least_run(size, slack=slack):
                step(watched.rib)
                if decide is None:
                    told.append(watched.settle())
                elif decide:
                    watched.take(watched.rib.decide(decide))
        if told:
            assert told[0][0] == told[1][0]
            assert sliced or told[0][1] == told[1][1]  # slices end elsewhere, and then others are judged on the way
            sliced = False
        sliced = sliced or bool(decide)
