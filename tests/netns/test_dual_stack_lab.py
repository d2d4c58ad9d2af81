"""The topology containerlab/dual-stack, whole: pods with addresses of both families, and a node with IPv6 alone."""
from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

NODES = ("n1", "n2", "n3")
BLOCKS = {"n1": 2, "n2": 2, "n3": 1}


@dataclass(frozen=True)
class Pod:
    """A pod, which is named `pod`, with its addresses; n3 has no IPv4."""

    node: str
    ipv4: str | None
    ipv6: str

    @property
    def addresses(self) -> list[str]:
        return [address for address in (self.ipv4, self.ipv6) if address is not None]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    with labs.existing(labs.copy_of("dual-stack", tmp_path_factory.mktemp("lab"))) as lab:
        lab.wait_healthy(*NODES)
        yield lab


@pytest.fixture(scope="module")
def pods(lab: labs.TestLab) -> dict[str, Pod]:
    found = {}
    for node in NODES:
        addresses = lab.attach(node, "pod")
        assert len(addresses) == BLOCKS[node]
        found[node] = Pod(node, *([None] if node == "n3" else []), *addresses)
    return found


def pairs(pods: dict[str, Pod]) -> Iterator[tuple[str, str]]:
    """Each node, with each address of a pod elsewhere that its own pod has the family of."""
    for node, pod in pods.items():
        for other in pods.values():
            if other is not pod:
                yield from ((node, each) for each in other.addresses if ":" in each or pod.ipv4 is not None)


def routes6(lab: labs.TestLab, node: str) -> dict[str, str]:
    """Our IPv6 routes in the kernel of a node: destination to gateway, device, or `blackhole`."""
    return {
        prefix: "blackhole" if route.get("type") == "blackhole" else route.get("gateway") or route["dev"]
        for prefix, route in lab.kernel_routes(node, ipv6=True).items()
    }


def in_pod(lab: labs.TestLab, node: str, *words: str) -> str:
    return lab.run(node, "ip", "netns", "exec", "pod", *words)


def test_each_node_routes_the_blocks_of_both_families_whatever_the_session_runs_over(lab: labs.TestLab) -> None:
    sessions = {peer["name"]: peer["address"] for peer in lab.cli("n1", "peers")["items"]}
    assert sessions == {"n2": "192.0.2.2", "n3": "2001:db8::3"}
    blocks = {node: [one for one in lab.cli(node, "ipam", "show", "--blocks")["items"] if one["node"] == node]
              for node in NODES}
    assert {node: len(found) for node, found in blocks.items()} == BLOCKS
    six = {node: next(one["cidr"] for one in found if ":" in one["cidr"]) for node, found in blocks.items()}
    for node in NODES:
        wanted = {block: "blackhole" if owner == node else f"2001:db8::{owner[1]}" for owner, block in six.items()}
        assert routes6(lab, node).items() >= wanted.items()
    assert not lab.kernel_routes("n3")


def test_pods_ping_each_other_in_both_families(lab: labs.TestLab, pods: dict[str, Pod]) -> None:
    for node, address in pairs(pods):
        assert labs.lost(in_pod(lab, node, "ping", "-c", "3", "-i", "0.1", "-W", "1", address)) == 0


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_stream_runs_between_pods(lab: labs.TestLab, pods: dict[str, Pod], tmp_path: Path, family: str) -> None:
    address = getattr(pods["n2"], family)
    lab.spawn("n2", "ip", "netns", "exec", "pod", "iperf3", "-s", "-1", "-B", address, output=tmp_path / "server")
    words = ("ip", "netns", "exec", "pod", "iperf3", "-c", address, "-t", "1", "-J")
    ended = labs.wait_until(  # until the server listens, it ends with an error
        lambda: json.loads(lab.try_run("n1", *words).stdout)["end"], what=f"{family}: a stream runs"
    )
    assert ended["sum_received"]["bytes"] > 1_000_000


