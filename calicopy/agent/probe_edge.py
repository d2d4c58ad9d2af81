"""Asks the tunnel addresses of other nodes for echoes (RFC 792, RFC 4443), through the tunnels.

Theory of operation: one raw socket for each of our own tunnel addresses, bound to it, so that the answer has to come
back through the tunnel too; not one for each node, of which there may be more than a process has descriptors. The
kernel hands on echo replies alone (ICMP_FILTER of linux/icmp.h, ICMP6_FILTER of RFC 3542 section 3.2). A reply counts
when address, identifier, number and a random word are those of the request that is under way.
"""
from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from ipaddress import ip_address

from calicopy.agent.edges import Post
from calicopy.agent.probing import Prober
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.net import IPAddress

log = logging.getLogger(__name__)

TELL_S = 0.1  # verdicts that change together are told together
MOST_READ = 64
_ECHO, _ECHO_REPLY = 8, 0
_ECHO6, _ECHO6_REPLY = 128, 129
_SOL_RAW, _ICMP_FILTER = 255, 1
_ICMP6_FILTER = 1
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, number


class ProbeEdge:
    """Asks, and posts what came of it. `round_trips`: of those that answered last, in seconds."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._prober = Prober()
        self._sources: dict[IPAddress, IPAddress] = {}
        self._sockets: dict[IPAddress, socket.socket] = {}
        self._identifier = int.from_bytes(os.urandom(2))
        self._word = os.urandom(8)
        self._wake = asyncio.Event()
        self._telling: asyncio.TimerHandle | None = None
        self._forbidden = False
        self.round_trips = self._prober.round_trips

    def set(self, command: do.ProbeTunnels) -> None:
        """The whole set to ask."""
        self._sources = dict(command.targets)
        for gone in self._sockets.keys() - set(self._sources.values()):
            self._close(gone)
        self._prober.set_targets(self._sources, self._now())
        self._wake.set()

    def hurry(self) -> None:
        """Somebody looks: ask now what was not asked a moment ago."""
        self._prober.hurry(self._now())
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._wait()
                if self._forbidden:
                    continue
                for address, number in self._prober.due(self._now()):
                    self._ask(address, number)
                self._tell_soon()
        finally:
            if self._telling is not None:
                self._telling.cancel()
            for source in list(self._sockets):
                self._close(source)

    async def _wait(self) -> None:
        deadline = None if self._forbidden else self._prober.deadline()
        pause = None if deadline is None else max(0.0, deadline - self._now())
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _ask(self, address: IPAddress, number: int) -> None:
        """What cannot be sent is lost, as what nobody answers."""
        try:
            made = self._socket(self._sources[address])
            made.sendto(request(address.version, self._identifier, number, self._word), (str(address), 0))
        except PermissionError as error:
            if self._sockets:
                return  # this packet is not let out, by a rule of nft for one
            self._forbidden = True
            why = error.strerror
            log.warning("tunnel addresses of other nodes are not probed: no raw socket (CAP_NET_RAW): %s", why)
        except OSError as error:
            log.debug("no echo request to %s: %s", address, error)

    def _socket(self, source: IPAddress) -> socket.socket:
        held = self._sockets.get(source)
        if held is not None:
            return held
        made = _open(source.version)
        try:
            made.bind((str(source), 0))
        except OSError:  # our address is not there yet: the next request tries again
            made.close()
            raise
        self._sockets[source] = made
        asyncio.get_running_loop().add_reader(made, self._read, made)
        return made

    def _close(self, source: IPAddress) -> None:
        made = self._sockets.pop(source)
        asyncio.get_running_loop().remove_reader(made)
        made.close()

    def _read(self, made: socket.socket) -> None:
        for _ in range(MOST_READ):
            try:
                packet, sender = made.recvfrom(256)
            except OSError:
                break
            number = reply_number(4 if made.family == socket.AF_INET else 6, packet, self._identifier, self._word)
            if number is not None:
                self._prober.answered(ip_address(sender[0]), number, self._now())
        self._tell_soon()
        self._wake.set()

    def _tell_soon(self) -> None:
        if self._prober.changed and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TELL_S, self._tell)

    def _tell(self) -> None:
        self._telling, self._prober.changed = None, False
        self._post(ev.TunnelsAnswered(self._prober.verdicts()))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _open(version: int) -> socket.socket:
    """A raw socket that hears echo replies alone. Raises PermissionError without CAP_NET_RAW."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    if version == 4:
        made = socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP)
        made.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF & ~(1 << _ECHO_REPLY)))
        return made
    made = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6)
    words = [0xFFFFFFFF] * 8
    words[_ECHO6_REPLY >> 5] &= ~(1 << (_ECHO6_REPLY & 31))
    made.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))
    return made


def request(version: int, identifier: int, number: int, word: bytes) -> bytes:
    """An echo request. The kernel puts in the checksum of ICMPv6 itself (RFC 3542 section 3.1)."""
    if version == 6:
        return _HEADER.pack(_ECHO6, 0, 0, identifier, number) + word
    plain = _HEADER.pack(_ECHO, 0, 0, identifier, number) + word
    return _HEADER.pack(_ECHO, 0, _checksum(plain), identifier, number) + word


def reply_number(version: int, packet: bytes, identifier: int, word: bytes) -> int | None:
    """The number of the request that this answers; None when it is no answer to one of ours. Of IPv4 the packet begins
    with its IP header.
    """
    body = packet[(packet[0] & 0x0F) * 4 :] if version == 4 and packet else packet
    if len(body) < _HEADER.size:
        return None
    kind, _, _, said, number = _HEADER.unpack_from(body)
    wanted = _ECHO_REPLY if version == 4 else _ECHO6_REPLY
    ours = kind == wanted and said == identifier and body[_HEADER.size :] == word
    return int(number) if ours else None


def _checksum(octets: bytes) -> int:
    """RFC 1071, of an even number of octets."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
