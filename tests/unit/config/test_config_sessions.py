"""The sessions of a node: the mesh, peers by selector on both ends, peers by address; roles, defaults and chains."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv6Address

import pytest

from calicopy.config.load import load_text
from calicopy.config.model import ClusterConfig
from calicopy.config.nodeconfig import SessionConfig
from calicopy.config.resolve import resolve
from calicopy.net import Family, Prefix
from calicopy.policy import (
    Action,
    AdvertiseScope,
    AsPathMatch,
    Changes,
    Filter,
    LimitAction,
    Match,
    NextHopMode,
    PeerType,
    PrefixMatch,
    RouteSource,
    Rule,
)

REFLECTORS = """
nodes:
- {name: rr1, address: 192.0.2.1/24, route_reflector: true, labels: {role: rr}}
- {name: rr2, address: 192.0.2.2/24, route_reflector: true, cluster_id: 10.0.0.9, labels: {role: rr}}
- {name: n1, address: 192.0.2.3/24, address6: "2001:db8::3/64"}
- {name: n2, address: 192.0.2.4/24, address6: "2001:db8::4/64"}
pools: [{cidr: 10.244.0.0/16}]
"""
BY_SELECTOR = "bgp:\n  mesh: {mesh}\n  peers:\n  - {{peer_selector: {{role: rr}}{more}}}\n"


def config_of(text: str) -> ClusterConfig:
    result = load_text(text, filename="f")
    assert result.errors == (), [str(error) for error in result.errors]
    return result.require()


def sessions_of(config: ClusterConfig, node: str) -> dict[str, SessionConfig]:
    return {session.name: session for session in resolve(config, node).sessions}


def reflected(*, mesh: bool = False, more: str = "") -> ClusterConfig:
    return config_of(REFLECTORS + BY_SELECTOR.format(mesh=str(mesh).lower(), more=more))


def test_every_node_peers_with_the_reflectors_and_they_with_each_other() -> None:
    config = reflected()
    assert list(sessions_of(config, "rr1")) == ["rr2", "n1", "n2"]
    assert list(sessions_of(config, "rr2")) == ["rr1", "n1", "n2"]
    assert list(sessions_of(config, "n1")) == ["rr1", "rr2"]


def test_a_reflector_sends_all_to_its_clients_and_they_their_own_to_it() -> None:
    config = reflected()
    to_client, to_reflector = sessions_of(config, "rr1")["n1"], sessions_of(config, "rr1")["rr2"]
    from_client = sessions_of(config, "n1")["rr1"]
    assert (to_client.client, to_client.advertise) == (True, AdvertiseScope.ALL)
    assert (to_reflector.client, to_reflector.advertise) == (False, AdvertiseScope.ALL)
    assert (from_client.client, from_client.advertise) == (False, AdvertiseScope.OWN)
    assert all(each.trust_owner and each.add_path and not each.mesh for each in (to_client, to_reflector, from_client))


def test_the_word_of_the_file_goes_before_the_role() -> None:
    sessions = sessions_of(reflected(more=", advertise: own, add_path: false"), "rr1").values()
    assert {(each.advertise, each.add_path) for each in sessions} == {(AdvertiseScope.OWN, False)}


def test_cluster_ids_are_those_of_the_file_else_the_router_id() -> None:
    config = reflected()
    assert [resolve(config, name).cluster_id for name in ("rr1", "rr2", "n1")] == [
        IPv4Address("192.0.2.1"),
        IPv4Address("10.0.0.9"),
        IPv4Address("192.0.2.3"),
    ]
    assert [node.cluster_id for node in resolve(config, "n1").nodes] == [
        IPv4Address("192.0.2.1"),
        IPv4Address("10.0.0.9"),
        None,
        None,
    ]


def test_a_session_by_selector_takes_the_place_of_the_mesh_for_its_pair_alone() -> None:
    sessions = sessions_of(reflected(mesh=True), "n1")
    assert {name: session.mesh for name, session in sessions.items()} == {"rr1": False, "rr2": False, "n2": True}


def test_the_pair_is_the_same_whichever_end_picks() -> None:
    nodes = (
        "nodes:\n- {name: a, address: 10.0.0.1/24, labels: {x: l}}\n- {name: b, address: 10.0.0.2/24, labels: {x: r}}\n"
    )
    left = config_of(nodes + "bgp: {mesh: false, peers: [{nodes: [a], peer_selector: {x: r}}]}\n")
    right = config_of(nodes + "bgp: {mesh: false, peers: [{nodes: [b], peer_selector: {x: l}}]}\n")
    for name in ("a", "b"):
        assert resolve(left, name).sessions == resolve(right, name).sessions
        assert len(resolve(left, name).sessions) == 1


@pytest.mark.parametrize("more", ["", ", listen_port: 1790, hold_time_s: 30, families: [ipv4]", ", ttl_security: 2"])
@pytest.mark.parametrize("mesh", [False, True])
def test_both_ends_agree_on_every_session(mesh: bool, more: str) -> None:
    config = reflected(mesh=mesh and "ttl" not in more, more=more)
    addresses = {node.name: node.addresses for node in config.nodes}
    held = {name: sessions_of(config, name) for name in addresses}
    for one, sessions in held.items():
        for other, session in sessions.items():
            back = held[other][one]
            assert (session.address, session.local_address) == (back.local_address, back.address)
            assert (session.asn, session.local_asn) == (back.local_asn, back.asn)
            assert session.passive != back.passive
            assert (session.port, session.listen_port) == (back.listen_port, back.port)
            for key in ("families", "add_path", "mesh", "least_ttl", "hold_time_s", "password_file"):
                assert getattr(session, key) == getattr(back, key), key


def test_families_between_nodes_are_those_that_both_have() -> None:
    config = reflected(mesh=True)
    assert sessions_of(config, "n1")["n2"].families == (Family.IPV4, Family.IPV6)
    assert sessions_of(config, "n1")["rr1"].families == (Family.IPV4,)


def test_a_node_without_a_known_address_is_named_as_unreachable() -> None:
    text = REFLECTORS.replace("pools:", "- {name: n9, router_id: 9.9.9.9}\npools:")
    config = config_of(text + BY_SELECTOR.format(mesh="false", more=""))
    assert resolve(config, "rr1").unreachable_nodes == ("n9",)
    assert resolve(config, "n1").unreachable_nodes == ()


def test_reflection_is_for_one_as() -> None:
    text = REFLECTORS.replace("{name: n1,", "{name: n1, as: 65001,")
    config = config_of(text + BY_SELECTOR.format(mesh="false", more=""))
    session = sessions_of(config, "rr1")["n1"]
    assert (session.ibgp, session.client, session.advertise) == (False, False, AdvertiseScope.OWN)


TOR = """
nodes:
- {name: a, address: 192.0.2.1/24, address6: "2001:db8::1/64", route_reflector: true}
- {name: b, address: 192.0.2.2/24}
pools: [{cidr: 10.244.0.0/16}]
bgp:
  keepalive_s: 2
  prefix_limit_action: restart
  on_hold_expiry: keep
  mesh_linger: 2m
  peers:
  - {name: tor, address: 192.0.2.9, as: 65000, nodes: [a], local_as: 65009, allow_own_as: 2, next_hop: self,
     advertise: all, add_path: true, ttl_security: 1, graceful_restart_time_s: 0, keepalive_s: 1, hold_time_s: 6,
     next_hops: ["2001:db8::9"],
     prefix_limit: 10, prefix_limit_action: warn, on_hold_expiry: flush, port: 1179, listen_port: 2179}
  - {name: far, address: 198.51.100.1, as: 65000, multihop: 4, nodes: [a]}
  - {name: near, address: "2001:db8::9", as: 65000, source_address: "2001:db8::1", nodes: [a]}
  - {name: bird, address: 192.0.2.8, as: 64512, nodes: [a], route_reflector_client: true}
  - {name: other, address: 192.0.2.7, as: 64512}
