"""A dump that is compared with what is known, in slices, while routes go on changing."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress, filterfalse, islice
from operator import is_not

from calicopy.fib.types import RouteTarget
from calicopy.net import Packed

AT_ONCE = 10_000
FEW_AT_ONCE = 3_000  # where much differs: each that does costs 2 us


class Check:
    """One dump, from when it is asked for. `since` has the prefixes of which something newer may be known than what the
    dump says; `gone` has, after each step, unsure ones that the dump turned out not to have.
    """

    def __init__(self) -> None:
        self.since: set[Packed] = set()
        self.has_come = False
        self._routes: Mapping[Packed, RouteTarget] = {}
        self._items: Iterator[tuple[Packed, RouteTarget]] = iter(())
        self._rest: Iterator[Packed] | None = None
        self._unsure: Iterator[Packed] | None = None
        self.gone: list[Packed] = []
        self._limit = FEW_AT_ONCE
        self.done = False

    def came(self, routes: Mapping[Packed, RouteTarget]) -> None:
        """This is what it says."""
        self.has_come, self._routes, self._items = True, routes, iter(routes.items())

    def step(
        self, actual: Mapping[Packed, RouteTarget], unsure: Iterable[Packed]
    ) -> dict[Packed, RouteTarget | None]:
        """The next slice: prefixes that the kernel holds otherwise than known, with what it holds (None: nothing)."""
        if self._unsure is not None:
            self._look_for(self._unsure)
            return {}
        found = self._held(actual) if self._rest is None else self._missing(self._rest, unsure)
        self._limit = FEW_AT_ONCE if len(found) > FEW_AT_ONCE // 10 else AT_ONCE
        return found

    def _held(self, actual: Mapping[Packed, RouteTarget]) -> dict[Packed, RouteTarget | None]:
        part = dict(islice(self._items, self._limit))
        other = compress(part, map(is_not, part.values(), map(actual.get, part)))
        if len(part) < self._limit:
            self._rest = iter(list(actual))
        return {
            packed: part[packed] for packed in other if packed not in self.since and part[packed] != actual.get(packed)
        }

    def _missing(self, rest: Iterator[Packed], unsure: Iterable[Packed]) -> dict[Packed, RouteTarget | None]:
        known = list(islice(rest, self._limit))
        if len(known) < self._limit:
            self._unsure = iter(list(unsure))
            self._look_for(self._unsure)
        missing = filterfalse(self._routes.__contains__, known)
        return {packed: None for packed in missing if packed not in self.since}

    def _look_for(self, unsure: Iterator[Packed]) -> None:
        """Those that are there were found before; of the others, this dump is the newest that is known."""
        part = list(islice(unsure, AT_ONCE))
        self.gone = list(filterfalse(self.since.__contains__, part))
        self.done = len(part) < AT_ONCE
