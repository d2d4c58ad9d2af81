"""What is being written: no result yet."""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from calicopy.fib.types import RouteBatch
from calicopy.net import Packed


class InFlight:
    """The batches of one family that were given out. No prefix is in two of them."""

    def __init__(self) -> None:
        self._batches: dict[int, RouteBatch] = {}  # by Python's id: a batch comes back as it went
        self._doubted: set[int] = set()
        self._prefixes: frozenset[Packed] | None = None  # once somebody asked

    def __bool__(self) -> bool:
        return bool(self._batches)

    def __iter__(self) -> Iterator[RouteBatch]:
        return iter(self._batches.values())

    @property
    def prefixes(self) -> frozenset[Packed]:
        """All of theirs."""
        if self._prefixes is None:
            self._prefixes = frozenset(chain.from_iterable(batch.prefixes for batch in self))
        return self._prefixes

    def begin(self, batches: Iterable[RouteBatch]) -> None:
        """These are given out."""
        self._batches.update((id(batch), batch) for batch in batches)
        self._prefixes = None

    def doubt(self, targets: Collection[int]) -> None:
        """Routes with these targets (by Python's id) that are being written may be gone again when the result comes."""
        self._doubted.update(key for key, batch in self._batches.items() if id(batch.target) in targets)

    def end(self, batch: RouteBatch) -> bool:
        """Its result is there; whether that may be of before something that took the routes away."""
        self._batches.pop(id(batch), None)
        self._prefixes = None
        doubted = id(batch) in self._doubted
        self._doubted.discard(id(batch))
        return doubted
