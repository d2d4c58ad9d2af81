"""Our routes out of the kernel, quickly.

Theory of operation: the kernel filters by protocol and table (NETLINK_GET_STRICT_CHK; where it does not know that, we
filter). The messages of routes with one target are equal but for the destination, so each is cut into (everything but
the destination) and the destination; the first part is looked up among those parsed before, and only a new one is taken
apart. Table main alone is ours.
"""
from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from sys import byteorder

from calicopy.fib.types import Hop, KernelDump, KernelRoute, RouteKind, RouteTarget, object_target
from calicopy.kernel.encode import Identity
from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    ATTRIBUTE,
    HEADER,
    NEXTHOP,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_ENCAP,
    RTA_GATEWAY,
    RTA_METRICS,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTA_VIA,
    RTM_F_CLONED,
    RTM_F_FIB_MATCH,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTMSG,
    RTN_BLACKHOLE,
    RTN_UNICAST,
    RTNH_F_ONLINK,
    U32,
    NetlinkError,
    NetlinkOverrunError,
    NetlinkSocket,
    address_of,
    attribute,
    attributes,
    is_unsupported,
    message,
)
from calicopy.net import Family, Packed

DST_HEADER = {family: ATTRIBUTE.pack(4 + family.octets, RTA_DST) for family in Family}
DST_AT = 16 + RTMSG.size + 8 + 4
"""Where the kernel puts the destination in a message: after RTA_TABLE, which it always writes first."""
NEW_ROUTE = RTM_NEWROUTE.to_bytes(2, byteorder)
_NEVER_SET = frozenset({RTA_PREFSRC, RTA_METRICS, RTA_ENCAP, RTA_VIA})
_NEVER_SET_WITH_OBJECT = frozenset({RTA_PREFSRC, RTA_METRICS})
"""With nexthop_compat_mode 1 the kernel tells beside RTA_NH_ID what the object has, which is not the route's matter."""
_ATTEMPTS = 5
_QUESTIONS = 100
"""Look-ups in one send: their answers fit into any receive buffer but the smallest."""


@dataclass(frozen=True, slots=True)
class ParsedRoute:
    """One RTM_NEWROUTE or RTM_DELROUTE of table main: its key, whose it is, and where it leads."""

    family: Family
    packed: Packed
    protocol: int
    metric: int
    target: RouteTarget


@dataclass(slots=True)
class OwnRoutes:
    """Routes of one family with our protocol."""

    routes: dict[Packed, RouteTarget] = field(default_factory=dict)
    strays: list[KernelRoute] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ExactRoute:
    """Answer of `lookup_exact`: `target` None means that the key is not ours; not `certain`: ask a dump."""

    certain: bool
    target: RouteTarget | None = None


