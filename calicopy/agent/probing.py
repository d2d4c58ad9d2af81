"""When to ask which tunnel address, and what it says that it answers or not: no I/O, `now` is monotonic seconds.

Theory of operation: each address has one request under way at most, and one moment at which something happens to it:
the next request, or the end of the wait for an answer. While it answers it is asked every INTERVAL_S; from the first
loss on, until three answers came in a row, soon again. Of the last three outcomes two losses mean that it does not
answer. Whoever looks has all asked at once, so that what is shown is of now.
"""
from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from calicopy.net import IPAddress

INTERVAL_S = 10.0
AGAIN_S = 1.0
WAIT_S = 1.0
SPREAD_S = 0.002  # for each address, when many are asked for the first time
LAST = 3
LOST = 2
_JITTER = (0.75, 1.0)


@dataclass(slots=True)
class _Target:
    at: float
    waiting: bool = False
    sent_at: float = 0.0
    number: int = 0
    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST))

    @property
    def verdict(self) -> bool | None:
        """Whether it answers, None: not known yet."""
        if self.outcomes.count(False) >= LOST:
            return False
        return True if True in self.outcomes else None


class Prober:
    """The addresses to ask. `round_trips`: of the last answers, in seconds. `changed`: verdicts are others than when it
    was last set to False.
    """

    def __init__(self, *, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - jitter, no secret
        self._targets: dict[IPAddress, _Target] = {}
        self._heap: list[tuple[float, int, IPAddress]] = []
        self.round_trips: dict[IPAddress, float] = {}
        self.changed = False

    def set_targets(self, addresses: Collection[IPAddress], now: float) -> None:
        """The whole set. New ones are asked at once, many of them one after the other."""
        for gone in self._targets.keys() - set(addresses):
            del self._targets[gone]
            self.round_trips.pop(gone, None)
            self.changed = True
        fresh = [address for address in addresses if address not in self._targets]
        for place, address in enumerate(fresh):
            target = self._targets[address] = _Target(now)
            self._plan(address, target, now + place * SPREAD_S)

    def hurry(self, now: float) -> None:
        """Somebody wants to know: ask now what was last asked AGAIN_S ago or longer."""
        for place, (address, target) in enumerate(self._targets.items()):
            at = now + place * SPREAD_S
            if not target.waiting and at < target.at and now - target.sent_at >= AGAIN_S:
                self._plan(address, target, at)

    def due(self, now: float) -> list[tuple[IPAddress, int]]:
        """The addresses to ask now, each with the number of the request. Those that did not answer in time lost it."""
        asked = []
        while (at := self.deadline()) is not None and at <= now:
            address = heapq.heappop(self._heap)[2]
            target = self._targets[address]
            if target.waiting:
                self._note(address, target, answered=False, now=now)
                continue
            target.number = (target.number + 1) & 0xFFFF
            target.waiting, target.sent_at = True, now
            self._plan(address, target, now + WAIT_S)
            asked.append((address, target.number))
        return asked

    def answered(self, address: IPAddress, number: int, now: float) -> None:
        """An answer came. One that is late, or to nothing that was asked, says nothing."""
        target = self._targets.get(address)
        if target is not None and target.waiting and target.number == number:
            self.round_trips[address] = now - target.sent_at
            self._note(address, target, answered=True, now=now)

    def verdicts(self) -> dict[IPAddress, bool]:
        """Whether they answer, of those of which it is known."""
        found = ((address, target.verdict) for address, target in self._targets.items())
        return {address: verdict for address, verdict in found if verdict is not None}

    def deadline(self) -> float | None:
        """When to call `due`."""
        while self._heap:
            at, _, address = self._heap[0]
            target = self._targets.get(address)
            if target is not None and target.at == at:
                return at
            heapq.heappop(self._heap)  # planned otherwise since
        return None

    def _note(self, address: IPAddress, target: _Target, *, answered: bool, now: float) -> None:
        before, target.waiting = target.verdict, False
        target.outcomes.append(answered)
        if target.verdict is not before:
            self.changed = True
        if not answered:
            self.round_trips.pop(address, None)
        pause = INTERVAL_S if all(target.outcomes) else AGAIN_S
        settled = before is False and not answered
        self._plan(address, target, now + pause * self._random.uniform(*_JITTER) * (2 if settled else 1))

    def _plan(self, address: IPAddress, target: _Target, at: float) -> None:
        target.at = at
        heapq.heappush(self._heap, (at, int(address), address))
