"""A running cluster gets a pool of IPv6: nothing is interrupted, and who is attached from then on has both families."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

NODES = ("n1", "n2")
CLUSTER: dict[str, Any] = {
    "nodes": [
        {"name": name, "address": f"192.0.2.{name[1]}/24", "address6": f"2001:db8::{name[1]}/64"} for name in NODES
    ],
    "pools": [{"cidr": "10.244.0.0/16"}],
}
MORE = {**CLUSTER, "pools": [*CLUSTER["pools"], {"cidr": "fd00:10:244::/112"}]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    directory = tmp_path_factory.mktemp("added")
    hosts = {}
    for name in NODES:
        hosts[name] = labs.node_with_files(directory, name, f"192.0.2.{name[1]}/24", yaml.safe_dump(CLUSTER))
        hosts[name]["exec"].append(f"ip address add 2001:db8::{name[1]}/64 dev eth1 nodad")
    with labs.running(directory, labs.one_ethernet(f"da{os.getpid()}", hosts), files={}) as running:
        running.wait_healthy(*NODES)
        yield running


def test_an_ipv6_pool_is_added_and_taken_away_while_pods_of_before_go_on(lab: labs.TestLab, tmp_path: Path) -> None:
    old = {node: lab.pod(node, "pod") for node in NODES}
    flood = faults.Flood(lab, tmp_path, ())
    flood.start("n1", old["n2"])

    for node in NODES:
        (lab.topology.parent / node / "more.yaml").write_text(yaml.safe_dump(MORE))
        lab.run(node, "calicopy", "apply", "-f", "/etc/calicopy/more.yaml")
    new = {}
    for node in NODES:
        new[node] = lab.attach(node, "new")
        assert len(new[node]) == 2
        # Who was there keeps what it has.
        assert lab.cli(node, "workload", "attach", "pod", "pod")["addresses"] == [old[node]]
    labs.wait_until(
        lambda: "2001:db8::2" in {route.get("gateway") for route in lab.kernel_routes("n1", ipv6=True).values()},
        what="n1 routes n2's block",
    )
    for address in new["n2"]:
        ping = ("ip", "netns", "exec", "new", "ping", "-c", "3", "-i", "0.1", "-W", "1", address)
        assert " 0% packet loss" in lab.run("n1", *ping)

    lab.wait_healthy(*NODES)
    assert flood.stop() == (0, [])

    # The pool is taken away: its block stays until the last address is given back.
    (lab.topology.parent / "n2" / "less.yaml").write_text(yaml.safe_dump(CLUSTER))
    lab.run("n2", "calicopy", "apply", "-f", "/etc/calicopy/less.yaml")
    states = {one["cidr"]: one["state"] for one in lab.cli("n2", "ipam", "show", "--blocks")["items"]
              if one["node"] == "n2"}
    assert sorted(states.values()) == ["confirmed", "retiring"]
    lab.run("n2", "calicopy", "workload", "detach", "new")
    labs.wait_until(
        lambda: {one["state"] for one in lab.cli("n2", "ipam", "show", "--blocks")["items"] if one["node"] == "n2"}
        == {"confirmed"},
        what="the block of IPv6 is given up",
    )
    assert len(lab.cli("n2", "workload", "attach", "new", "new")["addresses"]) == 1
