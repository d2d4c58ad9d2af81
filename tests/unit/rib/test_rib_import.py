"""Import refuses by default: a sentence per reason, and what is let in."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from decided import changed

from calicopy.net import Family, Prefix
from calicopy.rib import ImportReason, NodeFacts, PoolFacts

BLOCK, SIX = "10.244.1.0/26", "fd00:10::40/122"
TRUSTED = {"trust_owner": True}


def test_a_block_from_the_node_that_owns_it_is_taken(world):
    world.announce(world.node_peer(2), BLOCK, large_communities=(world.owner(2),))
    assert world.state(BLOCK) == "best"
    assert world.views(BLOCK)[0].path.owner == world.id(2)


def test_a_block_of_ipv6_is_judged_by_its_own_pool(world):
    peer = world.node_peer(2)
    world.announce(peer, "fd00:10::40/122", "fd00:10::1/128", "fd00:10::/120", "fd00:11::/122", "::/0")
    assert world.state("fd00:10::40/122") == "best"
    assert world.state("fd00:10::1/128") == "best"
    assert world.state("fd00:10::/120") == "rejected: wrong-length"
    assert world.state("fd00:11::/122") == "rejected: outside-pools"
    assert world.state("::/0") == "rejected: outside-pools"


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        pytest.param("0.0.0.0/0", "outside-pools", id="a default route lies in no pool"),
        pytest.param("10.0.0.0/8", "outside-pools", id="a prefix that covers a pool is not inside it"),
        pytest.param("192.168.0.0/26", "outside-pools", id="a block elsewhere lies in no pool"),
        pytest.param("10.245.0.1/32", "outside-pools", id="a host elsewhere lies in no pool"),
        pytest.param("10.244.0.0/16", "wrong-length", id="the pool itself is no block"),
        pytest.param("10.244.0.0/25", "wrong-length", id="two blocks in one are no block"),
        pytest.param("10.244.0.0/27", "wrong-length", id="half a block is no block"),
        pytest.param("10.244.9.0/26", "ours", id="a block of ours is ours"),
        pytest.param("10.244.9.64/27", "ours", id="a longer prefix inside a block of ours is ours"),
        pytest.param("10.244.9.5/32", "ours", id="a host in a block of ours, of nobody we know, is ours"),
    ],
)
def test_a_prefix_that_cannot_be_right_is_refused(world, prefix, reason):
    world.own("10.244.9.0/26", "10.244.9.64/26")
    world.announce(world.peer("10.0.0.9"), prefix)
    assert world.state(prefix) == f"rejected: {reason}"


@pytest.mark.parametrize(
    ("next_hop", "reason"),
    [
        pytest.param(None, "next-hop-missing", id="a path needs a next hop"),
        pytest.param("127.0.0.1", "next-hop-martian", id="loopback is no next hop"),
        pytest.param("224.0.0.5", "next-hop-martian", id="multicast is no next hop"),
        pytest.param("0.0.0.0", "next-hop-martian", id="unspecified is no next hop"),
        pytest.param("255.255.255.255", "next-hop-martian", id="broadcast is no next hop"),
        pytest.param("::1", "next-hop-martian", id="the loopback of IPv6 is no next hop"),
        pytest.param("10.0.0.1", "next-hop-self", id="our node's address leads back to us"),
        pytest.param("192.0.2.1", "next-hop-self", id="any other address of ours leads back to us"),
        pytest.param("10.0.0.77", "next-hop-foreign", id="an address of no node is nobody's business"),
    ],
)
def test_a_next_hop_that_cannot_be_right_is_refused(world, next_hop, reason):
    world.announce(world.node_peer(2), BLOCK, next_hop=next_hop)
    assert world.state(BLOCK) == f"rejected: {reason}"


def test_the_peer_itself_may_be_the_next_hop_although_it_is_no_node(world):
    world.announce(world.peer("10.0.0.99"), BLOCK)
    assert world.state(BLOCK) == "losing: next-hop"  # let in; it waits for the facts of the next hop
    assert world.rib.wanted_next_hops() == {ip_address("10.0.0.99")}


@pytest.mark.parametrize(
    ("session", "prefix", "next_hop", "state"),
    [
        pytest.param("10.0.0.99", SIX, "fd00::99", "losing: next-hop", id="IPv6 over IPv4, in our subnet"),
        pytest.param("10.0.0.99", SIX, "fd00:1::99", "rejected: next-hop-foreign", id="IPv6 over IPv4, elsewhere"),
        pytest.param("10.0.0.99", SIX, "fd00::1", "rejected: next-hop-self", id="IPv6 over IPv4, ourselves"),
        pytest.param("fd00::99", BLOCK, "10.0.0.99", "losing: next-hop", id="IPv4 over IPv6, in our subnet"),
        pytest.param("fd00::99", SIX, "fd00::98", "rejected: next-hop-foreign", id="the family of the session"),
    ],
)
def test_a_next_hop_of_the_other_family_than_the_session_must_share_a_subnet_with_us(
    world, session, prefix, next_hop, state
):
    networks = frozenset({ip_network("10.0.0.0/24"), ip_network("fd00::/64")})
    own = world.context.own_addresses | {ip_address("fd00::1")}
    world.rib.set_context(replace(world.context, own_networks=networks, own_addresses=own))
    world.announce(world.peer(session, asn=64600), prefix, next_hop=next_hop)
    assert world.state(prefix) == state


def test_another_node_may_be_the_next_hop_as_a_reflector_leaves_it(world):
    reflector = world.peer("10.0.0.99", **TRUSTED)
    origin = IPv4Address("10.0.0.3")
    world.announce(reflector, BLOCK, next_hop="10.0.0.3", originator_id=origin, large_communities=(world.owner(3),))
    assert world.state(BLOCK) == "best"


def test_a_peer_may_be_given_further_next_hops(world):
    """A route server names other routers; behind routers a peer's IPv6 address is in no subnet of ours."""
    server = world.peer("10.0.0.99", asn=65001, next_hops=frozenset(map(ip_address, ("10.0.0.77", "fd00:1::99"))))
    world.announce(server, BLOCK, next_hop="10.0.0.77")
    world.announce(server, SIX, next_hop="fd00:1::99")
    assert (world.state(BLOCK), world.state(SIX)) == ("losing: next-hop", "losing: next-hop")
    world.announce(server, BLOCK, next_hop="10.0.0.78")
    assert world.state(BLOCK) == "rejected: next-hop-foreign"
    world.rib.set_peer(replace(server, next_hops=frozenset()))
    assert world.state(SIX) == "rejected: next-hop-foreign"


