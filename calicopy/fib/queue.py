"""What waits to be written, in the runs in which it came."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain, repeat
from typing import TypeVar

from calicopy.fib.types import RouteOp, RouteTarget
from calicopy.net import Packed

Run = tuple[list[Packed], RouteOp | None, RouteTarget | None]
"""Prefixes, and what each of them needs; None where that has to be found for each."""
V = TypeVar("V")
SLACK = 10_000
"""How many may wait beyond twice the number that there are, before each is named once again."""


class Queue:
    """Runs of prefixes. One may stand in several runs; whether it is to be written shows when it is taken."""

    def __init__(self) -> None:
        self._runs: deque[Run] = deque()
        self._at = 0  # how many of the first run are taken
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def add(self, prefixes: list[Packed], op: RouteOp | None, target: RouteTarget | None, *, there_are: int) -> None:
        """These wait from now on; the list must not be changed afterwards. `there_are`: how many prefixes are known.

        A peer that changes its mind faster than the kernel takes it fills no memory: when more are named than twice the
        prefixes that there are, each is kept once.
        """
        self._runs.append((prefixes, op, target))
        self._count += len(prefixes)
        if self._count > 2 * there_are + SLACK:
            distinct = self.distinct()
            self._runs, self._at, self._count = deque([(list(distinct), None, None)]), 0, len(distinct)

    def take(self, limit: int) -> Run:
        """Up to `limit` (at least 1) of the first run. Not when none waits."""
        run, op, target = self._runs[0]
        stop = self._at + limit
        part = run[self._at : stop] if self._at or stop < len(run) else run
        if stop >= len(run):
            self._runs.popleft()
            self._at = 0
        else:
            self._at = stop
        self._count -= len(part)
        return part, op, target

    def distinct(self) -> dict[Packed, None]:
        """All prefixes that wait, each once."""
        if not self._runs:
            return {}
        first = self._runs[0][0][self._at :]
        rest = (run for number, (run, _, _) in enumerate(self._runs) if number)
        return dict.fromkeys(chain(first, *rest))


def drop(table: dict[Packed, V], prefixes: Iterable[Packed]) -> None:
    """Take prefixes out of a table that may not have all of them, without a step of Python for each."""
    deque(map(table.pop, prefixes, repeat(None)), maxlen=0)
