"""An address behind two nodes: a lab, and what its routes and its wires must show.

`s` is a calicopy node with a pod. `a` and `b` both have ANYCAST; two routers, tor1 and tor2 (BIRD), each tell `s` of
one of them: next hop and owner are the node. All five are on one Ethernet, whose ports are read. With `ends_by_hand`
`a` and `b` have no agent: they are plain hosts with a tunl0, which is all that IPIP asks of the far end.
"""
from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import labs
import yaml
from capture import Capture, Packet

ANYCAST = "10.244.200.9"
AS = 64512
NODES = {"s": "192.0.2.1", "a": "192.0.2.2", "b": "192.0.2.3"}
TORS = {"tor1": ("192.0.2.11", "a"), "tor2": ("192.0.2.12", "b")}
ENDS = ("a", "b")
FLOWS, PACKETS = 64, 2
PORT = 9
PROTOCOL = {"none": 17, "ipip": 4, "vxlan": 17}  # of the outer header

SEND = f"""
import socket
for _ in range({PACKETS}):
    for port in range(20000, {20000 + FLOWS}):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("", port))
            one.sendto(b"flow", ("{ANYCAST}", {PORT}))
"""


def cluster_file(encapsulation: str, *, mesh: bool) -> str:
    """Of the three nodes; the routers are believed when they name an owner."""
    peers = [
        {"name": name, "address": address, "as": AS, "trust_owner": True, "nodes": ["s"]}
        for name, (address, _) in TORS.items()
    ]
    pool = {"name": "pods", "cidr": "10.244.0.0/16", "encapsulation": encapsulation}
    if encapsulation != "none":
        pool["mode"] = "always"
    return yaml.safe_dump({
        "cluster": {"name": "ecmp", "as": AS},
        "nodes": [{"name": name, "address": f"{address}/24"} for name, address in NODES.items()],
        "pools": [pool],
        "bgp": {"mesh": mesh, "peers": peers},
    })  # fmt: skip


def bird_file(address: str, end: str) -> str:
    """A router that says: ANYCAST is behind this node, which owns it."""
    node = NODES[end]
    return f"""router id {address};
protocol device {{}}
protocol static {{ ipv4; route {ANYCAST}/32 blackhole; }}
protocol bgp node {{
  local {address} as {AS}; neighbor {NODES["s"]} as {AS}; connect delay time 1; connect retry time 1;
  ipv4 {{
    import none;
    export filter {{
      if source != RTS_STATIC then reject;
      bgp_next_hop = {node};
      bgp_large_community.add(({AS}, 1, {int(IPv4Address(node))}));
      accept;
    }};
  }};
}}
"""


@contextmanager
def ecmp_lab(directory: Path, encapsulation: str, *, ends_by_hand: bool = False) -> Iterator[labs.TestLab]:
    """The lab, up."""
    nodes = {name: labs.node(f"{address}/24") for name, address in NODES.items()}
    if ends_by_hand:
        for end in ENDS:
            nodes[end] = labs.router(f"{NODES[end]}/24", "sleep infinity")
            back = f"ip route add 10.244.0.0/16 via {NODES['s']} dev tunl0 onlink"
            nodes[end]["exec"] = [*nodes[end]["exec"], "ip link set tunl0 up", back]
    for end in ENDS:
        nodes[end]["exec"] = [*nodes[end]["exec"], f"ip address add {ANYCAST}/32 dev lo"]
    for name, (address, _) in TORS.items():
        bird = "bird -f -c /etc/bird/bird.conf -s /run/bird.ctl"
        nodes[name] = labs.router(f"{address}/24", bird, binds=[f"{name}.conf:/etc/bird/bird.conf:ro"])
    topology = labs.one_ethernet(f"ecmp{os.getpid()}", nodes)
    files = {f"{name}.conf": bird_file(*tor) for name, tor in TORS.items()}
    files["cluster.yaml"] = cluster_file(encapsulation, mesh=not ends_by_hand)
    with labs.running(directory, topology, files=files) as lab:
        yield lab


