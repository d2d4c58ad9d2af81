"""From the filters of the cluster file to those that the RIB evaluates, and the chains that sessions have of them.
Pure."""

from __future__ import annotations

from calicopy.config.model import BgpSection
from calicopy.config.sections_policy import (
    AsPathCondition,
    ChangeSection,
    FilterEntry,
    MatchSection,
    PrefixCondition,
    RuleEntry,
)
from calicopy.policy import AsPathMatch, Changes, Filter, Match, PrefixMatch, Rule, split_communities


class Chains:
    """The chains of a file. The same chain is the same object, so that sessions that share it compare fast."""

    def __init__(self, bgp: BgpSection) -> None:
        self._filters = {entry.name: policy_filter(entry) for entry in bgp.filters}
        self._known: dict[tuple[str, ...], tuple[Filter, ...]] = {}

    def chain(self, own: tuple[str, ...], everywhere: tuple[str, ...]) -> tuple[Filter, ...]:
        """The session's own filters, then the global ones; each once, where it comes first."""
        names = tuple(dict.fromkeys((*own, *everywhere)))
        if names not in self._known:
            self._known[names] = tuple(self._filters[name] for name in names)
        return self._known[names]


def policy_filter(entry: FilterEntry) -> Filter:
    """A filter of the file as the RIB evaluates it; rules without a name are named by their number, from 1."""
    rules = tuple(_rule(rule, number) for number, rule in enumerate(entry.rules, 1))
    return Filter(name=entry.name, rules=rules, default=entry.default)


def _rule(rule: RuleEntry, number: int) -> Rule:
    return Rule(
        name=rule.name or str(number), match=_match(rule.match), changes=_changes(rule.changes), action=rule.action
    )


def _match(match: MatchSection) -> Match:
    standard, large = split_communities(match.communities or ())
    least, most = match.length or (None, None)
    return Match(
        families=frozenset(() if match.family is None else (match.family,)),
        prefixes=tuple(_prefix(condition) for condition in match.prefix or ()),
        least_length=least,
        most_length=most,
        communities=frozenset(standard),
        large_communities=frozenset(large),
        as_path=None if match.as_path is None else _as_path(match.as_path),
        peer_types=frozenset(match.peer_type or ()),
        sources=frozenset(match.source or ()),
        from_peers=frozenset(match.from_peers or ()),
    )


def _prefix(condition: PrefixCondition) -> PrefixMatch:
    prefix = condition.inside or condition.equal
    if prefix is None:
        raise ValueError("a condition on prefixes with neither `in` nor `equal`")
    if condition.equal is not None:
        return PrefixMatch(prefix, prefix.length, prefix.length)
    return PrefixMatch(prefix, *(condition.length or (prefix.length, prefix.family.bits)))


def _as_path(condition: AsPathCondition) -> AsPathMatch:
    least, most = condition.length or (None, None)
    return AsPathMatch(
        contains=frozenset(condition.contains or ()),
        origin=frozenset(condition.origin or ()),
        neighbor=frozenset(condition.neighbor or ()),
        least_length=least,
        most_length=most,
    )


def _changes(changes: ChangeSection) -> Changes:
    add, add_large = split_communities(changes.add_communities or ())
    remove, remove_large = split_communities(changes.remove_communities or ())
    return Changes(
        local_pref=changes.local_pref,
        med=changes.med,
        add_communities=add,
        remove_communities=frozenset(remove),
        add_large_communities=add_large,
        remove_large_communities=frozenset(remove_large),
        prepend=changes.prepend,
    )
