"""Changes of links and addresses: the requests that the tunnel, the sysctls and tests have in common."""
from __future__ import annotations

from ipaddress import IPv4Address

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
    NLM_F_EXCL,
    RTM_DELADDR,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_SETLINK,
    U32,
    NetlinkSocket,
    attribute,
    message,
)
from calicopy.net import Family

_INET = ADDRESS_FAMILY[Family.IPV4]


def create_link(socket: NetlinkSocket, name: str, kind: str) -> None:
    """Make a device of a kind without parameters. NetlinkError(EOPNOTSUPP) where the kernel has no such kind."""
    info = attribute(IFLA_INFO_KIND, kind.encode() + b"\0")
    body = IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name.encode() + b"\0")
    body += attribute(IFLA_LINKINFO | NLA_F_NESTED, info)
    socket.request(message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body), what=f"creation of {name} ({kind})")


def set_link(socket: NetlinkSocket, ifindex: int, *, up: bool | None = None, mtu: int | None = None) -> None:
    """Set a device up or down, and its MTU."""
    flags, mask = (IFF_UP if up else 0), (0 if up is None else IFF_UP)
    body = IFINFOMSG.pack(0, 0, ifindex, flags, mask)
    if mtu is not None:
        body += attribute(IFLA_MTU, U32.pack(mtu))
    socket.request(message(RTM_SETLINK, 0, body), what=f"setting of interface {ifindex}")


def set_inet_conf(socket: NetlinkSocket, ifindex: int, settings: dict[int, int]) -> None:
    """Set per-device IPv4 settings by IPV4_DEVCONF number (linux/ip.h): works where /proc/sys is read-only."""
    values = b"".join(attribute(number, U32.pack(value)) for number, value in settings.items())
    spec = attribute(_INET | NLA_F_NESTED, attribute(IFLA_INET_CONF | NLA_F_NESTED, values))
    body = IFINFOMSG.pack(0, 0, ifindex, 0, 0) + attribute(IFLA_AF_SPEC | NLA_F_NESTED, spec)
    socket.request(message(RTM_SETLINK, 0, body), what=f"IPv4 settings of interface {ifindex}")


def change_address(socket: NetlinkSocket, ifindex: int, address: IPv4Address, *, length: int, add: bool) -> None:
    """Add or remove an address. NetlinkError(EEXIST or EADDRNOTAVAIL) where that is done already."""
    body = IFADDRMSG.pack(_INET, length, 0, 0, ifindex)
    body += attribute(IFA_LOCAL, address.packed) + attribute(IFA_ADDRESS, address.packed)
    kind, flags = (RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL) if add else (RTM_DELADDR, 0)
    socket.request(message(kind, flags, body), what=f"address {address}/{length} on interface {ifindex}")
