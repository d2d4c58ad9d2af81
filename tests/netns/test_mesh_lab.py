"""The mesh of containerlab/mesh, whole: sessions, routes, pods, and what happens when processes die."""
from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

NODES = ("n1", "n2", "n3")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """The lab, with a pod on each node."""
    with labs.existing(labs.copy_of("mesh", tmp_path_factory.mktemp("lab"))) as lab:
        lab.wait_healthy(*NODES)
        yield lab


@pytest.fixture(scope="module")
def pods(mesh: labs.TestLab) -> dict[str, str]:
    """Node -> address of its pod, which is named `pod`."""
    return {node: mesh.pod(node, "pod") for node in NODES}


def uptime() -> float:
    """Seconds since the machine started."""
    return float(Path("/proc/uptime").read_text().split()[0])


def test_every_session_is_established_and_the_kernel_has_what_the_cli_shows(mesh: labs.TestLab) -> None:
    blocks = {node: mesh.block_of(node) for node in NODES}
    assert len(set(blocks.values())) == 3

    for node in NODES:
        assert mesh.established(node) == set(NODES) - {node}
        routes = labs.wait_until(
            lambda node=node: (held := mesh.kernel_routes(node)) and set(held) == set(blocks.values()) and held,
            what=f"{node} has a route per block",
        )
        shown = {route["prefix"]: route["kernel"]["text"] for route in mesh.cli(node, "routes", "--installed")["items"]}
        assert set(shown) == set(routes)
        for other, block in blocks.items():
            if other == node:
                assert routes[block]["type"] == "blackhole"
                assert shown[block] == "blackhole"
            else:
                assert shown[block] == f"via {routes[block]['gateway']} dev eth1"


def test_pods_on_different_nodes_ping_each_other(mesh: labs.TestLab, pods: dict[str, str]) -> None:
    for node in NODES:
        for other, address in pods.items():
            if other != node:
                ping = ("ping", "-c", "3", "-i", "0.1", "-W", "1", address)
                assert labs.lost(mesh.run(node, "ip", "netns", "exec", "pod", *ping)) == 0


def test_a_packet_to_an_unused_address_of_a_block_is_dropped_not_routed_back(
    mesh: labs.TestLab, pods: dict[str, str]
) -> None:
    hosts = ip_network(mesh.block_of("n2"))
    free = next(str(host) for host in reversed(list(hosts)) if str(host) not in pods.values())
    done = mesh.try_run("n1", "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "1", free)
    assert done.returncode != 0


@pytest.mark.parametrize(
    "victims",
    [
        pytest.param([("calicopy", "agent")], id="agent"),
        pytest.param([("speaker/bridge.py",)], id="bridge"),
        pytest.param([("calicopy.speaker.unit",)], id="exabgp"),
        pytest.param([("calicopy", "agent"), ("calicopy.speaker.unit",)], id="agent-and-exabgp"),
    ],
)
def test_kill_under_a_ping_flood_loses_no_packet_and_changes_no_route(
    mesh: labs.TestLab, pods: dict[str, str], tmp_path: Path, victims: list[tuple[str, ...]]
) -> None:
    monitors = {node: tmp_path / f"monitor-{node}" for node in NODES}
    watching = [mesh.spawn(node, "ip", "monitor", "route", output=path) for node, path in monitors.items()]
    flood = tmp_path / "ping"
    pinging = mesh.spawn("n1", "ip", "netns", "exec", "pod", "ping", "-i", "0.01", "-w", "8", pods["n2"], output=flood)
    labs.wait_until(lambda: flood.exists() and flood.read_text().count("bytes from") > 20, what="the flood runs")

    before = {words: mesh.pids("n2", *words) for words in victims}
    for words in victims:
        mesh.kill("n2", *words)
    for words, pids in before.items():
        mesh.wait_others("n2", *words, before=pids)
    mesh.wait_healthy("n2", within=30)
    for node in ("n1", "n3"):
        mesh.wait_established(node, "n2")

    assert pinging.wait(timeout=30) == 0
    for process in watching:
        process.terminate()
        process.wait(timeout=10)
    assert labs.lost(flood.read_text()) == 0
    changes = {
        node: [line for line in path.read_text().splitlines() if "proto 117" in line or "Deleted" in line]
        for node, path in monitors.items()
    }
    assert changes == {node: [] for node in NODES}


def test_a_stopped_agent_does_not_cost_the_sessions(mesh: labs.TestLab) -> None:
    lost = {peer["name"]: peer.get("sessions_lost", 0) for peer in mesh.cli("n1", "peers")["items"]}
    began = uptime()
    mesh.kill("n2", "calicopy", "agent", number=signal.SIGSTOP)
    try:
        labs.wait_until(lambda: uptime() - began > 12, what="12 s pass, the hold time is 9", within=30)
        assert "n2" in mesh.established("n1")
    finally:
        mesh.kill("n2", "calicopy", "agent", number=signal.SIGCONT)
    mesh.wait_healthy("n2")
    assert {peer["name"]: peer.get("sessions_lost", 0) for peer in mesh.cli("n1", "peers")["items"]} == lost


def test_a_second_agent_refuses_and_names_the_first(mesh: labs.TestLab) -> None:
    done = mesh.try_run("n1", "calicopy", "agent", "--config", "/etc/calicopy/cluster.yaml")
    assert done.returncode == 1
    assert re.search(r"(pid|process) \d+", done.stderr), done.stderr
    assert mesh.status("n1") is not None


def test_drift_is_healed_and_foreign_routes_are_left_alone(mesh: labs.TestLab) -> None:
    block = mesh.block_of("n2")
    wanted = mesh.kernel_routes("n1")[block]
    mesh.run("n1", "ip", "route", "add", "203.0.113.0/24", "via", "192.0.2.2", "proto", "static", "metric", "1024")
    mesh.run("n1", "ip", "route", "del", block, "proto", "117", "metric", "1024")
    labs.wait_until(lambda: mesh.kernel_routes("n1").get(block) == wanted, within=5, what="a deleted route comes back")

    mesh.run("n1", "ip", "route", "replace", "blackhole", block, "proto", "117", "metric", "1024")
    labs.wait_until(lambda: mesh.kernel_routes("n1").get(block) == wanted, within=5, what="a change is put right")

    assert "203.0.113.0/24" in mesh.run("n1", "ip", "route", "show", "proto", "static")


def test_a_link_that_goes_down_and_up_gets_its_routes_back(mesh: labs.TestLab) -> None:
    wanted = mesh.kernel_routes("n3")
    mesh.run("n3", "ip", "link", "set", "eth1", "down")
    labs.wait_until(lambda: set(mesh.kernel_routes("n3")) < set(wanted), what="the kernel drops routes over eth1")
    mesh.run("n3", "ip", "link", "set", "eth1", "up")
    labs.wait_until(lambda: mesh.kernel_routes("n3") == wanted, what="the routes are back", within=30)
    mesh.wait_healthy(*NODES)


def test_a_detached_workload_leaves_nothing_behind(mesh: labs.TestLab) -> None:
    address = mesh.pod("n3", "short")
    assert f"{address}/32" in mesh.kernel_routes("n3")
    mesh.run("n3", "calicopy", "workload", "detach", "short")
    mesh.run("n3", "calicopy", "workload", "detach", "short")  # idempotent
    labs.wait_until(lambda: f"{address}/32" not in mesh.kernel_routes("n3"), what="the host route is gone")
    links = json.loads(mesh.run("n3", "ip", "-j", "link", "show", "group", "2254"))
    assert sum(bool(link) for link in links) <= 1  # the pod of the other tests
