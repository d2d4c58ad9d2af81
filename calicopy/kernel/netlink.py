"""rtnetlink: numbers, packing, and a socket that asks and reads answers.

Numbers are those of linux/netlink.h, rtnetlink.h, nexthop.h, if_link.h and if_addr.h. All integers are in the host's
byte order, except addresses, which are in the network's.
"""
from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from calicopy.net import Family, IPAddress

NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_GET_STRICT_CHK = 12
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33

NLMSG_ERROR = 2
NLMSG_DONE = 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106
RTM_NEWNETCONF = 80

NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH = 1, 4, 5, 6, 7, 8, 9
RTA_TABLE, RTA_VIA, RTA_ENCAP, RTA_NH_ID = 15, 18, 22, 30
RTAX_MTU = 2
RTN_UNSPEC, RTN_UNICAST, RTN_LOCAL, RTN_BLACKHOLE = 0, 1, 2, 6
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RT_TABLE_MAIN = 254
RTNH_F_ONLINK = 4
RTM_F_CLONED, RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x200, 0x1000, 0x2000

NHA_ID, NHA_GROUP, NHA_GROUP_TYPE, NHA_BLACKHOLE, NHA_OIF, NHA_GATEWAY = 1, 2, 3, 4, 5, 6
NHA_ENCAP_TYPE, NHA_ENCAP, NHA_FDB = 7, 8, 11

RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE = 1, 5, 7, 9, 11
RTNLGRP_NEIGH, RTNLGRP_NEXTHOP, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF = 3, 32, 24, 25

IFF_UP, IFF_LOOPBACK, IFF_RUNNING, IFF_LOWER_UP = 0x1, 0x8, 0x40, 0x10000
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_AF_SPEC = 1, 3, 4, 18, 26
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_INET_CONF = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence number, port id."""
RTMSG = struct.Struct("=BBBBBBBBI")
"""rtmsg: family, destination length, source length, tos, table, protocol, scope, type, flags."""
IFINFOMSG = struct.Struct("=BxHiII")
"""ifinfomsg: family, hardware type, index, flags, change mask."""
IFADDRMSG = struct.Struct("=BBBBI")
"""ifaddrmsg: family, prefix length, flags, scope, interface index."""
ATTRIBUTE = struct.Struct("=HH")
"""rtattr: length, type."""
NHMSG = struct.Struct("=BBBBI")
"""nhmsg: family, scope, protocol, reserved, flags (linux/nexthop.h)."""
NEXTHOP_GRP = struct.Struct("=IBBH")
"""nexthop_grp: id, weight less one, its high octet (since 6.12), reserved."""
U32 = struct.Struct("=I")
I32 = struct.Struct("=i")
NEXTHOP = struct.Struct("=HBBi")
"""rtnexthop: length, flags, weight less one, interface index."""

ADDRESS_FAMILY = {Family.IPV4: int(socket.AF_INET), Family.IPV6: int(socket.AF_INET6)}
FAMILY_OF = {number: family for family, number in ADDRESS_FAMILY.items()}


class NetlinkError(OSError):
    """The kernel refused a request; `errno` says why, and the text which request it was."""


class NetlinkOverrunError(NetlinkError):
    """The socket's receive buffer overran (ENOBUFS): answers or events are lost."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A changing message that failed: the place of its sequence number among those sent, and the whole message."""

    place: int
    errno: int
    message: bytes


_SEND_OVERHEAD = 32
"""What the kernel wants free of a send buffer beside the message (netlink_sendmsg)."""


def attribute(kind: int, value: bytes) -> bytes:
    """One rtattr, padded to four octets."""
    size = 4 + len(value)
    return ATTRIBUTE.pack(size, kind) + value + bytes(-size & 3)


