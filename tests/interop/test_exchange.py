"""calicopy beside BIRD, FRR and GoBGP: a full exchange of routes both ways, over iBGP and eBGP."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timeout(240)]

CLUSTER_AS = 64512
ROUTER = "192.0.2.9"
THEIRS = ("10.244.255.0/26", "10.244.255.64/26")
NODES = {"n1": "192.0.2.1", "n2": "192.0.2.2"}

CLUSTER = """
nodes:
  - {{name: n1, address: 192.0.2.1/24}}
  - {{name: n2, address: 192.0.2.2/24}}
pools:
  - {{cidr: 10.244.0.0/16}}
bgp:
  peers:
    - {{name: router, address: 192.0.2.9, as: {asn}}}
"""

BIRD = """
router id 192.0.2.9;
protocol device {{}}
protocol static theirs {{
  ipv4;
  route 10.244.255.0/26 blackhole;
  route 10.244.255.64/26 blackhole;
}}
template bgp calicopy {{
  local 192.0.2.9 as {asn};
  ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};
  graceful restart on;
  hold time 9;
}}
protocol bgp n1 from calicopy {{ neighbor 192.0.2.1 as 64512; }}
protocol bgp n2 from calicopy {{ neighbor 192.0.2.2 as 64512; }}
"""

FRR = """
frr defaults traditional
hostname router
log stdout
router bgp {asn}
 bgp router-id 192.0.2.9
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 neighbor 192.0.2.1 remote-as 64512
 neighbor 192.0.2.2 remote-as 64512
 address-family ipv4 unicast
  network 10.244.255.0/26
  network 10.244.255.64/26
  neighbor 192.0.2.1 next-hop-self
  neighbor 192.0.2.2 next-hop-self
 exit-address-family
"""

GOBGP = """
[global.config]
  as = {asn}
  router-id = "192.0.2.9"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "192.0.2.1"
    peer-as = 64512
[[neighbors]]
  [neighbors.config]
    neighbor-address = "192.0.2.2"
    peer-as = 64512
"""

FRR_START = (
    "sh -c 'install -d -o frr -g frr /run/frr && "
    "/usr/lib/frr/zebra -d -A 127.0.0.1 -f /etc/frr/frr.conf && "
    "exec /usr/lib/frr/bgpd -A 127.0.0.1 -f /etc/frr/frr.conf'"
)


@dataclass(frozen=True)
class Kind:
    """How to run a router, see its table, and have it announce and withdraw."""

    name: str
    config: str
    path: str
    cmd: str
    table: tuple[str, ...]
    withdraw: tuple[str, ...]
    announce: Callable[[labs.TestLab], None]


def announce_by_gobgp(lab: labs.TestLab) -> None:
    """GoBGP has no static routes in its configuration."""

    def add() -> bool:
        words = ("gobgp", "global", "rib", "add", "-a", "ipv4")
        return all(lab.try_run("r1", *words, prefix, "nexthop", ROUTER).returncode == 0 for prefix in THEIRS)

    labs.wait_until(add, what="GoBGP takes the routes")


KINDS = (
    Kind("bird", BIRD, "/etc/bird.conf", "bird -f -c /etc/bird.conf -s /run/bird.ctl",
         ("birdc", "-s", "/run/bird.ctl", "show", "route"),
         ("birdc", "-s", "/run/bird.ctl", "disable", "theirs"), lambda lab: None),
    Kind("frr", FRR, "/etc/frr/frr.conf", FRR_START,
         ("vtysh", "-c", "show bgp ipv4 unicast"),
         ("vtysh", "-c", "configure terminal", "-c", "router bgp", "-c", "address-family ipv4 unicast",
          *(word for prefix in THEIRS for word in ("-c", f"no network {prefix}"))), lambda lab: None),
    Kind("gobgp", GOBGP, "/etc/gobgp.toml", "gobgpd -f /etc/gobgp.toml",
         ("gobgp", "global", "rib"),
         ("gobgp", "global", "rib", "del", "all"), announce_by_gobgp),
)  # fmt: skip


@pytest.fixture(params=[(kind, asn) for kind in KINDS for asn in (CLUSTER_AS, 65009)],
                ids=lambda param: f"{param[0].name}-{'ibgp' if param[1] == CLUSTER_AS else 'ebgp'}")
def met(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[labs.TestLab, Kind]]:
    """A lab of two calicopy nodes in a mesh and one router, which peers with both."""
    kind, asn = request.param
    topology = labs.one_ethernet(
        f"io{os.getpid()}",
        {
            **{name: labs.node(f"{address}/24") for name, address in NODES.items()},
            "r1": labs.router(f"{ROUTER}/24", kind.cmd, binds=[f"router.conf:{kind.path}:ro"]),
        },
    )
    files = {"cluster.yaml": CLUSTER.format(asn=asn), "router.conf": kind.config.format(asn=asn)}
    with labs.running(tmp_path, topology, files=files) as lab:
        kind.announce(lab)
        yield lab, kind


def test_routes_are_exchanged_both_ways_and_withdrawn(met: tuple[labs.TestLab, Kind]) -> None:
    lab, kind = met
    for node in NODES:
        lab.wait_established(node, "router")
    blocks = {node: lab.block_of(node) for node in NODES}

    table = labs.wait_until(
        lambda: (text := lab.run("r1", *kind.table)) and all(block in text for block in blocks.values()) and text,
        what=f"{kind.name} has our blocks {blocks}",
    )
    print(f"\n{' '.join(kind.table)}\n{table}")

    for node in NODES:
        held = labs.wait_until(
            lambda node=node: (routes := lab.kernel_routes(node)) and set(THEIRS) <= set(routes) and routes,
            what=f"the kernel of {node} has {THEIRS}",
        )
        assert {held[prefix]["gateway"] for prefix in THEIRS} == {ROUTER}
        shown = {route["prefix"]: route for route in lab.cli(node, "routes", "--installed")["items"]}
        assert set(shown) == set(held)

    assert lab.try_run("r1", *kind.withdraw).returncode == 0
    for node in NODES:
        labs.wait_until(
            lambda node=node: not set(THEIRS) & set(lab.kernel_routes(node)),
            what=f"{node} has unprogrammed {kind.name}'s routes",
        )
    assert lab.established("n1") == {"n2", "router"}
