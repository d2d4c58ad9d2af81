"""A block of each family that two nodes own, since their files differ: the loser keeps its pod reachable."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

CLUSTER: dict[str, Any] = {
    "nodes": [
        {"name": f"n{number}", "address": f"192.0.2.{number}/24", "address6": f"2001:db8::{number}/64"}
        for number in (1, 2)
    ],
    "pools": [{"cidr": "10.244.0.0/16"}, {"cidr": "fd00:10:244::/112"}],
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    directory = tmp_path_factory.mktemp("two-owners")
    hosts = {}
    for name in ("n1", "n2"):
        hosts[name] = labs.node_with_files(directory, name, f"192.0.2.{name[1]}/24", yaml.safe_dump(CLUSTER))
        hosts[name]["exec"].append(f"ip address add 2001:db8::{name[1]}/64 dev eth1 nodad")
    with labs.running(directory, labs.one_ethernet(f"dc{os.getpid()}", hosts), files={}) as running:
        running.wait_healthy("n1", "n2")
        yield running


def blocks(lab: labs.TestLab, node: str, state: str) -> set[str]:
    shown = lab.cli(node, "ipam", "show", "--blocks")["items"]
    return {one["cidr"] for one in shown if one["node"] == node and one["state"] == state}


def test_the_loser_of_blocks_of_both_families_announces_its_pods_address_by_address(lab: labs.TestLab) -> None:
    lab.attach("n1", "pod")
    addresses = lab.attach("n2", "pod")
    contested = blocks(lab, "n2", "confirmed")
    assert len(contested) == 2

    pinned = {**CLUSTER, "nodes": [{**CLUSTER["nodes"][0], "blocks": sorted(contested)}, CLUSTER["nodes"][1]]}
    file = lab.topology.parent / "n1" / "new.yaml"
    file.write_text(yaml.safe_dump(pinned))
    lab.run("n1", "calicopy", "apply", "-f", "/etc/calicopy/new.yaml")

    labs.wait_until(lambda: blocks(lab, "n2", "lost") == contested, what="n2 lost both to the lower router id")
    hosts = [f"{addresses[0]}/32", f"{addresses[1]}/128"]
    told = lab.cli("n2", "routes", "--advertised", "n1")["items"]
    assert set(hosts) <= {route["prefix"] for route in told}
    for number, host in enumerate(hosts):
        labs.wait_until(
            lambda number=number, host=host: host in lab.kernel_routes("n1", ipv6=number == 1), what=f"n1 routes {host}"
        )
        words = ("ip", "netns", "exec", "pod", "ping", "-c", "2", "-i", "0.1", "-W", "1", addresses[number])
        assert " 0% packet loss" in lab.run("n1", *words)
    held = json.loads(lab.run("n2", "calicopy", "ipam", "show", "--handle", "workload:pod", "-o", "json"))["items"]
    assert [one["address"] for one in held] == addresses

    lab.run("n2", "calicopy", "workload", "detach", "pod")
    labs.wait_until(
        lambda: not set(hosts) & {*lab.kernel_routes("n1"), *lab.kernel_routes("n1", ipv6=True)},
        what="with the last address the lost blocks are gone",
    )
    assert not blocks(lab, "n2", "lost")
    again = lab.cli("n2", "workload", "attach", "pod", "pod")["addresses"]
    assert len(again) == 2
    assert not set(again) & set(addresses)
