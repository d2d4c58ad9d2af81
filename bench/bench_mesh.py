"""A mesh of three nodes that start at once, each with a pinned block.

The start-up of an agent is done when it serves its API and says "agent is up"; that of BIRD when its control socket
answers. Measured is from the last start-up being done to the last of the six routes being in its kernel; less than 0
when all routes were there before.
"""
from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench.fabric import Fabric, RouteWatch, watching
from bench.report import Row, row, say, spread
from bench.routers import BIRD_PROTOCOL, OUR_PROTOCOL, Bird, Node, blocks, cluster

RUNS = 3
HOSTS = ("n1", "n2", "n3")
BLOCKS = dict(zip(HOSTS, blocks(len(HOSTS)), strict=True))


def measure(directory: Path) -> list[Row]:
    """Seconds."""
    ours = [_calicopy(directory / f"ours{number}") for number in range(RUNS)]
    say(f"calicopy: {spread(ours)} s")
    bird = [_bird(directory / f"bird{number}") for number in range(RUNS)]
    say(f"BIRD: {spread(bird)} s")
    return [row("mesh of 3: last start-up done to every block installed everywhere", "s", ours, bird=bird, target=1.0)]


def _calicopy(directory: Path) -> float:
    directory.mkdir()
    with Fabric(directory, *HOSTS) as fabric, ExitStack() as stack:
        watches = _watches(fabric, stack, OUR_PROTOCOL)
        config = cluster({name: (fabric.address(name), [BLOCKS[name]]) for name in HOSTS})
        nodes = [Node(fabric, name, config) for name in HOSTS]
        for node in nodes:
            node.start()
        done = max(node.wait_up() for node in nodes)
        return _all_installed(watches) - done


def _bird(directory: Path) -> float:
    directory.mkdir()
    with Fabric(directory, *HOSTS) as fabric, ExitStack() as stack:
        watches = _watches(fabric, stack, BIRD_PROTOCOL)
        birds = [
            Bird(fabric, name, [fabric.address(other) for other in HOSTS if other != name],
                 statics={"st": [BLOCKS[name]]}, enabled=True)
            for name in HOSTS
        ]  # fmt: skip
        for each in birds:
            each.start()
        done = max(each.wait_up() for each in birds)
        return _all_installed(watches) - done


def _watches(fabric: Fabric, stack: ExitStack, protocol: int) -> dict[str, RouteWatch]:
    return {name: stack.enter_context(watching(fabric, name, protocol)) for name in HOSTS}


def _all_installed(watches: dict[str, RouteWatch]) -> float:
    return max(
        watch.wait_added(*(block for other, block in BLOCKS.items() if other != name), within=60)
        for name, watch in watches.items()
    )
