"""Nexthop objects over rtnetlink: read by id, and replaced. Nothing else, and light.

Numbers are those of linux/netlink.h, rtnetlink.h and nexthop.h. `calicopy.kernel.netlink` has them too, but loading it
would take longer than a killed process may be away.
"""
from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence

HELD_PROTOCOL = 118  # as calicopy.fib.types has it
FIRST_ID, LAST_ID = 0x0CA10000, 0x0CA1FFFF  # as calicopy.fib.types.NEXT_HOP_IDS

_NLMSG_ERROR, _RTM_NEWNEXTHOP, _RTM_GETNEXTHOP = 2, 104, 106
_REQUEST, _ACK, _REPLACE = 0x1, 0x4, 0x100
_NHA_ID, _NHA_GROUP, _NHA_BLACKHOLE = 1, 2, 4
_TYPE_MASK = 0x3FFF  # linux/netlink.h, NLA_TYPE_MASK
_HEADER = struct.Struct("=IHHII")
_NHMSG = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_ID = struct.Struct("=HHI")
_ERROR = struct.Struct("=i")
_MEMBER = struct.Struct("=IBBH")
_HEAD = _HEADER.size + _NHMSG.size
_SO_RCVBUFFORCE = 33
_AT_ONCE = 200
TIMEOUT_S = 0.2


class Object:
    """A nexthop object or group as the kernel holds it. `members`: the group's entries as they came, by id."""

    __slots__ = ("blackhole", "family", "members", "protocol")

    def __init__(self, *, protocol: int, family: int, blackhole: bool, members: dict[int, bytes]) -> None:
        self.protocol = protocol
        self.family = family
        self.blackhole = blackhole
        self.members = members


class NextHops:
    """A netlink socket. OSError from each call when the kernel does not answer."""

    def __init__(self) -> None:
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.settimeout(TIMEOUT_S)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)
        except OSError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """No more calls."""
        self._socket.close()

    def read(self, ids: Sequence[int]) -> dict[int, Object]:
        """What the kernel holds of these ids. OSError too when it refuses for another reason than that it has none."""
        found: dict[int, Object] = {}
        for at in range(0, len(ids), _AT_ONCE):
            bodies = [_NHMSG.pack(0, 0, 0, 0, 0) + _ID.pack(8, _NHA_ID, one) for one in ids[at : at + _AT_ONCE]]
            for kind, place, body in self._exchange(_RTM_GETNEXTHOP, _REQUEST, bodies):
                if kind == _RTM_NEWNEXTHOP:
                    found[ids[at + place]] = _parse(body)
                elif not is_gone(code := -_ERROR.unpack_from(body)[0]):
                    raise OSError(code, os.strerror(code))
        return found

    def write(self, changes: Sequence[bytes]) -> list[int]:
        """Make the changes (`blackhole`, `group`) in their order; the errno of each, 0 when it is made."""
        codes = [0] * len(changes)
        for at in range(0, len(changes), _AT_ONCE):
            answers = self._exchange(_RTM_NEWNEXTHOP, _REQUEST | _REPLACE | _ACK, changes[at : at + _AT_ONCE])
            for _, place, body in answers:
                codes[at + place] = -_ERROR.unpack_from(body)[0]
        return codes

    def _exchange(self, kind: int, flags: int, bodies: Sequence[bytes]) -> Iterator[tuple[int, int, bytes]]:
        """Send all at once; each is answered by one message: its type, whose answer it is, and its body."""
        first = self._sequence + 1
        self._sequence += len(bodies)
        self._socket.send(
            b"".join(
                _HEADER.pack(_HEADER.size + len(body), kind, flags, first + place, 0) + body
                for place, body in enumerate(bodies)
            )
        )
        missing = set(range(len(bodies)))
        while missing:
            data = self._socket.recv(1 << 16)
            at = 0
            while at < len(data):
                size, answer, _, sequence, _ = _HEADER.unpack_from(data, at)
                if sequence - first in missing:
                    missing.discard(sequence - first)
                    yield answer, sequence - first, data[at + _HEADER.size : at + size]
                at += (size + 3) & ~3


def blackhole(number: int, family: int) -> bytes:
    """The change of a single object into a blackhole that bears our mark. `family` as the kernel numbers it."""
    body = _NHMSG.pack(family, 0, HELD_PROTOCOL, 0, 0)
    return body + _ID.pack(8, _NHA_ID, number) + _ATTRIBUTE.pack(4, _NHA_BLACKHOLE)


def group(number: int, entries: Sequence[bytes], *, protocol: int) -> bytes:
    """The change of a group into these entries."""
    members = b"".join(entries)
    body = _NHMSG.pack(0, 0, protocol, 0, 0) + _ID.pack(8, _NHA_ID, number)
    return body + _ATTRIBUTE.pack(4 + len(members), _NHA_GROUP) + members


def is_gone(code: int) -> bool:
    """Whether an errno says that there is nothing left to change."""
    return code == errno.ENOENT


def _parse(body: bytes) -> Object:
    family, _, protocol, _, _ = _NHMSG.unpack_from(body)
    at, is_blackhole = _NHMSG.size, False
    members: dict[int, bytes] = {}
    while at + 4 <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        kind &= _TYPE_MASK
        if kind == _NHA_BLACKHOLE:
            is_blackhole = True
        elif kind == _NHA_GROUP:
            for entry in range(at + 4, at + size, _MEMBER.size):
                members[_MEMBER.unpack_from(body, entry)[0]] = body[entry : entry + _MEMBER.size]
        at += max(4, (size + 3) & ~3)
    return Object(protocol=protocol, family=family, blackhole=is_blackhole, members=members)
