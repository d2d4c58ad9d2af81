"""Third stage: the daemon is in an AS of its own; plain to n1 (over IPv4 and IPv6), MD5 to n2, TTL security to n3."""
from __future__ import annotations

from typing import Any

from tests.interop import bench as benches
from tests.interop.bench import ADDRESSES, ADDRESSES6, CLUSTER_AS, OWN, OWN6, POOLS, Bench
from tests.interop.cells import Row
from tests.interop.router import ADDRESS6, NODE, ROUTER_ID, Neighbor, Router
from tests.support import labs

EXTERNAL_AS = 65009
KEY = "a-key-of-both"


def _peer(name: str, node: str, address: str = ROUTER_ID, **more: Any) -> dict[str, Any]:
    return {"name": name, "address": address, "as": EXTERNAL_AS, "nodes": [node], **more}


CLUSTER = {
    "nodes": benches.nodes_of(("n1", "n2", "n3")),
    "pools": [{"cidr": cidr} for cidr in POOLS],
    "bgp": {
        "mesh": False,
        "mesh_linger": "0s",
        "peers": [
            _peer("router", "n1"),
            _peer("router6", "n1", ADDRESS6),
            _peer("keyed", "n2", password_file="/etc/calicopy/key"),
            _peer("near", "n3", ttl_security=1),
        ],
    },
}

ROUTER = Router(
    asn=EXTERNAL_AS,
    neighbors=(
        Neighbor(name="n1", address=ADDRESSES["n1"], asn=CLUSTER_AS),
        Neighbor(name="n1six", address=ADDRESSES6["n1"], asn=CLUSTER_AS, local=ADDRESS6, families=("ipv6",)),
        Neighbor(name="n2", address=ADDRESSES["n2"], asn=CLUSTER_AS, password=KEY),
        Neighbor(name="n3", address=ADDRESSES["n3"], asn=CLUSTER_AS, near=True),
    ),
    prefixes=(*OWN, *OWN6),
)


def prepare(bench: Bench) -> None:
    """calicopy on n3 starts here; packets between it and the daemon pass a hop too many, and n2 has the wrong key."""
    bench.write(CLUSTER)
    bench.daemon.crash()
    bench.feed()
    _hop_too_many(bench, NODE, towards=ADDRESSES["n3"])
    command = "calicopy node --config /etc/calicopy/cluster.yaml"
    bench.lab.run("n3", "sh", "-c", f"{command} >>/proc/1/fd/1 2>&1 </dev/null &")
    bench.restart_agents("n1", "n2")
    bench.daemon.start(ROUTER)


def ebgp(bench: Bench) -> None:
    bench.session("n1", "router")
    seen = bench.announced(bench.block("n1"))
    assert seen.as_path == (CLUSTER_AS,), seen
    assert seen.next_hop == ADDRESSES["n1"], seen
    for prefix in OWN:
        bench.installed("n1", prefix, ROUTER_ID)
    (path,) = bench.received("n1", "router", OWN[0])
    assert path["as_path"] == str(EXTERNAL_AS), path


def ipv6(bench: Bench) -> None:
    bench.session("n1", "router6")
    seen = bench.announced(bench.block("n1", family="ipv6"))
    assert seen.as_path == (CLUSTER_AS,), seen
    assert seen.next_hop == ADDRESSES6["n1"], seen
    bench.installed("n1", OWN6[0], ADDRESS6)


def md5(bench: Bench) -> None:
    def refused() -> int:
        return sum(bench.counter(node, "TCPMD5Failure") for node in ("n2", NODE))

    labs.wait_until(refused, what="segments with the wrong key are dropped")
    assert not bench.established("n2", "keyed")
    (bench.directory / "key").write_text(KEY)
    bench.restart_agents("n2")
    bench.session("n2", "keyed")
    bench.announced(bench.block("n2"))


def ttl_security(bench: Bench) -> None:
    labs.wait_until(lambda: bench.counter("n3", "TCPMinTTLDrop"), what="calicopy drops what came over a router")
    assert not bench.established("n3", "near")
    bench.lab.run(NODE, "nft", "flush", "ruleset")
    before = bench.counter(NODE, "TCPMinTTLDrop")
    _hop_too_many(bench, "n3", towards=ROUTER_ID)
    labs.wait_until(lambda: bench.counter(NODE, "TCPMinTTLDrop") > before,
                    what=f"{bench.daemon.title} drops what came over a router")  # fmt: skip
    bench.lab.run("n3", "nft", "delete", "table", "ip", "farther")
    bench.session("n3", "near")
    bench.announced(bench.block("n3"))


def _hop_too_many(bench: Bench, node: str, *, towards: str) -> None:
    """What `node` sends looks as if a router had passed it on."""
    rules = ("add table ip farther",
             "add chain ip farther out { type filter hook output priority mangle; }",
             f"add rule ip farther out ip daddr {towards} ip protocol tcp ip ttl set 254")  # fmt: skip
    for rule in rules:
        bench.lab.run(node, "nft", *rule.split())


CHECKS = ((Row.EBGP, ebgp), (Row.IPV6_OVER_IPV6, ipv6), (Row.MD5, md5), (Row.TTL_SECURITY, ttl_security))
