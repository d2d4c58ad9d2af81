"""The topology containerlab/ipip-cross-subnet, with an agent on every node: what goes over the wire between its pods.

Brings the lab up, attaches a pod on three of its nodes, pings, and reads the router's port to a1: towards the other
subnet the packets have to be IPIP between the nodes, with the pods inside; within the subnet they have to be the pods'
own.
Prints what it sees; exit code 0 when all of that holds and no ping was lost.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from capture import PROTOCOL_ICMP, PROTOCOL_IPIP, Capture, Packet

from calicopy import lab as labs

PROJECT = Path(__file__).resolve().parents[3]
TOPOLOGY = PROJECT / "containerlab" / "ipip-cross-subnet" / "ipip-cross-subnet.clab.yml"
NODES = {"a1": "192.0.2.1", "a2": "192.0.2.2", "b1": "192.0.2.129", "b2": "192.0.2.130"}
POD = "pod"
TIMEOUT_S = 120.0


class FailedError(Exception):
    """Something did not come about; the text says what and how it was instead."""


def in_node(node: str, *command: str) -> str:
    """Run a command in a node of the lab; its output, or FailedError with what it said."""
    done = labs.exec_(node, command, capture=True)
    if done.returncode != 0:
        raise FailedError(
            f"{node}: {' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}".strip()
        )
    return str(done.stdout)


def poll(attempt: Callable[[], str], *, what: str) -> str:
    """The attempt's result once it succeeds; FailedError with its last failure when the time is over."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return attempt()
        except FailedError as error:
            if time.monotonic() > deadline:
                raise FailedError(f"{what}: not within {TIMEOUT_S:g} s: {error}") from error
            time.sleep(0.5)


def established(node: str) -> str:
    """A line about the node's peers; FailedError while one of them is not Established."""
    peers = json.loads(in_node(node, "calicopy", "peers", "-o", "json"))["items"]
    states = ", ".join(f"{peer['address']} {peer['state']}" for peer in peers)
    if len(peers) != len(NODES) - 1 or any(peer["state"].lower() != "established" for peer in peers):
        raise FailedError(f"{node}: {states or 'no peers'}")
    return states


def attach(node: str) -> IPv4Address:
    """Make a pod on the node; its address."""
    in_node(node, "ip", "netns", "add", POD)
    attached = json.loads(in_node(node, "calicopy", "workload", "attach", POD, f"{POD}-{node}", "-o", "json"))
    return IPv4Address(str(attached["addresses"][0]).partition("/")[0])


def look(source: str, target: str, pods: dict[str, IPv4Address]) -> list[Packet]:
    """Ping from pod to pod; the packets of it that crossed the router's port to a1, both ways. A loss fails."""
    ping = ("ip", "netns", "exec", POD, "ping", "-W", "5")
    address = str(pods[target])
    first = partial(in_node, source, *ping, "-c", "1", address)
    poll(first, what=f"the pod of {source} reaches that of {target}")
    capture = Capture(netns="clab-ipip-cross-subnet-router", device="eth1")
    output = in_node(source, *ping, "-c", "3", "-i", "0.2", address)
    print(output, flush=True)
    if " 0% packet loss" not in output:
        raise FailedError(f"{source} to {target}: a ping was lost")
    ends = {pods[source], pods[target]}
    seen = []
    for packet in capture.packets(seconds=2):
        innermost = packet.inner or packet.outer
        if innermost.protocol == PROTOCOL_ICMP and {innermost.source, innermost.destination} == ends:
            seen.append(packet)
            inner = f"  inner {packet.inner}" if packet.inner else ""
            print(f"{source} > {target}: outer {packet.outer}{inner}", flush=True)
    capture.close()
    return seen


def check(pods: dict[str, IPv4Address]) -> None:
    """Across the subnets IPIP between the owners, within a subnet none; FailedError when it is otherwise."""
    across = look("a1", "b1", pods)
    nodes = {IPv4Address(NODES["a1"]), IPv4Address(NODES["b1"])}
    if not across or any(
        packet.outer.protocol != PROTOCOL_IPIP or {packet.outer.source, packet.outer.destination} != nodes
        for packet in across
    ):
        raise FailedError("a1 to b1: expected IPIP between the nodes, and nothing else")
    within = look("a1", "a2", pods)
    if not within or any(packet.inner for packet in within):
        raise FailedError("a1 to a2: expected packets without encapsulation")


def main() -> int:
    """Lab, sessions, pods, pings; the agents' logs when it fails."""
    began = time.monotonic()
    labs.up(TOPOLOGY)
    print(f"lab is up after {time.monotonic() - began:.1f} s", flush=True)
    try:
        for node in NODES:
            states = poll(partial(established, node), what="all peers Established")
            print(f"{node}: {states} after {time.monotonic() - began:.1f} s", flush=True)
        check({node: attach(node) for node in ("a1", "a2", "b1")})
    except FailedError as error:
        print(f"FAILED: {error}", flush=True)
        for node in NODES:
            print(f"--- log of {node}\n{labs.logs(node).read_text(errors='replace')[-3000:]}", flush=True)
            subprocess.run(["ip", "-n", f"clab-ipip-cross-subnet-{node}", "route"], check=False)
        return 1
    finally:
        labs.down(TOPOLOGY.as_posix())
    print(f"done after {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
