"""The topology containerlab/ipip-cross-subnet, with an agent on every node: what goes over the wire between its pods.

Brings the lab up (from a copy, since the cluster file is changed in the end), attaches a pod on each of its four nodes,
and reads the router's ports. Towards the other subnet the packets have to be IPIP between the nodes, with the pods
inside; within a subnet they have to be the pods' own. Then the tunnel device, what breaks it, the end of an agent under
a ping through the tunnel, and `mode: always`, which tunnels within a subnet too.
Prints what it sees; exit code 0 when all of that holds and no ping was lost.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import labs
from capture import PROTOCOL_ICMP, PROTOCOL_IPIP, Capture, Packet
from pods import compare

PROJECT = Path(__file__).resolve().parents[3]
SOURCE = PROJECT / "containerlab" / "ipip-cross-subnet"
TOPOLOGY = "ipip-cross-subnet.clab.yml"
ROUTER = "clab-ipip-cross-subnet-router"
NODES = {"a1": "192.0.2.1", "a2": "192.0.2.2", "b1": "192.0.2.129", "b2": "192.0.2.130"}
PORTS = {"a1": "eth1", "a2": "eth2", "b1": "eth3", "b2": "eth4"}  # of the router
POOL = IPv4Network("10.244.0.0/16")
WITHIN_S = 120.0  # nobody is fast in here
labs.POLL_S = 1.0  # each look takes from the one CPU that all nodes share
BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print with the time since the start."""
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}", flush=True)


def ping(lab: labs.TestLab, source: str, address: str, *options: str) -> str:
    """Ping from the source node's pod; the report, empty when an answer is missing."""
    done = lab.try_run(source, "ip", "netns", "exec", "pod", "ping", "-W", "5", *options, address)
    return done.stdout if " 0% packet loss" in done.stdout else ""


def reach(lab: labs.TestLab, source: str, target: str, pods: dict[str, str]) -> None:
    """Until the pod of `source` gets an answer from that of `target`."""
    labs.wait_until(
        lambda: ping(lab, source, pods[target], "-c", "1"), within=WITHIN_S, what=f"{source} reaches {target}"
    )


def reach_all(lab: labs.TestLab, source: str, pods: dict[str, str]) -> None:
    """Until the pod of `source` gets an answer from each of the others."""
    others = " ".join(address for node, address in pods.items() if node != source)
    script = f"for each in {others}; do ip netns exec pod ping -q -c 1 -W 5 $each || exit 1; done"
    labs.wait_until(
        lambda: lab.try_run(source, "sh", "-c", script).returncode == 0,
        within=WITHIN_S,
        what=f"{source} reaches {others}",
    )


def look(lab: labs.TestLab, source: str, target: str, pods: dict[str, str]) -> list[Packet]:
    """Ping from pod to pod; the packets of it that crossed the router's port to `source`, both ways. A loss fails."""
    reach(lab, source, target, pods)
    capture = Capture(netns=ROUTER, device=PORTS[source])
    report = ping(lab, source, pods[target], "-c", "3", "-i", "0.2")
    assert report, f"{source} to {target}: a ping was lost"
    print(report, flush=True)
    ends = {IPv4Address(pods[source]), IPv4Address(pods[target])}
    seen = []
    for packet in capture.packets(seconds=1):
        innermost = packet.inner or packet.outer
        if innermost.protocol == PROTOCOL_ICMP and {innermost.source, innermost.destination} == ends:
            seen.append(packet)
            inner = f"  inner {packet.inner}" if packet.inner else ""
            print(f"{source} > {target}: outer {packet.outer}{inner}", flush=True)
    capture.close()
    return seen


def expect_tunnelled(lab: labs.TestLab, source: str, target: str, pods: dict[str, str]) -> None:
    """Every packet is IPIP between the two nodes."""
    ends = {IPv4Address(NODES[source]), IPv4Address(NODES[target])}
    seen = look(lab, source, target, pods)
    assert len(seen) >= 6, f"{source} to {target}: {seen}"
    for packet in seen:
        assert packet.outer.protocol == PROTOCOL_IPIP, packet
        assert {packet.outer.source, packet.outer.destination} == ends, packet


