"""Changes of links and addresses.

Theory of operation: they are rare, so they go through pyroute2, which takes some 0.2 s to import: it is imported with
the first change, in the thread that makes it, and an agent that finds everything in place never does. Its errors are
mapped here, and nowhere else. The one exception are the per-device IPv4 settings, which every start and every workload
writes.
"""
from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Protocol

from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    IFINFOMSG,
    IFLA_AF_SPEC,
    IFLA_INET_CONF,
    NLA_F_NESTED,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RTM_SETLINK,
    U32,
    NetlinkError,
    NetlinkSocket,
    attribute,
    message,
)
from calicopy.net import Family, IPAddress

_INET = ADDRESS_FAMILY[Family.IPV4]
_IFA_F_NODAD = 0x02


class _Requests(Protocol):
    """What is used of `pyroute2.IPRoute`, which has no types of its own."""

    def link(self, command: str, **fields: str | int) -> object:
        """RTM_NEWLINK, RTM_SETLINK, RTM_DELLINK."""

    def addr(self, command: str, **fields: str | int) -> object:
        """RTM_NEWADDR, RTM_DELADDR."""

    def close(self) -> None:
        """Close the socket."""


class LinkChanges:
    """Changes links and addresses in the network namespace of the calling thread; a context, for one thread.

    Each method raises NetlinkError with the kernel's errno, naming what was to be changed. `made`: how many were made.
    """

    def __init__(self) -> None:
        self._requests: _Requests | None = None
        self.made = 0

    def __enter__(self) -> LinkChanges:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._requests is not None:
            self._requests.close()

    def create(self, name: str, kind: str, *, settings: Mapping[str, str | int] | None = None) -> None:
        """Make a device; `settings` as pyroute2 names them. EOPNOTSUPP where the kernel has no such kind."""
        fields = {"ifname": name, "kind": kind, **(settings or {})}
        self._do(lambda requests: requests.link("add", **fields), what=f"creation of {name} ({kind})")

    def delete(self, ifindex: int) -> None:
        """Remove a device."""
        self._do(lambda requests: requests.link("del", index=ifindex), what=f"removal of interface {ifindex}")

    def set_mtu(self, ifindex: int, mtu: int) -> None:
        """Set a device's MTU, in octets."""
        self._set(ifindex, "mtu", mtu, what=f"MTU {mtu} of interface {ifindex}")

    def set_mac(self, ifindex: int, mac: bytes) -> None:
        """Set a device's MAC address."""
        self._set(ifindex, "address", mac.hex(":"), what=f"MAC address {mac.hex(':')} of interface {ifindex}")

    def set_up(self, ifindex: int) -> None:
        """Set a device up."""
        self._set(ifindex, "state", "up", what=f"interface {ifindex} up")

    def set_down(self, ifindex: int) -> None:
        """Set a device down."""
        self._set(ifindex, "state", "down", what=f"interface {ifindex} down")

    def _set(self, ifindex: int, field: str, value: str | int, *, what: str) -> None:
        self._do(lambda requests: requests.link("set", index=ifindex, **{field: value}), what=what)

    def add_address(self, ifindex: int, address: IPAddress, *, length: int) -> None:
        """Add an address, at once usable; a link-local one with that scope. EEXIST when it is there already."""
        scope = RT_SCOPE_LINK if address.is_link_local else RT_SCOPE_UNIVERSE
        flags = _IFA_F_NODAD if address.version == 6 else 0
        what = f"addition of {address}/{length} to interface {ifindex}"
        self._do(
            lambda requests: requests.addr(
                "add", index=ifindex, address=str(address), prefixlen=length, scope=scope, flags=flags
            ),
            what=what,
        )

    def remove_address(self, ifindex: int, address: IPAddress, *, length: int) -> None:
        """Remove an address. EADDRNOTAVAIL when it is gone already."""
        what = f"removal of {address}/{length} from interface {ifindex}"
        self._do(
            lambda requests: requests.addr("del", index=ifindex, address=str(address), prefixlen=length), what=what
        )

    def _do(self, change: Callable[[_Requests], object], *, what: str) -> None:
        from pyroute2 import IPRoute  # not at the top: see above
        from pyroute2.netlink.exceptions import NetlinkError as Refused

        try:
            if self._requests is None:
                self._requests = IPRoute()
            change(self._requests)
        except Refused as error:
            raise NetlinkError(error.code, f"{what}: {os.strerror(error.code)}") from error
        except OSError as error:
            number = error.errno or errno.EIO
            raise NetlinkError(number, f"{what}: {os.strerror(number)}") from error
        self.made += 1


def set_inet_conf(socket: NetlinkSocket, ifindex: int, settings: Mapping[int, int]) -> None:
    """Set per-device IPv4 settings by IPV4_DEVCONF number (linux/ip.h): works where /proc/sys is read-only."""
    values = b"".join(attribute(number, U32.pack(value)) for number, value in settings.items())
    spec = attribute(_INET | NLA_F_NESTED, attribute(IFLA_INET_CONF | NLA_F_NESTED, values))
    body = IFINFOMSG.pack(0, 0, ifindex, 0, 0) + attribute(IFLA_AF_SPEC | NLA_F_NESTED, spec)
    socket.request(message(RTM_SETLINK, 0, body), what=f"IPv4 settings of interface {ifindex}")
