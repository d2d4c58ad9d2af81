"""What peers, filters and communities may not say, and what is only warned of: one sentence per case."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from calicopy.config.load import LoadResult, load_text

HEAD = """\
nodes:
- {name: n1, address: 192.0.2.1/24, labels: {role: rr}, route_reflector: true}
- {name: n2, address: 192.0.2.2/24, labels: {role: rr}, route_reflector: true}
- {name: n3, address: 192.0.2.3/24}
- {name: n4, address: 192.0.2.4/24}
pools:
- cidr: 10.244.0.0/16
bgp:
  mesh: false
  peers:
  - {peer_selector: {role: rr}}
"""
"""Eleven good lines: what a case adds begins on line 12."""


class Case(NamedTuple):
    sentence: str
    peers: str
    """Further peers, each a flow mapping on a line of its own (from line 12)."""
    path: str
    words: str
    rest: str = ""
    """Other keys of bgp."""
    replace: tuple[str, str] = ("", "")


def load(case: Case) -> LoadResult:
    lines = "".join(f"  - {{{line}}}\n" for line in case.peers.splitlines())
    text = HEAD + lines + "".join(f"  {line}\n" for line in case.rest.splitlines())
    return load_text(text.replace(*case.replace) if case.replace[0] else text, filename="f")


P = "address: 192.0.2.9, as: 65000"
I = "address: 192.0.2.9, as: 64512"  # noqa: E741  # iBGP
AT = "bgp.peers[1]"

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
    Case(
        "a chain with an unknown filter",
        "",
        "bgp.import[0]",
        "no filter has the name 'two' (did you mean 'tow'?)",
        "import: [two]\nexport: [tow]\nfilters: [{name: tow, default: accept}]",
    ),
    Case("a peer's chain with an unknown filter", P + ", export: [x]", f"{AT}.export[0]", "no filter has the name 'x'"),
    Case(
        "a filter twice in a chain",
        "",
        "bgp.import[1]",
        "named twice",
        "import: [f, f]\nfilters: [{name: f, rules: [{set: {med: 1}}]}]",
    ),
    Case(
        "two filters of one name",
        "",
        "bgp.filters[1].name",
        "two filters have the name 'f'",
        "import: [f]\nfilters: [{name: f, default: accept}, {name: f, default: accept}]",
    ),
]

F = "import: [f]\nexport: [f]\nfilters: [{{name: f, rules: [{}]}}]"
R = "bgp.filters[0].rules[0]"
M = f"{R}.match"


def rule(match: str) -> str:
    return F.format(f"{{match: {{{match}}}, action: reject}}")


RULES = [
    Case(
        "two rules of one name",
        "",
        "bgp.filters[0].rules[1].name",
        "have the name 'a'",
        F.format("{name: a, match: {length: 1}, action: reject}, {name: a, action: accept}"),
    ),
    Case(
        "a rule named as the number of another",
        "",
        "bgp.filters[0].rules[1]",
        "have the name '2'",
        F.format("{name: '2', match: {length: 1}, action: reject}, {action: accept}"),
    ),
    Case("another action", "", f"{R}.action", "one of accept, reject", F.format("{action: deny}")),
    Case("a condition without prefix", "", f"{M}.prefix[0]", "found neither", rule("prefix: [{length: 24}]")),
    Case(
        "a condition with both",
        "",
        f"{M}.prefix[0].equal",
        "either `in` or `equal`",
        rule("prefix: [{in: 10.0.0.0/8, equal: 10.0.0.0/8}]"),
    ),
    Case("a prefix alone", "", f"{M}.prefix[0]", "expected a mapping", rule("prefix: [10.0.0.0/8]")),
    Case("no list of prefixes", "", f"{M}.prefix", "expected a list", rule("prefix: {in: 10.0.0.0/8}")),
    Case("an empty list of prefixes", "", f"{M}.prefix", "a list of 1 or more", rule("prefix: []")),
    Case(
        "a length beside equal",
        "",
        f"{M}.prefix[0].length",
        "expected none with `equal`",
        rule("prefix: [{equal: 10.0.0.0/8, length: 9}]"),
    ),
    Case(
        "a range that runs down",
        "",
        f"{M}.prefix[0].length",
        "begins with the lesser length: 24-26",
        rule("prefix: [{in: 10.0.0.0/8, length: 26-24}]"),
    ),
    Case(
        "a range outside of the prefix",
        "",
        f"{M}.prefix[0].length",
        "lengths from 8 to 32",
        rule("prefix: [{in: 10.0.0.0/8, length: 7-9}]"),
    ),
    Case(
        "a range longer than an address", "", f"{M}.length", "lengths from 0 to 32", rule("family: ipv4, length: 24-33")
    ),
    Case(
        "an IPv6 prefix in a rule for IPv4",
        "",
        f"{M}.prefix[0].in",
        "the rule's family, ipv4",
        rule("family: ipv4, prefix: [{in: 'fd00::/8'}]"),
    ),
    Case("a text as a length", "", f"{M}.length", "such as 26 or 24-26", rule("length: long")),
    Case(
        "a community of one part",
        "",
        f"{M}.communities[0]",
        'a community such as "64512:100"',
        rule("communities: ['64512']"),
    ),
    Case("a community as a number", "", f"{M}.communities[0]", "(in quotes)", rule("communities: [64512]")),
    Case("a community of base 60", "", f"{M}.communities[0]", "base 60", rule("communities: [64512:10]")),
    Case(
        "a standard community of a large AS",
        "",
        f"{M}.communities[0]",
        "use a large one",
        rule("communities: ['4200000000:1']"),
    ),
    Case(
        "an AS number as a text", "", f"{M}.as_path.contains[0]", "without quotes", rule("as_path: {contains: ['5']}")
    ),
    Case("another peer type", "", f"{M}.peer_type[0]", "one of mesh, ibgp, ebgp", rule("peer_type: [all]")),
    Case("another source", "", f"{M}.source[0]", "one of own, ibgp, ebgp", rule("source: [mesh]")),
    Case(
        "a peer that is not there",
        "",
        f"{M}.from[0]",
        "no peer or node has the name 'n33' (did you mean 'n3'?)",
        rule("from: [n33]"),
    ),
    Case("an unknown condition", "", f"{M}.neighbour", "unknown key", rule("neighbour: [1]")),
    Case(
        "a key of `set` that is not there",
        "",
        f"{R}.set.localpref",
        "did you mean 'local_pref'?",
        F.format("{set: {localpref: 1}}"),
    ),
    Case(
        "a LOCAL_PREF of 33 bits",
        "",
        f"{R}.set.local_pref",
        "4294967295 or less",
        F.format("{set: {local_pref: 4294967296}}"),
    ),
    Case("our AS eleven times", "", f"{R}.set.prepend", "10 or less", F.format("{set: {prepend: 11}}")),
    Case(
        "a community twice",
        "",
        f"{R}.set.add_communities[1]",
        "given twice",
        F.format("{set: {add_communities: ['1:1', '1:1']}}"),
    ),
    Case(
        "two entries for one prefix",
        "",
        "bgp.communities[1].prefix",
        "10.244.0.0/16 is given twice",
        "communities: [{prefix: 10.244.0.0/16, communities: ['1:1']}, {prefix: 10.244.0.0/16, communities: ['1:2']}]",
    ),
    Case(
        "an entry without communities",
        "",
        "bgp.communities[0].communities",
        "a list of 1 or more",
        "communities: [{prefix: 10.244.0.0/16, communities: []}]",
    ),
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
    Case(
        "a filter of the mesh without a mesh",
        "",
        "bgp.mesh_import",
        "the mesh is off",
        "mesh_import: [f]\nfilters: [{name: f, default: accept}]",
    ),
    Case(
        "a filter that nobody names",
        "",
        "bgp.filters[0].name",
        "no chain names the filter 'f'",
        "filters: [{name: f, default: accept}]",
    ),
    Case(
        "a filter without anything",
        "",
        "bgp.filters[0]",
        "no rule and no `default`",
        "import: [f]\nfilters: [{name: f}]",
    ),
    Case(
        "a filter after one that ends",
        "",
        "bgp.import[1]",
        "the filter 'f' before it has a `default`",
        "import: [f, g]\nfilters: [{name: f, default: accept}, {name: g, default: reject}]",
    ),
    Case(
        "a rule after one that ends for all",
        "",
        "bgp.filters[0].rules[1]",
        "ends for every path (bgp.filters[0].rules[0], line 14)",
        F.format("{action: accept}, {match: {length: 1}, action: reject}"),
    ),
    Case(
        "a rule for the same paths",
        "",
        "bgp.filters[0].rules[1]",
        "for the same paths",
        F.format("{match: {length: 1}, action: accept}, {match: {length: 1}, action: reject}"),
    ),
    Case("a rule without effect", "", R, "it sets nothing", F.format("{match: {length: 1}}")),
    Case(
        "a change of what is rejected", "", f"{R}.set", "the rule rejects", F.format("{set: {med: 1}, action: reject}")
    ),
    Case(
        "lengths that no prefix has",
        "",
        f"{M}.length",
        "no prefix of `prefix` has a length of 8",
        rule("prefix: [{in: 10.0.0.0/8, length: 9-32}, {equal: 10.0.0.0/9}], length: 8"),
    ),
    Case(
        "an AS in an empty AS_PATH",
        "",
        f"{M}.as_path.length",
        "an empty AS_PATH has no AS",
        rule("as_path: {contains: [1], length: 0}"),
    ),
    Case(
        "own prefixes that were heard",
        "",
        f"{M}.from",
        "own prefixes have no `from`",
        rule("source: [own], from: [n1]"),
    ),
    Case(
        "own prefixes in an import chain",
        "",
        f"{M}.source",
        "own prefixes are not imported",
        rule("source: [own]").replace("export: [f]\n", ""),
    ),
    Case(
        "communities for prefixes of no pool",
        "",
        "bgp.communities[0].prefix",
        "no pool has a prefix inside 10.0.0.0/24",
        "communities: [{prefix: 10.0.0.0/24, communities: ['1:1']}]",
    ),
]


def test_the_ground_of_the_cases_is_good() -> None:
    result = load(Case("", "", "", ""))
    assert (result.errors, result.warnings) == ((), ())


@pytest.mark.parametrize("case", [*ERRORS, *RULES], ids=lambda case: case.sentence)
def test_the_file_is_refused_for(case: Case) -> None:
    result = load(case)
    assert result.config is None
    assert [error.path for error in result.errors] == [case.path], [str(error) for error in result.errors]
    assert case.words in result.errors[0].message


@pytest.mark.parametrize("case", WARNINGS, ids=lambda case: case.sentence)
def test_the_file_is_good_with_a_warning_of(case: Case) -> None:
    result = load(case)
    assert result.errors == (), [str(error) for error in result.errors]
    found = [warning for warning in result.warnings if warning.path == case.path]
    assert any(case.words in warning.message for warning in found), [str(warning) for warning in result.warnings]