def test_our_as_in_the_path_is_a_loop_over_ebgp_and_ibgp(world):
    world.announce(world.peer("10.0.0.9", asn=65001), BLOCK, as_path=(65001, 64512))
    assert world.state(BLOCK) == "rejected: as-loop"
    world.announce(world.node_peer(3), "10.244.2.0/26", as_path=(65001, 64512))
    assert world.state("10.244.2.0/26") == "rejected: as-loop"


def test_our_as_may_stand_in_the_path_as_often_as_the_peer_is_allowed(world):
    world.announce(world.peer("10.0.0.9", asn=65001, allow_own_as=1), BLOCK, as_path=(65001, 64512))
    world.announce(world.peer("10.0.0.10", asn=65001, allow_own_as=1), "10.244.2.0/26", as_path=(65001, 64512, 64512))
    assert world.state(BLOCK) == "losing: next-hop"
    assert world.state("10.244.2.0/26") == "rejected: as-loop"


def test_our_router_id_as_originator_is_a_loop(world):
    world.announce(world.node_peer(2), BLOCK, originator_id=IPv4Address("10.0.0.1"))
    assert world.state(BLOCK) == "rejected: originator-loop"


def test_our_cluster_id_in_the_cluster_list_is_a_loop(world):
    world.announce(world.node_peer(2), BLOCK, cluster_list=(IPv4Address("9.9.9.9"), IPv4Address("10.0.0.1")))
    assert world.state(BLOCK) == "rejected: cluster-loop"


def test_a_node_peer_without_the_community_owns_what_it_began(world):
    world.announce(world.node_peer(2), BLOCK)
    assert world.views(BLOCK)[0].path.owner == world.id(2)


def test_a_node_that_reflects_names_the_originator_as_the_owner(world):
    world.announce(world.node_peer(2), BLOCK, originator_id=IPv4Address("10.0.0.3"), next_hop="10.0.0.3")
    assert world.views(BLOCK)[0].path.owner == world.id(3)


