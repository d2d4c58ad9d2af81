"""10,000 routes from a BIRD: from its first UPDATE at the host to the last route in the kernel."""
from __future__ import annotations

import time
from pathlib import Path

from bench.fabric import Fabric, RouteWatch, UpdateSniffer, wait_for, watching
from bench.memory import memory
from bench.report import Row, row, say, spread
from bench.routers import BIRD_PROTOCOL, OUR_PROTOCOL, Bird, Node, blocks, cluster

RUNS = 3
COUNT = 10_000
ROUTES = blocks(COUNT, first=64)


def measure(directory: Path) -> list[Row]:
    """Seconds; and MB with the routes held."""
    with Fabric(directory, "n1", "n2") as fabric:
        sender = Bird(fabric, "n2", [fabric.address("n1")], statics={"st": ROUTES}, kernel=False, passive=True)
        sender.start()
        node = Node(fabric, "n1", cluster({"n1": (fabric.address("n1"), blocks(1))}, peers={"bird": sender.address}))
        node.start()
        node.wait_established(1)
        ours, gone = _rounds(fabric, sender, OUR_PROTOCOL)
        say(f"calicopy: {spread(ours)} s, withdrawn {spread(gone)} s")
        held = memory(node.processes().values())
        node.stop()
        fabric.flush_routes("n1", OUR_PROTOCOL)
        sender.tell("disable st")
        bird = Bird(fabric, "n1", [sender.address])
        bird.start()
        bird.wait_established()
        theirs, theirs_gone = _rounds(fabric, sender, BIRD_PROTOCOL)
        say(f"BIRD: {spread(theirs)} s, withdrawn {spread(theirs_gone)} s")
        bird_held = memory(fabric.pids("n1", "bird"))
    return [
        row("10,000 routes received and in the kernel", "s", ours, bird=theirs, target=0.3),
        row("10,000 routes withdrawn and out of the kernel", "s", gone, bird=theirs_gone),
        row("10,000 routes: PSS of all processes", "MB", held.pss, bird=bird_held.pss),
    ]


def _rounds(fabric: Fabric, sender: Bird, protocol: int) -> tuple[list[float], list[float]]:
    """(seconds to install, seconds to remove); the routes are there at the end."""
    sender.wait_established()
    time.sleep(1.0)
    added, removed = [], []
    with watching(fabric, "n1", protocol) as watch:
        for number in range(RUNS):
            if number:
                removed.append(_one(fabric, sender, watch, "disable st"))
                wait_for(lambda: fabric.routes("n1", protocol) < COUNT, what="routes are gone")
            added.append(_one(fabric, sender, watch, "enable st"))
            assert fabric.routes("n1", protocol) >= COUNT
    return added, removed


def _one(fabric: Fabric, sender: Bird, watch: RouteWatch, command: str) -> float:
    time.sleep(0.3)
    watch.clear()
    sniffer = UpdateSniffer(fabric, "n1")
    sender.tell(command)
    wait_for(lambda: watch.count >= COUNT, what=f"{COUNT} route messages after {command}")
    time.sleep(0.2)
    seen = watch.added() if command.startswith("enable") else watch.removed()
    assert set(ROUTES) <= seen.keys(), f"{len(seen)} routes"
    return max(seen[route] for route in ROUTES) - sniffer.result()
