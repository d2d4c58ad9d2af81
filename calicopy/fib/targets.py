"""One object for each target that routes have, so that whether two are the same is a matter of identity."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from calicopy.fib.types import BLACKHOLE, RouteTarget
from calicopy.net import Packed

Intern = Callable[[Mapping[Packed, RouteTarget | None]], dict[Packed, RouteTarget | None]]
"""See `Targets.intern_all`."""


class Targets:
    """The targets in use. `touched` has the ids (Python's) of those that came into use of late."""

    def __init__(self) -> None:
        self._known: dict[RouteTarget, RouteTarget] = {BLACKHOLE: BLACKHOLE}
        self.touched: set[int] = set()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[RouteTarget]:
        return iter(self._known)

    def intern(self, target: RouteTarget) -> RouteTarget:
        """The one object that is equal to `target`."""
        found = self._known.setdefault(target, target)
        self.touched.add(id(found))
        return found

    def intern_all(self, routes: Mapping[Packed, RouteTarget | None]) -> dict[Packed, RouteTarget | None]:
        """The same for all of these routes, which have few targets."""
        distinct = {id(target): target for target in routes.values() if target is not None}
        one = {key: self.intern(target) for key, target in distinct.items()}
        return {packed: None if target is None else one[id(target)] for packed, target in routes.items()}

    def keep(self, is_used: Callable[[RouteTarget], bool]) -> None:
        """Let go of the others."""
        self._known = {one: one for one in self._known if one is BLACKHOLE or is_used(one)}

    def over(self, ifindexes: Iterable[int]) -> list[RouteTarget]:
        """Those with a hop over one of these interfaces."""
        found = frozenset(ifindexes)
        return [one for one in self._known if any(hop.ifindex in found for hop in one.hops)]
