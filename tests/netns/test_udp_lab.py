"""Encapsulation udp between two nodes: pods reach each other through the forwarder, and what happens when it dies."""
from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

DEVICE = "caliudp0"
FORWARDER = ("calicopy.udp.unit",)
POD = ("ip", "netns", "exec", "pod")


def cluster(encapsulation: str = "udp", decapsulate: tuple[str, ...] = ("udp",)) -> str:
    nodes = [
        {"name": f"n{number}", "address": f"192.0.2.{number}/24", "address6": f"2001:db8::{number}/64"}
        for number in (1, 2)
    ]
    pools = [{"cidr": cidr, "encapsulation": encapsulation} for cidr in ("10.244.0.0/16", "fd00:10:244::/112")]
    return yaml.safe_dump({"nodes": nodes, "pools": pools, "encapsulation": {"decapsulate": list(decapsulate)}})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    directory = tmp_path_factory.mktemp("udp")
    nodes = {name: labs.node_with_files(directory, name, f"192.0.2.{name[1]}/24", cluster()) for name in ("n1", "n2")}
    for name, node in nodes.items():
        node["sysctls"] = {"net.ipv4.nexthop_compat_mode": 0}
        node["exec"].append(f"ip address add 2001:db8::{name[1]}/64 dev eth1 nodad")
    with labs.running(directory, labs.one_ethernet(f"udp{os.getpid()}", nodes), files={}) as running:
        running.wait_healthy()
        yield running


@pytest.fixture(scope="module")
def addresses(lab: labs.TestLab) -> dict[str, list[str]]:
    """Node -> addresses of its pod, IPv4 first."""
    found = {node: lab.attach(node, "pod") for node in ("n1", "n2")}
    for address in found["n2"]:
        ping(lab, address, within=10)
    return found


@pytest.fixture(scope="module")
def pods(addresses: dict[str, list[str]]) -> dict[str, str]:
    """Node -> the IPv4 address of its pod."""
    return {node: found[0] for node, found in addresses.items()}


def ping(lab: labs.TestLab, address: str, *, within: float = 5.0) -> None:
    line = (*POD, "ping", "-c", "1", "-W", "1", address)
    labs.wait_until(lambda: lab.try_run("n1", *line).returncode == 0, within=within, what=f"{address} answers")


def counters(lab: labs.TestLab, node: str) -> dict[str, int]:
    """The forwarder's, as `status` shows them."""
    shown = {name: int(value) for name, value in lab.status(node)["counters"].items()}
    return {name.removeprefix("udp."): value for name, value in shown.items() if name.startswith("udp.")}


def link(lab: labs.TestLab, node: str) -> dict[str, Any]:
    (found,) = json.loads(lab.run(node, "ip", "-j", "-d", "link", "show", DEVICE))
    return dict(found)


def test_the_routes_lead_through_the_device_and_pods_reach_each_other(
    lab: labs.TestLab, pods: dict[str, str], addresses: dict[str, list[str]]
) -> None:
    shown = lab.run("n1", "ip", "route", "get", pods["n2"])
    assert f"via 192.0.2.2 dev {DEVICE}" in shown, shown
    for address in addresses["n2"]:
        line = (*POD, "ping", "-c", "20", "-i", "0.01", "-W", "1", "-s", "1400", address)
        assert " 0% packet loss" in lab.run("n1", *line)
    (underlay,) = json.loads(lab.run("n1", "ip", "-j", "link", "show", "eth1"))
    assert link(lab, "n1")["mtu"] == underlay["mtu"] - 28
    labs.wait_until(lambda: counters(lab, "n1").get("in_packets", 0) >= 40, what="the packets are counted")
    assert counters(lab, "n1")["in_foreign"] == 0


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_whole_tcp_stream_goes_through(
    lab: labs.TestLab, addresses: dict[str, list[str]], tmp_path: Path, family: int
) -> None:
    lab.spawn("n2", *POD, "iperf3", "-s", "-1", output=tmp_path / "server")

    def run() -> Any:
        done = lab.try_run("n1", *POD, "iperf3", "-J", "-t", "2", "-c", addresses["n2"][family])
        return json.loads(done.stdout)["end"].get("sum_received")  # the server may not listen yet

    received = labs.wait_until(run, what="iperf3 has run")
    assert received["bits_per_second"] > 50e6


def test_datagrams_of_a_host_that_is_no_node_do_not_even_reach_the_forwarder(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    def dropped() -> int:
        return int(lab.status("n2")["counters"]["nft.dropped_udp"])

    before = dropped()
    lab.run("n1", "ip", "address", "add", "192.0.2.99/24", "dev", "eth1")
    try:
        script = (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('192.0.2.99', 8285)); "
            "[s.sendto(bytes(40), ('192.0.2.2', 8285)) for _ in range(5)]"
        )
        lab.run("n1", "python3", "-c", script)
        labs.wait_until(lambda: dropped() == before + 5, what="they are counted as dropped")
    finally:
        lab.run("n1", "ip", "address", "del", "192.0.2.99/24", "dev", "eth1")
    assert counters(lab, "n2")["in_foreign"] == 0


