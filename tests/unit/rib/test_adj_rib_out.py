"""What peers are told: who hears what, with which attributes."""
from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from exporting import CLIENT, EXTERNAL, N2, N3, N4, N5, NON_CLIENT, TOR, US, A, B, C, Out, chain, own, target

from calicopy.bgp import AsPath, Origin, RawAttribute, Segment, SegmentKind
from calicopy.bgp.communities import GRACEFUL_SHUTDOWN, NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED
from calicopy.net import Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.policy import (
    Action,
    AdvertiseScope,
    Changes,
    Match,
    NextHopMode,
    PeerType,
    PrefixMatch,
    RouteSource,
    Rule,
)

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
