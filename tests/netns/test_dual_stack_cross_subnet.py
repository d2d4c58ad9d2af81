"""Pools of both families with VXLAN in mode cross-subnet: direct on the link, through the tunnel behind the router."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

PLACES = {"n1": "a", "n2": "a", "n3": "b"}
"""The subnet of each node: 192.0.2.0/25 and 2001:db8:a::/64, or 192.0.2.128/25 and 2001:db8:b::/64."""


def four(name: str) -> str:
    return f"192.0.2.{int(name[1]) + (0 if PLACES[name] == 'a' else 128)}"


def six(name: str) -> str:
    return f"2001:db8:{PLACES[name]}::{name[1]}"


CLUSTER = {
    "nodes": [{"name": name, "address": f"{four(name)}/25", "address6": f"{six(name)}/64"} for name in PLACES],
    "pools": [
        {"cidr": cidr, "encapsulation": "vxlan", "mode": "cross-subnet"}
        for cidr in ("10.244.0.0/16", "fd00:10:244::/112")
    ],
}


def host(name: str) -> dict[str, Any]:
    routers = {"a": ("192.0.2.126", "2001:db8:a::ff"), "b": ("192.0.2.254", "2001:db8:b::ff")}[PLACES[name]]
    node = labs.node(f"{four(name)}/25")
    node["exec"] += [
        f"ip address add {six(name)}/64 dev eth1 nodad",
        f"ip route add 192.0.2.0/24 via {routers[0]}",
        f"ip route add 2001:db8::/32 via {routers[1]}",
    ]
    return node


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    router = labs.router("192.0.2.126/25", "sleep infinity")
    router["exec"] += [
        "ip address add 2001:db8:a::ff/64 dev eth1 nodad",
        "ip address add 192.0.2.254/25 dev eth2",
        "ip address add 2001:db8:b::ff/64 dev eth2 nodad",
    ]
    topology = labs.one_ethernet(f"cs{os.getpid()}", {"n1": host("n1"), "n2": host("n2"), "r": router})
    topology["topology"]["nodes"]["n3"] = host("n3")
    topology["topology"]["links"].append({"endpoints": ["r:eth2", "n3:eth1"]})
    files = {"cluster.yaml": yaml.safe_dump(CLUSTER)}
    with labs.running(tmp_path_factory.mktemp("cross6"), topology, files=files, mgmt=False) as running:
        running.wait_healthy(*PLACES)
        yield running


def test_the_way_to_a_block_is_direct_on_the_link_and_tunnelled_behind_the_router(lab: labs.TestLab) -> None:
    pods = {name: lab.attach(name, "pod") for name in PLACES}
    for name, place in PLACES.items():
        for other in PLACES.keys() - {name}:
            for address in pods[other]:
                got = lab.run(name, "ip", "route", "get", address)
                assert ("dev eth1" if PLACES[other] == place else "dev calivx0") in got, (name, other, got)
                words = ("ip", "netns", "exec", "pod", "ping", "-c", "2", "-i", "0.1", "-W", "1", address)
                assert " 0% packet loss" in lab.run(name, *words)
    explained = lab.run("n1", "calicopy", "explain", pods["n3"][1])
    assert re.search(r"via fe80::\S+ dev calivx0 onlink", explained), explained
    lab.wait_healthy(*PLACES)
