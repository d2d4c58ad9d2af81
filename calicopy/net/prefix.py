"""Prefixes: the packed form for tables, the readable form for people."""
from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from calicopy.net.family import Family

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network
Packed: TypeAlias = bytes
"""NLRI form (RFC 4271 section 4.3): length octet, then ceil(length / 8) address octets, host bits zero."""


class PrefixError(ValueError):
    """Text or octets that are no prefix; the message says what was expected."""


def pack(network: int, length: int, family: Family) -> Packed:
    """`network` (the whole address as an integer, host bits ignored) and `length` (bits) to the packed form."""
    size = (length + 7) // 8
    masked = network >> (family.bits - length) << (family.bits - length)
    return bytes((length,)) + masked.to_bytes(family.octets, "big")[:size]


def unpack_network(packed: Packed, family: Family) -> tuple[int, int]:
    """The packed form to (network as an integer, length in bits)."""
    return int.from_bytes(packed[1:].ljust(family.octets, b"\0"), "big"), packed[0]


def format_packed(packed: Packed, family: Family) -> str:
    """The packed form as text, such as `10.244.0.0/26`."""
    octets = packed[1:].ljust(family.octets, b"\0")
    if family is Family.IPV4:
        return f"{octets[0]}.{octets[1]}.{octets[2]}.{octets[3]}/{packed[0]}"
    return f"{IPv6Address(octets)}/{packed[0]}"


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Prefix:
    """An IPv4 or IPv6 prefix: its family, and its packed form."""

    family: Family
    packed: Packed

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """`10.244.0.0/26` or `fd00::/122` to a Prefix; an address alone is a host prefix.

        Raises PrefixError, also when host bits are set.
        """
        try:
            return cls.of(ip_network(text, strict=True))
        except ValueError as error:
            why = ": it has host bits set" if "host bits" in str(error) else ""
            raise PrefixError(f"{text!r} is not a prefix{why}") from None

    @classmethod
    def of(cls, network: IPNetwork) -> Prefix:
        """From a network of the `ipaddress` module."""
        family = Family.IPV4 if network.version == 4 else Family.IPV6
        return cls(family, pack(int(network.network_address), network.prefixlen, family))

    @classmethod
    def host(cls, address: IPAddress | str) -> Prefix:
        """The /32 or /128 of one address."""
        address = ip_address(address) if isinstance(address, str) else address
        family = Family.IPV4 if address.version == 4 else Family.IPV6
        return cls(family, bytes((family.bits,)) + address.packed)

    @property
    def length(self) -> int:
        """Prefix length in bits."""
        return self.packed[0]

    @property
    def first(self) -> int:
        """The network address as an integer."""
        return int.from_bytes(self.packed[1:].ljust(self.family.octets, b"\0"), "big")

    @property
    def size(self) -> int:
        """How many addresses it covers."""
        return 1 << (self.family.bits - self.length)

    @property
    def address(self) -> IPAddress:
        """The network address."""
        octets = self.packed[1:].ljust(self.family.octets, b"\0")
        return IPv4Address(octets) if self.family is Family.IPV4 else IPv6Address(octets)

    @property
    def is_host(self) -> bool:
        """Whether it is a /32 or /128."""
        return self.length == self.family.bits

    def __contains__(self, other: Prefix | IPAddress) -> bool:
        """Whether `other` (a prefix or an address) lies inside, or is equal. Another family never is."""
        if not isinstance(other, Prefix):
            other = Prefix.host(other)
        if other.family is not self.family or other.length < self.length:
            return False
        shift = self.family.bits - self.length
        return other.first >> shift == self.first >> shift

    def overlaps(self, other: Prefix) -> bool:
        """Whether the two share an address."""
        return other in self or self in other

    def subnets(self, length: int) -> Iterator[Prefix]:
        """Its sub-prefixes of `length`, in order of address."""
        step = 1 << (self.family.bits - length)
        for network in range(self.first, self.first + self.size, step):
            yield Prefix(self.family, pack(network, length, self.family))

    def supernet(self, length: int) -> Prefix:
        """The prefix of the shorter `length` that holds it."""
        return Prefix(self.family, pack(self.first, length, self.family))

    def address_at(self, ordinal: int) -> IPAddress:
        """The address `ordinal` places after the first. IndexError when it lies outside."""
        if not 0 <= ordinal < self.size:
            raise IndexError(f"{self} has {self.size} addresses, asked for number {ordinal}")
        return IPv4Address(self.first + ordinal) if self.family is Family.IPV4 else IPv6Address(self.first + ordinal)

    def ordinal(self, address: IPAddress) -> int:
        """The place of `address` in it: 0 for the first. ValueError when it lies outside."""
        if address not in self:
            raise ValueError(f"{address} is not in {self}")
        return int(address) - self.first

    def __str__(self) -> str:
        return format_packed(self.packed, self.family)

    def __repr__(self) -> str:
        return f"Prefix({str(self)!r})"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Prefix):
            return NotImplemented
        return (self.family, self.first, self.length) < (other.family, other.first, other.length)
