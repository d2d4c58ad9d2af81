"""A reflector that is drained: what it reflects has another path, so nobody loses anything."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import faults
import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

NODES = ("rr1", "rr2", "n1", "n2")
CLUSTER = """
nodes:
  - {name: rr1, address: 192.0.2.11/24, route_reflector: true, labels: {role: reflector}}
  - {name: rr2, address: 192.0.2.12/24, route_reflector: true, labels: {role: reflector}}
  - {name: n1, address: 192.0.2.1/24}
  - {name: n2, address: 192.0.2.2/24}
pools:
  - {cidr: 10.244.0.0/16, name: pods}
bgp:
  mesh: false
  peers:
    - {peer_selector: {role: reflector}}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[labs.TestLab]:
    plan = {
        "rr1": labs.node("192.0.2.11/24"), "rr2": labs.node("192.0.2.12/24"),
        "n1": labs.node("192.0.2.1/24"), "n2": labs.node("192.0.2.2/24"),
    }  # fmt: skip
    topology = labs.one_ethernet(f"df{os.getpid()}", plan)
    with labs.running(tmp_path, topology, files={"cluster.yaml": CLUSTER}, mgmt=False) as up:
        up.wait_healthy(*NODES, within=60)
        yield up


def sources(lab: labs.TestLab, block: str) -> set[str]:
    """From whom n2 has a block."""
    items = lab.cli("n2", "routes", block)["items"]
    return {path["peer"] for item in items if item["prefix"] == block for path in item["paths"]}


def test_a_reflector_is_drained_under_a_flood_without_a_loss_and_its_clients_turn_before(
    lab: labs.TestLab, tmp_path: Path
) -> None:
    blocks = {node: lab.block_of(node) for node in NODES}
    labs.wait_until(lambda: blocks["n1"] in lab.kernel_routes("n2"), what="n2 has n1's block")
    routes = lab.kernel_routes("n2")
    lab.pod("n1", "pod")
    flood = faults.Flood(lab, tmp_path, ("n2",))
    flood.start("n1", lab.pod("n2", "pod"))
    routes |= lab.kernel_routes("n2")

    result = json.loads(lab.run("rr1", "calicopy", "drain", "-o", "json"))
    print(result)
    assert (result["step"], result["drain"]["without_alternative"]) == ("drained", [blocks["rr1"]])
    lab.wait_established("n2", "rr1", "rr2")
    del routes[blocks["rr1"]]
    labs.wait_until(lambda: lab.kernel_routes("n2") == routes, what="n2 misses rr1's own block, and nothing else")
    assert sources(lab, blocks["n1"]) == {"rr2"}
    assert lab.run("rr1", "calicopy", "explain", blocks["n1"]).count("this node is drained since") == 1
    assert set(lab.kernel_routes("rr1")) >= {blocks["n1"], blocks["n2"]}

    lab.run("rr1", "calicopy", "undrain")
    labs.wait_until(lambda: sources(lab, blocks["n1"]) == {"rr1", "rr2"}, what="both reflectors again")
    lost, changed = flood.stop()
    assert lost == 0
    assert not [line for line in changed if blocks["rr1"] not in line and "via 192.0.2.11 " not in line]


def test_the_last_reflector_waits_and_says_what_has_no_other_path(lab: labs.TestLab) -> None:
    blocks = {node: lab.block_of(node) for node in NODES}
    labs.wait_until(lambda: blocks["n1"] in lab.kernel_routes("n2"), what="n2 has n1's block")
    lab.run("rr1", "calicopy", "drain")
    result = json.loads(lab.run("rr2", "calicopy", "drain", "--wait", "4s", "-o", "json"))
    assert set(result["drain"]["without_alternative"]) == {blocks["rr2"], blocks["n1"], blocks["n2"]}
