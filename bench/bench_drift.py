"""The periodic check of 100,000 routes: all of them read back from the kernel and compared with what should be there.

CPU seconds of the agent between the beginnings of checks, over their number; what else it does meanwhile counts too.
Nothing is wrong with the routes, so nothing is written.
"""
from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

from bench.fabric import Fabric, wait_for
from bench.memory import cpu_seconds
from bench.report import Row, row, say, spread
from bench.routers import OUR_PROTOCOL, Bird, TimedNode, blocks, cluster
from bench.timed_agent import DUMP

COUNT = 100_000
CHECKS = 5
INTERVAL_S = 3
TARGET_S = 0.5


def measure(directory: Path) -> list[Row]:
    """CPU seconds."""
    with Fabric(directory, "n1", "n2") as fabric:
        sender = Bird(fabric, "n2", [fabric.address("n1")], statics={"st": blocks(COUNT, first=64)}, kernel=False,
                      enabled=True, passive=True)  # fmt: skip
        sender.start()
        config = cluster({"n1": (fabric.address("n1"), blocks(1))}, peers={"bird": sender.address})
        node = TimedNode(fabric, "n1", config, settings=f"  resync_interval_s: {INTERVAL_S}\n")
        node.start()
        node.wait_established(1)
        wait_for(lambda: fabric.routes("n1", OUR_PROTOCOL) > COUNT, what=f"{COUNT} routes", within=60.0)
        time.sleep(2 * INTERVAL_S)
        (agent,) = fabric.pids("n1", "bench.timed_agent")
        used = [_next_check(node, agent) for _ in range(CHECKS + 1)]
        taken = [later - earlier for earlier, later in pairwise(used)]
        say(f"{COUNT:,} routes checked: {spread(taken)} CPU seconds")
        node.stop()
        sender.stop()
    return [row(f"drift check of {COUNT:,} routes", "s CPU", taken, target=TARGET_S)]


def _next_check(node: TimedNode, agent: int) -> float:
    """The agent's CPU seconds when its next check begins."""
    before = len(node.marks(DUMP))
    wait_for(lambda: len(node.marks(DUMP)) > before, what="the next check", within=10 * INTERVAL_S)
    return cpu_seconds([agent])
