"""What filters, their chains and communities may not say, and what is only warned of: one sentence per case."""
from __future__ import annotations

import pytest
from peerfiles import AT, Case, P, assert_refused, assert_warned_of

CHAINS = [
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


@pytest.mark.parametrize("case", [*CHAINS, *RULES], ids=lambda case: case.sentence)
def test_the_file_is_refused_for(case: Case) -> None:
    assert_refused(case)


@pytest.mark.parametrize("case", WARNINGS, ids=lambda case: case.sentence)
def test_the_file_is_good_with_a_warning_of(case: Case) -> None:
    assert_warned_of(case)
