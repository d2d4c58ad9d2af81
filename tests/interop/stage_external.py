"""Third stage: the daemon is in an AS of its own; plain to n1 (over IPv4 and IPv6), MD5 to n2, TTL security to n3."""
from __future__ import annotations

from typing import Any

from tests.interop import scene as scenes
from tests.interop.cells import Row
from tests.interop.router import ADDRESS6, NODE, ROUTER_ID, Neighbor, Router
from tests.interop.scene import ADDRESSES, ADDRESSES6, CLUSTER_AS, OWN, OWN6, POOLS, Scene
from tests.support import labs

EXTERNAL_AS = 65009
KEY = "a-key-of-both"


def _peer(name: str, node: str, address: str = ROUTER_ID, **more: Any) -> dict[str, Any]:
    return {"name": name, "address": address, "as": EXTERNAL_AS, "nodes": [node], **more}


CLUSTER = {
    "nodes": scenes.nodes_of(("n1", "n2", "n3")),
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


def prepare(scene: Scene) -> None:
    """calicopy on n3 starts here; packets between it and the daemon pass a hop too many, and n2 has the wrong key."""
    scene.write(CLUSTER)
    scene.daemon.crash()
    scene.feed()
    _hop_too_many(scene, NODE, towards=ADDRESSES["n3"])
    command = "calicopy node --config /etc/calicopy/cluster.yaml"
    scene.lab.run("n3", "sh", "-c", f"{command} >>/proc/1/fd/1 2>&1 </dev/null &")
    scene.restart_agents("n1", "n2")
    scene.daemon.start(ROUTER)


def ebgp(scene: Scene) -> None:
    scene.session("n1", "router")
    seen = scene.announced(scene.block("n1"))
    assert seen.as_path == (CLUSTER_AS,), seen
    assert seen.next_hop == ADDRESSES["n1"], seen
    for prefix in OWN:
        path = scene.heard("n1", "router", prefix)
        assert path["as_path"] == str(EXTERNAL_AS), path
        scene.installed("n1", prefix, ROUTER_ID)


def ipv6(scene: Scene) -> None:
    scene.session("n1", "router6")
    seen = scene.announced(scene.block("n1", family="ipv6"))
    assert seen.as_path == (CLUSTER_AS,), seen
    assert seen.next_hop == ADDRESSES6["n1"], seen
    scene.heard("n1", "router6", OWN6[0])
    scene.installed("n1", OWN6[0], ADDRESS6)


def md5(scene: Scene) -> None:
    def refused() -> int:
        return sum(scene.counter(node, "TCPMD5Failure") for node in ("n2", NODE))

    labs.wait_until(refused, what="segments with the wrong key are dropped")
    assert not scene.established("n2", "keyed")
    (scene.directory / "key").write_text(KEY)
    scene.session("n2", "keyed")
    scene.announced(scene.block("n2"))


def ttl_security(scene: Scene) -> None:
    labs.wait_until(lambda: scene.counter("n3", "TCPMinTTLDrop"), what="calicopy drops what came over a router")
    assert not scene.established("n3", "near")
    scene.lab.run(NODE, "nft", "flush", "ruleset")
    before = scene.counter(NODE, "TCPMinTTLDrop")
    _hop_too_many(scene, "n3", towards=ROUTER_ID)
    labs.wait_until(lambda: scene.counter(NODE, "TCPMinTTLDrop") > before,
                    what=f"{scene.daemon.title} drops what came over a router")  # fmt: skip
    scene.lab.run("n3", "nft", "delete", "table", "ip", "farther")
    scene.session("n3", "near")
    scene.announced(scene.block("n3"))


def _hop_too_many(scene: Scene, node: str, *, towards: str) -> None:
    """What `node` sends looks as if a router had passed it on."""
    rules = ("add table ip farther",
             "add chain ip farther out { type filter hook output priority mangle; }",
             f"add rule ip farther out ip daddr {towards} ip protocol tcp ip ttl set 254")  # fmt: skip
    for rule in rules:
        scene.lab.run(node, "nft", *rule.split())


CHECKS = ((Row.EBGP, ebgp), (Row.IPV6_OVER_IPV6, ipv6), (Row.MD5, md5), (Row.TTL_SECURITY, ttl_security))
