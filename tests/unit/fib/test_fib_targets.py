"""Which target a selection comes to, or the reason for none."""
from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from fibs import Path, Selection

from calicopy.fib import (
    BLACKHOLE,
    Fib,
    FibPool,
    Hop,
    KernelDump,
    RouteKind,
    RouteOrigin,
    RouteTarget,
    UnderlayAddress,
    Unprogrammed,
    UnprogrammedReason,
    format_target,
)
from calicopy.net import Encapsulation, EncapsulationMode, Family, IPAddress, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

V4 = Family.IPV4
ETH0, ETH1, TUNL0 = 2, 3, 9
NONE = FibPool(Prefix.parse("10.0.0.0/16"))
ALWAYS = FibPool(Prefix.parse("10.1.0.0/16"), Encapsulation.IPIP, EncapsulationMode.ALWAYS)
CROSS = FibPool(Prefix.parse("10.2.0.0/16"), Encapsulation.IPIP, EncapsulationMode.CROSS_SUBNET)
NEAR, FAR, TOR, LONELY = (ip_address(text) for text in ("192.0.2.2", "198.51.100.2", "192.0.2.254", "192.0.2.9"))
NEAR_ID, FAR_ID, LONELY_ID = 1, 2, 3


def on_link(address: IPAddress, ifindex: int = ETH0) -> NextHopFacts:
    return NextHopFacts(address, True, on_link=True, ifindex=ifindex, mtu=1500)


def a_fib() -> Fib:
    fib = Fib()
    fib.set_pools([NONE, ALWAYS, CROSS])
    fib.set_nodes(
        {
            NEAR_ID: (UnderlayAddress(NEAR, 24),),
            FAR_ID: (UnderlayAddress(ip_address("2001:db8::2"), 64), UnderlayAddress(FAR, 24)),
            LONELY_ID: (UnderlayAddress(LONELY, 32),),
        }
    )
    fib.set_interfaces(
        {
            ETH0: InterfaceFacts(ETH0, "eth0", True, True, 1500, ((ip_address("192.0.2.1"), 24),)),
            ETH1: InterfaceFacts(ETH1, "eth1", True, True, 1500, ((ip_address("203.0.113.1"), 32),)),
        }
    )
    gateway = IPv4Address("192.0.2.254")
    routed = NextHopFacts(FAR, True, on_link=False, ifindex=ETH0, gateway=gateway, mtu=1500)
    fib.set_next_hops({FAR: routed, **{address: on_link(address) for address in (NEAR, TOR, LONELY)}})
    fib.set_tunnels({Encapsulation.IPIP: TUNL0})
    fib.kernel_state(KernelDump({}))
    return fib


def learn(fib: Fib, prefix: str, *paths: Path) -> Prefix:
    parsed = Prefix.parse(prefix)
    fib.apply_decisions(parsed.family, [(Selection(paths), [parsed.packed])])
    return parsed


def outcome(fib: Fib, prefix: Prefix) -> str:
    """The desired route as `ip route` shows it, or the reason's code."""
    fib.delta(10, 0.0)
    status = fib.status(prefix)
    assert status is not None
    if status.desired is not None:
        return format_target(status.desired, {ETH0: "eth0", ETH1: "eth1", TUNL0: "tunl0"})
    assert status.reason is not None
    return status.reason.reason.value


