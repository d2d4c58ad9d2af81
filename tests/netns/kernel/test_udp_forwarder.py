"""The forwarder of encapsulation udp on a real TUN device, real sockets and the kernel's routes, without a process."""
from __future__ import annotations

import io
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from calicopy.kernel.tun import TunError, TunHold, open_tun
from calicopy.udp.counters import Counters
from calicopy.udp.forwarder import MOST_WAYS, Forwarder, open_socket
from calicopy.udp.lookup import Changes, Lookup

pytestmark = pytest.mark.netns

DEVICE, PORT = "caliudp0", 8285
OWN, NODE, OTHER = "198.51.100.1", "198.51.100.2", "198.51.100.3"
GATEWAY, OTHER_GATEWAY = "203.0.113.2", "203.0.113.3"  # not the addresses, which are of this namespace here
OWN6, NODE6, GATEWAY6 = "2001:db8::1", "2001:db8::2", "fe80::ca:2"


def within(check: Callable[[], bool], seconds: float = 2.0) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.005)
    return True


class Scene:
    """A forwarder; the nodes' addresses are all of this namespace, so that a test can be the other node."""

    def __init__(self, netns, stack: ExitStack, *, mtu: int = 1472) -> None:
        self.ip = netns.ip
        for address in (OWN, NODE, OTHER):
            self.ip(f"address add {address}/32 dev lo")
        for address in (OWN6, NODE6):
            self.ip(f"address add {address}/128 dev lo nodad")
        self.tun = stack.enter_context(io.FileIO(open_tun(DEVICE), "r+"))
        self.ip(f"link set {DEVICE} up mtu {mtu}")
        self.ip(f"address add 10.1.0.1/32 dev {DEVICE}")
        self.ip(f"address add fd01::1/128 dev {DEVICE} nodad")
        self.ip(f"route add 10.2.0.0/24 via {GATEWAY} dev {DEVICE} onlink")
        self.ip(f"route add fd02::/64 via {GATEWAY6} dev {DEVICE} onlink")
        self.sockets = [stack.enter_context(open_socket(address, PORT)) for address in (OWN, OWN6)]
        self.node, self.other = (stack.enter_context(self.bound(address, PORT)) for address in (NODE, OTHER))
        self.node6 = stack.enter_context(self.bound(NODE6, PORT))
        self.lookup = Lookup(socket.if_nametoindex(DEVICE))
        stack.callback(self.lookup.close)
        self.counters = Counters()
        self.forwarder = Forwarder(
            self.tun, self.sockets, port=PORT, mtu=mtu, nodes={GATEWAY: NODE, GATEWAY6: NODE6},
            resolve=self.lookup.gateway, counters=self.counters,
        )  # fmt: skip

    @staticmethod
    def bound(address: str, port: int = 0) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, port))
        made.settimeout(2.0)
        return made

    def outbound(self) -> None:
        """Until a packet went to a node; what the kernel itself says on the device may come before."""
        before = self.counters.out_packets
        assert within(lambda: self.forwarder.outbound() or self.counters.out_packets > before)

    def inbound(self, made: socket.socket) -> None:
        assert select.select([made], [], [], 2.0)[0]
        self.forwarder.inbound(made)


@pytest.fixture
def scene(netns) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(netns, stack)


@pytest.mark.parametrize(
    ("source", "target"), [("10.1.0.1", "10.2.0.7"), ("fd01::1", "fd02::7")], ids=["IPv4", "IPv6"]
)
def test_a_packet_comes_out_at_the_node_as_it_is_and_an_answer_goes_in(
    scene: Scene, source: str, target: str
) -> None:
    six = ":" in source
    node, own = (scene.node6, scene.sockets[1]) if six else (scene.node, scene.sockets[0])
    with scene.bound(source) as pod:
        pod.sendto(b"question", (target, 4242))
        scene.outbound()
        packet, sender = node.recvfrom(2000)
        assert packet[-8:] == b"question"
        assert sender[:2] == (OWN6 if six else OWN, PORT)
        if six:
            answer = packet[:8] + packet[24:40] + packet[8:24] + packet[42:44] + packet[40:42] + packet[44:]
        else:
            answer = packet[:12] + packet[16:20] + packet[12:16] + packet[22:24] + packet[20:22] + packet[24:]
        node.sendto(answer, (OWN6 if six else OWN, PORT))
        scene.inbound(own)
        assert pod.recvfrom(100)[0] == b"question"
    assert (scene.counters.out_packets, scene.counters.in_packets) == (1, 1)
    assert scene.counters.out_octets == scene.counters.in_octets == len(packet)


def test_a_kernel_that_does_not_answer_once_is_asked_again_by_the_next_packet(scene: Scene) -> None:
    asked: list[bytes] = []

    def resolve(destination: bytes) -> str | None:
        asked.append(destination)
        if len(asked) == 1:
            raise TimeoutError
        return scene.lookup.gateway(destination)

    forwarder = Forwarder(
        scene.tun, scene.sockets, port=PORT, mtu=1472, nodes={GATEWAY: NODE}, resolve=resolve, counters=scene.counters
    )
    target = socket.inet_aton("10.2.0.7")
    assert forwarder._way(target) is None
    found = forwarder._way(target)
    assert found is not None
    assert found[1] == (NODE, PORT)
    assert forwarder._way(target) == found
    assert asked == [target, target]