"""


def test_every_key_of_a_peer_reaches_its_session() -> None:
    tor = sessions_of(config_of(TOR), "a")["tor"]
    assert tor == SessionConfig(
        name="tor",
        address=IPv4Address("192.0.2.9"),
        local_address=IPv4Address("192.0.2.1"),
        asn=65000,
        local_asn=65009,
        port=1179,
        listen_port=2179,
        password_file=None,
        passive=False,
        hold_time_s=6,
        keepalive_s=1,
        graceful_restart_time_s=0,
        trust_owner=False,
        prefix_limit=10,
        prefix_limit_action=LimitAction.WARN,
        prefix_limit_restart_s=60,
        families=(Family.IPV4,),
        node=None,
        advertise=AdvertiseScope.ALL,
        next_hop=NextHopMode.SELF,
        allow_own_as=2,
        next_hops=(IPv6Address("2001:db8::9"),),
        add_path=True,
        ttl=1,
        least_ttl=255,
        flush_on_hold_expiry=True,
    )


def test_what_a_peer_leaves_out_comes_from_bgp() -> None:
    far = sessions_of(config_of(TOR), "a")["far"]
    assert (far.hold_time_s, far.keepalive_s, far.graceful_restart_time_s, far.listen_port, far.port) == (
        9,
        2,
        120,
        179,
        179,
    )
    assert (far.prefix_limit_action, far.flush_on_hold_expiry) == (LimitAction.RESTART, False)
    assert (far.advertise, far.next_hop, far.add_path, far.client) == (AdvertiseScope.OWN, None, False, False)


def test_the_ttl_is_one_for_a_neighbour_of_another_as_and_free_within_ours_and_between_nodes() -> None:
    sessions = sessions_of(config_of(TOR), "a")
    assert {name: session.ttl for name, session in sessions.items()} == {
        "b": None,
        "tor": 1,
        "far": 4,
        "near": 1,
        "bird": None,
        "other": None,
    }
    ases = config_of(TOR.replace("{name: b,", "{name: b, as: 65002,"))
    assert sessions_of(ases, "a")["b"].ttl is None


def test_a_reflector_sends_all_to_its_ibgp_peers_and_only_a_client_is_one() -> None:
    sessions = sessions_of(config_of(TOR), "a")
    assert {name: (each.client, each.advertise) for name, each in sessions.items()} == {
        "b": (False, AdvertiseScope.OWN),  # of the mesh: it hears everybody itself
        "tor": (False, AdvertiseScope.ALL),
        "far": (False, AdvertiseScope.OWN),
        "near": (False, AdvertiseScope.OWN),
        "bird": (True, AdvertiseScope.ALL),
        "other": (False, AdvertiseScope.ALL),
    }
    assert sessions_of(config_of(TOR), "b")["other"].advertise is AdvertiseScope.OWN


def test_a_peer_by_address_that_is_a_node_is_judged_as_one() -> None:
    text = REFLECTORS + "bgp: {mesh: false, peers: [{name: r, address: 192.0.2.1, as: 64512, nodes: [n1]},"
    text += " {name: c, address: 192.0.2.3, as: 64512, nodes: [rr1]}]}\n"
    config = config_of(text)
    up, down = sessions_of(config, "n1")["r"], sessions_of(config, "rr1")["c"]
    assert (up.node, up.trust_owner, up.add_path, up.passive, up.client) == ("rr1", True, True, False, False)
    assert (down.node, down.add_path, down.passive, down.client) == ("n1", True, True, True)


FILTERS = """
nodes: [{name: a, address: 192.0.2.1/24}, {name: b, address: 192.0.2.2/24}]
pools: [{cidr: 10.244.0.0/16}, {cidr: "fd00::/64"}]
bgp:
  mesh_import: [one, two]
  mesh_export: [two]
  import: [two]
  export: [one]
  communities:
  - {prefix: 10.244.0.0/16, communities: ["64512:100", "64512:1:7", no-export]}
  peers: [{name: tor, address: 192.0.2.9, as: 65000, import: [one]}]
  filters:
  - name: one
    default: reject
    rules:
    - name: all
      match:
        family: ipv4
        prefix: [{in: 10.0.0.0/8, length: 16-24}, {in: 10.0.0.0/8}, {equal: 10.244.0.0/16}]
        length: 26
        communities: ["1:2", "1:2:3"]
        as_path: {contains: [1], origin: [2], neighbor: [3], length: 1-3}
        peer_type: [mesh, ebgp]
        source: [ibgp, ebgp]
        from: [b, tor]
      set:
        {local_pref: 200, med: 10, add_communities: ["1:1", "1:1:1"], remove_communities: ["2:2", "2:2:2"], prepend: 2}
      action: accept
  - name: two
    rules: [{set: {med: 1}}, {match: {length: 8-9}, action: reject}]
