"""Communities of either kind as one type, as the cluster file has them in one list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from calicopy.bgp import communities as wire
from calicopy.bgp.attributes import LargeCommunity

Community: TypeAlias = int | LargeCommunity
"""A standard community as its 32-bit number (RFC 1997), or a large one as its three parts (RFC 8092)."""


def parse_community(text: str) -> Community:
    """`64512:100`, `64512:1:7` or a name such as `no-export` to its value. Raises ValueError."""
    return wire.parse_large_community(text) if text.count(":") == 2 else wire.parse_community(text)


def community_text(community: Community) -> str:
    """A community as people write it, by name when it has one."""
    if isinstance(community, int):
        return wire.format_community(community)
    return wire.format_large_community(community)


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
