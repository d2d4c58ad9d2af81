"""1,000 routes from one client through a route reflector to 16 others: from the command to the last route at the last.

Sender and clients are BIRDs; the reflector is a calicopy node (agent, ExaBGP and kernel, as it runs), then a BIRD.
"""
from __future__ import annotations

import time
from pathlib import Path

from bench.fabric import Fabric, wait_for
from bench.report import Row, row, say, spread
from bench.routers import AS, POOL, Bird, Node, blocks

RUNS = 3
COUNT = 1_000
CLIENTS = 16
ROUTES = blocks(COUNT, first=64)
TARGET_S = 2.0


def measure(directory: Path) -> list[Row]:
    """Seconds."""
    with Fabric(directory, "rr", "sender", "clients") as fabric:
        reflector = fabric.address("rr")
        addresses = [f"192.0.2.{100 + number}" for number in range(CLIENTS)]
        for address in addresses:
            fabric.add_address("clients", address)
        sender = Bird(fabric, "sender", [reflector], statics={"st": ROUTES}, kernel=False, passive=True)
        clients = [
            Bird(fabric, "clients", [reflector], name=f"client{number}", address=address, kernel=False, passive=True)
            for number, address in enumerate(addresses)
        ]
        for bird in (sender, *clients):
            bird.start()
        node = Node(fabric, "rr", _config(reflector, [sender.address, *addresses]))
        node.start()
        node.wait_established(CLIENTS + 1)
        ours, gone = _rounds(sender, clients)
        say(f"calicopy: {spread(ours)} s, withdrawn {spread(gone)} s")
        node.stop()
        bird = Bird(fabric, "rr", [sender.address, *addresses], reflector=True)
        bird.start()
        bird.wait_established()
        theirs, theirs_gone = _rounds(sender, clients)
        say(f"BIRD: {spread(theirs)} s, withdrawn {spread(theirs_gone)} s")
    what = f"{COUNT:,} routes reflected to {CLIENTS} clients"
    return [
        row(what, "s", ours, bird=theirs, target=TARGET_S),
        row(f"{what}: withdrawn", "s", gone, bird=theirs_gone, target=TARGET_S),
    ]


def _config(reflector: str, clients: list[str]) -> str:
    peers = "".join(
        f"    - {{name: c{number}, address: {address}, as: {AS}, route_reflector_client: true}}\n"
        for number, address in enumerate(clients)
    )
    return (
        f"cluster: {{name: bench, as: {AS}}}\n"
        f"nodes: [{{name: rr, address: {reflector}/24, route_reflector: true, blocks: [{blocks(1)[0]}]}}]\n"
        f"pools: [{{name: pods, cidr: {POOL}, block_size: 26}}]\n"
        f"bgp:\n  mesh: false\n  peers:\n{peers}"
    )


def _rounds(sender: Bird, clients: list[Bird]) -> tuple[list[float], list[float]]:
    """(seconds until all have all, seconds until none has any)."""
    sender.wait_established()
    for client in clients:
        client.wait_established()
    time.sleep(1.0)  # End-of-RIB all around
    added, removed = [], []
    for _ in range(RUNS):
        added.append(_one(sender, clients, "enable st", COUNT))
        time.sleep(0.5)
        removed.append(_one(sender, clients, "disable st", 0))
        time.sleep(0.5)
    return added, removed


def _one(sender: Bird, clients: list[Bird], command: str, count: int) -> float:
    began = time.monotonic()
    sender.tell(command)
    waiting = list(clients)

    def done() -> bool:
        while waiting and _held(waiting[0]) == count:
            waiting.pop(0)
        return not waiting

    wait_for(done, what=f"{count} routes at {CLIENTS} clients after {command}", within=60.0)
    return time.monotonic() - began


def _held(client: Bird) -> int:
    """How many routes of the measurement a BIRD holds."""
    answer = client.tell(f"show route where net ~ [ {POOL}{{26,26}} ] && net.ip >= {ROUTES[0].partition('/')[0]} count")
    return int(answer.split("-", 1)[-1].split(" of ")[0])
