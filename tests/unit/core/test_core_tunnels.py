"""Which tunnel devices are asked for, with what, and when again."""
from __future__ import annotations

from typing import Any

import pytest
from corescript import N1, N2, N3, Script, node, planned, snapshot

from calicopy.config.model import ClusterConfig
from calicopy.config.resolve import resolve
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.show.node import problems
from calicopy.net import Encapsulation, Family
from calicopy.net.nexthop import NextHopFacts
from calicopy.net.tunnel import overhead, vtep_mac

OURS = "10.244.0.0/26"


def pools(encapsulation: str) -> list[dict[str, Any]]:
    return [{"cidr": "10.244.0.0/22", "encapsulation": encapsulation}]


def asked(script: Script) -> dict[str, do.SetTunnel]:
    """The last request for each encapsulation."""
    return {one.encapsulation.value: one for one in script.seen(do.SetTunnel)}


def test_every_node_has_the_device_of_every_encapsulation_that_it_takes_and_no_other() -> None:
    assert set(asked(Script(node()).boot())) == {"ipip", "vxlan"}
    assert set(asked(Script(node(pools=pools("udp"))).boot())) == {"ipip", "vxlan", "udp"}
    assert set(asked(Script(node(encapsulation={"decapsulate": []})).boot())) == set()


def test_devices_of_what_is_not_taken_are_named_so_that_they_take_nothing() -> None:
    def unused(**section: Any) -> tuple[str, ...]:
        return Script(node(encapsulation=section)).boot().seen(do.SetHost)[-1].unused

    assert unused() == ()
    assert unused(decapsulate=["ipip"], vxlan={"device": "vx7"}) == ("vx7",)
    assert unused(decapsulate=[]) == ("tunl0", "calivx0")


def test_a_device_that_no_pool_uses_has_no_address_and_takes_none_from_the_pods() -> None:
    script = Script(node(), snapshot(OURS)).boot()
    assert [one.addresses for one in asked(script).values()] == [(), ()]
    assert not script.core.ipam.addresses()


def test_the_request_has_what_the_file_says_and_every_other_node() -> None:
    section = {"vxlan": {"port": 8472, "vni": 7, "device": "vx7"}}
    vxlan = asked(Script(node(pools=pools("vxlan"), encapsulation=section), snapshot(OURS)).boot())["vxlan"]
    assert (vxlan.device, vxlan.port, vxlan.vni, vxlan.mtu, str(vxlan.local)) == ("vx7", 8472, 7, 1450, N1)
    assert [str(end.address) for end in vxlan.ends] == [N2, N3]
    assert [str(address) for address in vxlan.addresses] == ["10.244.0.0"]
    assert vxlan.ends[0].mac == vtep_mac(vxlan.ends[0].address) == bytes((2, 0xCA, 10, 0, 0, 2))


def test_each_device_has_an_address_of_its_own() -> None:
    both = [{"cidr": "10.244.0.0/22", "encapsulation": "vxlan"}, {"cidr": "10.245.0.0/22", "encapsulation": "ipip"}]
    script = Script(node(pools=both), snapshot(OURS)).boot()
    addresses = [one.addresses for one in asked(script).values()]
    assert all(len(each) == 1 for each in addresses)
    assert addresses[0] != addresses[1]
    handles = {record.handle for record in script.core.ipam.addresses()}
    assert handles == {"tunnel:ipip", "tunnel:vxlan"}


def test_the_mtu_is_the_least_of_the_ways_that_are_really_used_and_follows_them() -> None:
    script = Script(node(pools=pools("vxlan")), snapshot(OURS)).boot()
    address = {name: script.core.node.nodes[number].addresses[0] for number, name in ((1, N2), (2, N3))}

    def way(name: str, mtu: int) -> ev.NextHopsResolved:
        return ev.NextHopsResolved({address[name]: NextHopFacts(address[name], True, True, 2, mtu=mtu)})

    script.take(do.SetTunnel)
    script.tell(way(N2, 1400))
    assert {name: one.mtu for name, one in asked(script).items()} == {"ipip": 1380, "vxlan": 1350}
    assert script.core.host.workload_mtu == 1350
    script.tell(way(N3, 9000), way(N2, 8000))
    assert {name: one.mtu for name, one in asked(script).items()} == {"ipip": 7980, "vxlan": 7950}
    script.tell(ev.NextHopsResolved({address[N2]: NextHopFacts.unreachable(address[N2])}))
    assert asked(script)["vxlan"].mtu == 8950


def test_a_device_is_asked_for_again_only_when_something_differs_and_from_time_to_time() -> None:
    script = Script(node(1, pools=pools("vxlan")), snapshot(OURS)).boot()
    script.take(do.SetTunnel)
    script.tell(ev.Ticked())
    assert not script.seen(do.SetTunnel)
    script.wait(31.0)
    assert len(script.seen(do.SetTunnel)) == 2


def test_what_a_kernel_lacks_is_a_problem_only_where_a_pool_needs_it() -> None:
    script = Script(node(pools=pools("vxlan")), snapshot(OURS)).boot()
    script.tell(ev.TunnelSet(Encapsulation.IPIP, None, "no ipip"), ev.TunnelSet(Encapsulation.VXLAN, 9, "no right"))
    found = [(one.object, one.reason.message) for one in problems(script.core) if one.component == "tunnel"]
    assert found == [("calivx0", "no right")]


