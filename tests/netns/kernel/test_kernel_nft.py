"""The nft table against the real kernel: NAT, ingress protection, counters, and what happens to flows."""
from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from typing import IO

import pytest

from calicopy.agent.kernel_edge import KernelEdge
from calicopy.agent.udp_edge import UdpEdge
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.kernel.events import LinksChanged
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.nft import NftSpec
from calicopy.kernel.nft_watch import NftWatch
from calicopy.kernel.problems import ProblemKind
from calicopy.net import Decapsulation, Encapsulation, Prefix

pytestmark = pytest.mark.netns

POOL, POD, REMOTE_POOL = Prefix.parse("10.0.0.0/16"), "10.0.0.1", Prefix.parse("10.1.0.0/16")
HOST, NODE, STRANGER = "192.168.0.1", "192.168.0.2", "192.168.0.3"
HOST6, NODE6, STRANGER6 = "fd01::1", "fd01::2", "fd01::3"
VNI, VXLAN_PORT, UDP_PORT = 4096, 4789, 8285
IPIP, VXLAN, UDP = (
    Decapsulation(Encapsulation.IPIP), Decapsulation(Encapsulation.VXLAN, VXLAN_PORT, VNI),
    Decapsulation(Encapsulation.UDP, UDP_PORT),
)  # fmt: skip
GUARD = NftSpec(guarded=(IPIP, VXLAN, UDP), senders=(ip_address(NODE), ip_address(NODE6)))
INNER = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, socket.inet_aton("10.1.0.1"), socket.inet_aton(POD))
INNER += b"12345678"


