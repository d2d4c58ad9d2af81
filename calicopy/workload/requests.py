"""The rtnetlink requests that attaching needs: links, addresses, routes and neighbors of one namespace.

Numbers are those of linux/if_link.h, veth.h, neighbour.h, net_namespace.h and if_addr.h.
"""
from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    IFA_ADDRESS,
    IFA_LOCAL,
    IFADDRMSG,
    IFF_UP,
    IFINFOMSG,
    IFLA_AF_SPEC,
    IFLA_IFNAME,
    IFLA_INET_CONF,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    NLA_F_NESTED,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_SETLINK,
    RTMSG,
    RTN_UNICAST,
    RTNH_F_ONLINK,
    U32,
    NetlinkError,
    NetlinkSocket,
    address_of,
    attribute,
    attributes,
    message,
)
from calicopy.net import Family, IPAddress

DEVCONF_FORWARDING, DEVCONF_PROXY_ARP, DEVCONF_RP_FILTER = 1, 3, 8
LOOPBACK = 1
"""The index of `lo`, the first device of every namespace."""

_AF_INET, _AF_INET6 = ADDRESS_FAMILY[Family.IPV4], ADDRESS_FAMILY[Family.IPV6]
_IFLA_ADDRESS, _IFLA_LINK, _IFLA_IFALIAS, _IFLA_GROUP = 1, 5, 20, 27
_IFLA_NET_NS_FD, _IFLA_LINK_NETNSID, _IFLA_INFO_DATA, _VETH_INFO_PEER = 28, 37, 2, 1
_RTM_NEWNEIGH, _RTM_GETNEIGH, _RTM_SETNEIGHTBL, _RTM_GETNSID = 28, 30, 67, 90
_NDMSG = struct.Struct("=BxxxiHBB")  # family, interface index, state, flags, type
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT = 0x80
_NDTMSG = struct.Struct("=Bxxx")
_NDTA_NAME, _NDTA_PARMS, _NDTPA_IFINDEX, _NDTPA_PROXY_DELAY = 1, 6, 1, 13
_RTGENMSG = struct.Struct("=Bxxx")
_NETNSA_NSID, _NETNSA_FD = 1, 3
_IFA_F_NODAD = 0x02
_PROTOCOL_STATIC = 4
_S32, _U64 = struct.Struct("=i"), struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class LinkState:
    """One interface. `peer` is the index of a veth's other end, `peer_netns` the kernel's number of its namespace.

    `inet_conf` holds the IPv4 settings in the order of IPV4_DEVCONF_* (the first is number 1).
    """

    ifindex: int
    kind: str
    group: int
    up: bool
    mtu: int
    mac: bytes
    alias: str
    peer: int | None
    peer_netns: int | None
    inet_conf: tuple[int, ...]

    def setting(self, number: int) -> int | None:
        """An IPv4 setting by IPV4_DEVCONF number; None when the kernel does not tell."""
        return self.inet_conf[number - 1] if number <= len(self.inet_conf) else None


def find_link(socket: NetlinkSocket, name: str) -> LinkState | None:
    """The interface of that name, None when there is none."""
    body = IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, _text(name))
    state: LinkState | None = None
    try:
        for kind, data, start, end in socket.ask(message(RTM_GETLINK, 0, body), what=f"look at interface {name}"):
            if kind == RTM_NEWLINK:
                state = _link(data, start, end)
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
    return state


def _link(data: bytes, start: int, end: int) -> LinkState:
    _, _, ifindex, flags, _ = IFINFOMSG.unpack_from(data, start)
    found = attributes(data, start + IFINFOMSG.size, end)
    info = _nested(found.get(IFLA_LINKINFO))
    inet = _nested(_nested(found.get(IFLA_AF_SPEC)).get(_AF_INET)).get(IFLA_INET_CONF, b"")
    return LinkState(
        ifindex=ifindex,
        kind=_untext(info.get(IFLA_INFO_KIND, b"")),
        group=_number(found.get(_IFLA_GROUP)) or 0,
        up=bool(flags & IFF_UP),
        mtu=_number(found.get(IFLA_MTU)) or 0,
        mac=found.get(_IFLA_ADDRESS, b""),
        alias=_untext(found.get(_IFLA_IFALIAS, b"")),
        peer=_number(found.get(_IFLA_LINK)),
        peer_netns=_number(found.get(_IFLA_LINK_NETNSID)),
        inet_conf=tuple(value for (value,) in U32.iter_unpack(inet)),
    )


def netns_number(socket: NetlinkSocket, descriptor: int) -> int | None:
    """The number by which the socket's namespace knows another one; None when it does not know it."""
    body = _RTGENMSG.pack(0) + attribute(_NETNSA_FD, U32.pack(descriptor))
    number: int | None = None
    for _, data, start, end in socket.ask(message(_RTM_GETNSID, 0, body), what="number of a namespace"):
        number = _number(attributes(data, start + _RTGENMSG.size, end).get(_NETNSA_NSID))
    return None if number is None or number < 0 else number


