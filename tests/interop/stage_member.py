"""First stage: the daemon is a route reflector in the nodes' AS, its sessions over IPv4 carry both families."""
from __future__ import annotations

import ipaddress

from tests.interop import bench as benches
from tests.interop.bench import ADDRESSES, ADDRESSES6, CLUSTER_AS, FEEDERS, OWN, OWN6, POOLS, SHARED, Bench
from tests.interop.cells import Row
from tests.interop.router import ADDRESS6, LARGE, ROUTER_ID, STANDARD, Neighbor, Router
from tests.support import labs

BOTH = ("n1", "n2")
PEER = {"n1": "router", "n2": "stranger"}
GIVEN = ("64512:100", "64512:77:7")
"""What `bgp.communities` gives our own prefixes."""

CLUSTER = {
    "nodes": benches.nodes_of(("n1", "n2", "n3", "r1", "x1", "x2")),
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


def prepare(bench: Bench) -> None:
    """The lab begins in this stage; the feeders are clients of the daemon."""
    bench.feed("r1")


def session(bench: Bench) -> None:
    for node in BOTH:
        bench.session(node, PEER[node])


def exchange(bench: Bench) -> None:
    for node in BOTH:
        assert bench.announced(bench.block(node)).next_hop == ADDRESSES[node]
        for prefix in OWN:
            bench.installed(node, prefix, ROUTER_ID)


def communities_in(bench: Bench) -> None:
    (path,) = bench.received("n1", "router", OWN[0])
    assert STANDARD in path["communities"], path
    assert LARGE in path["large_communities"], path


def communities_out(bench: Bench) -> None:
    seen = bench.announced(bench.block("n1"))
    owner = f"{CLUSTER_AS}:1:{int(ipaddress.IPv4Address(ADDRESSES['n1']))}"
    assert seen.large >= {owner, GIVEN[1]}, seen
    assert GIVEN[0] in seen.communities, seen


def reflected(bench: Bench) -> None:
    for node, other in (BOTH, BOTH[::-1]):
        block = bench.block(other)
        bench.installed(node, block, ADDRESSES[other])
        (path,) = bench.received(node, PEER[node], block)
        assert path["next_hop"] == ADDRESSES[other], path
        assert path["originator_id"] == ADDRESSES[other], path
        assert path["cluster_list"] == [ROUTER_ID], path
        assert path["owner"] == (other if node == "n1" else ""), path


def add_path_in(bench: Bench) -> None:
    def both() -> bool:
        return {path["next_hop"] for path in bench.received("n2", PEER["n2"], SHARED)} == set(FEEDERS.values())

    labs.wait_until(both, what=f"two paths of {SHARED} from the daemon")
    bench.installed("n2", SHARED, *FEEDERS.values())


def ipv6(bench: Bench) -> None:
    for node in BOTH:
        assert bench.announced(bench.block(node, family="ipv6")).next_hop == ADDRESSES6[node]
        bench.installed(node, OWN6[0], ADDRESS6)


def refresh_in(bench: Bench) -> None:
    before = bench.peer("n1", "router")
    bench.lab.run("n1", "calicopy", "peers", "refresh", "router", "--in")
    labs.wait_until(
        lambda: int(bench.peer("n1", "router").get("updates_received", 0)) > int(before["updates_received"]),
        what="the daemon sends its table again",
    )
    assert bench.peer("n1", "router")["sessions_established"] == before["sessions_established"]


def refresh_out(bench: Bench) -> None:
    lost = bench.peer("n1", "router")["sessions_lost"]
    before = bench.daemon.updates(ADDRESSES["n1"])
    bench.daemon.refresh(ROUTER.neighbors[0])
    labs.wait_until(lambda: bench.daemon.updates(ADDRESSES["n1"]) > before, what="calicopy sends its table again")
    assert bench.peer("n1", "router")["sessions_lost"] == lost


def withdraw(bench: Bench) -> None:
    bench.daemon.withdraw(OWN[1])
    for node in BOTH:
        bench.installed(node, OWN[1])
    block = bench.block("n2")
    bench.announced(block)
    bench.lab.run("n2", "calicopy", "drain", "--force", "--wait", "1s")
    labs.wait_until(lambda: not bench.daemon.paths(block), what=f"{bench.daemon.title} has no {block}")
    bench.lab.run("n2", "calicopy", "undrain")
    bench.announced(block)


def restarting(bench: Bench) -> None:
    block = bench.block("n1")
    bench.announced(block)
    before = int(bench.peer("n1", "router")["sessions_established"])
    bench.lab.kill("n1", "calicopy.speaker")
    benches.holds_until(
        lambda: bench.daemon.paths(block),
        until=lambda: int(bench.peer("n1", "router").get("sessions_established", 0)) > before,
        within=benches.WITHIN_S,
        what=f"{bench.daemon.title} keeps {block} while ExaBGP restarts",
    )
    bench.session("n1", "router")
    synced = labs.wait_until(lambda: bench.peer("n1", "router")["families"], what="in sync")
    assert synced
    assert bench.daemon.paths(block)


def helper(bench: Bench) -> None:
    routes = bench.directory / "routes-of-n1"
    bench.lab.spawn("n1", "ip", "monitor", "route", output=routes)
    bench.installed("n1", OWN[0], ROUTER_ID)
    bench.daemon.crash()
    labs.wait_until(lambda: not bench.established("n1", "router"), what="calicopy has noticed the crash")
    (path,) = bench.received("n1", "router", OWN[0])
    assert path["stale"], path
    assert bench.kernel("n1", OWN[0]) == {ROUTER_ID}
    bench.daemon.start(ROUTER, recovering=True)
    bench.session("n1", "router")

    def fresh() -> bool:
        return [path["stale"] for path in bench.received("n1", "router", OWN[0])] == [False]

    labs.wait_until(fresh, what="the path is no longer stale")
    assert bench.kernel("n1", OWN[0]) == {ROUTER_ID}
    gone = [line for line in routes.read_text().splitlines() if line.startswith(f"Deleted {OWN[0]}")]
    assert not gone, gone


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
    (Row.HELPER, helper),
)
