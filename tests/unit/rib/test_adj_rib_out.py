"""What peers are told: who hears what, with which attributes, in which commands, and what a peer that returns hears."""
from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from calicopy.bgp import AsPath, Origin, RawAttribute, Segment, SegmentKind
from calicopy.bgp.communities import GRACEFUL_SHUTDOWN, NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED
from calicopy.net import Family, Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.policy import (
    Action,
    AdvertiseScope,
    Chain,
    Changes,
    Filter,
    Match,
    NextHopMode,
    PeerType,
    PrefixMatch,
    RouteSource,
    Rule,
)
from calicopy.rib import AdjRibOut, ExportTarget, OutPeer, OwnCommunities

V4 = Family.IPV4
A, B, C = "10.244.1.0/26", "10.244.2.0/26", "10.244.3.0/26"
US = IPv4Address("10.0.0.1")
N2, N3, N4, N5 = (f"10.0.0.{number}" for number in range(2, 6))
TOR = "10.0.0.9"
NO_FILTERS = Chain(())
ALL = AdvertiseScope.ALL


def target(**parts: object) -> ExportTarget:
    values: dict = {"family": V4, "ibgp": True, "local_asn": 64512, "next_hop": US, "chain": NO_FILTERS, "scope": ALL}
    return ExportTarget(**{**values, **parts})


CLIENT = target(client=True)
NON_CLIENT = target()
EXTERNAL = target(ibgp=False)
MANY = target(client=True, add_path=True)


class Out:
    """An Adj-RIB-Out and a speaker: `held` is what it holds for each peer, whether the session is up or not."""

    def __init__(self, world) -> None:
        self.world = world
        self.out = AdjRibOut(world.rib)
        world.rib.set_next_hops({ip_address(TOR): NextHopFacts(ip_address(TOR), reachable=True)})
        self.held: dict[str, dict] = {}
        self.deltas: list = []
        self.told: list[tuple] = []
        self.done: set[str] = set()

    def up(self, peer: str, which: ExportTarget = CLIENT, router_id: int | None = None) -> None:
        address = ip_address(peer)
        self.out.join(OutPeer(peer, address, int(address) if router_id is None else router_id), [which])
        self.done.discard(peer)

    def run(self, limit: int = 1000) -> Out:
        """Until nothing is left; the deltas of this run are in `deltas`."""
        decisions = self.world.settle()
        self.out.judged(decisions.judged)
        self.deltas = []
        while True:
            deltas, _ = self.out.advance(limit)
            self._take(deltas)
            if not self.out.pending:
                break
        for peer in {*self.held, N2, N3, N4, N5, TOR}:
            done = False
            while not done:
                deltas, left, done = self.out.finish(peer, V4, limit)
                self._take(deltas)
                if left == limit:
                    break
            if done:
                self.done.add(peer)
        return self

    def _take(self, deltas) -> None:
        self.deltas += deltas
        for delta in deltas:
            for peer in delta.peers:
                held = self.held.setdefault(peer, {})
                for batch in delta.announce:
                    held.update({(batch.path_id, prefix): batch.attributes for prefix in batch.prefixes})
                for batch in delta.withdraw:
                    for prefix in batch.prefixes:
                        held.pop((batch.path_id, prefix), None)

    def hears(self, peer: str) -> dict:
        """(path id, prefix as text) to attributes; just the prefix without ADD-PATH."""
        found = {}
        for (path_id, packed), out in self.held.get(peer, {}).items():
            text = str(Prefix(V4, packed))
            found[(path_id, text) if path_id else text] = out
        return found

    def one(self, peer: str):
        """The attributes of the only prefix that a peer hears."""
        (found,) = self.hears(peer).values()
        return found.attributes

    def commands(self) -> list[tuple]:
        """(peers, how many announced, how many withdrawn) of the last run."""
        return [
            (delta.peers, sum(len(batch.prefixes) for batch in delta.announce),
             sum(len(batch.prefixes) for batch in delta.withdraw))
            for delta in self.deltas
        ]  # fmt: skip


