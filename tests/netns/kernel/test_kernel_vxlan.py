"""The VXLAN device and its entries, in the kernel."""
from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from calicopy.agent.kernel_edge import KernelEdge
from calicopy.agent.udp_edge import UdpEdge
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.problems import ProblemKind
from calicopy.kernel.sysctl import SysctlSpec
from calicopy.kernel.tunnel import TunnelSpec, TunnelStatus
from calicopy.kernel.vxlan import VxlanSpec
from calicopy.net import Encapsulation, Family, Prefix
from calicopy.net.tunnel import TunnelEnd, tunnel_end

pytestmark = pytest.mark.netns
RTMGRP_NEIGH, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x4, 0x10, 0x100
POOLS = (Prefix.parse("10.0.0.0/16"), Prefix.parse("fd00::/48"))
TUNNEL = TunnelSpec(1450, (ip_address("10.0.0.1"), ip_address("fd00::1")), POOLS, "calivx0")


def end(*addresses: str, underlay: Family = Family.IPV4) -> TunnelEnd:
    found = tunnel_end(map(ip_address, addresses), Encapsulation.VXLAN, underlay)
    assert found is not None
    return found


SECOND, THIRD = end("192.168.0.2"), end("192.168.0.3")
SPEC = VxlanSpec(TUNNEL, vni=4096, port=4789, local=ip_address("192.168.0.1"), ends=(SECOND, THIRD))


def details(netns) -> dict[str, object]:
    (link,) = json.loads(netns.ip("-d -j link show calivx0"))
    return link


def entries(netns) -> set[str]:
    """The entries of the device, as the tools show them, but for those of multicast addresses."""
    found = {f"{one['dst']} {one['lladdr']} {' '.join(one['state'])}"
             for option in ("-4", "-6") for one in json.loads(netns.ip(f"{option} -j neigh show dev calivx0"))}
    return found | {f"{one['mac']} -> {one['dst']} {one['state']}" for one in bridge_fdb(netns)}


def bridge_fdb(netns) -> list[dict[str, str]]:
    shown = subprocess.run(["bridge", "-j", "fdb", "show", "dev", "calivx0"], check=True, capture_output=True)
    return json.loads(shown.stdout)


WANTED = {
    "192.168.0.2 02:ca:c0:a8:00:02 PERMANENT", "fe80::ca:c0ff:fea8:2 02:ca:c0:a8:00:02 PERMANENT",
    "192.168.0.3 02:ca:c0:a8:00:03 PERMANENT", "fe80::ca:c0ff:fea8:3 02:ca:c0:a8:00:03 PERMANENT",
    "02:ca:c0:a8:00:02 -> 192.168.0.2 permanent", "02:ca:c0:a8:00:03 -> 192.168.0.3 permanent",
}  # fmt: skip


async def ensure(kernel: Kernel, spec: VxlanSpec = SPEC) -> TunnelStatus:
    status = await kernel.ensure_vxlan(spec)
    assert status.problems == ()
    assert status.ifindex is not None
    return status


async def test_the_device_is_made_as_wanted_with_an_entry_for_each_node(netns, kernel: Kernel) -> None:
    status = await ensure(kernel)
    link = details(netns)
    data = link["linkinfo"]["info_data"]
    assert link["address"] == "02:ca:c0:a8:00:01"
    assert (data["id"], data["port"], data["local"], data["learning"]) == (4096, 4789, "192.168.0.1", False)
    assert not data.get("udp_csum")
    assert (status.up, status.mtu, status.addresses, link["mtu"]) == (True, 1450, TUNNEL.addresses, 1450)
    assert entries(netns) == WANTED
    assert "10.0.0.1/32" in netns.ip("-4 address show calivx0")
    assert "fd00::1/128" in netns.ip("-6 address show calivx0")


