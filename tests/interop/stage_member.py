"""First stage: the daemon is a route reflector in the nodes' AS, its sessions over IPv4 carry both families."""
from __future__ import annotations

import ipaddress

from tests.interop import scene as scenes
from tests.interop.cells import Row
from tests.interop.router import ADDRESS6, LARGE, ROUTER_ID, STANDARD, Neighbor, Router
from tests.interop.scene import ADDRESSES, ADDRESSES6, CLUSTER_AS, FEEDERS, OWN, OWN6, POOLS, SHARED, Scene
from tests.support import labs

BOTH = ("n1", "n2")
PEER = {"n1": "router", "n2": "stranger"}
GIVEN = ("64512:100", "64512:77:7")
"""What `bgp.communities` gives our own prefixes."""

CLUSTER = {
    "nodes": scenes.nodes_of(("n1", "n2", "n3", "r1", "x1", "x2")),
    "pools": [{"cidr": cidr} for cidr in POOLS],
    "bgp": {
        "mesh": False,
        "communities": [{"prefix": POOLS[0], "communities": list(GIVEN)}],
        "peers": [  # n2 knows no owners by this session, so that what x1 and x2 share is no conflict there
            {"name": PEER[node], "address": ROUTER_ID, "as": CLUSTER_AS, "nodes": [node], "trust_owner": node == "n1",
             "families": ["ipv4", "ipv6"], "add_path": True}
            for node in BOTH
        ],
    },
}  # fmt: skip

ROUTER = Router(
    asn=CLUSTER_AS,
    neighbors=(
        *(Neighbor(name=node, address=ADDRESSES[node], asn=CLUSTER_AS, families=("ipv4", "ipv6"), client=True,
                   add_path=True) for node in BOTH),
        *(Neighbor(name=name, address=address, asn=CLUSTER_AS, client=True) for name, address in FEEDERS.items()),
    ),
    prefixes=(*OWN, *OWN6),
)  # fmt: skip


def prepare(scene: Scene) -> None:
    """The lab begins in this stage; the feeders are clients of the daemon."""
    scene.feed("r1")


def session(scene: Scene) -> None:
    for node in BOTH:
        scene.session(node, PEER[node])


def exchange(scene: Scene) -> None:
    for node in BOTH:
        assert scene.announced(scene.block(node)).next_hop == ADDRESSES[node]
        for prefix in OWN:
            scene.installed(node, prefix, ROUTER_ID)


def communities_in(scene: Scene) -> None:
    path = scene.heard("n1", "router", OWN[0])
    assert STANDARD in path["communities"], path
    assert LARGE in path["large_communities"], path


def communities_out(scene: Scene) -> None:
    seen = scene.announced(scene.block("n1"))
    owner = f"{CLUSTER_AS}:1:{int(ipaddress.IPv4Address(ADDRESSES['n1']))}"
    assert seen.large >= {owner, GIVEN[1]}, seen
    assert GIVEN[0] in seen.communities, seen


def reflected(scene: Scene) -> None:
    for node, other in (BOTH, BOTH[::-1]):
        block = scene.block(other)
        scene.installed(node, block, ADDRESSES[other])
        path = scene.heard(node, PEER[node], block)
        assert path["next_hop"] == ADDRESSES[other], path
        assert path["originator_id"] == ADDRESSES[other], path
        assert path["cluster_list"] == [ROUTER_ID], path
        assert path["owner"] == (other if node == "n1" else ""), path


def add_path_in(scene: Scene) -> None:
    def both() -> bool:
        return {path["next_hop"] for path in scene.received("n2", PEER["n2"], SHARED)} == set(FEEDERS.values())

    labs.wait_until(both, what=f"two paths of {SHARED} from the daemon")
    scene.installed("n2", SHARED, *FEEDERS.values())


def ipv6(scene: Scene) -> None:
    for node in BOTH:
        assert scene.announced(scene.block(node, family="ipv6")).next_hop == ADDRESSES6[node]
        scene.installed(node, OWN6[0], ADDRESS6)