def expect_plain(lab: labs.TestLab, source: str, target: str, pods: dict[str, str]) -> None:
    """No packet is encapsulated."""
    seen = look(lab, source, target, pods)
    assert len(seen) >= 6, f"{source} to {target}: {seen}"
    assert not any(packet.inner for packet in seen), f"{source} to {target}: expected no encapsulation"


def check_device(lab: labs.TestLab, node: str) -> str:
    """tunl0 is up, with one /32 of the pool and the MTU of eth1 less 20; its address."""
    (link,) = json.loads(lab.run(node, "ip", "-j", "-4", "address", "show", "dev", "tunl0"))
    held = [(one["local"], one["prefixlen"]) for one in link["addr_info"] if one["scope"] == "global"]
    ((address, length),) = held
    assert length == 32, link
    assert IPv4Address(address) in POOL, link
    assert link["mtu"] == 1480, link
    assert "UP" in link["flags"], link
    return str(address)


def check_told(lab: labs.TestLab, node: str, address: str) -> None:
    """`ipam show` names the handle, `status` the tunnel."""
    (held,) = lab.cli(node, "ipam", "show", "--handle", "tunnel:ipip")["items"]
    assert held["address"] == address, held
    status = lab.status(node)
    (tunnel,) = (one for one in status["tunnels"] if one["encapsulation"] == "ipip")
    wanted = {
        "encapsulation": "ipip", "device": "tunl0", "used": True, "up": True, "addresses": [address], "mtu": 1480,
        "error": "", "stranger_packets": tunnel["stranger_packets"],
    }  # fmt: skip
    assert tunnel == wanted, tunnel
    if tunnel["stranger_packets"] is None:  # the guest's kernel has nf_tables, but no `inet` tables
        (problem,) = (one["reason"]["message"] for one in status["problems"] if one["component"] == "nft")
        assert "the kernel has no nf_tables, or not what this needs of it" in problem, problem
        assert "encapsulated packets are taken from anybody" in problem, problem
    else:
        assert tunnel["stranger_packets"] == 0, tunnel
    ways = {way["node"]: (way["encapsulation"], way["gateway"], way["pod_mtu"]) for way in status["next_hops"]}
    assert (ways["a2"], ways["b1"]) == (("none", "", 1500), ("ipip", "192.0.2.126", 1480)), ways
    shown = lab.run(node, "calicopy", "status")
    print(shown, flush=True)
    assert re.search(rf"ipip +tunl0 +{address} +1480 +yes +up", shown), shown


def check_host(lab: labs.TestLab, pods: dict[str, str], tunnel: str) -> None:
    """What the host itself sends to a pod across the subnets comes from its tunnel address, and is answered."""
    assert f"src {tunnel} " in lab.run("a1", "ip", "route", "get", pods["b1"])
    assert " 0% packet loss" in lab.run("a1", "ping", "-c", "1", "-W", "5", pods["b1"])


def check_repair(lab: labs.TestLab, pods: dict[str, str], tunnel: str) -> None:
    """A tunnel that somebody takes down, gives an address of the pool and another MTU is put right."""
    before = lab.kernel_routes("a1")
    for words in ("address add 10.244.255.1/32 dev tunl0", "link set tunl0 mtu 1300", "link set tunl0 down"):
        lab.run("a1", "ip", *words.split())
    reach(lab, "a1", "b1", pods)
    labs.wait_until(lambda: lab.kernel_routes("a1") == before, within=WITHIN_S, what="the routes are as before")
    assert check_device(lab, "a1") == tunnel


def agents(lab: labs.TestLab, node: str) -> list[int]:
    """The agent's processes on a node."""
    return lab.pids(node, "calicopy", "agent")


