"""One route more: from the announcement at one node to the kernel of its peer.

calicopy to calicopy starts with the API call that makes the node claim a further block, so it has the call, the
commit to disk and the decision in it. BIRD starts with `enable` of a static protocol, over a control connection that
is open already. Between BIRD and calicopy, the receiving half alone is seen.
"""
from __future__ import annotations

import time
from pathlib import Path

from bench.fabric import Fabric, RouteWatch, watching
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
        ours = _between_nodes(fabric)
        say(f"calicopy to calicopy: {spread(ours)} ms")
        bird = _from_bird(fabric, to_bird=True)
        say(f"BIRD to BIRD: {spread(bird)} ms")
        received = _from_bird(fabric, to_bird=False)
        say(f"BIRD to calicopy: {spread(received)} ms")
    return [
        row("announce to installed on the peer", "ms", ours, bird=bird, target=10.0),
        row("announced by BIRD to installed", "ms", received, bird=bird),
    ]


def _between_nodes(fabric: Fabric) -> list[float]:
    nodes = {name: (fabric.address(name), []) for name in fabric.hosts}
    config = cluster(nodes, pool=POOL, block_size=BLOCK_SIZE)
    first, second = Node(fabric, "n1", config), Node(fabric, "n2", config)
    first.start()
    second.start()
    first.wait_established(1)
    second.wait_established(1)
    with watching(fabric, "n2", OUR_PROTOCOL) as watch:
        taken = _claim_and_watch(first, watch)
    first.stop()
    second.stop()
    return taken


def _claim_and_watch(node: Node, watch: RouteWatch) -> list[float]:
    """Assign address after address; the calls that led to a new route at the peer."""
    taken: list[float] = []
    with node.ipam() as stub:
        number = 0
        while len(taken) < COUNT:
            watch.clear()
            began = time.monotonic()
            stub.AssignAddress(ipam_pb2.AssignAddressRequest(handle=f"h{number}"), timeout=10)
            number += 1
            time.sleep(0.15)
            taken += [(at - began) * 1e3 for name, at in watch.added().items() if not name.endswith("/32")]
    return taken


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
