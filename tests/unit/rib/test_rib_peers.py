"""Sessions that come and go, refreshes, limits, next hops, path ids, slices, and the numbers beside them."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest
from decided import changed

from calicopy.bgp import NlriBatch, Update
from calicopy.net import Family, Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.rib import ImportReason, UnknownPeerError

A, B, C = "10.244.1.0/26", "10.244.2.0/26", "10.244.3.0/26"


def facts(address: str, *, reachable: bool = True, metric: int = 0) -> dict:
    hop = ip_address(address)
    return {hop: NextHopFacts(hop, reachable=reachable, metric=metric)}


def test_an_update_of_a_peer_that_is_not_up_is_an_error(world):
    with pytest.raises(UnknownPeerError, match=r"peer 10\.0\.0\.7 is not known"):
        world.rib.update("10.0.0.7", Update())


def test_a_withdraw_of_what_was_never_announced_changes_nothing(world):
    peer = world.node_peer(2)
    world.withdraw(peer, A)
    assert changed(world.settle()) == {}


def test_a_prefix_that_is_withdrawn_is_told_once_as_gone(world):
    peer = world.node_peer(2)
    world.announce(peer, A, B)
    world.settle()
    world.withdraw(peer, A)
    assert changed(world.settle()) == {Family.IPV4: [(world.packed(A), None)]}
    assert changed(world.settle()) == {}
    assert world.rib.prefixes(Family.IPV4) == [world.packed(B)]


def test_a_prefix_in_both_fields_of_an_update_is_announced(world):
    peer = world.node_peer(2)
    nlri = [world.packed(A)]
    world.announce(peer, A)
    view = world.views(A)[0]
    announced = NlriBatch(Family.IPV4, nlri, None, peer.address)
    both = Update((NlriBatch(Family.IPV4, nlri),), (announced,), view.path.attributes)
    world.rib.update(peer.key, both)
    assert world.state(A) == "best"


def test_a_path_announced_again_unchanged_is_no_change(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    world.settle()
    world.announce(peer, A)
    assert not world.rib.decide(1).more
    assert changed(world.settle()) == {}


def test_many_changes_between_two_decisions_are_told_as_one(world):
    peer = world.node_peer(2)
    for med in range(50):
        world.announce(peer, A, med=med)
        world.withdraw(peer, B)
        world.announce(peer, B)
    changes = changed(world.settle())[Family.IPV4]
    assert sorted(prefix for prefix, _ in changes) == [world.packed(A), world.packed(B)]


def test_prefixes_of_equal_paths_share_one_selection(world):
    world.announce(world.node_peer(2), A, B, C)
    selections = {selection for _, selection in changed(world.settle())[Family.IPV4]}
    assert len(selections) == 1


def test_a_decision_is_taken_in_slices_and_says_that_more_is_left(world):
    peer = world.node_peer(2)
    blocks = [str(block) for block in Prefix.parse("10.244.0.0/22").subnets(26)]
    world.announce(peer, *blocks)
    first = world.rib.decide(10)
    assert (len(changed(first)[Family.IPV4]), first.more) == (10, True)
    world.announce(peer, *blocks[:5], med=5)  # decided already: comes again, behind the others
    rest = [prefix for prefix, _ in changed(world.settle(limit=3))[Family.IPV4]]
    assert rest == [world.packed(block) for block in (*blocks[10:], *blocks[:5])]


# -- sessions


def test_a_peer_that_is_gone_takes_its_paths_along(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    world.announce(peer, B, path_id=4)
    world.settle()
    world.rib.peer_down(peer.key, retain=False)
    assert dict(changed(world.settle())[Family.IPV4]) == {world.packed(A): None, world.packed(B): None}
    assert world.rib.peers() == ()
    assert world.rib.wanted_next_hops() == frozenset()
    world.rib.peer_down(peer.key, retain=False)  # gone is gone


def test_paths_of_a_lost_session_are_kept_stale_and_swept_when_not_heard_again(world):
    peer = world.node_peer(2)
    world.announce(peer, A, B)
    world.settle()
    world.rib.peer_down(peer.key, retain=True)
    assert [view.stale for view in world.views(A)] == [True]
    assert changed(world.settle()) == {}
    world.rib.peer_up(peer)
    world.announce(peer, A)
    assert [view.stale for view in world.views(A)] == [False]
    world.rib.end_refresh(peer.key, Family.IPV4)
    assert changed(world.settle()) == {Family.IPV4: [(world.packed(B), None)]}


def test_what_was_stale_when_the_session_is_lost_again_is_deleted(world):
    peer = world.node_peer(2)
    world.announce(peer, A, B)
    world.rib.peer_down(peer.key, retain=True)
    world.rib.peer_up(peer)
    world.announce(peer, A)
    world.rib.peer_down(peer.key, retain=True)
    assert world.state(A) == "best"
    assert world.rib.prefixes(Family.IPV4) == [world.packed(A)]


def test_a_refresh_under_way_when_the_session_is_lost_deletes_nothing(world):
    peer = world.node_peer(2)
    world.announce(peer, A, B)
    world.rib.begin_refresh(peer.key, Family.IPV4)
    world.announce(peer, A)
    world.rib.peer_down(peer.key, retain=True)
    assert sorted(world.rib.prefixes(Family.IPV4)) == [world.packed(A), world.packed(B)]


def test_a_refresh_sweeps_what_is_not_sent_again_in_that_family_alone(world):
    peer = world.node_peer(2)
    world.announce(peer, A, B)
    world.announce(peer, "fd00:10::40/122")
    world.settle()
    world.rib.begin_refresh(peer.key, Family.IPV4)
    world.announce(peer, B)
    assert world.rib.counters(peer.key).stale == 1
    world.rib.end_refresh(peer.key, Family.IPV4)
    assert changed(world.settle()) == {Family.IPV4: [(world.packed(A), None)]}
    assert len(world.rib.prefixes(Family.IPV6)) == 1
    world.rib.end_refresh(peer.key, Family.IPV4)  # without a begin: nothing


def test_a_session_that_comes_back_with_another_router_id_is_judged_anew(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    world.settle()
    world.rib.peer_down(peer.key, retain=True)
    world.rib.peer_up(replace(peer, router_id=world.id(3)))
    assert world.views(A)[0].path.owner == world.id(3)
    world.announce(replace(peer, router_id=world.id(3)), A)
    assert changed(world.settle()) == {}


# -- limits


def test_a_peer_that_passes_its_limit_is_told_once_and_the_rest_is_not_stored(world):
    peer = world.node_peer(2, prefix_limit=2)
    other = world.node_peer(3, prefix_limit=2)
    world.announce(other, "10.244.9.0/26")
    world.announce(peer, A)
    world.announce(peer, A, B, C, "10.244.4.0/26")
    (limit,) = world.settle().limits
    assert (limit.peer, limit.limit, limit.refused) == (peer.key, 2, 2)
    counters = world.rib.counters(peer.key)
    assert (counters.received, counters.over_limit) == (2, 2)
    assert world.rib.counters(other.key).received == 1
    world.announce(peer, C)
    assert world.settle().limits == []
    assert world.rib.counters(peer.key).over_limit == 3


def test_exactly_the_limit_is_no_excess(world):
    peer = world.node_peer(2, prefix_limit=2)
    world.announce(peer, A, B)
    world.announce(peer, A, B, med=1)
    world.announce(peer, B, B)
    assert world.settle().limits == []


def test_a_known_prefix_is_still_updated_at_the_limit(world):
    peer = world.node_peer(2, prefix_limit=1)
    world.announce(peer, A)
    world.announce(peer, B, A, med=7)
    assert world.views(A)[0].path.med == 7
    assert world.rib.prefixes(Family.IPV4) == [world.packed(A)]


def test_a_new_session_starts_with_a_clean_limit(world):
    peer = world.node_peer(2, prefix_limit=1)
    world.announce(peer, A, B)
    assert len(world.settle().limits) == 1
    world.rib.peer_down(peer.key, retain=False)
    world.rib.peer_up(peer)
    world.announce(peer, A)
    assert world.settle().limits == []


def test_stale_paths_make_way_for_those_of_the_new_session(world):
    """A peer that restarts with other prefixes, or under other path ids, does not pass a limit that it keeps."""
    peer = world.node_peer(2, prefix_limit=2)
    world.announce(peer, A, B)
    world.settle()
    world.rib.peer_down(peer.key, retain=True)
    world.rib.peer_up(peer)
    world.announce(peer, C, "10.244.4.0/26")
    assert world.settle().limits == []
    assert sorted(map(str, (Prefix(Family.IPV4, one) for one in world.rib.prefixes(Family.IPV4)))) == [
        C, "10.244.4.0/26"
    ]  # fmt: skip
    world.announce(peer, A)
    assert [limit.refused for limit in world.settle().limits] == [1]


def test_tables_that_are_begun_again_and_again_hold_no_more_than_the_limit(world):
    peer = world.node_peer(2, prefix_limit=2)
    for number in range(10):
        world.rib.begin_refresh(peer.key, Family.IPV4)
        world.announce(peer, f"10.244.{number}.0/26", f"10.244.{number}.64/26")
        assert world.settle().limits == []
        assert world.rib.counters(peer.key).received == 2


def test_a_limit_counts_the_paths_of_all_path_ids(world):
    peer = world.node_peer(2, prefix_limit=2)
    for path_id in (1, 2, 3):
        world.announce(peer, A, path_id=path_id)
    assert [limit.refused for limit in world.settle().limits] == [1]
    assert len(world.views(A)) == 2


def test_a_limit_is_that_of_each_family(world):
    peer = world.node_peer(2, prefix_limit=1)
    world.announce(peer, A)
    world.announce(peer, "fd00:10::40/122")
    assert world.settle().limits == []
    world.announce(peer, B)
    assert [limit.refused for limit in world.settle().limits] == [1]


# -- next hops


def test_next_hops_are_wanted_while_a_path_that_is_let_in_has_them(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    world.announce(peer, B, next_hop="10.0.0.3")
    world.announce(peer, C, next_hop="127.0.0.1")
    assert world.rib.wanted_next_hops() == {IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")}
    world.withdraw(peer, B)
    assert world.rib.wanted_next_hops() == {IPv4Address("10.0.0.2")}


def test_a_next_hop_that_is_lost_takes_its_prefixes_out_and_no_others(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    world.announce(peer, B, next_hop="10.0.0.3")
    world.settle()
    world.rib.set_next_hops(facts("10.0.0.3", reachable=False))
    assert changed(world.settle()) == {Family.IPV4: [(world.packed(B), None)]}
    assert world.state(B) == "losing: next-hop"
    world.rib.set_next_hops(facts("10.0.0.3"))
    assert [prefix for prefix, _ in changed(world.settle())[Family.IPV4]] == [world.packed(B)]


def test_facts_that_say_the_same_decide_nothing_anew(world):
    world.announce(world.node_peer(2), A)
    world.settle()
    before = world.rib.lookup(Family.IPV4, world.packed(A))
    world.rib.set_next_hops(facts("10.0.0.2") | facts("10.0.0.77"))
    assert not world.rib.decide(1).changes
    assert world.rib.lookup(Family.IPV4, world.packed(A)) == before


def test_a_metric_that_changes_moves_the_best_path(world):
    for number in (98, 99):
        address = f"10.0.0.{number}"
        world.announce(world.peer(address), A)
        world.rib.set_next_hops(facts(address, metric=number))
    assert world.best(A) == "10.0.0.98"
    world.rib.set_next_hops(facts("10.0.0.98", metric=100))
    assert world.states(A) == {"10.0.0.98": "losing: metric", "10.0.0.99": "best"}


# -- path ids


def test_paths_of_one_prefix_under_many_ids_stand_side_by_side(world):
    reflector = world.peer("10.0.0.99", trust_owner=True)
    for number in (3, 4):
        world.announce(reflector, A, path_id=number, next_hop=f"10.0.0.{number}")
    assert world.states(A) == {"10.0.0.99#3": "best", "10.0.0.99#4": "multipath"}
    world.withdraw(reflector, A, path_id=3)
    assert world.states(A) == {"10.0.0.99#4": "best"}
    world.announce(reflector, A, path_id=4, next_hop="10.0.0.5")
    assert [str(view.path.next_hop) for view in world.views(A)] == ["10.0.0.5"]


def test_one_update_may_carry_the_same_prefix_under_several_ids(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    attributes = world.views(A)[0].path.attributes
    nlri = [world.packed(A), world.packed(A), world.packed(B)]
    batch = NlriBatch(Family.IPV4, nlri, [1, 2, 1], peer.address)
    world.rib.update(peer.key, Update(announced=(batch,), attributes=attributes))
    assert sorted(world.states(A)) == ["10.0.0.2", "10.0.0.2#1", "10.0.0.2#2"]
    assert world.rib.counters(peer.key).received == 4
    assert sorted(world.rib.prefixes(Family.IPV4, peer=peer.key)) == [world.packed(A), world.packed(B)]


# -- views


def test_a_path_that_no_decision_has_seen_is_pending(world):
    world.announce(world.node_peer(2), A)
    (view,) = world.rib.lookup(Family.IPV4, world.packed(A))
    assert view.state.value == "pending"
    assert world.rib.lookup(Family.IPV4, world.packed(B)) == ()
    assert world.rib.prefixes(Family.IPV4, peer="10.9.9.9") == []


def test_counters_say_what_became_of_a_peers_paths(world):
    peer, other = world.node_peer(2), world.node_peer(3)
    world.announce(peer, A, B, "10.244.0.0/25", "0.0.0.0/0", "8.8.8.0/24")
    world.announce(other, B)
    world.settle()
    counters = world.rib.counters(peer.key)
    assert (counters.received, counters.accepted, counters.best) == (5, 2, 2)
    assert counters.rejected == {ImportReason.WRONG_LENGTH: 1, ImportReason.OUTSIDE_POOLS: 2}
    assert world.rib.counters(other.key).rejected == {ImportReason.LOST_CONFLICT: 1}
    world.withdraw(peer, B, "0.0.0.0/0")
    world.settle()
    assert world.rib.counters(peer.key).rejected == {ImportReason.WRONG_LENGTH: 1, ImportReason.OUTSIDE_POOLS: 1}
    assert world.rib.counters("10.9.9.9").received == 0


# -- paths that leave in slices


def test_a_peer_that_is_gone_leaves_in_slices_and_takes_no_update_meanwhile(world):
    peer = world.node_peer(2)
    world.announce(peer, *[str(block) for block in Prefix.parse("10.244.0.0/22").subnets(26)])
    world.settle()
    world.rib.peer_down(peer.key, retain=False)
    decisions = world.rib.decide(5)
    assert (decisions.more, len(world.rib.prefixes(Family.IPV4))) == (True, 11)
    assert (world.rib.peers(), world.rib.counters(peer.key).received) == ((), 0)
    with pytest.raises(UnknownPeerError):
        world.rib.update(peer.key, Update())
    assert len(changed(world.settle(limit=4))[Family.IPV4]) == 16
    assert world.rib.prefixes(Family.IPV4) == []


def test_what_a_peer_announces_again_before_it_has_left_stays(world):
    peer = world.node_peer(2, prefix_limit=3)
    world.announce(peer, A, B, C)
    world.settle()
    world.rib.peer_down(peer.key, retain=False)
    world.rib.peer_up(peer)
    world.announce(peer, B)
    world.withdraw(peer, C)
    decisions = world.settle()
    assert dict(changed(decisions)[Family.IPV4]) == {world.packed(A): None, world.packed(C): None}
    assert (world.state(B), decisions.limits) == ("best", [])
    assert [view.stale for view in world.views(B)] == [False]