def test_a_killed_forwarder_is_back_within_half_a_second_and_the_routes_stay(
    lab: labs.TestLab, pods: dict[str, str], tmp_path: Path
) -> None:
    routes, before = lab.run("n1", "ip", "route"), lab.run("n1", "ip", "nexthop")
    monitor = lab.spawn("n1", "ip", "monitor", "route", "nexthop", output=tmp_path / "monitor")
    output = tmp_path / "ping"
    flood = lab.spawn("n1", *POD, "ping", "-D", "-i", "0.01", "-c", "300", "-W", "1", pods["n2"], output=output)
    labs.wait_until(lambda: output.read_text().count("bytes from") > 50, what="the flood runs")
    lab.kill("n1", *FORWARDER)
    assert flood.wait(30) in (0, 1)
    times = [float(line[1:].partition("]")[0]) for line in output.read_text().splitlines() if line.startswith("[")]
    gap = max(later - earlier for earlier, later in pairwise(times))
    assert gap < 0.5, output.read_text()
    assert lab.run("n1", "ip", "route") == routes
    assert lab.run("n1", "ip", "nexthop") == before
    monitor.kill()
    assert "10.244." not in (tmp_path / "monitor").read_text()


def test_agent_and_forwarder_killed_at_the_same_moment_leave_the_routes(
    lab: labs.TestLab, pods: dict[str, str], tmp_path: Path
) -> None:
    routes, before = lab.run("n1", "ip", "route"), lab.run("n1", "ip", "nexthop")
    monitor = lab.spawn("n1", "ip", "monitor", "link", "route", "nexthop", output=tmp_path / "monitor")
    labs.wait_until(lambda: lab.pids("n1", "ip monitor link"), what="the monitor runs")
    killed = [pid for words in (FORWARDER, ("calicopy", "agent")) for pid in lab.pids("n1", *words)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    labs.wait_until(lambda: set(lab.pids("n1", *FORWARDER)) - set(killed), within=5, what="the forwarder is back")
    ping(lab, pods["n2"], within=5)
    assert lab.run("n1", "ip", "route") == routes
    lab.wait_healthy("n1", within=60)
    monitor.kill()
    seen = (tmp_path / "monitor").read_text()
    assert f"{DEVICE}: <NO-CARRIER" not in seen
    assert "10.244." not in seen, "routes were taken away, or written anew"
    assert lab.run("n1", "ip", "nexthop") == before


def test_without_agent_and_speaker_the_forwarding_goes_on(lab: labs.TestLab, pods: dict[str, str]) -> None:
    forwarder = lab.pids("n1", *FORWARDER)
    stopped = [pid for words in (("calicopy", "agent"), ("calicopy.speaker",)) for pid in lab.pids("n1", *words)]
    assert stopped
    lab.kill("n1", "calicopy", "agent")
    lab.kill("n1", "calicopy.speaker")
    line = (*POD, "ping", "-c", "100", "-i", "0.01", "-W", "1", pods["n2"])
    assert " 0% packet loss" in lab.run("n1", *line)
    assert lab.pids("n1", *FORWARDER) == forwarder
    lab.wait_healthy(within=60)
    assert lab.pids("n1", *FORWARDER) == forwarder


def test_a_forwarder_that_hangs_is_a_problem_in_the_status(lab: labs.TestLab, pods: dict[str, str]) -> None:
    lab.kill("n1", *FORWARDER, number=signal.SIGSTOP)
    try:
        labs.wait_until(lambda: "forwarder does not run" in json.dumps(lab.status("n1")), what="the status says so")
    finally:
        lab.kill("n1", *FORWARDER, number=signal.SIGCONT)
    lab.wait_healthy("n1")


def test_a_device_that_is_deleted_is_made_again_with_its_routes(lab: labs.TestLab, pods: dict[str, str]) -> None:
    lab.run("n1", "ip", "link", "del", DEVICE)
    ping(lab, pods["n2"], within=15)
    lab.wait_healthy("n1")


def test_the_cluster_file_starts_and_ends_the_forwarder(lab: labs.TestLab, pods: dict[str, str]) -> None:
    def use(text: str) -> None:
        for node in ("n1", "n2"):
            (lab.topology.parent / node / "cluster.yaml").write_text(text)
            lab.kill(node, "calicopy", "agent", number=signal.SIGHUP)

    use(cluster("none", ("ipip",)))
    labs.wait_until(lambda: not lab.pids("n1", *FORWARDER), what="the forwarder ends")
    ping(lab, pods["n2"], within=15)
    assert DEVICE not in lab.run("n1", "ip", "route", "get", pods["n2"])
    use(cluster())
    labs.wait_until(lambda: lab.pids("n1", *FORWARDER), what="the forwarder is started")
    labs.wait_until(lambda: DEVICE in lab.run("n1", "ip", "route", "get", pods["n2"]), what="the route")
    ping(lab, pods["n2"], within=15)
