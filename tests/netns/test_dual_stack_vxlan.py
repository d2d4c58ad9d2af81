"""IPv6 of pods through VXLAN, over nodes with both families (the outer header is IPv4) and over IPv6 alone."""
from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

NODES = ("n1", "n2")
MTU = {"both": 1450, "six": 1430}  # of 1500: outer IPv4 or IPv6, UDP, VXLAN, inner Ethernet


def cluster(kind: str, encapsulation: str) -> dict[str, Any]:
    """The file: nodes with both families, or with IPv6 alone."""
    nodes = [{"name": name, "address6": f"2001:db8::{name[1]}/64", "router_id": f"192.0.2.{name[1]}"} for name in NODES]
    pools = [{"cidr": "fd00:10:244::/112", "encapsulation": encapsulation}]
    if kind == "both":
        nodes = [{**node, "address": f"192.0.2.{node['name'][1]}/24"} for node in nodes]
        pools.append({"cidr": "10.244.0.0/16", "encapsulation": encapsulation})
    return {"nodes": nodes, "pools": pools}


@pytest.fixture(scope="module", params=["both", "six"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def lab(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    directory = tmp_path_factory.mktemp("vx")
    hosts = {}
    for name in NODES:
        text = yaml.safe_dump(cluster(kind, "none"))
        hosts[name] = labs.node_with_files(directory, name, f"2001:db8::{name[1]}/64", text)
        hosts[name]["exec"].append("ip link set eth1 mtu 1500")
        if kind == "both":
            hosts[name]["exec"].append(f"ip address add 192.0.2.{name[1]}/24 dev eth1")
    with labs.running(directory, labs.one_ethernet(f"vx{kind}{os.getpid()}", hosts), files={}) as running:
        running.wait_healthy(*NODES)
        yield running


@pytest.fixture(scope="module")
def pods(lab: labs.TestLab) -> dict[str, list[str]]:
    """Node -> addresses of its pod, which was attached while the pools had no encapsulation."""
    return {node: lab.attach(node, "pod") for node in NODES}


def mtus(lab: labs.TestLab, node: str) -> set[int]:
    """What the agent says, and what both ends of the pod's pair have."""
    (workload,) = lab.cli(node, "workload", "list")["items"]
    shown = [lab.run(node, "ip", "-j", "link", "show", workload["host_interface"]),
             lab.run(node, "ip", "netns", "exec", "pod", "ip", "-j", "link", "show", "eth0")]
    return {workload["mtu"], *(json.loads(text)[0]["mtu"] for text in shown)}


def switch(lab: labs.TestLab, kind: str, encapsulation: str) -> None:
    for name in NODES:
        (lab.topology.parent / name / "new.yaml").write_text(yaml.safe_dump(cluster(kind, encapsulation)))
        done = lab.try_run(name, "calicopy", "apply", "-f", "/etc/calicopy/new.yaml")
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    device = "calivx0" if encapsulation == "vxlan" else "eth1"
    for name in NODES:
        labs.wait_until(
            lambda name=name: device in {one.get("dev") for one in lab.kernel_routes(name, ipv6=True).values()},
            what=f"{name} uses {device}",
        )


def lost(lab: labs.TestLab, node: str, address: str, *words: str) -> int:
    """How many of a pod's pings got no answer."""
    words = ("ip", "netns", "exec", "pod", "ping", "-i", "0.1", "-W", "1", *words, address)
    return labs.lost(lab.try_run(node, *words).stdout)


def outer_packets(lab: labs.TestLab, node: str) -> int:
    """How many VXLAN packets have come in."""
    counted = re.search(r"counter packets (\d+)", lab.run(node, "nft", "list", "table", "inet", "seen"))
    assert counted
    return int(counted[1])


def test_a_workload_follows_its_pool_to_vxlan_in_both_families(
    lab: labs.TestLab, pods: dict[str, list[str]], kind: str
) -> None:
    assert {node: mtus(lab, node) for node in NODES} == {node: {1500} for node in NODES}
    outer = "ipv4" if kind == "both" else "ipv6"
    rule = f"type filter hook prerouting priority -300; meta nfproto {outer} udp dport 4789 counter;"
    lab.run("n2", "nft", f"table inet seen {{ chain seen {{ {rule} }}; }}")
    switch(lab, kind, "vxlan")
    for node in NODES:
        labs.wait_until(lambda node=node: mtus(lab, node) == {MTU[kind]}, within=10, what=f"{node}: the MTU follows")
    for address in pods["n2"]:
        before = outer_packets(lab, "n2")
        assert lost(lab, "n1", address, "-c", "3") == 0
        assert outer_packets(lab, "n2") >= before + 3
        largest = str(MTU[kind] - (48 if ":" in address else 28))
        assert lost(lab, "n1", address, "-c", "2", "-M", "do", "-s", largest) == 0
    lab.wait_healthy(*NODES)


def test_a_stream_of_ipv6_runs_through_it(lab: labs.TestLab, pods: dict[str, list[str]], tmp_path: Path) -> None:
    address = next(each for each in pods["n2"] if ":" in each)
    lab.spawn("n2", "ip", "netns", "exec", "pod", "iperf3", "-s", "-1", "-B", address, output=tmp_path / "server")
    words = ("ip", "netns", "exec", "pod", "iperf3", "-c", address, "-t", "1", "-J")
    ended = labs.wait_until(lambda: json.loads(lab.try_run("n1", *words).stdout)["end"], what="a stream runs")
    assert ended["sum_received"]["bytes"] > 1_000_000


def test_the_host_itself_reaches_pods_through_it(lab: labs.TestLab, pods: dict[str, list[str]]) -> None:
    for address in pods["n2"]:
        assert " 0% packet loss" in lab.run("n1", "ping", "-c", "2", "-i", "0.1", "-W", "1", address)


def test_a_killed_agent_costs_no_packet_and_changes_no_route(
    lab: labs.TestLab, pods: dict[str, list[str]], tmp_path: Path
) -> None:
    address = next(each for each in pods["n2"] if ":" in each)
    flood, monitor = tmp_path / "ping", tmp_path / "monitor"
    labs.wait_until(  # the direct ways of before the switch are no route's any more, and go some 10 s later
        lambda: "dev eth1" not in lab.run("n1", "ip", "nexthop", "show", "proto", "117"),
        within=30, what="nexthop objects that no route uses are gone",
    )
    watching = lab.spawn("n1", "ip", "monitor", "route", "nexthop", "link", output=monitor)
    pinging = lab.spawn(
        "n1", "ip", "netns", "exec", "pod", "ping", "-i", "0.01", "-w", "6", address, output=flood
    )
    labs.wait_until(lambda: flood.exists() and flood.read_text().count("bytes from") > 20, what="the flood runs")
    for node in NODES:
        lab.restart(node, "calicopy", "agent")
    lab.wait_healthy(*NODES)
    assert pinging.wait(timeout=30) == 0
    watching.terminate()
    watching.wait(timeout=10)
    assert " 0% packet loss" in flood.read_text()
    assert [line for line in monitor.read_text().splitlines() if "proto 117" in line or "calivx0" in line] == []


def test_and_back_again(lab: labs.TestLab, pods: dict[str, list[str]], kind: str) -> None:
    switch(lab, kind, "none")
    for node in NODES:
        labs.wait_until(lambda node=node: mtus(lab, node) == {1500}, within=10, what=f"{node}: the MTU follows")
    for address in pods["n2"]:
        assert lost(lab, "n1", address, "-c", "2", "-M", "do", "-s", "1452") == 0