async def test_what_is_in_place_is_not_touched(netns, kernel: Kernel) -> None:
    first = await ensure(kernel)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
        events.bind((0, RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        assert await ensure(kernel) == first
        with pytest.raises(BlockingIOError):  # the kernel queues an event before it answers what made it
            events.recv(1 << 16, socket.MSG_DONTWAIT)
        netns.ip("neigh del 192.168.0.2 dev calivx0")
        assert events.recv(1 << 16, socket.MSG_DONTWAIT)


async def test_entries_that_somebody_removed_changed_or_added_are_put_right(netns, kernel: Kernel) -> None:
    await ensure(kernel)
    netns.ip("neigh del 192.168.0.2 dev calivx0")
    netns.ip("neigh replace 192.168.0.3 lladdr 02:00:00:00:00:09 dev calivx0 nud permanent")
    netns.ip("neigh add 10.0.9.9 lladdr 02:00:00:00:00:09 dev calivx0 nud permanent")
    for change in ("del 02:ca:c0:a8:00:02", "replace 02:ca:c0:a8:00:03 dst 192.168.0.99",
                   "add 02:00:00:00:00:09 dst 192.168.0.99", "append 00:00:00:00:00:00 dst 192.168.0.99"):
        bridge(f"fdb {change} dev calivx0 self" + ("" if change.startswith("del") else " permanent"))
    assert entries(netns) != WANTED
    await ensure(kernel)
    assert entries(netns) == WANTED


async def test_what_others_do_to_the_entries_is_told_once_and_what_we_change_is_not(
    netns, kernel: Kernel, tmp_path: Path
) -> None:
    posted: list[ev.CoreEvent] = []
    edge = KernelEdge(kernel, POOLS, posted.append, udp=UdpEdge(tmp_path, posted.append))

    async def told(*ends: TunnelEnd) -> list[str]:
        posted.clear()
        command = do.SetTunnel(Encapsulation.VXLAN, "calivx0", 1450, TUNNEL.addresses, SPEC.local, ends, 4789, 4096)
        await edge._set_tunnel(command)
        return [text for one in posted if isinstance(one, ev.HostChecked) for text in one.put_right.values()]

    assert await told(SECOND) == []
    assert await told(SECOND, THIRD) == []
    assert await told(SECOND, THIRD) == []
    netns.ip("neigh del 192.168.0.2 dev calivx0")
    bridge("fdb del 02:ca:c0:a8:00:03 dev calivx0 self")
    (text,) = await told(SECOND, THIRD)
    assert "changed 2 of its neighbor and forwarding entries" in text
    assert entries(netns) == WANTED
    assert await told(SECOND, THIRD) == []


def bridge(command: str) -> None:
    done = subprocess.run(["bridge", *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"bridge {command}: {done.stderr}"


async def test_entries_of_nodes_that_the_cluster_has_no_more_are_removed(netns, kernel: Kernel) -> None:
    await ensure(kernel)
    await ensure(kernel, replace(SPEC, ends=(THIRD,)))
    assert entries(netns) == {one for one in WANTED if "03" in one or "a8:3" in one}


async def test_a_device_that_was_set_down_or_changed_is_put_right_and_stays_the_same_one(netns, kernel) -> None:
    first = await ensure(kernel)
    netns.ip("link set calivx0 address 02:00:00:00:00:07 mtu 1300 down")
    assert await ensure(kernel) == first
    assert details(netns)["address"] == "02:ca:c0:a8:00:01"
    assert entries(netns) == WANTED


@pytest.mark.parametrize("arguments", [
    "id 4097 dstport 4789 local 192.168.0.1 nolearning", "id 4096 dstport 8472 local 192.168.0.1 nolearning",
    "id 4096 dstport 4789 local 192.168.0.9 nolearning", "id 4096 dstport 4789 local 192.168.0.1",
    "id 4096 dstport 4789 local 192.168.0.1 nolearning dev va", "dstport 4789 local 192.168.0.1 external",
    "id 4096 dstport 4789 local 192.168.0.1 nolearning remote 192.168.0.2",
])  # fmt: skip
async def test_what_cannot_be_changed_has_the_device_made_anew(netns, kernel: Kernel, arguments: str) -> None:
    netns.ip(f"link add calivx0 type vxlan {arguments}")
    before = netns.index("calivx0")
    status = await ensure(kernel)
    assert status.ifindex == netns.index("calivx0") != before
    assert entries(netns) == WANTED


async def test_a_device_that_is_not_used_any_more_is_removed(netns, kernel: Kernel) -> None:
    await ensure(kernel)
    assert await kernel.retire_tunnel(TUNNEL) == []
    assert "calivx0" not in netns.ip("link show")
    assert await kernel.retire_tunnel(TUNNEL) == []


async def test_a_device_of_another_kind_is_left_alone(netns, kernel: Kernel) -> None:
    netns.ip("link add calivx0 type veth peer name other")
    status = await kernel.ensure_vxlan(SPEC)
    (problem,) = status.problems
    assert (status.ifindex, problem.kind) == (None, ProblemKind.TUNNEL_UNAVAILABLE)
    assert problem.message == "calivx0 is there, but of kind veth, expected vxlan"
    assert details(netns)["linkinfo"]["info_kind"] == "veth"


async def test_somebody_elses_device_with_our_vni_and_port_is_named_and_left_alone(netns, kernel: Kernel) -> None:
    netns.ip("link add theirs type vxlan id 4096 dstport 4789 local 192.168.0.1")
    status = await kernel.ensure_vxlan(SPEC)
    assert [problem.message for problem in status.problems] == [
        "theirs has VNI 4096 and port 4789 already: one of them needs others"
    ]
    assert "theirs" in netns.ip("link show type vxlan")


@pytest.mark.parametrize("vni", [SPEC.vni, 7])
async def test_a_device_that_gets_another_name_in_the_file_makes_room_also_after_a_restart(
    netns, kernel: Kernel, vni: int
) -> None:
    await ensure(kernel, replace(SPEC, tunnel=replace(TUNNEL, device="vx7"), vni=vni))
    assert "vx7" in netns.ip("link show type vxlan")
    await ensure(kernel)
    assert entries(netns) == WANTED
    assert "vx7" not in netns.ip("link show type vxlan"), "nobody would keep strangers out of it"


async def test_addresses_of_pools_that_are_not_wanted_go_and_others_stay(netns, kernel: Kernel) -> None:
    await ensure(kernel)
    for address in ("10.0.0.9/32", "172.31.0.1/32"):
        netns.ip(f"address add {address} dev calivx0")
    await ensure(kernel, replace(SPEC, tunnel=replace(TUNNEL, addresses=(ip_address("10.0.0.2"),))))
    shown = netns.ip("address show calivx0")
    assert [one in shown for one in ("10.0.0.1/", "10.0.0.2/32", "10.0.0.9/", "172.31.0.1/32", "fd00::1/")] == [
        False, True, False, True, False,
    ]  # fmt: skip


async def test_the_device_takes_packets_that_no_route_leads_back_over(netns, kernel: Kernel) -> None:
    await ensure(kernel, replace(SPEC, tunnel=replace(TUNNEL, addresses=())))
    assert await kernel.ensure_sysctls(SysctlSpec(underlay=("va",), tunnels=("calivx0",))) == []
    netns.ip("route add 10.0.5.0/24 via 192.168.0.2")
    assert "cache" in netns.ip("route get 192.168.0.1 from 10.0.5.7 iif calivx0")  # refused with EXDEV otherwise
    netns.ip("route add 10.0.6.0/24 via 192.168.0.2 dev calivx0 onlink")
    assert "dev calivx0 src 192.168.0.1" in netns.ip("route get 10.0.6.7")


async def test_over_ipv6_the_mac_addresses_come_from_the_ipv6_addresses(netns, kernel: Kernel) -> None:
    netns.ip("-6 address add 2001:db8::1/64 dev va nodad")
    other = end("2001:db8::2", underlay=Family.IPV6)
    await ensure(kernel, replace(SPEC, local=ip_address("2001:db8::1"), ends=(other,)))
    assert details(netns)["linkinfo"]["info_data"]["local6"] == "2001:db8::1"
    mac = other.mac.hex(":")
    assert entries(netns) == {f"{mac} -> 2001:db8::2 permanent", f"{other.gateway6} {mac} PERMANENT"}


async def test_a_thousand_nodes_are_written_and_read_back(netns, kernel: Kernel) -> None:
    many = tuple(end(f"192.168.{number // 250 + 1}.{number % 250 + 1}") for number in range(1000))
    await ensure(kernel, replace(SPEC, ends=many))
    assert len(entries(netns)) == 3000
    await ensure(kernel)
    assert entries(netns) == WANTED