@pytest.fixture
def out(world) -> Out:
    return Out(world)


def own(out: Out, *prefixes: str, **communities: object) -> None:
    out.out.set_own(V4, {out.world.packed(prefix): OwnCommunities(**communities) for prefix in prefixes})


# -- our own prefixes


def test_an_internal_peer_gets_local_pref_an_empty_as_path_and_the_owner(out):
    own(out, A)
    out.up(N2, target(scope=AdvertiseScope.OWN))
    attributes = out.run().one(N2)
    assert (attributes.origin, attributes.as_path.length, attributes.local_pref) == (Origin.IGP, 0, 100)
    assert attributes.large_communities == ((64512, 1, int(US)),)
    assert out.hears(N2)[A].next_hop == US


def test_an_external_peer_gets_our_as_and_neither_local_pref_nor_med(out):
    own(out, A)
    out.up(TOR, target(ibgp=False, local_asn=64999))
    attributes = out.run().one(TOR)
    assert (str(attributes.as_path), attributes.local_pref, attributes.med) == ("64999", None, None)
    assert attributes.large_communities == ((64512, 1, int(US)),)


def test_own_prefixes_carry_their_communities_to_everybody_who_then_heeds_them(out):
    own(out, A, communities=(NO_EXPORT, 7), large_communities=((1, 2, 3),))
    out.up(TOR, EXTERNAL)
    assert out.run().one(TOR).communities == (NO_EXPORT, 7)
    assert out.one(TOR).large_communities == ((64512, 1, int(US)), (1, 2, 3))


def test_what_we_export_another_node_takes_as_ours(world, out):
    """Both ends of the owner's community agree: seen from node 1, node 2's export is node 2's block."""
    own(out, A)
    out.up(N2)
    communities = tuple((asn, function, world.id(2)) for asn, function, _ in out.run().one(N2).large_communities)
    world.announce(world.node_peer(2), A, large_communities=communities)
    assert world.state(A) == "best"


def test_what_is_no_longer_ours_is_withdrawn_after_what_is_new(out):
    own(out, A, B)
    out.up(N2)
    own(out.run(), B, C)
    out.run()
    assert set(out.hears(N2)) == {B, C}
    assert out.commands() == [((N2,), 1, 1)]


# -- who hears what was learned


def heard_by(out: Out) -> set[str]:
    return {peer for peer in (N2, N3, N4, N5, TOR) if out.hears(peer)}


@pytest.mark.parametrize(("client", "hear"), [(True, {N3, N4, TOR}), (False, {N3, TOR})])
def test_a_reflector_passes_on_what_clients_sent_to_all_and_what_others_sent_to_clients(world, out, client, hear):
    world.announce(world.node_peer(2, client=client), A)
    for peer, which in ((N2, CLIENT if client else NON_CLIENT), (N3, CLIENT), (N4, NON_CLIENT), (TOR, EXTERNAL)):
        out.up(peer, which)
    assert heard_by(out.run()) == hear


def test_what_came_over_ebgp_goes_to_all_but_its_source(world, out):
    world.announce(world.peer(TOR, asn=65001), A)
    for peer, which in ((TOR, EXTERNAL), (N2, NON_CLIENT), (N3, CLIENT)):
        out.up(peer, which)
    assert heard_by(out.run()) == {N2, N3}


def test_a_session_that_is_told_our_own_hears_nothing_that_was_learned(world, out):
    world.announce(world.node_peer(2, client=True), A)
    out.up(N3, target(scope=AdvertiseScope.OWN))
    assert heard_by(out.run()) == set()


def test_a_path_does_not_go_back_to_the_node_that_it_began_at(world, out):
    reflector = world.peer(N5, trust_owner=True, client=True)
    world.announce(reflector, A, next_hop=N3, originator_id=IPv4Address(N3), large_communities=(world.owner(3),))
    for peer in (N2, N3, N4, N5):
        out.up(peer, target(client=True))
    assert heard_by(out.run()) == {N2, N4}


