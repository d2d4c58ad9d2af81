"""Communities as text, the way operators write them: `64512:100` (RFC 1997) and `64512:1:167772161` (RFC 8092)."""

from __future__ import annotations

from calicopy.bgp.attributes import LargeCommunity


def format_community(community: int) -> str:
    """A 32-bit community to `65535:0`."""
    return f"{community >> 16}:{community & 0xFFFF}"


def format_large_community(community: LargeCommunity) -> str:
    """A large community to `64512:1:167772161`."""
    return ":".join(map(str, community))
