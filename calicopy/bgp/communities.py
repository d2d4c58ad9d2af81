"""Communities as text, the way operators write them: `64512:100` (RFC 1997), `64512:1:167772161` (RFC 8092), and the
well-known ones by name.
"""

from __future__ import annotations

import re

from calicopy.bgp.attributes import LargeCommunity

GRACEFUL_SHUTDOWN = 0xFFFF0000
"""The path is about to go: LOCAL_PREF 0 where it is received (RFC 8326)."""
BLACKHOLE = 0xFFFF029A
"""RFC 7999."""
NO_EXPORT = 0xFFFFFF01
"""Not outside of the AS (RFC 1997)."""
NO_ADVERTISE = 0xFFFFFF02
"""Not to any peer (RFC 1997)."""
NO_EXPORT_SUBCONFED = 0xFFFFFF03
"""Not to an external peer, those of a confederation included (RFC 1997)."""

WELL_KNOWN = {
    "graceful-shutdown": GRACEFUL_SHUTDOWN,
    "blackhole": BLACKHOLE,
    "no-export": NO_EXPORT,
    "no-advertise": NO_ADVERTISE,
    "no-export-subconfed": NO_EXPORT_SUBCONFED,
}
"""The names of well-known communities (IANA BGP Well-known Communities)."""

_NAMES = {value: name for name, value in WELL_KNOWN.items()}
_NUMBER = re.compile(r"0|[1-9][0-9]*")


def format_community(community: int) -> str:
    """A 32-bit community to `64512:100`, a well-known one to its name."""
    name = _NAMES.get(community)
    return f"{community >> 16}:{community & 0xFFFF}" if name is None else name


def format_large_community(community: LargeCommunity) -> str:
    """A large community to `64512:1:167772161`."""
    return ":".join(map(str, community))


def parse_community(text: str) -> int:
    """`64512:100` or a well-known name to the 32-bit number. ValueError says what was expected."""
    known = WELL_KNOWN.get(text)
    if known is not None:
        return known
    numbers = _numbers(text, parts=2, most=0xFFFF)
    if numbers is None:
        names = ", ".join(WELL_KNOWN)
        raise ValueError(f"{text!r} is no community: expected AS:VALUE, each 0 to 65535, or one of {names}")
    return numbers[0] << 16 | numbers[1]


def parse_large_community(text: str) -> LargeCommunity:
    """`64512:1:7` to its three numbers. ValueError says what was expected."""
    numbers = _numbers(text, parts=3, most=0xFFFFFFFF)
    if numbers is None:
        raise ValueError(f"{text!r} is no large community: expected A:B:C, each 0 to 4294967295")
    return numbers[0], numbers[1], numbers[2]


def _numbers(text: str, *, parts: int, most: int) -> list[int] | None:
    """So many numbers between colons, in canonical form (RFC 8092 section 5); None for anything else."""
    words = text.split(":")
    if len(words) != parts or any(len(word) > 10 or not _NUMBER.fullmatch(word) for word in words):
        return None
    numbers = [int(word) for word in words]
    return numbers if max(numbers) <= most else None
