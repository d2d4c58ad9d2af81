"""Next hops, resolved by the kernel itself.

Theory of operation: per address two questions. The look-up proper (RTM_GETROUTE) says through which interface, gateway
and source a packet would leave; the same with RTM_F_FIB_MATCH says which route of the table made it so: its protocol
and priority. A route with our own protocol does not count, or a next hop could resolve through itself. Nor does one
over an interface without carrier: the kernel keeps such a route, says "linkdown", and sends into the void, while it has
dropped the nexthop objects there (net/ipv4/nexthop.c).
"""
from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    RTA_DST,
    RTA_GATEWAY,
    RTA_METRICS,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_VIA,
    RTAX_MTU,
    RTM_F_FIB_MATCH,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTMSG,
    RTN_UNICAST,
    U32,
    NetlinkError,
    NetlinkSocket,
    address_of,
    attribute,
    attributes,
    message,
)
from calicopy.net import Family, IPAddress
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

_NO_WAY = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.EACCES,
        errno.EINVAL,
        errno.ENETDOWN,
        errno.EAFNOSUPPORT,
        errno.EOPNOTSUPP,
    }
)
"""No route, an unreachable one, a prohibit one, a blackhole, and a family that is off."""


def resolve(
    socket: NetlinkSocket, wanted: Iterable[IPAddress], *, protocol: int, interfaces: Mapping[int, InterfaceFacts]
) -> dict[IPAddress, NextHopFacts]:
    """The facts of every address in `wanted`; `protocol` is ours, `interfaces` give MTU and state."""
    return {address: _resolve(socket, address, protocol, interfaces) for address in wanted}


def _resolve(
    socket: NetlinkSocket, address: IPAddress, protocol: int, interfaces: Mapping[int, InterfaceFacts]
) -> NextHopFacts:
    answer = _ask(socket, address, 0)
    if answer is None or answer.kind != RTN_UNICAST:
        return NextHopFacts.unreachable(address)
    interface = interfaces.get(answer.ifindex)
    if interface is not None and (interface.loopback or not (interface.up and interface.carrier)):
        return NextHopFacts.unreachable(address)
    route = _ask(socket, address, RTM_F_FIB_MATCH)
    if route is None or route.protocol == protocol:
        return NextHopFacts.unreachable(address)
    return NextHopFacts(
        address=address,
        reachable=True,
        on_link=answer.gateway is None and not answer.via,
        ifindex=answer.ifindex,
        gateway=answer.gateway,
        metric=route.metric,
        mtu=answer.mtu or (interface.mtu if interface is not None else 0),
        source=answer.source,
    )


class _Answer:
    """One RTM_NEWROUTE, as far as it matters here."""

    __slots__ = ("gateway", "ifindex", "kind", "metric", "mtu", "protocol", "source", "via")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        _, _, _, _, _, self.protocol, _, self.kind, _ = RTMSG.unpack_from(data, start)
        found = attributes(data, start + RTMSG.size, end)
        self.ifindex = int(U32.unpack(found[RTA_OIF])[0]) if RTA_OIF in found else 0
        self.gateway = address_of(found[RTA_GATEWAY]) if RTA_GATEWAY in found else None
        self.via = RTA_VIA in found  # a gateway of the other family (RFC 5549): not on link for our purpose
        self.source = address_of(found[RTA_PREFSRC]) if RTA_PREFSRC in found else None
        self.metric = int(U32.unpack(found[RTA_PRIORITY])[0]) if RTA_PRIORITY in found else 0
        metrics = found.get(RTA_METRICS, b"")
        mtu = attributes(metrics, 0, len(metrics)).get(RTAX_MTU)
        self.mtu = int(U32.unpack(mtu)[0]) if mtu is not None else 0


def _ask(socket: NetlinkSocket, address: IPAddress, flags: int) -> _Answer | None:
    family = Family.IPV4 if address.version == 4 else Family.IPV6
    body = RTMSG.pack(ADDRESS_FAMILY[family], family.bits, 0, 0, 0, 0, 0, 0, flags)
    request = message(RTM_GETROUTE, 0, body + attribute(RTA_DST, address.packed))
    answer: _Answer | None = None
    try:
        for kind, data, start, end in socket.ask(request, what=f"route to {address}"):
            if kind == RTM_NEWROUTE:
                answer = _Answer(data, start, end)
    except NetlinkError as error:
        if error.errno in _NO_WAY:
            return None
        raise
    return answer