def test_a_path_that_a_node_passes_on_from_outside_has_no_owner(world):
    world.announce(world.node_peer(2), BLOCK, as_path=(65001,))
    assert world.state(BLOCK) == "best"
    assert world.views(BLOCK)[0].path.owner is None


def test_the_community_of_a_stranger_is_not_believed(world):
    world.announce(world.peer("10.0.0.99"), BLOCK, next_hop="10.0.0.2", large_communities=(world.owner(2),))
    assert world.state(BLOCK) == "best"
    assert world.views(BLOCK)[0].path.owner is None


@pytest.mark.parametrize(
    ("owners", "reason"),
    [
        pytest.param((3,), "owner-mismatch", id="a node that names another node as the owner of its path"),
        pytest.param((99,), "owner-unknown", id="an owner that the cluster file does not have"),
        pytest.param((2, 3), "owner-mismatch", id="two owners at once"),
    ],
)
def test_an_owner_that_does_not_match_the_origin_is_refused(world, owners, reason):
    world.announce(world.node_peer(2), BLOCK, large_communities=tuple(map(world.owner, owners)))
    assert world.state(BLOCK) == f"rejected: {reason}"


def test_a_path_that_names_us_as_its_owner_is_ours(world):
    world.announce(world.peer("10.0.0.99", **TRUSTED), BLOCK, next_hop="10.0.0.2", large_communities=(world.owner(1),))
    assert world.state(BLOCK) == "rejected: ours"


def test_the_originator_decides_when_a_trusted_reflector_names_an_owner(world):
    reflector = world.peer("10.0.0.99", **TRUSTED)
    origin = IPv4Address("10.0.0.2")
    world.announce(reflector, BLOCK, next_hop="10.0.0.3", originator_id=origin, large_communities=(world.owner(3),))
    assert world.state(BLOCK) == "rejected: owner-mismatch"


def test_a_trusted_route_server_is_believed_where_nodes_share_an_as(world):
    server = world.peer("10.0.0.99", asn=65000, **TRUSTED)
    world.announce(server, BLOCK, as_path=(65000, 65001), next_hop="10.0.0.3", large_communities=(world.owner(3),))
    assert world.views(BLOCK)[0].path.owner == world.id(3)


def _own_as(world, number, asn):
    facts = world.nodes[world.id(number)]
    nodes = {**world.nodes, world.id(number): replace(facts, asn=asn)}
    world.nodes = nodes
    world.rib.set_context(replace(world.context, nodes=nodes))


@pytest.mark.parametrize(
    ("origin", "state"),
    [
        pytest.param(65003, "best", id="the path begins in the owner's AS"),
        pytest.param(65004, "rejected: owner-mismatch", id="the path begins in another AS"),
    ],
)
def test_the_origin_as_must_be_the_owners_where_nodes_have_their_own(world, origin, state):
    _own_as(world, 3, 65003)
    server = world.peer("10.0.0.99", asn=65000, **TRUSTED)
    world.announce(server, BLOCK, as_path=(65000, origin), next_hop="10.0.0.3", large_communities=(world.owner(3),))
    assert world.state(BLOCK) == state


def test_an_ebgp_node_owns_what_began_in_its_as_and_passes_on_what_began_in_anothers(world):
    _own_as(world, 2, 65002)
    _own_as(world, 3, 65003)
    peer = world.node_peer(2, asn=65002)
    world.announce(peer, BLOCK)
    world.announce(peer, "10.244.2.0/26", as_path=(65002, 65003), large_communities=(world.owner(3),))
    world.announce(peer, "10.244.3.0/26", as_path=(65002, 65003), large_communities=(world.owner(2),))
    assert world.views(BLOCK)[0].path.owner == world.id(2)
    assert world.views("10.244.2.0/26")[0].path.owner == world.id(3)
    assert world.state("10.244.3.0/26") == "rejected: owner-mismatch"


def test_a_path_that_names_no_origin_as_has_no_owner_over_ebgp(world):
    world.announce(world.node_peer(2, asn=65002), BLOCK, as_path=())
    assert world.views(BLOCK)[0].path.owner is None


# -- holders and conflicts


