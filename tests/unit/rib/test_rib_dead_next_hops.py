"""Next hops whose node is gone: nobody living has a path over them."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

A, B = "10.244.1.0/26", "10.244.2.0/26"
N2 = ip_address("10.0.0.2")


def test_the_next_hop_of_a_lost_peer_is_dead_until_it_is_heard_again(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    world.settle()
    assert world.rib.dead_next_hops == frozenset()
    world.rib.peer_down(peer.key, retain=False)
    assert world.rib.dead_next_hops == {N2}
    world.settle()
    assert world.rib.dead_next_hops == {N2}, "routes are still to be taken out of the kernel"
    peer = world.node_peer(2)
    assert world.rib.dead_next_hops == {N2}, "a session alone brings no path"
    world.announce(peer, B)
    assert world.rib.dead_next_hops == frozenset()


def test_paths_that_are_kept_are_alive(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    world.rib.peer_down(peer.key, retain=True)
    assert world.rib.dead_next_hops == frozenset()
    world.rib.peer_down(peer.key, retain=False)
    assert world.rib.dead_next_hops == {N2}


def test_a_next_hop_that_another_peer_announces_is_alive_until_that_one_is_lost_too(world):
    node, reflector = world.node_peer(2), world.peer("10.0.0.9", trust_owner=True)
    world.announce(node, A)
    world.announce(reflector, A, next_hop="10.0.0.2")
    world.rib.peer_down(node.key, retain=False)
    assert world.rib.dead_next_hops == frozenset()
    world.rib.peer_down(reflector.key, retain=False)
    assert world.rib.dead_next_hops == {N2}


def test_a_next_hop_that_another_peer_begins_to_announce_is_alive(world):
    node, reflector = world.node_peer(2), world.peer("10.0.0.9", trust_owner=True)
    world.announce(node, A)
    world.rib.peer_down(node.key, retain=False)
    world.announce(reflector, B, next_hop="10.0.0.2")
    assert world.rib.dead_next_hops == frozenset()


def test_a_path_that_the_policy_refuses_keeps_nobody_alive(world):
    node, stranger = world.node_peer(2), world.peer("10.0.0.9", allow_own_as=0)
    world.announce(node, A)
    world.announce(stranger, A, next_hop="10.0.0.2", as_path=(64512,))
    world.rib.peer_down(node.key, retain=False)
    assert world.rib.dead_next_hops == {N2}


def test_a_path_that_the_policy_lets_through_after_all_is_heard_then(world):
    node, peer = world.node_peer(2), world.peer("10.0.0.9", allow_own_as=0)
    world.announce(node, A)
    world.announce(peer, A, next_hop="10.0.0.2", as_path=(64512,))
    world.rib.peer_down(node.key, retain=False)
    world.rib.set_peer(replace(peer, allow_own_as=1))
    world.settle()
    assert world.rib.dead_next_hops == frozenset()


def test_a_withdrawal_is_no_death(world):
    peer = world.node_peer(2)
    world.announce(peer, A)
    world.withdraw(peer, A)
    world.settle()
    world.rib.peer_down(peer.key, retain=False)
    assert world.rib.dead_next_hops == frozenset()
