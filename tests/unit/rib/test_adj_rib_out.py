"""What a peer is told: attributes of our own prefixes, and the difference to what it knows."""
from __future__ import annotations

from ipaddress import IPv4Address

from calicopy.bgp import Origin
from calicopy.net import Family
from calicopy.rib import AdjRibOut, export_own

A, B = "10.244.1.0/26", "10.244.2.0/26"
US = IPv4Address("10.0.0.1")
PEER = "10.0.0.2"


def export(world, peer, *prefixes):
    return export_own(world.context, peer, next_hop=US, prefixes=[world.packed(prefix) for prefix in prefixes])


def test_an_internal_peer_gets_local_pref_an_empty_as_path_and_the_owner(world):
    (out,) = export(world, world.node_peer(2), A).values()
    assert out.next_hop == US
    assert out.attributes.origin is Origin.IGP
    assert out.attributes.as_path.length == 0
    assert out.attributes.local_pref == 100
    assert out.attributes.large_communities == ((64512, 1, int(US)),)


def test_an_external_peer_gets_our_as_and_neither_local_pref_nor_med(world):
    (out,) = export(world, world.peer("10.0.0.9", asn=65001, local_asn=64999), A).values()
    assert str(out.attributes.as_path) == "64999"
    assert out.attributes.local_pref is None
    assert out.attributes.med is None
    assert out.attributes.large_communities == ((64512, 1, int(US)),)


def test_what_we_export_another_node_takes_as_ours(world):
    """Both ends of the owner's community agree: seen from node 1, node 2's export is node 2's block."""
    peer = world.node_peer(2)
    (out,) = export(world, peer, A).values()
    communities = tuple((asn, function, world.id(2)) for asn, function, _ in out.attributes.large_communities)
    world.announce(peer, A, large_communities=communities)
    assert world.state(A) == "best"


def test_prefixes_of_equal_attributes_go_out_together_and_only_once(world):
    out, peer = AdjRibOut(), world.node_peer(2)
    out.set(PEER, Family.IPV4, export(world, peer, A, B))
    delta = out.delta(PEER)
    assert [sorted(batch.prefixes) for batch in delta.announce] == [[world.packed(A), world.packed(B)]]
    assert out.delta(PEER) == delta  # not handed over yet: still to be told
    out.confirm(PEER, delta)
    assert not out.delta(PEER)


def test_what_is_no_longer_wanted_is_withdrawn(world):
    out, peer = AdjRibOut(), world.node_peer(2)
    out.set(PEER, Family.IPV4, export(world, peer, A, B))
    out.confirm(PEER, out.delta(PEER))
    out.set(PEER, Family.IPV4, export(world, peer, B))
    delta = out.delta(PEER)
    assert delta.announce == []
    assert [batch.prefixes for batch in delta.withdraw] == [[world.packed(A)]]
    out.confirm(PEER, delta)
    assert list(out.told(PEER, Family.IPV4)) == [world.packed(B)] == list(out.desired(PEER, Family.IPV4))


def test_a_changed_attribute_is_announced_again_without_a_withdraw(world):
    out, peer = AdjRibOut(), world.node_peer(2)
    out.set(PEER, Family.IPV4, export(world, peer, A))
    out.confirm(PEER, out.delta(PEER))
    changed = export_own(world.context, peer, next_hop=IPv4Address("10.0.0.11"), prefixes=[world.packed(A)])
    out.set(PEER, Family.IPV4, changed)
    delta = out.delta(PEER)
    assert (len(delta.announce), delta.withdraw) == (1, [])


def test_a_new_session_has_heard_nothing_and_withdraws_nothing(world):
    out, peer = AdjRibOut(), world.node_peer(2)
    out.set(PEER, Family.IPV4, export(world, peer, A, B))
    out.confirm(PEER, out.delta(PEER))
    out.set(PEER, Family.IPV4, export(world, peer, B))
    out.reset(PEER)
    delta = out.delta(PEER)
    assert [batch.prefixes for batch in delta.announce] == [[world.packed(B)]]
    assert delta.withdraw == []


def test_families_and_path_ids_are_told_apart(world):
    out, peer = AdjRibOut(), world.node_peer(2)
    routes = export(world, peer, A)
    out.set(PEER, Family.IPV4, routes)
    out.set(PEER, Family.IPV4, routes, path_id=7)
    out.set(PEER, Family.IPV6, export(world, peer, "fd00:10::40/122"))
    tables = [(batch.family, batch.path_id) for batch in out.delta(PEER).announce]
    assert tables == [(Family.IPV4, 0), (Family.IPV4, 7), (Family.IPV6, 0)]
    out.remove(PEER)
    assert not out.delta(PEER)