"""


def test_a_filter_of_the_file_becomes_the_one_that_is_judged_by() -> None:
    one, two = sessions_of(config_of(FILTERS), "a")["tor"].import_filters
    ten, pool = Prefix.parse("10.0.0.0/8"), Prefix.parse("10.244.0.0/16")
    assert one == Filter(
        "one",
        (
            Rule(
                "all",
                Match(
                    families=frozenset({Family.IPV4}),
                    prefixes=(PrefixMatch(ten, 16, 24), PrefixMatch(ten, 8, 32), PrefixMatch(pool, 16, 16)),
                    least_length=26,
                    most_length=26,
                    communities=frozenset({0x10002}),
                    large_communities=frozenset({(1, 2, 3)}),
                    as_path=AsPathMatch(frozenset({1}), frozenset({2}), frozenset({3}), 1, 3),
                    peer_types=frozenset({PeerType.MESH, PeerType.EBGP}),
                    sources=frozenset({RouteSource.IBGP, RouteSource.EBGP}),
                    from_peers=frozenset({"b", "tor"}),
                ),
                Changes(
                    local_pref=200,
                    med=10,
                    add_communities=(0x10001,),
                    remove_communities=frozenset({0x20002}),
                    add_large_communities=((1, 1, 1),),
                    remove_large_communities=frozenset({(2, 2, 2)}),
                    prepend=2,
                ),
                Action.ACCEPT,
            ),
        ),
        Action.REJECT,
    )
    assert [(rule.name, rule.action) for rule in two.rules] == [("1", None), ("2", Action.REJECT)]
    assert two.default is None


def test_a_chain_is_the_sessions_own_then_the_global_one_each_filter_once() -> None:
    sessions = sessions_of(config_of(FILTERS), "a")
    chains = {
        name: ([f.name for f in session.import_filters], [f.name for f in session.export_filters])
        for name, session in sessions.items()
    }
    assert chains == {"b": (["one", "two"], ["two", "one"]), "tor": (["one", "two"], ["one"])}


def test_communities_of_own_prefixes_and_the_linger_time_are_worked_out() -> None:
    node = resolve(config_of(FILTERS), "a")
    expected = (Prefix.parse("10.244.0.0/16"), (64512 << 16 | 100, 0xFFFFFF01), ((64512, 1, 7),))
    assert node.communities == (expected,)
    assert node.mesh_linger_s == 60.0
    assert resolve(config_of(TOR), "a").mesh_linger_s == 120.0


def test_five_hundred_nodes_resolve_in_a_tenth_of_a_second() -> None:
    nodes = "".join(
        f"- {{name: n{i}, address: 10.9.{i // 250}.{i % 250 + 1}/16, route_reflector: {str(i < 4).lower()},"
        f" labels: {{role: {'rr' if i < 4 else 'n'}}}}}\n"
        for i in range(500)
    )
    text = f"nodes:\n{nodes}pools: [{{cidr: 10.244.0.0/16}}]\n"
    config = config_of(text + "bgp: {peers: [{peer_selector: {role: rr}}, {address: 10.9.9.9, as: 65000}]}\n")
    best = 9.0
    for _ in range(5):
        begin = time.process_time()
        assert len(resolve(config, "n400").sessions) == 500
        best = min(best, time.process_time() - begin)
    assert best < 0.1
