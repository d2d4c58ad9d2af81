"""The way of the packets: TUN to UDP and back.

Theory of operation: one process, one loop; each direction is given a bounded batch per round, so that neither starves
the other. Out: packets are read until the device has no more, into slots made once; a run of packets with one
destination, size and TOS (the last may be shorter) is one system call, which the kernel cuts into datagrams
(UDP_SEGMENT, Linux 4.18). In: the kernel hands datagrams of one sender and size over as one buffer (UDP_GRO, Linux
5.0), from which each packet is written to the device. A kernel without either gets a call per packet.

Nothing waits: a packet that cannot go on is dropped and counted, as by any router. The outer header has the TOS of the
inner one, with ECN (RFC 6040), the system's TTL, and DF while the path is not known to be narrower than the device's
MTU says (IP_PMTUDISC_WANT): then the kernel sends fragments, which is slow, but loses nothing.
"""
from __future__ import annotations

import errno
import io
import socket
import struct
import sys
import time
from collections.abc import Callable, Collection, Mapping

from calicopy.udp.counters import Counters
from calicopy.udp.lookup import text_of
from calicopy.udp.packets import CE, ECN_MASK, Head, is_multicast, mark_congestion, read_head

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_WANT = 10, 23, 1
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
SOCKET_BUFFER = 4 << 20  # octets: some 20 ms at 1 Gbit/s, with what the kernel adds
LARGEST = 65535
PACKETS_PER_ROUND = 64
DATAGRAMS_PER_ROUND = 4  # each up to 64 packets long
LARGEST_RUN = 65000  # octets: a run is one datagram as long as the kernel has not cut it
MOST_WAYS = 1 << 16
BEFORE_S = 1.0  # longer than a packet waits in the device
MOST_CONTROLS = 1 << 12
_NOTHING: Head = (0, 0, b"")
_INT = struct.Struct("=i")
_U16 = struct.Struct("=H")
_ANCILLARY = 2 * socket.CMSG_SPACE(4)

Ancillary = list[tuple[int, int, bytes]]
Way = tuple[socket.socket, tuple[str, int], int, int]
"""Socket, the node's address and port, level and type of the control message that sets the outer TOS."""


def open_socket(address: str, port: int) -> socket.socket:
    """A UDP socket on the node's address. OSError."""
    six = ":" in address
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_WANT)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_WANT)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        for forced, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            if not _try_option(made, socket.SOL_SOCKET, forced, SOCKET_BUFFER):
                made.setsockopt(socket.SOL_SOCKET, plain, SOCKET_BUFFER)
        _try_option(made, SOL_UDP, UDP_GRO, 1)
        made.bind((address, port))
    except BaseException:
        made.close()
        raise
    return made