def test_packets_of_any_sizes_keep_their_order_and_their_bounds(scene: Scene) -> None:
    sizes = [1400, 1400, 1400, 9, 1400, 1400, 700, 700, 8, 1000, 1200, 1, 1, 1, 1444, 1444]
    with scene.bound("10.1.0.1") as pod:
        for number, size in enumerate(sizes):
            pod.sendto(bytes([number]) * size, ("10.2.0.7", 4242))
    assert within(lambda: _drained(scene) and scene.counters.out_packets == len(sizes))
    got = [scene.node.recvfrom(2000)[0][28:] for _ in sizes]
    assert got == [bytes([number]) * size for number, size in enumerate(sizes)]


def _drained(scene: Scene) -> bool:
    scene.forwarder.outbound()
    return not select.select([scene.tun], [], [], 0)[0]


def test_a_kernel_that_cuts_no_datagrams_gets_each_for_itself(scene: Scene) -> None:
    scene.forwarder._segments = False
    with scene.bound("10.1.0.1") as pod:
        for _ in range(5):
            pod.sendto(bytes(1000), ("10.2.0.7", 4242))
    assert within(lambda: _drained(scene) and scene.counters.out_packets == 5)
    assert [len(scene.node.recvfrom(2000)[0]) for _ in range(5)] == [1028] * 5


def test_the_outer_header_has_the_tos_of_the_inner_one(scene: Scene) -> None:
    scene.node.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    with scene.bound("10.1.0.1") as pod:
        pod.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB9)
        pod.sendto(b"x", ("10.2.0.7", 4242))
    scene.outbound()
    _, ancillary, _, _ = scene.node.recvmsg(2000, 100)
    assert ancillary == [(socket.IPPROTO_IP, socket.IP_TOS, b"\xb9")]


@pytest.mark.parametrize(("tos", "taken"), [(0, False), (1, True), (2, True), (3, True)])
def test_congestion_on_the_way_reaches_the_inner_packet_or_drops_it(scene: Scene, tos: int, taken: bool) -> None:
    with scene.bound("10.1.0.1") as pod:
        pod.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        pod.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        pod.sendto(b"x", ("10.2.0.7", 4242))
        scene.outbound()
        packet = scene.node.recvfrom(2000)[0]
        answer = packet[:12] + packet[16:20] + packet[12:16] + packet[22:24] + packet[20:22] + packet[24:]
        scene.node.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 3)
        scene.node.sendto(answer, (OWN, PORT))
        scene.inbound(scene.sockets[0])
        assert scene.counters.in_not_ecn == int(not taken)
        if taken:
            assert pod.recvmsg(100, 100)[1] == [(socket.IPPROTO_IP, socket.IP_TOS, b"\3")]


def test_what_a_stranger_sends_and_what_is_no_packet_is_dropped_and_counted(scene: Scene) -> None:
    scene.other.sendto(bytes(40), (OWN, PORT))
    scene.inbound(scene.sockets[0])
    scene.node.sendto(b"", (OWN, PORT))
    scene.node.sendto(bytes(40), (OWN, PORT))
    assert within(lambda: scene.forwarder.inbound(scene.sockets[0]) or scene.counters.in_malformed == 2)
    assert (scene.counters.in_foreign, scene.counters.in_packets) == (1, 0)


def test_a_device_that_is_down_drops_what_comes_and_ends_nothing(scene: Scene) -> None:
    with scene.bound("10.1.0.1") as pod:
        pod.sendto(b"x", ("10.2.0.7", 4242))
        scene.outbound()
        packet = scene.node.recvfrom(2000)[0]
    scene.ip(f"link set {DEVICE} down")
    scene.forwarder.outbound()
    scene.node.sendto(packet, (OWN, PORT))
    scene.inbound(scene.sockets[0])
    assert scene.counters.in_failed == 1
    scene.ip(f"link set {DEVICE} up")
    scene.node.sendto(packet, (OWN, PORT))
    scene.inbound(scene.sockets[0])
    assert scene.counters.in_packets == 1


def test_of_several_nodes_for_a_prefix_one_is_chosen_for_each_destination(scene: Scene) -> None:
    hops = " ".join(f"nexthop via {gateway} dev {DEVICE} onlink" for gateway in (GATEWAY, OTHER_GATEWAY))
    scene.ip(f"route add 10.6.0.0/24 {hops}")
    found = {number: scene.lookup.gateway(bytes((10, 6, 0, number))) for number in range(20)}
    assert set(found.values()) <= {GATEWAY, OTHER_GATEWAY}
    assert found == {number: scene.lookup.gateway(bytes((10, 6, 0, number))) for number in range(20)}