def message(kind: int, flags: int, body: bytes) -> bytes:
    """One request without its sequence number, which the socket puts in."""
    return HEADER.pack(16 + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body


def attributes(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """The rtattrs of `data[start:end]` by type, flag bits removed; of several with one type, the last."""
    found: dict[int, bytes] = {}
    while start + 4 <= end:
        size, kind = ATTRIBUTE.unpack_from(data, start)
        if size < 4:
            break
        found[kind & NLA_TYPE_MASK] = data[start + 4 : start + size]
        start += (size + 3) & ~3
    return found


def address_of(octets: bytes) -> IPAddress:
    """4 or 16 octets to an address."""
    return IPv4Address(octets) if len(octets) == 4 else IPv6Address(octets)


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """The messages of a datagram: (type, flags, sequence number, body's start, body's end)."""
    offset, total = 0, len(data)
    while offset + 16 <= total:
        size, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if size < 16:
            break
        yield kind, flags, sequence, offset + 16, offset + size
        offset += (size + 3) & ~3


def is_unsupported(error: OSError) -> bool:
    """Whether the kernel has no such family, table or device kind (IPv6 is off, a table not made yet)."""
    return error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT, errno.EPROTONOSUPPORT)


def _end_code(datagram: bytes, first: int) -> int | None:
    """The code of the NLMSG_DONE that ends an answer; None while more is to come.

    It comes alone, or as the last message of a datagram; it is 20 octets then (linux/netlink.h), perhaps with
    attributes of an extended acknowledgement, which nobody asked for here.
    """
    if first == NLMSG_DONE:
        return int(I32.unpack_from(datagram, 16)[0]) if len(datagram) >= 20 else 0
    at = len(datagram) - 20
    if at >= 16 and HEADER.unpack_from(datagram, at)[:2] == (20, NLMSG_DONE):
        # Could also be the tail of a message that happens to look so: walk to be sure.
        for kind, _, _, start, _ in messages(datagram):
            if kind == NLMSG_DONE:
                return int(I32.unpack_from(datagram, start)[0])
    return None


class NetlinkSocket:
    """A NETLINK_ROUTE socket in the network namespace of the thread that makes it. For one thread at a time.

    `timeout_s` bounds every wait for an answer; a missed one raises NetlinkError(ETIMEDOUT). `largest_send` is how many
    octets may go out at once, else EMSGSIZE: without CAP_NET_ADMIN over the host, net.core.wmem_max bounds the buffer.
    What the kernel refuses comes back whole, since NETLINK_CAP_ACK is not set.
    """

    def __init__(self, *, receive_buffer: int = 4 << 20, send_buffer: int = 1 << 20, timeout_s: float = 10.0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        self._timeout_s = timeout_s
        self._sequence = 1
        self._asked = 0
        try:
            self._size_buffers(receive_buffer, send_buffer)
            self.strict = self._try_option(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
            self._socket.bind((0, 0))
        except BaseException:
            self._socket.close()
            raise
        self.port_id: int = self._socket.getsockname()[0]
        self.largest_send = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _SEND_OVERHEAD

    def close(self) -> None:
        """Close it; more calls fail."""
        self._socket.close()

    def _try_option(self, level: int, option: int, value: int) -> bool:
        try:
            self._socket.setsockopt(level, option, value)
        except OSError:
            return False
        return True

    def _size_buffers(self, receive_buffer: int, send_buffer: int) -> None:
        # The forcing options ignore net.core.[rw]mem_max; they want CAP_NET_ADMIN, so the plain ones are the fallback.
        if not self._try_option(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if not self._try_option(socket.SOL_SOCKET, SO_SNDBUFFORCE, send_buffer):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)

    def take_sequence(self, count: int) -> int:
        """`count` sequence numbers in a row, none of them 0 (which marks events); the first is returned."""
        if self._sequence + count > 0xFFFFFFFF:
            self._sequence = 1
        first = self._sequence
        self._sequence += count
        return first

    def send(self, data: bytes | bytearray) -> None:
        """Hand messages to the kernel, which works through them all before this returns."""
        self._socket.send(data)

    def receive(self, size: int = 1 << 16) -> bytes:
        """The next datagram. NetlinkOverrunError when some were lost, NetlinkError(ETIMEDOUT) when none came."""
        try:
            try:  # mostly it is there: the kernel answers a change before `send` returns
                return self._socket.recv(size, socket.MSG_DONTWAIT)
            except BlockingIOError:
                poller = select.poll()
                poller.register(self._socket, select.POLLIN)
                if not poller.poll(self._timeout_s * 1000):
                    raise NetlinkError(errno.ETIMEDOUT, "the kernel did not answer over netlink") from None
                return self._socket.recv(size)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise NetlinkOverrunError(errno.ENOBUFS, "netlink receive buffer overran") from None
            raise

    def drain(self) -> None:
        """Forget every answer that is still in the receive buffer."""
        while True:
            try:
                self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def request(self, data: bytes, *, what: str) -> None:
        """One changing request, acknowledged. NetlinkError with the kernel's errno, naming `what` it was."""
        for _ in self.ask(data, flags=NLM_F_ACK, what=what):
            pass

    def ask(self, data: bytes, *, flags: int = NLM_F_ACK, what: str) -> Iterator[tuple[int, bytes, int, int]]:
        """One request; yields its answers (type, datagram, body's start, body's end) until the kernel is through.

        A dump whose table changed while it was read (NLM_F_DUMP_INTR) ends in NetlinkError(EINTR).
        """
        for datagram in self.ask_whole(data, flags=flags, what=what):
            for answer, _, sequence, start, end in messages(datagram):
                if sequence == self._asked and answer not in (NLMSG_ERROR, NLMSG_DONE):
                    yield answer, datagram, start, end

    def exchange(self, data: bytearray, *, first: int, count: int, last_size: int) -> list[Refusal]:
        """Send changing messages under `count` sequence numbers from `first` on; the last one has `last_size` octets.

        Gives those that failed, in order; the others are applied. The kernel answers a message that fails also when
        no acknowledgement is asked for, so only the last one asks: its answer, which repeats its header, says that
        all before it is through. NetlinkOverrunError: answers are lost.
        """
        data[len(data) - last_size + 6] |= NLM_F_ACK
        self.send(data)
        refused: list[Refusal] = []
        while True:
            datagram = self.receive()
            for kind, _, sequence, start, end in messages(datagram):
                if kind != NLMSG_ERROR or not 0 <= sequence - first < count:
                    continue
                code = -I32.unpack_from(datagram, start)[0]
                if code:
                    refused.append(Refusal(sequence - first, code, datagram[start + 4 : end]))
                if HEADER.unpack_from(datagram, start + 4)[2] & NLM_F_ACK:
                    return refused

    def ask_whole(self, data: bytes, *, flags: int, what: str) -> Iterator[bytes]:
        """As `ask`, but yields whole datagrams, for a reader that takes them apart itself.

        Only the first and the last message of a datagram are looked at: the kernel ends an answer in one of those.
        """
        sequence = self._asked = self.take_sequence(1)
        _, kind, own_flags, _, _ = HEADER.unpack_from(data)
        self.send(HEADER.pack(len(data), kind, own_flags | flags, sequence, 0) + data[16:])
        interrupted = False
        while True:
            datagram = self.receive()
            _, first, first_flags, answer_sequence, _ = HEADER.unpack_from(datagram)
            if answer_sequence != sequence:
                continue  # left over from a request that was given up
            interrupted = interrupted or bool(first_flags & NLM_F_DUMP_INTR)
            if first == NLMSG_ERROR:
                self._raise(I32.unpack_from(datagram, 16)[0], what)
                return
            yield datagram
            code = _end_code(datagram, first)
            if code is not None:
                self._raise(code, what)
                if interrupted or any(flags & NLM_F_DUMP_INTR for _, flags, *_ in messages(datagram)):
                    raise NetlinkError(errno.EINTR, f"{what}: changed while it was read")
                return

    @staticmethod
    def _raise(code: int, what: str) -> None:
        if code:
            raise NetlinkError(-code, f"{what}: {os.strerror(-code)}")
