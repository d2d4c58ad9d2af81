"""A node with 1, 1,000 and 100,000 routes is gone: until no packet is sent to it any more.

The node is a BIRD without graceful restart, whose process is killed: its kernel closes the connection. Meanwhile a
flood goes from the host that is measured to 32 addresses, spread over the routes. Two moments start a clock: the end
of the connection reaches the host (for both), and the agent's core is handed "the session has ended" (for calicopy,
whose agent says so; BIRD does not). Both clocks stop with the last packet of the flood at the dead node's interface.
Nothing below half a millisecond can be seen, which is how often the flood sends.
"""
from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from bench.fabric import Fabric, wait_for
from bench.flood import INTERVAL_S, PORT, Capture, end_of_tcp_from, flooding, udp_to
from bench.report import Row, row, say, spread
from bench.routers import BIRD_PROTOCOL, OUR_PROTOCOL, Bird, TimedNode, blocks, cluster
from bench.timed_agent import NEXT_HOPS, PEER_DOWN

COUNTS = tuple(int(each) for each in os.environ.get("BENCH_FAILOVER", "1 1000 100000").split())
RUNS = 3
FLOODED = 32
TARGET_MS = 5.0
SETTLE_S = 1.0


def measure(directory: Path) -> list[Row]:
    """Milliseconds."""
    rows = []
    with Fabric(directory, "n1", "n2") as fabric:
        for count in COUNTS:
            decided, ended = _ours(fabric, count)
            bird = _bird(fabric, count)
            what = f"a node with {count:,} route{'s' * (count > 1)} gone"
            rows += [
                row(f"{what}: from the decision to the last packet to it", "ms", decided, target=TARGET_MS),
                row(f"{what}: from the end of its connection to the last packet to it", "ms", ended, bird=bird),
            ]
    return rows


def _ours(fabric: Fabric, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the decision, and from the end of the connection."""
    nodes = {"n1": (fabric.address("n1"), blocks(1))}
    node = TimedNode(fabric, "n1", cluster(nodes, peers={"gone": fabric.address("n2")}))
    node.start()
    decided, ended = [], []
    for _ in range(RUNS):
        dead = _sender(fabric, count)
        node.wait_established(1)
        end, last = _one(fabric, dead, count, OUR_PROTOCOL, own=1)
        down = min(at for at in node.marks(PEER_DOWN) if at >= end)
        ordered = min((at for at in node.marks(NEXT_HOPS) if at >= down), default=down)
        decided.append(max(last - down, INTERVAL_S) * 1e3)
        ended.append(max(last - end, INTERVAL_S) * 1e3)
        say(f"{count:,} routes, calicopy: connection ended, {(down - end) * 1e3:.2f} ms later decided, then "
            f"{(ordered - down) * 1e3:.2f} ms to the order, {decided[-1]:.2f} ms to the last packet")  # fmt: skip
    node.stop()
    fabric.flush_routes("n1", OUR_PROTOCOL)
    return decided, ended


def _bird(fabric: Fabric, count: int) -> list[float]:
    bird = Bird(fabric, "n1", [fabric.address("n2")], graceful_restart=False)
    bird.start()
    ended = []
    for _ in range(RUNS):
        dead = _sender(fabric, count)
        bird.wait_established()
        end, last = _one(fabric, dead, count, BIRD_PROTOCOL, own=0)
        ended.append(max(last - end, INTERVAL_S) * 1e3)
    say(f"{count:,} routes, BIRD: {spread(ended)} ms")
    bird.stop()
    return ended


def _sender(fabric: Fabric, count: int) -> Bird:
    statics = {"st": blocks(count, first=64)}
    dead = Bird(fabric, "n2", [fabric.address("n1")], statics=statics, kernel=False, enabled=True, passive=True,
                graceful_restart=False)  # fmt: skip
    dead.start()
    return dead


def _one(fabric: Fabric, dead: Bird, count: int, protocol: int, *, own: int) -> tuple[float, float]:
    """(when the connection's end reached the host, when the last packet reached the dead node), as `time.time`.

    `own`: routes of the host's own that stay.
    """
    wait_for(lambda: fabric.routes("n1", protocol) >= count + own, what=f"{count} routes", within=60.0)
    time.sleep(SETTLE_S)
    routes = blocks(count, first=64)
    step = max(1, count // (FLOODED - 1))
    addresses = [route.partition("/")[0] for route in {*routes[::step], routes[-1]}]
    with flooding(fabric, "n1", addresses):
        arriving = Capture(fabric, "n2", udp_to(PORT))
        wait_for(lambda: arriving.holds_one, what="the flood arrives")
        ending = Capture(fabric, "n1", end_of_tcp_from(fabric.address("n2")))
        assert dead.process is not None
        for pid in fabric.pids("n2", "bird"):
            os.kill(pid, signal.SIGKILL)
        time.sleep(SETTLE_S)  # to count 100,000 routes takes a processor, which is wanted just now
        wait_for(lambda: fabric.routes("n1", protocol) == own, what="the routes are gone", within=60.0)
        time.sleep(0.1)
    dead.stop()
    return ending.times()[0], arriving.times()[-1]