def refresh_in(scene: Scene) -> None:
    before = scene.peer("n1", "router")
    scene.lab.run("n1", "calicopy", "peers", "refresh", "router", "--in")
    labs.wait_until(
        lambda: int(scene.peer("n1", "router").get("updates_received", 0)) > int(before["updates_received"]),
        what="the daemon sends its table again",
    )
    assert scene.peer("n1", "router")["sessions_established"] == before["sessions_established"]


def refresh_out(scene: Scene) -> None:
    lost = scene.peer("n1", "router")["sessions_lost"]
    before = scene.daemon.updates(ADDRESSES["n1"])
    scene.daemon.refresh(ROUTER.neighbors[0])
    labs.wait_until(lambda: scene.daemon.updates(ADDRESSES["n1"]) > before, what="calicopy sends its table again")
    assert scene.peer("n1", "router")["sessions_lost"] == lost


def withdraw(scene: Scene) -> None:
    scene.daemon.withdraw(OWN[1])
    for node in BOTH:
        scene.installed(node, OWN[1])
    block = scene.block("n2")
    scene.announced(block)
    scene.lab.run("n2", "calicopy", "drain", "--force", "--wait", "1s")
    labs.wait_until(lambda: not scene.daemon.paths(block), what=f"{scene.daemon.title} has no {block}")
    scene.lab.run("n2", "calicopy", "undrain")
    scene.announced(block)


def restarting(scene: Scene) -> None:
    block = scene.block("n1")
    scene.announced(block)
    before = int(scene.peer("n1", "router")["sessions_established"])
    scene.lab.kill("n1", "calicopy.speaker")
    scenes.holds_until(
        lambda: scene.daemon.paths(block),
        until=lambda: int(scene.peer("n1", "router").get("sessions_established", 0)) > before,
        within=scenes.WITHIN_S,
        what=f"{scene.daemon.title} keeps {block} while ExaBGP restarts",
    )
    scene.session("n1", "router")
    synced = labs.wait_until(lambda: scene.peer("n1", "router")["families"], what="in sync")
    assert synced
    assert scene.daemon.paths(block)


def helper(scene: Scene) -> None:
    scene.installed("n1", OWN[0], ROUTER_ID)
    seen = scene.monitor("n1")
    scene.daemon.crash()
    labs.wait_until(lambda: not scene.established("n1", "router"), what="calicopy has noticed the crash")
    path = scene.heard("n1", "router", OWN[0])
    assert path["stale"], path
    assert scene.kernel("n1", OWN[0]) == {ROUTER_ID}
    scene.daemon.start(ROUTER, recovering=True)
    scene.session("n1", "router")

    def fresh() -> bool:
        return [path["stale"] for path in scene.received("n1", "router", OWN[0])] == [False]

    labs.wait_until(fresh, what="the path is no longer stale")
    assert scene.kernel("n1", OWN[0]) == {ROUTER_ID}
    assert f"Deleted {OWN[0]}" not in seen.read_text()


def agent(scene: Scene) -> None:
    scene.installed("n1", OWN[0], ROUTER_ID)
    seen = scene.monitor("n1")
    scene.restart_agents("n1")

    def in_sync() -> bool:
        families = scene.peer("n1", "router").get("families", [])
        return bool(families) and all(one["in_sync"] for one in families)

    labs.wait_until(in_sync, what="the new agent is in sync with the daemon")
    scene.installed("n1", OWN[0], ROUTER_ID)
    assert f"Deleted {OWN[0]}" not in seen.read_text()


CHECKS = (
    (Row.SESSION, session),
    (Row.EXCHANGE, exchange),
    (Row.COMMUNITIES_IN, communities_in),
    (Row.COMMUNITIES_OUT, communities_out),
    (Row.REFLECTED, reflected),
    (Row.ADD_PATH_IN, add_path_in),
    (Row.IPV6_OVER_IPV4, ipv6),
    (Row.REFRESH_IN, refresh_in),
    (Row.REFRESH_OUT, refresh_out),
    (Row.WITHDRAW, withdraw),
    (Row.RESTARTING, restarting),
    (Row.AGENT, agent),
    (Row.HELPER, helper),
)