def test_what_is_too_big_for_the_way_is_told_and_comes_through(lab: labs.TestLab, pods: dict[str, Pod]) -> None:
    (link,) = (one["host_interface"] for one in lab.cli("n2", "workload", "list")["items"])
    mtu = int(json.loads(lab.run("n2", "ip", "-j", "link", "show", link))[0]["mtu"])

    def narrow(to: int) -> None:
        lab.run("n2", "ip", "link", "set", link, "mtu", str(to))
        in_pod(lab, "n2", "ip", "link", "set", "eth0", "mtu", str(to))

    narrow(1300)
    try:
        for address in pods["n2"].addresses:
            ping = ("ping", "-c", "1", "-W", "1", "-s", "1350", address)
            told = lab.try_run("n1", "ip", "netns", "exec", "pod", *ping, "-M", "do")
            assert re.search(r"mtu ?= ?1300", told.stdout + told.stderr), told
            in_pod(lab, "n1", *ping)  # in fragments
    finally:
        narrow(mtu)


def test_every_page_shows_both_families(lab: labs.TestLab, pods: dict[str, Pod]) -> None:
    pod = pods["n1"]
    (workload,) = lab.cli("n1", "workload", "list")["items"]
    assert (workload["addresses"], workload.get("problem", "")) == (pod.addresses, "")
    held = lab.cli("n1", "ipam", "show", "--handle", "workload:pod")["items"]
    assert [one["address"] for one in held] == pod.addresses
    assert lab.status("n1")["health"] == "ok"
    shown = {route["prefix"]: route["kernel"]["text"] for route in lab.cli("n1", "routes", "--installed")["items"]}
    assert set(shown) == set(routes6(lab, "n1")) | set(lab.kernel_routes("n1"))
    for address in (pods["n2"].addresses + pods["n3"].addresses):
        assert "via" in lab.run("n1", "calicopy", "explain", address).splitlines()[0]
    for address in pod.addresses:
        assert "is workload pod on this node" in lab.run("n1", "calicopy", "explain", address).splitlines()[0]


def test_the_same_call_again_changes_nothing_and_another_one_is_refused(
    lab: labs.TestLab, pods: dict[str, Pod]
) -> None:
    again = lab.cli("n1", "workload", "attach", "pod", "pod", "--family", "ipv6", "--family", "ipv4")
    assert again["addresses"] == pods["n1"].addresses
    for words in (("--family", "ipv6"), ("--address", "fd00:10:244::1")):
        done = lab.try_run("n1", "calicopy", "workload", "attach", "pod", "pod", *words)
        assert done.returncode == 4
        assert "detach it first" in done.stderr
    both = ("--address", "fd00:10:244::1", "--address", "fd00:10:244::2")
    done = lab.try_run("n1", "calicopy", "workload", "attach", "pod", "other", *both)
    assert "expected one of a family" in done.stderr


def test_a_workload_with_one_family_has_that_alone_and_nothing_is_left_of_either(lab: labs.TestLab) -> None:
    before = (routes6(lab, "n1"), lab.kernel_routes("n1"))
    for name, words, version in (("six", ("--pool", "pods6", "--family", "ipv6"), 6), ("both", (), 0)):
        lab.run("n1", "ip", "netns", "add", name)
        made = lab.cli("n1", "workload", "attach", name, name, *words)
        assert len(made["addresses"]) == (1 if version else 2)
        assert made["addresses"][-1] + "/128" in routes6(lab, "n1")
    for name in ("six", "both"):
        lab.run("n1", "calicopy", "workload", "detach", name)
        lab.run("n1", "calicopy", "workload", "detach", name)  # idempotent
        shown = lab.try_run("n1", "calicopy", "ipam", "show", "--handle", f"workload:{name}")
        assert "has no address" in shown.stderr
    labs.wait_until(
        lambda: (routes6(lab, "n1"), lab.kernel_routes("n1")) == before, what="the host routes of both are gone"
    )