def test_a_held_block_is_refused_from_everybody_but_its_holder(world):
    world.hold(BLOCK, 3)
    world.announce(world.node_peer(2), BLOCK)
    assert world.state(BLOCK) == "rejected: held-elsewhere"
    assert world.settle().conflicts == []
    world.announce(world.node_peer(3), BLOCK)
    assert world.best(BLOCK) is not None


def test_a_path_without_an_owner_is_refused_for_a_held_block(world):
    stranger = world.peer("10.0.0.99")
    world.announce(stranger, BLOCK, next_hop="10.0.0.2")
    assert world.state(BLOCK) == "best"
    world.hold(BLOCK, 2)
    assert world.state(BLOCK) == "rejected: held-elsewhere"
    world.hold(BLOCK, None)
    assert world.state(BLOCK) == "best"


def test_a_path_without_an_owner_gives_way_to_a_node(world):
    world.announce(world.peer("10.0.0.99"), BLOCK, next_hop="10.0.0.2")
    world.announce(world.node_peer(4), BLOCK)
    assert world.states(BLOCK) == {"10.0.0.4": "best", "10.0.0.99": "rejected: held-elsewhere"}


@pytest.mark.parametrize(
    ("holder", "pinned", "winner"),
    [
        pytest.param(None, False, 2, id="held by nobody: the lower router id wins"),
        pytest.param(3, False, 2, id="reserved for the higher router id: the lower wins all the same"),
        pytest.param(2, False, 2, id="reserved for the lower router id: it wins"),
        pytest.param(3, True, 3, id="pinned: the node that it is pinned to wins"),
    ],
)
def test_two_live_owners_are_told_apart_by_the_fixed_rule(world, holder, pinned, winner):
    if holder is not None:
        world.hold(BLOCK, holder, pinned=pinned)
    world.announce(world.node_peer(2), BLOCK)
    world.announce(world.node_peer(3), BLOCK)
    loser = 5 - winner
    decisions = world.settle()
    assert world.states(BLOCK) == {f"10.0.0.{winner}": "best", f"10.0.0.{loser}": "rejected: lost-conflict"}
    assert [who for _, _, who in decisions.conflicts] == [world.id(loser)]
    assert [who for _, _, who in decisions.owners_seen] == [world.id(winner)]
    assert world.rib.conflicts() == decisions.conflicts


def test_an_owner_is_told_again_when_the_block_is_no_longer_held_for_it(world):
    world.announce(world.node_peer(2), BLOCK)
    row = (Family.IPV4, world.packed(BLOCK), world.id(2))
    assert world.settle().owners_seen == [row]
    world.hold(BLOCK, 2)
    assert world.settle().owners_seen == []
    world.hold(BLOCK, None)  # released by hand, while the node announces it still
    decisions = world.settle()
    assert (decisions.owners_seen, changed(decisions)) == ([row], {})


def test_a_conflict_is_over_when_the_other_withdraws(world):
    loser = world.node_peer(3)
    world.announce(world.node_peer(2), BLOCK)
    world.announce(loser, BLOCK)
    world.settle()
    world.withdraw(loser, BLOCK)
    decisions = world.settle()
    assert [who for _, _, who in decisions.conflicts_over] == [world.id(3)]
    assert changed(decisions) == {}
    assert world.rib.conflicts() == []


def test_a_block_of_ours_at_another_node_is_refused_and_a_conflict(world):
    world.own(BLOCK)
    peer = world.node_peer(2)
    world.announce(peer, BLOCK)
    decisions = world.settle()
    assert world.state(BLOCK) == "rejected: ours"
    assert [who for _, _, who in decisions.conflicts] == [world.id(2)]
    assert decisions.owners_seen == []
    world.own()  # we lost, and gave it up
    decisions = world.settle()
    assert world.state(BLOCK) == "best"
    assert [who for _, _, who in decisions.conflicts_over] == [world.id(2)]
    assert [who for _, _, who in decisions.owners_seen] == [world.id(2)]


def test_a_looped_copy_of_our_own_block_is_no_conflict(world):
    world.own(BLOCK)
    world.announce(world.node_peer(2), BLOCK, originator_id=IPv4Address("10.0.0.1"))
    assert world.state(BLOCK) == "rejected: originator-loop"
    assert world.rib.conflicts() == []


