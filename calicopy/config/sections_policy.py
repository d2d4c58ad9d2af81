"""The models of filters and of what own prefixes carry; the rules of `sections` hold here too. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictInt

from calicopy.config.fields import AsNumber, FamilyField, Name, PrefixField, Text
from calicopy.config.fields_bgp import (
    ActionField,
    Communities,
    PeerTypeField,
    RangeField,
    SourceField,
    Unsigned32,
)
from calicopy.config.sections import Section

MOST_RULES = 1000


class PrefixCondition(Section):
    """One condition on prefixes."""

    inside: PrefixField | None = Field(default=None, validation_alias="in", serialization_alias="in")
    """Prefixes inside this one; it itself is one of them."""
    equal: PrefixField | None = None
    """This prefix alone (instead of `in`)."""
    length: RangeField | None = None
    """Only prefixes inside whose length lies in this range, such as 24-26. Default: every length."""


class AsPathCondition(Section):
    """Conditions on the AS_PATH; all that are given must hold."""

    contains: tuple[AsNumber, ...] | None = Field(default=None, min_length=1)
    """Any of these AS numbers is in it."""
    origin: tuple[AsNumber, ...] | None = Field(default=None, min_length=1)
    """Its last AS, where the path began, is any of these."""
    neighbor: tuple[AsNumber, ...] | None = Field(default=None, min_length=1)
    """Its first AS, that of the neighbour, is any of these."""
    length: RangeField | None = None
    """Its length (an AS_SET counts as one, RFC 4271 section 9.1.2.2) lies in this range; 0 is a path of our own AS."""


class MatchSection(Section):
    """What a rule applies to; all conditions that are given must hold."""

    family: FamilyField | None = None
    """The address family."""
    prefix: tuple[PrefixCondition, ...] | None = Field(default=None, min_length=1, max_length=MOST_RULES)
    """Any of these conditions on the prefix."""
    length: RangeField | None = None
    """The prefix's length lies in this range."""
    communities: Communities | None = None
    """The path carries any of these."""
    as_path: AsPathCondition | None = None
    """Conditions on the AS_PATH."""
    peer_type: tuple[PeerTypeField, ...] | None = Field(default=None, min_length=1)
    """The session is any of these: `mesh`, `ibgp`, `ebgp` (a mesh session is also one of the other two)."""
    source: tuple[SourceField, ...] | None = Field(default=None, min_length=1)
    """Where the path began for this node: `own` (its own prefixes), or learned over `ibgp` or `ebgp`."""
    from_peers: tuple[Text, ...] | None = Field(
        default=None, min_length=1, validation_alias="from", serialization_alias="from"
    )
    """It was heard from any of these: names of peers or nodes."""


class ChangeSection(Section):
    """What a rule changes. Removals come before additions."""

    local_pref: Unsigned32 | None = None
    """LOCAL_PREF; the higher wins. A path without one counts as 100."""
    med: Unsigned32 | None = None
    """MULTI_EXIT_DISC; the lower wins."""
    add_communities: Communities | None = None
    """Communities to add."""
    remove_communities: Communities | None = None
    """Communities to remove."""
    prepend: Annotated[StrictInt, Field(ge=0, le=10)] = 0
    """How often our AS is put before the AS_PATH, besides the once that eBGP asks for."""


class RuleEntry(Section):
    """One rule of a filter."""

    name: Name | None = None
    """What `explain` calls it. Default: its number in the filter, from 1."""
    match: MatchSection = Field(default_factory=MatchSection)
    """What it applies to. Default: every path."""
    changes: ChangeSection = Field(default_factory=ChangeSection, validation_alias="set", serialization_alias="set")
    """What it changes."""
    action: ActionField | None = None
    """`accept` or `reject`; either ends the chain. Default: the next rule follows."""


class FilterEntry(Section):
    """A filter: an ordered list of rules."""

    name: Name
    """Its name, for chains and for `explain`."""
    default: ActionField | None = None
    """What becomes of a path that comes to its end. Default: the next filter of the chain is asked."""
    rules: Annotated[tuple[RuleEntry, ...], Field(max_length=MOST_RULES)] = ()
    """Its rules, in order."""


class CommunitiesEntry(Section):
    """Communities that our own prefixes carry."""

    prefix: PrefixField
    """Own prefixes inside this one carry them. One that lies in several entries carries those of all."""
    communities: Communities
    """The communities."""