def kill_agents(lab: labs.TestLab, *nodes: str) -> None:
    """kill -9 them, and wait until their successors are content."""
    before = {node: agents(lab, node) for node in nodes}
    for node in nodes:
        lab.kill(node, "calicopy", "agent")
    for node in nodes:
        labs.wait_until(
            lambda node=node: (now := agents(lab, node)) and not set(now) & set(before[node]),
            within=WITHIN_S,
            what=f"{node}: the agent runs again",
        )
    for node in nodes:
        labs.wait_until(lambda node=node: is_well(lab, node), within=WITHIN_S, what=f"{node} is well")


def is_well(lab: labs.TestLab, node: str) -> bool:
    """In sync, and nothing is wrong, but that the guest's kernel lacks what nft needs."""
    status = lab.status(node)
    if status is None or not status["fib"]["in_sync"]:
        return False
    return all(problem["component"] == "nft" for problem in status["problems"])


def check_kill(lab: labs.TestLab, pods: dict[str, str], directory: Path) -> None:
    """kill -9 of the agents at both ends of the tunnel: no ping is lost, no route, link or address is changed."""
    report, monitored = directory / "ping", directory / "monitor"
    watching = lab.spawn("a1", "ip", "monitor", "route", "link", "address", output=monitored)
    words = ("ip", "netns", "exec", "pod", "ping", "-i", "0.05", "-w", "120", pods["b1"])
    pinging = lab.spawn("a1", *words, output=report)
    labs.wait_until(
        lambda: report.exists() and report.read_text().count("bytes from") > 5, within=WITHIN_S, what="pings"
    )
    kill_agents(lab, "a1", "b1")
    lab.run("a1", "kill", "-INT", *lab.run("a1", "ip", "netns", "pids", "pod").split())  # ping, alone in the pod
    pinging.wait(timeout=30)
    watching.terminate()
    watching.wait(timeout=10)
    summary = report.read_text().partition("statistics ---")[2]
    say(f"kill -9 of the agents of a1 and b1 under a ping: {' '.join(summary.split())}")
    assert " 0% packet loss" in summary, report.read_text()[-2000:]
    changed = [line for line in monitored.read_text().splitlines() if "proto 117" in line or "tunl0" in line]
    assert not changed, changed


def check_always(lab: labs.TestLab, pods: dict[str, str]) -> None:
    """`mode: always` in the cluster file, and the agents of a subnet begin anew with it: tunnelled within it too."""
    path = lab.topology.parent / "cluster.yaml"
    text = path.read_text()
    assert "mode: cross-subnet" in text
    path.write_text(text.replace("mode: cross-subnet", "mode: always"))  # in place: the nodes have this inode bound
    kill_agents(lab, "a1", "a2")
    labs.wait_until(
        lambda: all(
            route.get("dev") == "tunl0" for route in lab.kernel_routes("a1").values() if "gateway" in route
        ),
        within=WITHIN_S,
        what="every route to a node leads through tunl0",
    )
    say("mode: always")
    expect_tunnelled(lab, "a1", "a2", pods)


def check(lab: labs.TestLab, directory: Path) -> None:
    """All of it, in order."""
    for node in NODES:
        lab.wait_established(node, *(set(NODES) - {node}), within=WITHIN_S)
    say("all sessions are Established")
    pods = {node: lab.pod(node, "pod") for node in NODES}
    for source in NODES:
        reach_all(lab, source, pods)
    say("pods on all four nodes ping each other")
    expect_tunnelled(lab, "a1", "b1", pods)
    say(f"ipip, IPv4: {compare(lab, 'a1', 'b1', pods['b1'], within=WITHIN_S)}")
    expect_plain(lab, "a1", "a2", pods)
    expect_plain(lab, "b1", "b2", pods)
    tunnels = {node: check_device(lab, node) for node in NODES}
    check_told(lab, "a1", tunnels["a1"])
    check_host(lab, pods, tunnels["a1"])
    check_repair(lab, pods, tunnels["a1"])
    say("a tunnel that was changed by hand is put right")
    check_kill(lab, pods, directory)
    check_always(lab, pods)


def main() -> int:
    """The lab from a copy, and down again; its logs when something fails."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name, "lab")
        shutil.copytree(SOURCE, copy)
        with labs.existing(copy / TOPOLOGY) as lab:
            say("the lab is up")
            check(lab, Path(name))
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
