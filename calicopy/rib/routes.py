"""What peers are told, as values: attributes, routes, batches of prefixes."""
from __future__ import annotations

from dataclasses import dataclass, field

from calicopy.bgp.attributes import LargeCommunity, PathAttributes
from calicopy.net import Family, IPAddress, Packed

OWN_PATH_ID = 1
"""The path id of our own prefixes where ADD-PATH is in use (RFC 7911)."""
MAX_PATHS = 16
"""How many paths of a prefix a peer is sent at most."""


@dataclass(frozen=True, slots=True)
class OutAttributes:
    """What is announced with a prefix: the next hop (which MP_REACH_NLRI or NEXT_HOP carries) and all other attributes.

    `attributes.next_hop` is None. Equal by value; prefixes that share one go out together.
    """

    next_hop: IPAddress
    attributes: PathAttributes


@dataclass(frozen=True, slots=True)
class OutRoute:
    """One path as it is announced. `path_id` is 0 without ADD-PATH.

    `source` is the key of the peer that it came from, empty for our own; `originator` the router id that ORIGINATOR_ID
    has. Neither of the two hears it (RFC 4456 sections 6 and 8).
    """

    path_id: int
    out: OutAttributes
    source: str = ""
    originator: int | None = None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class OutRoutes:
    """All that is announced of a prefix, best first. Equal ones of an update group are one object."""

    routes: tuple[OutRoute, ...]


@dataclass(frozen=True, slots=True)
class OwnCommunities:
    """What an own prefix carries besides its owner's community."""

    communities: tuple[int, ...] = ()
    large_communities: tuple[LargeCommunity, ...] = ()


@dataclass(frozen=True, slots=True)
class OutBatch:
    """Prefixes of one family under one path id. `attributes` is None where they are withdrawn."""

    path_id: int
    attributes: OutAttributes | None
    prefixes: list[Packed] = field(repr=False)


@dataclass(frozen=True, slots=True)
class OutDelta:
    """What these peers, named by their keys, are to be told next: announcements first, then withdrawals."""

    peers: tuple[str, ...]
    family: Family
    announce: tuple[OutBatch, ...] = ()
    withdraw: tuple[OutBatch, ...] = ()
