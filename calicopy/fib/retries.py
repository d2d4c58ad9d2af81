"""Writes that failed, and when each is tried again: after a pause that doubles."""
from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
FOREIGN_PAUSE_S = 30.0
"""A foreign route that goes away is seen as an event; the pause is only for an event that was lost."""

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Failure:
    """A write that failed: `errno` 0 stands for a foreign route at the key. `retry_at` is on the clock of `now`."""

    errno: int
    attempts: int
    retry_at: float


class Retries(Generic[K]):
    """What failed, by key. One that was due stays a failure, off the schedule, until it is forgotten or fails again."""

    def __init__(self) -> None:
        self._failures: dict[K, Failure] = {}
        self._schedule: list[tuple[float, int, K]] = []
        self._number = 0

    @property
    def failures(self) -> Mapping[K, Failure]:
        """Everything that failed and was not forgotten."""
        return self._failures

    def failed(self, key: K, code: int, now: float) -> None:
        """A write failed with this errno, 0 for a foreign route at the key."""
        before = self._failures.get(key)
        attempts = 1 if before is None else before.attempts + 1
        pause = FOREIGN_PAUSE_S if code == 0 else min(FIRST_PAUSE_S * 2.0 ** (attempts - 1), LONGEST_PAUSE_S)
        self._failures[key] = Failure(code, attempts, now + pause)
        self._number += 1
        heapq.heappush(self._schedule, (now + pause, self._number, key))

    def forget(self, key: K) -> None:
        """It is settled, or something else is wanted there."""
        self._failures.pop(key, None)

    def forget_all(self, keys: Iterable[K]) -> None:
        """The same for many."""
        if self._failures:
            for key in keys:
                self._failures.pop(key, None)

    def next_due(self) -> float | None:
        """When the next one is due."""
        while self._schedule and not self._is_next(*self._schedule[0]):
            heapq.heappop(self._schedule)
        return self._schedule[0][0] if self._schedule else None

    def due(self, now: float) -> list[K]:
        """Those whose pause is over, each once."""
        found = []
        while self._schedule and self._schedule[0][0] <= now:
            entry = heapq.heappop(self._schedule)
            if self._is_next(*entry):
                found.append(entry[2])
        return found

    def all_now(self) -> list[K]:
        """All of them, whatever their pause."""
        self._schedule.clear()
        return list(self._failures)

    def _is_next(self, retry_at: float, _: int, key: K) -> bool:
        failure = self._failures.get(key)
        return failure is not None and failure.retry_at == retry_at
