"""Interfaces and their addresses, read over rtnetlink."""
from __future__ import annotations

import errno
from dataclasses import dataclass

from calicopy.kernel.netlink import (
    IFA_ADDRESS,
    IFA_LOCAL,
    IFADDRMSG,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_UP,
    IFINFOMSG,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    NLM_F_DUMP,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    U32,
    NetlinkError,
    NetlinkSocket,
    address_of,
    attributes,
    message,
)
from calicopy.net import IPAddress
from calicopy.net.interface import InterfaceFacts

_ATTEMPTS = 5
_OPTIMISTIC, _DAD_FAILED, _TENTATIVE = 0x04, 0x08, 0x40
"""IFA_F_* of linux/if_addr.h."""


@dataclass(frozen=True, slots=True)
class _Link:
    name: str
    flags: int
    mtu: int
    kind: str


def interfaces(socket: NetlinkSocket) -> dict[int, InterfaceFacts]:
    """Every interface of the namespace by its index."""
    for _ in range(_ATTEMPTS):
        try:
            return _interfaces(socket)
        except NetlinkError as error:
            if error.errno not in (errno.EINTR, errno.ENOBUFS):
                raise
            socket.drain()
    raise NetlinkError(errno.EINTR, "dump of interfaces: they do not hold still")


def _interfaces(socket: NetlinkSocket) -> dict[int, InterfaceFacts]:
    links: dict[int, _Link] = {}
    request = message(RTM_GETLINK, 0, IFINFOMSG.pack(0, 0, 0, 0, 0))
    for kind, data, start, end in socket.ask(request, flags=NLM_F_DUMP, what="dump of interfaces"):
        if kind == RTM_NEWLINK:
            ifindex, link = _link(data, start, end)
            links[ifindex] = link
    addresses: dict[int, list[tuple[IPAddress, int]]] = {}
    tentative: dict[int, list[IPAddress]] = {}
    request = message(RTM_GETADDR, 0, IFADDRMSG.pack(0, 0, 0, 0, 0))
    for kind, data, start, end in socket.ask(request, flags=NLM_F_DUMP, what="dump of addresses"):
        if kind == RTM_NEWADDR:
            _, length, flags, _, ifindex = IFADDRMSG.unpack_from(data, start)
            found = attributes(data, start + IFADDRMSG.size, end)
            # On a point-to-point link IFA_ADDRESS is the other end's; IFA_LOCAL, where given, is ours.
            own = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
            if own is not None:
                addresses.setdefault(ifindex, []).append((address_of(own), length))
                if flags & (_TENTATIVE | _DAD_FAILED) and not flags & _OPTIMISTIC:
                    tentative.setdefault(ifindex, []).append(address_of(own))
    return {
        ifindex: _facts(ifindex, link, addresses.get(ifindex, []), tentative.get(ifindex, []))
        for ifindex, link in links.items()
    }


def _link(data: bytes, start: int, end: int) -> tuple[int, _Link]:
    _, _, ifindex, flags, _ = IFINFOMSG.unpack_from(data, start)
    found = attributes(data, start + IFINFOMSG.size, end)
    info = found.get(IFLA_LINKINFO, b"")
    kind = attributes(info, 0, len(info)).get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    mtu = int(U32.unpack(found[IFLA_MTU])[0]) if IFLA_MTU in found else 0
    return ifindex, _Link(found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"), flags, mtu, kind)


def _facts(
    ifindex: int, link: _Link, addresses: list[tuple[IPAddress, int]], tentative: list[IPAddress]
) -> InterfaceFacts:
    return InterfaceFacts(
        ifindex=ifindex,
        name=link.name,
        up=bool(link.flags & IFF_UP),
        carrier=bool(link.flags & IFF_LOWER_UP),
        mtu=link.mtu,
        addresses=tuple(sorted(addresses, key=lambda pair: (pair[0].version, int(pair[0]), pair[1]))),
        kind=link.kind,
        loopback=bool(link.flags & IFF_LOOPBACK),
        tentative=tuple(sorted(tentative, key=int)),
    )
