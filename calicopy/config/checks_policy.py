"""What must hold within filters, between them and the chains that name them, and for communities of own prefixes. Pure;
the rules of `checks` hold here too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from calicopy.config.errors import Path
from calicopy.config.fields_bgp import LengthRange, range_text
from calicopy.config.problems import FirstUse, Problem, did_you_mean
from calicopy.config.sections import NodeEntry, PoolEntry
from calicopy.config.sections_bgp import BgpSection
from calicopy.config.sections_policy import (
    AsPathCondition,
    ChangeSection,
    FilterEntry,
    MatchSection,
    PrefixCondition,
    RuleEntry,
)
from calicopy.net import Family, Prefix
from calicopy.policy import Action, RouteSource

NOTHING = MatchSection()
NO_CHANGE = ChangeSection()


def check_policy(bgp: BgpSection, nodes: Sequence[NodeEntry], pools: Sequence[PoolEntry]) -> Iterator[Problem]:
    """Problems of filters, chains and communities."""
    names, at = FirstUse("two filters have the name {!r}"), ("bgp", "filters")
    heard = [*(node.name for node in nodes), *(peer.label for peer in bgp.peers if peer.address is not None)]
    used = {name for _, chain in chains_of(bgp) for name in chain}
    exported = {name for path, chain in chains_of(bgp) if str(path[-1]).endswith("export") for name in chain}
    for index, entry in enumerate(bgp.filters):
        path: Path = (*at, index)
        yield from names.use(entry.name, (*path, "name"))
        yield from _filter(entry, path, heard)
        if entry.name not in used:
            message = f"no chain names the filter {entry.name!r}: it has no effect"
            yield Problem((*path, "name"), message, (("bgp",),), warning=True)
        elif entry.name not in exported:
            yield from _on_import(entry, path)
    yield from _chains(bgp)
    yield from _communities(bgp, pools)


def chains_of(bgp: BgpSection) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Every chain of the file with its path."""
    yield ("bgp", "mesh_import"), bgp.mesh_import
    yield ("bgp", "mesh_export"), bgp.mesh_export
    yield ("bgp", "import"), bgp.import_filters
    yield ("bgp", "export"), bgp.export_filters
    for index, peer in enumerate(bgp.peers):
        yield ("bgp", "peers", index, "import"), peer.import_filters
        yield ("bgp", "peers", index, "export"), peer.export_filters


def _chains(bgp: BgpSection) -> Iterator[Problem]:
    known = {entry.name: entry for entry in bgp.filters}
    for path, chain in chains_of(bgp):
        seen, end = FirstUse("the filter {!r} is named twice"), ""
        for position, name in enumerate(chain):
            at = (*path, position)
            yield from seen.use(name, at)
            if name not in known:
                yield Problem(
                    at, f"no filter has the name {name!r}{did_you_mean(name, list(known))}", (("bgp", "filters"),)
                )
            elif end:
                message = f"is never asked: the filter {end!r} before it has a `default`"
                yield Problem(at, message, (("bgp", "filters"),), warning=True)
            elif known[name].default is not None:
                end = name


def _filter(entry: FilterEntry, at: Path, heard: Sequence[str]) -> Iterator[Problem]:
    if not entry.rules and entry.default is None:
        yield Problem(at, "has no effect: no rule and no `default`", ((*at, "rules"), (*at, "default")), warning=True)
    names = FirstUse("two rules of this filter have the name {!r} (a rule without a name is named by its number)")
    ended: Path | None = None
    seen: list[tuple[MatchSection, Path]] = []
    for index, rule in enumerate(entry.rules):
        path: Path = (*at, "rules", index)
        yield from names.use(rule.name or str(index + 1), (*path, "name") if rule.name else path)
        yield from _conditions(rule.match, (*path, "match"), heard)
        yield from _effect(rule, path)
        twin = next((where for match, where in seen if match == rule.match), None)
        if ended is not None:
            yield Problem(
                path, "never matches: a rule before it ends for every path", (ended,), warning=True, other=ended
            )
        elif twin is not None:
            yield Problem(
                path, "never matches: a rule before it ends for the same paths", (twin,), warning=True, other=twin
            )
        elif rule.action is not None and rule.match == NOTHING:
            ended = path
        elif rule.action is not None:
            seen.append((rule.match, path))


def _effect(rule: RuleEntry, path: Path) -> Iterator[Problem]:
    changes: Path = (*path, "set")
    if rule.action is None and rule.changes == NO_CHANGE:
        yield Problem(
            path, "has no effect: no `action`, and it sets nothing", (changes, (*path, "action")), warning=True
        )
    if rule.action is Action.REJECT and rule.changes != NO_CHANGE:
        yield Problem(changes, "has no effect: the rule rejects the path", ((*path, "action"),), warning=True)
    for key, communities in (
        ("add_communities", rule.changes.add_communities),
        ("remove_communities", rule.changes.remove_communities),
    ):
        seen = FirstUse("the community is given twice")
        for position, community in enumerate(communities or ()):
            yield from seen.use(community, (*changes, key, position))


