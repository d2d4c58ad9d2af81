"""Routes that are taken as gone because of where they lead, found in slices."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from calicopy.fib.types import RouteTarget
from calicopy.net import Packed

AT_ONCE = 5_000


class Forgetting:
    """What is still to be gone through. What is written meanwhile is found too: to write it twice does no harm."""

    def __init__(self) -> None:
        self._todo: deque[tuple[Iterator[Packed], frozenset[int]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._todo)

    def add(self, prefixes: Iterable[Packed], targets: frozenset[int]) -> None:
        """Those of these prefixes that have one of these targets (by Python's id)."""
        self._todo.append((iter(list(prefixes)), targets))

    def step(self, actual: Mapping[Packed, RouteTarget]) -> dict[Packed, RouteTarget]:
        """Those of the next slice."""
        prefixes, targets = self._todo[0]
        part = list(islice(prefixes, AT_ONCE))
        if len(part) < AT_ONCE:
            self._todo.popleft()
        held = map(actual.get, part)
        return {packed: one for packed, one in zip(part, held, strict=True) if one is not None and id(one) in targets}