def test_a_path_does_not_go_to_the_peer_that_it_leads_to(world, out):
    world.announce(world.peer(TOR, asn=65001), A, next_hop=N2)
    out.up(N2, NON_CLIENT)
    out.up(N3, NON_CLIENT)
    assert heard_by(out.run()) == {N3}


@pytest.mark.parametrize(("community", "hear"), [
    (NO_EXPORT, {N3}), (NO_EXPORT_SUBCONFED, {N3}), (NO_ADVERTISE, set()), (7, {N3, TOR}),
])  # fmt: skip
def test_the_well_known_communities_are_heeded(world, out, community, hear):
    world.announce(world.node_peer(2, client=True), A, communities=(community,))
    out.up(N3)
    out.up(TOR, EXTERNAL)
    assert heard_by(out.run()) == hear


def test_a_path_that_is_refused_or_whose_next_hop_is_lost_is_withdrawn(world, out):
    world.announce(world.node_peer(2, client=True), A)
    out.up(N3)
    assert set(out.run().hears(N3)) == {A}
    world.rib.set_next_hops({ip_address(N2): NextHopFacts.unreachable(ip_address(N2))})
    assert set(out.run().hears(N3)) == set()
    world.rib.set_next_hops({ip_address(N2): NextHopFacts(ip_address(N2), reachable=True)})
    assert set(out.run().hears(N3)) == {A}
    world.hold(A, 4, pinned=True)
    assert set(out.run().hears(N3)) == set()
    assert world.state(A) == "rejected: held-elsewhere"


def test_only_the_best_path_is_told_and_its_source_hears_no_other(world, out):
    host = "10.244.1.5/32"
    for number in (2, 3):
        world.announce(world.node_peer(number, client=True), host, large_communities=(world.owner(number),))
        out.up(f"10.0.0.{number}")
    assert out.run().hears(N2) == {}
    assert set(out.hears(N3)) == {host}


# -- the attributes of what was learned


def strange() -> dict:
    """Attributes of all kinds, to be passed on as they are."""
    return {
        "origin": Origin.EGP, "med": 77, "local_pref": 150, "atomic_aggregate": True,
        "communities": (9, 3, 9), "large_communities": ((64512, 1, int(IPv4Address(N2))), (7, 7, 7)),
        "unknown": (
            RawAttribute(0xC0, 16, bytes.fromhex("0002fc0000000001" "4002fc0000000002")), RawAttribute(0xC0, 99, b"hi"),
        ),
    }  # fmt: skip


def test_a_reflected_path_is_as_it_came_but_for_originator_cluster_list_and_the_partial_bit(world, out):
    world.announce(world.node_peer(2, client=True), A, as_path=(), **strange())
    out.up(N3)
    sent = out.run().one(N3)
    assert (sent.originator_id, sent.cluster_list) == (IPv4Address(N2), (US,))
    for name, value in strange().items():
        if name != "unknown":
            assert getattr(sent, name) == value
    extended, other = sent.unknown
    assert extended == strange()["unknown"][0]  # known: no Partial bit of ours
    assert other == RawAttribute(0xE0, 99, b"hi")
    assert out.hears(N3)[A].next_hop == ip_address(N2)


def test_what_does_not_fit_into_a_message_is_withdrawn_and_the_rest_is_told(world, out):
    """ORIGINATOR_ID and CLUSTER_LIST make it longer than it came; the speaker would keep the old one announced."""
    client = world.node_peer(2, client=True)
    world.announce(client, A, B, large_communities=(world.owner(2),))
    out.up(N3)
    out.up(N4, target(client=True, extended_message=True))
    assert set(out.run().hears(N3)) == {A, B}
    large = (RawAttribute(0xC0, 99, bytes(4030)),)
    world.announce(client, A, large_communities=(world.owner(2),), unknown=large)
    assert set(out.run().hears(N3)) == {B}
    assert out.hears(N4)[A].attributes.unknown == (RawAttribute(0xE0, 99, bytes(4030)),)
    world.announce(client, A, large_communities=(world.owner(2),), unknown=(RawAttribute(0xC0, 99, bytes(3900)),))
    assert set(out.run().hears(N3)) == {A, B}