def _conditions(match: MatchSection, at: Path, heard: Sequence[str]) -> Iterator[Problem]:
    for position, condition in enumerate(match.prefix or ()):
        yield from _prefix(condition, (*at, "prefix", position), match, at)
    if match.length is not None:
        yield from _lengths(match.length, (*at, "length"), 0, (match.family or Family.IPV6).bits, ((*at, "family"),))
        spans = [span for condition in match.prefix or () if (span := _span(condition)) is not None]
        if match.prefix and len(spans) == len(match.prefix) and not any(_meet(span, match.length) for span in spans):
            message = f"the rule never matches: no prefix of `prefix` has a length of {range_text(match.length)}"
            yield Problem((*at, "length"), message, ((*at, "prefix"),), warning=True)
    if match.as_path is not None:
        yield from _as_path(match.as_path, (*at, "as_path"))
    for position, name in enumerate(match.from_peers or ()):
        if name not in heard:
            path = (*at, "from", position)
            related: tuple[Path, ...] = (("nodes",), ("bgp", "peers"))
            yield Problem(path, f"no peer or node has the name {name!r}{did_you_mean(name, heard)}", related)
    if match.source == (RouteSource.OWN,):
        related = ((*at, "source"),)
        for key, given in (("from", match.from_peers is not None), ("as_path", _wants_path(match.as_path))):
            if given:
                message = f"the rule never matches: own prefixes have no `{key}` (`source: [own]`)"
                yield Problem((*at, key), message, related, warning=True)


def _wants_path(condition: AsPathCondition | None) -> bool:
    """Whether the condition needs an AS in the path."""
    if condition is None:
        return False
    least = 0 if condition.length is None else condition.length[0]
    return bool(condition.contains or condition.origin or condition.neighbor or least)


def _span(condition: PrefixCondition) -> LengthRange | None:
    """The prefix lengths that the condition lets through; None when it is not whole."""
    if condition.equal is not None:
        return condition.equal.length, condition.equal.length
    if condition.inside is None:
        return None
    return condition.length or (condition.inside.length, condition.inside.family.bits)


def _meet(one: LengthRange, other: LengthRange) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _prefix(condition: PrefixCondition, path: Path, match: MatchSection, at: Path) -> Iterator[Problem]:
    ends: tuple[Path, ...] = ((*path, "in"), (*path, "equal"))
    prefix: Prefix | None = condition.inside or condition.equal
    if prefix is None:
        yield Problem(path, "expected `in: PREFIX` or `equal: PREFIX`, found neither", ends)
        return
    if condition.inside is not None and condition.equal is not None:
        yield Problem(ends[1], "expected either `in` or `equal`, found both", ends[:1])
        return
    key = ends[0] if condition.inside is not None else ends[1]
    if match.family is not None and prefix.family is not match.family:
        message = f"found {prefix}, expected a prefix of the rule's family, {match.family}"
        yield Problem(key, message, ((*at, "family"),))
    if condition.length is None:
        return
    if condition.equal is not None:
        yield Problem((*path, "length"), "expected none with `equal`, which has one length", ends[1:])
        return
    yield from _lengths(condition.length, (*path, "length"), prefix.length, prefix.family.bits, ends[:1])


def _lengths(lengths: LengthRange, path: Path, least: int, most: int, related: tuple[Path, ...]) -> Iterator[Problem]:
    if lengths[0] < least or lengths[1] > most:
        yield Problem(path, f"found {range_text(lengths)}, expected lengths from {least} to {most}", related)


def _as_path(condition: AsPathCondition, at: Path) -> Iterator[Problem]:
    most = None if condition.length is None else condition.length[1]
    if most == 0 and (condition.contains or condition.origin or condition.neighbor):
        yield Problem((*at, "length"), "the rule never matches: an empty AS_PATH has no AS", (at,), warning=True)


def _on_import(entry: FilterEntry, at: Path) -> Iterator[Problem]:
    """Rules for own prefixes in a filter that only import chains name."""
    for index, rule in enumerate(entry.rules):
        if rule.match.source == (RouteSource.OWN,):
            path: Path = (*at, "rules", index, "match", "source")
            message = "the rule never matches: own prefixes are not imported, and no export chain names this filter"
            yield Problem(path, message, (("bgp",),), warning=True)


def _communities(bgp: BgpSection, pools: Sequence[PoolEntry]) -> Iterator[Problem]:
    prefixes = FirstUse("the prefix {} is given twice")
    for index, entry in enumerate(bgp.communities):
        at: Path = ("bgp", "communities", index)
        yield from prefixes.use(entry.prefix, (*at, "prefix"))
        seen = FirstUse("the community is given twice")
        for position, community in enumerate(entry.communities):
            yield from seen.use(community, (*at, "communities", position))
        if not any(pool.cidr.overlaps(entry.prefix) for pool in pools):
            message = f"has no effect: no pool has a prefix inside {entry.prefix}"
            yield Problem((*at, "prefix"), message, (("pools",),), warning=True)
