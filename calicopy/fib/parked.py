"""Prefixes that wait for the nexthop object that they lead to."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from calicopy.net import Packed


class Parked:
    """Prefixes by the id of the object. Each waits for one: that which is desired of it."""

    def __init__(self) -> None:
        self._by_id: dict[int, dict[Packed, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def __iter__(self) -> Iterator[Packed]:
        return chain.from_iterable(self._by_id.values())

    def add(self, prefixes: Iterable[Packed], number: int) -> None:
        """These wait for the object with this id."""
        self._by_id.setdefault(number, {}).update(dict.fromkeys(prefixes))

    def discard(self, packed: Packed, number: int) -> None:
        """Something else is desired of this prefix; it need not have waited."""
        waiting = self._by_id.get(number)
        if waiting is not None:
            waiting.pop(packed, None)
            if not waiting:
                del self._by_id[number]

    def take(self, number: int) -> list[Packed]:
        """Those that waited for this object."""
        return list(self._by_id.pop(number, ()))