@pytest.mark.parametrize(
    ("why", "prefix", "path", "expected"),
    [
        ("a next hop on link is used directly", "10.0.0.0/26", Path(NEAR, NEAR_ID), "via 192.0.2.2 dev eth0"),
        ("a node behind a gateway, without encapsulation", "10.0.0.0/26", Path(FAR, FAR_ID), "not-on-link"),
        ("an unknown next hop", "10.0.0.0/26", Path(ip_address("1.2.3.4"), FAR_ID), "next-hop-unreachable"),
        ("always: also on link", "10.1.0.0/26", Path(NEAR, NEAR_ID), "via 192.0.2.2 dev tunl0 onlink"),
        ("always: a host prefix too", "10.1.0.7/32", Path(FAR, FAR_ID), "via 198.51.100.2 dev tunl0 onlink"),
        ("the tunnel ends at the owner, not at the NEXT_HOP", "10.1.0.0/26", Path(TOR, FAR_ID),
         "via 198.51.100.2 dev tunl0 onlink"),
        ("no owner: no tunnel", "10.1.0.0/26", Path(NEAR, None), "no-tunnel-endpoint"),
        ("an owner who is no node: no tunnel", "10.1.0.0/26", Path(NEAR, 77), "no-tunnel-endpoint"),
        ("cross-subnet inside the subnet", "10.2.0.0/26", Path(NEAR, NEAR_ID), "via 192.0.2.2 dev eth0"),
        ("cross-subnet inside, owner unknown", "10.2.0.0/26", Path(NEAR, None), "via 192.0.2.2 dev eth0"),
        ("cross-subnet across", "10.2.0.0/26", Path(FAR, FAR_ID), "via 198.51.100.2 dev tunl0 onlink"),
        ("cross-subnet across, owner unknown", "10.2.0.0/26", Path(FAR, None), "no-tunnel-endpoint"),
        ("cross-subnet, NEXT_HOP of a router on link", "10.2.0.0/26", Path(TOR, FAR_ID), "via 192.0.2.254 dev eth0"),
        ("a node known as /32 always tunnels", "10.2.0.0/26", Path(LONELY, LONELY_ID),
         "via 192.0.2.9 dev tunl0 onlink"),
        ("outside all pools: plain routing", "172.16.0.0/24", Path(NEAR, NEAR_ID), "via 192.0.2.2 dev eth0"),
        ("an aggregate that is wider than a pool: plain", "10.0.0.0/8", Path(NEAR, None), "via 192.0.2.2 dev eth0"),
    ],
)
def test_the_target_of_one_path(why: str, prefix: str, path: Path, expected: str) -> None:
    fib = a_fib()
    assert outcome(fib, learn(fib, prefix, path)) == expected, why


def test_a_next_hop_on_link_through_an_interface_without_its_prefix_crosses_a_subnet() -> None:
    fib = a_fib()
    fib.set_next_hops({FAR: on_link(FAR, ETH1)})
    assert outcome(fib, learn(fib, "10.2.0.0/26", Path(FAR, FAR_ID))) == "via 198.51.100.2 dev tunl0 onlink"


def test_without_a_tunnel_device_direct_routes_go_on() -> None:
    fib = a_fib()
    fib.set_tunnels({})
    assert outcome(fib, learn(fib, "10.2.0.0/26", Path(FAR, FAR_ID))) == "tunnel-unavailable"
    assert outcome(fib, learn(fib, "10.2.0.64/26", Path(NEAR, NEAR_ID))) == "via 192.0.2.2 dev eth0"


def test_several_paths_share_the_load_and_unusable_ones_leave_the_others() -> None:
    fib = a_fib()
    both = learn(fib, "10.1.0.0/26", Path(FAR, FAR_ID), Path(NEAR, NEAR_ID), Path(NEAR, None))
    assert outcome(fib, both) == (
        "nexthop via 192.0.2.2 dev tunl0 onlink nexthop via 198.51.100.2 dev tunl0 onlink"
    )
    status = fib.status(both)
    assert status is not None
    assert status.excluded == (
        Unprogrammed(UnprogrammedReason.NO_TUNNEL_ENDPOINT, NEAR, encapsulation=Encapsulation.IPIP),
    )
    assert status.reason == Unprogrammed(UnprogrammedReason.WAITING)


def test_the_order_of_the_paths_does_not_matter() -> None:
    fib = a_fib()
    first = learn(fib, "10.0.0.0/26", Path(NEAR, NEAR_ID), Path(TOR, None))
    second = learn(fib, "10.0.0.64/26", Path(TOR, None), Path(NEAR, NEAR_ID))
    assert fib.desired(V4)[first.packed] is fib.desired(V4)[second.packed]