@dataclass(frozen=True, slots=True, kw_only=True)
class VethEnd:
    """One end of a pair to be made; an empty `mac` lets the kernel choose."""

    name: str
    mtu: int
    mac: bytes = b""
    group: int = 0

    def packed(self) -> bytes:
        """Its attributes."""
        packed = attribute(IFLA_IFNAME, _text(self.name)) + attribute(IFLA_MTU, U32.pack(self.mtu))
        if self.mac:
            packed += attribute(_IFLA_ADDRESS, self.mac)
        if self.group:
            packed += attribute(_IFLA_GROUP, U32.pack(self.group))
        return packed


def create_veth(socket: NetlinkSocket, near: VethEnd, *, far: VethEnd, netns: int) -> None:
    """Make a pair, the far end in the namespace of the descriptor `netns`. NetlinkError(EEXIST): a name is taken."""
    empty = IFINFOMSG.pack(0, 0, 0, 0, 0)
    peer = empty + far.packed() + attribute(_IFLA_NET_NS_FD, U32.pack(netns))
    data = attribute(_IFLA_INFO_DATA | NLA_F_NESTED, attribute(_VETH_INFO_PEER | NLA_F_NESTED, peer))
    info = attribute(IFLA_LINKINFO | NLA_F_NESTED, attribute(IFLA_INFO_KIND, _text("veth")) + data)
    what = f"creation of {near.name} with {far.name} as its other end"
    socket.request(message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, empty + near.packed() + info), what=what)


def change_link(
    socket: NetlinkSocket, ifindex: int, *, up: bool = False, mtu: int = 0, mac: bytes = b"", alias: str = ""
) -> None:
    """Change what is given; the rest stays."""
    flag = IFF_UP if up else 0
    body = IFINFOMSG.pack(0, 0, ifindex, flag, flag)
    if mtu:
        body += attribute(IFLA_MTU, U32.pack(mtu))
    if mac:
        body += attribute(_IFLA_ADDRESS, mac)
    if alias:
        body += attribute(_IFLA_IFALIAS, alias.encode())
    socket.request(message(RTM_SETLINK, 0, body), what=f"setting of interface {ifindex}")


def delete_link(socket: NetlinkSocket, ifindex: int) -> None:
    """Remove an interface, and a veth's other end with it. Nothing happens when it is gone."""
    try:
        request = message(RTM_DELLINK, 0, IFINFOMSG.pack(0, 0, ifindex, 0, 0))
        socket.request(request, what=f"removal of interface {ifindex}")
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise


def addresses(socket: NetlinkSocket, ifindex: int) -> set[tuple[IPAddress, int]]:
    """The (address, prefix length) pairs of an interface, but for IPv6 link-local ones."""
    found: set[tuple[IPAddress, int]] = set()
    request = message(RTM_GETADDR, 0, IFADDRMSG.pack(0, 0, 0, 0, ifindex if socket.strict else 0))
    for kind, data, start, end in socket.ask(request, flags=NLM_F_DUMP, what="dump of addresses"):
        _, length, _, _, index = IFADDRMSG.unpack_from(data, start)
        if kind == RTM_NEWADDR and index == ifindex:
            held = attributes(data, start + IFADDRMSG.size, end)
            address = address_of(held.get(IFA_LOCAL) or held[IFA_ADDRESS])
            if address.version == 4 or not address.is_link_local:
                found.add((address, length))
    return found


def add_address(socket: NetlinkSocket, ifindex: int, address: IPAddress, *, length: int) -> None:
    """Give an address, without duplicate address detection. Nothing happens when it is there."""
    flags = _IFA_F_NODAD if address.version == 6 else 0
    request = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _address(ifindex, address, length, flags))
    try:
        socket.request(request, what=f"address {address}/{length} on interface {ifindex}")
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise


def remove_address(socket: NetlinkSocket, ifindex: int, address: IPAddress, *, length: int) -> None:
    """Take an address away."""
    request = message(RTM_DELADDR, 0, _address(ifindex, address, length, 0))
    socket.request(request, what=f"removal of address {address}/{length} from interface {ifindex}")


def _address(ifindex: int, address: IPAddress, length: int, flags: int) -> bytes:
    head = IFADDRMSG.pack(_family(address), length, flags, RT_SCOPE_UNIVERSE, ifindex)
    return head + attribute(IFA_LOCAL, address.packed) + attribute(IFA_ADDRESS, address.packed)


