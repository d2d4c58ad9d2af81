"""The MTU of workloads: the least of all ways that their packets take, told when it changes."""
from __future__ import annotations

from typing import Any

import pytest
from corescript import Script, node, snapshot

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.net import IPAddress
from calicopy.net.interface import InterfaceFacts

OURS = "10.244.0.0/26"


def interface(mtu: int, *addresses: tuple[IPAddress, int]) -> ev.InterfacesChanged:
    return ev.InterfacesChanged((InterfaceFacts(2, "eth0", True, True, mtu, addresses),))


def script_of(**pool: Any) -> Script:
    return Script(node(pools=[{"cidr": "10.244.0.0/22", **pool}]), snapshot(OURS))


def told(script: Script) -> list[int]:
    return [command.mtu for command in script.take(do.SetWorkloadMtu)]


@pytest.mark.parametrize(("encapsulation", "overhead"), [("none", 0), ("ipip", 20), ("vxlan", 50), ("udp", 28)])
def test_it_is_that_of_the_way_less_the_outer_headers_of_what_pools_use(encapsulation: str, overhead: int) -> None:
    script = script_of(encapsulation=encapsulation)
    script.tell(interface(9000, (script.node.addresses[0], 24)))
    assert told(script) == [9000 - overhead]


def test_it_is_told_when_it_changes_and_only_then() -> None:
    script = script_of()
    own = (script.node.addresses[0], 24)
    assert told(script.tell(interface(1500, own))) == [1500]
    assert told(script.tell(interface(1500, own))) == []
    assert told(script.tell(interface(1400, own))) == [1400]
    assert told(script.tell(interface(1500, own)).wait(120.0)) == [1500]


def test_it_stays_while_no_interface_leads_anywhere() -> None:
    script = script_of()
    assert told(script.tell(interface(9000, (script.node.addresses[0], 24)))) == [9000]
    script.tell(ev.InterfacesChanged((InterfaceFacts(1, "lo", True, True, 65536, loopback=True),)))
    assert told(script) == []


def test_nothing_is_told_before_the_way_to_the_nodes_is_known() -> None:
    script = script_of()
    script.held.add(do.ResolveNextHops)
    assert told(script.tell(interface(9000, (script.node.addresses[0], 24)))) == []


def test_another_encapsulation_changes_it() -> None:
    script = script_of()
    script.tell(interface(1500, (script.node.addresses[0], 24)))
    assert told(script) == [1500]
    script.tell(ev.ConfigChanged(node(pools=[{"cidr": "10.244.0.0/22", "encapsulation": "ipip"}])))
    assert told(script) == [1480]
