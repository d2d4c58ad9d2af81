"""What a chain of filters makes of a path: whether it passes, with which attributes, and which rule had the word.

Theory of operation: a `Chain` is made once per session. `judge` walks its rules over one attribute set; a rule sees
what the rules before it have changed. Nothing of a prefix enters but its class (see `classes`), so that one judgement
serves all prefixes of a class that share their attributes. A chain that does not look at prefixes has one class.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from calicopy.bgp.attributes import LargeCommunity, PathAttributes
from calicopy.net import Family, Packed
from calicopy.policy.classes import PrefixClass, PrefixClasses
from calicopy.policy.filters import Action, AsPathMatch, Changes, Filter, Match, PeerType, RouteSource

EVERY_PREFIX: PrefixClass = 0
"""The class of all prefixes where a chain does not look at them."""


@dataclass(frozen=True, slots=True)
class RuleRef:
    """A rule of a filter; `rule` is empty for the filter's default."""

    filter: str
    rule: str = ""

    def __str__(self) -> str:
        return f"filter {self.filter}, rule {self.rule}" if self.rule else f"filter {self.filter}, its default"


@dataclass(frozen=True, slots=True)
class PathFacts:
    """What a filter looks at besides attributes and prefix: the kind of the session that the path comes over (import)
    or goes to (export), where the path began, and the name of the peer that sent it (empty for our own).

    `reserved`: the first two numbers of large communities that no filter adds or removes.
    """

    peer_types: frozenset[PeerType]
    source: RouteSource
    from_peer: str = ""
    reserved: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome. `rule`: that which decided, else the last that changed something; None when none had a word.

    `prepend` is how often an AS is to be put before the AS_PATH, which `attributes` does not have yet.
    """

    accepted: bool
    attributes: PathAttributes
    rule: RuleRef | None = None
    prepend: int = 0


class Chain:
    """Filters in order, ready to judge."""

    def __init__(self, filters: tuple[Filter, ...]) -> None:
        self.filters = filters
        self.by_prefix = any(rule.match.by_prefix for each in filters for rule in each.rules)
        self._classes: dict[Family, PrefixClasses] = {}

    def class_of(self, family: Family, prefix: Packed) -> PrefixClass:
        """The class of a prefix."""
        return self._of(family).of(prefix) if self.by_prefix else EVERY_PREFIX

    def split(self, family: Family, prefixes: Sequence[Packed]) -> dict[PrefixClass, Sequence[Packed]]:
        """Prefixes by class."""
        return self._of(family).split(prefixes) if self.by_prefix else {EVERY_PREFIX: prefixes}

    def _of(self, family: Family) -> PrefixClasses:
        classes = self._classes.get(family)
        if classes is None:
            matches = [rule.match for each in self.filters for rule in each.rules]
            classes = self._classes[family] = PrefixClasses(matches, family)
        return classes

    def judge(self, attributes: PathAttributes, prefix_class: PrefixClass, facts: PathFacts) -> Judgement:
        """What becomes of a path with these attributes, for all prefixes of a class. No filters: accepted as it is."""
        state = _State(attributes)
        for each in self.filters:
            for rule in each.rules:
                by_prefix = rule.match.by_prefix
                holds = not by_prefix or prefix_class & 1
                prefix_class >>= 1
                if not (holds and _matches(rule.match, state.attributes, facts)):
                    continue
                reference = RuleRef(each.name, rule.name)
                if rule.action is Action.REJECT:
                    return Judgement(False, attributes, reference)
                state.change(rule.changes, reference, facts.reserved)
                if rule.action is Action.ACCEPT:
                    return Judgement(True, state.attributes, reference, state.prepend)
            if each.default is Action.REJECT:
                return Judgement(False, attributes, RuleRef(each.name))
            if each.default is Action.ACCEPT:
                break
        return Judgement(True, state.attributes, state.rule, state.prepend)


class _State:
    """The attributes on their way through the chain."""

    __slots__ = ("attributes", "prepend", "rule")

    def __init__(self, attributes: PathAttributes) -> None:
        self.attributes = attributes
        self.rule: RuleRef | None = None
        self.prepend = 0

    def change(self, changes: Changes, reference: RuleRef, reserved: frozenset[tuple[int, int]]) -> None:
        """Make a rule's changes; the rule is named when it has any."""
        if changes == _NO_CHANGES:
            return
        self.rule = reference
        self.prepend += changes.prepend
        now = self.attributes
        self.attributes = replace(
            now,
            local_pref=now.local_pref if changes.local_pref is None else changes.local_pref,
            med=now.med if changes.med is None else changes.med,
            communities=_communities(now.communities, changes),
            large_communities=_large_communities(now.large_communities, changes, reserved),
        )


_NO_CHANGES = Changes()


def _communities(now: tuple[int, ...], changes: Changes) -> tuple[int, ...]:
    kept = tuple(one for one in now if one not in changes.remove_communities)
    return kept + tuple(dict.fromkeys(one for one in changes.add_communities if one not in kept))


def _large_communities(
    now: tuple[LargeCommunity, ...], changes: Changes, reserved: frozenset[tuple[int, int]]
) -> tuple[LargeCommunity, ...]:
    gone = changes.remove_large_communities
    kept = tuple(one for one in now if one not in gone or one[:2] in reserved)
    added = (one for one in changes.add_large_communities if one not in kept and one[:2] not in reserved)
    return kept + tuple(dict.fromkeys(added))


def _matches(match: Match, attributes: PathAttributes, facts: PathFacts) -> bool:
    """Whether all conditions hold but those on the prefix."""
    if match.peer_types and not match.peer_types & facts.peer_types:
        return False
    if match.sources and facts.source not in match.sources:
        return False
    if match.from_peers and facts.from_peer not in match.from_peers:
        return False
    if (match.communities or match.large_communities) and (
        match.communities.isdisjoint(attributes.communities)
        and match.large_communities.isdisjoint(attributes.large_communities)
    ):
        return False
    return match.as_path is None or _as_path_matches(match.as_path, attributes)


def _as_path_matches(match: AsPathMatch, attributes: PathAttributes) -> bool:
    path = attributes.as_path
    if match.contains and match.contains.isdisjoint(asn for segment in path.segments for asn in segment.asns):
        return False
    if match.origin and path.origin_as not in match.origin:
        return False
    if match.neighbor and path.neighbor_as not in match.neighbor:
        return False
    if match.least_length is not None and path.length < match.least_length:
        return False
    return match.most_length is None or path.length <= match.most_length
