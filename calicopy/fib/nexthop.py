"""One nexthop object that is wanted, and which id it gets.

An id follows from what the object stands for, where that is free: so an agent that starts finds its objects of before.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from zlib import crc32

from calicopy.fib.resolution import NextHopKey
from calicopy.fib.types import NEXT_HOP_IDS, Hop, RouteTarget
from calicopy.net import Family
from calicopy.seam.bfd import BfdTable


@dataclass(slots=True, eq=False)
class NextHop:
    """A wanted object. A single one has one key, and a hop while there is a way; a group has `members` instead."""

    keys: tuple[NextHopKey, ...]
    id: int
    target: RouteTarget
    hop: Hop | None = None
    members: tuple[NextHop, ...] = ()
    groups: list[NextHop] = field(default_factory=list)

    @property
    def family(self) -> Family:
        """That of the routes that lead to it."""
        return self.keys[0].family


def likely_id(keys: Iterable[NextHopKey]) -> int:
    """The id that an object for these keys has when nothing stands in the way."""
    text = repr([(key.family.value, *key.order()) for key in keys])
    return NEXT_HOP_IDS[crc32(text.encode()) % len(NEXT_HOP_IDS)]


def free_id(likely: int, is_free: Callable[[int], bool]) -> int | None:
    """The first free id from there on; None when all are taken."""
    first = NEXT_HOP_IDS.index(likely)
    turns = (NEXT_HOP_IDS[(first + turn) % len(NEXT_HOP_IDS)] for turn in range(len(NEXT_HOP_IDS)))
    return next((turn for turn in turns if is_free(turn)), None)


def table_of(wanted: Iterable[NextHop]) -> BfdTable:
    """What leads to which next hop: single objects, and the groups with all that are meant to be their members."""
    table = BfdTable(objects := {}, groups := {})
    for one in wanted:
        if one.members:
            groups[one.id] = one.family, tuple(member.id for member in one.members)
        else:
            objects[one.id] = one.family, one.keys[0].next_hop
    return table
