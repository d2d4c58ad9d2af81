"""Communities as text, the way operators write them: `64512:100` (RFC 1997) and `64512:1:167772161` (RFC 8092)."""

from __future__ import annotations

from calicopy.bgp.attributes import LargeCommunity

WELL_KNOWN = {  # IANA, BGP well-known communities
    "graceful-shutdown": 0xFFFF0000,
    "accept-own": 0xFFFF0001,
    "llgr-stale": 0xFFFF0006,
    "no-llgr": 0xFFFF0007,
    "blackhole": 0xFFFF029A,
    "no-export": 0xFFFFFF01,
    "no-advertise": 0xFFFFFF02,
    "no-export-subconfed": 0xFFFFFF03,
    "no-peer": 0xFFFFFF04,
}
"""Names of the well-known communities."""


class CommunityError(ValueError):
    """Text that is no community; the message says what was expected."""


def format_community(community: int) -> str:
    """A 32-bit community to `65535:0`."""
    return f"{community >> 16}:{community & 0xFFFF}"


def parse_community(text: str) -> int:
    """`65535:0`, or a well-known name such as `no-export`, to the 32-bit number. CommunityError otherwise."""
    known = WELL_KNOWN.get(text.lower())
    if known is not None:
        return known
    high, low = _numbers(text, parts=2, most=0xFFFF)
    return high << 16 | low


def format_large_community(community: LargeCommunity) -> str:
    """A large community to `64512:1:167772161`."""
    return ":".join(map(str, community))


def parse_large_community(text: str) -> LargeCommunity:
    """`64512:1:167772161` to its three 32-bit numbers. CommunityError otherwise."""
    administrator, first, second = _numbers(text, parts=3, most=0xFFFFFFFF)
    return administrator, first, second


def _numbers(text: str, *, parts: int, most: int) -> list[int]:
    """The numbers between the colons, each plain decimal without a leading zero or sign (RFC 8092 section 3)."""
    fields = text.split(":")
    if len(fields) != parts:
        raise CommunityError(f"{text!r} is not a community: expected {parts} numbers with colons between")
    numbers: list[int] = []
    for part in fields:
        plain = part.isascii() and part.isdigit() and (part == "0" or part[0] != "0") and len(part) <= 10
        if not plain or int(part) > most:
            raise CommunityError(f"{text!r} is not a community: {part!r} is not a number from 0 to {most}")
        numbers.append(int(part))
    return numbers