def setting(lab: labs.TestLab, name: str, value: int) -> None:
    """A sysctl of `s`; from outside of the node, where /proc/sys can be written."""
    words = ("ip", "netns", "exec", lab.namespace("s"), "sysctl", "-q", "-w", f"{name}={value}")
    subprocess.run(words, check=True)


def members(lab: labs.TestLab) -> list[tuple[str, str, bool]]:
    """(gateway, device, onlink) of each member of the route to ANYCAST, as `ip route show` has it; empty without it."""
    shown = json.loads(lab.run("s", "ip", "-j", "route", "show", f"{ANYCAST}/32"))
    return [
        (one.get("gateway", ""), one.get("dev", ""), "onlink" in one["flags"])
        for route in shown
        for one in route.get("nexthops", [route])
    ]


def wait_members(lab: labs.TestLab, encapsulation: str, ends: tuple[str, ...], *, within: float) -> None:
    """Until the route leads to exactly these nodes, by the device of the encapsulation."""
    onlink = encapsulation != "none"
    wanted = [(NODES[end], labs.DEVICES[encapsulation], onlink) for end in ends]
    setting(lab, "net.ipv4.nexthop_compat_mode", 1)  # so that `ip route` shows what an object leads to
    labs.wait_until(lambda: sorted(members(lab)) == wanted, within=within, what=f"{ANYCAST} leads to {wanted}")
    print("ip route show:\n" + lab.run("s", "ip", "route", "show", f"{ANYCAST}/32"), flush=True)
    setting(lab, "net.ipv4.nexthop_compat_mode", 0)
    print("ip nexthop show:\n" + lab.run("s", "ip", "nexthop", "show"), flush=True)


def flows(lab: labs.TestLab, encapsulation: str) -> Counter[str]:
    """Send many flows from the pod of `s`; packets per node on the wire. All must be encapsulated, and none be lost."""
    ports = {end: f"eth{number}" for number, end in enumerate([*NODES, *TORS], 1) if end in ENDS}
    captures = {end: Capture(netns=lab.namespace("sw"), device=port) for end, port in ports.items()}
    lab.run("s", "ip", "netns", "exec", "pod", "python3", "-c", SEND)
    seen: Counter[str] = Counter()
    for end, capture in captures.items():
        carried = [packet for packet in capture.packets(seconds=1.0) if is_of_the_flows(packet)]
        capture.close()
        for packet in carried:
            assert packet.outer.destination == IPv4Address(ANYCAST if encapsulation == "none" else NODES[end]), packet
            assert packet.outer.protocol == PROTOCOL[encapsulation], packet
        seen[end] = len(carried)
    print(f"{FLOWS} flows of {PACKETS} packets: " + ", ".join(f"{count} to {end}" for end, count in seen.items()))
    return seen


def is_of_the_flows(packet: Packet) -> bool:
    """Whether it is a packet to ANYCAST, bare or encapsulated. BFD and probes of tunnels are on the wire too."""
    return (packet.inner or packet.outer).destination == IPv4Address(ANYCAST)


def check(lab: labs.TestLab, encapsulation: str, *, within: float = 30.0) -> None:
    """All of it: two members, flows over both, and over one when a router takes back what it said."""
    lab.wait_established("s", *TORS, within=within)
    lab.pod("s", "pod")
    setting(lab, "net.ipv4.fib_multipath_hash_policy", 1)  # by ports too
    wait_members(lab, encapsulation, ENDS, within=within)
    seen = flows(lab, encapsulation)
    assert sum(seen.values()) == FLOWS * PACKETS, seen
    assert all(seen[end] >= FLOWS * PACKETS // 5 for end in ENDS), seen
    pinged = lab.run("s", "ip", "netns", "exec", "pod", "ping", "-c", "2", "-i", "0.2", "-W", "5", ANYCAST)
    assert re.search(r" 0% packet loss", pinged), pinged
    lab.run("tor1", "birdc", "-s", "/run/bird.ctl", "disable", "static1")
    wait_members(lab, encapsulation, ("b",), within=within)
    seen = flows(lab, encapsulation)
    assert (seen["a"], seen["b"]) == (0, FLOWS * PACKETS), seen
