"""`calicopy explain` and `routes --rejected` against the real thing: three BIRDs that announce one prefix."""
from __future__ import annotations

import os
from collections.abc import Iterator

import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timeout(180)]

SHARED, OUTSIDE = "10.244.255.0/26", "10.99.0.0/24"
ROUTERS = {  # address, LOCAL_PREF, what else its filter does
    "r1": ("192.0.2.11", 200, ""),
    "r2": ("192.0.2.12", 200, "bgp_path.prepend(65001);"),
    "r3": ("192.0.2.13", 100, ""),
}

CLUSTER = """
nodes:
  - {name: n1, address: 192.0.2.1/24}
pools:
  - {cidr: 10.244.0.0/16, name: pods}
bgp:
  import: [ours]
  filters:
    - name: ours
      rules:
        - name: not-by-r3
          match: {from: [r3], prefix: [{equal: 10.244.254.0/26}]}
          action: reject
        - name: prefer-r2
          match: {from: [r2], prefix: [{equal: 10.244.254.0/26}]}
          set: {local_pref: 300}
  peers:
    - {name: r1, address: 192.0.2.11, as: 64512}
    - {name: r2, address: 192.0.2.12, as: 64512}
    - {name: r3, address: 192.0.2.13, as: 64512}
"""

BIRD = """
router id {address};
protocol device {{}}
protocol static {{
  ipv4; route 10.244.255.0/26 blackhole; route 10.244.254.0/26 blackhole; route 10.99.0.0/24 blackhole;
}}
protocol bgp n1 {{
  local {address} as 64512; neighbor 192.0.2.1 as 64512;
  ipv4 {{
    import all; next hop self;
    export filter {{ if source != RTS_STATIC then reject; bgp_local_pref = {preference}; {more} accept; }};
  }};
}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    nodes = {"n1": labs.node("192.0.2.1/24")}
    files = {"cluster.yaml": CLUSTER}
    for name, (address, preference, more) in ROUTERS.items():
        nodes[name] = labs.router(f"{address}/24", "bird -f -c /etc/bird.conf -s /run/bird.ctl",
                                  binds=[f"{name}.conf:/etc/bird.conf:ro"])  # fmt: skip
        files[f"{name}.conf"] = BIRD.format(address=address, preference=preference, more=more)
    topology = labs.one_ethernet(f"ex{os.getpid()}", nodes)
    with labs.running(tmp_path_factory.mktemp("explain"), topology, files=files) as up:
        up.wait_established("n1", *ROUTERS)
        labs.wait_until(lambda: SHARED in up.kernel_routes("n1"), what="the shared prefix is in the kernel")
        yield up


def explain(lab: labs.TestLab, target: str) -> str:
    done = lab.try_run("n1", "calicopy", "explain", target)
    print(done.stdout)
    return str(done.stdout)


def test_of_three_paths_the_tie_breaker_that_decided_is_named(lab: labs.TestLab) -> None:
    labs.wait_until(lambda: len(lab.cli("n1", "explain", SHARED)["paths"]) == 3, what="three paths")
    text = explain(lab, SHARED)
    way, _, why = text.splitlines()[0].partition(", ")
    assert way == f"{SHARED} goes via 192.0.2.11 dev eth1: learned from r1"
    assert why == "the best of 3 paths: as-path: 0 < 1 (RFC 4271 9.1.2.2 a)"
    assert "decided by as-path: 0 < 1 (RFC 4271 9.1.2.2 a), against r2" in text
    assert "lost at as-path: 1 > 0 (RFC 4271 9.1.2.2 a)" in text
    assert "lost at local-pref: 100 < 200 (RFC 4271 9.1.1)" in text
    assert f"answers for 10.244.255.0: {SHARED} via 192.0.2.11 dev eth1 proto 117 metric 1024 (ours)" in text


def test_a_refused_path_names_the_rule(lab: labs.TestLab) -> None:
    text = explain(lab, OUTSIDE)
    assert text.splitlines()[0].startswith(f"{OUTSIDE} has no route here: none of 3 paths is used: refused: ")
    assert text.count("refused: the prefix lies in no pool (calicopy)") == 4
    summary = lab.cli("n1", "routes", "--rejected", "--summary")["items"]
    assert [(one["reason"], one["rule"], one["paths"]) for one in summary] == [
        ("outside-pools", "calicopy", 3), ("filter", "filter ours, rule not-by-r3", 1),
    ]  # fmt: skip


def test_a_filter_that_refused_or_changed_a_path_is_named_with_its_rule(lab: labs.TestLab) -> None:
    prefix = "10.244.254.0/26"
    labs.wait_until(lambda: len(lab.cli("n1", "explain", prefix)["paths"]) == 3, what="three paths")
    text = explain(lab, prefix)
    assert "changed: local-pref 200 -> 300: by filter ours, rule prefer-r2" in text
    assert "decided by local-pref: 300 > 200 (RFC 4271 9.1.1), against r1" in text
    assert "refused by filter ours, rule not-by-r3" in text
    (item,) = lab.cli("n1", "routes", "--rejected", "--reason", "filter")["items"]
    (path,) = item["paths"]
    assert (item["prefix"], path["peer"], path["rule"]) == (prefix, "r3", "filter ours, rule not-by-r3")


def test_an_address_outside_of_the_pools_has_no_answer(lab: labs.TestLab) -> None:
    assert lab.try_run("n1", "calicopy", "explain", "10.98.0.1").returncode == 1
    assert explain(lab, "10.98.0.1").startswith("10.98.0.1 has no answer: it lies in no pool of the cluster file")


def test_a_foreign_route_that_wins_and_one_that_is_in_the_way_are_named(lab: labs.TestLab) -> None:
    lab.run("n1", "ip", "route", "add", "10.244.255.7/32", "via", "192.0.2.13")
    try:
        first, *_ = explain(lab, "10.244.255.7").splitlines()
        assert first.endswith(
            "; BUT the kernel prefers a longer prefix: 10.244.255.7/32 via 192.0.2.13 dev eth1 proto boot metric 0"
        )
    finally:
        lab.run("n1", "ip", "route", "del", "10.244.255.7/32")


def test_a_foreign_route_for_the_same_prefix_is_said_by_status_routes_and_explain_until_it_is_gone(
    lab: labs.TestLab,
) -> None:
    def shadowed() -> list[str]:
        found = lab.status("n1").get("problems", [])
        return [one["reason"]["message"] for one in found if one["reason"]["code"] == "shadowed"]

    assert shadowed() == []
    lab.run("n1", "ip", "route", "add", SHARED, "via", "192.0.2.13", "proto", "static")
    try:
        why = "a route of protocol static with metric 0 goes before ours"
        labs.wait_until(lambda: shadowed() == [f"{SHARED}: {why} (1 prefix)"], what="status says it")
        assert f"({why})" in lab.run("n1", "calicopy", "routes", SHARED)
        first, *_ = explain(lab, SHARED).splitlines()
        assert " goes via 192.0.2.11 dev eth1: learned from r1" in first
        assert "; BUT the kernel prefers another route for it, by metric: " in first
    finally:
        lab.run("n1", "ip", "route", "del", SHARED, "proto", "static")
    labs.wait_until(lambda: shadowed() == [], what="status does not say it any more")


def test_a_workload_and_a_free_address_of_the_own_block_are_told_apart(lab: labs.TestLab) -> None:
    address = lab.pod("n1", "web")
    assert explain(lab, address).startswith(f"{address} is workload web on this node: dev cali")
    block = lab.block_of("n1")
    free = str(address.rpartition(".")[0]) + f".{int(address.rpartition('.')[2]) + 5}"
    text = explain(lab, free)
    assert text.startswith(f"{free} (in {block}) is a free address of this node's own block")
    assert "dropped by a blackhole route (ours)" in text
    assert f"{block} is this node's own: announced to 3 of 3 peers" in explain(lab, block)
