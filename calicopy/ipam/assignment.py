"""Which block is whose before anybody has talked: the joint assignment, and the order of further choices.

Theory of operation: every function here depends on the cluster file alone, and so gives one result on every node.

First blocks. Each pool deals one first block to each node that it selects, in the order of the file. A node's first
choice is `(number XOR hash of the rest of its name) mod blocks`, where the number is the last run of digits in the
name: nodes that are numbered in one series within the pool's count of blocks never want the same block. Who finds
his choice taken walks on through all blocks, by start and odd stride from the hash of his whole name (the count of
blocks is a power of two, so an odd stride visits each once). Blocks pinned to a node are taken out before the deal,
and a node with a pinned block in the pool takes no part in it.

So two nodes never get one block, and a node that is appended to the file moves nobody. No rule can promise that for
every other place: if adding a node never moved another, a node's block would depend on its own name only, and names
outnumber blocks. Here a newcomer in the middle moves only a node further down that wanted just its block, and that
only on a node whose block is neither stored nor pinned. docs/ipam.md says so to the operator.

Further blocks. Node k of n (in the file's order) prefers the blocks k, k + n, k + 2n ... of the pool, starting from a
hashed place; then any other. Nodes that grow at the same moment thus choose different blocks as long as their own
share lasts. First blocks of other nodes are never chosen.
"""
from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from calicopy.ipam.model import NodeSpec, PoolSpec
from calicopy.net import Packed, Prefix

_LAST_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$", re.DOTALL)


def stable_hash(*parts: str) -> int:
    """A 128-bit hash of the parts (and of where one ends and the next begins), equal on every machine."""
    digest = hashlib.blake2b(digest_size=16, person=b"calicopy-ipam")
    for part in parts:
        octets = part.encode()
        digest.update(len(octets).to_bytes(4, "big") + octets)
    return int.from_bytes(digest.digest(), "big")


def first_choice(node: str, pool: PoolSpec) -> int:
    """The index of the block that the node wants first in the pool."""
    match = _LAST_NUMBER.match(node)
    stem, number = (f"{match[1]}#{match[3]}", int(match[2])) if match else (node, 0)
    return (number ^ stable_hash("first", str(pool.cidr), stem)) % pool.blocks


def walk(node: str, pool: PoolSpec) -> Iterator[int]:
    """The indexes of all blocks of the pool, each once, in the node's own order."""
    seed = stable_hash("walk", str(pool.cidr), node)
    index, stride = seed >> 64, seed | 1
    for _ in range(pool.blocks):
        index = (index + stride) % pool.blocks
        yield index


def first_blocks(nodes: Sequence[NodeSpec], pool: PoolSpec) -> dict[str, int]:
    """The joint assignment: node name -> index of its first block in the pool.

    Nodes that the pool does not select, that have a pinned block in it, or for which no block is left, are absent.
    """
    pinned = {node.name for node in nodes if any(block in pool.cidr for block in node.pinned)}
    taken = TakenBlocks(pool, (block for node in nodes for block in node.pinned))
    dealt: dict[str, int] = {}
    for node in nodes:
        if node.name in pinned or not pool.selects(node.name):
            continue
        index = first_choice(node.name, pool)
        if index in taken:
            if taken.full:
                continue
            index = next(candidate for candidate in walk(node.name, pool) if candidate not in taken)
        taken.add(index)
        dealt[node.name] = index
    return dealt


def candidates(node: str, position: int, count: int, pool: PoolSpec, dealt: Mapping[str, int]) -> Iterator[int]:
    """The indexes that the node tries, best first: its first block, its share of the pool, then all blocks.

    `position` is its place among the `count` nodes of the file. Indexes come more than once; the caller takes the
    first that is free.
    """
    if node in dealt:
        yield dealt[node]
    share = max(0, (pool.blocks - position + count - 1) // count)
    start = stable_hash("share", str(pool.cidr), node) % share if share else 0
    for step in range(share):
        yield position + count * ((start + step) % share)
    yield from walk(node, pool)


class TakenBlocks(Container[int]):
    """The indexes of a pool that some blocks, of any length, lie on."""

    def __init__(self, pool: PoolSpec, blocks: Iterable[Prefix] = ()) -> None:
        self._pool = pool
        self._indexes: set[int] = set()
        self._spans: set[tuple[int, int]] = set()
        for block in blocks:
            self.add_block(block)

    def add(self, index: int) -> None:
        """Take one index."""
        self._indexes.add(index)

    def add_block(self, block: Prefix) -> None:
        """Take what the block lies on; a block outside the pool takes nothing."""
        pool = self._pool
        if block in pool.cidr:
            index = pool.index_of(block)
            if block.length >= pool.block_length:
                self._indexes.add(index)
            else:
                self._spans.add((index, index + (1 << (pool.block_length - block.length))))
        elif pool.cidr in block:
            self._spans.add((0, pool.blocks))

    def add_packed(self, blocks: Iterable[Packed]) -> None:
        """As `add_block`, for many blocks of the pool's family at once."""
        pool, family = self._pool, self._pool.family
        shift, octets = family.bits - pool.block_length, family.octets
        base = pool.cidr.first >> shift
        for packed in blocks:
            if packed[0] != pool.block_length:
                self.add_block(Prefix(family, packed))
            elif 0 <= (index := (int.from_bytes(packed[1:].ljust(octets, b"\0"), "big") >> shift) - base) < pool.blocks:
                self._indexes.add(index)

    @property
    def full(self) -> bool:
        """Whether no index is left."""
        return self.count >= self._pool.blocks

    @property
    def count(self) -> int:
        """How many indexes are taken."""
        end = covered = 0
        for first, last in sorted(self._spans):  # spans of prefixes nest or are disjoint
            covered += max(0, last - max(first, end))
            end = max(end, last)
        return covered + sum(1 for index in self._indexes if not self._in_span(index))

    def _in_span(self, index: int) -> bool:
        return any(first <= index < last for first, last in self._spans)

    def __contains__(self, index: object) -> bool:
        return index in self._indexes or (isinstance(index, int) and self._in_span(index))