@pytest.mark.parametrize(
    ("encapsulation", "over4", "over6"),
    [("none", 0, 0), ("ipip", 20, 40), ("vxlan", 50, 70), ("udp", 28, 48)],
)
def test_what_the_outer_headers_take(encapsulation: str, over4: int, over6: int) -> None:
    one = Encapsulation(encapsulation)
    assert (overhead(one, Family.IPV4), overhead(one, Family.IPV6)) == (over4, over6)


def test_over_ipv6_nodes_the_mtu_leaves_room_for_ipv6_headers() -> None:
    nodes = [{"name": f"n{number}", "address6": f"2001:db8::{number}/64", "router_id": f"10.0.0.{number}"}
             for number in (1, 2)]  # fmt: skip
    config = ClusterConfig.model_validate({"nodes": nodes, "pools": [{"cidr": "fd00::/64", "encapsulation": "vxlan"}]})
    requests = asked(Script(resolve(config, "n1")).boot())
    assert set(requests) == {"vxlan"}  # ipip is IPv4 in IPv4
    assert requests["vxlan"].mtu == 1430
    assert str(requests["vxlan"].local) == "2001:db8::1"


BOTH = {"decapsulate": ["ipip", "vxlan", "udp"]}
TAKES_BOTH = "every node takes both, so that nodes may follow one after the other"


@pytest.mark.parametrize(
    ("before", "after", "section", "new_section", "note"),
    [
        ("none", "vxlan", {}, {}, f"encapsulation none becomes vxlan always; {TAKES_BOTH}"),
        ("vxlan", "none", {}, {}, f"encapsulation vxlan always becomes none; {TAKES_BOTH}"),
        ("none", "udp", {}, {}, "encapsulation none becomes udp always; nodes that still have the file that runs drop "
         "packets in udp: first give every node a file with udp in encapsulation.decapsulate"),
        ("none", "udp", BOTH, BOTH, f"encapsulation none becomes udp always; {TAKES_BOTH}"),
        ("udp", "none", {}, {}, "encapsulation udp always becomes none; nodes that have the new file may drop packets "
         "in udp of those that have not: keep udp in encapsulation.decapsulate until every node has it"),
        ("udp", "vxlan", {"decapsulate": []}, {"decapsulate": []}, "encapsulation udp always becomes vxlan always; "
         "nodes that still have the file that runs drop packets in vxlan: first give every node a file with vxlan in "
         "encapsulation.decapsulate; nodes that have the new file may drop packets in udp of those that have not: "
         "keep udp in encapsulation.decapsulate until every node has it"),
        ("udp", "none", {}, BOTH, f"encapsulation udp always becomes none; {TAKES_BOTH}"),
    ],
)  # fmt: skip
def test_the_plan_says_whether_a_pool_can_be_switched_while_the_nodes_follow_one_after_the_other(
    before: str, after: str, section: dict[str, Any], new_section: dict[str, Any], note: str
) -> None:
    script = Script(node(pools=pools(before), encapsulation=section), snapshot(OURS)).boot()
    view = planned(script.core, node(pools=pools(after), encapsulation=new_section))
    assert view.notes == (f"pool 10.244.0.0/22: {note}",)


def test_the_plan_says_what_is_taken_from_now_on_since_that_is_the_step_before_a_switch() -> None:
    script = Script(node(pools=pools("none")), snapshot(OURS)).boot()
    view = planned(script.core, node(pools=pools("none"), encapsulation=BOTH))
    assert view.notes == ("packets in udp are taken from now on: a pool can be switched once every node has this",)


def test_the_plan_shows_the_routes_that_move_into_a_tunnel_and_warns_of_settings_that_cut_nodes_off() -> None:
    script = Script(node(pools=pools("none")), snapshot(OURS)).boot().up(N2).hear(N2, "10.244.1.0/26")
    view = planned(script.core, node(pools=pools("vxlan"), encapsulation={"vxlan": {"vni": 7}}))
    (route,) = [one for one in view.routes if str(one.prefix) == "10.244.1.0/26"]
    assert "dev eth0" in route.before
    assert "via 10.0.0.2 dev calivx0 onlink" in route.after
    assert view.notes[-1] == "settings of vxlan change: nodes with different ones do not reach each other through it"


def test_the_plan_says_what_nodes_take_no_more_and_whose_address_new_flows_have() -> None:
    def notes(*files: tuple[dict[str, Any], list[str], list[str]]) -> list[tuple[str, ...]]:
        old, new = (
            node(pools=[{"cidr": "10.244.0.0/22", **pool}], nat_exclude=excluded, encapsulation={"decapsulate": taken})
            for pool, excluded, taken in files
        )
        there = planned(Script(old, snapshot(OURS)).boot().core, new).notes
        return [there, planned(Script(new, snapshot(OURS)).boot().core, old).notes]

    nat = {"nat_outgoing": True}
    assert notes(({}, [], ["ipip"]), (nat, ["192.0.2.0/24"], [])) == [
        (
            "packets in ipip are not taken any more, and the device goes",
            "pool 10.244.0.0/22: new flows of its pods to outside the pools have their node's address (nat_outgoing)",
        ),
        (
            "packets in ipip are taken from now on: a pool can be switched once every node has this",
            "pool 10.244.0.0/22: new flows of its pods to outside the pools have their own address (nat_outgoing)",
        ),
    ]
    assert notes((nat, [], []), (nat, ["192.0.2.0/24"], [])) == [
        ("new flows to 192.0.2.0/24 have the pods' own address (nat_exclude)",),
        ("new flows to 192.0.2.0/24 have the node's address (nat_exclude)",),
    ]
