"""Second stage: n1 is a route reflector, with n2, the daemon and both feeders as its clients."""
from __future__ import annotations

from tests.interop import bench as benches
from tests.interop.bench import ADDRESSES, CLUSTER_AS, FEEDERS, OWN, POOLS, SHARED, Bench
from tests.interop.cells import Row
from tests.interop.router import ROUTER_ID, Neighbor, Router
from tests.support import labs

CLUSTER_ID = "10.0.0.1"


def _nodes() -> list[dict[str, object]]:
    n1, n2 = benches.nodes_of(("n1", "n2"))
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


def prepare(bench: Bench) -> None:
    """Another cluster file on n1 and n2, another configuration of the daemon."""
    bench.write(CLUSTER)
    bench.daemon.crash()
    bench.restart_agents("n1", "n2")
    bench.daemon.start(ROUTER)
    bench.feed("n1")
    bench.session("n1", "router")
    bench.lab.wait_established("n1", "n2", "to-x1", "to-x2")


def reflects(bench: Bench) -> None:
    block = bench.block("n2")
    seen = bench.announced(block)
    assert seen.next_hop == ADDRESSES["n2"], seen
    assert seen.originator == ADDRESSES["n2"], seen
    assert seen.clusters == (CLUSTER_ID,), seen

    (path,) = labs.wait_until(lambda: bench.received("n2", "n1", OWN[0]), what=f"n2 hears {OWN[0]} from n1")
    assert path["next_hop"] == ROUTER_ID, path
    assert path["originator_id"] == ROUTER_ID, path
    assert path["cluster_list"] == [CLUSTER_ID], path


def add_path_out(bench: Bench) -> None:
    def both() -> bool:
        return {path.next_hop for path in bench.daemon.paths(SHARED)} == set(FEEDERS.values())

    labs.wait_until(both, what=f"{bench.daemon.title} has two paths of {SHARED}")


CHECKS = ((Row.REFLECTS, reflects), (Row.ADD_PATH_OUT, add_path_out))
