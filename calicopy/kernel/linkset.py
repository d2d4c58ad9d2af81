"""Changes of links and addresses.

Theory of operation: they are rare, so they go through pyroute2, which takes 0.3 s to import: it is imported with the
first change, in the thread that makes it, and an agent that finds everything in place never does. Its errors are mapped
here, and nowhere else. The one exception are the per-device IPv4 settings, which every start and every workload writes.
"""
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Protocol

from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    IFINFOMSG,
    IFLA_AF_SPEC,
    IFLA_INET_CONF,
    NLA_F_NESTED,
    RTM_SETLINK,
    U32,
    NetlinkError,
    NetlinkSocket,
    attribute,
    message,
)
from calicopy.net import Family

_INET = ADDRESS_FAMILY[Family.IPV4]


class _Requests(Protocol):
    """What is used of `pyroute2.IPRoute`, which has no types of its own."""

    def link(self, command: str, **fields: str | int) -> object:
        """RTM_NEWLINK, RTM_SETLINK."""

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

    def create(self, name: str, kind: str) -> None:
        """Make a device of a kind without parameters. EOPNOTSUPP where the kernel has no such kind."""
        self._do(lambda requests: requests.link("add", ifname=name, kind=kind), what=f"creation of {name} ({kind})")

    def set_mtu(self, ifindex: int, mtu: int) -> None:
        """Set a device's MTU, in octets."""
        self._do(
            lambda requests: requests.link("set", index=ifindex, mtu=mtu), what=f"MTU {mtu} of interface {ifindex}"
        )

    def set_up(self, ifindex: int) -> None:
        """Set a device up."""
        self._do(lambda requests: requests.link("set", index=ifindex, state="up"), what=f"interface {ifindex} up")

    def add_address(self, ifindex: int, address: IPv4Address, *, length: int) -> None:
        """Add an address. EEXIST when it is there already."""
        self._address("add", ifindex, address, length)

    def remove_address(self, ifindex: int, address: IPv4Address, *, length: int) -> None:
        """Remove an address. EADDRNOTAVAIL when it is gone already."""
        self._address("del", ifindex, address, length)

    def _address(self, command: str, ifindex: int, address: IPv4Address, length: int) -> None:
        self._do(
            lambda requests: requests.addr(command, index=ifindex, address=str(address), prefixlen=length),
            what=f"{command} address {address}/{length} on interface {ifindex}",
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


def set_inet_conf(socket: NetlinkSocket, ifindex: int, settings: dict[int, int]) -> None:
    """Set per-device IPv4 settings by IPV4_DEVCONF number (linux/ip.h): works where /proc/sys is read-only."""
    values = b"".join(attribute(number, U32.pack(value)) for number, value in settings.items())
    spec = attribute(_INET | NLA_F_NESTED, attribute(IFLA_INET_CONF | NLA_F_NESTED, values))
    body = IFINFOMSG.pack(0, 0, ifindex, 0, 0) + attribute(IFLA_AF_SPEC | NLA_F_NESTED, spec)
    socket.request(message(RTM_SETLINK, 0, body), what=f"IPv4 settings of interface {ifindex}")
