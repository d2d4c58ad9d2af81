"""Routes of others that the kernel prefers to ours: in table main, inside the pools, with a lower metric.

Theory of operation: the whole table is read, since the kernel filters by one protocol alone, not by "any other".
Messages that differ in their destination alone are parsed once, as in `dump`, so that many routes cost little.
"""
from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from sys import byteorder

from calicopy.fib.types import ForeignRoute
from calicopy.kernel.dump import DST_AT, DST_HEADER, NEW_ROUTE, dump_request, parse_route
from calicopy.kernel.encode import Identity
from calicopy.kernel.netlink import NLM_F_DUMP, RTMSG, NetlinkError, NetlinkSocket, is_unsupported
from calicopy.net import Family, Packed, Prefix

_ATTEMPTS = 5
_LENGTH_AT, _PROTOCOL_AT = 16 + 1, 16 + 5
"""rtm_dst_len and rtm_protocol in a message (linux/rtnetlink.h, struct rtmsg)."""

Found = dict[Packed, ForeignRoute]


def preferred_foreign(
    socket: NetlinkSocket, pools: Iterable[Prefix], identity: Identity
) -> dict[Family, dict[Packed, ForeignRoute]]:
    """The foreign route with the lowest metric of each prefix, if lower than ours. OSError when it cannot be read."""
    cidrs = tuple(pools)
    return {
        family: _preferred(socket, family, tuple(pool for pool in cidrs if pool.family is family), identity)
        for family in Family
    }


def inside_of(family: Family, pools: Iterable[Prefix]) -> Callable[[Packed], bool]:
    """Whether a prefix of `family` lies in one of `pools`: one look per length that a pool has, not one per pool."""
    by_length: dict[int, set[int]] = {}
    for pool in pools:
        if pool.family is family:
            by_length.setdefault(pool.length, set()).add(pool.first >> (family.bits - pool.length))
    lengths = tuple(by_length.items())

    def inside(packed: Packed) -> bool:
        octets = len(packed) - 1
        first = int.from_bytes(packed[1:], "big") << (family.bits - 8 * octets)
        return any(length <= packed[0] and first >> (family.bits - length) in held for length, held in lengths)

    return inside


def _preferred(
    socket: NetlinkSocket, family: Family, pools: tuple[Prefix, ...], identity: Identity
) -> Found:
    if not pools:
        return {}
    octets = min(pool.length for pool in pools) // 8
    heads = frozenset(pool.packed[1 : 1 + octets] for pool in pools)
    inside = inside_of(family, pools)
    for _ in range(_ATTEMPTS):
        found: Found = {}
        known: dict[bytes, ForeignRoute | None] = {}
        try:
            for datagram in socket.ask_whole(dump_request(family), flags=NLM_F_DUMP, what=f"dump of {family} routes"):
                _take_apart(datagram, family, identity, heads=heads, known=known, found=found)
        except NetlinkError as error:
            if is_unsupported(error):
                return {}
            if error.errno not in (errno.EINTR, errno.ENOBUFS):
                raise
            socket.drain()
        else:
            return {packed: route for packed, route in found.items() if inside(packed)}
    raise NetlinkError(errno.EINTR, f"dump of {family} routes: the table does not hold still")


def _take_apart(
    data: bytes,
    family: Family,
    identity: Identity,
    *,
    heads: frozenset[bytes],
    known: dict[bytes, ForeignRoute | None],
    found: Found,
) -> None:
    """Add those of one datagram to `found`, also some outside of the pools. `heads`: the octets, equally many, with
    which an address in a pool begins. `known`: what messages are, by all but their destination.
    """
    head = len(next(iter(heads)))
    header, octets, total, ours = DST_HEADER[family], family.octets, len(data), identity.protocol
    offset = 0
    while offset + 16 + RTMSG.size <= total:
        size = int.from_bytes(data[offset : offset + 4], byteorder)
        if size < 16:
            break
        if data[offset + 4 : offset + 6] == NEW_ROUTE and data[offset + _PROTOCOL_AT] != ours:
            at, end = offset + DST_AT, offset + size
            if data[at : at + head] in heads and data[at - 4 : at] == header:  # not a default route
                key = data[offset : offset + 8] + data[offset + 16 : at] + data[at + octets : end]
                if key not in known:
                    known[key] = _foreign(family, data, offset + 16, end, identity)
                route = known[key]
                if route is not None:
                    length = data[offset + _LENGTH_AT]
                    packed = bytes((length,)) + data[at : at + (length + 7) // 8]
                    before = found.get(packed)
                    if before is None or route.metric < before.metric:
                        found[packed] = route
        offset += (size + 3) & ~3


def _foreign(family: Family, data: bytes, start: int, end: int, identity: Identity) -> ForeignRoute | None:
    route = parse_route(family, data, start, end)
    if route is None or route.metric >= identity.metric:
        return None
    return ForeignRoute(route.protocol, route.metric)
