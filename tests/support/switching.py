"""A pool is switched from one encapsulation to another on a running cluster, node by node, under pings of all pods."""
from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import labs
from floods import Floods

NODES = ("n1", "n2", "n3")
APART_S = 5.0
POOLS = {4: "10.244.0.0/16", 6: "fd00:10:244::/64"}
IPV6 = {"net.ipv6.conf.all.forwarding": 1, "net.ipv6.conf.default.accept_dad": 0}


def cluster(encapsulation: str, versions: Sequence[int]) -> str:
    """The cluster file: every node takes everything."""
    addresses = {4: "address: 192.0.2.{}/24", 6: "address6: 2001:db8::{}/64"}
    nodes = "".join(
        f"  - {{name: {name}, {', '.join(addresses[version].format(name[1]) for version in versions)}}}\n"
        for name in NODES
    )
    pools = "".join(f"  - {{cidr: {POOLS[version]}, encapsulation: {encapsulation}}}\n" for version in versions)
    return f"nodes:\n{nodes}pools:\n{pools}encapsulation: {{decapsulate: [ipip, vxlan, udp]}}\n"


@contextmanager
def running(directory: Path, versions: Sequence[int]) -> Iterator[labs.TestLab]:
    """Three nodes on one Ethernet, each with a directory of its own for its file."""
    plan = {}
    for name in NODES:
        plan[name] = labs.node_with_files(directory, name, f"192.0.2.{name[1]}/24", cluster("none", versions))
        if 6 in versions:
            plan[name]["exec"].append(f"ip address add 2001:db8::{name[1]}/64 dev eth1")
            plan[name]["sysctls"] = {**plan[name].get("sysctls", {}), **IPV6}
    with labs.running(directory, labs.one_ethernet(f"es{os.getpid()}", plan), files={}, mgmt=False) as lab:
        for name in NODES:
            lab.wait_established(name, *(set(NODES) - {name}), within=120)
        yield lab


def blocks(lab: labs.TestLab) -> dict[str, list[str]]:
    """Node -> its blocks."""
    found = {}
    for name in NODES:
        items = lab.cli(name, "ipam", "show", "--blocks")["items"]
        found[name] = [one["cidr"] for one in items if one["node"] == name and one["state"] == "confirmed"]
    return found


def devices(lab: labs.TestLab, node: str, held: Mapping[str, list[str]]) -> set[str]:
    """The devices that an address of each block of other nodes leads to, as the kernel says."""
    found = set()
    for name, own in held.items():
        for block in own if name != node else ():
            words = lab.try_run(node, "ip", "route", "get", str(ip_network(block)[9])).stdout.split()
            found.add(words[words.index("dev") + 1] if "dev" in words else "")
    return found


def switch(lab: labs.TestLab, encapsulation: str, versions: Sequence[int], *, within: float) -> None:
    """The file reaches the nodes one after the other, 5 s apart at least."""
    held = blocks(lab)
    for name in NODES:
        began = time.monotonic()
        (lab.topology.parent / name / "new.yaml").write_text(cluster(encapsulation, versions))
        done = lab.try_run(name, "calicopy", "apply", "-f", "/etc/calicopy/new.yaml")
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        labs.wait_until(
            lambda name=name: devices(lab, name, held) == {labs.DEVICES[encapsulation]},
            within=within,
            what=f"{name} uses {encapsulation}",
        )
        labs.wait_until(lambda began=began: time.monotonic() - began >= APART_S, what="the next node's turn")


def losses(
    lab: labs.TestLab, steps: Sequence[str], directory: Path, *,
    versions: Sequence[int], interval_s: float = 0.01, within: float = 20.0,
) -> dict[tuple[str, str], int]:  # fmt: skip
    """Switch through `steps`; how many pings between each two pods got no answer, for those that lost any."""
    pods: dict[int, dict[str, str]] = {version: {} for version in versions}
    for name in NODES:
        for address in lab.attach(name, "pod"):
            pods[ip_network(address).version][name] = address
    floods = []
    for version, addresses in pods.items():
        (directory / str(version)).mkdir()
        floods.append(Floods(lab, addresses, directory / str(version), interval_s=interval_s, within=within))
    for encapsulation in steps:
        switch(lab, encapsulation, versions, within=within)
    lost: dict[tuple[str, str], int] = {}
    for version, flood in zip(pods, floods, strict=True):
        lost |= {(one, f"{other}, IPv{version}"): count for (one, other), count in flood.stop().items() if count}
    return lost
