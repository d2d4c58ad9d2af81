"""Path attributes as values.

Theory of operation: `PathAttributes` is one immutable, hashable set of attributes as it was received, shared by every
prefix of the messages that carried it. The hash is computed once, at construction, so that tables and comparisons
over 100,000 paths cost no more than an identity check each. It holds no decision: policy and RIB read it,
`dataclasses.replace` makes variants.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TypeAlias

from calicopy.bgp.as_path import AsPath
from calicopy.net import IPAddress

LargeCommunity: TypeAlias = tuple[int, int, int]
EMPTY_PATH = AsPath()
"""The AS_PATH of a path that began in our own AS."""


class AttributeCode(enum.IntEnum):
    """Path attribute type codes (IANA BGP Path Attributes), as far as calicopy looks at them."""

    ORIGIN = 1
    AS_PATH = 2
    NEXT_HOP = 3
    MULTI_EXIT_DISC = 4
    LOCAL_PREF = 5
    ATOMIC_AGGREGATE = 6
    AGGREGATOR = 7
    COMMUNITIES = 8
    ORIGINATOR_ID = 9
    CLUSTER_LIST = 10
    MP_REACH_NLRI = 14
    MP_UNREACH_NLRI = 15
    EXTENDED_COMMUNITIES = 16
    AS4_PATH = 17
    AS4_AGGREGATOR = 18
    IPV6_EXTENDED_COMMUNITIES = 25
    LARGE_COMMUNITIES = 32
    ONLY_TO_CUSTOMER = 35


class AttributeFlag(enum.IntFlag):
    """The attribute flags octet (RFC 4271 section 4.3)."""

    OPTIONAL = 0x80
    TRANSITIVE = 0x40
    PARTIAL = 0x20
    EXTENDED_LENGTH = 0x10


class Origin(enum.IntEnum):
    """ORIGIN (RFC 4271 section 5.1.1); the lower wins."""

    IGP = 0
    EGP = 1
    INCOMPLETE = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Aggregator:
    """AGGREGATOR (RFC 4271 section 5.1.7): the AS and router id of the speaker that formed the aggregate."""

    asn: int
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class RawAttribute:
    """A path attribute as on the wire (RFC 4271 section 4.3): flags octet, type code, value."""

    flags: int
    code: int
    value: bytes


@dataclass(frozen=True, slots=True)
class PathAttributes:
    """One set of path attributes. Equal by value; the hash is kept. Not for pickling between processes (the hash is
    per process).

    `next_hop` is the NEXT_HOP attribute, so None where only MP_REACH_NLRI gave one: the next hop of a prefix is its
    batch's. Communities are 32-bit numbers in the order received; large communities are free of duplicates (RFC 8092
    section 5). `partial` has the codes of known optional transitive attributes that came with the Partial bit, which
    nobody may clear (RFC 4271 section 5).
    """

    origin: Origin = Origin.IGP
    as_path: AsPath = EMPTY_PATH
    next_hop: IPAddress | None = None
    med: int | None = None
    local_pref: int | None = None
    atomic_aggregate: bool = False
    aggregator: Aggregator | None = None
    communities: tuple[int, ...] = ()
    originator_id: IPv4Address | None = None
    cluster_list: tuple[IPv4Address, ...] = ()
    large_communities: tuple[LargeCommunity, ...] = ()
    unknown: tuple[RawAttribute, ...] = ()
    partial: tuple[int, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self._key()))

    def _key(self) -> tuple[object, ...]:
        return (
            self.origin, self.as_path, self.next_hop, self.med, self.local_pref, self.atomic_aggregate, self.aggregator,
            self.communities, self.originator_id, self.cluster_list, self.large_communities, self.unknown,
            self.partial,
        )  # fmt: skip

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, PathAttributes):
            return NotImplemented
        return self._hash == other._hash and self._key() == other._key()
