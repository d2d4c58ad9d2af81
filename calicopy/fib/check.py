"""A dump that is compared with what is known, in slices, while routes go on changing."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import compress, filterfalse, islice
from operator import is_not

from calicopy.fib.types import RouteTarget
from calicopy.net import Packed


class Check:
    """One dump. `since` has the prefixes of which something newer is known than what the dump says."""

    def __init__(self, routes: Mapping[Packed, RouteTarget]) -> None:
        self.since: set[Packed] = set()
        self._routes = routes
        self._items = iter(routes.items())
        self._rest: Iterator[Packed] | None = None
        self.done = False

    def step(self, actual: Mapping[Packed, RouteTarget], limit: int) -> dict[Packed, RouteTarget | None]:
        """The next slice: prefixes that the kernel holds otherwise than known, with what it holds (None: nothing)."""
        since = self.since
        if self._rest is None:
            part = dict(islice(self._items, limit))
            other = compress(part, map(is_not, part.values(), map(actual.get, part)))
            if len(part) < limit:
                self._rest = iter(list(actual))
            return {
                packed: part[packed] for packed in other if packed not in since and part[packed] != actual.get(packed)
            }
        known = list(islice(self._rest, limit))
        self.done = len(known) < limit
        missing = filterfalse(self._routes.__contains__, known)
        return {packed: None for packed in missing if packed not in since}
