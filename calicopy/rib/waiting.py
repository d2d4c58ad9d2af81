"""The prefixes of one family that wait for the decision, in the runs in which they were marked."""
from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain

from calicopy.net import Packed

SMALL = 64
"""Runs of fewer prefixes are gathered: what one run costs is then not paid for a few prefixes."""
GATHERED = 800
SLACK = 10_000
"""How many may wait beyond twice the number that there are, before each is named once again."""


class Waiting:
    """A queue. A prefix may stand in several runs: it is decided each time, by what is known then.

    A peer that changes its mind faster than we decide fills no memory: when more are named than twice the prefixes that
    there are, each is kept once.
    """

    def __init__(self) -> None:
        self._runs: deque[tuple[Sequence[Packed], bool]] = deque()
        self._at = 0  # how many of the first run are taken already
        self._gathering: list[Packed] | None = None  # the last run, where it is one of small ones
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def add(self, prefixes: Sequence[Packed], *, there_are: int) -> None:
        """`prefixes`, each named once, wait from now on. `there_are`: how many prefixes are known."""
        if not prefixes:
            return
        if len(prefixes) >= SMALL:
            self._runs.append((prefixes, True))
            self._gathering = None
        elif self._gathering is not None and len(self._gathering) < GATHERED:
            self._gathering += prefixes
        else:
            self._gathering = list(prefixes)
            self._runs.append((self._gathering, False))
        self._count += len(prefixes)
        if self._count > 2 * there_are + SLACK:
            self._name_once()

    def _name_once(self) -> None:
        first = self._runs[0]
        self._runs[0] = (first[0][self._at :], first[1])
        distinct = list(dict.fromkeys(chain.from_iterable(run for run, _ in self._runs)))
        self._runs, self._gathering, self._at = deque([(distinct, True)]), None, 0
        self._count = len(distinct)

    def take(self, limit: int) -> tuple[Sequence[Packed], bool]:
        """Up to `limit` (at least 1) of the first run, and whether each is named once in it. Not when none waits."""
        run, once = self._runs[0]
        stop = self._at + limit
        part = run[self._at : stop] if self._at or stop < len(run) else run
        if stop >= len(run):
            self._runs.popleft()
            self._at = 0
            if run is self._gathering:
                self._gathering = None
        else:
            self._at = stop
        self._count -= len(part)
        return part, once
