"""Nexthop objects (linux/nexthop.h, since 5.3): written, read back, dumped.

Theory of operation: an id belongs to whoever made it, and the kernel guards it for nobody: a replace overwrites an
object of any protocol, and a delete takes it away with all its routes. So an add carries NLM_F_EXCL, and before a
replace or a delete the object is read, and left alone where its protocol is not ours. An add that meets an object of
ours (one that survived what we took as its end) brings it to what is wanted. What BFD holds (`HELD_PROTOCOL`) is ours,
and overwritten only by a change that says so. Several changes go out in one send, as
routes do. A group's message does not tell its family, so that is taken from its members.
"""
from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from calicopy.fib.types import (
    HELD_PROTOCOL,
    NEXT_HOP_IDS,
    Hop,
    NextHopChange,
    NextHopObject,
    NextHopOp,
    NextHopResult,
)
from calicopy.kernel.encode import Identity
from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    FAMILY_OF,
    HEADER,
    I32,
    NEXTHOP_GRP,
    NHA_BLACKHOLE,
    NHA_ENCAP,
    NHA_ENCAP_TYPE,
    NHA_FDB,
    NHA_GATEWAY,
    NHA_GROUP,
    NHA_GROUP_TYPE,
    NHA_ID,
    NHA_OIF,
    NHMSG,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    RTM_DELNEXTHOP,
    RTM_GETNEXTHOP,
    RTM_NEWNEXTHOP,
    RTNH_F_ONLINK,
    U32,
    NetlinkError,
    NetlinkOverrunError,
    NetlinkSocket,
    address_of,
    attribute,
    attributes,
    message,
    messages,
)
from calicopy.net import Family

_UNSPECIFIED = 0
_AT_ONCE = 200
_ATTEMPTS = 5
_FLAGS = {
    NextHopOp.ADD: NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
    NextHopOp.REPLACE: NLM_F_REQUEST | NLM_F_REPLACE,
    NextHopOp.DELETE: NLM_F_REQUEST,
}
_NEVER_SET = frozenset({NHA_ENCAP, NHA_ENCAP_TYPE, NHA_FDB})
_UNKNOWN_HOP = Hop(None, 0)
"""Stands for what we never make, in an object of ours that another process changed: it equals nothing wanted."""
NO_OBJECTS = frozenset({errno.EOPNOTSUPP, errno.EINVAL})
"""What a kernel that has no nexthop objects answers to the question for them."""


@dataclass(frozen=True, slots=True)
class HeldNextHop:
    """One RTM_NEWNEXTHOP: an object, and whose it is. The family of a group is None: its members tell."""

    id: int
    protocol: int
    family: Family | None
    hop: Hop | None
    members: tuple[tuple[int, int], ...]

    def is_ours(self, identity: Identity) -> bool:
        """Whether we or the BFD process made it."""
        return self.protocol in (identity.protocol, HELD_PROTOCOL)

    @property
    def is_held(self) -> bool:
        """Whether the BFD process keeps it a blackhole."""
        return self.protocol == HELD_PROTOCOL and self.hop is None and not self.members

    def as_object(self, family: Family) -> NextHopObject:
        """The same as the FIB knows it; `family` is for a group."""
        return NextHopObject(self.id, self.family or family, self.hop, self.members, held=self.is_held)


def parse_next_hop(data: bytes, start: int, end: int) -> HeldNextHop:
    """The nexthop message body `data[start:end]`."""
    number, _, protocol, _, flags = NHMSG.unpack_from(data, start)
    found = attributes(data, start + NHMSG.size, end)
    number_of = int(U32.unpack(found[NHA_ID])[0])
    family = FAMILY_OF.get(number)
    if not _NEVER_SET.isdisjoint(found) or any(found.get(NHA_GROUP_TYPE, b"")):
        return HeldNextHop(number_of, protocol, family, _UNKNOWN_HOP, ())
    if NHA_GROUP in found:
        return HeldNextHop(number_of, protocol, None, None, _members(found[NHA_GROUP]))
    if NHA_BLACKHOLE in found:
        return HeldNextHop(number_of, protocol, family, None, ())
    gateway = address_of(found[NHA_GATEWAY]) if NHA_GATEWAY in found else None
    ifindex = int(U32.unpack(found[NHA_OIF])[0]) if NHA_OIF in found else 0
    return HeldNextHop(number_of, protocol, family, Hop(gateway, ifindex, onlink=bool(flags & RTNH_F_ONLINK)), ())


def _members(data: bytes) -> tuple[tuple[int, int], ...]:
    found = ((number, (high << 8 | low) + 1) for number, low, high, _ in NEXTHOP_GRP.iter_unpack(data))
    return tuple(sorted(found))


