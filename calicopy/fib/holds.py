"""Which nexthop objects the BFD process keeps out of use, and which of those holds still count.

Theory of operation: the kernel has the mark (`HELD_PROTOCOL`), so an agent that starts knows of holds before BFD says a
word. A held object is left alone, whatever is wanted of it, until its next hop is dead (then the same blackhole of our
own takes its place), or until the hold is let go of.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from calicopy.fib.types import NextHopChange, NextHopObject


class Holds:
    """The holds among the objects in `actual`, which the caller keeps up to date."""

    def __init__(self, actual: Mapping[int, NextHopObject]) -> None:
        self._actual = actual
        self._seen: set[int] = set()  # all that are held, and perhaps some that were
        self._let_go: set[int] = set()

    def __iter__(self) -> Iterator[int]:
        """The ids that are held, and that nobody has let go of."""
        return (number for number in self._seen if number in self)

    def __contains__(self, number: int) -> bool:
        held = self._actual.get(number)
        return held is not None and held.held and number not in self._let_go

    def note(self, number: int) -> None:
        """What is known of this object is another."""
        held = self._actual.get(number)
        if held is not None and held.held:
            self._seen.add(number)
        elif self._seen:
            self._seen.discard(number)
            self._let_go.discard(number)

    def let_go(self) -> list[int]:
        """The holds there are count no more; gives the ids. One that comes later counts."""
        ids = list(self)
        self._let_go.update(ids)
        return ids


def unexpected(
    changes: Mapping[int, NextHopObject | None], actual: Mapping[int, NextHopObject]
) -> list[int]:
    """The ids of objects that were there otherwise. What BFD holds, and what it therefore took out of a group, is as it
    should be.
    """
    found = []
    for number, now in changes.items():
        before = actual.get(number)
        if before is None or before == now or (now is not None and now.held):
            continue
        if now is not None and now.members and _left_by_held(before, now, _held(changes, actual)):
            continue
        found.append(number)
    return found


def _held(changes: Mapping[int, NextHopObject | None], actual: Mapping[int, NextHopObject]) -> set[int]:
    known: Iterable[NextHopObject | None] = (*actual.values(), *changes.values())
    return {one.id for one in known if one is not None and one.held}


def _left_by_held(before: NextHopObject, now: NextHopObject, held: Collection[int]) -> bool:
    lost = set(before.members) - set(now.members)
    return set(now.members) <= set(before.members) and all(number in held for number, _ in lost)


def crossed(changes: Mapping[int, NextHopObject | None], in_flight: Mapping[int, NextHopChange]) -> set[int]:
    """The ids in flight that were seen held meanwhile: which of the two came last is not known."""
    held = {number for number, now in changes.items() if now is not None and now.held}
    return {number for number, change in in_flight.items() if number in held and not change.over_hold}