def nft(*arguments: str) -> str:
    done = subprocess.run(["nft", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table() -> str:
    return nft("-a", "list", "table", "inet", "calicopy")


@pytest.fixture
def underlay(netns) -> Iterator[str]:
    """A namespace on the other side of va, with the addresses of a node and of a stranger."""
    name = f"{netns.name}x"
    netns.ip(f"netns add {name}")
    try:
        netns.ip(f"link set vb netns {name}")
        netns.ip(f"address add {HOST6}/64 dev va nodad")
        for command in ("link set vb up", "link set lo up", "address add 10.1.0.1/32 dev lo"):
            netns.ip(f"-n {name} {command}")
        for address in (f"{NODE}/24", f"{STRANGER}/24", f"{NODE6}/64 nodad", f"{STRANGER6}/64 nodad"):
            netns.ip(f"-n {name} address add dev vb {address}")
        netns.ip(f"-n {name} route add 10.0.0.0/16 via 192.168.0.1")
        netns.ip(f"address add {POD}/32 dev lo")
        netns.ip("route add 10.1.0.0/16 via 192.168.0.2")
        yield name
    finally:
        netns.ip(f"netns delete {name}")


def ping(target: str) -> None:
    """From the pod's address."""
    subprocess.run(["ping", "-c", "1", "-W", "2", "-I", POD, target], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def echo_server(space: str) -> Iterator[IO[str]]:
    """A TCP server at NODE:7000; its output is the address of who comes."""
    command = ["ip", "netns", "exec", space, sys.executable, "-c", _ECHO]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "up\n"
            yield server.stdout
        finally:
            server.kill()


_ECHO = """
import socket
server = socket.create_server(("192.168.0.2", 7000))
print("up", flush=True)
peer, (address, _) = server.accept()
print(address, flush=True)
while data := peer.recv(100):
    peer.sendall(data)
"""

_SEND = """
import socket, sys
source, target, port, payload = sys.argv[1], sys.argv[2], int(sys.argv[3]), bytes.fromhex(sys.argv[4])
family = socket.AF_INET6 if ":" in source else socket.AF_INET
kind, protocol = (socket.SOCK_DGRAM, 0) if port else (socket.SOCK_RAW, 4)
with socket.socket(family, kind, protocol) as sender:
    sender.bind((source, 0))
    sender.sendto(payload, (target, port))
"""


def send(space: str, source: str, payload: bytes, *, port: int = 0) -> None:
    """One packet to the host: UDP to `port`, without it protocol 4."""
    target = HOST6 if ":" in source else HOST
    command = ["ip", "netns", "exec", space, sys.executable, "-c", _SEND, source, target, str(port), payload.hex()]
    subprocess.run(command, check=True)


def listener(family: socket.AddressFamily, port: int) -> socket.socket:
    """What hears on the host, behind the input hook: UDP at `port`, with 0 protocol 4."""
    kind, protocol = (socket.SOCK_DGRAM, 0) if port else (socket.SOCK_RAW, 4)
    heard = socket.socket(family, kind, protocol)
    heard.settimeout(5)
    heard.bind(("", port))
    return heard


async def test_the_table_is_ours_alone_and_replaced_only_when_it_differs(netns, kernel: Kernel) -> None:
    nft("add", "table", "inet", "theirs")
    spec = NftSpec((POOL,), (POOL, Prefix.parse("10.8.0.0/16")), GUARD.guarded, GUARD.senders)
    assert await kernel.ensure_nft(spec) == []
    listed = table()
    assert "ip saddr 10.0.0.0/16 ip daddr != { 10.0.0.0/16, 10.8.0.0/16 }" in listed
    assert "masquerade" in listed
    assert await kernel.ensure_nft(spec) == []
    assert table() == listed, "handles stay when unchanged"
    other = Kernel()
    await other.open()
    try:
        assert await other.ensure_nft(spec) == []
    finally:
        await other.close()
    assert table() == listed, "an agent that starts takes it as it is"
    assert await kernel.ensure_nft(NftSpec()) == []
    assert nft("list", "tables").split() == ["table", "inet", "theirs"]


@pytest.mark.parametrize(
    "change",
    [
        "flush ruleset",
        "flush table inet calicopy",
        "delete table inet calicopy",
        "add element inet calicopy senders_ipv4 { 203.0.113.9 }",
        "flush set inet calicopy senders_ipv4",
        "insert rule inet calicopy input accept",
        "flush chain inet calicopy input",
    ],
)
async def test_a_table_that_somebody_changed_is_put_right(netns, kernel: Kernel, change: str) -> None:
    spec = NftSpec((POOL,), (POOL,), GUARD.guarded, GUARD.senders)
    assert await kernel.ensure_nft(spec) == []
    wanted = nft("list", "table", "inet", "calicopy")
    nft(change)
    assert await kernel.ensure_nft(spec) == []
    assert nft("list", "table", "inet", "calicopy") == wanted


async def test_pods_reach_the_outside_with_the_nodes_address_and_each_other_with_their_own(underlay, kernel) -> None:
    assert await kernel.ensure_nft(NftSpec((POOL,), (POOL, REMOTE_POOL))) == []
    for target in (NODE, "10.1.0.1"):
        ping(target)
    assert (await kernel.nft_counters())["nat_ipv4"].packets == 1


async def test_what_goes_to_an_exclusion_keeps_the_pods_own_address(underlay, kernel) -> None:
    assert await kernel.ensure_nft(NftSpec((POOL,), (POOL, Prefix.parse("192.168.0.0/24")))) == []
    ping(NODE)
    assert (await kernel.nft_counters())["nat_ipv4"].packets == 0


@pytest.mark.parametrize(
    ("port", "counter", "family"),
    [
        (0, "dropped_ipip", socket.AF_INET),
        (UDP_PORT, "dropped_udp", socket.AF_INET),
        (UDP_PORT, "dropped_udp", socket.AF_INET6),
    ],
)
async def test_a_strangers_encapsulated_packet_is_dropped_and_counted_and_a_nodes_passes(
    underlay, kernel, port: int, counter: str, family: socket.AddressFamily
) -> None:
    node, stranger = (NODE, STRANGER) if family == socket.AF_INET else (NODE6, STRANGER6)
    assert await kernel.ensure_nft(GUARD) == []
    with closing(listener(family, port)) as heard:
        for _ in range(3):
            send(underlay, stranger, INNER, port=port)
        send(underlay, node, INNER, port=port)
        received, (sender, *_) = heard.recvfrom(200)
        assert (sender, received[-len(INNER):]) == (node, INNER), "the first that arrives is the node's"
    counted = await kernel.nft_counters()
    assert counted[counter].packets == 3
    assert counted[counter].octets >= 3 * (len(INNER) + 20)
    assert sum(each.packets for name, each in counted.items() if name != counter) == 0


@pytest.mark.parametrize(("node", "stranger"), [(NODE, STRANGER), (NODE6, STRANGER6)])
async def test_vxlan_of_our_network_is_taken_from_nodes_alone_and_others_networks_are_not_touched(
    netns, underlay, kernel, eventually, node: str, stranger: str
) -> None:
    local = HOST6 if ":" in node else HOST
    for device, vni in (("calivx0", VNI), ("theirs", 7)):
        netns.ip(f"link add {device} type vxlan id {vni} dstport {VXLAN_PORT} local {local} nolearning")
        netns.ip(f"link set {device} up")

    def frame(vni: int, device: str) -> bytes:
        mac = netns.ip(f"link show {device}").split("link/ether ")[1].split()[0]
        ethernet = bytes.fromhex(mac.replace(":", "")) + b"\x02\0\0\0\0\x09" + b"\x08\x00"
        return struct.pack("!II", 0x08000000, vni << 8) + ethernet + INNER

    def received(device: str) -> int:
        return int(netns.ip(f"-s link show {device}").splitlines()[3].split()[1])

    assert await kernel.ensure_nft(GUARD) == []
    for _ in range(2):
        send(underlay, stranger, frame(VNI, "calivx0"), port=VXLAN_PORT)
    send(underlay, stranger, frame(7, "theirs"), port=VXLAN_PORT)
    send(underlay, node, frame(VNI, "calivx0"), port=VXLAN_PORT)
    await eventually(lambda: received("calivx0") == 1 and received("theirs") == 1)
    assert (await kernel.nft_counters())["dropped_vxlan"].packets == 2


_SEND_FRAGMENTS = """
import socket, struct, sys
source, target, payload = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
def total(data):
    found = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while found >> 16:
        found = (found & 0xFFFF) + (found >> 16)
    return found
inside = struct.pack("!HHHH", 4242, 4789, 8 + len(payload), 0) + payload + bytes(len(payload) % 2)
ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
check = 0xFFFF - total(ends + struct.pack("!II", 8 + len(payload), 17) + inside)
datagram = inside[:6] + struct.pack("!H", check) + inside[8 : 8 + len(payload)]
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, 44) as sender:
    sender.bind((source, 0))
    sender.sendto(struct.pack("!BBHI", 17, 0, 1, 77) + datagram[:8], (target, 0))
    sender.sendto(struct.pack("!BBHI", 17, 0, 8, 77) + datagram[8:], (target, 0))
"""


async def test_a_strangers_vxlan_packet_in_ipv6_fragments_is_dropped(underlay, kernel, netns, eventually) -> None:
    netns.ip(f"link add calivx0 type vxlan id {VNI} dstport {VXLAN_PORT} local {HOST6} nolearning")
    netns.ip("link set calivx0 up")
    mac = netns.ip("link show calivx0").split("link/ether ")[1].split()[0]
    ethernet = bytes.fromhex(mac.replace(":", "")) + b"\x02\0\0\0\0\x09" + b"\x08\x00"
    frame = (struct.pack("!II", 0x08000000, VNI << 8) + ethernet + INNER).hex()

    def received() -> int:
        return int(netns.ip("-s link show calivx0").splitlines()[3].split()[1])

    def send_in_fragments() -> None:
        command = ["ip", "netns", "exec", underlay, sys.executable, "-c", _SEND_FRAGMENTS, STRANGER6, HOST6, frame]
        subprocess.run(command, check=True)

    send_in_fragments()
    await eventually(lambda: received() == 1)
    assert await kernel.ensure_nft(GUARD) == []
    send_in_fragments()
    assert (await kernel.nft_counters())["dropped_vxlan"].packets == 1
    assert received() == 1


async def test_counters_and_running_flows_survive_a_replacement_of_the_table(underlay, kernel) -> None:
    both = NftSpec((POOL,), (POOL,), GUARD.guarded, GUARD.senders)
    assert await kernel.ensure_nft(both) == []
    send(underlay, STRANGER, INNER)
    with (
        echo_server(underlay) as heard,
        socket.create_connection((NODE, 7000), timeout=5, source_address=(POD, 0)) as flow,
    ):
        assert heard.readline() == f"{HOST}\n", "translated"
        for number in range(5):
            exempt = (POOL, Prefix.parse(f"172.16.{number}.0/24"))
            assert await kernel.ensure_nft(NftSpec((POOL,), exempt, GUARD.guarded, GUARD.senders)) == []
            # No ACK may be late: one on its way while the table is not there would have the connection reset.
            flow.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            flow.sendall(b"still here")
            assert flow.recv(100) == b"still here"
            flow.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # what is to be acknowledged is so now
        nft("delete table inet calicopy")
        assert await kernel.ensure_nft(both) == []
        flow.sendall(b"and now")
        assert flow.recv(100) == b"and now"
    counted = await kernel.nft_counters()
    assert (counted["dropped_ipip"].packets, counted["nat_ipv4"].packets) == (1, 1)


async def test_without_the_nft_command_there_is_a_named_problem_that_says_what_is_missing(
    netns, kernel, monkeypatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    (problem,) = await kernel.ensure_nft(NftSpec((POOL,), (POOL,), GUARD.guarded, GUARD.senders))
    assert problem.kind is ProblemKind.NFT_MISSING
    assert "nftables" in problem.message
    assert "encapsulated packets are taken from anybody" in problem.message
    assert await kernel.ensure_nft(NftSpec()) == []
    assert await kernel.nft_counters() == {}


async def test_where_the_kernel_refuses_nat_the_protection_is_there_all_the_same(
    netns, kernel, monkeypatch, tmp_path
) -> None:
    # This kernel has NAT: an nft that does not know `masquerade` stands for one without.
    real = shutil.which("nft")
    wrapper = tmp_path / "nft"
    script = f"if [ $1 = -f ]; then sed s/masquerade/nothing/ | {real} -f -; else exec {real} $*; fi"
    wrapper.write_text(f"#!/bin/sh\n{script}\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (problem,) = await kernel.ensure_nft(NftSpec((POOL,), (POOL,), GUARD.guarded, GUARD.senders))
    assert problem.kind is ProblemKind.NFT_FAILED
    assert "dropped_ipip" in table()
    assert "nat" not in table()


async def test_a_change_of_our_table_is_noticed_and_one_of_another_is_not(netns, kernel) -> None:
    assert await kernel.ensure_nft(GUARD) == []
    watch = NftWatch(("calicopy", "calicopy-workloads"))
    try:
        noticed = asyncio.create_task(anext(watch.changes()))
        nft("add table inet calicopy-theirs; delete table inet calicopy-theirs; add table inet theirs")
        assert not (await asyncio.wait((noticed,), timeout=0.3))[0]
        nft("add table inet calicopy-workloads")
        assert await asyncio.wait_for(noticed, 5) == {"calicopy-workloads"}
        nft("flush ruleset")
        seen: set[str] = set()
        while seen != {"calicopy", "calicopy-workloads"}:
            seen |= await asyncio.wait_for(anext(watch.changes()), 5)
        for _ in range(3):
            nft("add table inet calicopy; delete table inet calicopy")
        assert await asyncio.wait_for(anext(watch.changes()), 5) == {"calicopy"}
    finally:
        watch.close()


async def test_however_many_ask_for_the_counters_one_process_a_second_reads_them(
    netns, underlay, kernel, monkeypatch, tmp_path
) -> None:
    calls = tmp_path / "calls"
    wrapper = tmp_path / "nft"
    wrapper.write_text(f"#!/bin/sh\necho $* >>{calls}\nexec {shutil.which('nft')} \"$@\"\n")
    wrapper.chmod(0o755)
    assert await kernel.ensure_nft(GUARD) == []
    send(underlay, STRANGER, INNER)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    posted: list[object] = []
    edge = KernelEdge(kernel, (), posted.append, udp=UdpEdge(tmp_path, posted.append))
    await asyncio.gather(*(edge.count_packets() for _ in range(50)))
    await edge.count_packets()
    assert edge.counters == {"nft.dropped_ipip": 1, "nft.dropped_vxlan": 0, "nft.dropped_udp": 0}
    assert calls.read_text().splitlines() == ["list counters table inet calicopy"]


async def test_a_tunnel_device_is_made_after_the_table_and_removed_before_its_part_of_it(
    netns, kernel, monkeypatch, tmp_path, eventually
) -> None:
    command, wrapper, order = str(shutil.which("nft")), tmp_path / "nft", []
    wrapper.write_text(f"#!/bin/sh\nsleep 0.3\nexec {command} \"$@\"\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def post(event: object) -> None:
        shown = subprocess.run([command, "list", "ruleset"], check=True, capture_output=True, text=True).stdout
        guarded = "dropped_vxlan" in shown
        match event:
            case ev.TunnelSet():
                order.append(("made", guarded))
            case ev.HostChecked(component="unused") if "calivx0" not in netns.ip("link show"):
                order.append(("gone", guarded))

    edge = KernelEdge(kernel, (), post, udp=UdpEdge(tmp_path, post))
    tasks = [asyncio.create_task(task.run()) for task in (edge.looks, edge.host, edge.nft)]
    guarded = do.SetHost(underlay=(), guarded=(VXLAN,), senders=GUARD.senders)
    tunnel = do.SetTunnel(Encapsulation.VXLAN, "calivx0", 1450, local=ip_address(HOST), port=VXLAN_PORT, vni=VNI)
    try:
        edge.host.put(guarded)
        edge.host.put(tunnel)
        await eventually(lambda: ("made", True) in order)
        assert ("made", False) not in order
        order.clear()
        edge.looks.put(LinksChanged())
        await edge.looks.finish()
        edge.host.put(do.SetHost(underlay=(), unused=("calivx0",)))
        await eventually(lambda: any(what == "gone" for what, _ in order))
        assert ("gone", True) in order
        assert "calivx0" not in netns.ip("link show")
    finally:
        for task in tasks:
            task.cancel()
