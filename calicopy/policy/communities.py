"""Standard communities (RFC 1997) and large ones (RFC 8092) as one kind of thing, which a list in the file may mix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from calicopy.bgp import communities as bgp
from calicopy.bgp.attributes import LargeCommunity

Community: TypeAlias = int | LargeCommunity
"""A standard community as its 32-bit number, or a large one as its three parts."""


def parse_community(text: str) -> Community:
    """`64512:100`, `64512:1:7` or a name such as `no-export` to its value. ValueError says what was expected."""
    return bgp.parse_large_community(text) if text.count(":") == 2 else bgp.parse_community(text)


def community_text(community: Community) -> str:
    """A community as people write it, by name when it has one."""
    if isinstance(community, int):
        return bgp.format_community(community)
    return bgp.format_large_community(community)


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
