"""Second stage: n1 is a route reflector, with n2, the daemon and both feeders as its clients."""
from __future__ import annotations

from tests.interop import scene as scenes
from tests.interop.cells import Row
from tests.interop.router import ROUTER_ID, Neighbor, Router
from tests.interop.scene import ADDRESSES, CLUSTER_AS, FEEDERS, OWN, POOLS, SHARED, Scene
from tests.support import labs

CLUSTER_ID = "10.0.0.1"


def _nodes() -> list[dict[str, object]]:
    n1, n2 = scenes.nodes_of(("n1", "n2"))
    return [
        {**n1, "route_reflector": True, "cluster_id": CLUSTER_ID, "labels": {"role": "reflector"}},
        {**n2, "labels": {"role": "worker"}},
    ]


def _client(name: str, address: str) -> dict[str, object]:
    return {"name": name, "address": address, "as": CLUSTER_AS, "nodes": ["n1"], "route_reflector_client": True}


CLUSTER = {
    "nodes": _nodes(),
    "pools": [{"cidr": cidr} for cidr in POOLS],
    "bgp": {
        "mesh": False,
        "mesh_linger": "0s",
        "peers": [
            {"name": "reflectors", "peer_selector": {"role": "reflector"}, "node_selector": {"role": "worker"}},
            {**_client("router", ROUTER_ID), "add_path": True},
            *(_client(f"to-{name}", address) for name, address in FEEDERS.items()),
        ],
    },
}

ROUTER = Router(
    asn=CLUSTER_AS,
    neighbors=(Neighbor(name="n1", address=ADDRESSES["n1"], asn=CLUSTER_AS, add_path=True),),
    prefixes=OWN,
)


def prepare(scene: Scene) -> None:
    """Another cluster file on n1 and n2, another configuration of the daemon."""
    scene.write(CLUSTER)
    scene.daemon.crash()
    scene.restart_agents("n1", "n2")
    scene.daemon.start(ROUTER)
    scene.feed("n1")
    scene.session("n1", "router")
    scene.lab.wait_established("n1", "n2", "to-x1", "to-x2")


def reflects(scene: Scene) -> None:
    block = scene.block("n2")
    seen = scene.announced(block)
    assert seen.next_hop == ADDRESSES["n2"], seen
    assert seen.originator == ADDRESSES["n2"], seen
    assert seen.clusters == (CLUSTER_ID,), seen

    path = scene.heard("n2", "n1", OWN[0])
    assert path["next_hop"] == ROUTER_ID, path
    assert path["originator_id"] == ROUTER_ID, path
    assert path["cluster_list"] == [CLUSTER_ID], path


def add_path_out(scene: Scene) -> None:
    def both() -> bool:
        return {path.next_hop for path in scene.daemon.paths(SHARED)} == set(FEEDERS.values())

    labs.wait_until(both, what=f"{scene.daemon.title} has two paths of {SHARED}")


CHECKS = ((Row.REFLECTS, reflects), (Row.ADD_PATH_OUT, add_path_out))
