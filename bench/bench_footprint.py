"""Memory with eight peers, and CPU while nothing happens with eight and with 64."""
from __future__ import annotations

import time
from pathlib import Path

from bench.eight import eight_peers, many_peers
from bench.memory import cpu_seconds, memory
from bench.report import Row, row, say
from bench.routers import Bird, Node

SETTLE_S = 4.0
IDLE_S = 20.0
MANY = 64


def measure(directory: Path) -> list[Row]:
    """MB, and percent of a core. The supervisor is no part of the figure that has the target: it has a row."""
    with eight_peers(directory) as (node, bird):
        parts = node.processes()
        others = bird.fabric.pids(bird.host, "bird")
        three = [pid for part, pid in parts.items() if part != "supervisor"]
        idle = _idle(node, bird)
        say("RSS: " + ", ".join(f"{part} {memory([pid]).rss:.1f} MB" for part, pid in parts.items()))
        ours, theirs, supervisor = memory(three), memory(others), memory([parts["supervisor"]])
    with many_peers(directory / "many", MANY) as (node, bird):
        many = _idle(node, bird)
    return [
        row("8 peers: RSS of agent, ExaBGP and bridge", "MB", ours.rss, bird=theirs.rss, target=120.0),
        row("8 peers: PSS of agent, ExaBGP and bridge", "MB", ours.pss, bird=theirs.pss),
        row("8 peers: PSS of the supervisor", "MB", supervisor.pss),
        row("8 peers: CPU while idle, all processes", "%", idle[0], bird=idle[1], target=2.0),
        row(f"{MANY} peers: CPU while idle, all processes", "%", many[0], bird=many[1], target=2.0),
    ]


def _idle(node: Node, bird: Bird) -> tuple[float, float]:
    """Percent of a core that the node's processes, and BIRD beside it, take while nothing happens."""
    parts, others = node.processes(), bird.fabric.pids(bird.host, "bird")
    time.sleep(SETTLE_S)
    before = {part: cpu_seconds([pid]) for part, pid in parts.items()}
    bird_before = cpu_seconds(others)
    say(f"idle for {IDLE_S:g} s")
    time.sleep(IDLE_S)
    used = {part: (cpu_seconds([pid]) - before[part]) / IDLE_S * 100 for part, pid in parts.items()}
    say("CPU: " + ", ".join(f"{part} {percent:.2f} %" for part, percent in used.items()))
    return sum(used.values()), (cpu_seconds(others) - bird_before) / IDLE_S * 100