def test_a_host_of_the_loser_inside_the_winners_block_is_taken_and_marked(world):
    host = "10.244.1.5/32"
    world.announce(world.node_peer(2), BLOCK)
    world.hold(BLOCK, 2)
    world.announce(world.node_peer(3), host)
    (view,) = world.views(host)
    assert (view.state.value, view.path.owner, view.foreign_host) == ("best", world.id(3), True)


def test_a_host_of_the_holder_itself_is_not_marked(world):
    world.hold(BLOCK, 2)
    world.announce(world.node_peer(2), "10.244.1.5/32")
    (view,) = world.views("10.244.1.5/32")
    assert (view.state.value, view.foreign_host) == ("best", False)


def test_a_host_without_an_owner_inside_a_held_block_is_refused(world):
    world.announce(world.peer("10.0.0.99"), "10.244.1.5/32", next_hop="10.0.0.2")
    assert world.state("10.244.1.5/32") == "best"
    world.hold(BLOCK, 2)
    assert world.state("10.244.1.5/32") == "rejected: held-elsewhere"


def test_a_host_inside_nobodys_block_may_be_at_several_nodes_and_all_are_used(world):
    host = "10.244.1.5/32"
    world.announce(world.node_peer(2), host)
    world.announce(world.node_peer(3), host)
    assert sorted(view.state.value for view in world.views(host)) == ["best", "multipath"]
    assert world.settle().conflicts == []
    world.hold(BLOCK, 2)
    assert world.states(host) == {"10.0.0.2": "best", "10.0.0.3": "rejected: lost-conflict"}


def test_a_host_inside_our_block_is_taken_from_the_loser_unless_we_use_it(world):
    host = "10.244.1.5/32"
    world.own(BLOCK)
    world.announce(world.node_peer(3), host)
    (view,) = world.views(host)
    assert (view.state.value, view.foreign_host) == ("best", True)
    world.own(BLOCK, used=(host,))
    decisions = world.settle()
    assert world.state(host) == "rejected: used-here"
    assert [who for _, _, who in decisions.conflicts] == [world.id(3)]
    world.own(BLOCK)
    assert [who for _, _, who in world.settle().conflicts_over] == [world.id(3)]
    assert world.state(host) == "best"


def test_an_address_that_we_use_in_a_block_that_we_lost_stays_ours(world):
    host = "10.244.1.5/32"
    world.own(used=(host,))
    world.announce(world.node_peer(2), BLOCK, host)
    assert world.best(BLOCK) == "10.0.0.2"
    assert world.state(host) == "rejected: used-here"


def test_a_pool_with_blocks_of_one_address_has_hosts_as_blocks(world):
    pool = PoolFacts(Prefix.parse("10.250.0.0/24"), 32)
    world.rib.set_context(replace(world.context, pools=(*world.context.pools, pool)))
    world.own(used=("10.250.0.2/32",))
    world.announce(world.node_peer(2), "10.250.0.1/32", "10.250.0.2/32")
    assert world.state("10.250.0.1/32") == "best"
    assert world.state("10.250.0.2/32") == "rejected: used-here"


def test_another_cluster_file_judges_what_is_there_again_without_a_session_reset(world):
    peer = world.node_peer(2)
    world.announce(peer, "10.250.0.0/26", BLOCK)
    assert world.state("10.250.0.0/26") == "rejected: outside-pools"
    pools = (PoolFacts(Prefix.parse("10.250.0.0/16"), 26),)
    world.rib.set_context(replace(world.context, pools=pools))
    assert world.state("10.250.0.0/26") == "best"
    assert world.state(BLOCK) == "rejected: outside-pools"


def test_a_node_that_leaves_the_cluster_file_loses_its_paths(world):
    world.announce(world.node_peer(2), BLOCK, large_communities=(world.owner(2),))
    world.settle()
    nodes: dict[int, NodeFacts] = {key: facts for key, facts in world.nodes.items() if key != world.id(2)}
    world.rib.set_context(replace(world.context, nodes=nodes))
    decisions = world.settle()
    assert world.state(BLOCK) == "rejected: owner-unknown"
    assert [selection for changes in changed(decisions).values() for _, selection in changes] == [None]


def test_every_reason_has_words_and_a_source():
    for reason in ImportReason:
        assert reason.text
        assert reason.source.startswith(("RFC ", "calicopy"))
