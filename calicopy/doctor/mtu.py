"""The MTU of the way to each peer, by probing.

Theory of operation: echo requests of several sizes with the bit "don't fragment" go to all peers at once, whatever the
kernel believes of the way (IP_PMTUDISC_PROBE of linux/in.h); the largest that is answered is what the way carries. The
sizes are those of interfaces and common tunnels. Unanswered ones go out a second time; the whole takes little more than
a second, however many peers there are.
"""
from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from calicopy.doctor.result import Finding, Setting, fail, ok, skipped, warn
from calicopy.net import IPAddress

SIZES = (9000, 8950, 1500, 1492, 1480, 1472, 1460, 1450, 1430, 1420, 1400, 1370, 1340, 1300, 1280, 1200, 1000, 576)
"""Octets of IP packets."""
ROUNDS, ROUND_S = 2, 0.6
MOST_PEERS = 100
_IP_MTU, _IPV6_MTU, _MTU_DISCOVER, _PROBE = 14, 24, {4: 10, 6: 23}, 3  # linux/in.h, linux/in6.h
_ECHO = {4: (8, 0), 6: (128, 129)}  # ICMP types: request, reply
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h: whatever net.core.wmem_max says
_WAITING = 32 << 20  # octets: two rounds for all peers, with what the kernel needs beside
_HEADER = struct.Struct("!BBHHH")


@dataclass(slots=True)
class Way:
    """To one peer: what our interface or route says, and which sizes came back."""

    name: str
    address: IPAddress
    mtu: int = 0
    answered: set[int] = field(default_factory=set)
    error: str = ""

    @property
    def sizes(self) -> list[int]:
        """Those to try."""
        return sorted({self.mtu, *(size for size in SIZES if size < self.mtu)}, reverse=True)


def mtus(setting: Setting) -> Iterator[Finding]:
    """Towards each peer of the cluster file."""
    if setting.node is None:
        yield skipped("mtu", "no cluster file: the peers are not known")
        return
    sessions = setting.node.sessions
    ways = [Way(session.name, session.address) for session in sessions[:MOST_PEERS]]
    if not ways:
        yield skipped("mtu", "this node has no peers")
        return
    try:
        probe(ways)
    except PermissionError:
        yield skipped("mtu", "probing needs CAP_NET_RAW")
        return
    yield from map(judge, ways)
    if len(sessions) > MOST_PEERS:
        yield skipped("mtu", f"{len(sessions) - MOST_PEERS} further peers were not probed")


def judge(way: Way) -> Finding:
    """What the answers mean."""
    name = f"mtu to {way.name}"
    if way.error:
        return warn(name, f"{way.address}: {way.error}", "look at its address and `ip route get` of it")
    if not way.answered:
        return warn(name, f"{way.address} does not answer", "look whether it runs, and whether ICMP may pass")
    largest = max(way.answered)
    if largest == way.mtu:
        return ok(name, f"{way.mtu}, as the interface says")
    return fail(name, f"{largest} arrive, {way.mtu} do not", f"mend the way, or set it on the route (`ip route ... mtu "
                f"{largest}`): large packets are lost in silence")


def probe(ways: Sequence[Way]) -> None:
    """Fill in what comes back. PermissionError without CAP_NET_RAW."""
    by_version = {version: [way for way in ways if way.address.version == version] for version in (4, 6)}
    sockets = {version: _socket(version) for version, some in by_version.items() if some}
    try:
        for way in ways:
            way.mtu, way.error = _known_mtu(way.address)
        for _ in range(ROUNDS):
            for version, raw in sockets.items():
                for way in by_version[version]:
                    _send(raw, way)
            _receive(sockets, ways)
    finally:
        for raw in sockets.values():
            raw.close()


def _socket(version: int) -> socket.socket:
    if version == 4:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        raw.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER[4], _PROBE)
    else:
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
        raw.setsockopt(socket.IPPROTO_IPV6, _MTU_DISCOVER[6], _PROBE)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    try:  # what waits for the ARP of peers that are gone would keep that for the others from being sent
        raw.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _WAITING)
    except PermissionError:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAITING)
    return raw


def _known_mtu(address: IPAddress) -> tuple[int, str]:
    """What the kernel believes of the way, from its interface or route; and why there is none."""
    family, level, option = (
        (socket.AF_INET, socket.IPPROTO_IP, _IP_MTU) if address.version == 4
        else (socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_MTU)
    )  # fmt: skip
    with socket.socket(family, socket.SOCK_DGRAM) as probe_socket:
        try:
            probe_socket.setsockopt(level, _MTU_DISCOVER[address.version], _PROBE)  # not what was learned from ICMP
            probe_socket.connect((str(address), 9))
            return int(probe_socket.getsockopt(level, option)), ""
        except OSError as error:
            return 0, error.strerror or str(error)


def _send(raw: socket.socket, way: Way) -> None:
    if way.error or way.mtu in way.answered:
        return
    header = 20 if way.address.version == 4 else 40
    for size in way.sizes:
        if size in way.answered:
            continue
        packet = echo(way.address.version, size - header)
        try:
            raw.sendto(packet, (str(way.address), 0))
        except OSError:  # larger than the interface takes, or its queue is full
            continue


def echo(version: int, octets: int) -> bytes:
    """An echo request of so many octets; the sequence number says how many (RFC 792, RFC 4443)."""
    request = _ECHO[version][0]
    identifier = os.getpid() & 0xFFFF
    packet = _HEADER.pack(request, 0, 0, identifier, octets) + bytes(octets - _HEADER.size)
    return packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]  # of ICMPv6 the kernel fills it in


def checksum(packet: bytes) -> int:
    """RFC 1071."""
    even = packet + bytes(len(packet) & 1)
    total = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~int(total) & 0xFFFF


def _receive(sockets: dict[int, socket.socket], ways: Sequence[Way]) -> None:
    until = time.monotonic() + ROUND_S
    by_address = {str(way.address): way for way in ways}
    versions = {raw.fileno(): version for version, raw in sockets.items()}
    while (left := until - time.monotonic()) > 0:
        if all(way.error or way.mtu in way.answered for way in ways):
            return
        ready, _, _ = select.select(list(sockets.values()), [], [], left)
        for raw in ready:
            data, source = raw.recvfrom(65536)
            version = versions[raw.fileno()]
            header = (data[0] & 15) * 4 if version == 4 else 0
            kind, _, _, identifier, octets = _HEADER.unpack_from(data.ljust(header + 8, b"\0"), header)
            way = by_address.get(str(source[0]))
            if way is not None and kind == _ECHO[version][1] and identifier == os.getpid() & 0xFFFF:
                way.answered.add(octets + (20 if version == 4 else 40))
