"""`calicopy peers` with eight peers, beside `birdc show protocols`."""
from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.eight import PEERS, eight_peers
from bench.fabric import run
from bench.report import Row, row, say, spread

RUNS = 9


def measure(directory: Path) -> list[Row]:
    """Seconds from start to end of the process."""
    with eight_peers(directory) as (node, bird):
        calicopy = str(Path(sys.executable).with_name("calicopy"))
        ours = _times(calicopy, "peers", "--socket", node.socket)
        say(f"calicopy peers: {spread(ours)} s")
        theirs = _times("birdc", "-s", str(bird.control), "show", "protocols")
        say(f"birdc: {spread(theirs)} s")
    return [row("`calicopy peers`", "s", ours, bird=theirs, target=0.4)]


def _times(*command: str) -> list[float]:
    taken = []
    for _ in range(RUNS):
        began = time.monotonic()
        shown = run(*command)
        taken.append(time.monotonic() - began)
        assert shown.count("Established") >= PEERS, shown
    return taken