def test_a_path_that_was_reflected_before_keeps_its_originator_and_gets_our_cluster_id_first(world, out):
    reflector = world.peer(N5, trust_owner=True)
    before = (IPv4Address("9.9.9.9"),)
    world.announce(reflector, A, next_hop=N2, originator_id=IPv4Address(N2), cluster_list=before,
                   large_communities=(world.owner(2),))  # fmt: skip
    out.up(N3)
    assert out.run().one(N3).originator_id == IPv4Address(N2)
    assert out.one(N3).cluster_list == (US, *before)


def test_a_path_over_ebgp_gets_local_pref_but_no_originator_within_the_as(world, out):
    world.announce(world.peer(TOR, asn=65001), A, med=5)
    out.up(N3)
    sent = out.run().one(N3)
    assert (sent.local_pref, sent.med, sent.originator_id, sent.cluster_list) == (100, 5, None, ())
    assert str(sent.as_path) == "65001"
    assert out.hears(N3)[A].next_hop == ip_address(TOR)


def test_towards_another_as_our_as_is_prepended_and_what_is_internal_stays_here(world, out):
    segments = AsPath((Segment(SegmentKind.CONFED_SEQUENCE, (65100,)), Segment(SegmentKind.AS_SET, (1, 2))))
    world.announce(world.node_peer(2), A, **{**strange(), "large_communities": (world.owner(2),)})
    out.up(TOR, EXTERNAL)
    sent = out.run().one(TOR)
    assert (sent.local_pref, sent.med, sent.originator_id, sent.cluster_list) == (None, None, None, ())
    assert str(sent.as_path) == "64512"
    assert sent.communities == (9, 3, 9)
    assert sent.unknown[0].value == bytes.fromhex("0002fc0000000001")  # the other one is not transitive
    assert out.hears(TOR)[A].next_hop == US
    assert str(segments.without_confed().prepend(64512)) == "64512 {1,2}"


@pytest.mark.parametrize(("mode", "external", "internal"), [
    (None, US, ip_address(TOR)), (NextHopMode.SELF, US, US), (NextHopMode.KEEP, ip_address(TOR), ip_address(TOR)),
])  # fmt: skip
def test_the_next_hop_of_a_path_over_ebgp_follows_the_session(world, out, mode, external, internal):
    world.announce(world.peer(TOR, asn=65001), A)
    out.up(N2, target(next_hop_mode=mode))
    out.up(N3, target(ibgp=False, next_hop_mode=mode))
    out.run()
    assert out.hears(N2)[A].next_hop == internal
    assert out.hears(N3)[A].next_hop == external


def test_a_reflected_path_keeps_its_next_hop_whatever_the_session_says(world, out):
    world.announce(world.node_peer(2, client=True), A)
    out.up(N3, target(next_hop_mode=NextHopMode.SELF))
    assert out.run().hears(N3)[A].next_hop == ip_address(N2)


# -- filters and drain


def chain(*rules: Rule, default: Action | None = None) -> Chain:
    return Chain((Filter("f", rules, default),))


def test_export_filters_refuse_by_prefix_source_and_peer_type(world, out):
    world.announce(world.node_peer(2, client=True), A, B)
    own(out, C)
    only = Match(prefixes=(PrefixMatch(Prefix.parse(A), 26, 26),), sources=frozenset({RouteSource.IBGP}),
                 peer_types=frozenset({PeerType.IBGP}), from_peers=frozenset({"n2"}))  # fmt: skip
    out.up(N3, target(client=True, chain=chain(Rule("1", only, action=Action.REJECT))))
    out.up(N4, target(client=True, chain=chain(Rule("1", Match(sources=frozenset({RouteSource.OWN}))), Rule(
        "2", action=Action.REJECT))))  # fmt: skip
    out.run()
    assert set(out.hears(N3)) == {B, C}
    assert set(out.hears(N4)) == set()


