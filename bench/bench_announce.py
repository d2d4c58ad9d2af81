"""One route more: from the announcement at one node to the kernel of its peer.

An API call makes the node claim a further block. The block is announced once it is on disk: in that step the agent
says so in its log, writes its own blackhole route and answers the call, and the first of the three that is seen starts
the clock. Another row starts with the call, so it has gRPC and the commits to disk in it.

BIRD starts with `enable` of a static protocol, over a control connection that is open already. Between BIRD and
calicopy, the receiving half alone is seen.
"""
from __future__ import annotations

import time
from pathlib import Path

from bench.fabric import BenchError, Fabric, RouteWatch, watching
from bench.report import Row, row, say, spread
from bench.routers import BIRD_PROTOCOL, OUR_PROTOCOL, Bird, Node, blocks, cluster
from calicopy.v1 import ipam_pb2

COUNT = 30
BLOCK_SIZE = 30
POOL = "10.0.0.0/16"
ROUTES = blocks(COUNT)
STATICS = {f"st{number}": [route] for number, route in enumerate(ROUTES)}


def measure(directory: Path) -> list[Row]:
    """Milliseconds."""
    with Fabric(directory, "n1", "n2") as fabric:
        ours, called = _between_nodes(fabric)
        say(f"calicopy to calicopy: {spread(ours)} ms")
        say(f"from the API call: {spread(called)} ms")
        bird = _from_bird(fabric, to_bird=True)
        say(f"BIRD to BIRD: {spread(bird)} ms")
        received = _from_bird(fabric, to_bird=False)
        say(f"BIRD to calicopy: {spread(received)} ms")
    return [
        row("announce to installed on the peer", "ms", ours, bird=bird, target=10.0),
        row("announced by BIRD to installed", "ms", received, bird=bird, target=5.0),
        row("API call that claims a block to installed on the peer", "ms", called),
    ]


def _between_nodes(fabric: Fabric) -> tuple[list[float], list[float]]:
    nodes: dict[str, tuple[str, list[str]]] = {name: (fabric.address(name), []) for name in fabric.hosts}
    config = cluster(nodes, pool=POOL, block_size=BLOCK_SIZE)
    first, second = Node(fabric, "n1", config), Node(fabric, "n2", config)
    first.start()
    second.start()
    first.wait_established(1)
    second.wait_established(1)
    time.sleep(3.0)  # the first claims, which wait for all peers
    with watching(fabric, "n1", OUR_PROTOCOL) as own, watching(fabric, "n2", OUR_PROTOCOL) as peer:
        taken = _claim_and_watch(first, own, peer)
    first.stop()
    second.stop()
    return taken


def _claim_and_watch(node: Node, own: RouteWatch, peer: RouteWatch) -> tuple[list[float], list[float]]:
    """Assign address after address; (ms from the announcement, ms from the call) of those that led to a route."""
    announced: list[float] = []
    called: list[float] = []
    with node.ipam() as stub:
        for number in range(COUNT * 2 ** (32 - BLOCK_SIZE) * 2):
            own.clear()
            peer.clear()
            lines = len(node.log)
            began = time.monotonic()
            stub.AssignAddress(ipam_pb2.AssignAddressRequest(handle=f"h{number}"), timeout=10)
            answered = time.monotonic()
            time.sleep(0.1)
            for block, at in peer.added().items():
                said = [when for when, line in node.log[lines:] if f"{block} is ours" in line]
                start = min(answered, *said, own.added().get(f"blackhole {block}", answered))
                announced.append((at - start) * 1e3)
                called.append((at - began) * 1e3)
            if len(announced) >= COUNT:
                return announced, called
    raise BenchError(f"{len(announced)} blocks were announced, of {COUNT}")


def _from_bird(fabric: Fabric, *, to_bird: bool) -> list[float]:
    sender = Bird(fabric, "n1", [fabric.address("n2")], statics=STATICS, kernel=False, passive=True)
    sender.start()
    receiver: Bird | Node
    if to_bird:
        receiver = Bird(fabric, "n2", [fabric.address("n1")])
    else:
        nodes = {"n2": (fabric.address("n2"), blocks(1, first=5000))}
        receiver = Node(fabric, "n2", cluster(nodes, peers={"bird": fabric.address("n1")}))
    receiver.start()
    receiver.wait_established(1)
    sender.wait_established()
    time.sleep(0.5)  # End-of-RIB both ways
    taken = []
    with watching(fabric, "n2", BIRD_PROTOCOL if to_bird else OUR_PROTOCOL) as watch:
        for title, (route,) in STATICS.items():
            time.sleep(0.05)
            began = time.monotonic()
            sender.tell(f"enable {title}")
            taken.append((watch.wait_added(route) - began) * 1e3)
    receiver.stop()
    sender.stop()
    return taken