def test_two_paths_of_one_owner_are_one_hop() -> None:
    fib = a_fib()
    prefix = learn(fib, "10.1.0.0/26", Path(NEAR, FAR_ID), Path(TOR, FAR_ID))
    assert fib.desired(V4)[prefix.packed].hops == (Hop(FAR, TUNL0, onlink=True),)


def test_facts_that_change_move_the_routes_that_they_concern() -> None:
    fib = a_fib()
    block = learn(fib, "10.2.0.0/26", Path(FAR, FAR_ID))
    fib.set_next_hops({FAR: NextHopFacts.unreachable(FAR)})
    assert outcome(fib, block) == "next-hop-unreachable"
    fib.set_next_hops({FAR: on_link(FAR)})
    assert outcome(fib, block) == "via 198.51.100.2 dev tunl0 onlink"
    fib.set_nodes({})
    assert outcome(fib, block) == "no-tunnel-endpoint"
    fib.set_pools([FibPool(CROSS.prefix)])
    assert outcome(fib, block) == "via 198.51.100.2 dev eth0"


def test_ipip_carries_no_ipv6() -> None:
    fib = a_fib()
    fib.set_pools([FibPool(Prefix.parse("fd00::/48"), Encapsulation.IPIP)])
    fib.set_next_hops({ip_address("2001:db8::2"): on_link(ip_address("2001:db8::2"))})
    assert outcome(fib, learn(fib, "fd00::/122", Path(ip_address("2001:db8::2"), FAR_ID))) == "tunnel-unavailable"


def test_own_blocks_are_blackholed_but_not_host_prefixes_and_local_wins_over_learned() -> None:
    fib = a_fib()
    block, host = Prefix.parse("10.0.0.0/26"), Prefix.parse("10.0.0.1/32")
    fib.set_blackholes([block, Prefix.parse("10.0.9.9/32")])
    fib.set_workload_routes({host: 42})
    for prefix in ("10.0.0.0/26", "10.0.0.1/32"):
        learn(fib, prefix, Path(NEAR, NEAR_ID))
    assert dict(fib.desired(V4)) == {
        block.packed: BLACKHOLE,
        host.packed: RouteTarget(RouteKind.UNICAST, (Hop(None, 42),), link_scope=True),
    }
    statuses = [fib.status(prefix) for prefix in (block, host)]
    assert [status.origin for status in statuses if status] == [RouteOrigin.BLOCK, RouteOrigin.WORKLOAD]
    fib.set_workload_routes({})
    fib.set_blackholes([])
    assert outcome(fib, host) == "via 192.0.2.2 dev eth0"
    assert outcome(fib, block) == "via 192.0.2.2 dev eth0"


def test_pools_longer_and_shorter_than_16_bits_each_rule_their_own_prefixes() -> None:
    fib = a_fib()
    fib.set_pools(
        [
            FibPool(Prefix.parse("10.0.0.0/20"), Encapsulation.IPIP),
            FibPool(Prefix.parse("10.0.16.0/20")),
            FibPool(Prefix.parse("10.64.0.0/10"), Encapsulation.IPIP),
        ]
    )
    tunnelled, direct = "via 192.0.2.2 dev tunl0 onlink", "via 192.0.2.2 dev eth0"
    expected = {"10.0.15.192/26": tunnelled, "10.0.16.0/26": direct, "10.0.32.0/26": direct,
                "10.100.0.0/26": tunnelled, "10.128.0.0/26": direct, "10.0.0.0/16": direct}
    for prefix, wanted in expected.items():
        assert outcome(fib, learn(fib, prefix, Path(NEAR, NEAR_ID))) == wanted, prefix


def test_counts_tell_learned_prefixes_without_a_way() -> None:
    fib = a_fib()
    learn(fib, "10.0.0.0/26", Path(NEAR, NEAR_ID))
    learn(fib, "10.0.0.64/26", Path(FAR, FAR_ID))
    fib.set_blackholes([Prefix.parse("10.0.1.0/26")])
    counts = fib.counts()
    assert (counts.desired, counts.unprogrammed, counts.pending, counts.in_sync) == (2, 1, 2, False)
