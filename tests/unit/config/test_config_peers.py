"""What peers may not say, and what is only warned of: one sentence per case."""
from __future__ import annotations

import pytest
from peerfiles import AT, Case, P, assert_refused, assert_warned_of, load

I = "address: 192.0.2.9, as: 64512"  # noqa: E741  # iBGP

ERRORS = [
    Case("neither address nor selector", "as: 65000", AT, "expected `address: ...`, or `peer_selector"),
    Case("an address without AS", "address: 192.0.2.9", f"{AT}.as", "the key is missing"),
    Case("address and selector", P + ", peer_selector: {x: y}", f"{AT}.peer_selector", "either `address` or"),
    Case("an AS with a selector", "peer_selector: {x: y}, as: 5", f"{AT}.as", "the AS is that of the nodes"),
    Case("a port with a selector", "peer_selector: {x: y}, port: 5", f"{AT}.port", "`listen_port`"),
    Case("passive with a selector", "peer_selector: {x: y}, passive: true", f"{AT}.passive", "lower router id"),
    Case(
        "a client with a selector",
        "peer_selector: {x: y}, route_reflector_client: true",
        f"{AT}.route_reflector_client",
        "says who reflects",
    ),
    Case(
        "a pair of nodes in two entries",
        "nodes: [n3], peer_selector: {role: rr}",
        f"{AT}.peer_selector",
        "already (and 1 more pairs): a pair of nodes has one session (bgp.peers[0].peer_selector, line 11)",
    ),
    Case(
        "a node's address beside its selector",
        "address: 192.0.2.1, as: 64512, nodes: [n3]",
        f"{AT}.address",
        "a peer by a `peer_selector` already (bgp.peers[0].peer_selector, line 11)",
    ),
    Case(
        "multihop and TTL security",
        P + ", multihop: 2, ttl_security: 2",
        f"{AT}.ttl_security",
        "either `multihop` or `ttl_security`",
    ),
    Case("TTL security of more hops than there are", P + ", ttl_security: 255", f"{AT}.ttl_security", "254 or less"),
    Case("a local AS that is the peer's", P + ", local_as: 65000", f"{AT}.local_as", "it makes the session iBGP"),
    Case(
        "a source address of nobody",
        P + ", nodes: [n3], source_address: 192.0.2.77",
        f"{AT}.source_address",
        "it is none of n3",
    ),
    Case(
        "one source address for many",
        P + ", source_address: 192.0.2.3",
        f"{AT}.source_address",
        "it is none of n1, n2, n4",
    ),
    Case(
        "a source address of the other family",
        P + ", source_address: '2001:db8::1'",
        f"{AT}.source_address",
        "an IPv4 address",
    ),
    Case(
        "a keepalive as long as the hold time",
        P + ", hold_time_s: 9, keepalive_s: 9",
        f"{AT}.keepalive_s",
        "less than the hold time, 9",
    ),
    Case(
        "a keepalive without a hold time",
        P + ", hold_time_s: 0, keepalive_s: 3",
        f"{AT}.keepalive_s",
        "no keepalives are sent",
    ),
    Case(
        "a keepalive longer than the global hold time",
        "",
        "bgp.keepalive_s",
        "less than the hold time, 9",
        "keepalive_s: 20",
    ),
    Case(
        "a client on eBGP",
        P + ", nodes: [n1], route_reflector_client: true",
        f"{AT}.route_reflector_client",
        "none on eBGP",
    ),
    Case(
        "a client of a node that reflects nothing",
        I + ", nodes: [n3], route_reflector_client: true",
        f"{AT}.route_reflector_client",
        "held by n3",
    ),
    Case("our AS eleven times", P + ", allow_own_as: 11", f"{AT}.allow_own_as", "10 or less"),
    Case("a next hop twice", P + ", next_hops: [192.0.2.8, 192.0.2.8]", f"{AT}.next_hops[1]", "named twice"),
    Case("no next hop", P + ", next_hops: [tor]", f"{AT}.next_hops[0]", "address"),
    Case("next hops with a selector", "peer_selector: {x: y}, next_hops: [192.0.2.8]", f"{AT}.next_hops", "anyway"),
    Case("another next hop", P + ", next_hop: peer", f"{AT}.next_hop", "one of self, keep"),
    Case("another scope", P + ", advertise: some", f"{AT}.advertise", "one of own, all"),
    Case(
        "another action at the limit",
        P + ", prefix_limit_action: drop",
        f"{AT}.prefix_limit_action",
        "one of warn, stop, restart",
    ),
    Case(
        "passive for a node's address",
        "address: 192.0.2.3, as: 64512, nodes: [n4], passive: true",
        f"{AT}.passive",
        "lower router id waits",
    ),
    Case("a linger time without a unit", "", "bgp.mesh_linger", "such as 30s, 2m or 1h", "mesh_linger: 60"),
    Case("a linger time of two days", "", "bgp.mesh_linger", "at most 24h", "mesh_linger: 48h"),
]

