"""The whole state of IPAM in one place, for the modules that work on it."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from calicopy.ipam.cluster import Cluster
from calicopy.ipam.ledger import Ledger
from calicopy.ipam.model import BlockState, PendingClaim
from calicopy.ipam.records import BlockRecord
from calicopy.net import Family, Packed, Prefix


@dataclass(slots=True)
class State:
    """What is known: the file, the tables, the claims that wait, and what other nodes announce of ours."""

    cluster: Cluster
    ledger: Ledger
    pending: dict[Prefix, PendingClaim] = field(default_factory=dict)
    rivals: dict[Prefix, dict[str, Prefix]] = field(default_factory=dict)
    """Own block -> name of a node that announces it or one that overlaps it -> what it announces."""
    remote: dict[Family, Mapping[Packed, int]] = field(default_factory=lambda: {family: {} for family in Family})
    """Host prefix -> router id of the other node that announces it. Set it by `set_remote`."""
    _held: dict[Prefix, dict[int, int]] = field(default_factory=dict)

    def block_state(self, record: BlockRecord) -> BlockState:
        """Where a stored block stands, by the file of today."""
        if record.rival is not None:
            return BlockState.LOST
        if self.cluster.pins.get(record.prefix) is self.cluster.me:
            return BlockState.CONFIRMED
        pool = self.cluster.pool_of(record.prefix)
        if pool is None or not pool.selects(self.cluster.me.name) or pool.block_length != record.prefix.length:
            return BlockState.RETIRING
        return BlockState.CONFIRMED

    def usable(self, family: Family, pool: str | None = None) -> Iterator[BlockRecord]:
        """The blocks that addresses may be given out from, oldest first."""
        for record in sorted(self.ledger.blocks.values(), key=lambda record: record.claimed_at):
            if record.prefix.family is not family or self.block_state(record) is not BlockState.CONFIRMED:
                continue
            if pool is None or self.pool_name(record) == pool:
                yield record

    def pool_name(self, record: BlockRecord) -> str:
        """The name of the block's pool in today's file, else the one it was claimed from."""
        pool = self.cluster.pool_of(record.prefix)
        return record.pool if pool is None else pool.name

    def set_remote(self, family: Family, routes: Mapping[Packed, int]) -> None:
        """Replace the host prefixes of a family that other nodes announce."""
        self.remote[family] = routes
        self._held.clear()

    def held_elsewhere(self, block: Prefix) -> Mapping[int, int]:
        """Ordinals of the block's addresses that other nodes announce one by one -> router id."""
        if block not in self._held:
            first, me = block.first, self.cluster.me.router_id
            rows = ((int.from_bytes(host[1:], "big") - first, who) for host, who in self.remote[block.family].items())
            self._held[block] = {ordinal: who for ordinal, who in rows if 0 <= ordinal < block.size and who != me}
        return self._held[block]

    def free(self, block: Prefix) -> int:
        """How many addresses of the block may be given out."""
        used = self.ledger.use(block).used
        return block.size - len(used) - sum(1 for ordinal in self.held_elsewhere(block) if ordinal not in used)