@pytest.mark.parametrize("victims", [("agent",), ("agent", "exabgp")])
def test_killed_processes_cost_no_packet_and_no_route_of_either_family(
    lab: labs.TestLab, pods: dict[str, Pod], tmp_path: Path, victims: tuple[str, ...]
) -> None:
    lines = {"agent": ("calicopy", "agent"), "exabgp": ("calicopy.speaker.unit",)}
    monitors = {node: tmp_path / f"monitor-{node}" for node in NODES}
    watching = [lab.spawn(node, "ip", "monitor", "route", output=path) for node, path in monitors.items()]
    floods = {address: tmp_path / f"ping-{number}" for number, address in enumerate(pods["n2"].addresses)}
    pinging = [
        lab.spawn("n1", "ip", "netns", "exec", "pod", "ping", "-i", "0.01", "-w", "6", address, output=output)
        for address, output in floods.items()
    ]
    for output in floods.values():
        labs.wait_until(
            lambda output=output: output.exists() and output.read_text().count("bytes from") > 20, what="the flood runs"
        )
    before = [pid for victim in victims for pid in lab.pids("n2", *lines[victim])]
    for victim in victims:
        lab.kill("n2", *lines[victim])
    for victim in victims:
        lab.wait_others("n2", *lines[victim], before=before)
    lab.wait_healthy("n2")
    for node in ("n1", "n3"):
        lab.wait_established(node, "n2")
    for process in pinging:
        assert process.wait(timeout=30) == 0
    for process in watching:
        process.terminate()
        process.wait(timeout=10)
    assert [labs.lost(output.read_text()) for output in floods.values()] == [0, 0]
    changes = [line for path in monitors.values() for line in path.read_text().splitlines() if "proto 117" in line]
    assert changes == []
    (workload,) = lab.cli("n2", "workload", "list")["items"]
    assert (workload["addresses"], workload.get("problem", "")) == (pods["n2"].addresses, "")


def test_drift_of_an_ipv6_route_is_healed_and_a_foreign_one_is_left_alone(
    lab: labs.TestLab, pods: dict[str, Pod]
) -> None:
    wanted = routes6(lab, "n1")
    block = next(prefix for prefix, way in wanted.items() if way == "2001:db8::2")
    foreign = ("2001:db8:f::/64", "via", "2001:db8::2", "proto", "static", "metric", "1024")
    lab.run("n1", "ip", "-6", "route", "add", *foreign)
    for gone in (block, pods["n1"].ipv6 + "/128"):
        lab.run("n1", "ip", "-6", "route", "del", gone, "proto", "117", "metric", "1024")
        labs.wait_until(lambda: routes6(lab, "n1") == wanted, within=5, what=f"{gone} comes back")
    assert "2001:db8:f::/64" in lab.run("n1", "ip", "-6", "route", "show", "proto", "static")
    lab.run("n1", "ip", "-6", "route", "del", *foreign)


def test_a_link_that_flaps_gets_its_ipv6_address_and_routes_back(lab: labs.TestLab, pods: dict[str, Pod]) -> None:
    wanted = routes6(lab, "n1")
    lab.run("n1", "ip", "link", "set", "eth1", "down")  # takes the IPv6 addresses of the interface too
    labs.wait_until(lambda: "2001:db8::2" not in routes6(lab, "n1").values(), what="the routes over it are gone")
    lab.run("n1", "ip", "link", "set", "eth1", "up")
    lab.run("n1", "ip", "address", "replace", "2001:db8::1/64", "dev", "eth1")
    labs.wait_until(lambda: routes6(lab, "n1") == wanted, what="the routes are back")
    lab.wait_healthy(*NODES, within=60)
    for node, address in pairs(pods):
        labs.wait_until(
            lambda node=node, address=address: lab.try_run(
                node, "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "1", address
            ).returncode == 0,
            what=f"{node} reaches {address}",
        )


def test_a_drained_node_is_withdrawn_in_both_families_and_comes_back(lab: labs.TestLab, pods: dict[str, Pod]) -> None:
    wanted = (routes6(lab, "n1"), lab.kernel_routes("n1"))
    lab.run("n2", "calicopy", "drain", "--force")
    labs.wait_until(
        lambda: "2001:db8::2" not in routes6(lab, "n1").values()
        and all(route.get("gateway") != "192.0.2.2" for route in lab.kernel_routes("n1").values()),
        what="no route leads to n2",
    )
    lab.run("n2", "calicopy", "undrain")
    labs.wait_until(lambda: (routes6(lab, "n1"), lab.kernel_routes("n1")) == wanted, what="all routes are back")
    lab.wait_healthy(*NODES)


def test_without_forwarding_of_ipv6_the_status_says_so(lab: labs.TestLab) -> None:
    def told() -> bool:
        lab.run("n3", "ip", "link", "add", "probe", "type", "bridge")  # a link event, after which the settings are read
        lab.run("n3", "ip", "link", "delete", "probe")
        return "net.ipv6.conf.all.forwarding" in lab.run("n3", "calicopy", "status")

    forwarding = ("ip", "netns", "exec", lab.namespace("n3"), "sysctl", "-qw", "net.ipv6.conf.all.forwarding")
    # From outside, as an administrator does: the node itself has /proc/sys read-only.
    subprocess.run([*forwarding[:-1], f"{forwarding[-1]}=0"], check=True)
    try:
        labs.wait_until(told, what="the status names the setting")
    finally:
        subprocess.run([*forwarding[:-1], f"{forwarding[-1]}=1"], check=True)
    labs.wait_until(lambda: not told(), what="the status is content")
    lab.wait_healthy("n3")