def encode_change(change: NextHopChange, *, protocol: int, sequence: int) -> bytes:
    """The message of one change."""
    wanted = change.object
    body = attribute(NHA_ID, U32.pack(wanted.id))
    if change.op is NextHopOp.DELETE:
        kind, body = RTM_DELNEXTHOP, NHMSG.pack(_UNSPECIFIED, 0, 0, 0, 0) + body
    else:
        # A group has no family of its own. RTNH_F_ONLINK is the message's.
        family = _UNSPECIFIED if wanted.members else ADDRESS_FAMILY[wanted.family]
        flags = RTNH_F_ONLINK if wanted.hop is not None and wanted.hop.onlink else 0
        kind, body = RTM_NEWNEXTHOP, NHMSG.pack(family, 0, protocol, 0, flags) + body + _content(wanted)
    return HEADER.pack(HEADER.size + len(body), kind, _FLAGS[change.op], sequence, 0) + body


def _content(wanted: NextHopObject) -> bytes:
    if wanted.members:
        entries = (
            NEXTHOP_GRP.pack(number, (weight - 1) & 0xFF, (weight - 1) >> 8, 0) for number, weight in wanted.members
        )
        return attribute(NHA_GROUP, b"".join(entries))
    if wanted.hop is None:
        return attribute(NHA_BLACKHOLE, b"")
    gateway = b"" if wanted.hop.gateway is None else attribute(NHA_GATEWAY, wanted.hop.gateway.packed)
    return gateway + attribute(NHA_OIF, U32.pack(wanted.hop.ifindex))


@dataclass(frozen=True, slots=True)
class HeldNextHops:
    """Our objects by id, and the ids in our range that others hold."""

    ours: Mapping[int, NextHopObject]
    foreign_ids: frozenset[int]


def dump_next_hops(socket: NetlinkSocket, identity: Identity) -> HeldNextHops | None:
    """Every object that concerns us; None where the kernel has no nexthop objects."""
    for _ in range(_ATTEMPTS):
        try:
            request = message(RTM_GETNEXTHOP, 0, NHMSG.pack(_UNSPECIFIED, 0, 0, 0, 0))
            answers = socket.ask(request, flags=NLM_F_DUMP, what="dump of next hops")
            found = [parse_next_hop(data, start, end) for kind, data, start, end in answers if kind == RTM_NEWNEXTHOP]
        except NetlinkError as error:
            if error.errno in NO_OBJECTS:
                return None
            if error.errno not in (errno.EINTR, errno.ENOBUFS):
                raise
            socket.drain()
        else:
            held = {one.id: one for one in found}
            foreign = {one.id for one in found if one.id in NEXT_HOP_IDS and not one.is_ours(identity)}
            return HeldNextHops(_ours(held, held, identity), frozenset(foreign))
    raise NetlinkError(errno.EINTR, "dump of next hops: the table does not hold still")


def _ours(
    wanted: Iterable[int], held: Mapping[int, HeldNextHop], identity: Identity
) -> dict[int, NextHopObject]:
    """Those of `wanted` that are there and ours. `held` has the first members of groups too."""
    ours: dict[int, NextHopObject] = {}
    for number in wanted:
        one = held.get(number)
        if one is not None and one.is_ours(identity) and number in NEXT_HOP_IDS:
            first = held.get(one.members[0][0]) if one.members else None
            ours[number] = one.as_object((first and first.family) or Family.IPV4)
    return ours


