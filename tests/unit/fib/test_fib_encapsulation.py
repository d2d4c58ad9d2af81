"""Each encapsulation, mode and family: which hop a path comes to, or which reason."""
from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from fibs import Path, Selection

from calicopy.fib import Fib, FibPool, Hop, KernelDump, UnderlayAddress
from calicopy.net import Encapsulation, EncapsulationMode, IPAddress, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

NONE, IPIP, VXLAN, UDP = Encapsulation
ALWAYS, CROSS = EncapsulationMode
ETH0 = 2
TUNNELS = {IPIP: 9, VXLAN: 10, UDP: 11}
NAMES = {ETH0: "eth0", 9: "tunl0", 10: "calivx0", 11: "caliudp0"}
POOL4, POOL6 = Prefix.parse("10.1.0.0/16"), Prefix.parse("fd00::/48")
NEAR, NEAR6, FAR, FAR6 = (ip_address(one) for one in ("192.0.2.2", "2001:db8::2", "198.51.100.2", "2001:db8:f::2"))
NEAR_LL, FAR_LL = "fe80::ca:c0ff:fe00:202", "fe80::ca:c6ff:fe33:6402"
NEAR_ID, FAR_ID = 1, 2


def a_fib(encapsulation: Encapsulation, mode: EncapsulationMode = ALWAYS) -> Fib:
    fib = Fib()
    fib.set_pools([FibPool(POOL4, encapsulation, mode), FibPool(POOL6, encapsulation, mode)])
    fib.set_nodes({
        NEAR_ID: (UnderlayAddress(NEAR, 24), UnderlayAddress(NEAR6, 64)),
        FAR_ID: (UnderlayAddress(FAR, 24), UnderlayAddress(FAR6, 64)),
    })  # fmt: skip
    own = ((ip_address("192.0.2.1"), 24), (ip_address("2001:db8::1"), 64))
    fib.set_interfaces({ETH0: InterfaceFacts(ETH0, "eth0", True, True, 1500, own)})
    gateway = IPv4Address("192.0.2.254")
    fib.set_next_hops({
        **{one: NextHopFacts(one, True, on_link=True, ifindex=ETH0, mtu=1500) for one in (NEAR, NEAR6)},
        **{one: NextHopFacts(one, True, False, ETH0, gateway, mtu=1500) for one in (FAR, FAR6)},
    })  # fmt: skip
    fib.set_tunnels(TUNNELS)
    fib.kernel_state(KernelDump({}))
    return fib


def way(fib: Fib, next_hop: IPAddress, owner: int | None) -> str:
    """`via GATEWAY dev DEVICE [onlink]`, or the sentence that says why there is no way."""
    family = POOL4 if next_hop.version == 4 else POOL6
    prefix = Prefix.parse("10.1.0.0/26" if family is POOL4 else "fd00::/122")
    fib.apply_decisions(prefix.family, [(Selection((Path(next_hop, owner),)), [prefix.packed])])
    (found,) = fib.ways(prefix)
    if isinstance(found.outcome, Hop):
        hop = found.outcome
        return f"via {hop.gateway} dev {NAMES[hop.ifindex]}" + (" onlink" if hop.onlink else "")
    return found.outcome.message


BEHIND = "next hop {} is behind a gateway, and the pool has no encapsulation"


