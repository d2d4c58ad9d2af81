"""A cluster that wants IPIP on kernels without it: what needs no tunnel goes on, and what does says why it cannot."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

DIRECT, TUNNELLED = "10.244.0", "10.245.0"
CLUSTER = {
    "nodes": [
        {"name": f"n{number}", "address": f"192.0.2.{number}/24",
         "blocks": [f"{DIRECT}.{64 * number}/26", f"{TUNNELLED}.{64 * number}/26"]}
        for number in (1, 2)
    ],
    "pools": [
        {"name": "near", "cidr": f"{DIRECT}.0/16", "encapsulation": "ipip", "mode": "cross-subnet"},
        {"name": "far", "cidr": f"{TUNNELLED}.0/16", "encapsulation": "ipip", "mode": "always"},
    ],
}  # fmt: skip


def host(number: int) -> dict[str, Any]:
    """A node whose kernel, if it has ipip, does not have it under the name that we look for."""
    node = labs.node(f"192.0.2.{number}/24")
    node["exec"] = ["sh -c 'ip link set tunl0 name elsewhere 2>/dev/null; true'", *node["exec"]]
    return node


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    topology = labs.one_ethernet(f"ni{os.getpid()}", {"n1": host(1), "n2": host(2)})
    directory = tmp_path_factory.mktemp("no-ipip")
    with labs.running(directory, topology, files={"cluster.yaml": yaml.safe_dump(CLUSTER)}) as running:
        running.wait_established("n1", "n2")
        running.wait_established("n2", "n1")
        yield running


def tunnel_problem(lab: labs.TestLab, node: str) -> dict[str, Any] | None:
    """The problem of the tunnel in `calicopy status`, once it is there."""
    status = lab.status(node) or {"problems": []}
    return next((one for one in status["problems"] if one["component"] == "tunnel"), None)


def test_the_status_names_the_tunnel_its_device_and_what_the_kernel_lacks(lab: labs.TestLab) -> None:
    problem = labs.wait_until(lambda: tunnel_problem(lab, "n1"), what="the tunnel's problem")
    assert problem["object"] == "tunl0"
    assert "ipip" in problem["reason"]["message"] or "tunl0 did not appear" in problem["reason"]["message"]
    tunnel = next(one for one in lab.status("n1")["tunnels"] if one["encapsulation"] == "ipip")
    (link,) = json.loads(lab.run("n1", "ip", "-j", "link", "show", "eth1"))
    assert (tunnel["device"], tunnel["up"], tunnel["mtu"]) == ("tunl0", False, link["mtu"] - 20)
    assert tunnel["error"] == problem["reason"]["message"]
    checked = lab.try_run("n1", "calicopy", "status", "--check")
    assert checked.returncode == 5
    assert f"tunnel tunl0: {tunnel['error']}" in checked.stdout


def test_pods_reach_each_other_where_no_tunnel_is_needed(lab: labs.TestLab) -> None:
    pods = {}
    for node in ("n1", "n2"):
        lab.run(node, "ip", "netns", "add", "pod")
        pods[node] = lab.cli(node, "workload", "attach", "pod", "pod", "--pool", "near")["addresses"][0]
    labs.wait_until(lambda: f"{DIRECT}.128/26" in lab.kernel_routes("n1"), what="the direct route")
    assert lab.kernel_routes("n1")[f"{DIRECT}.128/26"]["gateway"] == "192.0.2.2"
    ping = ("ip", "netns", "exec", "pod", "ping", "-c", "3", "-i", "0.1", "-W", "1", pods["n2"].partition("/")[0])
    assert " 0% packet loss" in lab.run("n1", *ping)


def test_a_block_that_needs_the_tunnel_is_not_routed_and_says_so(lab: labs.TestLab) -> None:
    def told() -> Any:
        routes = {one["prefix"]: one for one in lab.cli("n1", "routes")["items"]}
        return routes.get(f"{TUNNELLED}.128/26", {}).get("kernel", {}).get("reason")

    reason = labs.wait_until(told, what="the reason")
    assert reason["code"] == "tunnel-unavailable"
    assert f"{TUNNELLED}.128/26" not in lab.kernel_routes("n1")
    assert lab.run("n1", "ip", "route", "get", f"{TUNNELLED}.130").find("dev eth1") < 0
