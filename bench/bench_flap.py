"""A link goes down and up again under 1,000 and 100,000 routes: from link up to the last route in the kernel.

The cable is pulled at the switch, for less than the hold time, so that no session is lost. The kernel then drops the
nexthop objects on the link and every route on them without telling anybody; nobody but the agent puts them back. Beside
the figure stands the time that the writer alone takes for as many routes, in the same namespace and watched as well.

A link that is gone takes the paths over it out of use, which for 100,000 of them takes longer than the shorter of the
two times that the cable is out. What is left of that work then comes on top.
"""
from __future__ import annotations

import time
from pathlib import Path

from bench.bench_writer import batches_of, make_objects, with_the_writer
from bench.fabric import Fabric, RouteWatch, wait_for, watching
from bench.report import Row, row, say, spread
from bench.routers import OUR_PROTOCOL, Bird, Node, blocks, cluster
from calicopy.fib.types import RouteOp

COUNTS = (1_000, 100_000)
RUNS = 3
DOWN_S = (0.5, 1.5)  # with what TCP then waits, less than the hold time: BIRD takes no session for a minute after that
TARGET_MS = 50.0
RATIO_TARGET = 1.2


def measure(directory: Path) -> list[Row]:
    """Milliseconds."""
    rows = []
    for count in COUNTS:
        with Fabric(directory, "n1", "n2") as fabric:
            restored = _flaps(fabric, count)
            bulk = [_bulk(fabric, count) for _ in range(RUNS)]
        small = count <= COUNTS[0]
        for down_s, taken in restored.items():
            what = f"link flap of {down_s} s: {count:,} routes back after link up"
            say(f"{what}: {spread(taken)} ms; the writer alone: {spread(bulk)} ms")
            rows.append(row(what, "ms", taken, others={"writer alone": bulk}, target=TARGET_MS if small else None,
                            ratio_target=None if small else RATIO_TARGET))  # fmt: skip
    return rows


def _flaps(fabric: Fabric, count: int) -> dict[float, list[float]]:
    """Milliseconds of each flap, by how long the cable was out."""
    routes = blocks(count, first=64)
    sender = Bird(fabric, "n2", [fabric.address("n1")], statics={"st": routes}, kernel=False, enabled=True,
                  passive=True)  # fmt: skip
    sender.start()
    node = Node(fabric, "n1", cluster({"n1": (fabric.address("n1"), blocks(1))}, peers={"bird": sender.address}))
    node.start()
    node.wait_established(1)
    wait_for(lambda: fabric.routes("n1", OUR_PROTOCOL) > count, what=f"{count} routes", within=60.0)
    with watching(fabric, "n1", OUR_PROTOCOL) as watch:
        restored = {down_s: [_flap(fabric, watch, routes, down_s) for _ in range(RUNS)] for down_s in DOWN_S}
    node.stop()
    sender.stop()
    fabric.flush_routes("n1", OUR_PROTOCOL)
    return restored


def _flap(fabric: Fabric, watch: RouteWatch, routes: list[str], down_s: float) -> float:
    time.sleep(2.0)
    fabric.set_cable("n1", up=False)
    time.sleep(down_s)
    watch.clear()
    began = time.monotonic()
    fabric.set_cable("n1", up=True)
    wait_for(lambda: watch.count >= len(routes), what="the routes are back", within=60.0)
    return (watch.wait_added(*routes) - began) * 1e3


def _bulk(fabric: Fabric, count: int) -> float:
    fabric.inside("n1", lambda: make_objects(fabric.address("n2")))
    with watching(fabric, "n1", OUR_PROTOCOL):
        began = time.monotonic()
        fabric.inside("n1", lambda: with_the_writer(batches_of(RouteOp.ADD, count)))
        return (time.monotonic() - began) * 1e3
