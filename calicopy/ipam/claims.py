"""Which blocks this node wants, and which ones it may have.

A claim lives in memory until it is confirmed: a pending one that is lost with the process is simply made again.
"""
from __future__ import annotations

from calicopy.ipam.assignment import TakenBlocks, candidates
from calicopy.ipam.model import PendingClaim, PendingReason, PoolSpec, PoolUse
from calicopy.ipam.records import BlockRecord
from calicopy.ipam.state import State
from calicopy.net import Family, Prefix


def _spoken_for(state: State, pool: PoolSpec) -> TakenBlocks:
    """The blocks that this node may not choose, but for the first blocks of other nodes."""
    taken = TakenBlocks(pool, (*state.ledger.blocks, *state.pending, *state.cluster.pins))
    taken.add_packed(state.ledger.reservations[pool.family])
    return taken


def choose(state: State, pool: PoolSpec) -> Prefix | None:
    """The best block of the pool that is free for this node; None when there is none."""
    cluster = state.cluster
    dealt = cluster.dealt(pool)
    taken = _spoken_for(state, pool)
    for name, index in dealt.items():
        if name != cluster.me.name:
            taken.add(index)
    if taken.full:
        return None
    order = candidates(cluster.me.name, cluster.position, len(cluster.nodes), pool, dealt)
    return pool.block_at(next(index for index in order if index not in taken))


def claim(state: State, pool: PoolSpec, reason: PendingReason | None = None) -> bool:
    """Claim a block of the pool, pending; False when none is left."""
    block = choose(state, pool)
    if block is None:
        return False
    first = not state.ledger.blocks
    reason = reason or (PendingReason.FIRST_CLAIM if first else PendingReason.FURTHER_CLAIM)
    state.pending[block] = PendingClaim(block, pool.name, first, reason)
    return True


def save(state: State, block: Prefix, pool: str) -> None:
    """Make a block ours for good (once the change is committed)."""
    state.pending.pop(block, None)
    state.ledger.put_block(block, BlockRecord(block, pool, state.ledger.tick()))


def settle_pending(state: State) -> None:
    """Move each claim whose block turned out to be another node's; drop those that the file no longer allows."""
    reserved = state.ledger.reservations
    for block, waiting in list(state.pending.items()):
        pool = state.cluster.pool(waiting.pool)
        selected = pool is not None and pool.selects(state.cluster.me.name) and pool.block_length == block.length
        fits = selected and pool is not None and block in pool.cidr
        taken = (
            block.packed in reserved[block.family]
            or state.cluster.pinned_to(block) is not None
            or any(block.overlaps(own) for own in state.ledger.blocks)
        )
        if fits and not taken:
            continue
        del state.pending[block]
        if fits and pool is not None:
            claim(state, pool, PendingReason.MOVED)


def settle_wanted(state: State) -> None:
    """Claim in each pool whose last block is full, and in each family in which nothing is free."""
    for family in Family:
        pools = state.cluster.selected_pools(family)
        ready = [_ready(state, pool) for pool in pools]  # each pool gets its chance to grow, also after the first yes
        if not any(ready):
            any(claim(state, pool) for pool in pools)


def _ready(state: State, pool: PoolSpec) -> bool:
    """Whether the pool has a free address or a claim that waits, perhaps one made here since its blocks are full."""
    if any(waiting.pool == pool.name for waiting in state.pending.values()):
        return True
    blocks = list(state.usable(pool.family, pool.name))
    if any(state.free(record.prefix) for record in blocks):
        return True
    return bool(blocks) and claim(state, pool)


def pool_use(state: State, pool: PoolSpec) -> PoolUse:
    """How the pool's blocks are spoken for."""
    cluster = state.cluster
    taken = TakenBlocks(pool, (*state.ledger.blocks, *state.pending, *cluster.own_pins()))
    counts = [taken.count]
    for block, node in cluster.pins.items():
        if node is not cluster.me:
            taken.add_block(block)
    counts.append(taken.count)
    taken.add_packed(state.ledger.reservations[pool.family])
    counts.append(taken.count)
    for name, index in cluster.dealt(pool).items():
        if name != cluster.me.name:
            taken.add(index)
    own, pinned, reserved, first = counts[0], counts[1], counts[2], taken.count
    return PoolUse(pool.name, pool.cidr, pool.blocks, own, pinned - own, reserved - pinned, first - reserved)