def _try_option(of: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        of.setsockopt(level, option, value)
    except OSError:
        return False
    return True


class Forwarder:
    """Both directions. `resolve` gives the gateway of a destination; OSError: not known now. Does not own the
    descriptors.
    """

    def __init__(
        self,
        tun: io.FileIO,
        sockets: Collection[socket.socket],
        *,
        port: int,
        mtu: int,
        nodes: Mapping[str, str],
        resolve: Callable[[bytes], str | None],
        counters: Counters,
    ) -> None:
        self._tun = tun
        self._by_family = {made.family: made for made in sockets}
        self._port = port
        self._resolve = resolve
        self._counters = counters
        self._ways: dict[bytes, Way | None] = {}
        self._before: dict[bytes, Way] = {}  # those of before the last change, until `_before_until`
        self._before_until = 0.0
        self._controls: dict[tuple[int, int, int], Ancillary] = {}
        self._segments = all(_try_option(made, SOL_UDP, UDP_SEGMENT, 0) for made in sockets)
        self._received = bytearray(LARGEST)
        self._view = memoryview(self._received)
        self._mtu = 0
        self._slots: list[memoryview] = []
        self.set_nodes(nodes)
        self.changed(mtu)

    def set_nodes(self, nodes: Mapping[str, str]) -> None:
        """The addresses of the other nodes by the gateways that routes to them have."""
        self._nodes = nodes
        self._sources = frozenset(nodes.values())
        self._ways, self._before = {}, {}

    def changed(self, mtu: int) -> None:
        """What was resolved may be wrong now. `mtu` of the device, in octets: no packet that is read is longer.

        What waits in the device was routed before: where its route leads elsewhere now, it goes the way of before.
        """
        now = time.monotonic()
        kept = self._before if now < self._before_until and len(self._before) < MOST_WAYS else {}
        self._before = kept | {destination: way for destination, way in self._ways.items() if way is not None}
        self._before_until = now + BEFORE_S
        self._ways = {}
        if mtu != self._mtu:
            self._mtu = mtu
            self._slots = [memoryview(bytearray(mtu)) for _ in range(PACKETS_PER_ROUND)]

    # out

    def outbound(self) -> None:
        """Send on what the device has, up to a batch. OSError when the device is gone."""
        read, mtu = self._tun.readinto, self._mtu
        run: list[memoryview] = []
        last = _NOTHING
        way: Way | None = None
        for slot in self._slots:
            size = read(slot)
            if not size:
                break
            packet = slot if size == mtu else slot[:size]
            head = read_head(packet, size)
            if head == last:
                run.append(packet)
                continue
            if head is None:
                self._counters.out_malformed += 1
                continue
            if size < last[0] and head[1:] == last[1:]:  # a shorter one may end a run
                run.append(packet)
                self._send(way, run, last)
                run, last = [], _NOTHING
                continue
            if run:
                self._send(way, run, last)
            run, last, way = [packet], head, self._way(head[2])
        if run:
            self._send(way, run, last)

    def _way(self, destination: bytes) -> Way | None:
        way = self._ways.get(destination)
        if way is not None:
            return way
        if destination not in self._ways:
            if len(self._ways) >= MOST_WAYS:
                self._ways.clear()
            try:
                way = self._ways[destination] = self._find_way(destination)
            except OSError:  # no answer is no node for now: the next packet asks again
                way = None
        if way is None and destination in self._before and time.monotonic() < self._before_until:
            return self._before[destination]
        return way

    def _find_way(self, destination: bytes) -> Way | None:
        node = self._nodes.get(self._resolve(destination) or "")
        if node is None or text_of(destination) in self._sources:
            return None  # the address of a node through the tunnel would be the tunnel through itself
        six = ":" in node
        made = self._by_family.get(socket.AF_INET6 if six else socket.AF_INET)
        if made is None:
            return None
        level, kind = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if six else (socket.IPPROTO_IP, socket.IP_TOS)
        return made, (node, self._port), level, kind

    def _send(self, way: Way | None, run: list[memoryview], head: Head) -> None:
        if way is None:
            if is_multicast(head[2]):
                self._counters.out_multicast += len(run)
            else:
                self._counters.out_no_node += len(run)
            return
        size = head[0]
        if len(run) == 1 or not self._segments:
            self._send_each(way, run, head)
            return
        most = max(1, LARGEST_RUN // size)
        for start in range(0, len(run), most):
            part = run[start : start + most]
            try:
                way[0].sendmsg(part, self._control(way, head[1], size), 0, way[1])
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EIO, errno.EMSGSIZE):
                    self._send_each(way, part, head)  # the interface or the path does not take them at once
                else:
                    self._not_sent(error, len(part))
            else:
                self._counters.out_packets += len(part)
                self._counters.out_octets += (len(part) - 1) * size + len(part[-1])

    def _send_each(self, way: Way, run: list[memoryview], head: Head) -> None:
        control = self._control(way, head[1], 0)
        for packet in run:
            try:
                self._counters.out_octets += way[0].sendmsg((packet,), control, 0, way[1])
                self._counters.out_packets += 1
            except OSError as error:
                self._not_sent(error, 1)

    def _not_sent(self, error: OSError, packets: int) -> None:
        match error.errno:
            case errno.EMSGSIZE:
                self._counters.out_too_big += packets
            case errno.EAGAIN | errno.ENOBUFS:
                self._counters.out_full += packets
            case _:
                self._counters.out_failed += packets

    def _control(self, way: Way, tos: int, segment: int) -> Ancillary:
        """The control messages of a call; `segment` 0: one datagram."""
        key = (way[2], tos, segment)
        found = self._controls.get(key)
        if found is None:
            if len(self._controls) >= MOST_CONTROLS:
                self._controls.clear()
            found = self._controls[key] = [(way[2], way[3], _INT.pack(tos))]
            if segment:
                found.append((SOL_UDP, UDP_SEGMENT, _U16.pack(segment)))
        return found

    # in

    def inbound(self, made: socket.socket) -> None:
        """Write what came to the device, up to a batch. OSError when the device is gone."""
        for _ in range(DATAGRAMS_PER_ROUND):
            try:
                size, ancillary, _, sender = made.recvmsg_into((self._received,), _ANCILLARY)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error about what was sent before
                continue
            segment, congested = size, False
            for level, kind, data in ancillary:
                value = int.from_bytes(data, sys.byteorder)
                if level == SOL_UDP and kind == UDP_GRO:
                    segment = value
                elif kind in (socket.IP_TOS, socket.IPV6_TCLASS):
                    congested = value & ECN_MASK == CE
            if sender[0] not in self._sources:
                self._counters.in_foreign += -(-size // segment) if size else 1
            elif not size:
                self._counters.in_malformed += 1
            else:
                self._write(size, segment, congested=congested)

    def _write(self, size: int, segment: int, *, congested: bool) -> None:
        """The packets of a buffer of `size` octets, each `segment` long but the last."""
        view, write, counters = self._view, self._tun.write, self._counters
        for start in range(0, size, segment):
            length = min(segment, size - start)
            packet = view[start : start + length]
            if read_head(packet, length) is None:
                counters.in_malformed += 1
                continue
            if congested and not mark_congestion(packet):
                counters.in_not_ecn += 1
                continue
            try:
                written = write(packet)
            except OSError as error:
                if error.errno == errno.EBADFD:
                    raise
                written = None
            if written:
                counters.in_packets += 1
                counters.in_octets += length
            else:
                counters.in_failed += 1