def test_a_destination_without_a_node_is_dropped_and_counted(scene: Scene) -> None:
    scene.ip(f"route add 10.3.0.0/24 dev {DEVICE}")
    scene.ip(f"route add 10.4.0.0/24 via {OTHER_GATEWAY} dev {DEVICE} onlink")
    with scene.bound("10.1.0.1") as pod:
        for target in ("10.3.0.1", "10.4.0.1"):  # no gateway; a gateway that is no node
            pod.sendto(b"x", (target, 4242))
    assert within(lambda: _drained(scene) and scene.counters.out_no_node == 2)
    assert scene.counters.out_packets == 0


def test_a_route_that_changes_is_followed_with_the_next_packet(scene: Scene) -> None:
    changes = Changes()
    try:
        scene.forwarder.set_nodes({GATEWAY: NODE, OTHER_GATEWAY: OTHER})
        changes.drain()
        for target, node in ((OTHER_GATEWAY, scene.other), (GATEWAY, scene.node)):
            scene.ip(f"route replace 10.2.0.0/24 via {target} dev {DEVICE} onlink")
            assert within(changes.drain)
            scene.forwarder.changed(1472)
            with scene.bound("10.1.0.1") as pod:
                pod.sendto(b"x", ("10.2.0.7", 4242))
            scene.outbound()
            assert node.recvfrom(2000)[0][-1:] == b"x"
    finally:
        changes.close()


def test_what_waits_in_the_device_while_its_route_goes_elsewhere_goes_the_way_of_before(scene: Scene) -> None:
    with scene.bound("10.1.0.1") as pod:
        for octets in (b"1", b"2"):
            pod.sendto(octets, ("10.2.0.7", 4242))
            if octets == b"2":
                scene.ip("route replace blackhole 10.2.0.0/24")
                scene.forwarder.changed(1472)
            scene.outbound()
            assert scene.node.recvfrom(2000)[0][-1:] == octets
    assert scene.counters.out_no_node == 0


@pytest.mark.parametrize("compatible", [0, 1])
def test_next_hop_objects_groups_and_blackholes_are_resolved_as_the_kernel_does(
    scene: Scene, compatible: int
) -> None:
    Path("/proc/sys/net/ipv4/nexthop_compat_mode").write_text(str(compatible))
    changes = Changes()
    destination = bytes((10, 5, 0, 1))
    try:
        scene.ip(f"nexthop add id 7 via {GATEWAY} dev {DEVICE} onlink")
        scene.ip("route add 10.5.0.0/24 nhid 7")
        assert scene.lookup.gateway(destination) == GATEWAY
        changes.drain()
        scene.ip(f"nexthop replace id 7 via {OTHER_GATEWAY} dev {DEVICE} onlink")
        assert within(changes.drain)
        assert scene.lookup.gateway(destination) == OTHER_GATEWAY
        scene.ip("nexthop add id 8 via 192.168.0.9 dev va")
        scene.ip("nexthop add id 9 group 7/8")
        scene.ip("route replace 10.5.0.0/24 nhid 9")
        assert scene.lookup.gateway(destination) == OTHER_GATEWAY  # the member of our device, whatever the hash says
        scene.ip("route replace 10.5.0.0/24 nhid 7")
        scene.ip("nexthop del id 9")
        scene.ip("nexthop replace id 7 blackhole")
        assert scene.lookup.gateway(destination) is None
    finally:
        changes.close()


def test_an_ipv4_mapped_gateway_is_an_ipv4_node(scene: Scene) -> None:
    scene.ip(f"route add fd05::/64 via ::ffff:{GATEWAY} dev {DEVICE} onlink")
    assert scene.lookup.gateway(socket.inet_pton(socket.AF_INET6, "fd05::1")) == GATEWAY


def test_the_answers_kept_are_bounded(scene: Scene) -> None:
    asked: list[bytes] = []
    scene.forwarder._resolve = lambda destination: asked.append(destination)
    for number in range(MOST_WAYS + 10):
        scene.forwarder._way(number.to_bytes(4, "big"))
    assert len(asked) == MOST_WAYS + 10
    assert len(scene.forwarder._ways) == 10


def test_a_held_queue_keeps_carrier_and_routes_when_the_other_closes(scene: Scene, netns) -> None:
    held = TunHold()
    held.hold(DEVICE)
    scene.ip(f"nexthop add id 7 via {GATEWAY} dev {DEVICE} onlink")
    scene.ip("route add 10.5.0.0/24 nhid 7")
    scene.tun.close()
    try:
        held.hold(DEVICE)
        assert "NO-CARRIER" not in scene.ip(f"link show {DEVICE}")
        assert "10.5.0.0/24" in scene.ip("route show 10.5.0.0/24")
        scene.ip(f"link del {DEVICE}")
        held.hold(DEVICE)
        assert DEVICE in scene.ip(f"link show {DEVICE}"), "a device that was deleted is there again"
    finally:
        held.close()


def test_a_device_that_is_no_tun_device_of_ours_is_refused_with_the_reason(netns) -> None:
    netns.ip("link add other type veth peer name another")
    with pytest.raises(TunError, match="other is there, but is no TUN device"):
        open_tun("other")
    with pytest.raises(TunError, match="no name for a device"):
        open_tun("a-name-that-is-too-long")
