"""The routes of one family that follow from what was learned, and from the local ones above them.

Theory of operation: desired is layered: a workload's host route wins over a blackhole of an own block, which wins over
what was learned. Learned prefixes share `Resolution`s, one per selection and rule, which are few. When facts change
those are found anew (`follow_underlay`); only where one leads elsewhere are the prefixes visited, in slices (`visit`).
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from itertools import islice

from calicopy.fib.objects import NextHops
from calicopy.fib.queue import drop
from calicopy.fib.resolution import Resolution, Rule, RuleIndex, Underlay, find_ways, plain_target
from calicopy.fib.targets import Targets
from calicopy.fib.tracker import RouteTracker
from calicopy.fib.types import FibPool, Hop, RouteTarget, Selected
from calicopy.net import Family, Packed


class FamilyRoutes:
    """Learned and local routes of a family, brought to its tracker. `touched` has the ids of resolutions just used."""

    def __init__(
        self, family: Family, underlay: Underlay, next_hops: NextHops, targets: Targets
    ) -> None:
        self.family = family
        self.tracker = RouteTracker(family, next_hops.actual, targets.intern_all)
        self.rules = RuleIndex(family, ())
        self.resolutions: dict[Packed, Resolution] = {}
        self.local: dict[Packed, RouteTarget] = {}
        self.touched: set[int] = set()
        self._underlay = underlay
        self._next_hops = next_hops
        self._intern = targets.intern
        self._to_visit: Iterator[Packed] | None = None
        self._reruled = False

    @property
    def settled(self) -> bool:
        """Whether no prefix is left to be visited."""
        return self._to_visit is None

    def set_pools(self, pools: Iterable[FibPool]) -> None:
        """Other rules: every prefix is visited for the one that is its own now."""
        self.rules = RuleIndex(self.family, pools)
        self._reruled = True
        self._to_visit = iter(list(self.resolutions))

    def set_local(self, routes: dict[Packed, RouteTarget]) -> None:
        """All local routes, targets interned."""
        before, self.local = self.local, routes
        for packed, target in routes.items():
            self.tracker.want([packed], target, urgent=True)
        for packed in before.keys() - routes.keys():
            resolution = self.resolutions.get(packed)
            self.tracker.want([packed], None if resolution is None else resolution.target, urgent=True)

    def apply(self, runs: Iterable[tuple[Selected | None, Iterable[Packed]]]) -> None:
        """Prefixes with the selection that they have now, None: no path is left."""
        for selection, run in runs:
            prefixes = run if isinstance(run, list) else list(run)
            if selection is None:
                drop(self.resolutions, prefixes)
                self._want(prefixes, None)
                continue
            for rule, part in self.rules.split(prefixes):
                resolution = rule.resolutions.get(id(selection)) or self._resolve(selection, rule)
                self.touched.add(id(resolution))
                self.resolutions.update(dict.fromkeys(part, resolution))
                self._want(part, resolution.target)

    def _want(self, prefixes: list[Packed], target: RouteTarget | None) -> None:
        local = self.local
        if local and not local.keys().isdisjoint(prefixes):
            prefixes = [packed for packed in prefixes if packed not in local]
        self.tracker.want(prefixes, target)

    def _resolve(self, selection: Selected, rule: Rule) -> Resolution:
        resolution = rule.resolutions[id(selection)] = Resolution(selection)
        self._refresh(resolution, rule)
        return resolution

    def _refresh(self, resolution: Resolution, rule: Rule) -> bool:
        """Find it anew; whether it leads elsewhere now."""
        found = find_ways(resolution.selection, rule, self.family, self._underlay)
        resolution.excluded = tuple(way for _, way in found if not isinstance(way, Hop))
        target = self._next_hops.lead(found) if self._next_hops.used else None
        if target is None and (plain := plain_target(found)) is not None:
            target = self._intern(plain)
        before, resolution.target = resolution.target, target
        return target is not before

    def follow_underlay(self) -> None:
        """Find all resolutions anew after facts changed; where one leads elsewhere, all prefixes are visited."""
        pairs = [(one, rule) for rule in self.rules.rules() for one in rule.resolutions.values()]
        moved = [one for one, rule in pairs if self._refresh(one, rule)]
        if moved:
            self._to_visit = iter(list(self.resolutions))

    def visit(self, limit: int) -> None:
        """Bring the next slice of learned prefixes in line with their resolutions."""
        if self._to_visit is None:
            return
        part = list(islice(self._to_visit, limit))
        if len(part) < limit:
            self._to_visit = None
        if self._reruled:
            self._rerule(part)
        found = list(map(self.resolutions.get, part))
        known = dict(zip(map(id, found), found, strict=True))
        runs: defaultdict[int, list[Packed]] = defaultdict(list)
        if len(known) == 1:  # most often: the routes of one node
            runs[id(found[0])] = part
        else:
            for key, packed in zip(map(id, found), part, strict=True):
                runs[key].append(packed)
        for key, resolution in known.items():
            if resolution is not None:
                self._want(runs[key], resolution.target)
        self._reruled = self._reruled and self._to_visit is not None

    def _rerule(self, part: list[Packed]) -> None:
        """Give prefixes the resolution of their selection under the rule that is theirs now."""
        resolutions = self.resolutions
        for rule, prefixes in self.rules.split([packed for packed in part if packed in resolutions]):
            for packed in prefixes:
                selection = resolutions[packed].selection
                resolution = rule.resolutions.get(id(selection)) or self._resolve(selection, rule)
                self.touched.add(id(resolution))
                resolutions[packed] = resolution

    def prefixes(self) -> Iterator[Packed]:
        """Every prefix that something is known of: local, learned, and left over in the kernel."""
        return iter({**dict.fromkeys(self.local), **dict.fromkeys(self.resolutions), **self.tracker.actual})

    def unprogrammed(self) -> int:
        """How many prefixes are known here and have no target."""
        known = len(self.resolutions) + sum(packed not in self.resolutions for packed in self.local)
        return max(0, known - len(self.tracker.desired))

    def keep(self, used: Container[int]) -> None:
        """Let go of resolutions that are not among `used` (by id)."""
        for rule in self.rules.rules():
            rule.resolutions = {key: one for key, one in rule.resolutions.items() if id(one) in used}