def add_link_route(socket: NetlinkSocket, ifindex: int, address: IPAddress) -> None:
    """`ADDRESS dev INTERFACE scope link`. NetlinkError(EEXIST) when there is a route to that address."""
    scope = RT_SCOPE_LINK if address.version == 4 else RT_SCOPE_UNIVERSE
    body = _route(address, address.max_prefixlen, scope) + attribute(RTA_DST, address.packed)
    _add_route(socket, body + attribute(RTA_OIF, U32.pack(ifindex)), f"route to {address}")


def add_default_route(socket: NetlinkSocket, ifindex: int, gateway: IPAddress) -> None:
    """`default via GATEWAY dev INTERFACE onlink`. NetlinkError(EEXIST) when there is a default route."""
    body = _route(gateway, 0, RT_SCOPE_UNIVERSE, RTNH_F_ONLINK)
    body += attribute(RTA_GATEWAY, gateway.packed) + attribute(RTA_OIF, U32.pack(ifindex))
    _add_route(socket, body, f"default route via {gateway}")


def _route(address: IPAddress, length: int, scope: int, flags: int = 0) -> bytes:
    return RTMSG.pack(_family(address), length, 0, 0, RT_TABLE_MAIN, _PROTOCOL_STATIC, scope, RTN_UNICAST, flags)


def _add_route(socket: NetlinkSocket, body: bytes, what: str) -> None:
    socket.request(message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body), what=what)


def routes(socket: NetlinkSocket, version: int) -> dict[tuple[bytes, int], list[tuple[int, bytes]]]:
    """The unicast routes of the main table: (destination, length) to (interface index, gateway), least metric first."""
    family = _AF_INET if version == 4 else _AF_INET6
    request = message(RTM_GETROUTE, 0, RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
    found: dict[tuple[bytes, int], list[tuple[int, int, bytes]]] = {}
    for kind, data, start, end in socket.ask(request, flags=NLM_F_DUMP, what="dump of routes"):
        head_family, length, _, _, table, _, _, route_type, _ = RTMSG.unpack_from(data, start)
        if kind != RTM_NEWROUTE or (head_family, table, route_type) != (family, RT_TABLE_MAIN, RTN_UNICAST):
            continue
        held = attributes(data, start + RTMSG.size, end)
        entry = (_number(held.get(RTA_PRIORITY)) or 0, _number(held.get(RTA_OIF)) or 0, held.get(RTA_GATEWAY, b""))
        found.setdefault((held.get(RTA_DST, b""), length), []).append(entry)
    return {key: [(index, gateway) for _, index, gateway in sorted(entries)] for key, entries in found.items()}


def set_neighbor(socket: NetlinkSocket, ifindex: int, address: IPAddress, mac: bytes) -> None:
    """A permanent neighbor entry, in place of whatever is there."""
    body = _NDMSG.pack(_family(address), ifindex, _NUD_PERMANENT, 0, 0)
    body += attribute(_NDA_DST, address.packed) + attribute(_NDA_LLADDR, mac)
    request = message(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)
    socket.request(request, what=f"neighbor {address} on interface {ifindex}")


def permanent_neighbors(socket: NetlinkSocket, ifindex: int) -> dict[IPAddress, bytes]:
    """The permanent neighbor entries of an interface: address to MAC address."""
    found: dict[IPAddress, bytes] = {}
    request = message(_RTM_GETNEIGH, 0, _NDMSG.pack(0, 0, 0, 0, 0))
    for kind, data, start, end in socket.ask(request, flags=NLM_F_DUMP, what="dump of neighbors"):
        _, index, state, _, _ = _NDMSG.unpack_from(data, start)
        if kind == _RTM_NEWNEIGH and index == ifindex and state & _NUD_PERMANENT:
            held = attributes(data, start + _NDMSG.size, end)
            found[address_of(held[_NDA_DST])] = held.get(_NDA_LLADDR, b"")
    return found


def set_proxy_delay(socket: NetlinkSocket, ifindex: int, delay_ms: int) -> None:
    """How long proxy ARP of an interface waits before it answers; the default is up to 0.8 s."""
    parameters = attribute(_NDTPA_IFINDEX, U32.pack(ifindex)) + attribute(_NDTPA_PROXY_DELAY, _U64.pack(delay_ms))
    body = _NDTMSG.pack(_AF_INET) + attribute(_NDTA_NAME, _text("arp_cache"))
    body += attribute(_NDTA_PARMS | NLA_F_NESTED, parameters)
    socket.request(message(_RTM_SETNEIGHTBL, 0, body), what=f"proxy delay of interface {ifindex}")


def _family(address: IPAddress) -> int:
    return _AF_INET if address.version == 4 else _AF_INET6


def _nested(data: bytes | None) -> dict[int, bytes]:
    return attributes(data, 0, len(data)) if data else {}


def _number(octets: bytes | None) -> int | None:
    return None if octets is None else int(_S32.unpack(octets)[0])


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _untext(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode(errors="replace")
