"""Which route the kernel takes for an address now, of whatever protocol and table: for people who ask why."""
from __future__ import annotations

from dataclasses import replace

from calicopy.fib.types import KernelMatch, RouteKind, RouteTarget
from calicopy.kernel.dump import target_of
from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    RTA_DST,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_F_FIB_MATCH,
    RTM_F_LOOKUP_TABLE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTMSG,
    RTN_LOCAL,
    U32,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attributes,
    message,
)
from calicopy.kernel.nexthops import read_next_hops
from calicopy.net import Family, IPAddress, Prefix


def match_address(socket: NetlinkSocket, address: IPAddress) -> KernelMatch:
    """The kernel's longest match, rules and tables included (RTM_F_FIB_MATCH). What it drops gives an errno."""
    family = Family.IPV4 if address.version == 4 else Family.IPV6
    # IPv4 calls every table main without the flag, IPv6 never does, and refuses the flag.
    flags = RTM_F_FIB_MATCH | (RTM_F_LOOKUP_TABLE if family is Family.IPV4 else 0)
    body = RTMSG.pack(ADDRESS_FAMILY[family], family.bits, 0, 0, 0, 0, 0, 0, flags)
    request = message(RTM_GETROUTE, 0, body + attribute(RTA_DST, address.packed))
    answer = KernelMatch(address)
    try:
        for kind, data, start, end in socket.ask(request, what=f"route to {address}"):
            if kind == RTM_NEWROUTE:
                answer = _parse(address, family, data, start=start, end=end)
    except NetlinkError as error:
        return KernelMatch(address, errno=error.errno or 0)
    if answer.target is not None and answer.target.next_hop_id:
        return replace(answer, target=_with_hops(socket, answer.target))
    return answer


def _with_hops(socket: NetlinkSocket, target: RouteTarget) -> RouteTarget:
    """The target of a route by id with the hops that its object has, for those who look at it."""
    held = read_next_hops(socket, [target.next_hop_id]).get(target.next_hop_id)
    if held is None:
        return target
    weights = dict(held.members) if held.members else {held.id: 1}
    found = read_next_hops(socket, weights)
    hops = [replace(one.hop, weight=weights[one.id]) for one in found.values() if one.hop is not None]
    return replace(target, kind=RouteKind.UNICAST if hops else RouteKind.BLACKHOLE, hops=tuple(hops))


def _parse(address: IPAddress, family: Family, data: bytes, *, start: int, end: int) -> KernelMatch:
    _, length, _, tos, table, protocol, scope, kind, flags = RTMSG.unpack_from(data, start)
    found = attributes(data, start + RTMSG.size, end)
    if RTA_TABLE in found:
        table = U32.unpack(found[RTA_TABLE])[0]
    packed = bytes((length,)) + found.get(RTA_DST, b"")[: (length + 7) // 8]
    return KernelMatch(
        address,
        prefix=Prefix(family, packed),
        protocol=protocol,
        metric=U32.unpack(found[RTA_PRIORITY])[0] if RTA_PRIORITY in found else 0,
        table=table,
        target=target_of(found, family=family, kind=kind, scope=scope, flags=flags, tos=tos),
        local=kind == RTN_LOCAL,
    )
