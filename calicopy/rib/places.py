"""The import policy's half that depends on the prefix alone: which pool, block or host it is, whether it is ours, who
holds it.

Theory of operation: every prefix is put in a `Place`. Places are few and interned: all free blocks share one, all
blocks held by one node share one, and so on. What a prefix's paths are worth depends on its place and on nothing else
of the prefix, so that the outcome of one (candidates, place) pair serves every prefix that has both. `Places` owns the
tables of one family: pools as ranges of packed prefixes (those of one length sort by address, so that "inside" is a
comparison of bytes), own blocks, used addresses, holders, and which judged prefixes lie inside which block, so that a
change of the block finds them.
"""
from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

from calicopy.net import Family, Packed, pack, unpack_network
from calicopy.rib.model import Holder, PoolFacts
from calicopy.rib.reasons import ImportReason


class PlaceKind(enum.Enum):
    """What a prefix is to this node."""

    REFUSED = "refused"  # by its prefix alone
    BLOCK = "block"
    HOST = "host"  # a host prefix inside a block that is not ours
    OWN_BLOCK = "own-block"
    OWN_HOST = "own-host"  # a host prefix inside a block of ours, which no workload here uses
    USED_HOST = "used-host"  # an address that a workload here uses


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a prefix stands. Equal only to itself. `holder` is that of the block; `reason` is set when REFUSED."""

    kind: PlaceKind
    holder: Holder | None = None
    reason: ImportReason | None = None


OUTSIDE = Place(PlaceKind.REFUSED, reason=ImportReason.OUTSIDE_POOLS)
WRONG_LENGTH = Place(PlaceKind.REFUSED, reason=ImportReason.WRONG_LENGTH)
INSIDE_OURS = Place(PlaceKind.REFUSED, reason=ImportReason.OURS)
FREE_BLOCK = Place(PlaceKind.BLOCK)
FREE_HOST = Place(PlaceKind.HOST)
OWN_BLOCK = Place(PlaceKind.OWN_BLOCK)
OWN_HOST = Place(PlaceKind.OWN_HOST)
USED_HOST = Place(PlaceKind.USED_HOST)


class Places:
    """The prefixes of one family: `of` gives the place of one; the setters give those that have to be judged anew."""

    def __init__(self, family: Family, pools: Iterable[PoolFacts]) -> None:
        self._family = family
        self._bits = family.bits
        self._own: frozenset[Packed] = frozenset()
        self._used: frozenset[Packed] = frozenset()
        self._holders: dict[Packed, Holder] = {}
        self._blocks: dict[Packed, Place] = {}  # the blocks that are not free: own or held
        self._held: dict[Holder, tuple[Place, Place]] = {}  # the interned (block, host) places per holder
        self._inside: dict[Packed, set[Packed]] = {}  # block -> judged prefixes inside it
        self.set_pools(pools)

    def set_pools(self, pools: Iterable[PoolFacts]) -> None:
        """Other pools: everything has to be judged anew."""
        self._pools: list[tuple[int, int, int]] = []  # first address, length, block length
        ranges: list[tuple[Packed, Packed]] = []
        for pool in pools:
            if pool.prefix.family is not self._family:
                continue
            first, length = pool.prefix.first, pool.prefix.length
            last = first + pool.prefix.size - 1
            self._pools.append((first, length, pool.block_length))
            ranges.append((pack(first, pool.block_length, self._family), pack(last, pool.block_length, self._family)))
        ranges.sort()
        self._lows = [low for low, _ in ranges]
        self._highs = [high for _, high in ranges]
        self._inside.clear()

    def of(self, prefix: Packed) -> Place:
        """The place of a prefix; one that lies inside a block is remembered there until `forget`."""
        at = bisect_right(self._lows, prefix) - 1
        if at >= 0 and prefix <= self._highs[at]:
            if prefix[0] == self._bits and prefix in self._used:  # a pool with blocks of one address
                return USED_HOST
            return self._blocks.get(prefix, FREE_BLOCK)
        pool = self._pool(prefix)
        if pool is None:
            return OUTSIDE
        block = self._block(prefix, pool)
        if block is None:
            return WRONG_LENGTH
        self._inside.setdefault(block, set()).add(prefix)
        return self._inside_block(prefix, self._blocks.get(block, FREE_BLOCK))

    def of_run(self, prefixes: Sequence[Packed]) -> Place | None:
        """The one place of blocks of one pool; None where they are no such blocks, or differ in it."""
        if not self._are_blocks(prefixes) or (self._used and prefixes[0][0] == self._bits):
            return None
        if not self._blocks:
            return FREE_BLOCK
        found = set(map(self._blocks.get, prefixes, repeat(FREE_BLOCK)))
        return found.pop() if len(found) == 1 else None

    def _are_blocks(self, prefixes: Sequence[Packed]) -> bool:
        """Whether all are blocks of one pool; False also where it takes more than two comparisons to tell."""
        at = bisect_right(self._lows, prefixes[0]) - 1
        return at >= 0 and min(prefixes) >= self._lows[at] and max(prefixes) <= self._highs[at]

    def _inside_block(self, prefix: Packed, block: Place) -> Place:
        if prefix[0] != self._bits:
            return INSIDE_OURS if block is OWN_BLOCK else WRONG_LENGTH
        if prefix in self._used:
            return USED_HOST
        if block is OWN_BLOCK:
            return OWN_HOST
        return FREE_HOST if block.holder is None else self._held[block.holder][1]

    def _pool(self, prefix: Packed) -> tuple[int, int, int] | None:
        network, length = unpack_network(prefix, self._family)
        for pool in self._pools:
            first, pool_length, _ = pool
            shift = self._bits - pool_length
            if length >= pool_length and network >> shift == first >> shift:
                return pool
        return None

    def _block(self, prefix: Packed, pool: tuple[int, int, int]) -> Packed | None:
        """The block that a longer prefix lies in; None for a prefix that is no longer than a block."""
        block_length = pool[2]
        if prefix[0] <= block_length:
            return None
        return pack(unpack_network(prefix, self._family)[0], block_length, self._family)

    def forget(self, prefixes: Sequence[Packed]) -> None:
        """These have no paths any more."""
        if not self._inside or self._are_blocks(prefixes):
            return
        for prefix in prefixes:
            pool = self._pool(prefix)
            block = None if pool is None else self._block(prefix, pool)
            if block is not None and (inside := self._inside.get(block)) is not None:
                inside.discard(prefix)
                if not inside:
                    del self._inside[block]

    def set_own(self, blocks: Collection[Packed], used: Collection[Packed]) -> set[Packed]:
        """Our blocks, and the host prefixes that workloads here use. Gives what is to be judged anew."""
        own, used_now = frozenset(blocks), frozenset(used)
        changed = own ^ self._own
        again = set(used_now ^ self._used)
        self._own, self._used = own, used_now
        for block in changed:
            self._place_block(block, again)
        return again

    def holders(self) -> dict[Packed, Holder]:
        """Who holds which block. A dict of its own."""
        return dict(self._holders)

    def set_holders(self, changes: Mapping[Packed, Holder | None]) -> set[Packed]:
        """Who holds these blocks from now on (None: nobody). Gives what is to be judged anew."""
        again: set[Packed] = set()
        for block, holder in changes.items():
            if holder is None:
                self._holders.pop(block, None)
            else:
                self._holders[block] = holder
            self._place_block(block, again)
        return again

    def _place_block(self, block: Packed, again: set[Packed]) -> None:
        before = self._blocks.get(block)
        holder = self._holders.get(block)
        after: Place | None = None
        if block in self._own:
            after = OWN_BLOCK
        elif holder is not None:
            after = self._held_places(holder)[0]
        if before is after:
            return
        if after is None:
            del self._blocks[block]
        else:
            self._blocks[block] = after
        again.add(block)
        again.update(self._inside.get(block, ()))

    def _held_places(self, holder: Holder) -> tuple[Place, Place]:
        places = self._held.get(holder)
        if places is None:
            places = self._held[holder] = (Place(PlaceKind.BLOCK, holder), Place(PlaceKind.HOST, holder))
        return places
