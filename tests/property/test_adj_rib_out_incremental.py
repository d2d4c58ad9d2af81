"""Whatever the history of sessions, paths, filters and slices, the speaker ends with what each peer should hear.

The speaker is a dictionary per peer that outlives sessions: what it holds it tells a peer again by itself. After any
run of events, everything is worked off, and for every peer that is up it must hold what a new Adj-RIB-Out, given the
present state alone, would tell that peer. On the way no announcement may come after a withdrawal of the same hand-over,
unless the withdrawal took it away: one for a path id of before, in a session without them.
"""
from __future__ import annotations

import random
from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.bgp import NlriBatch, PathAttributes, Update
from calicopy.net import Family, Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.policy import Action, AdvertiseScope, Chain, Changes, Filter, Match, PrefixMatch, Rule
from calicopy.rib import (
    AdjRibOut,
    ExportTarget,
    NodeFacts,
    OutPeer,
    OwnCommunities,
    PeerInfo,
    PoolFacts,
    Rib,
    RibContext,
)

V4 = Family.IPV4
ADDRESSES = {n: IPv4Address(f"10.0.0.{n}") for n in range(1, 7)}
IDS = {n: int(address) for n, address in ADDRESSES.items()}
NODES = {IDS[n]: NodeFacts(f"n{n}", IDS[n], 64512, frozenset({ADDRESSES[n]})) for n in range(1, 6)}
POOLS = (PoolFacts(Prefix.parse("10.244.0.0/24"), 26),)
CONTEXT = RibContext(64512, 64512, IDS[1], 77, frozenset({ADDRESSES[1]}), POOLS, NODES)
TEXTS = ("10.244.0.0/26", "10.244.0.64/26", "10.244.0.70/32", "10.244.0.128/26")
PREFIXES = [Prefix.parse(text).packed for text in TEXTS]
PEERS = {
    n: PeerInfo(str(ADDRESSES[n]), f"n{n}", ADDRESSES[n], 65001 if n == 6 else 64512, 64512, IDS[n],
                node=None if n == 6 else f"n{n}", trust_owner=n == 6, client=n in (2, 3))
    for n in range(2, 7)
}  # fmt: skip
HALF = Match(prefixes=(PrefixMatch(Prefix.parse("10.244.0.0/25"), 25, 32),))
CHAINS = [
    Chain(()),
    Chain((Filter("half", (Rule("1", HALF, action=Action.REJECT),)),)),
    Chain((Filter("med", (Rule("1", HALF, Changes(med=3)),)),)),
]


def target(number: int, chain: Chain, *, add_path: bool, scope: AdvertiseScope) -> ExportTarget:
    info = PEERS[number]
    return ExportTarget(
        V4, info.ibgp, info.local_asn, ADDRESSES[1], chain, client=info.client, scope=scope, add_path=add_path
    )


def out_peer(number: int) -> OutPeer:
    return OutPeer(PEERS[number].key, ADDRESSES[number], IDS[number])