def test_what_an_export_filter_sets_goes_out_and_med_survives_towards_another_as(world, out):
    world.announce(world.node_peer(2), A, med=5)
    changes = Changes(med=30, local_pref=200, prepend=2, add_communities=(8,))
    out.up(TOR, target(ibgp=False, chain=chain(Rule("1", changes=changes))))
    out.up(N3, target(client=True, chain=chain(Rule("1", changes=changes))))
    external, internal = out.run().one(TOR), out.one(N3)
    assert (external.med, external.local_pref, str(external.as_path)) == (30, None, "64512 64512 64512")
    assert (internal.med, internal.local_pref, str(internal.as_path)) == (30, 200, "")  # RFC 4271 5.1.2 a
    assert external.communities == internal.communities == (8,)


def test_while_draining_everything_says_so_and_is_the_last_choice(world, out):
    world.announce(world.node_peer(2, client=True), A)
    own(out, C)
    out.up(N3)
    out.up(TOR, EXTERNAL)
    out.run()
    out.out.set_policy(world.context, draining=True, silent=False)
    out.run()
    assert out.commands() == [((N3,), 2, 0), ((TOR,), 2, 0)]
    for prefix in (A, C):
        assert out.hears(N3)[prefix].attributes.local_pref == 0
        assert out.hears(TOR)[prefix].attributes.local_pref is None
        assert GRACEFUL_SHUTDOWN in out.hears(N3)[prefix].attributes.communities
        assert GRACEFUL_SHUTDOWN in out.hears(TOR)[prefix].attributes.communities
    out.out.set_policy(world.context, draining=False, silent=True)
    assert out.run().hears(N3) == out.hears(TOR) == {}
    out.out.set_policy(world.context, draining=False, silent=False)
    assert set(out.run().hears(N3)) == {A, C}


# -- ADD-PATH


def anycast(world, *numbers: int, prefix: str = "10.244.1.5/32") -> str:
    reflector = world.peer(N5, trust_owner=True, client=True)
    for path_id, number in enumerate(numbers, 1):
        world.announce(reflector, prefix, path_id=path_id, next_hop=f"10.0.0.{number}", med=number,
                       large_communities=(world.owner(2),))  # fmt: skip
    return prefix


def test_with_add_path_every_path_that_can_be_used_goes_out_best_first(world, out):
    prefix = anycast(world, 4, 2, 3)
    world.rib.set_next_hops({ip_address(N4): NextHopFacts.unreachable(ip_address(N4))})
    out.up("10.0.0.33", MANY)
    out.run()
    routes = out.out.told("10.0.0.33", V4).routes(world.packed(prefix))
    assert [str(route.out.next_hop) for route in routes] == [N2, N3]
    assert len({route.path_id for route in routes}) == 2
    assert all(route.path_id > 1 for route in routes)


def test_a_path_keeps_its_id_when_others_come_and_go(world, out):
    prefix = anycast(world, 3)
    out.up("10.0.0.33", MANY)
    (first,) = out.run().hears("10.0.0.33")
    anycast(world, 3, 2)
    assert first in out.run().hears("10.0.0.33")
    assert len(out.deltas) == 1
    world.withdraw(world.peer(N5, trust_owner=True, client=True), prefix, path_id=2)
    assert set(out.run().hears("10.0.0.33")) == {first}
    assert out.commands() == [(("10.0.0.33",), 0, 1)]


def test_our_own_prefixes_have_path_id_one(out):
    own(out, A)
    out.up(N3, MANY)
    assert set(out.run().hears(N3)) == {(1, A)}


