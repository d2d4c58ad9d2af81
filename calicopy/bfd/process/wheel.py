"""A timer wheel: when which session wants to be asked next.

Theory of operation: a slot for each step of time, a list in each. What is in a slot is never taken out before its step
has come: when it has been put somewhere else meanwhile, it is passed over then. So putting is all that a timer costs.
"""
from __future__ import annotations

from collections.abc import Iterator

STEP_S = 0.001
SLOTS = 1024  # what is due later than they reach is given once in a round
NEVER = -1


class Timed:
    """What can be in a wheel. `due_step` is the wheel's own."""

    __slots__ = ("due_step",)

    def __init__(self) -> None:
        self.due_step = NEVER


class Wheel:
    """Times are seconds of one clock that does not go back."""

    __slots__ = ("_next", "_slots")

    def __init__(self, now: float) -> None:
        self._slots: list[list[tuple[int, Timed]]] = [[] for _ in range(SLOTS)]
        self._next = int(now / STEP_S)  # the step to look at next

    def put(self, one: Timed, due: float) -> None:
        """Give it at `due`, at most a step late (perhaps earlier when that is far); what was said before is void."""
        first = self._next
        last = first + SLOTS - 1
        # Times may be infinite.
        step = first if due <= first * STEP_S else last if due >= last * STEP_S else int(due / STEP_S) + 1
        if step != one.due_step:
            one.due_step = step
            self._slots[step % SLOTS].append((step, one))

    def drop(self, one: Timed) -> None:
        """It is not given any more, until it is put again."""
        one.due_step = NEVER

    def due(self, now: float) -> Iterator[Timed]:
        """What is due at `now`. To be put again by the caller, also while this goes on."""
        end = int(now / STEP_S)
        if end - self._next >= SLOTS:  # this process was stopped: once around is all there is
            self._next = end - SLOTS + 1
        first, self._next = self._next, max(self._next, end + 1)  # what is put from here on comes in the next round
        for number in range(first, end + 1):
            slot = self._slots[number % SLOTS]
            if slot:
                self._slots[number % SLOTS] = []
                for step, one in slot:
                    if one.due_step == step:
                        one.due_step = NEVER
                        yield one

    def next_due(self) -> float:
        """When to come back, at the latest: the next slot in which something is."""
        first = self._next
        for step in range(first, first + SLOTS):
            if self._slots[step % SLOTS]:
                return step * STEP_S
        return (first + SLOTS) * STEP_S
