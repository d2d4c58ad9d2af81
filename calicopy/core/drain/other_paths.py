"""Which of the prefixes that this node announces others announce too: what a drain waits for."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from calicopy.bgp.communities import GRACEFUL_SHUTDOWN
from calicopy.core.exports import Exports
from calicopy.net import Family, Packed, Prefix
from calicopy.rib import ImportReason, Path, PeerInfo, Rib

LOOK_S = 0.25  # between two looks at what had no other path
LOOK_SLICE = 300  # prefixes a step: some milliseconds
_BACK_TO_US = (ImportReason.AS_LOOP, ImportReason.ORIGINATOR_LOOP, ImportReason.NEXT_HOP_SELF)


class _Pass:
    """One walk over prefixes: those that had no other path, by family, and how many of them are shared."""

    def __init__(self, sources: Iterable[tuple[Family, list[Packed]]]) -> None:
        self.sources = deque(sources)  # what is not looked at yet; the lists are used up
        self.alone: dict[Family, dict[Packed, None]] = {family: {} for family in Family}
        self.shared = 0

    @property
    def count(self) -> int:
        return sum(map(len, self.alone.values()))


class OtherPaths:
    """Looks through all that is announced, in slices, and again at what had no other path.

    `waiting`: the shared prefixes without another path, as the last whole pass found.
    """

    def __init__(self, exports: Exports, rib: Rib) -> None:
        self._exports = exports
        self._rib = rib
        self._last: _Pass | None = None
        self._now = _Pass(())
        self.next_at = 0.0
        self.waiting = 0

    def begin(self, now: float) -> None:
        """Look at everything that is announced now."""
        own: dict[Family, list[Packed]] = {}
        for prefix in self._exports.prefixes:
            own.setdefault(prefix.family, []).append(prefix.packed)
        self._last, self._now = None, _Pass((*own.items(), *self._exports.announced_learned()))
        self.next_at, self.waiting = now, 0

    def look(self, now: float) -> bool:
        """Look at a slice, when it is time; whether a pass is complete, and `waiting` says how it is now."""
        if now < self.next_at:
            return False
        room, sources = LOOK_SLICE, self._now.sources
        while sources and room > 0:
            family, prefixes = sources[0]
            taken, prefixes[-room:] = prefixes[-room:], []
            for packed in taken:
                self._look_at(family, packed)
            room -= len(taken)
            if not prefixes:
                sources.popleft()
        if sources:
            return False
        done = self._last = self._now
        self.waiting, self.next_at = done.shared, now + LOOK_S
        self._now = _Pass((family, list(alone)) for family, alone in done.alone.items() if alone)
        return True

    def _look_at(self, family: Family, packed: Packed) -> None:
        alone = self._now.alone[family]
        if packed in alone:
            return  # it is in several update groups
        own = self._is_own(family, packed)
        if not self._has_another(family, packed, own=own):
            alone[packed] = None
            self._now.shared += not own

    def _is_own(self, family: Family, packed: Packed) -> bool:
        return Prefix(family, packed) in self._exports.prefixes

    def without(self, most: int) -> tuple[int, tuple[Prefix, ...]]:
        """How many prefixes have no other path, and some of them: our own first."""
        found = self._now if self._last is None else self._last
        own = sorted(prefix for prefix in self._exports.prefixes if prefix.packed in found.alone[prefix.family])
        learned = (
            Prefix(family, packed)
            for family, alone in found.alone.items()
            for packed in alone
            if not self._is_own(family, packed)
        )
        return found.count, (*own, *islice(learned, max(0, most - len(own))))[:most]

    def _has_another(self, family: Family, packed: Packed, *, own: bool) -> bool:
        """Whether others hear of it without us. Of what was learned one path is the one that we pass on, unless a
        reflector of the file sent it, which tells its clients itself.
        """
        peers = {path.peer.key: path.peer for path in self._rib.live_paths(family, packed) if self._counts(path)}
        return len(peers) > (0 if own else 1) or any(map(_is_reflector, peers.values()))

    def _counts(self, path: Path) -> bool:
        ours = path.refused in _BACK_TO_US or path.owner == self._rib.context.router_id
        return not (ours or GRACEFUL_SHUTDOWN in path.attributes.communities)


def _is_reflector(peer: PeerInfo) -> bool:
    """Whether it is a reflector beside us: of two nodes with an internal session that is not of the mesh, one is."""
    return peer.ibgp and peer.node is not None and not peer.mesh and not peer.client
