"""The cluster file as IPAM reads it, and the one rule for a block that two nodes own."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from calicopy.ipam.assignment import first_blocks
from calicopy.ipam.model import ConflictRule, NodeSpec, PoolSpec
from calicopy.net import Family, Packed, Prefix


class Cluster:
    """Nodes and pools, in the file's order, as seen by the node `me`. Raises ValueError when `me` is not among them."""

    def __init__(self, me: str, nodes: Sequence[NodeSpec], pools: Sequence[PoolSpec]) -> None:
        self.nodes = tuple(nodes)
        self.pools = tuple(pools)
        self.by_name: Mapping[str, NodeSpec] = {node.name: node for node in nodes}
        self.by_router_id: Mapping[int, NodeSpec] = {node.router_id: node for node in nodes}
        if me not in self.by_name:
            raise ValueError(f"node {me!r} is not in the cluster file")
        self.me = self.by_name[me]
        self.position = self.nodes.index(self.me)
        self.pins: dict[Prefix, NodeSpec] = {}
        for node in nodes:
            for block in node.pinned:
                self.pins.setdefault(block, node)
        self._pin_lengths = {block.length for block in self.pins}
        self._dealt: dict[str, dict[str, int]] = {}
        self._block_ranges: dict[tuple[Family, int], list[tuple[int, int]]] = {}
        for pool in pools:  # per family and block length: (bits after the pool's length, the pool's own bits)
            shift = pool.family.bits - pool.cidr.length
            ranges = self._block_ranges.setdefault((pool.family, pool.block_length), [])
            ranges.append((shift, pool.cidr.first >> shift))

    def dealt(self, pool: PoolSpec) -> Mapping[str, int]:
        """The joint assignment of the pool's first blocks: node name -> index."""
        if pool.name not in self._dealt:
            self._dealt[pool.name] = first_blocks(self.nodes, pool)
        return self._dealt[pool.name]

    def pool(self, name: str) -> PoolSpec | None:
        """The pool of that name."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def pool_of(self, prefix: Prefix) -> PoolSpec | None:
        """The pool that the prefix lies in."""
        return next((pool for pool in self.pools if prefix in pool.cidr), None)

    def is_block(self, family: Family, packed: Packed) -> bool:
        """Whether it is a block of a pool: inside, and with the pool's block length."""
        ranges = self._block_ranges.get((family, packed[0]))
        if ranges is None:
            return False
        first = int.from_bytes(packed[1:].ljust(family.octets, b"\0"), "big")
        return any(first >> shift == base for shift, base in ranges)

    def selected_pools(self, family: Family) -> tuple[PoolSpec, ...]:
        """The pools of the family that this node may claim from, in the file's order."""
        return tuple(pool for pool in self.pools if pool.family is family and pool.selects(self.me.name))

    def own_pins(self) -> tuple[Prefix, ...]:
        """The blocks pinned to this node that lie in a pool."""
        return tuple(block for block, node in self.pins.items() if node is self.me and self.pool_of(block) is not None)

    def pinned_to(self, block: Prefix) -> NodeSpec | None:
        """The node that the block, or one that overlaps it, is pinned to."""
        exact = self.pins.get(block)
        if exact is not None or self._pin_lengths <= {block.length}:  # none of another length, so none that overlaps
            return exact
        return next((node for pinned, node in self.pins.items() if pinned.overlaps(block)), None)

    def winner(self, block: Prefix, one: NodeSpec, other: NodeSpec) -> tuple[NodeSpec, ConflictRule]:
        """Who keeps a block that both own: the node it is pinned to, else the one with the lower router id."""
        pinned = self.pinned_to(block)
        if pinned is one or pinned is other:
            assert pinned is not None
            return pinned, ConflictRule.PINNED
        return min(one, other, key=lambda node: node.router_id), ConflictRule.ROUTER_ID