def test_of_many_paths_sixteen_are_sent(world, out):
    reflector = world.peer(N5, trust_owner=True, client=True)
    for path_id in range(1, 21):
        world.announce(reflector, A, path_id=path_id, next_hop=N2, med=path_id, large_communities=(world.owner(2),))
    out.up("10.0.0.33", MANY)
    assert sorted(one.attributes.med for one in out.run().hears("10.0.0.33").values()) == list(range(1, 17))


# -- update groups


def test_peers_that_hear_the_same_share_one_command(world, out):
    world.announce(world.node_peer(2, client=True), A, B)
    for peer in (N3, N4, N5):
        out.up(peer)
    out.run()
    assert out.commands() == [((N3, N4, N5), 2, 0)]
    out.run()
    assert out.commands() == []
    out.up(N2)
    world.announce(world.node_peer(2, client=True), C)
    out.run()
    assert out.commands() == [((N3, N4, N5), 1, 0)]


def test_a_change_of_attributes_is_announced_again_without_a_withdrawal(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, A)
    out.up(N3)
    out.run()
    world.announce(peer, A, med=9)
    out.run()
    assert out.commands() == [((N3,), 1, 0)]
    assert out.one(N3).med == 9


def test_another_source_of_equal_attributes_moves_only_those_two(world, out):
    """The new source has it withdrawn, the old one hears it now, to all others nothing is said."""
    block = {"next_hop": N2, "originator_id": IPv4Address("10.0.0.77")}
    one, other = world.peer("10.0.0.31", client=True), world.peer("10.0.0.32", client=True)
    world.announce(other, A, **block)
    for peer in ("10.0.0.31", "10.0.0.32", N3, N4):
        out.up(peer)
    assert A not in out.run().hears("10.0.0.32")
    world.announce(one, A, **block)
    out.run()
    assert out.commands() == [(("10.0.0.32",), 1, 0), (("10.0.0.31",), 0, 1)]


def test_a_peer_that_comes_later_is_sent_the_table_and_nobody_else_is_told(world, out):
    world.announce(world.node_peer(2, client=True), A, B)
    out.up(N3)
    out.run()
    out.up(N4)
    out.run()
    assert out.commands() == [((N4,), 2, 0)]
    assert out.done >= {N3, N4}


def test_a_table_goes_out_in_slices_and_is_complete_only_at_the_end(world, out):
    blocks = [f"10.244.{third}.{fourth}/26" for third in range(40) for fourth in (0, 64, 128, 192)]
    world.announce(world.node_peer(2, client=True), *blocks)
    world.settle()
    out.up(N3)
    sizes = []
    while out.out.pending:
        assert out.out.finish(N3, V4, 10) == ([], 10, False)
        deltas, left = out.out.advance(30)
        assert left >= 0
        sizes += [sum(len(batch.prefixes) for batch in delta.announce) for delta in deltas]
    assert sum(sizes) == 160
    assert max(sizes) <= 30
    assert out.out.finish(N3, V4, 10)[2]


def churn(world, out, peer, rounds: int, limit: int = 10) -> None:
    """Rounds in which eight prefixes change, and about `limit` can be told."""
    for number in range(rounds):
        world.announce(peer, *(f"10.244.9.{n}/32" for n in range(8)), med=number, large_communities=(world.owner(2),))
        out.out.judged(world.settle().judged)
        out._take(out.out.advance(limit)[0])
        for each in (N3, N4, TOR):
            deltas, _, done = out.out.finish(each, V4, limit)
            out._take(deltas)
            out.done |= {each} if done else set()


def test_changes_without_end_keep_no_group_waiting(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B, C)
    out.up(N3)
    out.up(TOR, EXTERNAL)
    churn(world, out, peer, 10)
    assert out.done == {N3, TOR}
    assert {A, B, C, "10.244.9.7/32"} <= set(out.hears(TOR)) & set(out.hears(N3))
    assert min(attributes.attributes.med for attributes in out.hears(N3).values() if attributes.attributes.med) >= 7