class NextHopWriter:
    """Writes and reads objects over one socket. It holds no state of them; for one thread at a time."""

    def __init__(self, socket: NetlinkSocket, identity: Identity) -> None:
        self._socket = socket
        self._identity = identity

    def write(self, changes: Iterable[NextHopChange]) -> list[NextHopResult]:
        """Make every change, in order; one that fails stops nothing. One result for each."""
        return [result for part in _parts(changes) for result in self._write(part)]

    def read(self, ids: Collection[int]) -> dict[int, NextHopObject | None]:
        """What holds each id; None where there is nothing, or nothing of ours."""
        held = read_next_hops(self._socket, ids)
        held |= read_next_hops(self._socket, {one.members[0][0] for one in held.values() if one.members} - held.keys())
        ours = _ours(ids, held, self._identity)
        return {number: ours.get(number) for number in ids}

    def _write(self, changes: list[NextHopChange]) -> list[NextHopResult]:
        """The changes of one part, in which no id comes twice: what is read before it holds for all of it."""
        held = read_next_hops(self._socket, {change.object.id for change in changes if change.op is not NextHopOp.ADD})
        results = {change.object.id: self._without_writing(change, held) for change in changes}
        todo = [change for change in changes if results[change.object.id] is None]
        for change, code in zip(todo, self._send(todo), strict=True):
            gone = change.op is NextHopOp.DELETE and code == errno.ENOENT
            if code == errno.EEXIST and change.op is NextHopOp.ADD:
                results[change.object.id] = self._settle(change)
            else:
                results[change.object.id] = NextHopResult(change, 0 if gone else code)
        return [result for result in results.values() if result is not None]

    def _without_writing(self, change: NextHopChange, held: Mapping[int, HeldNextHop]) -> NextHopResult | None:
        """The result, where what the kernel holds has decided it already."""
        if change.op is NextHopOp.ADD:
            return None
        one = held.get(change.object.id)
        if one is None:
            return NextHopResult(change, 0 if change.op is NextHopOp.DELETE else errno.ENOENT)
        if not one.is_ours(self._identity):  # a delete has nothing to do: there is none of ours
            return NextHopResult(change, 0 if change.op is NextHopOp.DELETE else errno.EEXIST, foreign=True)
        return _held_back(change, one)

    def _settle(self, change: NextHopChange) -> NextHopResult:
        """An add met an object: find out which, and act on it."""
        wanted = change.object
        one = read_next_hops(self._socket, {wanted.id}).get(wanted.id)
        if one is None:
            (code,) = self._send([change])  # it went away meanwhile
            return NextHopResult(change, code)
        if not one.is_ours(self._identity):
            return NextHopResult(change, errno.EEXIST, foreign=True)
        if (held_back := _held_back(change, one)) is not None:
            return held_back
        if one.as_object(wanted.family) == wanted:
            return NextHopResult(change)
        (code,) = self._send([replace(change, op=NextHopOp.REPLACE)])
        return NextHopResult(change, code)

    def _send(self, changes: list[NextHopChange]) -> list[int]:
        """The errno of each change, 0 for those that are made."""
        try:
            return self._exchange(changes)
        except NetlinkOverrunError:
            # What failed is not known. One at a time cannot overrun, and making a change again is harmless: what is
            # there answers EEXIST, what is gone ENOENT.
            self._socket.drain()
            return [self._exchange([change])[0] for change in changes]

    def _exchange(self, changes: list[NextHopChange]) -> list[int]:
        if not changes:
            return []
        first, data, last = self._socket.take_sequence(len(changes)), bytearray(), b""
        for number, change in enumerate(changes, first):
            last = encode_change(change, protocol=self._identity.protocol, sequence=number)
            data += last
        codes = [0] * len(changes)
        for refusal in self._socket.exchange(data, first=first, count=len(changes), last_size=len(last)):
            codes[refusal.place] = refusal.errno
        return codes


def _held_back(change: NextHopChange, one: HeldNextHop) -> NextHopResult | None:
    """The result of a change that must not touch what BFD holds."""
    if not one.is_held or change.over_hold or change.op is NextHopOp.DELETE:
        return None
    return NextHopResult(change, errno.EBUSY, held=True)


def read_next_hops(socket: NetlinkSocket, ids: Collection[int]) -> dict[int, HeldNextHop]:
    """What holds each id, whoever made it; ids that are free are left out."""
    found: dict[int, HeldNextHop] = {}
    for part in _slices(sorted(ids)):
        try:
            found |= _ask(socket, part)
        except NetlinkOverrunError:
            socket.drain()
            for number in part:
                found |= _ask(socket, [number])
    return found


def _ask(socket: NetlinkSocket, ids: list[int]) -> dict[int, HeldNextHop]:
    """One send of questions, each of which is answered once: with the object, or an error."""
    first, found = socket.take_sequence(len(ids)), dict[int, HeldNextHop]()
    data = bytearray()
    for sequence, number in enumerate(ids, first):
        body = NHMSG.pack(_UNSPECIFIED, 0, 0, 0, 0) + attribute(NHA_ID, U32.pack(number))
        data += HEADER.pack(HEADER.size + len(body), RTM_GETNEXTHOP, NLM_F_REQUEST, sequence, 0) + body
    socket.send(data)
    missing = set(range(first, first + len(ids)))
    while missing:
        datagram = socket.receive()
        for kind, _, sequence, start, end in messages(datagram):
            if sequence not in missing:
                continue
            missing.discard(sequence)
            if kind == RTM_NEWNEXTHOP:
                one = parse_next_hop(datagram, start, end)
                found[one.id] = one
            elif kind == NLMSG_ERROR and (code := -I32.unpack_from(datagram, start)[0]) != errno.ENOENT:
                raise NetlinkError(code, f"next hop {ids[sequence - first]}")
    return found


def _parts(changes: Iterable[NextHopChange]) -> Iterator[list[NextHopChange]]:
    """The changes in order, cut so that no id comes twice in a part."""
    part: dict[int, NextHopChange] = {}
    for change in changes:
        if change.object.id in part or len(part) == _AT_ONCE:
            yield list(part.values())
            part = {}
        part[change.object.id] = change
    if part:
        yield list(part.values())


def _slices(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