class Cluster:
    """A reflector, its peers, and the speaker between them."""

    def __init__(self) -> None:
        self.rib = Rib(CONTEXT)
        self.rib.set_next_hops({one: NextHopFacts(one, reachable=True) for one in ADDRESSES.values()})
        for info in PEERS.values():
            self.rib.peer_up(info)
        self.out = AdjRibOut(self.rib)
        self.own: dict = {}
        self.up: dict[int, ExportTarget] = {}
        self.held: dict[str, dict] = {}
        self.lossy: set[int] = set()  # peers that nothing gets through to
        self.failed: set[int] = set()  # of these, those that something did not get through to
        self.policy = (False, False)
        for number in PEERS:
            self.session_up(number, (CHAINS[0], False, AdvertiseScope.ALL))

    # -- events

    def announce(self, number, prefixes, med, path_id, began):
        info = PEERS[number]
        originator = ADDRESSES[began] if info.ibgp and began != number else None
        attributes = PathAttributes(
            med=med, originator_id=originator, large_communities=((64512, 1, IDS[began]),) if info.ibgp else ()
        )
        batch = NlriBatch(V4, list(prefixes), [path_id] * len(prefixes), ADDRESSES[began if info.ibgp else number])
        self.rib.update(info.key, Update(announced=(batch,), attributes=attributes))

    def withdraw(self, number, prefixes, path_id):
        batch = NlriBatch(V4, list(prefixes), [path_id] * len(prefixes))
        self.rib.update(PEERS[number].key, Update(withdrawn=(batch,)))

    def set_next_hop(self, hop, reachable):
        self.rib.set_next_hops({ADDRESSES[hop]: NextHopFacts(ADDRESSES[hop], reachable=reachable)})

    def set_own(self, prefixes, communities):
        self.own = dict.fromkeys(sorted(prefixes), OwnCommunities(communities))
        self.out.set_own(V4, self.own)
        self.rib.set_own(V4, [prefix for prefix in prefixes if prefix[0] == 26])

    def session_up(self, number, parts):
        chain, add_path, scope = parts
        self.up[number] = target(number, chain, add_path=add_path, scope=scope)
        held = self.held.setdefault(PEERS[number].key, {})
        for path_id, prefix in [key for key in held if bool(key[0]) != add_path]:
            del held[path_id, prefix]  # what has, or lacks, a path id is of no use in a session of the other kind
        self.out.join(out_peer(number), [self.up[number]])

    def session_down(self, number):
        self.up.pop(number, None)
        self.out.leave(PEERS[number].key)

    def all_back(self):
        for number in PEERS:
            if number not in self.up:
                self.session_up(number, (CHAINS[0], False, AdvertiseScope.ALL))

    def set_filters(self, chain, some):
        for number in some & self.up.keys():
            old = self.up[number]
            self.up[number] = target(number, chain, add_path=old.add_path, scope=old.scope)
        self.out.move({out_peer(number): (which,) for number, which in self.up.items()})

    def hand_over_fails(self, number):
        """What is handed over next for this peer does not get through."""
        self.lossy.add(number)

    def minute_passes(self):
        """What failed is noticed within a minute."""
        self.tell_again()
        self.out.age()

    def tell_again(self):
        """What failed is noticed, and told again."""
        for number in sorted(self.failed & self.up.keys()):
            self.out.join(out_peer(number), [self.up[number]])
        self.lossy, self.failed = set(), set()

    def new_speaker(self):
        self.out.reset()
        self.up, self.held = {}, {}
        self.lossy, self.failed = set(), set()

    def drain(self, policy):
        self.policy = policy
        self.out.set_policy(CONTEXT, draining=policy[0], silent=policy[1])

    def work(self, limit):
        self.out.judged(self.rib.decide(limit).judged)
        self._take(self.out.advance(limit)[0])
        for info in PEERS.values():
            self._take(self.out.finish(info.key, V4, limit)[0])

    def _take(self, deltas):
        withdrawn: set[tuple[str, bytes]] = set()
        for delta in deltas:
            for peer in delta.peers:
                number = next(number for number, info in PEERS.items() if info.key == peer)
                if number in self.lossy:
                    self.failed.add(number)
                    continue
                held = self.held.setdefault(peer, {})
                for batch in delta.announce:
                    assert not withdrawn & {(peer, prefix) for prefix in batch.prefixes}
                    held.update({(batch.path_id, prefix): batch.attributes for prefix in batch.prefixes})
                of_before = [] if self.up[number].add_path else [batch for batch in delta.withdraw if batch.path_id]
                taken = {prefix for batch in of_before for prefix in batch.prefixes}
                for batch in delta.withdraw:
                    withdrawn |= {(peer, prefix) for prefix in batch.prefixes if prefix not in taken}
                    for prefix in batch.prefixes:
                        held.pop((batch.path_id, prefix), None)
                for prefix in taken:
                    held.pop((0, prefix), None)

    # -- what must hold

    def _expected(self, number: int) -> dict:
        out = AdjRibOut(self.rib)
        out.set_policy(CONTEXT, draining=self.policy[0], silent=self.policy[1])
        out.set_own(V4, self.own)
        out.join(out_peer(number), [self.up[number]])
        found: dict = {}
        while out.pending:
            for delta in out.advance(1000)[0]:
                assert not delta.withdraw
                for batch in delta.announce:
                    found.update({(batch.path_id, prefix): batch.attributes for prefix in batch.prefixes})
        return found

    def the_speaker_holds_what_is_to_be_heard(self):
        self.tell_again()
        while True:
            decisions = self.rib.decide(1000)
            self.out.judged(decisions.judged)
            if not decisions.more:
                break
        while self.out.pending:
            self._take(self.out.advance(1000)[0])
        for number in self.up:
            key = PEERS[number].key
            deltas, _, done = self.out.finish(key, V4, 1000)
            self._take(deltas)
            assert done
            held = self.held.get(key, {})
            assert held == self._expected(number)
            told = self.out.told(key, V4)
            assert set(told) == {prefix for _, prefix in held}
            assert len(told) == len(set(told))
            paths = {prefix: tuple(route.out for route in told.routes(prefix)) for prefix in told}
            assert paths == self.out.desired(self.up[number], out_peer(number))
            for prefix in {*self.own, *(each for each in PREFIXES if self.rib.selection(V4, each))}:
                assert (self.out.refusal(self.up[number], out_peer(number), prefix) is None) == (prefix in told)


