"""What is still in use of all that routes share, found in slices: resolutions, targets, and so nexthop objects.

Theory of operation: nothing counts who uses what, since that would cost something for every route. Instead, once in a
while everything that routes refer to is gone through, a slice at a time, and what nobody was seen to refer to is let go
of. Between two slices routes change; so what came into use since the census began (`touched`) counts as used.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from calicopy.fib.learned import FamilyRoutes

PAUSE_S = 10.0
"""Between two of them, at least."""
_AT_ONCE = 50_000  # routes in a slice: some 3 ms


class Census:
    """One count over all families. `used` has the ids (Python's) of what was seen in use."""

    def __init__(self, families: Iterable[FamilyRoutes]) -> None:
        self.used: set[int] = set()
        self._families = list(families)
        for routes in self._families:
            routes.touched.clear()
        self._parts = self._all_parts()
        self._part: Iterator[object] = iter(())

    def _all_parts(self) -> Iterator[Iterable[object]]:
        for routes in self._families:
            yield routes.resolutions.values()
            yield routes.tracker.desired.values()
            yield routes.tracker.actual.values()
            yield routes.tracker.unsure.values()
            yield routes.local.values()

    def step(self) -> bool:
        """Count the next slice; whether all is counted."""
        before = len(seen := list(islice(self._part, _AT_ONCE)))
        self.used.update(map(id, seen))
        if before == _AT_ONCE:
            return False
        following = next(self._parts, None)
        if following is not None:
            self._part = iter(list(following))  # a copy: routes change between two slices
            return False
        for routes in self._families:
            self.used |= routes.touched
            routes.keep(self.used)
            self.used.update(id(one.target) for rule in routes.rules.rules() for one in rule.resolutions.values())
        return True