WARNINGS = [
    Case(
        "a selector of no node",
        "peer_selector: {role: x}",
        f"{AT}.peer_selector",
        "no node of this file has the labels role=x",
    ),
    Case(
        "a node that would peer with itself",
        "nodes: [n3], peer_selector: {only: n3}",
        f"{AT}.peer_selector",
        "'n3' would peer with itself alone",
        "",
        ("{name: n3,", "{name: n3, labels: {only: n3},"),
    ),
    Case(
        "reflectors of one cluster id that peer",
        "",
        "nodes[1].cluster_id",
        "'n2' and 'n1' are route reflectors of the cluster id 9.9.9.9 and peer",
        "",
        ("true}", "true, cluster_id: 9.9.9.9}"),
    ),
    Case(
        "a cluster id of no reflector",
        "",
        "nodes[2].cluster_id",
        "is no `route_reflector`",
        "",
        ("192.0.2.3/24", "192.0.2.3/24, cluster_id: 1.1.1.1"),
    ),
    Case(
        "a reflector without clients",
        "",
        "nodes[0].route_reflector",
        "no peer of this node is its client",
        "",
        ("- {peer_selector: {role: rr}}", "- {address: 192.0.2.8, as: 64512}"),
    ),
    Case(
        "reflection over two ASes",
        "",
        "bgp.peers[0]",
        "no route reflection between n1 and n3, n2 and n3",
        "",
        ("192.0.2.3/24", "192.0.2.3/24, as: 65003"),
    ),
    Case(
        "nodes without any session",
        "",
        "bgp.peers",
        "no peer is for n4: no session",
        "",
        ("- {peer_selector: {role: rr}}", "- {nodes: [n3], peer_selector: {role: rr}}"),
    ),
    Case("multihop within the AS", I + ", multihop: 2", f"{AT}.multihop", "the session is iBGP"),
    Case("a local AS that is ours", P + ", local_as: 64512", f"{AT}.local_as", "the node's own AS"),
    Case(
        "a long keepalive",
        P + ", hold_time_s: 9, keepalive_s: 4",
        f"{AT}.keepalive_s",
        "more than a third of the hold time, 9",
    ),
    Case(
        "next hop keep on eBGP",
        P + ", next_hop: keep, advertise: all",
        f"{AT}.next_hop",
        "the peer must reach by itself",
    ),
    Case("a next hop for nothing", P + ", next_hop: self", f"{AT}.next_hop", "only own prefixes"),
    Case(
        "ADD-PATH for one path",
        P + ", add_path: true",
        f"{AT}.add_path",
        "`multipath_max_paths` is 1",
        "multipath_max_paths: 1",
    ),
    Case(
        "a restart time without restart",
        P + ", prefix_limit_restart_s: 5",
        f"{AT}.prefix_limit_restart_s",
        "`prefix_limit_action` is stop",
    ),
    Case(
        "a client that hears nothing",
        I + ", nodes: [n1], route_reflector_client: true, advertise: own",
        f"{AT}.route_reflector_client",
        "nothing is reflected",
    ),
    Case(
        "another AS than the node's", "address: 192.0.2.3, as: 65009, nodes: [n4]", f"{AT}.as", "node 'n3' has AS 64512"
    ),
    Case(
        "no graceful restart", "", "bgp.graceful_restart_time_s", "peers drop our routes", "graceful_restart_time_s: 0"
    ),
]


def test_the_ground_of_the_cases_is_good() -> None:
    result = load(Case("", "", "", ""))
    assert (result.errors, result.warnings) == ((), ())


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.sentence)
def test_the_file_is_refused_for(case: Case) -> None:
    assert_refused(case)


@pytest.mark.parametrize("case", WARNINGS, ids=lambda case: case.sentence)
def test_the_file_is_good_with_a_warning_of(case: Case) -> None:
    assert_warned_of(case)
