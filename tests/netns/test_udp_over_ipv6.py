"""Encapsulation udp between nodes that have IPv6 alone: the outer header is IPv6."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

NODES = ("n1", "n2")
POD = ("ip", "netns", "exec", "pod")
MTU = 1500 - 48  # outer IPv6 and UDP


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    cluster = {
        "nodes": [
            {"name": name, "address6": f"2001:db8::{name[1]}/64", "router_id": f"192.0.2.{name[1]}"} for name in NODES
        ],
        "pools": [{"cidr": "fd00:10:244::/112", "encapsulation": "udp"}],
    }
    hosts = {name: labs.node(f"2001:db8::{name[1]}/64") for name in NODES}
    for host in hosts.values():
        host["exec"].append("ip link set eth1 mtu 1500")
    files = {"cluster.yaml": yaml.safe_dump(cluster)}
    topology = labs.one_ethernet(f"us{os.getpid()}", hosts)
    with labs.running(tmp_path_factory.mktemp("six"), topology, files=files) as running:
        running.wait_healthy(*NODES)
        yield running


def test_pods_reach_each_other_with_the_largest_packet_that_fits(lab: labs.TestLab) -> None:
    pods = {node: lab.pod(node, "pod") for node in NODES}
    line = (*POD, "ping", "-W", "1", "-i", "0.1", "-M", "do", "-c", "3", "-s", str(MTU - 48), pods["n2"])
    labs.wait_until(lambda: lab.try_run("n1", *line).returncode == 0, what="the pods reach each other")
    assert " 0% packet loss" in lab.run("n1", *line)
    (device,) = json.loads(lab.run("n1", "ip", "-j", "link", "show", "caliudp0"))
    assert device["mtu"] == MTU

    def counted(name: str) -> int:
        return int(lab.status("n2")["counters"].get(f"udp.{name}", 0))

    labs.wait_until(lambda: counted("in_packets") >= 6, what="the packets are counted")
    assert counted("out_too_big") == 0
