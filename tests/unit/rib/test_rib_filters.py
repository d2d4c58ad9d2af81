"""Import filters in the RIB: what they refuse and change, and that another policy needs no new session."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from decided import changed

from calicopy.bgp import AsPath
from calicopy.net import Family, Prefix
from calicopy.policy import Action, Changes, Filter, Match, PeerType, PrefixMatch, RouteSource, Rule
from calicopy.rib import ImportReason

A, B, HOST = "10.244.1.0/26", "10.244.2.0/26", "10.244.1.5/32"
GRACEFUL_SHUTDOWN = 0xFFFF0000


def refuse(match: Match | None = None) -> tuple[Filter, ...]:
    return (Filter("strict", (Rule("no", match or Match(), action=Action.REJECT),)),)


def change(changes: Changes, match: Match | None = None) -> tuple[Filter, ...]:
    return (Filter("tune", (Rule("all", match or Match(), changes),)),)


def only(prefix: str) -> Match:
    parsed = Prefix.parse(prefix)
    return Match(prefixes=(PrefixMatch(parsed, parsed.length, parsed.length),))


def view(world, prefix: str = A):
    (found,) = world.views(prefix)
    return found


def test_what_a_filter_refuses_says_which_filter_and_rule(world):
    world.announce(world.node_peer(2, import_filters=refuse()), A)
    assert world.state(A) == "rejected: filter"
    assert str(view(world).rule) == "filter strict, rule no"
    assert world.rib.counters("10.0.0.2").rejected == {ImportReason.FILTER: 1}


def test_a_filter_that_looks_at_prefixes_splits_what_came_together(world):
    world.announce(world.node_peer(2, import_filters=refuse(only(A))), A, B)
    assert world.state(A) == "rejected: filter"
    assert world.state(B) == "best"


def test_a_filter_opens_nothing_that_the_rib_refuses(world):
    accept = (Filter("all", default=Action.ACCEPT),)
    world.announce(world.node_peer(2, import_filters=accept), "192.168.0.0/26")
    assert world.state("192.168.0.0/26") == "rejected: outside-pools"


def test_what_a_filter_changes_decides_and_the_path_keeps_what_came(world):
    world.announce(world.node_peer(2), HOST)
    better = change(Changes(local_pref=200))
    reflector = world.peer("10.0.0.9", trust_owner=True, import_filters=better)
    world.announce(reflector, HOST, next_hop="10.0.0.2", local_pref=50, large_communities=(world.owner(2),))
    assert world.best(HOST) == "10.0.0.9"
    (best, _) = world.views(HOST)
    assert (best.path.attributes.local_pref, best.path.effective.local_pref) == (50, 200)
    assert str(best.rule) == "filter tune, rule all"


def test_a_filter_sees_the_kind_of_session_the_source_and_the_peer(world):
    match = Match(
        peer_types=frozenset({PeerType.MESH}), sources=frozenset({RouteSource.IBGP}), from_peers=frozenset({"n2"})
    )
    world.announce(world.node_peer(2, mesh=True, import_filters=refuse(match)), A)
    world.announce(world.node_peer(3, mesh=False, import_filters=refuse(match)), B)
    assert world.state(A) == "rejected: filter"
    assert world.state(B) == "best"


def test_prepend_on_import_repeats_the_neighbor_so_that_no_loop_comes_of_it(world):
    world.announce(world.peer("10.0.0.9", asn=65001, import_filters=change(Changes(prepend=2))), A)
    assert view(world).path.effective.as_path == AsPath.sequence(65001, 65001, 65001)
    assert view(world).path.attributes.as_path == AsPath.sequence(65001)


def test_prepend_on_import_leaves_a_path_of_our_own_as_alone(world):
    world.announce(world.node_peer(2, import_filters=change(Changes(prepend=2))), A)
    assert view(world).path.effective.as_path == AsPath()


# -- what the RIB itself makes of attributes


def test_local_pref_and_the_attributes_of_reflection_do_not_count_over_ebgp(world):
    gateway = world.peer("10.0.0.9", asn=65001)
    world.announce(gateway, A, local_pref=500, originator_id=IPv4Address("10.0.0.3"))
    assert view(world).path.local_pref == 100
    assert view(world).path.effective.local_pref is None
    assert view(world).path.effective.originator_id is None


def test_a_filter_gives_a_path_over_ebgp_its_local_pref(world):
    world.announce(world.peer("10.0.0.9", asn=65001, import_filters=change(Changes(local_pref=300))), A, local_pref=1)
    assert view(world).path.local_pref == 300


def test_an_owner_that_is_not_believed_is_not_passed_on(world):
    world.announce(world.peer("10.0.0.9"), A, large_communities=((1, 2, 3), world.owner(3)))
    assert view(world).path.effective.large_communities == ((1, 2, 3),)


def test_graceful_shutdown_makes_a_path_the_last_choice(world):
    peer = world.peer("10.0.0.9", trust_owner=True)
    world.announce(
        world.node_peer(2), HOST, communities=(GRACEFUL_SHUTDOWN,), local_pref=500, large_communities=(world.owner(2),)
    )
    assert view(world, HOST).path.local_pref == 0
    world.announce(peer, HOST, next_hop="10.0.0.2", local_pref=1, large_communities=(world.owner(2),))
    assert world.best(HOST) == "10.0.0.9"


@pytest.mark.parametrize(("changes", "local_pref"), [
    (Changes(local_pref=400), 0), (Changes(add_communities=(GRACEFUL_SHUTDOWN,)), 0),
    (Changes(remove_communities=frozenset({GRACEFUL_SHUTDOWN})), 70),
])  # fmt: skip
def test_graceful_shutdown_comes_after_the_filters(world, changes, local_pref):
    world.announce(
        world.node_peer(2, import_filters=change(changes)), A, communities=(GRACEFUL_SHUTDOWN,), local_pref=70
    )
    assert view(world).path.local_pref == local_pref


def test_a_filter_does_not_make_a_block_of_another_node_look_free(world):
    """IPAM hears of it all the same: nothing may make two nodes use one block."""
    world.announce(world.node_peer(2, import_filters=refuse()), A)
    assert world.settle().owners_seen == [(Family.IPV4, world.packed(A), world.id(2))]


def test_a_conflict_is_one_although_a_filter_refuses_the_path(world):
    world.own(A)
    world.announce(world.node_peer(2, import_filters=refuse()), A)
    assert world.settle().conflicts == [(Family.IPV4, world.packed(A), world.id(2))]
    assert world.state(A) == "rejected: ours"


# -- another policy while the session runs


def test_other_filters_are_applied_to_what_was_received_before(world):
    peer = world.node_peer(2)
    world.announce(peer, A, B)
    world.settle()
    world.rib.set_peer(replace(peer, import_filters=refuse(only(B))))
    pairs = changed(world.settle())[Family.IPV4]
    assert [(prefix, selection is None) for prefix, selection in pairs if selection is None] == [
        (world.packed(B), True)
    ]
    world.rib.set_peer(peer)
    assert (world.state(A), world.state(B)) == ("best", "best")


def test_the_same_filters_change_nothing(world):
    peer = world.node_peer(2, import_filters=refuse(only(B)))
    world.announce(peer, A, B)
    world.settle()
    world.rib.set_peer(replace(peer, import_filters=refuse(only(B))))
    assert not world.settle().judged


def test_filters_of_a_peer_whose_routes_are_kept_apply_too(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    world.rib.peer_down(peer.key, retain=True)
    world.rib.set_peer(replace(peer, import_filters=refuse()))
    assert world.state(A) == "rejected: filter"


def test_filters_of_a_peer_that_is_not_there_are_passed_over(world):
    peer = world.node_peer(2)
    world.rib.peer_down(peer.key, retain=False)
    world.settle()
    world.rib.set_peer(peer)
    assert world.rib.peers() == ()


def test_another_policy_is_applied_in_slices(world):
    peer = world.node_peer(2)
    blocks = [f"10.244.{third}.{fourth}/26" for third in range(40) for fourth in (0, 64, 128, 192)]
    world.announce(peer, *blocks)
    world.settle()
    world.rib.set_peer(replace(peer, import_filters=refuse()))
    slices = 0
    while True:
        decisions = world.rib.decide(20)
        slices += 1
        assert sum(map(len, decisions.judged.values())) <= 20
        if not decisions.more:
            break
    assert slices >= 160 / 20
    assert world.rib.counters(peer.key).rejected == {ImportReason.FILTER: 160}


def test_what_comes_while_another_policy_is_applied_is_judged_by_the_new_one(world):
    peer = world.node_peer(2)
    world.announce(peer, A, B)
    world.settle()
    world.rib.set_peer(replace(peer, import_filters=refuse()))
    world.rib.decide(1)
    world.announce(peer, "10.244.3.0/26")
    world.withdraw(peer, A)
    world.settle()
    assert world.states(A) == {}
    assert {world.state(B), world.state("10.244.3.0/26")} == {"rejected: filter"}
