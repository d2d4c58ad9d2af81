"""What the kernel says about one network interface."""
from __future__ import annotations

from dataclasses import dataclass

from calicopy.net.prefix import IPAddress


@dataclass(frozen=True, slots=True)
class InterfaceFacts:
    """An interface with its addresses.

    `up` is the administrative state (IFF_UP), `carrier` the link's (IFF_LOWER_UP). `mtu` is in octets. `addresses` are
    pairs (address, prefix length), link-local ones included, sorted. `kind` is the driver's name (`veth`, `ipip`), or
    empty; `loopback` is IFF_LOOPBACK.
    """

    ifindex: int
    name: str
    up: bool
    carrier: bool
    mtu: int
    addresses: tuple[tuple[IPAddress, int], ...] = ()
    kind: str = ""
    loopback: bool = False
    tentative: tuple[IPAddress, ...] = ()
    """Those of `addresses` that nobody can bind yet (or ever): IPv6 looks for duplicates first (RFC 4862 5.4)."""

    def holds(self, address: IPAddress) -> bool:
        """Whether `address` lies inside a prefix of this interface, without being one of its own addresses."""
        if any(address == own for own, _ in self.addresses):
            return False
        return any(
            own.version == address.version
            and int(own) >> (own.max_prefixlen - length) == int(address) >> (own.max_prefixlen - length)
            for own, length in self.addresses
        )
