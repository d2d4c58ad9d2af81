"""What the decision makes of a set of paths: the set, and its outcome at each place, one object each for all prefixes
that have them (see `table`).
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from calicopy.policy import PrefixClass
from calicopy.rib.model import Path, Selection
from calicopy.rib.places import Place
from calicopy.rib.reasons import DecisionStep, ImportReason
from calicopy.rib.routes import OutRoutes


class Outcome:
    """What became of one set of paths at one place. `uses` counts the prefixes that it stands for.

    `owner` is that of a block (None for a host prefix), where a node of the cluster file was accepted as such; `unheld`
    says that the block is not held by that owner (yet). `exports` is for those who announce: what the exporter
    of an update group, by a weak reference to it, made of it for a class of prefixes.
    """

    __slots__ = ("conflicts", "exports", "foreign_host", "losing", "owner", "rejected", "selection", "unheld", "uses")

    def __init__(
        self, selection: Selection | None, *, losing: tuple[tuple[Path, DecisionStep], ...],
        rejected: tuple[tuple[Path, ImportReason], ...], owner: int | None, conflicts: tuple[int, ...],
        foreign_host: bool, unheld: bool,
    ) -> None:  # fmt: skip
        self.selection = selection
        self.losing = losing
        self.rejected = rejected
        self.owner = owner
        self.conflicts = conflicts
        self.foreign_host = foreign_host
        self.unheld = unheld
        self.exports: dict[tuple[Callable[[], object], PrefixClass], OutRoutes | None] = {}
        self.uses = 0


class Candidates:
    """The paths of a prefix, in a fixed order, and the outcomes found for them so far."""

    __slots__ = ("outcomes", "paths", "uses")

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        self.outcomes: dict[Place, Outcome] = {}
        self.uses = 0


def counted(outcomes: list[Outcome | None]) -> Mapping[Outcome | None, int]:
    """How often each is in the list, which is not empty; mostly they are all the same."""
    first, size = outcomes[0], len(outcomes)
    return {first: size} if outcomes.count(first) == size else Counter(outcomes)


def is_seen(old: Outcome | None, new: Outcome | None) -> bool:
    """Whether the owner of a block is to be told: another than before, or one that does not hold the block (yet)."""
    if new is None or new.owner is None:
        return False
    return old is None or old.owner != new.owner or new.unheld
