"""Address families, by their BGP numbers (RFC 4760: AFI, with SAFI always 1, unicast)."""
from __future__ import annotations

import enum

SAFI_UNICAST = 1


class Family(enum.IntEnum):
    """An address family; the value is the AFI (IANA address family numbers)."""

    IPV4 = 1
    IPV6 = 2

    @property
    def bits(self) -> int:
        """Address length in bits: 32 or 128."""
        return 32 if self is Family.IPV4 else 128

    @property
    def octets(self) -> int:
        """Address length in octets: 4 or 16."""
        return 4 if self is Family.IPV4 else 16

    def __str__(self) -> str:
        return "ipv4" if self is Family.IPV4 else "ipv6"

    @classmethod
    def parse(cls, text: str) -> Family:
        """`ipv4` or `ipv6` to a Family; ValueError otherwise."""
        for family in cls:
            if text.lower() == str(family):
                return family
        raise ValueError(f"{text!r} is not an address family: expected ipv4 or ipv6")
