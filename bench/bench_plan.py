"""`plan` for a cluster of 500 nodes, from mesh to reflectors: reading the file, working it out, and the longest step.

    python -m bench.bench_plan      # needs no root
"""
from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from bench.report import Row, print_table, row
from calicopy.bgp import PathAttributes
from calicopy.bgp.capabilities import Capabilities
from calicopy.bgp.open import Open
from calicopy.bgp.update import NlriBatch, Update
from calicopy.config import load_text
from calicopy.config.resolve import NodeConfig, resolve
from calicopy.core import events as ev
from calicopy.core.change.plan import plan
from calicopy.core.core import Core
from calicopy.core.peering.peer import Peer
from calicopy.core.setup import peer_info
from calicopy.ipam import Snapshot
from calicopy.net import Family, Prefix
from calicopy.net.nexthop import NextHopFacts

NODES = 500
TARGET_S = 1.0
STEP_TARGET_MS = 20.0
RUNS = 3
AS = 64512
POOL = Prefix.parse("10.128.0.0/12")


def cluster_file(*, reflectors: bool) -> str:
    """The text of the file; the first two nodes are the reflectors."""
    role = ", route_reflector: true, labels: {role: reflector}"
    nodes = "".join(
        f"  - {{name: n{number}, address: {_address(number)}/16{role if reflectors and number < 2 else ''}}}\n"
        for number in range(NODES)
    )
    peers = "  peers:\n    - {name: reflectors, peer_selector: {role: reflector}}\n" if reflectors else ""
    return f"nodes:\n{nodes}pools:\n  - cidr: {POOL}\nbgp:\n  mesh: {'false' if reflectors else 'true'}\n{peers}"


def _address(number: int) -> IPv4Address:
    return IPv4Address("10.0.0.1") + number


def read(text: str, name: str) -> NodeConfig:
    """The file as a node reads it."""
    return resolve(load_text(text, filename="cluster.yaml").require(), name)


def running(name: str) -> Core:
    """A core whose mesh is up: every other node has announced a block."""
    core = Core(read(cluster_file(reflectors=False), name), Snapshot(), now=0.0)
    facts = {peer.configured.address: NextHopFacts(peer.configured.address, True, True, 2) for peer in _peers(core)}
    core.handle([ev.NextHopsResolved(facts)], 0.0)
    for peer, block in zip(_peers(core), POOL.subnets(26), strict=False):
        router_id = IPv4Address(int(peer.configured.address))
        peer.opened = Open(AS, 9, router_id, Capabilities(families=(Family.IPV4,)))
        core.rib.peer_up(peer_info(peer.configured, int(router_id)))
        attributes = PathAttributes(local_pref=100, large_communities=((AS, 1, int(router_id)),))
        batch = NlriBatch(Family.IPV4, [block.packed], None, router_id)
        core.rib.update(peer.key, Update(announced=(batch,), attributes=attributes))
    while core.deadline(0.0) == 0.0:
        core.handle([ev.Ticked()], 0.0)
    return core


def _peers(core: Core) -> list[Peer]:
    return list(core.peers.values())


def steps(core: Core, new: NodeConfig) -> Iterator[float]:
    """Seconds of each step of the plan."""
    work = plan(core, new)
    while True:
        began = time.perf_counter()
        try:
            next(work)
        except StopIteration:
            yield time.perf_counter() - began
            return
        yield time.perf_counter() - began


def measure(_directory: object = None) -> list[Row]:
    """At a client, and at a reflector."""
    return [*_rows("client", f"n{NODES - 1}"), *_rows("reflector", "n0")]


def _rows(role: str, name: str) -> list[Row]:
    core, text = running(name), cluster_file(reflectors=True)
    reading: list[float] = []
    planning: list[float] = []
    longest: list[float] = []
    for _ in range(RUNS):
        began = time.perf_counter()
        new = read(text, name)
        reading.append(time.perf_counter() - began)
        each = list(steps(core, new))
        planning.append(sum(each))
        longest.append(max(each) * 1e3)
    whole = min(one + other for one, other in zip(reading, planning, strict=True))
    rows = (
        ("file read and resolved", min(reading), "s", None),
        ("plan", min(planning), "s", None),
        ("both", whole, "s", TARGET_S),
        ("longest step", min(longest), "ms", STEP_TARGET_MS),
    )
    return [
        row(f"plan for {NODES} nodes at a {role}: {what}", unit, value, target=target)
        for what, value, unit, target in rows
    ]


if __name__ == "__main__":
    print_table(measure())
