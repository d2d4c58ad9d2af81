"""Whatever the history, the RIB ends where a new one ends that is told the present state alone; and no path is lost.

A model keeps what is true now in plain dictionaries: the paths of every peer, what is stale, holders, own blocks, next
hops, the cluster file, the filters. After any run of events, its content is given to a new `Rib` in one go, and all
that can be asked of the two is compared; so is what the changes told along the way add up to.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from decided import changed
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from calicopy.bgp import AsPath, NlriBatch, PathAttributes, Update
from calicopy.net import Family, Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.policy import Action, Changes, Filter, Match, PrefixMatch, Rule
from calicopy.rib import Holder, NodeFacts, PathState, PeerInfo, PoolFacts, Rib, RibContext

V4 = Family.IPV4
ADDRESSES = {n: IPv4Address(f"10.0.0.{n}") for n in range(1, 6)}
IDS = {n: int(address) for n, address in ADDRESSES.items()}
NODES = {IDS[n]: NodeFacts(f"n{n}", IDS[n], 64512, frozenset({ADDRESSES[n]})) for n in range(1, 5)}
SMALL = (PoolFacts(Prefix.parse("10.244.0.0/24"), 26),)
LARGE = (PoolFacts(Prefix.parse("10.244.0.0/23"), 26),)
CONTEXT = RibContext(64512, 64512, IDS[1], IDS[1], frozenset({ADDRESSES[1]}), SMALL, NODES)
CONTEXTS = [
    CONTEXT,
    replace(CONTEXT, pools=LARGE),
    replace(CONTEXT, multipath_max=1),
    replace(CONTEXT, nodes={key: node for key, node in NODES.items() if key != IDS[4]}),
]
BLOCKS = [Prefix.parse(text).packed for text in ("10.244.0.0/26", "10.244.0.64/26", "10.244.1.0/26")]
HOSTS = [Prefix.parse(text).packed for text in ("10.244.0.5/32", "10.244.0.70/32", "10.244.1.5/32")]
OTHERS = [Prefix.parse(text).packed for text in ("0.0.0.0/0", "10.244.0.0/25", "10.244.0.16/28")]
PEERS = [
    PeerInfo("10.0.0.2", "n2", ADDRESSES[2], 64512, 64512, IDS[2], node="n2"),
    PeerInfo("10.0.0.3", "n3", ADDRESSES[3], 64512, 64512, IDS[3], node="n3"),
    PeerInfo("10.0.0.4", "reflector", ADDRESSES[4], 64512, 64512, 99, trust_owner=True),
    PeerInfo("10.0.0.5", "gateway", ADDRESSES[5], 65001, 64512, 98),
]

HALF = PrefixMatch(Prefix.parse("10.244.0.0/25"), 25, 32)
CHAINS = [
    (),
    (Filter("no-hosts", (Rule("1", Match(least_length=32), action=Action.REJECT),)),),
    (Filter("half", (Rule("1", Match(prefixes=(HALF,)), Changes(local_pref=200)),), Action.ACCEPT),),
    (Filter("marked", (Rule("1", Match(communities=frozenset({7})), Changes(med=5)),)),
     Filter("none-of-half", (Rule("1", Match(prefixes=(HALF,)), action=Action.REJECT),))),
    (Filter("nothing", default=Action.REJECT),),
]  # fmt: skip

peers = st.sampled_from(PEERS)
prefix_lists = st.lists(st.sampled_from(BLOCKS + HOSTS + OTHERS), min_size=1, max_size=4)
path_ids = st.sampled_from([0, 0, 0, 1, 2])


@dataclass
class PeerModel:
    paths: dict = field(default_factory=dict)  # (path id, prefix) -> (attributes, next hop)
    stale: set = field(default_factory=set)
    restarting: bool = False

    def sweep(self) -> None:
        for key in self.stale:
            del self.paths[key]
        self.stale, self.restarting = set(), False


class RibMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rib = Rib(CONTEXT)
        self.context = CONTEXT
        self.peers: dict[str, PeerModel] = {}
        self.infos = {peer.key: peer for peer in PEERS}
        self.holders: dict = {}
        self.own: tuple = ((), ())
        self.facts: dict = {}
        self.out_of_use: frozenset = frozenset()
        self.told: dict = {}
        self.conflicts: set = set()

    # -- events

    @rule(peer=peers)
    def peer_up(self, peer):
        self.rib.peer_up(self.infos[peer.key])
        self.peers.setdefault(peer.key, PeerModel())

    @rule(peer=peers, chain=st.sampled_from(CHAINS))
    def set_filters(self, peer, chain):
        self.infos[peer.key] = replace(peer, import_filters=chain)
        self.rib.set_peer(self.infos[peer.key])

    @rule(
        peer=peers, prefixes=prefix_lists, path_id=path_ids, med=st.sampled_from([None, 1]), hop=st.integers(1, 5),
        owner=st.sampled_from([None, None, 2, 3, 4]), originator=st.sampled_from([None, None, 1, 2, 3, 4]),
        community=st.sampled_from([None, 7, 0xFFFF0000]),
    )  # fmt: skip
    def announce(self, peer, prefixes, path_id, med, hop, owner, originator, community):
        self.peer_up(peer)
        model = self.peers[peer.key]
        attributes = PathAttributes(
            as_path=AsPath() if peer.ibgp else AsPath.sequence(peer.asn),
            med=med,
            originator_id=None if originator is None else ADDRESSES[originator],
            communities=() if community is None else (community,),
            large_communities=() if owner is None else ((64512, 1, IDS[owner]),),
        )
        ids = [path_id] * len(prefixes) if path_id else None
        batch = NlriBatch(V4, prefixes, ids, ADDRESSES[hop])
        self.rib.update(peer.key, Update(announced=(batch,), attributes=attributes))
        for prefix in prefixes:
            model.paths[path_id, prefix] = (attributes, ADDRESSES[hop])
            model.stale.discard((path_id, prefix))

    @rule(peer=peers, prefixes=prefix_lists, path_id=path_ids)
    def withdraw(self, peer, prefixes, path_id):
        self.peer_up(peer)
        model = self.peers[peer.key]
        batch = NlriBatch(V4, prefixes, [path_id] * len(prefixes))
        self.rib.update(peer.key, Update(withdrawn=(batch,)))
        for prefix in prefixes:
            model.paths.pop((path_id, prefix), None)
            model.stale.discard((path_id, prefix))

    @rule(peer=peers, retain=st.booleans())
    def peer_down(self, peer, retain):
        self.rib.peer_down(peer.key, retain=retain)
        model = self.peers.get(peer.key)
        if model is None:
            return
        if not retain:
            del self.peers[peer.key]
            return
        if model.restarting:
            model.sweep()
        model.stale, model.restarting = set(model.paths), bool(model.paths)

    @rule(peer=peers)
    def begin_refresh(self, peer):
        if (model := self.peers.get(peer.key)) is not None:
            self.rib.begin_refresh(peer.key, V4)
            model.stale = set(model.paths)

    @rule(peer=peers)
    def end_refresh(self, peer):
        self.rib.end_refresh(peer.key, V4)
        if (model := self.peers.get(peer.key)) is not None:
            model.sweep()

    @rule(block=st.sampled_from(BLOCKS), holder=st.sampled_from([None, 2, 3, 4]), pinned=st.booleans())
    def set_holder(self, block, holder, pinned):
        value = None if holder is None else Holder(IDS[holder], pinned)
        self.rib.set_holders(V4, {block: value})
        self.holders[block] = value

    @rule(blocks=st.sets(st.sampled_from(BLOCKS), max_size=2), used=st.sets(st.sampled_from(HOSTS), max_size=2))
    def set_own(self, blocks, used):
        self.rib.set_own(V4, blocks, used)
        self.own = (blocks, used)

    @rule(hop=st.integers(2, 5), reachable=st.booleans(), metric=st.integers(0, 1))
    def set_next_hop(self, hop, reachable, metric):
        facts = NextHopFacts(ADDRESSES[hop], reachable=reachable, metric=metric)
        self.rib.set_next_hops({facts.address: facts})
        self.facts[facts.address] = facts

    @rule(hops=st.frozensets(st.sampled_from([ADDRESSES[n] for n in range(2, 6)]), max_size=2))
    def set_out_of_use(self, hops):
        self.rib.set_out_of_use(hops)
        self.out_of_use = hops

    @rule(context=st.sampled_from(CONTEXTS))
    def set_context(self, context):
        self.rib.set_context(context)
        self.context = context

    @rule(limit=st.integers(1, 5))
    def decide(self, limit):
        self._take(self.rib, self.rib.decide(limit))

    def _take(self, rib, decisions):
        judged = decisions.judged.get(V4, ())
        assert {prefix for prefix, _ in changed(decisions).get(V4, ())} <= set(judged)
        for prefix, selection in changed(decisions).get(V4, ()):
            before = self.told.get(prefix)
            assert selection is not before, "a change that is none"
            self.told[prefix] = selection
        for row in decisions.conflicts_over:
            self.conflicts.remove(row)
        for row in decisions.conflicts:
            assert row not in self.conflicts
            self.conflicts.add(row)

    # -- what must hold

    def _fresh(self) -> Rib:
        rib = Rib(self.context)
        rib.set_next_hops(self.facts)
        rib.set_out_of_use(self.out_of_use)
        rib.set_own(V4, *self.own)
        rib.set_holders(V4, self.holders)
        for peer in PEERS:
            model = self.peers.get(peer.key)
            if model is None:
                continue
            rib.peer_up(self.infos[peer.key])
            for (path_id, prefix), (attributes, hop) in model.paths.items():
                batch = NlriBatch(V4, [prefix], [path_id], hop)
                rib.update(peer.key, Update(announced=(batch,), attributes=attributes))
        rib.decide(1000)
        return rib

    @invariant()
    def equals_from_scratch(self):
        while True:
            decisions = self.rib.decide(1000)
            self._take(self.rib, decisions)
            if not decisions.more:
                break
        fresh = self._fresh()
        assert sorted(self.rib.prefixes(V4)) == sorted(fresh.prefixes(V4))
        assert self.rib.wanted_next_hops() == fresh.wanted_next_hops()
        assert set(self.rib.conflicts()) == set(fresh.conflicts()) == self.conflicts
        for prefix in fresh.prefixes(V4):
            assert set(map(shape, self.rib.lookup(V4, prefix))) == set(map(shape, fresh.lookup(V4, prefix)))
        for peer in PEERS:
            mine, theirs = self.rib.counters(peer.key), fresh.counters(peer.key)
            assert replace(mine, stale=0) == theirs
        present = {prefix for prefix, selection in self.told.items() if selection is not None}
        assert all(self.rib.selection(V4, prefix) is selection for prefix, selection in self.told.items())
        assert present == {prefix for prefix in fresh.prefixes(V4) if fresh.selection(V4, prefix) is not None}

    @invariant()
    def what_somebody_announces_is_not_dead(self):
        for key in self.peers:
            used = {path.next_hop for _, path in self.rib.received(key).get(V4, ()) if path.refused is None}
            assert not used & self.rib.dead_next_hops

    @invariant()
    def no_path_is_lost(self):
        expected = {
            (key, path_id, prefix, (path_id, prefix) in model.stale)
            for key, model in self.peers.items()
            for path_id, prefix in model.paths
        }
        found = set()
        for prefix in self.rib.prefixes(V4):
            views = self.rib.lookup(V4, prefix)
            assert sum(view.state is PathState.BEST for view in views) <= 1
            for view in views:
                found.add((view.path.peer.key, view.path.path_id, prefix, view.stale))
                assert (view.step is not None) == (view.state is PathState.LOSING)
                assert (view.reason is not None) == (view.state is PathState.REJECTED)
        assert found == expected


def shape(view):
    """What a view says, without the identity of its path and without staleness, which is history by nature."""
    path = view.path
    what = (path.peer, path.path_id, path.attributes, path.next_hop, path.owner, path.refused, path.effective,
            path.rule)
    return what, view.state, view.step, view.reason, view.foreign_host


class SlicedRibMachine(RibMachine):
    """The same, comparing only at the end, so that many events meet in one slice and slices end in the middle."""

    equals_from_scratch = None
    no_path_is_lost = None

    def teardown(self):
        RibMachine.equals_from_scratch(self)
        RibMachine.no_path_is_lost(self)


TestRibIsItsPresentState = RibMachine.TestCase
TestRibIsItsPresentState.settings = settings(max_examples=60, stateful_step_count=25)
TestRibInSlices = SlicedRibMachine.TestCase
TestRibInSlices.settings = settings(max_examples=150, stateful_step_count=40)
