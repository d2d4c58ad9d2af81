"""What the core asks of the host's packet filter, and how it shows tunnels and the ways to other nodes."""
from __future__ import annotations

from ipaddress import ip_address

from corescript import N2, N3, Script, node, snapshot

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.show import problems, status_view
from calicopy.core.views import NodeStatusView
from calicopy.net import Decapsulation, Encapsulation, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

IPIP, VXLAN = Decapsulation(Encapsulation.IPIP), Decapsulation(Encapsulation.VXLAN, 4789, 4096)


def shown(script: Script, **counters: int) -> NodeStatusView:
    named = {f"nft.{name}": value for name, value in counters.items()}
    return status_view(script.core, version="1", started_at=0.0, config_file="", counters=named, ways=True)


def test_encapsulated_packets_are_taken_from_the_other_nodes_alone_whether_a_pool_encapsulates_or_not() -> None:
    asked = Script(node()).boot().seen(do.SetHost)[-1]
    assert asked.guarded == (IPIP, VXLAN)
    assert asked.senders == (ip_address(N2), ip_address(N3))


def test_what_the_file_excludes_from_translation_stands_beside_the_pools() -> None:
    pool = {"cidr": "10.244.0.0/16", "nat_outgoing": True}
    asked = Script(node(pools=[pool], nat_exclude=["172.16.0.0/12"])).boot().seen(do.SetHost)[-1]
    assert asked.nat_pools == (Prefix.parse("10.244.0.0/16"),)
    assert asked.nat_exempt == (Prefix.parse("10.244.0.0/16"), Prefix.parse("172.16.0.0/12"))


def test_the_way_to_each_node_shows_its_encapsulation_by_pool_and_what_is_left_of_the_mtu() -> None:
    pools = [
        {"name": "direct", "cidr": "10.244.0.0/16"},
        {"name": "far", "cidr": "10.245.0.0/16", "encapsulation": "vxlan", "mode": "cross-subnet"},
        {"name": "always", "cidr": "10.246.0.0/16", "encapsulation": "ipip"},
    ]
    script = Script(node(pools=pools), snapshot("10.244.0.0/26")).boot()
    gateway = ip_address("10.0.0.254")
    near, far = (ip_address(address) for address in (N2, N3))
    script.tell(
        ev.InterfacesChanged((InterfaceFacts(2, "eth0", True, True, 1500, ((ip_address("10.0.0.1"), 24),)),)),
        ev.NextHopsResolved({
            near: NextHopFacts(near, True, on_link=True, ifindex=2),
            far: NextHopFacts(far, True, gateway=gateway, ifindex=2, mtu=1400),
        }),
    )  # fmt: skip
    ways = [
        (way.node, way.encapsulation.value, way.gateway, way.device, way.mtu, way.pod_mtu, way.pools)
        for way in shown(script).next_hops
    ]
    assert ways == [
        ("n2", "none", None, "eth0", 1500, 1500, ("direct", "far")),
        ("n2", "ipip", None, "eth0", 1500, 1380, ("always",)),
        ("n3", "none", gateway, "eth0", 1400, 1400, ("direct",)),
        ("n3", "vxlan", gateway, "eth0", 1400, 1350, ("far",)),
        ("n3", "ipip", gateway, "eth0", 1400, 1380, ("always",)),
    ]
    assert shown(script).workload_mtu == 1350
    script.tell(ev.NextHopsResolved({far: NextHopFacts.unreachable(far)}))
    lost = [way for way in shown(script).next_hops if way.node == "n3"]
    assert {(way.device, way.mtu, way.pod_mtu) for way in lost} == {("", 0, 0)}


def test_each_tunnel_shows_whether_pools_use_it_and_what_strangers_sent_once_that_is_counted() -> None:
    pool = {"cidr": "10.244.0.0/16", "encapsulation": "ipip"}
    script = Script(node(pools=[pool]), snapshot("10.244.0.0/26")).boot()
    ipip, vxlan = shown(script, dropped_ipip=3).tunnels
    assert (ipip.device, ipip.used, ipip.up, ipip.mtu, ipip.stranger_packets) == ("tunl0", True, True, 1480, 3)
    assert (vxlan.device, vxlan.used, vxlan.up, vxlan.stranger_packets) == ("calivx0", False, True, None)
    script.tell(ev.TunnelSet(Encapsulation.IPIP, None, "no ipip module"))
    ipip, _ = shown(script).tunnels
    assert (ipip.up, ipip.error) == (False, "no ipip module")


def test_a_source_that_is_not_the_nodes_own_is_a_problem_where_the_tunnel_takes_it_from_the_route() -> None:
    far, foreign = ip_address(N3), ip_address("172.16.0.9")
    for encapsulation, wanted in (("ipip", ["n3"]), ("vxlan", []), ("none", [])):
        pool = {"cidr": "10.244.0.0/16", "encapsulation": encapsulation}
        script = Script(node(pools=[pool]), snapshot("10.244.0.0/26")).boot()
        script.tell(ev.NextHopsResolved({far: NextHopFacts(far, True, ifindex=2, gateway=far, source=foreign)}))
        found = [one for one in problems(script.core) if one.reason.code == "foreign-source"]
        assert [one.object for one in found] == wanted
        assert all("172.16.0.9" in one.reason.message for one in found)
