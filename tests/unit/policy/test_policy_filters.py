"""Filters: what a rule matches, what it changes, how a chain ends."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicopy.bgp import AsPath, PathAttributes
from calicopy.net import Family, Prefix, pack
from calicopy.policy import (
    Action,
    AsPathMatch,
    Chain,
    Changes,
    Filter,
    Match,
    PathFacts,
    PeerType,
    PrefixMatch,
    RouteSource,
    Rule,
    RuleRef,
)
from calicopy.policy.classes import PrefixClasses

V4, V6 = Family.IPV4, Family.IPV6
FACTS = PathFacts(frozenset({PeerType.EBGP}), RouteSource.EBGP, "tor-a", reserved=frozenset({(64512, 1)}))
PLAIN = PathAttributes(as_path=AsPath.sequence(64601, 64600), communities=(7, 8), large_communities=((64512, 1, 9),))
POOL = Prefix.parse("10.244.0.0/16")


def chain(*rules: Rule, default: Action | None = None) -> Chain:
    return Chain((Filter("f", rules, default),))


def judge(which: Chain, prefix: str = "10.244.1.0/26", attributes: PathAttributes = PLAIN, facts: PathFacts = FACTS):
    parsed = Prefix.parse(prefix)
    return which.judge(attributes, which.class_of(parsed.family, parsed.packed), facts)


def inside(prefix: Prefix, least: int | None = None, most: int | None = None) -> Match:
    return Match(prefixes=(PrefixMatch(prefix, prefix.length if least is None else least,
                                       prefix.family.bits if most is None else most),))  # fmt: skip


def rejects(match: Match, prefix: str = "10.244.1.0/26", **parts: object) -> bool:
    return not judge(chain(Rule("1", match, action=Action.REJECT)), prefix, **parts).accepted


# -- how a chain ends


def test_without_filters_a_path_is_accepted_as_it_is() -> None:
    judged = judge(Chain(()))
    assert judged.accepted
    assert judged.attributes is PLAIN
    assert judged.rule is None


def test_the_first_rule_with_an_action_that_matches_ends_the_chain() -> None:
    which = chain(Rule("a", action=Action.ACCEPT), Rule("b", action=Action.REJECT))
    assert judge(which).accepted
    assert judge(which).rule == RuleRef("f", "a")


def test_a_rule_without_an_action_makes_its_changes_and_goes_on_and_later_rules_see_them() -> None:
    first = Rule("a", changes=Changes(add_communities=(99,), med=5))
    second = Rule("b", Match(communities=frozenset({99})), Changes(local_pref=200))
    judged = judge(chain(first, second))
    assert (judged.attributes.med, judged.attributes.local_pref) == (5, 200)
    assert judged.rule == RuleRef("f", "b")


def test_the_default_of_a_filter_decides_what_comes_to_its_end() -> None:
    judged = judge(chain(default=Action.REJECT))
    assert not judged.accepted
    assert str(judged.rule) == "filter f, its default"
    accepting = Chain((Filter("a", default=Action.ACCEPT), Filter("b", default=Action.REJECT)))
    assert judge(accepting).accepted


def test_a_filter_without_a_default_hands_on_to_the_next() -> None:
    which = Chain((Filter("a", (Rule("1", changes=Changes(med=1)),)), Filter("b", (Rule("1", action=Action.REJECT),))))
    assert judge(which).rule == RuleRef("b", "1")
    assert str(judge(which).rule) == "filter b, rule 1"


# -- what a rule matches


@pytest.mark.parametrize(("match", "yes", "no"), [
    (inside(POOL), ["10.244.0.0/16", "10.244.255.255/32", "10.244.1.0/26"], ["10.245.0.0/26", "10.0.0.0/8", "::/0"]),
    (inside(POOL, 16, 16), ["10.244.0.0/16"], ["10.244.0.0/17", "10.0.0.0/8"]),
    (inside(POOL, 24, 26), ["10.244.0.0/24", "10.244.255.192/26"], ["10.244.0.0/16", "10.244.0.0/27"]),
    (Match(least_length=26, most_length=32), ["0.0.0.0/26", "255.255.255.255/32", "fd00::/32"], ["0.0.0.0/25", "::/0"]),
    (Match(most_length=24), ["0.0.0.0/0", "255.255.255.0/24", "::/24"], ["255.255.255.0/25", "::/25"]),
    (Match(least_length=64), ["fd00::/64", "::1/128"], ["10.0.0.0/32", "fd00::/63"]),
    (Match(families=frozenset({V6})), ["fd00::/64", "::/0"], ["10.0.0.0/8"]),
    (inside(Prefix.parse("fd00::/64"), 122, 128), ["fd00::40/122", "fd00::1/128"], ["fd00::/64", "fd00:0:0:1::/122"]),
    (Match(prefixes=(PrefixMatch(POOL, 26, 26), PrefixMatch(Prefix.parse("10.244.0.0/20"), 24, 32)), least_length=26),
     ["10.244.0.0/26", "10.244.0.1/32", "10.244.255.0/26"], ["10.244.0.0/24", "10.244.255.1/32"]),
])  # fmt: skip
def test_a_prefix_is_matched_by_range_length_and_family(match: Match, yes: list[str], no: list[str]) -> None:
    assert [prefix for prefix in yes if not rejects(match, prefix)] == []
    assert [prefix for prefix in no if rejects(match, prefix)] == []


@pytest.mark.parametrize(("match", "holds"), [
    (Match(communities=frozenset({8, 9})), True),
    (Match(communities=frozenset({9})), False),
    (Match(communities=frozenset({9}), large_communities=frozenset({(64512, 1, 9)})), True),
    (Match(peer_types=frozenset({PeerType.EBGP})), True),
    (Match(peer_types=frozenset({PeerType.MESH, PeerType.IBGP})), False),
    (Match(sources=frozenset({RouteSource.EBGP})), True),
    (Match(sources=frozenset({RouteSource.OWN})), False),
    (Match(from_peers=frozenset({"tor-a"})), True),
    (Match(from_peers=frozenset({"tor-b"})), False),
    (Match(as_path=AsPathMatch(contains=frozenset({64600}))), True),
    (Match(as_path=AsPathMatch(contains=frozenset({1}))), False),
    (Match(as_path=AsPathMatch(origin=frozenset({64600}), neighbor=frozenset({64601}))), True),
    (Match(as_path=AsPathMatch(origin=frozenset({64601}))), False),
    (Match(as_path=AsPathMatch(neighbor=frozenset({64600}))), False),
    (Match(as_path=AsPathMatch(least_length=2, most_length=2)), True),
    (Match(as_path=AsPathMatch(least_length=3)), False),
    (Match(as_path=AsPathMatch(most_length=1)), False),
    (Match(communities=frozenset({7}), sources=frozenset({RouteSource.IBGP})), False),
])  # fmt: skip
def test_a_path_is_matched_by_all_that_a_rule_asks(match: Match, holds: bool) -> None:
    assert rejects(match) is holds


# -- what a rule changes


def test_communities_are_removed_before_they_are_added_and_keep_their_order() -> None:
    changes = Changes(add_communities=(8, 7, 3, 3), remove_communities=frozenset({7, 8}))
    assert judge(chain(Rule("1", changes=changes))).attributes.communities == (8, 7, 3)


def test_a_community_that_is_there_is_not_added_again() -> None:
    changes = Changes(add_communities=(7,), add_large_communities=((1, 2, 3),))
    judged = judge(chain(Rule("1", changes=changes))).attributes
    assert judged.communities == (7, 8)
    assert judged.large_communities == ((64512, 1, 9), (1, 2, 3))


def test_no_filter_touches_the_community_that_names_the_owner() -> None:
    changes = Changes(
        add_large_communities=((64512, 1, 10),), remove_large_communities=frozenset({(64512, 1, 9)})
    )
    assert judge(chain(Rule("1", changes=changes))).attributes.large_communities == ((64512, 1, 9),)


def test_prepends_add_up_and_are_left_to_the_caller() -> None:
    judged = judge(chain(Rule("1", changes=Changes(prepend=2)), Rule("2", changes=Changes(prepend=1))))
    assert judged.prepend == 3
    assert judged.attributes.as_path == PLAIN.as_path


# -- classes of prefixes


def matches(match: Match, length: int, network: int) -> bool:
    """The plain meaning, prefix by prefix."""
    if match.families and V4 not in match.families:
        return False
    if not (match.least_length or 0) <= length <= (32 if match.most_length is None else match.most_length):
        return False
    return not match.prefixes or any(
        each.least_length <= length <= each.most_length
        and length >= each.prefix.length
        and network >> (32 - each.prefix.length) == each.prefix.first >> (32 - each.prefix.length)
        for each in match.prefixes
        if each.prefix.family is V4
    )


lengths = st.integers(0, 32)
networks = st.integers(0, 15).map(lambda number: 10 << 24 | number << 28 | number << 6) | st.integers(0, 2**32 - 1)
some_prefixes = st.tuples(networks, lengths).map(lambda both: pack(both[0], both[1], V4))
prefix_matches = st.tuples(some_prefixes, lengths, lengths).map(
    lambda parts: PrefixMatch(Prefix(V4, parts[0]), *sorted(parts[1:]))
)
some_matches = st.builds(
    Match,
    families=st.sampled_from([frozenset(), frozenset({V4}), frozenset({V6})]),
    prefixes=st.lists(prefix_matches, max_size=3).map(tuple),
    least_length=st.none() | lengths,
    most_length=st.none() | lengths,
)


@given(st.lists(some_matches, max_size=5), st.lists(some_prefixes, min_size=1, max_size=30))
def test_a_class_says_of_every_rule_whether_its_prefix_matches(rules: list[Match], prefixes: list[bytes]) -> None:
    classes = PrefixClasses(rules, V4)
    for prefix in prefixes:
        network = Prefix(V4, prefix).first
        expected = sum(1 << number for number, rule in enumerate(rules) if matches(rule, prefix[0], network))
        assert classes.of(prefix) == expected
    split = classes.split(prefixes)
    assert sorted(prefix for group in split.values() for prefix in group) == sorted(prefixes)
    assert all(classes.of(prefix) == which for which, group in split.items() for prefix in group)
