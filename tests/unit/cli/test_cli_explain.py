"""`calicopy explain`, and refused routes by rule."""
from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from corescript import N2, N3, Script, node, snapshot
from memory_agent import route_view

from calicopy.core.explain.explain import explain
from calicopy.core.views import PathState, ReasonView
from calicopy.net import Prefix

OURS, THEIRS = "10.244.0.0/26", "10.244.1.0/26"


@pytest.fixture
def told(agent):
    """The agent explains as a core of three nodes does."""
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3).hear(N2, THEIRS).hear(N3, THEIRS, number=2)
    for target in (OURS, THEIRS, "10.244.1.7", "10.8.0.1"):
        prefix = Prefix.parse(target)
        agent.backend.explained[prefix] = explain(script.core, prefix)
    return agent


def test_the_first_line_is_the_verdict_and_all_that_led_to_it_follows(calicopy, told):
    done = calicopy("explain", "10.244.1.7")
    assert done.code == 0
    assert done.lines == [
        "10.244.1.7 (in 10.244.1.0/26) goes via 10.0.0.2 dev eth0: learned from n2, the only path",
        "",
        "Prefix  10.244.1.0/26, the longest match of 10.244.1.7",
        "Pool    10.244.0.0/22, encapsulation none",
        "Block   10.244.1.0/26: reserved for n2, which announced it first",
        "",
        "Paths",
        "  best from n2 (10.0.0.2), next hop 10.0.0.2, owner n2",
        "    local-pref 100, AS path (empty), origin igp, MED -, communities 64512:1:167772162",
        "    the only path that was let through",
        "  rejected from n3 (10.0.0.3), next hop 10.0.0.3",
        "    local-pref 100, AS path (empty), origin igp, MED -, communities 64512:1:167772162",
        "    refused: the path does not come from the node that it names as its owner (calicopy)",
        "",
        "Next hops",
        "  10.0.0.2 of the path from n2: on link, dev eth0, metric 0",
        "    no encapsulation: pool 10.244.0.0/22 has no encapsulation",
        "    via 10.0.0.2 dev eth0",
        "",
        "Kernel",
        "  holds 10.244.1.0/26 via 10.0.0.2 dev eth0 (nexthop object 211896436)",
        "",
        "Announced",
        "  not to n2, n3: only our own prefixes are announced there (advertise: own)",
    ]


def test_where_there_is_nothing_it_says_so_and_ends_with_1(calicopy, told):
    done = calicopy("explain", "10.8.0.1")
    assert done.code == 1
    assert done.lines[0].startswith("10.8.0.1 has no answer: it lies in no pool of the cluster file")
    assert "Paths" not in done.out
    done = calicopy("explain", "10.8.0.1", "-o", "json")
    assert (done.code, done.json["found"], done.json["holding"]["state"]) == (1, False, "outside-pools")


def test_json_and_yaml_have_the_parts(calicopy, told):
    found = calicopy("explain", THEIRS, "-o", "json").json
    assert (found["asked"], found["prefix"], found["found"]) == (THEIRS, THEIRS, True)
    assert [one["path"]["state"] for one in found["paths"]] == ["best", "rejected"]
    assert found["paths"][1]["path"]["reason"]["code"] == "owner-mismatch"
    assert found["match"] is None
    assert yaml.safe_load(calicopy("explain", THEIRS, "-o", "yaml").out) == found


def test_what_is_no_prefix_is_refused(calicopy, told):
    done = calicopy("explain", "10.244.1.7/26")
    assert done.code == 4
    assert "has host bits set" in done.err


def refused(prefix: str, code: str, *, rule: str = "", source: str = "calicopy"):
    view = route_view(prefix, state=PathState.REJECTED)
    (path,) = view.paths
    path = replace(path, reason=ReasonView(code, f"it is {code}", source), rule=rule)
    return replace(view, paths=(path,), kernel=None)


@pytest.fixture
def refusing(agent):
    agent.backend.route_list = [
        refused("10.9.0.0/26", "outside-pools"),
        refused("10.9.0.64/26", "outside-pools"),
        refused("10.244.9.0/26", "as-loop", source="RFC 4271 9.1.2"),
        refused("10.244.9.64/26", "filter", rule="filter x, rule y"),
    ]
    return agent


def test_refused_paths_show_reason_and_rule_and_the_count_of_each_rule_follows(calicopy, refusing):
    lines = calicopy("routes", "--rejected").lines
    assert lines[0].split() == ["PREFIX", "PEER", "NEXT-HOP", "OWNER", "AS-PATH", "REASON", "RULE", "WHY"]
    assert lines[3].split()[5:] == ["as-loop", "RFC", "4271", "9.1.2", "it", "is", "as-loop"]
    assert "filter x, rule y" in lines[4]
    assert [line.split() for line in lines[5:8]] == [
        [], ["REASON", "PATHS", "RULE", "WHY"], ["outside-pools", "2", "calicopy", "it", "is", "outside-pools"],
    ]  # fmt: skip


def test_a_summary_alone_is_a_list_for_programs_too(calicopy, refusing):
    assert [line.split()[:2] for line in calicopy("routes", "--rejected", "--summary").lines] == [
        ["REASON", "PATHS"], ["outside-pools", "2"], ["as-loop", "1"], ["filter", "1"],
    ]  # fmt: skip
    items = calicopy("routes", "--rejected", "--summary", "-o", "json").json["items"]
    assert items[0] == {"reason": "outside-pools", "rule": "calicopy", "message": "it is outside-pools", "paths": 2}
    assert calicopy("routes", "--summary").code == 2


def test_a_reason_picks_its_paths_and_an_unknown_one_is_refused(calicopy, refusing):
    items = calicopy("routes", "--rejected", "--reason", "as-loop", "-o", "json").json["items"]
    assert [item["prefix"] for item in items] == ["10.244.9.0/26"]
    done = calicopy("routes", "--rejected", "--reason", "bad-luck")
    assert done.code == 4
    assert "'bad-luck' is not a reason: expected one of pending, outside-pools" in done.err
    done = calicopy("routes", "--advertised", "node2", "--reason", "as-loop")
    assert (done.code, done.err.splitlines()[0]) == (
        4, "calicopy: reason: is of a received path: advertised routes have none"
    )  # fmt: skip
