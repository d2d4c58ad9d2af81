"""Which of the prefixes that this node announces others announce too: what a drain waits for."""
from __future__ import annotations

from collections import deque

from calicopy.bgp.communities import GRACEFUL_SHUTDOWN
from calicopy.core.exports import Exports
from calicopy.net import Family, Packed, Prefix
from calicopy.rib import ImportReason, PathView, Rib

LOOK_S = 0.25  # between two looks at what had no other path
LOOK_SLICE = 500  # prefixes a step: some milliseconds
_BACK_TO_US = (ImportReason.AS_LOOP, ImportReason.ORIGINATOR_LOOP, ImportReason.NEXT_HOP_SELF)


class OtherPaths:
    """Looks through all that is announced, in slices, and again at what had no other path.

    `announced` counts all of it, `waiting` the shared prefixes without another path in the last whole pass.
    """

    def __init__(self, exports: Exports, rib: Rib) -> None:
        self._exports = exports
        self._rib = rib
        self._todo: deque[tuple[Family, Packed]] = deque()
        self._open: list[tuple[Family, Packed]] = []
        self._counting = 0
        self.next_at = 0.0
        self.announced = 0
        self.waiting = 0

    def begin(self, now: float) -> None:
        """Look at everything that is announced now."""
        own = [(prefix.family, prefix.packed) for prefix in self._exports.prefixes]
        self._todo = deque((*own, *self._exports.announced_learned()))
        self.announced = len(self._todo)
        self._open, self._counting, self.next_at = [], 0, now

    def look(self, now: float) -> bool:
        """Look at a slice, when it is time; whether a pass is complete, and `waiting` says how it is now."""
        if now < self.next_at:
            return False
        for _ in range(min(LOOK_SLICE, len(self._todo))):
            key = self._todo.popleft()
            own = Prefix(*key) in self._exports.prefixes
            others = self._others(*key)
            if len(others) < (1 if own else 2):  # of what was learned, one is where we have it from
                self._open.append(key)
                self._counting += not own
        if self._todo:
            return False
        self.waiting, self._counting = self._counting, 0
        self._todo, self._open = deque(self._open), []
        self.next_at = now + LOOK_S
        return True

    @property
    def without(self) -> tuple[Prefix, ...]:
        """The prefixes, our own among them, for which no other path was found."""
        return tuple(sorted(Prefix(*key) for key in {*self._open, *self._todo}))

    def _others(self, family: Family, packed: Packed) -> set[str]:
        """The peers that have a path of their own to it."""
        views = self._rib.lookup(family, packed)
        return {view.path.peer.key for view in views if self._counts(view)}

    def _counts(self, view: PathView) -> bool:
        path = view.path
        ours = path.refused in _BACK_TO_US or path.owner == self._rib.context.router_id
        return not (ours or view.stale or GRACEFUL_SHUTDOWN in path.attributes.communities)
