"""A cluster without any IPv4: nodes, sessions, blocks and pods, with BIRD as the route reflector."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import faults
import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timeout(180)]

NODES = ("n1", "n2")
CLUSTER = {
    "nodes": [
        {"name": f"n{number}", "address6": f"2001:db8::{number}/64", "router_id": f"198.51.100.{number}"}
        for number in (1, 2)
    ],
    "pools": [{"name": "pods", "cidr": "fd00:10:244::/112", "nat_outgoing": True}],
    "bgp": {
        "mesh": False,
        "peers": [{"name": "reflector", "address": "2001:db8::9", "as": 64512, "trust_owner": True}],
    },
}
BIRD = """
log stderr all;
router id 198.51.100.9;
protocol device { scan time 1; }
protocol bgp clients {
  local 2001:db8::9 as 64512;
  neighbor range 2001:db8::/64 as 64512;
  dynamic name "node";
  passive yes;
  direct;
  rr client;
  hold time 9;
  graceful restart yes;
  ipv6 { import all; export where source = RTS_BGP; };
}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    hosts = {name: labs.node(f"2001:db8::{name[1]}/64") for name in NODES}
    reflector = labs.router(
        "2001:db8::9/64", "bird -f -c /etc/bird.conf -s /run/bird.ctl", binds=["bird.conf:/etc/bird.conf:ro"]
    )
    topology = labs.one_ethernet(f"six{os.getpid()}", {**hosts, "rr": reflector})
    files = {"cluster.yaml": yaml.safe_dump(CLUSTER), "bird.conf": BIRD}
    with labs.running(tmp_path_factory.mktemp("six"), topology, files=files) as running:
        running.wait_healthy(*NODES)
        yield running


@pytest.fixture(scope="module")
def pods(lab: labs.TestLab) -> dict[str, str]:
    return {node: lab.pod(node, "pod") for node in NODES}


def ping(lab: labs.TestLab, node: str, address: str) -> int:
    """From the node's pod; how many of three packets got no answer."""
    words = ("ip", "netns", "exec", "pod", "ping", "-c", "3", "-i", "0.1", "-W", "1", address)
    return labs.lost(lab.try_run(node, *words).stdout)


def test_blocks_come_over_ipv6_sessions_with_their_owners_and_pods_reach_each_other(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    for node, other in (("n1", "n2"), ("n2", "n1")):
        block = lab.block_of(other)
        (route,) = lab.cli(node, "routes", block)["items"]
        (path,) = route["paths"]
        assert (path["owner"], path["next_hop"]) == (other, f"2001:db8::{other[1]}")
        assert path["originator_id"] == f"198.51.100.{other[1]}"
        assert lab.kernel_routes(node, ipv6=True)[block]["gateway"] == f"2001:db8::{other[1]}"
        assert ping(lab, node, pods[other]) == 0
    table = lab.run("rr", "birdc", "-s", "/run/bird.ctl", "show", "route", "all")
    assert table.count("BGP.next_hop: 2001:db8::") == 2
    assert "fe80" not in table, "no link-local next hop is announced: reflectors pass it on to other links"


def test_what_leaves_the_pools_has_the_nodes_address(lab: labs.TestLab, pods: dict[str, str]) -> None:
    # The reflector has no route to pods: it can answer the node alone.
    assert lab.run("rr", "ip", "-6", "route", "show", "fd00:10:244::/112") == ""
    assert ping(lab, "n1", "2001:db8::9") == 0
    # Between pods nothing is translated.
    count = f"type filter hook input priority 0; ip6 saddr {pods['n1']} counter;"
    seen = f"table ip6 seen {{ chain input {{ {count} }}; }}"
    lab.run("n2", "ip", "netns", "exec", "pod", "nft", seen)
    assert ping(lab, "n1", pods["n2"]) == 0
    assert "counter packets 3 " in lab.run("n2", "ip", "netns", "exec", "pod", "nft", "list", "table", "ip6", "seen")


def test_a_killed_agent_costs_no_packet(lab: labs.TestLab, pods: dict[str, str], tmp_path: Path) -> None:
    flood = faults.Flood(lab, tmp_path, ())
    flood.start("n1", pods["n2"])
    lab.restart("n2", "calicopy", "agent")
    lab.wait_healthy("n2")
    assert flood.stop() == (0, [])
    (workload,) = lab.cli("n2", "workload", "list")["items"]
    assert (workload["addresses"], workload.get("problem", "")) == ([pods["n2"]], "")


def test_the_block_of_another_node_is_reserved_for_it(lab: labs.TestLab) -> None:
    block = lab.block_of("n1")
    reserved = lab.cli("n2", "ipam", "show", "--blocks")["items"]
    assert [one["cidr"] for one in reserved if one["node"] == "n1"] == [block]
