"""A node and a BIRD beside it, each with the same BIRD peers, which announce a route each."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.fabric import Fabric
from bench.routers import Bird, Node, blocks, cluster

PEERS = 8


def eight_peers(directory: Path) -> AbstractContextManager[tuple[Node, Bird]]:
    """All sessions are up."""
    return many_peers(directory, PEERS)


@contextmanager
def many_peers(directory: Path, count: int) -> Iterator[tuple[Node, Bird]]:
    """The same with so many peers, up to 100."""
    directory.mkdir(exist_ok=True)
    with Fabric(directory, "n1", "b1", "peers") as fabric:
        addresses = {f"r{number}": f"192.0.2.{100 + number}" for number in range(count)}
        routes = dict(zip(addresses, blocks(count, first=64), strict=True))
        peers = []
        for name, address in addresses.items():
            fabric.add_address("peers", address)
            peers.append(Bird(fabric, "peers", [fabric.address("n1"), fabric.address("b1")], name=name, address=address,
                              statics={"st": [routes[name]]}, kernel=False, passive=True, enabled=True))  # fmt: skip
            peers[-1].start()
        node = Node(fabric, "n1", cluster({"n1": (fabric.address("n1"), blocks(1))}, peers=addresses))
        bird = Bird(fabric, "b1", [*addresses.values()])
        node.start()
        bird.start()
        node.wait_established(count)
        bird.wait_established()
        yield node, bird
