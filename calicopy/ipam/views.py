"""What people and the import policy see of the state."""
from __future__ import annotations

from calicopy.ipam.model import AddressLookup, BlockState, BlockView, NodeSpec
from calicopy.ipam.records import ReservationRecord
from calicopy.ipam.state import State
from calicopy.net import Family, IPAddress, Packed, Prefix


def _holder(state: State, family: Family, block: Packed) -> NodeSpec | None:
    cluster = state.cluster
    pinned = cluster.pins.get(Prefix(family, block)) if cluster.pins else None
    if pinned is not None:
        return None if pinned is cluster.me else pinned
    return cluster.by_name.get(state.ledger.reservations[family].get(block, ""))


def holder(state: State, family: Family, block: Packed) -> int | None:
    """The router id of the only other node that may announce the block; None when no other node holds it."""
    node = _holder(state, family, block)
    return None if node is None else node.router_id


def holders(state: State) -> dict[Family, dict[Packed, int]]:
    """All blocks that other nodes hold."""
    found: dict[Family, dict[Packed, int]] = {family: {} for family in Family}
    for family in Family:
        pinned = [block.packed for block in state.cluster.pins if block.family is family]
        for packed in (*state.ledger.reservations[family], *pinned):
            router_id = holder(state, family, packed)
            if router_id is not None:
                found[family][packed] = router_id
    return found


def reservations(state: State) -> tuple[ReservationRecord, ...]:
    """All blocks that other nodes hold, by name, in order."""
    found = {}
    for family, blocks in holders(state).items():
        for packed in blocks:
            node = _holder(state, family, packed)
            if node is not None:
                prefix = Prefix(family, packed)
                found[prefix] = ReservationRecord(prefix, node.name)
    return tuple(found[prefix] for prefix in sorted(found))


def blocks(state: State) -> tuple[BlockView, ...]:
    """The blocks of this node, pending ones too, in order."""
    found = []
    for prefix, record in state.ledger.blocks.items():
        kind = state.block_state(record)
        match kind:
            case BlockState.LOST:
                reason = f"{record.rival} keeps it; used addresses are announced one by one"
            case BlockState.RETIRING:
                reason = "the cluster file gives no pool with it to this node; held while addresses are in use"
            case _:
                reason = ""
        used, pinned = len(state.ledger.use(prefix).used), state.cluster.pins.get(prefix) is state.cluster.me
        name = state.pool_name(record)
        found.append(BlockView(prefix, name, kind, reason, pinned, prefix.size, used, state.free(prefix)))
    for prefix, claim in state.pending.items():
        reason = claim.reason.value
        found.append(BlockView(prefix, claim.pool, BlockState.PENDING, reason, False, prefix.size, 0, prefix.size))
    return tuple(sorted(found, key=lambda view: view.prefix))


def lookup(state: State, address: IPAddress) -> AddressLookup:
    """What is known of one address."""
    host = Prefix.host(address)
    pool = state.cluster.pool_of(host)
    record = state.ledger.addresses.get(address)
    own = next((block for block in state.ledger.blocks if address in block), None)
    if own is not None:
        node: NodeSpec | None = state.cluster.me
        block: Prefix | None = own
    else:
        block = None if pool is None else host.supernet(pool.block_length)
        node = None if block is None else _holder(state, block.family, block.packed)
    router_id = None if node is None else node.router_id
    name = None if node is None else node.name
    return AddressLookup(address, None if pool is None else pool.name, block, name, router_id, record)
