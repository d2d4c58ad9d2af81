"""From the start of the processes to the first route, and to a first claim while a peer is dead.

The clock starts when `calicopy node` is executed, which starts speaker and agent. The first route is the block of a
node that runs already. The claim counts when the block is in the kernel, which is when it is confirmed and announced.
"""
from __future__ import annotations

import shutil
from pathlib import Path

from bench.fabric import Fabric, watching
from bench.report import Row, row, say, spread
from bench.routers import BIRD_PROTOCOL, OUR_PROTOCOL, Bird, Node, blocks, cluster

RUNS = 3
FIRST, SECOND = blocks(2)


def measure(directory: Path) -> list[Row]:
    """Seconds."""
    with Fabric(directory, "n1", "n2") as fabric:
        first_route = _first_route(fabric)
        bird = _bird(fabric)
        lonely = _claim(fabric, {"n1": (fabric.address("n1"), []), "n2": ("192.0.2.77", [])})
        say(f"first claim, the only peer dead: {spread(lonely)} s")
        one_dead = _claim_with_one_alive(fabric)
        restart = _restart_with_one_dead(fabric)
    return [
        row("start to first route", "s", first_route, bird=bird, target=1.5),
        row("restart of a node, one of two peers dead, to its first route", "s", restart, target=1.5),
        row("start to first claim, one of two peers dead", "s", one_dead, target=2.5),
        row("start to first claim, all peers dead", "s", lonely, target=2.5),
    ]


def _first_route(fabric: Fabric) -> list[float]:
    config = cluster({"n1": (fabric.address("n1"), [FIRST]), "n2": (fabric.address("n2"), [SECOND])})
    other, node = Node(fabric, "n2", config), Node(fabric, "n1", config)
    other.start()
    other.wait_up()
    taken = []
    for _ in range(RUNS):
        with watching(fabric, "n1", OUR_PROTOCOL) as watch:
            node.start()
            taken.append(watch.wait_added(SECOND) - node.started)
        node.wait_up()
        _forget(node)
    other.stop()
    say(f"first route: {spread(taken)} s")
    return taken


def _claim_with_one_alive(fabric: Fabric) -> list[float]:
    nodes = {"n1": (fabric.address("n1"), []), "n2": (fabric.address("n2"), [SECOND]), "n3": ("192.0.2.77", [])}
    other = Node(fabric, "n2", cluster(nodes))
    other.start()
    other.wait_up()
    taken = _claim(fabric, nodes)
    other.stop()
    say(f"first claim, one of two peers dead: {spread(taken)} s")
    return taken


def _claim(fabric: Fabric, nodes: dict[str, tuple[str, list[str]]]) -> list[float]:
    node = Node(fabric, "n1", cluster(nodes))
    taken = []
    for _ in range(RUNS):
        with watching(fabric, "n1", OUR_PROTOCOL) as watch:
            node.start()
            node.wait_for(lambda: any(name.startswith("blackhole") for name in watch.added()), what="a block claimed")
            taken.append(min(at for name, at in watch.added().items() if name.startswith("blackhole")) - node.started)
        node.wait_up()
        _forget(node)
    return taken


def _restart_with_one_dead(fabric: Fabric) -> list[float]:
    """Ended, its routes gone as after a boot, its state kept. BIRD with Calico's settings waits 240 s for the dead
    one: too long to be measured here.
    """
    nodes = {"n1": (fabric.address("n1"), [FIRST]), "n2": (fabric.address("n2"), [SECOND]), "n3": ("192.0.2.77", [])}
    other, node = Node(fabric, "n2", cluster(nodes)), Node(fabric, "n1", cluster(nodes))
    other.start()
    other.wait_up()
    node.start()
    node.wait_established(1)
    taken = []
    for _ in range(RUNS):
        node.stop()
        fabric.flush_routes("n1", OUR_PROTOCOL)
        with watching(fabric, "n1", OUR_PROTOCOL) as watch:
            node.start()
            taken.append(watch.wait_added(SECOND) - node.started)
        node.wait_established(1)
    _forget(node)
    _forget(other)
    say(f"restart, one of two peers dead, first route: {spread(taken)} s")
    return taken


def _forget(node: Node) -> None:
    """End it, and everything that it knew."""
    node.stop()
    node.fabric.flush_routes(node.name, OUR_PROTOCOL)
    for name in ("state", "run"):
        shutil.rmtree(node.directory / name, ignore_errors=True)


def _bird(fabric: Fabric) -> list[float]:
    other = Bird(fabric, "n2", [fabric.address("n1")], statics={"st": [SECOND]}, enabled=True)
    bird = Bird(fabric, "n1", [fabric.address("n2")], statics={"st": [FIRST]}, enabled=True)
    other.start()
    other.wait_up()
    taken = []
    for _ in range(RUNS):
        with watching(fabric, "n1", BIRD_PROTOCOL) as watch:
            bird.start()
            taken.append(watch.wait_added(SECOND) - bird.started)
        bird.stop()
        fabric.flush_routes("n1", BIRD_PROTOCOL)
    other.stop()
    say(f"BIRD, first route: {spread(taken)} s")
    return taken
