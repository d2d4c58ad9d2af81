"""Changes of links and addresses, one request each, with acks: they are rare."""
from __future__ import annotations

from collections.abc import Mapping

from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    IFA_ADDRESS,
    IFA_LOCAL,
    IFADDRMSG,
    IFF_UP,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_IFNAME,
    IFLA_INET_CONF,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    NLA_F_NESTED,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_SETLINK,
    U32,
    NetlinkSocket,
    attribute,
    message,
)
from calicopy.net import Family, IPAddress, Prefix

_INET = ADDRESS_FAMILY[Family.IPV4]
_IFA_F_NODAD = 0x02


class LinkChanges:
    """Changes links and addresses in the network namespace of the socket.

    Each method raises NetlinkError with the kernel's errno, naming what was to be changed. `made`: how many were made.
    """

    def __init__(self, socket: NetlinkSocket) -> None:
        self._socket = socket
        self.made = 0

    def create(self, name: str, kind: str, *, mac: bytes = b"", data: bytes = b"") -> None:
        """Make a device; `data` are the attributes of its kind. EOPNOTSUPP where the kernel has no such kind."""
        info = attribute(IFLA_INFO_KIND, kind.encode() + b"\0")
        info += attribute(IFLA_INFO_DATA | NLA_F_NESTED, data) if data else b""
        body = IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name.encode() + b"\0")
        body += attribute(IFLA_ADDRESS, mac) if mac else b""
        body += attribute(IFLA_LINKINFO | NLA_F_NESTED, info)
        self._request(RTM_NEWLINK, body, flags=NLM_F_CREATE | NLM_F_EXCL, what=f"creation of {name} ({kind})")

    def delete(self, ifindex: int) -> None:
        """Remove a device."""
        self._request(RTM_DELLINK, IFINFOMSG.pack(0, 0, ifindex, 0, 0), what=f"removal of interface {ifindex}")

    def set_mtu(self, ifindex: int, mtu: int) -> None:
        """Set a device's MTU, in octets."""
        body = IFINFOMSG.pack(0, 0, ifindex, 0, 0) + attribute(IFLA_MTU, U32.pack(mtu))
        self._request(RTM_SETLINK, body, what=f"MTU {mtu} of interface {ifindex}")

    def set_mac(self, ifindex: int, mac: bytes) -> None:
        """Set a device's MAC address."""
        body = IFINFOMSG.pack(0, 0, ifindex, 0, 0) + attribute(IFLA_ADDRESS, mac)
        self._request(RTM_SETLINK, body, what=f"MAC address {mac.hex(':')} of interface {ifindex}")

    def set_up(self, ifindex: int) -> None:
        """Set a device up."""
        self._request(RTM_SETLINK, IFINFOMSG.pack(0, 0, ifindex, IFF_UP, IFF_UP), what=f"interface {ifindex} up")

    def add_address(self, ifindex: int, address: IPAddress, *, length: int) -> None:
        """Add an address, at once usable; a link-local one with that scope. EEXIST when it is there already."""
        self._address("add", ifindex, address, length)

    def remove_address(self, ifindex: int, address: IPAddress, *, length: int) -> None:
        """Remove an address. EADDRNOTAVAIL when it is gone already."""
        self._address("remove", ifindex, address, length)

    def _address(self, verb: str, ifindex: int, address: IPAddress, length: int) -> None:
        adds = verb == "add"
        number = ADDRESS_FAMILY[Prefix.host(address).family]
        flags = _IFA_F_NODAD if address.version == 6 else 0
        scope = RT_SCOPE_LINK if address.is_link_local else RT_SCOPE_UNIVERSE
        body = IFADDRMSG.pack(number, length, flags, scope, ifindex)
        body += attribute(IFA_LOCAL, address.packed) + attribute(IFA_ADDRESS, address.packed)
        self._request(
            RTM_NEWADDR if adds else RTM_DELADDR,
            body,
            flags=NLM_F_CREATE | NLM_F_EXCL if adds else 0,
            what=f"{verb} address {address}/{length} on interface {ifindex}",
        )

    def _request(self, kind: int, body: bytes, *, flags: int = 0, what: str) -> None:
        self._socket.request(message(kind, flags, body), what=what)
        self.made += 1


def set_inet_conf(socket: NetlinkSocket, ifindex: int, settings: Mapping[int, int]) -> None:
    """Set per-device IPv4 settings by IPV4_DEVCONF number (linux/ip.h): works where /proc/sys is read-only."""
    values = b"".join(attribute(number, U32.pack(value)) for number, value in settings.items())
    spec = attribute(_INET | NLA_F_NESTED, attribute(IFLA_INET_CONF | NLA_F_NESTED, values))
    body = IFINFOMSG.pack(0, 0, ifindex, 0, 0) + attribute(IFLA_AF_SPEC | NLA_F_NESTED, spec)
    socket.request(message(RTM_SETLINK, 0, body), what=f"IPv4 settings of interface {ifindex}")
