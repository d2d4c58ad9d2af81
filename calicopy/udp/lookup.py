"""Which node a destination is behind, as the kernel's routes say.

Theory of operation: RTM_GETROUTE with the TUN device as output interface gives the gateway, whatever the route is made
of (plain hops, nexthop objects, groups). Answers are kept per destination, and all dropped when anything changes that
they may depend on: routes, rules, nexthop objects, links, addresses. Numbers are those of linux/rtnetlink.h;
`calicopy.kernel.netlink` has them too, but would cost this process a third more memory.
"""
from __future__ import annotations

import socket
import struct

_RTM_NEWROUTE, _RTM_GETROUTE, _NLM_F_REQUEST = 24, 26, 1
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_VIA = 1, 4, 5, 18
_RTN_UNICAST = 1
_SOL_NETLINK, _ADD_MEMBERSHIP, _NO_ENOBUFS = 270, 1, 5
_GROUPS = (1, 5, 7, 8, 9, 11, 19, 32)  # link; IPv4 address, route, rule; IPv6 address, route, rule; next hop
_EVENT_BUFFER = 16 << 10  # octets: what one event says is never read, so what overruns it is not missed
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=IHHIIBBBBBBBBI")  # nlmsghdr and rtmsg
_ATTRIBUTE = struct.Struct("=HH")
_OIF = struct.Struct("=HHI")
_MAPPED = b"\0" * 10 + b"\xff\xff"  # of ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2)


class Lookup:
    """Gateways by destination. `on_change` is called when answers given before may be wrong."""

    def __init__(self, ifindex: int) -> None:
        self.ifindex = ifindex
        self._sequence = 0
        self._asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._asking.settimeout(1.0)
        self._asking.bind((0, 0))

    def close(self) -> None:
        """No more questions."""
        self._asking.close()

    def gateway(self, destination: bytes) -> str | None:
        """The address of the node that `destination` (4 or 16 octets) is behind; None when no route over the device has
        a gateway for it. OSError when the kernel does not answer, TimeoutError when not within a second."""
        answer = self._ask(destination)
        return _gateway(answer, self.ifindex) if answer is not None else None

    def _ask(self, destination: bytes) -> bytes | None:
        self._sequence = sequence = (self._sequence + 1) & 0xFFFFFFFF
        bits = len(destination) * 8
        size = _REQUEST.size + 4 + len(destination) + 8
        family = socket.AF_INET if bits == 32 else socket.AF_INET6
        self._asking.send(
            _REQUEST.pack(size, _RTM_GETROUTE, _NLM_F_REQUEST, sequence, 0, family, bits, 0, 0, 0, 0, 0, 0, 0)
            + _ATTRIBUTE.pack(4 + len(destination), _RTA_DST)
            + destination
            + _OIF.pack(8, _RTA_OIF, self.ifindex)
        )
        while True:
            answer = self._asking.recv(8192)
            _, kind, _, answered, _ = _HEADER.unpack_from(answer)
            if answered == sequence:
                return answer if kind == _RTM_NEWROUTE else None


def _gateway(answer: bytes, ifindex: int) -> str | None:
    if answer[16 + 7] != _RTN_UNICAST:
        return None
    gateway, oif = b"", 0
    offset = _REQUEST.size
    while offset + 4 <= len(answer):
        size, kind = _ATTRIBUTE.unpack_from(answer, offset)
        if size < 4:
            break
        value = answer[offset + 4 : offset + size]
        if kind == _RTA_GATEWAY:
            gateway = value
        elif kind == _RTA_VIA:  # a gateway of the other family, behind its address family in two octets
            gateway = value[2:]
        elif kind == _RTA_OIF:
            oif = int.from_bytes(value, "little" if struct.pack("=H", 1) == b"\1\0" else "big")
        offset += (size + 3) & ~3
    return text_of(gateway) if oif == ifindex and gateway else None


def text_of(address: bytes) -> str:
    """4 or 16 octets as the sockets have them; an IPv4-mapped address is IPv4."""
    if address.startswith(_MAPPED):
        address = address[12:]
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


class Changes:
    """Tells that something changed in the kernel that a gateway may depend on; what it was is not read."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER)
        self._socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
        self._socket.bind((0, 0))
        for group in _GROUPS:
            try:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
            except OSError:  # no nexthop objects before Linux 5.3, and then no events of them
                continue
        self.fileno = self._socket.fileno

    def close(self) -> None:
        """No more events."""
        self._socket.close()

    def drain(self) -> bool:
        """Forget the events that came; whether there were any."""
        found = False
        while True:
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return found
            found = True