def test_a_peer_that_comes_amid_changes_without_end_is_sent_the_table_and_what_it_held_goes(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, *(f"10.244.1.{n}/32" for n in range(30)), large_communities=(world.owner(2),))
    out.up(N3)
    out.run()
    out.done.clear()
    out.up(N4)
    out.out.announced_before(N4, V4, [(0, world.packed(A))])
    out.held[N4] = {(0, world.packed(A)): None}
    churn(world, out, peer, 15)
    assert out.done >= {N3, N4}
    assert out.hears(N4).keys() == out.hears(N3).keys()
    assert len(out.hears(N4)) == 38


def test_what_waits_when_a_peer_may_be_swept_is_told_before(world, out):
    """An agent before us announced it: it is found again, and not withdrawn in between."""
    peer = world.node_peer(2, client=True)
    out.up(N3)
    out.run()
    out.up(N3)
    out.out.announced_before(N3, V4, [(0, world.packed(A))])
    out.out.advance(10)
    world.announce(peer, A)
    out.out.judged(world.settle().judged)
    assert out.out.finish(N3, V4, 10) == ([], 10, False)
    out.run()
    assert not [delta for delta in out.deltas if delta.withdraw]
    assert set(out.hears(N3)) == {A}
    assert N3 in out.done


def test_what_was_found_for_another_policy_or_a_question_is_not_kept(world, out):
    world.announce(world.node_peer(2, client=True), A)
    out.up(N3)
    out.run()
    for number in range(20):
        out.out.set_policy(world.context, draining=number % 2 == 0, silent=False)
        out.run()
        out.out.refusal(NON_CLIENT, OutPeer(N4, ip_address(N4), 4), world.packed(A))
    assert len(world.rib.outcome(V4, world.packed(A)).exports) <= 2


# -- peers that come back


def test_what_was_withdrawn_while_a_peer_was_away_is_withdrawn_when_it_is_back(world, out):
    """The speaker itself tells it again what it held."""
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B)
    out.up(N3)
    out.up(N4)
    out.run().out.leave(N3)
    world.withdraw(peer, A)
    assert set(out.run().hears(N3)) == {A, B}
    out.up(N3)
    assert set(out.run().hears(N3)) == {B}
    assert out.commands() == [((N3,), 1, 0), ((N3,), 0, 1)]


def test_what_was_withdrawn_while_all_were_away_is_withdrawn_too(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B)
    out.up(N3)
    out.run().out.leave(N3)
    world.withdraw(peer, A)
    out.run()
    out.up(N3)
    assert set(out.run().hears(N3)) == {B}


def test_what_was_withdrawn_while_a_peer_was_away_for_long_is_withdrawn_when_it_is_back(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B, C)
    out.up(N3)
    out.up(N4)
    out.run()
    world.withdraw(peer, C)
    out.run().out.leave(N3)
    for prefix in (A, None, None):
        if prefix is not None:
            world.withdraw(peer, prefix)
        out.run().out.age()
    out.up(N3)
    assert set(out.run().hears(N3)) == {B}
    assert N3 in out.done


def test_what_was_withdrawn_long_ago_is_not_withdrawn_again_when_a_peer_is_back(world, out):
    """Else each return of a peer costs a withdrawal of all that ever was."""
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B, C)
    out.up(N3)
    out.up(N4)
    out.run()
    world.withdraw(peer, A)
    out.run().out.age()
    out.out.age()
    out.out.leave(N3)
    for number in range(50):  # comes and goes while it is away
        host = f"10.244.9.{number}/32"
        world.announce(peer, host, large_communities=(world.owner(2),))
        out.run()
        world.withdraw(peer, host)
        out.run().out.age()
    out.up(N3)
    assert set(out.run().hears(N3)) == {B, C}
    withdrawn = [prefix for delta in out.deltas for batch in delta.withdraw for prefix in batch.prefixes]
    assert set(withdrawn) <= {world.packed("10.244.9.0/32"), world.packed("10.244.9.49/32")}