def parse_route(family: Family, data: bytes, start: int, end: int) -> ParsedRoute | None:
    """The route message body `data[start:end]`; None for another family or table, or a cached (cloned) route."""
    number, length, _, tos, table, protocol, scope, kind, flags = RTMSG.unpack_from(data, start)
    if number != ADDRESS_FAMILY[family] or flags & RTM_F_CLONED:
        return None
    found = attributes(data, start + RTMSG.size, end)
    if RTA_TABLE in found:
        table = U32.unpack(found[RTA_TABLE])[0]
    if table != RT_TABLE_MAIN:
        return None
    packed = bytes((length,)) + found.get(RTA_DST, b"")[: (length + 7) // 8]
    metric = U32.unpack(found[RTA_PRIORITY])[0] if RTA_PRIORITY in found else 0
    target = target_of(found, family=family, kind=kind, scope=scope, flags=flags, tos=tos)
    return ParsedRoute(family, packed, protocol, metric, target)


def target_of(found: dict[int, bytes], *, family: Family, kind: int, scope: int, flags: int, tos: int) -> RouteTarget:
    """Where a route leads, by the attributes and the header fields (rtmsg) of its message."""
    if RTA_NH_ID in found:  # the type is that of the object: unicast, or blackhole
        altered = tos != 0 or not _NEVER_SET_WITH_OBJECT.isdisjoint(found)
        number = _u32(found, RTA_NH_ID)
        return RouteTarget(RouteKind.UNICAST, altered=True, next_hop_id=number) if altered else object_target(number)
    altered = tos != 0 or not _NEVER_SET.isdisjoint(found)
    if kind == RTN_BLACKHOLE:
        return RouteTarget(RouteKind.BLACKHOLE, altered=altered)
    if RTA_MULTIPATH in found:
        hops = _members(found[RTA_MULTIPATH])
        altered = altered or hops is None
    else:
        hops = (_hop(found.get(RTA_GATEWAY), _u32(found, RTA_OIF), flags, 1),)
    link_scope = _link_scope(family, scope, hops)
    altered = altered or kind != RTN_UNICAST or scope not in (RT_SCOPE_UNIVERSE, RT_SCOPE_LINK)
    return RouteTarget(RouteKind.UNICAST, hops or (), link_scope=link_scope, altered=altered)


def _link_scope(family: Family, scope: int, hops: tuple[Hop, ...] | None) -> bool:
    if family is Family.IPV4:
        return scope == RT_SCOPE_LINK
    return bool(hops) and all(hop.gateway is None for hop in hops or ())  # IPv6 has no scopes: it is what we meant


def _u32(found: dict[int, bytes], kind: int) -> int:
    return int(U32.unpack(found[kind])[0]) if kind in found else 0


def _hop(gateway: bytes | None, ifindex: int, flags: int, weight: int) -> Hop:
    address = None if gateway is None else address_of(gateway)
    return Hop(address, ifindex, onlink=bool(flags & RTNH_F_ONLINK), weight=weight)


def _members(data: bytes) -> tuple[Hop, ...] | None:
    """The hops of an RTA_MULTIPATH, in the order of their addresses; None when one has what we never set."""
    hops, offset = [], 0
    while offset + NEXTHOP.size <= len(data):
        size, flags, weight, ifindex = NEXTHOP.unpack_from(data, offset)
        if size < NEXTHOP.size:
            break
        found = attributes(data, offset + NEXTHOP.size, offset + size)
        if not _NEVER_SET.isdisjoint(found):
            return None
        hops.append(_hop(found.get(RTA_GATEWAY), ifindex, flags, weight + 1))
        offset += (size + 3) & ~3
    return tuple(hops)


def dump_request(family: Family, *, protocol: int = 0) -> bytes:
    """RTM_GETROUTE for table main; protocol 0 asks for every protocol."""
    body = RTMSG.pack(ADDRESS_FAMILY[family], 0, 0, 0, RT_TABLE_MAIN, protocol, 0, 0, 0)
    return message(RTM_GETROUTE, 0, body)


def own_routes(socket: NetlinkSocket, family: Family, identity: Identity) -> OwnRoutes:
    """Every route of `family` in table main with our protocol. A table or family that is not there is empty."""
    for _ in range(_ATTEMPTS):
        try:
            return _own_routes(socket, family, identity)
        except NetlinkError as error:
            if is_unsupported(error):
                return OwnRoutes()
            if error.errno not in (errno.EINTR, errno.ENOBUFS):
                raise
            socket.drain()
    raise NetlinkError(errno.EINTR, f"dump of {family} routes: the table does not hold still")


def _own_routes(socket: NetlinkSocket, family: Family, identity: Identity) -> OwnRoutes:
    result = OwnRoutes()
    known: dict[bytes, tuple[bytes, int, RouteTarget]] = {}
    request = dump_request(family, protocol=identity.protocol)
    for datagram in socket.ask_whole(request, flags=NLM_F_DUMP, what=f"dump of {family} routes"):
        _take_apart(datagram, family, identity, known=known, result=result)
    return result


def _take_apart(
    data: bytes,
    family: Family,
    identity: Identity,
    *,
    known: dict[bytes, tuple[bytes, int, RouteTarget]],
    result: OwnRoutes,
) -> None:
    """The routes of one datagram into `result`. `known` are those parsed before, by all but their destination."""
    header, octets, routes, total = DST_HEADER[family], family.octets, result.routes, len(data)
    offset = 0
    while offset + 16 <= total:
        size = int.from_bytes(data[offset : offset + 4], byteorder)
        if size < 16:
            break
        at, end = offset + DST_AT, offset + size
        key = data[offset : offset + 8] + data[offset + 16 : at] + data[at + octets : end]
        entry = known.get(key)
        if entry is not None:
            routes[entry[0] + data[at : at + entry[1]]] = entry[2]
        elif data[offset + 4 : offset + 6] == NEW_ROUTE:
            route = parse_route(family, data, offset + 16, end)
            if route is not None and route.protocol == identity.protocol:
                if route.metric != identity.metric:
                    result.strays.append(KernelRoute(family, route.packed, route.target, route.metric))
                else:
                    routes[route.packed] = route.target
                    if data[at - 4 : at] == header:
                        known[key] = (route.packed[:1], len(route.packed) - 1, route.target)
        offset += (size + 3) & ~3


def dump_all(socket: NetlinkSocket, identity: Identity) -> KernelDump:
    """Our routes of both families; nexthop objects are left out."""
    found = {family: own_routes(socket, family, identity) for family in Family}
    strays = tuple(stray for part in found.values() for stray in part.strays)
    return KernelDump({family: part.routes for family, part in found.items()}, strays)


def lookup_ours(
    socket: NetlinkSocket, family: Family, prefixes: list[Packed], identity: Identity
) -> dict[Packed, RouteTarget]:
    """Our routes at these keys, as far as the kernel's own match shows them: many questions a send.

    A key that is missing may still be held by ours, hidden by a longer prefix or a better metric, or be a blackhole.
    """
    result, known = OwnRoutes(), dict[bytes, tuple[bytes, int, RouteTarget]]()
    try:
        for start in range(0, len(prefixes), _QUESTIONS):
            for datagram in _ask_each(socket, family, prefixes[start : start + _QUESTIONS]):
                _take_apart(datagram, family, identity, known=known, result=result)
    except NetlinkOverrunError:
        socket.drain()  # those that are missing are found in another way
    return result.routes


def _ask_each(socket: NetlinkSocket, family: Family, prefixes: list[Packed]) -> Iterator[bytes]:
    """The answers, one datagram each."""
    first, octets = socket.take_sequence(len(prefixes)), family.octets
    head = RTMSG.pack(ADDRESS_FAMILY[family], family.bits, 0, 0, 0, 0, 0, 0, RTM_F_FIB_MATCH) + DST_HEADER[family]
    size, last = HEADER.size + len(head) + octets, first + len(prefixes)
    socket.send(
        b"".join(
            HEADER.pack(size, RTM_GETROUTE, NLM_F_REQUEST, sequence, 0) + head + packed[1:].ljust(octets, b"\0")
            for sequence, packed in enumerate(prefixes, first)
        )
    )
    left = len(prefixes)
    while left:
        datagram = socket.receive()
        if first <= HEADER.unpack_from(datagram)[3] < last:
            left -= 1
            yield datagram


def lookup_exact(socket: NetlinkSocket, family: Family, packed: Packed, identity: Identity) -> ExactRoute:
    """What holds the key (`packed`, our metric), by the kernel's own longest match (RTM_F_FIB_MATCH).

    The match answers only when nothing more specific or with a better metric hides the key: else it is not certain.
    """
    destination = packed[1:].ljust(family.octets, b"\0")
    body = RTMSG.pack(ADDRESS_FAMILY[family], family.bits, 0, 0, 0, 0, 0, 0, RTM_F_FIB_MATCH)
    request = message(RTM_GETROUTE, 0, body + attribute(RTA_DST, destination))
    route: ParsedRoute | None = None
    try:
        for kind, data, start, end in socket.ask(request, what="look-up of a route"):
            if kind == RTM_NEWROUTE:
                route = parse_route(family, data, start, end)
    except NetlinkError as error:
        if error.errno == errno.ETIMEDOUT:
            raise
        return ExactRoute(certain=False)  # a blackhole answers with an error
    if route is None or route.packed != packed or route.metric != identity.metric:
        return ExactRoute(certain=False)
    return ExactRoute(certain=True, target=route.target if route.protocol == identity.protocol else None)