def test_workloads_follow_the_mtu_of_the_way_to_the_other_nodes(lab: labs.TestLab, pods: dict[str, Pod]) -> None:
    (link,) = (one["host_interface"] for one in lab.cli("n1", "workload", "list")["items"])

    def mtus() -> list[int]:
        shown = (lab.run("n1", "ip", "-j", "link", "show", link), in_pod(lab, "n1", "ip", "-j", "link", "show", "eth0"))
        told = [one["mtu"] for one in lab.cli("n1", "workload", "list")["items"]]
        return [*told, *(json.loads(text)[0]["mtu"] for text in shown)]

    before = mtus()
    for mtu in (1400, 1280, 1500):
        lab.run("n1", "ip", "link", "set", "eth1", "mtu", str(mtu))
        labs.wait_until(lambda mtu=mtu: mtus() == [mtu] * 3, within=5, what=f"both ends have MTU {mtu}")
        for address in pods["n2"].addresses:
            assert labs.lost(in_pod(lab, "n1", "ping", "-c", "1", "-W", "2", address)) == 0
        assert [one.get("problem", "") for one in lab.cli("n1", "workload", "list")["items"]] == [""]
    assert mtus() == before
    lab.wait_healthy(*NODES)


def test_a_way_that_is_too_narrow_for_ipv6_is_told(lab: labs.TestLab, pods: dict[str, Pod]) -> None:
    def problem() -> str:
        (workload,) = lab.cli("n1", "workload", "list")["items"]
        return str(workload.get("problem", ""))

    lab.run("n1", "ip", "link", "set", "eth1", "mtu", "1200")  # Linux has no IPv6 on it from here on
    labs.wait_until(lambda: "takes 1200 octets, and IPv6 needs 1280" in problem(), what="the workload says so")
    assert labs.lost(in_pod(lab, "n1", "ping", "-c", "1", "-W", "2", str(pods["n2"].ipv4))) == 0
    lab.run("n1", "ip", "link", "set", "eth1", "mtu", "1500")
    lab.run("n1", "ip", "address", "add", "2001:db8::1/64", "dev", "eth1")
    labs.wait_until(lambda: problem() == "", what="the workload is content")
    lab.wait_healthy(*NODES, within=60)


def test_an_agent_killed_while_it_attaches_leaks_no_address_of_either_family(
    lab: labs.TestLab, pods: dict[str, Pod], tmp_path: Path
) -> None:
    def held() -> list[tuple[str, str]]:
        shown = lab.cli("n1", "ipam", "show", "--addresses")["items"]
        return sorted((one["handle"], one["address"]) for one in shown)

    before, names = held(), [f"w{number}" for number in range(1, 9)]
    one = "ip netns add $w; calicopy workload attach $w $w"
    attaching = lab.spawn("n1", "sh", "-c", f"for w in {' '.join(names)}; do {one}; done", output=tmp_path / "attach")
    for _ in range(3):
        lab.restart("n1", "calicopy", "agent")
        labs.wait_until(lambda: lab.status("n1"), what="the agent answers")
    attaching.wait(timeout=120)
    lab.wait_healthy("n1")

    def recorded() -> set[tuple[str, str]]:
        shown = lab.cli("n1", "workload", "list")["items"]
        return {(f"workload:{one['name']}", address) for one in shown for address in one["addresses"]}

    labs.wait_until(lambda: recorded() == set(held()), what="every address is a workload's")
    for name in names:
        made = lab.cli("n1", "workload", "attach", name, name)
        assert sorted(":" in address for address in made["addresses"]) == [False, True]
    assert recorded() == set(held())
    assert len({address for _, address in held()}) == len(before) + 2 * len(names)
    for name in names:
        lab.run("n1", "calicopy", "workload", "detach", name)
        lab.run("n1", "ip", "netns", "delete", name)
    assert held() == before
