"""A cluster that wants udp on a node that was not given /dev/net/tun: it says so, and what needs no tunnel goes on."""
from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

CLUSTER = {
    "nodes": [
        {"name": f"n{number}", "address": f"192.0.2.{number}/24",
         "blocks": [f"10.244.0.{64 * number}/26", f"10.245.0.{64 * number}/26"]}
        for number in (1, 2)
    ],
    "pools": [
        {"name": "plain", "cidr": "10.244.0.0/16"},
        {"name": "udp", "cidr": "10.245.0.0/16", "encapsulation": "udp"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    hosts = {name: labs.node(f"192.0.2.{name[1]}/24") for name in ("n1", "n2")}
    hosts["n1"]["exec"].insert(0, "mount -t tmpfs none /dev/net")
    files = {"cluster.yaml": yaml.safe_dump(CLUSTER)}
    topology = labs.one_ethernet(f"nt{os.getpid()}", hosts)
    with labs.running(tmp_path_factory.mktemp("tun"), topology, files=files) as running:
        running.wait_established("n1", "n2")
        running.wait_healthy("n2")
        yield running


def test_the_status_says_what_is_missing_and_the_routes_why_they_are_not_there(lab: labs.TestLab) -> None:
    def problem() -> dict[str, Any] | None:
        status = lab.status("n1") or {"problems": []}
        return next((one for one in status["problems"] if one["component"] == "tunnel"), None)

    found = labs.wait_until(problem, what="the tunnel's problem")
    assert found["object"] == "caliudp0"
    assert "there is no /dev/net/tun: give it to the container" in found["reason"]["message"]
    routes = {one["prefix"]: one for one in lab.cli("n1", "routes")["items"]}
    assert routes["10.245.0.128/26"]["kernel"]["reason"]["code"] == "tunnel-unavailable"
    assert "10.244.0.128/26" in lab.kernel_routes("n1")


def test_it_comes_up_once_the_device_file_is_there(lab: labs.TestLab) -> None:
    lab.run("n1", "umount", "/dev/net")
    lab.wait_healthy("n1", within=60)
    assert "10.245.0.128/26" in lab.kernel_routes("n1")