def act(cluster: Cluster, dice: random.Random) -> None:
    """One thing that happens; what matters most happens most."""
    number, prefix = dice.choice(list(PEERS)), dice.choice(PREFIXES)
    some = set(dice.sample(PREFIXES, dice.randint(1, 3)))
    match dice.randrange(23):
        case 0 | 1 | 2:
            cluster.announce(number, {prefix}, dice.choice([None, None, 1]), 0, number)
        case 3 | 4 | 5:
            cluster.announce(number, some, dice.choice([None, 1]), dice.choice([0, 0, 5]), dice.randint(2, 5))
        case 6 | 7:
            cluster.withdraw(number, some, dice.choice([0, 0, 5]))
        case 8:
            cluster.set_next_hop(dice.randint(2, 6), dice.random() < 0.7)
        case 9 | 10:
            cluster.set_own(dice.sample(PREFIXES, dice.randint(0, 2)), dice.choice([(), (5,)]))
        case 11 | 12:
            cluster.session_down(number)
        case 13 | 14:
            cluster.all_back()
        case 15:
            scope = dice.choice([AdvertiseScope.ALL, AdvertiseScope.ALL, AdvertiseScope.OWN])
            cluster.session_up(number, (dice.choice(CHAINS), dice.random() < 0.5, scope))
        case 16:
            cluster.set_filters(dice.choice(CHAINS), set(dice.sample(list(PEERS), dice.randint(1, 5))))
        case 17:
            cluster.hand_over_fails(number)
        case 18:
            cluster.drain(dice.choice([(False, False), (False, False), (True, False), (False, True)]))
        case 19 if dice.random() < 0.2:
            cluster.new_speaker()
        case 20:
            cluster.tell_again()
        case 21 | 22:
            cluster.minute_passes()


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), checked=st.booleans())
def test_the_speaker_ends_with_what_each_peer_should_hear(seed: int, checked: bool) -> None:
    dice, cluster = random.Random(seed), Cluster()
    for _ in range(40):
        act(cluster, dice)
        if checked or dice.random() < 0.1:
            cluster.the_speaker_holds_what_is_to_be_heard()
        elif dice.random() < 0.5:
            cluster.work(dice.randint(1, 4))
    cluster.the_speaker_holds_what_is_to_be_heard()
