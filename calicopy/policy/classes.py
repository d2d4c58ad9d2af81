"""Prefixes to classes: which rules of a chain a prefix can match, found without looking at the rules one by one.

Theory of operation: packed prefixes sort by length and then by address, so that what a rule asks of the prefix is a few
ranges of that order. The ends of all rules' ranges cut the order into intervals, and all prefixes of one interval match
the same rules. A class is that set of rules as a bit mask. To classify one prefix is one bisection; a batch is sorted
and cut at the bounds that lie in it.
"""
from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

from calicopy.net import Family, Packed, pack
from calicopy.policy.filters import Match

PrefixClass = int
"""Bit n: the n-th rule of the chain holds for the prefix, as far as it looks at prefixes."""


class PrefixClasses:
    """The classes of one family under the matches of a chain's rules, in order."""

    def __init__(self, matches: Sequence[Match], family: Family) -> None:
        self._bounds: list[Packed] = []
        self._classes: list[PrefixClass] = []
        always = 0
        edges: dict[Packed, list[int]] = {}  # number + 1 where the range of a rule begins, -number - 1 where it ended
        for number, match in enumerate(matches):
            if match.families and family not in match.families:
                continue
            if not match.prefixes and match.least_length is None and match.most_length is None:
                always |= 1 << number
                continue
            for low, high in _ranges(match, family):
                edges.setdefault(low, []).append(number + 1)
                edges.setdefault(high + b"\0", []).append(-number - 1)  # the next after `high` in the order of octets
        self._sweep(edges, always)

    def _sweep(self, edges: dict[Packed, list[int]], always: PrefixClass) -> None:
        open_ranges: Counter[int] = Counter()
        mask = always
        self._classes.append(mask)
        for bound in sorted(edges):
            for edge in edges[bound]:
                open_ranges[abs(edge) - 1] += 1 if edge > 0 else -1
            now = always | sum(1 << number for number, count in open_ranges.items() if count)
            if now != mask:
                mask = now
                self._bounds.append(bound)
                self._classes.append(mask)

    def of(self, prefix: Packed) -> PrefixClass:
        """The class of one prefix."""
        return self._classes[bisect_right(self._bounds, prefix)]

    def split(self, prefixes: Sequence[Packed]) -> dict[PrefixClass, Sequence[Packed]]:
        """The prefixes of a batch by class."""
        bounds, classes, ordered = self._bounds, self._classes, sorted(prefixes)
        groups: dict[PrefixClass, list[Packed]] = {}
        start, count = 0, len(ordered)
        while start < count:
            interval = bisect_right(bounds, ordered[start])
            stop = count if interval == len(bounds) else bisect_left(ordered, bounds[interval], start)
            groups.setdefault(classes[interval], []).extend(ordered[start:stop])
            start = stop
        return dict(groups)


def _ranges(match: Match, family: Family) -> Iterator[tuple[Packed, Packed]]:
    """The (least, greatest) packed prefixes between which the match holds, one range or more a length."""
    least = 0 if match.least_length is None else match.least_length
    most = family.bits if match.most_length is None else min(match.most_length, family.bits)
    if not match.prefixes:
        for length in range(least, most + 1):
            yield pack(0, length, family), pack((1 << family.bits) - 1, length, family)
    for each in match.prefixes:
        if each.prefix.family is not family:
            continue
        first, last = each.prefix.first, each.prefix.first + each.prefix.size - 1
        shortest = max(least, each.least_length, each.prefix.length)
        for length in range(shortest, min(most, each.most_length) + 1):
            yield pack(first, length, family), pack(last, length, family)
