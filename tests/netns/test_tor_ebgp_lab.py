"""containerlab/tor-ebgp: nodes by eBGP behind FRR, two racks, no mesh and no tunnel; what its README says."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import labs
import pytest

from calicopy import lab as lab_api

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timeout(240)]

RACKS = {"a": ("a1", "a2"), "b": ("b1", "b2")}
ROUTERS = {"a": "192.0.2.126", "b": "192.0.2.254"}
ADDRESSES = {"a1": "192.0.2.1", "a2": "192.0.2.2", "b1": "192.0.2.129", "b2": "192.0.2.130"}
NODES = tuple(ADDRESSES)
FOREIGN = "10.9.0.0/24"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """The topology, once every node has the blocks of all, with a pod on each node."""
    with labs.existing(labs.copy_of("tor-ebgp", tmp_path_factory.mktemp("lab"))) as running:
        running.wait_healthy(*NODES)
        blocks = {running.block_of(node) for node in NODES}
        for node in NODES:
            labs.wait_until(
                lambda node=node: blocks <= set(running.kernel_routes(node)), what=f"{node} has every block"
            )
        yield running


@pytest.fixture(scope="module")
def blocks(lab: labs.TestLab) -> dict[str, str]:
    return {node: lab.block_of(node) for node in NODES}


@pytest.fixture(scope="module")
def pods(lab: labs.TestLab) -> dict[str, str]:
    return {node: lab.pod(node, "pod") for node in NODES}


@pytest.fixture
def one_as(tmp_path: Path) -> Iterator[labs.TestLab]:
    """The same with one AS for all nodes, which README names as the other way, and with a password."""
    file = labs.copy_of("tor-ebgp", tmp_path)
    (tmp_path / "tor.password").write_text("md5-of-a-rack\n")
    for name in ("tor-a.conf", "tor-b.conf"):
        path = tmp_path / name
        line = " neighbor NODES ttl-security hops 1\n"
        path.write_text(path.read_text().replace(line, f"{line} neighbor NODES password md5-of-a-rack\n"))
    cluster = (tmp_path / "cluster.yaml").read_text()
    cluster = re.sub(r"    as: 646\d\d\n", "", cluster)
    cluster = cluster.replace(
        "trust_owner", "password_file: /etc/calicopy/tor.password\n      allow_own_as: 1\n      trust_owner"
    )
    (tmp_path / "cluster.yaml").write_text(cluster)
    topology = file.read_text().replace(f"name: tor-ebgp{os.getpid()}", f"name: oneas{os.getpid()}")
    bind = "        - cluster.yaml:/etc/calicopy/cluster.yaml:ro\n"
    topology = topology.replace(bind, bind + "        - tor.password:/etc/calicopy/tor.password:ro\n")
    file.write_text(topology)
    with labs.existing(file) as running:
        yield running


def test_nodes_of_one_as_hear_of_each_other_when_the_file_allows_it_once(one_as: labs.TestLab) -> None:
    one_as.wait_healthy(*NODES)
    blocks = {node: one_as.block_of(node) for node in NODES}
    for node in NODES:
        labs.wait_until(
            lambda node=node: set(blocks.values()) <= set(one_as.kernel_routes(node)), what=f"{node} has every block"
        )
    (shown,) = one_as.cli("a1", "routes", blocks["b1"])["items"]
    assert shown["paths"][0]["as_path"] == "65001 65000 65002 64512"
    assert "64512" in one_as.run("tor-a", "vtysh", "-c", "show bgp summary")


def ping(lab: labs.TestLab, node: str, address: str) -> bool:
    words = ("ip", "netns", "exec", "pod", "ping", "-c", "2", "-i", "0.1", "-W", "1", address)
    return lab.try_run(node, *words).returncode == 0


def test_a_node_has_one_session_by_ebgp_with_the_router_of_its_rack(lab: labs.TestLab) -> None:
    for rack, nodes in RACKS.items():
        for node in nodes:
            (peer,) = lab.cli(node, "peers")["items"]
            assert (peer["name"], peer["address"], peer["state"]) == (f"tor-{rack}", ROUTERS[rack], "Established")
        summary = lab.run(f"tor-{rack}", "vtysh", "-c", "show bgp summary")
        assert all(f"*{ADDRESSES[node]}" in summary for node in nodes)


def test_the_other_rack_goes_by_the_router_and_the_neighbour_straight(
    lab: labs.TestLab, blocks: dict[str, str]
) -> None:
    for rack, nodes in RACKS.items():
        for node, other in itertools.product(nodes, NODES):
            if node == other:
                continue
            route = lab.kernel_routes(node)[blocks[other]]
            assert (route["gateway"], route["dev"]) == (ADDRESSES[other] if other in nodes else ROUTERS[rack], "eth1")
            (shown,) = lab.cli(node, "routes", blocks[other])["items"]
            (path,) = shown["paths"]
            assert path["owner"] == other
    (shown,) = lab.cli("a1", "routes", blocks["b1"])["items"]
    assert shown["paths"][0]["as_path"] == "65001 65000 65002 64611"


def test_the_only_path_that_is_refused_is_the_nodes_own(lab: labs.TestLab, blocks: dict[str, str]) -> None:
    refused = lab.cli("a1", "routes", "--rejected")["items"]
    assert [(route["prefix"], path["reason"]["code"]) for route in refused for path in route["paths"]] == [
        (blocks["a1"], "as-loop")
    ]


def test_pods_of_all_nodes_reach_each_other_over_three_routers_without_a_tunnel(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    for one, other in itertools.permutations(NODES, 2):
        assert ping(lab, one, pods[other]), f"{one} to {other}"
    far = lab.run("a1", "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "1", pods["b1"])
    assert "ttl=59" in far  # 64, less two nodes and three routers
    assert all("tunl0" not in lab.run(node, "ip", "route", "show", "proto", "117") for node in NODES)


def test_when_the_way_between_the_racks_breaks_each_rack_goes_on_alone(
    lab: labs.TestLab, blocks: dict[str, str], pods: dict[str, str]
) -> None:
    lab.run("spine", "ip", "link", "set", "eth2", "down")
    labs.wait_until(
        lambda: not {blocks["b1"], blocks["b2"]} & set(lab.kernel_routes("a1")),
        what="a1 has no route to the other rack",
    )
    assert ping(lab, "a1", pods["a2"])
    lab.run("spine", "ip", "link", "set", "eth2", "up")
    labs.wait_until(
        lambda: set(blocks.values()) <= set(lab.kernel_routes("a1")), within=40, what="a1 has the other rack again"
    )
    labs.wait_until(lambda: ping(lab, "a1", pods["b1"]), what="pods reach the other rack again")


def test_what_is_no_pods_prefix_is_refused(lab: labs.TestLab) -> None:
    words = ("configure terminal", f"ip prefix-list PODS permit {FOREIGN}", "router bgp 65001",
             "no bgp network import-check", "address-family ipv4 unicast", f"network {FOREIGN}")  # fmt: skip
    lab.run("tor-a", "vtysh", *(word for line in words for word in ("-c", line)))

    def refused() -> bool:
        items = lab.cli("a1", "routes", "--rejected")["items"]
        return any(
            route["prefix"] == FOREIGN and path["reason"]["code"] == "outside-pools"
            for route in items
            for path in route["paths"]
        )

    labs.wait_until(refused, what=f"a1 refuses {FOREIGN}")
    assert FOREIGN not in lab.kernel_routes("a1")


def test_routes_by_a_router_whose_software_died_stay_and_so_does_traffic(
    lab: labs.TestLab, blocks: dict[str, str], pods: dict[str, str]
) -> None:
    (tor,) = (one for one in lab_api.status(lab.topology) if one.name == "tor-a")
    assert tor.pid is not None
    os.kill(tor.pid, 9)
    labs.wait_until(lambda: "tor-a" not in lab.established("a1"), what="a1 has lost its session")
    assert set(blocks.values()) <= set(lab.kernel_routes("a1"))
    assert ping(lab, "a1", pods["b1"])
    (shown,) = lab.cli("a1", "routes", blocks["b1"])["items"]
    assert shown["paths"][0]["stale"]
