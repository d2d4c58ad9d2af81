"""A node that starts without its IPv6 address: IPv4 goes on without it, and IPv6 follows when the address comes."""
from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

NODES = ("n1", "n2")
CLUSTER: dict[str, Any] = {
    "nodes": [
        *({"name": name, "address": f"192.0.2.{name[1]}/24", "address6": f"2001:db8::{name[1]}/64"} for name in NODES),
        {"name": "n3", "address6": "2001:db8::3/64", "router_id": "192.0.2.3", "labels": {"six": "only"}},
    ],
    "pools": [{"cidr": "10.244.0.0/16"}, {"cidr": "fd00:10:244::/112"}],
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    hosts = {name: labs.node(f"192.0.2.{name[1]}/24") for name in NODES}
    hosts["n1"]["exec"].append("ip address add 2001:db8::1/64 dev eth1 nodad")
    hosts["n3"] = labs.node("2001:db8::3/64")
    files = {"cluster.yaml": yaml.safe_dump(CLUSTER)}
    topology = labs.one_ethernet(f"of{os.getpid()}", hosts)
    with labs.running(tmp_path_factory.mktemp("one"), topology, files=files) as running:
        yield running


def test_a_missing_ipv6_address_holds_up_what_needs_it_alone(lab: labs.TestLab) -> None:
    lab.wait_established("n1", "n2", "n3")
    lab.wait_established("n2", "n1")
    lab.attach("n1", "pod")
    four, six = lab.attach("n2", "pod")

    def ping(address: str) -> bool:
        words = ("ip", "netns", "exec", "pod", "ping", "-c", "2", "-i", "0.1", "-W", "1", address)
        return lab.try_run("n1", *words).returncode == 0

    labs.wait_until(lambda: ping(four), what="IPv4 works")
    (problem,) = (one for one in lab.status("n2")["problems"] if "on no interface" in one["reason"]["message"])
    assert problem["object"] == "2001:db8::2"
    assert "n3" not in lab.established("n2")
    (pid,) = lab.pids("n2", "calicopy.speaker.unit")

    lab.run("n2", "ip", "address", "add", "2001:db8::2/64", "dev", "eth1")
    labs.wait_until(lambda: ping(six), what="IPv6 works")
    lab.wait_established("n2", "n1", "n3")
    lab.wait_healthy("n1", "n2")
    (peer,) = (one for one in lab.cli("n1", "peers")["items"] if one["name"] == "n2")
    assert not peer.get("sessions_lost", 0)
    assert lab.pids("n2", "calicopy.speaker.unit") == [pid]
