"""Filters as values: ordered rules, each with what it matches, what it changes, and how it ends.

Theory of operation: a chain of filters is read from its first rule to its last. A rule that matches makes its changes;
with an action it also ends the chain, without one the next rule follows. A filter that comes to its end does what its
`default` says, or hands on to the next filter. A chain that comes to its end accepts: what is refused without any
filter (outside the pools, loops, a wrong owner) is refused by the RIB before and besides.
"""
from __future__ import annotations

import enum
from dataclasses import dataclass, field

from calicopy.bgp.attributes import LargeCommunity
from calicopy.net import Family, Prefix


class Action(enum.Enum):
    """How a rule, or a filter, ends the chain."""

    ACCEPT = "accept"
    REJECT = "reject"


class PeerType(enum.Enum):
    """The kind of session that a path comes over (import) or goes to (export). A mesh session is also IBGP or EBGP."""

    MESH = "mesh"
    IBGP = "ibgp"
    EBGP = "ebgp"


class RouteSource(enum.Enum):
    """Where a path began for this node: its own prefixes, or learned over iBGP or eBGP."""

    OWN = "own"
    IBGP = "ibgp"
    EBGP = "ebgp"


@dataclass(frozen=True, slots=True)
class PrefixMatch:
    """Prefixes inside `prefix` (it included) whose length in bits lies between the two; both its own: equal to it."""

    prefix: Prefix
    least_length: int
    most_length: int


@dataclass(frozen=True, slots=True)
class AsPathMatch:
    """Conditions on the AS_PATH; all that are given must hold. `contains`: any of these. Lengths as RFC 4271 9.1.2.2 a
    counts.
    """

    contains: frozenset[int] = frozenset()
    origin: frozenset[int] = frozenset()
    neighbor: frozenset[int] = frozenset()
    least_length: int | None = None
    most_length: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule applies to; all conditions that are given must hold, an empty one matches everything.

    `prefixes`: any of them. `communities` and `large_communities`: the path carries any of them. `from_peers`: names of
    the peers that it was heard from.
    """

    families: frozenset[Family] = frozenset()
    prefixes: tuple[PrefixMatch, ...] = ()
    least_length: int | None = None
    most_length: int | None = None
    communities: frozenset[int] = frozenset()
    large_communities: frozenset[LargeCommunity] = frozenset()
    as_path: AsPathMatch | None = None
    peer_types: frozenset[PeerType] = frozenset()
    sources: frozenset[RouteSource] = frozenset()
    from_peers: frozenset[str] = frozenset()

    @property
    def by_prefix(self) -> bool:
        """Whether it looks at the prefix: then paths of one attribute set can fare differently."""
        return bool(self.families or self.prefixes) or self.least_length is not None or self.most_length is not None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a rule changes. None and empty leave as it is; removals come before additions. `prepend`: how often our AS
    is put before the AS_PATH towards another AS, besides the once that eBGP asks for (within the AS the path is not
    touched: RFC 4271 section 5.1.2 a); on import how often the neighbor's AS is put there once more.
    """

    local_pref: int | None = None
    med: int | None = None
    add_communities: tuple[int, ...] = ()
    remove_communities: frozenset[int] = frozenset()
    add_large_communities: tuple[LargeCommunity, ...] = ()
    remove_large_communities: frozenset[LargeCommunity] = frozenset()
    prepend: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `name` is what `explain` says of it; without one in the file it is the rule's number, from 1."""

    name: str
    match: Match = field(default_factory=Match)
    changes: Changes = field(default_factory=Changes)
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """A named list of rules. `default`: what becomes of what comes to its end; None hands on to the next filter."""

    name: str
    rules: tuple[Rule, ...] = ()
    default: Action | None = None
