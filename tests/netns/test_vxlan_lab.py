"""The topology containerlab/vxlan, whole: what goes through the tunnel, and what happens to what others break."""
from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

NODES = {"a1": "192.0.2.1", "a2": "192.0.2.2", "b1": "192.0.2.129", "b2": "192.0.2.130"}
COUNTERS = """table inet seen {
  counter vxlan {}
  counter plain {}
  chain forward { type filter hook forward priority 0;
    udp dport 4789 meta length > 120 counter name vxlan
    ip daddr 10.244.0.0/16 meta length > 60 counter name plain
    ip6 daddr fd00:10:244::/64 meta length > 60 counter name plain
  }
}"""
"""What `ping` sends, but not the small packets with which nodes ask each other's tunnel addresses."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """The lab."""
    with labs.existing(labs.copy_of("vxlan", tmp_path_factory.mktemp("lab"))) as made:
        made.wait_healthy(*NODES, within=60)
        made.run("router", "sh", "-c", f"printf '%s' '{COUNTERS}' | nft -f -")
        yield made


@pytest.fixture(scope="module")
def both(lab: labs.TestLab) -> dict[str, list[str]]:
    """Node -> the two addresses of its pod."""
    return {node: lab.attach(node, "pod") for node in NODES}


@pytest.fixture(scope="module")
def pods(both: dict[str, list[str]]) -> dict[str, str]:
    """Node -> IPv4 address of its pod."""
    return {node: next(one for one in held if ":" not in one) for node, held in both.items()}


@pytest.fixture(scope="module")
def pods6(both: dict[str, list[str]]) -> dict[str, str]:
    """Node -> IPv6 address of its pod."""
    return {node: next(one for one in held if ":" in one) for node, held in both.items()}


def ping(lab: labs.TestLab, node: str, address: str, *options: str) -> bool:
    words = ("ip", "netns", "exec", "pod", "ping", "-c", "2", "-i", "0.1", "-W", "1", *options, address)
    return " 0% packet loss" in lab.try_run(node, *words).stdout


def counted(lab: labs.TestLab) -> dict[str, int]:
    """Packets that the router forwarded since the last look."""
    shown = json.loads(lab.run("router", "nft", "-j", "reset", "counters", "table", "inet", "seen"))["nftables"]
    return {one["counter"]["name"]: one["counter"]["packets"] for one in shown if "counter" in one}


def device(lab: labs.TestLab, node: str) -> dict[str, Any]:
    (link,) = json.loads(lab.run(node, "ip", "-j", "-d", "address", "show", "dev", "calivx0"))
    return link


def test_only_what_crosses_the_subnets_leads_into_the_tunnel(lab: labs.TestLab) -> None:
    shown = lab.run("a1", "calicopy", "routes")
    for owner, gateway in (("b1", "192.0.2.129"), ("b2", "192.0.2.130"), ("b1", "fe80::ca:c0ff:fe00:281")):
        assert re.search(rf" {owner} .* via {gateway} dev calivx0 onlink", shown), shown
    for gateway in ("192.0.2.2", "2001:db8:a::2"):
        assert re.search(rf" a2 .* via {gateway} dev eth1 ", shown), shown


@pytest.mark.parametrize("family", ["pods", "pods6"])
def test_between_subnets_packets_of_pods_travel_in_vxlan_and_within_one_as_they_are(
    lab: labs.TestLab, request: pytest.FixtureRequest, family: str
) -> None:
    pods = request.getfixturevalue(family)
    labs.wait_until(lambda: ping(lab, "a1", pods["b1"]), what="a1 reaches b1")
    counted(lab)
    assert ping(lab, "a1", pods["b1"])
    assert ping(lab, "b2", pods["a2"])
    assert counted(lab) == {"vxlan": 8, "plain": 0}
    assert ping(lab, "a1", pods["a2"])
    assert counted(lab)["vxlan"] == 0


def test_the_host_itself_has_an_address_of_a_pool_of_each_family_there(lab: labs.TestLab, pods: dict[str, str]) -> None:
    held = {one["address"] for one in lab.cli("a1", "ipam", "show", "--handle", "tunnel:vxlan")["items"]}
    shown = {one["local"] for one in device(lab, "a1")["addr_info"] if one["scope"] == "global"}
    assert held == shown
    assert len(held) == 2
    assert any(f"src {address} " in lab.run("a1", "ip", "route", "get", pods["b1"]) for address in held)
    far = next(one["local"] for one in device(lab, "b1")["addr_info"] if one["local"].startswith("fd00:"))
    counted(lab)
    assert " 0% packet loss" in lab.run("a1", "ping", "-c", "2", "-i", "0.1", "-W", "1", far)
    assert counted(lab) == {"vxlan": 4, "plain": 0}


def test_a_large_packet_of_a_pod_is_told_the_mtu_of_the_tunnel(lab: labs.TestLab, pods: dict[str, str]) -> None:
    assert device(lab, "a1")["mtu"] == 1450
    assert ping(lab, "a1", pods["b1"], "-M", "do", "-s", str(1450 - 28))
    assert not ping(lab, "a1", pods["b1"], "-M", "do", "-s", str(1451 - 28))


def test_entries_that_somebody_removes_are_back_at_once(lab: labs.TestLab, pods: dict[str, str]) -> None:
    lab.run("a1", "ip", "neigh", "del", "192.0.2.129", "dev", "calivx0")
    lab.run("a1", "bridge", "fdb", "del", "02:ca:c0:00:02:82", "dev", "calivx0", "self")
    labs.wait_until(
        lambda: "192.0.2.129 " in lab.run("a1", "ip", "neigh", "show", "dev", "calivx0")
        and "02:ca:c0:00:02:82" in lab.run("a1", "bridge", "fdb", "show", "dev", "calivx0"),
        within=5,
        what="the entries are back",
    )
    assert ping(lab, "a1", pods["b1"])


def test_a_device_that_somebody_deletes_is_made_anew_and_the_routes_lead_there(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    before = device(lab, "a1")
    lab.run("a1", "ip", "link", "delete", "calivx0")
    labs.wait_until(lambda: ping(lab, "a1", pods["b1"]), within=10, what="a1 reaches b1 again")
    after = device(lab, "a1")
    assert after["ifindex"] != before["ifindex"]
    assert (after["address"], after["mtu"]) == (before["address"], before["mtu"])
    lab.wait_healthy("a1")


def test_a_device_that_somebody_sets_down_and_changes_is_put_right(lab: labs.TestLab, pods: dict[str, str]) -> None:
    lab.run("b1", "ip", "link", "set", "calivx0", "down", "mtu", "1300", "address", "02:00:00:00:00:09")
    labs.wait_until(lambda: ping(lab, "a1", pods["b1"]), within=10, what="a1 reaches b1 again")
    labs.wait_until(lambda: device(lab, "b1")["mtu"] == 1450, what="the MTU is as it was")
    lab.wait_healthy("b1")


def test_the_mtu_of_the_tunnel_follows_that_of_the_way(lab: labs.TestLab) -> None:
    for mtu in (1400, 1500):
        lab.run("b2", "ip", "link", "set", "eth1", "mtu", str(mtu))
        labs.wait_until(lambda mtu=mtu: device(lab, "b2")["mtu"] == mtu - 50, within=5, what=f"MTU {mtu} less 50")
    lab.run("b2", "ip", "route", "replace", "192.0.2.0/25", "via", "192.0.2.254", "mtu", "1420")
    labs.wait_until(lambda: device(lab, "b2")["mtu"] == 1370, within=5, what="the tunnel's MTU by the route")
    lab.run("b2", "ip", "route", "replace", "192.0.2.0/25", "via", "192.0.2.254")
    labs.wait_until(lambda: device(lab, "b2")["mtu"] == 1450, within=5, what="the tunnel's MTU as it was")


def test_the_end_of_the_agents_at_both_ends_costs_no_packet(lab: labs.TestLab, pods: dict[str, str], tmp_path) -> None:
    report = tmp_path / "ping"
    lab.spawn("a1", "ip", "netns", "exec", "pod", "ping", "-c", "600", "-i", "0.01", pods["b1"], output=report)
    labs.wait_until(lambda: report.read_text().count("bytes from") > 20, what="the ping runs")
    before = device(lab, "a1")
    for node in ("a1", "b1"):
        lab.kill(node, "calicopy", "agent")
    labs.wait_until(lambda: "packets transmitted" in report.read_text(), within=30, what="the ping is through")
    assert " 0% packet loss" in report.read_text()
    lab.wait_healthy("a1", "b1", within=60)
    assert device(lab, "a1") == before


READYZ = """import http.client, socket, sys
one = socket.socket(socket.AF_UNIX)
one.connect("/run/calicopy/readyz.sock")
asking = http.client.HTTPConnection("calicopy")
asking.sock = one
asking.request("GET", "/readyz")
answer = asking.getresponse()
print(answer.status, answer.read().decode())"""


def readyz(lab: labs.TestLab, node: str) -> str:
    return lab.run(node, sys.executable, "-c", READYZ)


def ways(lab: labs.TestLab, node: str) -> dict[str, set[bool | None]]:
    """Other node -> what is known of its tunnel addresses."""
    found: dict[str, set[bool | None]] = {}
    for way in lab.cli(node, "status")["next_hops"]:
        found.setdefault(way["node"], set()).update(one["answers"] for one in way["answers"])
    return found


def test_tunnel_addresses_of_both_families_are_known_to_all_and_answer(lab: labs.TestLab) -> None:
    everybody = {other: {True} for other in NODES if other != "a1"}
    labs.wait_until(lambda: ways(lab, "a1") == everybody, within=15, what="all tunnel addresses answer")
    assert readyz(lab, "a1").startswith("200 ready")
    shown = [line for line in lab.run("a1", "calicopy", "peers", "b1").splitlines() if "Tunnel address" in line]
    assert len(shown) == 2, shown
    assert all(line.endswith(" ms") for line in shown), shown


def test_a_tunnel_that_loses_packets_one_way_makes_the_node_not_ready_and_says_whose_address_is_silent(
    lab: labs.TestLab,
) -> None:
    rules = "table inet cut { chain output { type filter hook output priority 0; udp dport 4789 drop; }; }"
    lab.run("a1", "nft", rules)
    said = labs.wait_until(
        lambda: (found := readyz(lab, "a1")).startswith("503 ") and found, within=20, what="a1 is not ready"
    )
    assert re.search(r"tunnel b1: the tunnel address \S+ of node b1 does not answer.*\(tunnel-silent\)$", said, re.M)
    checked = lab.try_run("a1", "calicopy", "status", "--check")
    assert checked.returncode == 5
    assert "tunnel-silent" in checked.stderr
    assert lab.established("a1") == set(NODES) - {"a1"}
    assert ways(lab, "a1")["a2"] == {True}
    assert readyz(lab, "a2").startswith("200 ready"), "one node that is cut off takes no other out of service"
    lab.run("a1", "nft", "delete", "table", "inet", "cut")
    labs.wait_until(lambda: readyz(lab, "a1").startswith("200 "), within=20, what="a1 is ready again")
    lab.wait_healthy("a1", "a2")
