"""Nodes with IPv6 alone, and VXLAN between them."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

NODES = {"n1": "2001:db8::1/64", "n2": "2001:db8::2/64"}
CLUSTER = {
    "nodes": [
        {"name": name, "address6": address, "router_id": f"192.0.2.{name[1]}"} for name, address in NODES.items()
    ],
    "pools": [{"cidr": "fd00:10:244::/64", "encapsulation": "vxlan"}],
}
IPV6 = {"net.ipv6.conf.all.forwarding": 1, "net.ipv6.conf.default.accept_dad": 0}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    topology = labs.one_ethernet(
        f"v6x{os.getpid()}", {name: labs.node(address, sysctls=IPV6) for name, address in NODES.items()}
    )
    files = {"cluster.yaml": yaml.safe_dump(CLUSTER)}
    with labs.running(tmp_path_factory.mktemp("lab"), topology, files=files, mgmt=False) as made:
        made.wait_healthy(*NODES, within=60)
        yield made


def test_pods_reach_each_other_through_vxlan_over_ipv6(lab: labs.TestLab) -> None:
    pods = {node: lab.pod(node, "pod") for node in NODES}
    (link,) = json.loads(lab.run("n1", "ip", "-j", "-d", "link", "show", "calivx0"))
    (way,) = json.loads(lab.run("n1", "ip", "-j", "link", "show", "eth1"))
    assert link["linkinfo"]["info_data"]["local6"] == "2001:db8::1"
    assert link["mtu"] == way["mtu"] - 70
    size = str(link["mtu"] - 48)  # the largest that fits
    words = ("ip", "netns", "exec", "pod", "ping", "-c", "2", "-i", "0.1", "-W", "1", "-s", size, pods["n2"])
    labs.wait_until(lambda: " 0% packet loss" in lab.try_run("n1", *words).stdout, what="n1 reaches n2")
    assert "dev calivx0" in lab.run("n1", "ip", "route", "get", pods["n2"])
    (entry,) = json.loads(lab.run("n1", "bridge", "-j", "fdb", "show", "dev", "calivx0"))
    assert entry["dst"] == "2001:db8::2"
    assert entry["mac"].startswith("06:")
