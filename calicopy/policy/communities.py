"""Communities as text and back: standard ones (RFC 1997), large ones (RFC 8092), and the names of well-known ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from calicopy.bgp.attributes import LargeCommunity

Community: TypeAlias = int | LargeCommunity
"""A standard community as its 32-bit number, or a large one as its three parts."""

WELL_KNOWN = {
    "graceful-shutdown": 0xFFFF0000,  # RFC 8326
    "blackhole": 0xFFFF029A,  # RFC 7999
    "no-export": 0xFFFFFF01,  # RFC 1997, as the next two
    "no-advertise": 0xFFFFFF02,
    "no-export-subconfed": 0xFFFFFF03,
}
_NAMES = {number: name for name, number in WELL_KNOWN.items()}
_PART = re.compile(r"0|[1-9][0-9]{0,9}")


def parse_community(text: str) -> Community:
    """`64512:100`, `64512:1:7` or a name such as `no-export` to its value. Raises ValueError."""
    if text in WELL_KNOWN:
        return WELL_KNOWN[text]
    parts = [int(part) for part in text.split(":") if _PART.fullmatch(part)]
    if len(parts) != text.count(":") + 1:
        raise ValueError(f"{text!r} is no community")
    match parts:
        case [high, low] if high <= 0xFFFF and low <= 0xFFFF:
            return high << 16 | low
        case [asn, first, second] if max(parts) <= 0xFFFFFFFF:
            return asn, first, second
    raise ValueError(f"{text!r} is no community: a part is too large, or there are not two or three")


def community_text(community: Community) -> str:
    """A community as people write it, by name when it has one."""
    if isinstance(community, int):
        return _NAMES.get(community, f"{community >> 16}:{community & 0xFFFF}")
    return ":".join(str(part) for part in community)


def split_communities(communities: Iterable[Community]) -> tuple[tuple[int, ...], tuple[LargeCommunity, ...]]:
    """The standard ones and the large ones, each in the order given."""
    standard: list[int] = []
    large: list[LargeCommunity] = []
    for community in communities:
        if isinstance(community, int):
            standard.append(community)
        else:
            large.append(community)
    return tuple(standard), tuple(large)
