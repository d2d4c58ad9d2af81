"""containerlab/reflectors: two nodes as route reflectors, six as clients, no mesh; what its README says."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import labs
import pytest

from calicopy import lab as lab_api

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

REFLECTORS = {"rr1": "192.0.2.1", "rr2": "192.0.2.2"}
CLIENTS = {f"n{number}": f"192.0.2.{10 + number}" for number in range(1, 7)}
ADDRESSES = {**REFLECTORS, **CLIENTS}
CLUSTERS = {"rr1": "10.0.0.1", "rr2": "10.0.0.2"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """The topology, once every node has the blocks of all."""
    with labs.existing(labs.copy_of("reflectors", tmp_path_factory.mktemp("lab"))) as running:
        running.wait_healthy(*ADDRESSES, within=60)
        blocks = {running.block_of(node) for node in ADDRESSES}
        for node in ADDRESSES:
            labs.wait_until(
                lambda node=node: blocks <= set(running.kernel_routes(node)), within=40, what=f"{node} has every block"
            )
        yield running


@pytest.fixture(scope="module")
def blocks(lab: labs.TestLab) -> dict[str, str]:
    return {node: lab.block_of(node) for node in ADDRESSES}


def test_clients_peer_with_the_reflectors_alone_and_those_with_everybody(lab: labs.TestLab) -> None:
    for client in CLIENTS:
        assert lab.established(client) == set(REFLECTORS)
    for reflector in REFLECTORS:
        assert lab.established(reflector) == set(ADDRESSES) - {reflector}


def test_a_block_goes_straight_to_its_owner_whoever_reflected_it(lab: labs.TestLab, blocks: dict[str, str]) -> None:
    for node, other in itertools.permutations(ADDRESSES, 2):
        route = lab.kernel_routes(node)[blocks[other]]
        assert (route["gateway"], route["dev"]) == (ADDRESSES[other], "eth1"), f"{node} to {other}"


def test_a_client_hears_each_reflector_tell_of_the_other_clients_with_its_cluster_id(
    lab: labs.TestLab, blocks: dict[str, str]
) -> None:
    (shown,) = lab.cli("n1", "routes", blocks["n2"])["items"]
    assert {path["peer"] for path in shown["paths"]} == set(REFLECTORS)
    for path in shown["paths"]:
        assert path["owner"] == "n2"
        assert path["originator_id"] == CLIENTS["n2"]
        assert path["cluster_list"][0] == CLUSTERS[path["peer"]]


def test_pods_ping_and_go_on_when_a_reflector_dies(lab: labs.TestLab, blocks: dict[str, str], tmp_path: Path) -> None:
    pods = {node: lab.pod(node, "pod") for node in CLIENTS}
    inside = ("ip", "netns", "exec", "pod", "ping", "-W", "1")
    for one, other in itertools.permutations(CLIENTS, 2):
        lab.run(one, *inside, "-c", "1", pods[other])
    flood = lab.spawn("n1", *inside, "-i", "0.01", "-c", "500", "-q", pods["n6"], output=tmp_path / "flood")
    (reflector,) = (one for one in lab_api.status(lab.topology) if one.name == "rr1")
    assert reflector.pid is not None
    os.kill(reflector.pid, 9)
    labs.wait_until(lambda: lab.established("n1") == {"rr2"}, what="n1 has lost one reflector")
    assert set(blocks.values()) - {blocks["rr1"]} <= set(lab.kernel_routes("n1"))  # the node is dead, and so its block
    flood.wait(30)
    assert " 0% packet loss" in (tmp_path / "flood").read_text()
