"""Blocks that others announce: reservations, and blocks with two owners.

Theory of operation: one rule decides everywhere (`Cluster.winner`): the node that the file pins the block to, else the
lower router id. Every node applies it, the two owners and all who watch, so all end at the same holder without
talking about it. The loser gives the block up at once when it uses no address of it. Otherwise it keeps the block as
`lost`: what is used is announced address by address, nothing new is given out, and the last release ends it. The
winner goes on, but never gives out an address that another node announces by itself.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from calicopy.ipam.claims import save
from calicopy.ipam.model import AddressConflict, BlockConflict, BlockState, NodeSpec
from calicopy.ipam.records import BlockRecord
from calicopy.ipam.state import State
from calicopy.net import Family, Packed, Prefix


def observe(state: State, announced: Iterable[tuple[Family, Packed, int]]) -> bool:
    """Take in (family, block, router id of its owner) as heard from the peers; True when something is new.

    What is no block of a pool, or comes from no other node of the file, says nothing and is passed over.
    """
    cluster, tables = state.cluster, state.ledger.reservations
    own = {family: [block for block in state.ledger.blocks if block.family is family] for family in Family}
    changed = False
    for family, packed, router_id in announced:
        node = cluster.by_router_id.get(router_id)
        if node is None or node is cluster.me:
            continue
        current = tables[family].get(packed)
        if current == node.name or not cluster.is_block(family, packed):
            continue
        mine = [ours for ours in own[family] if _overlap(ours, packed)]
        for ours in mine:
            state.rivals.setdefault(ours, {})[node.name] = Prefix(family, packed)
        if mine:
            changed = True
            continue
        changed |= _reserve(state, family, packed, node)
    return changed


def _overlap(ours: Prefix, packed: Packed) -> bool:
    """Whether two blocks of one family overlap. Nearly all have one length, and then a comparison of octets tells."""
    return ours.packed == packed if ours.length == packed[0] else ours.overlaps(Prefix(ours.family, packed))


def _reserve(state: State, family: Family, packed: Packed, node: NodeSpec) -> bool:
    """Reserve the block for the node, unless it is held by one that the rule prefers."""
    cluster = state.cluster
    current = state.ledger.reservations[family].get(packed)
    if current is not None or cluster.pins:
        block = Prefix(family, packed)
        for other in (cluster.by_name.get(current or ""), cluster.pinned_to(block)):
            if other is not None and other is not node and cluster.winner(block, other, node)[0] is other:
                return False
    state.ledger.put_reservation(family, packed, node.name)
    return True


def settle_blocks(state: State) -> None:
    """Bring the own blocks in line with the file and with what others announce."""
    _take_pinned(state)
    durable = state.ledger.durable_blocks()  # a block that was given up may come back when that is not committed
    for block, names in list(state.rivals.items()):
        known = {name: seen for name, seen in names.items() if name in state.cluster.by_name}
        if known and (block in state.ledger.blocks or block in durable):
            state.rivals[block] = known
        else:
            del state.rivals[block]
    for record in list(state.ledger.blocks.values()):
        _settle_block(state, record)


def _take_pinned(state: State) -> None:
    for block in state.cluster.own_pins():
        if state.ledger.reservations[block.family].get(block.packed) is not None:
            state.ledger.put_reservation(block.family, block.packed, None)
        if block not in state.ledger.blocks:
            pool = state.cluster.pool_of(block)
            save(state, block, "" if pool is None else pool.name)


def _settle_block(state: State, record: BlockRecord) -> None:
    block = record.prefix
    in_use = bool(state.ledger.use(block).used)
    better = _better_owner(state, record)
    if better is not None:
        announced = state.rivals.get(block, {}).get(better.name)
        if announced is not None:
            state.ledger.put_reservation(block.family, announced.packed, better.name)
        if not in_use:
            state.ledger.remove_block(block)
        elif record.rival != better.name:
            state.ledger.put_block(block, replace(record, rival=better.name))
        return
    if record.rival is not None:
        if state.ledger.reservations[block.family].get(block.packed) is not None:
            state.ledger.put_reservation(block.family, block.packed, None)
        record = replace(record, rival=None)
        state.ledger.put_block(block, record)
    if not in_use and state.block_state(record) is BlockState.RETIRING:
        state.ledger.remove_block(block)


def _better_owner(state: State, record: BlockRecord) -> NodeSpec | None:
    """The node that the rule prefers to us for this block, when one owns it too."""
    cluster, block = state.cluster, record.prefix
    names = {*state.rivals.get(block, {}), *((record.rival,) if record.rival else ())}
    rivals = [cluster.by_name[name] for name in sorted(names) if name in cluster.by_name]
    pinned = cluster.pinned_to(block)
    if pinned is not None and pinned is not cluster.me:
        return pinned
    best = cluster.me
    for rival in rivals:
        best = cluster.winner(block, best, rival)[0]
    return None if best is cluster.me else best


def forget_rival(state: State, block: Prefix, node: str) -> None:
    """The node no longer announces the block."""
    for ours in list(state.rivals):
        if state.rivals[ours].get(node) == block:
            del state.rivals[ours][node]


def drop_departed(state: State) -> None:
    """Forget reservations of nodes that are no longer in the file, and (after a rename or a clone) of this node."""
    cluster = state.cluster
    for family, table in state.ledger.reservations.items():
        for packed, name in list(table.items()):
            if name not in cluster.by_name or name == cluster.me.name:
                state.ledger.put_reservation(family, packed, None)


def block_conflicts(state: State) -> tuple[BlockConflict, ...]:
    """Own blocks that another node owns too, in order."""
    found = []
    cluster = state.cluster
    for block, record in sorted(state.ledger.blocks.items()):
        pinned = cluster.pinned_to(block)
        names = {*state.rivals.get(block, {}), *((record.rival,) if record.rival else ())}
        if pinned is not None and pinned is not cluster.me:
            names.add(pinned.name)
        for rival in (cluster.by_name[name] for name in sorted(names) if name in cluster.by_name):
            winner, rule = cluster.winner(block, cluster.me, rival)
            used = len(state.ledger.use(block).used)
            won = winner is cluster.me and record.rival is None
            found.append(BlockConflict(block, rival.name, won, rule, used))
    return tuple(found)


def address_conflicts(state: State) -> tuple[AddressConflict, ...]:
    """Addresses in use here that another node announces one by one, in order of block and address."""
    found = []
    for block in sorted(state.ledger.blocks):
        used = state.ledger.use(block).used
        for ordinal, router_id in sorted(state.held_elsewhere(block).items()):
            record = used.get(ordinal)
            if record is not None and record.handle is not None:
                rival = state.cluster.by_router_id.get(router_id)
                name = "a node that is not in the file" if rival is None else rival.name
                found.append(AddressConflict(record.address, record.handle, name))
    return tuple(found)