@pytest.mark.parametrize(
    ("encapsulation", "mode", "near", "far", "near6", "far6"),
    [
        (NONE, ALWAYS, "via 192.0.2.2 dev eth0", BEHIND.format(FAR), "via 2001:db8::2 dev eth0", BEHIND.format(FAR6)),
        (IPIP, ALWAYS, "via 192.0.2.2 dev tunl0 onlink", "via 198.51.100.2 dev tunl0 onlink",
         "the ipip tunnel is not there", "the ipip tunnel is not there"),
        (IPIP, CROSS, "via 192.0.2.2 dev eth0", "via 198.51.100.2 dev tunl0 onlink",
         "via 2001:db8::2 dev eth0", "the ipip tunnel is not there"),
        (VXLAN, ALWAYS, "via 192.0.2.2 dev calivx0 onlink", "via 198.51.100.2 dev calivx0 onlink",
         f"via {NEAR_LL} dev calivx0 onlink", f"via {FAR_LL} dev calivx0 onlink"),
        (VXLAN, CROSS, "via 192.0.2.2 dev eth0", "via 198.51.100.2 dev calivx0 onlink",
         "via 2001:db8::2 dev eth0", f"via {FAR_LL} dev calivx0 onlink"),
        (UDP, ALWAYS, "via 192.0.2.2 dev caliudp0 onlink", "via 198.51.100.2 dev caliudp0 onlink",
         f"via {NEAR_LL} dev caliudp0 onlink", f"via {FAR_LL} dev caliudp0 onlink"),
        (UDP, CROSS, "via 192.0.2.2 dev eth0", "via 198.51.100.2 dev caliudp0 onlink",
         "via 2001:db8::2 dev eth0", f"via {FAR_LL} dev caliudp0 onlink"),
    ],
)  # fmt: skip
def test_the_way_to_a_node_in_our_subnet_and_to_one_outside_of_it(
    encapsulation: Encapsulation, mode: EncapsulationMode, near: str, far: str, near6: str, far6: str
) -> None:
    fib = a_fib(encapsulation, mode)
    assert way(fib, NEAR, NEAR_ID) == near
    assert way(fib, FAR, FAR_ID) == far
    assert way(fib, NEAR6, NEAR_ID) == near6
    assert way(fib, FAR6, FAR_ID) == far6


@pytest.mark.parametrize("encapsulation", [IPIP, VXLAN, UDP])
def test_the_reason_names_the_tunnel_that_is_missing(encapsulation: Encapsulation) -> None:
    fib = a_fib(encapsulation)
    fib.set_tunnels({one: index for one, index in TUNNELS.items() if one is not encapsulation})
    assert way(fib, FAR, FAR_ID) == f"the {encapsulation.value} tunnel is not there"
    assert way(fib, FAR, 77).endswith(f"no {encapsulation.value} tunnel end")
    fib.set_tunnels(TUNNELS)
    assert way(fib, FAR, FAR_ID).endswith("onlink")


def test_a_tunnel_device_that_goes_and_comes_back_with_another_index_takes_its_routes_along() -> None:
    fib = a_fib(VXLAN)
    assert way(fib, FAR, FAR_ID) == "via 198.51.100.2 dev calivx0 onlink"
    fib.set_tunnels({})
    fib.delta(10, 0.0)
    assert way(fib, FAR, FAR_ID) == "the vxlan tunnel is not there"
    NAMES[42] = "calivx0"
    fib.set_tunnels({VXLAN: 42})
    fib.delta(10, 0.0)
    prefix = Prefix.parse("10.1.0.0/26")
    (found,) = fib.ways(prefix)
    assert found.outcome == Hop(FAR, 42, onlink=True)


def test_where_a_node_has_only_ipv6_vxlan_and_udp_travel_over_ipv6_and_ipip_does_not() -> None:
    fib = a_fib(VXLAN)
    fib.set_nodes({FAR_ID: (UnderlayAddress(FAR, 24), UnderlayAddress(FAR6, 64)), 3: (UnderlayAddress(NEAR6, 64),)})
    shown = way(fib, FAR6, FAR_ID)
    assert shown.startswith("via fe80::")
    assert shown != f"via {FAR_LL} dev calivx0 onlink"  # the MAC address comes from the IPv6 address now
    assert way(fib, FAR, FAR_ID) == "via 198.51.100.2 dev calivx0 onlink"
    assert way(fib, NEAR6, 3).startswith("via fe80::")
    assert way(fib, NEAR, 3) == "the vxlan tunnel is not there"
