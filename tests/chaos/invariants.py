"""What must hold of the mesh whenever it has settled. Every check gives a sentence for each thing that is not so."""
from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import grpc
import labs
import mesh as meshes
from traffic import Traffic

from calicopy.journal import lines
from calicopy.journal.codec import CodecError
from calicopy.journal.replay import replay
from calicopy.v1 import node_pb2

POLL_S = 0.25
FRESH_S = 1.0


def settle(mesh: meshes.Mesh, traffic: Traffic, *, within: float) -> tuple[list[str], float]:
    """Look until all holds, for `within` seconds at most: what does not hold then, and how long it took."""
    began = time.monotonic()
    while True:
        wrong = list(broken(mesh, traffic))
        took = time.monotonic() - began
        if not wrong or took > within:
            return wrong, took
        time.sleep(POLL_S)


def broken(mesh: meshes.Mesh, traffic: Traffic) -> Iterator[str]:
    """What does not hold now. The dear looks come when the cheap ones are content."""
    looked = time.monotonic()
    wrong = [text for node in mesh.nodes for text in _well(mesh, node)]
    if not wrong:
        wrong = list(_consistent(mesh))
    yield from wrong
    for node in mesh.nodes:
        now = mesh.foreign(node)
        if now != mesh.planted[node]:
            yield f"{node}: something of others was touched: {now!r} was {mesh.planted[node]!r}"
    left = looked + FRESH_S - time.monotonic()
    if not wrong and left > 0:
        time.sleep(left)  # so that each flow has had its time
    for (one, other), since in traffic.silent(looked, permutations(mesh.nodes, 2)).items():
        yield f"nothing comes from {one} to {other}, for {since:.1f} s"


def _well(mesh: meshes.Mesh, node: str) -> Iterator[str]:
    """The node's own view: well, all sessions up, the kernel as it should be."""
    try:
        status = mesh.status(node)
    except grpc.RpcError as error:
        yield f"{node}: the agent does not answer: {error.code().name}"
        return
    if status.health != node_pb2.HEALTH_OK:
        what = "; ".join(f"{one.component} {one.object}: {one.reason.message}" for one in status.problems)
        yield f"{node}: {node_pb2.Health.Name(status.health)}: {what or 'no problem is named'}"
    if status.peers.established != len(mesh.nodes) - 1:
        yield f"{node}: {status.peers.established} of {len(mesh.nodes) - 1} sessions are up"
    fib = status.fib
    if not fib.in_sync or fib.pending or fib.failed or fib.installed != fib.desired:
        counts = f"{fib.installed} installed, {fib.pending} wait, {fib.failed} failed"
        yield f"{node}: {fib.desired} routes desired, {counts}"


def _consistent(mesh: meshes.Mesh) -> Iterator[str]:
    """Blocks and addresses across nodes, and each kernel's routes against what all nodes say they own."""
    owned: dict[str, set[str]] = {}
    holders: dict[str, list[str]] = {}
    used: dict[str, dict[str, str]] = {}
    for node in mesh.nodes:
        try:
            owned[node], used[node] = mesh.ipam(node)
        except grpc.RpcError as error:
            yield f"{node}: the agent does not answer: {error.code().name}"
            return
        for what in (*owned[node], *used[node]):
            holders.setdefault(what, []).append(node)
    yield from (f"{what} is held by {' and '.join(who)}" for what, who in holders.items() if len(who) > 1)
    for node in mesh.nodes:
        pods = {address for address, handle in used[node].items() if handle.startswith("workload:")}
        yield from _kernel(mesh, node, owned, pods)


def _kernel(mesh: meshes.Mesh, node: str, owned: dict[str, set[str]], pods: set[str]) -> Iterator[str]:
    """The kernel of one node, read without calicopy."""
    wanted: dict[str, str] = dict.fromkeys(owned[node], "blackhole") | dict.fromkeys(pods, "a pod")
    device = labs.DEVICES[mesh.wanted.encapsulation]
    for other in mesh.nodes:
        if other != node:
            to = f" via {mesh.addresses[other]}" if mesh.wanted.encapsulation == "none" else ""
            wanted |= dict.fromkeys(owned[other], f"dev {device}{to}")
    found = {to: _shown(route, mesh.wanted.encapsulation) for to, route in mesh.kernel(node).items()}
    for to in sorted(wanted.keys() | found.keys()):
        if wanted.get(to) != found.get(to):
            yield f"{node}: route {to} should be {wanted.get(to, 'absent')}, and is {found.get(to, 'absent')}"


def _shown(route: dict[str, Any], encapsulation: str) -> str:
    if route.get("type") == "blackhole":
        return "blackhole"
    if route.get("dev", "").startswith("cali") and "gateway" not in route:
        return "a pod"
    via = f" via {route.get('gateway')}" if encapsulation == "none" else ""
    return f"dev {route.get('dev')}{via}"


def replays(directory: Path) -> Iterator[str]:
    """Which of the journals of a directory do not come to the same commands when they are played again."""
    for file in sorted((*directory.glob("*.journal"), *directory.glob("*.journal.1"))):
        try:
            with file.open("rb") as rows:
                outcome = replay(lines.read(rows))
        except CodecError as error:
            yield f"{file}: is no journal: {error}"
            continue
        except Exception as error:  # whatever the core raised is what is looked for
            yield f"{file}: {type(error).__name__}: {error}"
            continue
        if outcome.differences:
            first = outcome.differences[0]
            instead = [type(one).__name__ for one in first.instead]
            yield (f"{file}: {len(outcome.differences)} of {outcome.steps} steps came to other commands, "
                   f"step {first.step} first: missing {first.missing}, instead {instead}")  # fmt: skip