def test_a_peer_that_became_the_source_while_it_was_away_does_not_keep_the_path_of_another(world, out):
    host = "10.244.1.5/32"
    world.announce(world.node_peer(3, client=True), host, large_communities=(world.owner(3),))
    out.up(N2)
    out.up(N3)
    out.up(N4)
    assert host in out.run().hears(N2)
    out.out.leave(N2)
    world.announce(world.node_peer(2, client=True), host, large_communities=(world.owner(2),))
    out.run()
    out.up(N2)
    assert out.run().hears(N2) == {}
    assert host in out.hears(N3)


def test_a_peer_whose_filters_change_is_told_the_difference_alone(world, out):
    world.announce(world.node_peer(2, client=True), A, B)
    strict = target(client=True, chain=chain(Rule("1", Match(prefixes=(PrefixMatch(Prefix.parse(A), 26, 26),)),
                                                   action=Action.REJECT)))  # fmt: skip
    out.up(N3)
    out.up(N4)
    out.run().out.move({OutPeer(peer, ip_address(peer), int(ip_address(peer))): (strict,) for peer in (N3, N4)})
    out.run()
    assert out.commands() == [((N3, N4), 0, 1)]
    assert set(out.hears(N3)) == {B}
    out.out.move({OutPeer(N3, ip_address(N3), int(ip_address(N3))): (CLIENT,)})
    assert set(out.run().hears(N3)) == {A, B}
    assert set(out.hears(N4)) == {B}
    out.out.move({OutPeer(N3, ip_address(N3), int(ip_address(N3))): (strict,)})
    assert set(out.run().hears(N3)) == {B}
    assert {peers for peers, _, _ in out.commands()} == {(N3,)}


def test_what_an_agent_before_us_announced_and_we_do_not_is_withdrawn(world, out):
    own(out, A)
    out.up(N3)
    out.out.announced_before(N3, V4, [(0, world.packed(A)), (0, world.packed(B)), (7, world.packed(A))])
    out.held[N3] = {(0, world.packed(B)): None, (7, world.packed(A)): None}
    assert set(out.run().hears(N3)) == {A}


def test_without_add_path_what_is_told_goes_out_again_after_the_withdrawal_of_another_path_id(world, out):
    own(out, A, B)
    out.up(N3)
    out.out.announced_before(N3, V4, [(1, world.packed(A)), (5, world.packed(A)), (1, world.packed(C))])
    out.run()
    told, gone, again = out.deltas
    assert {prefix for batch in told.announce for prefix in batch.prefixes} == {world.packed(A), world.packed(B)}
    assert not gone.announce
    assert {(batch.path_id, *batch.prefixes) for batch in gone.withdraw if batch.path_id != 1} == {
        (5, world.packed(A)), (0, world.packed(A))
    }  # fmt: skip
    assert [list(batch.prefixes) for batch in again.announce] == [[world.packed(A)]]
    assert set(out.hears(N3)) == {A, B}


def test_a_new_speaker_holds_nothing(out):
    own(out, A)
    out.up(N3)
    out.run().out.reset()
    assert len(out.out.told(N3, V4)) == 0
    out.up(N3)
    out.run()
    assert out.commands() == [((N3,), 1, 0)]


def test_what_was_told_can_be_looked_up_and_counted(world, out):
    world.announce(world.node_peer(2, client=True), A)
    own(out, C)
    out.up(N2)
    out.up(N3)
    out.run()
    assert list(out.out.told(N2, V4)) == [world.packed(C)]
    assert len(out.out.told(N2, V4)) == 1
    told = out.out.told(N3, V4)
    assert len(told) == 2
    assert told[world.packed(A)].next_hop == ip_address(N2)
    assert told.get(world.packed(B)) is None
    assert [(family, set(found)) for family, found in out.out.learned()] == [(V4, {world.packed(A), world.packed(C)})]
    peer = OutPeer(N3, ip_address(N3), int(ip_address(N3)))
    assert out.out.desired(CLIENT, peer) == {prefix: (attributes,) for prefix, attributes in told.items()}
