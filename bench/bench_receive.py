"""Tables from a BIRD: from its first UPDATE at the host to the last route in the kernel, and out of it again."""
from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.fabric import Fabric, RouteWatch, UpdateSniffer, wait_for, watching
from bench.memory import Memory, memory
from bench.report import Row, row, say, spread
from bench.routers import BIRD_PROTOCOL, OUR_PROTOCOL, Bird, Node, blocks, cluster

COUNTS = tuple(int(each) for each in os.environ.get("BENCH_RECEIVE", "1000 10000 100000 500000").split())
RUNS = {1_000: 5, 500_000: 1}  # how often each is measured, where not USUAL_RUNS
USUAL_RUNS = 3
BLOCK_SIZE = 28  # so that the pool has 500,000
WITHIN_S = 60.0
SETTLE_S = 0.3
SECONDS = {10_000: 0.3}  # targets: of ours, and of the ratios to BIRD's
INSTALLED_RATIO, WITHDRAWN_RATIO, RSS_MB = {100_000: 0.8}, {100_000: 1.2}, {100_000: 200.0}


@dataclass
class Figures:
    """Seconds until the routes were installed, and until they were withdrawn; and the memory that held them."""

    added: list[float] = field(default_factory=list)
    removed: list[float] = field(default_factory=list)
    held: Memory = field(default_factory=lambda: Memory(0.0, 0.0))

    def told(self) -> str:
        """For the progress lines."""
        return f"{spread(self.added)} s, withdrawn {spread(self.removed)} s, {self.held.rss:.0f} MB"


def measure(directory: Path) -> list[Row]:
    """Seconds; and MB with the routes held."""
    rows = []
    for count in COUNTS:
        routes = blocks(count, first=64, length=BLOCK_SIZE)
        with _sender(directory / str(count), routes) as (fabric, sender):
            ours = _ours(fabric, sender, routes)
            say(f"calicopy, {count:,} routes: {ours.told()}")
            bird = _bird(fabric, sender, routes)
            say(f"BIRD, {count:,} routes: {bird.told()}")
        rows += _rows(count, ours, bird)
    return rows


def _rows(count: int, ours: Figures, bird: Figures) -> list[Row]:
    what = f"{count:,} routes"
    return [
        row(f"{what} received and in the kernel", "s", ours.added, bird=bird.added, target=SECONDS.get(count),
            ratio_target=INSTALLED_RATIO.get(count)),
        row(f"{what} withdrawn and out of the kernel", "s", ours.removed, bird=bird.removed,
            ratio_target=WITHDRAWN_RATIO.get(count)),
        row(f"{what}: RSS of all processes", "MB", ours.held.rss, bird=bird.held.rss, target=RSS_MB.get(count)),
        row(f"{what}: PSS of all processes", "MB", ours.held.pss, bird=bird.held.pss),
    ]  # fmt: skip


@contextmanager
def _sender(directory: Path, routes: list[str]) -> Iterator[tuple[Fabric, Bird]]:
    """n1, and in n2 a BIRD that announces the routes while its protocol `st` is enabled."""
    directory.mkdir()
    with Fabric(directory, "n1", "n2") as fabric:
        sender = Bird(fabric, "n2", [fabric.address("n1")], statics={"st": routes}, kernel=False, passive=True)
        sender.start()
        yield fabric, sender


def _ours(fabric: Fabric, sender: Bird, routes: list[str]) -> Figures:
    config = cluster({"n1": (fabric.address("n1"), [f"10.0.0.0/{BLOCK_SIZE}"])}, peers={"bird": sender.address},
                     block_size=BLOCK_SIZE)  # fmt: skip
    node = Node(fabric, "n1", config)
    node.start()
    node.wait_established(1)
    figures = _rounds(fabric, sender, routes, OUR_PROTOCOL)
    figures.held = memory(node.processes().values())
    figures.removed.append(_withdrawn(fabric, sender, routes, OUR_PROTOCOL))
    node.stop()
    fabric.flush_routes("n1", OUR_PROTOCOL)
    return figures


def _bird(fabric: Fabric, sender: Bird, routes: list[str]) -> Figures:
    bird = Bird(fabric, "n1", [sender.address])
    bird.start()
    bird.wait_established()
    figures = _rounds(fabric, sender, routes, BIRD_PROTOCOL)
    figures.held = memory(fabric.pids("n1", "bird"))
    figures.removed.append(_withdrawn(fabric, sender, routes, BIRD_PROTOCOL))
    bird.stop()
    return figures


def _rounds(fabric: Fabric, sender: Bird, routes: list[str], protocol: int) -> Figures:
    """In and out, several times; the routes are there at the end."""
    figures = Figures()
    sender.wait_established()
    time.sleep(1.0)
    for number in range(RUNS.get(len(routes), USUAL_RUNS)):
        if number:
            figures.removed.append(_withdrawn(fabric, sender, routes, protocol))
        with watching(fabric, "n1", protocol) as watch:
            figures.added.append(_one(fabric, sender, watch, "enable st", routes))
        assert fabric.routes("n1", protocol) >= len(routes)
    return figures


def _withdrawn(fabric: Fabric, sender: Bird, routes: list[str], protocol: int) -> float:
    with watching(fabric, "n1", protocol) as watch:
        took = _one(fabric, sender, watch, "disable st", routes)
    wait_for(lambda: fabric.routes("n1", protocol) < len(routes), what="routes are gone")
    return took


def _one(fabric: Fabric, sender: Bird, watch: RouteWatch, command: str, routes: list[str]) -> float:
    time.sleep(SETTLE_S)
    sniffer = UpdateSniffer(fabric, "n1")
    sender.tell(command)
    wait_for(lambda: watch.count >= len(routes), what=f"{len(routes)} route messages after {command}", within=WITHIN_S)
    time.sleep(SETTLE_S)
    seen = watch.added() if command.startswith("enable") else watch.removed()
    assert set(routes) <= seen.keys(), f"{len(seen)} routes"
    return max(seen[route] for route in routes) - sniffer.result()
