"""Read IPIP and VXLAN packets off a device: the outer header and the inner one, as they are on the wire.

For tests of what a lab puts on its wires. Standard library only: tests/uml runs it inside User Mode Linux, where
imports are slow.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

ETH_P_ALL = 0x0003  # a socket bound to a single protocol does not see what the host itself sends
ETH_P_IP = 0x0800
PROTOCOL_ICMP = 1
PROTOCOL_IPIP = 4  # RFC 2003
PROTOCOL_UDP = 17
_VXLAN_PORT = 4789  # RFC 7348
_VXLAN_SIZE = 8 + 8 + 14  # the headers of UDP, VXLAN and Ethernet
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Header:
    """What of an IPv4 header the tests look at (RFC 791)."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int

    def __str__(self) -> str:
        return f"{self.source} > {self.destination} protocol {self.protocol}"


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 packet seen on the wire; `inner` is the IPv4 header that it carries in IPIP or VXLAN."""

    outer: Header
    inner: Header | None


def parse(packet: bytes) -> Packet:
    """Parse an IPv4 packet that starts at its IP header; ValueError when it is none."""
    outer, rest = _header(packet)
    if outer.protocol == PROTOCOL_IPIP:
        return Packet(outer=outer, inner=_header(rest)[0])
    in_vxlan = outer.protocol == PROTOCOL_UDP and struct.unpack_from("!2xH", rest) == (_VXLAN_PORT,)
    carried = rest[_VXLAN_SIZE:] if in_vxlan else b""
    is_ipv4 = struct.unpack_from("!H", rest, _VXLAN_SIZE - 2) == (ETH_P_IP,) if carried else False
    return Packet(outer=outer, inner=_header(carried)[0] if is_ipv4 else None)


def _header(data: bytes) -> tuple[Header, bytes]:
    if len(data) < 20 or data[0] >> 4 != 4:
        raise ValueError(f"expected an IPv4 header, got {data[:20].hex()}")
    protocol, source, destination = struct.unpack_from("!9xB2x4s4s", data)
    return Header(IPv4Address(source), IPv4Address(destination), protocol), data[(data[0] & 15) * 4 :]


@contextmanager
def inside(netns: str) -> Iterator[None]:
    """Be in the named network namespace, for opening a socket there (os.setns exists from Python 3.12 on only)."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(Path("/run/netns", netns), os.O_RDONLY)
    try:
        _setns(there)
        yield
    finally:
        _setns(home)
        os.close(home)
        os.close(there)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


class Capture:
    """The IPv4 packets, in both directions, on a device of a namespace, from now on."""

    def __init__(self, *, netns: str, device: str) -> None:
        with inside(netns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self._socket.bind((device, ETH_P_ALL))

    def close(self) -> None:
        self._socket.close()

    def packets(self, *, seconds: float) -> Iterator[Packet]:
        """Yield what is seen until the time is over; a caller that has seen enough just stops."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                packet, address = self._socket.recvfrom(65535)
            except TimeoutError:
                return
            if address[1] == ETH_P_IP:
                yield parse(packet)
