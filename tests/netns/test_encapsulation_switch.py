"""A pool is switched from one encapsulation to another on a running cluster, node after node, under a ping flood."""
from __future__ import annotations

import os
import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import labs
import pytest
from floods import Floods

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

NODES = ("n1", "n2", "n3")
DEVICES = {"none": "eth1", "vxlan": "calivx0"}
APART_S = 5.0
PINGS_A_SECOND = 100


def cluster(encapsulation: str) -> str:
    """The cluster file."""
    nodes = "".join(f"  - {{name: {name}, address: 192.0.2.{name[1]}/24}}\n" for name in NODES)
    return f"nodes:\n{nodes}pools:\n  - {{cidr: 10.244.0.0/16, encapsulation: {encapsulation}}}\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """Three nodes on one Ethernet, each with a directory of its own for its file."""
    directory = tmp_path_factory.mktemp("lab")
    plan = {name: labs.node_with_files(directory, name, f"192.0.2.{name[1]}/24", cluster("none")) for name in NODES}
    with labs.running(directory, labs.one_ethernet(f"es{os.getpid()}", plan), files={}, mgmt=False) as made:
        made.wait_healthy(*NODES, within=60)
        yield made


def devices(lab: labs.TestLab, node: str) -> set[str]:
    """The devices that routes to other nodes' blocks lead to, as the kernel decides for an address in each."""
    found = set()
    for other in NODES:
        if other != node:
            address = IPv4Network(lab.block_of(other))[9]
            words = lab.run(node, "ip", "route", "get", str(address)).split()
            found.add(words[words.index("dev") + 1])
    return found


def switch(lab: labs.TestLab, encapsulation: str) -> None:
    """The file reaches the nodes one after the other, 5 s apart."""
    for name in NODES:
        began = time.monotonic()
        (lab.topology.parent / name / "new.yaml").write_text(cluster(encapsulation))
        done = lab.try_run(name, "calicopy", "apply", "-f", "/etc/calicopy/new.yaml")
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        labs.wait_until(
            lambda name=name: devices(lab, name) == {DEVICES[encapsulation]}, what=f"{name} uses {encapsulation}"
        )
        labs.wait_until(lambda began=began: time.monotonic() - began >= APART_S, what="the next node's turn")


def test_from_none_to_vxlan_and_back_without_losing_a_second(lab: labs.TestLab, tmp_path: Path) -> None:
    pods = {name: lab.pod(name, "pod") for name in NODES}
    floods = Floods(lab, pods, tmp_path)
    for encapsulation in ("vxlan", "none"):
        switch(lab, encapsulation)
    lost = floods.stop()
    assert max(lost.values()) <= PINGS_A_SECOND, lost
    print({pair: count for pair, count in lost.items() if count})
    for name in NODES:
        assert lab.try_run(name, "calicopy", "status", "--check").returncode == 0
