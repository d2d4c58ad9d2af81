"""Giving out addresses, and taking them back.

Fresh addresses go first, lowest first, block after block in the order of their claims; then the one that has been
free for the longest time in any block. Every address of a block is given out, also the first and the last: the blocks
are routed, no broadcast domain has them as its subnet.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from calicopy.ipam.claims import claim, pool_use
from calicopy.ipam.errors import (
    AddressHeldElsewhereError,
    AddressInUseError,
    AddressNotOursError,
    ClaimPendingError,
    HandleMismatchError,
    PoolExhaustedError,
    UnknownPoolError,
)
from calicopy.ipam.records import AddressRecord, Attributes
from calicopy.ipam.state import State
from calicopy.net import Family, IPAddress, Prefix


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for."""

    family: Family
    pool: str | None = None
    address: IPAddress | None = None


def wish(state: State, *, family: Family | None, pool: str | None, address: IPAddress | None) -> Wish:
    """Check that the parts of a request agree, and find its family (IPv4 when nothing says): else UnknownPoolError."""
    families = set() if family is None else {family}
    if address is not None:
        families.add(Family.IPV4 if address.version == 4 else Family.IPV6)
    if pool is not None:
        spec = state.cluster.pool(pool)
        if spec is None:
            known = ", ".join(each.name for each in state.cluster.pools)
            raise UnknownPoolError(f"no pool is named {pool}: expected one of {known}")
        if not spec.selects(state.cluster.me.name):
            raise UnknownPoolError(f"pool {pool} does not select this node")
        if address is not None and address not in spec.cidr:
            raise UnknownPoolError(f"{address} is not in pool {pool} ({spec.cidr})")
        families.add(spec.family)
    if len(families) > 1:
        raise UnknownPoolError("the family, the pool and the address that were asked for are not of one family")
    return Wish(families.pop() if families else Family.IPV4, pool, address)


def held_by(state: State, handle: str, asked: Wish) -> AddressRecord | None:
    """What the handle holds in the family. Raises HandleMismatchError when that is not what is asked for."""
    record = state.ledger.handles.get(handle, {}).get(asked.family)
    if record is None:
        return None
    if asked.address is not None and record.address != asked.address:
        raise HandleMismatchError(f"{handle} holds {record.address}, not {asked.address}")
    block = state.ledger.blocks.get(record.block)
    pool = None if block is None else state.pool_name(block)
    if asked.pool is not None and pool is not None and pool != asked.pool:
        raise HandleMismatchError(f"{handle} holds {record.address} of pool {pool}, not of {asked.pool}")
    return record


def take(state: State, handle: str, asked: Wish, attributes: Attributes) -> AddressRecord:
    """Give an address to a handle that holds none in the family."""
    if asked.address is None:
        block, ordinal = _pick(state, asked)
    else:
        block, ordinal = _find(state, asked.address)
    record = AddressRecord(block.address_at(ordinal), block, handle, state.ledger.tick(), None, attributes)
    state.ledger.put_address(record.address, record)
    return record


def _find(state: State, address: IPAddress) -> tuple[Prefix, int]:
    current = state.ledger.addresses.get(address)
    if current is not None and current.handle is not None:
        raise AddressInUseError(address, current.handle)
    family = Family.IPV4 if address.version == 4 else Family.IPV6
    for record in state.usable(family):
        if address in record.prefix:
            ordinal = record.prefix.ordinal(address)
            if ordinal in state.held_elsewhere(record.prefix):
                raise AddressHeldElsewhereError(f"{address} is announced by another node, in a conflict over its block")
            return record.prefix, ordinal
    if waiting := tuple(block for block in state.pending if address in block):
        raise ClaimPendingError(waiting)
    raise AddressNotOursError(f"{address} is in no block that this node gives addresses from")


def _pick(state: State, asked: Wish) -> tuple[Prefix, int]:
    longest_free: tuple[int, Prefix, int] | None = None
    for record in state.usable(asked.family, asked.pool):
        block, use = record.prefix, state.ledger.use(record.prefix)
        closed = state.held_elsewhere(block)
        if len(use.used) + len(use.freed) < block.size:
            fresh = next((ordinal for ordinal in use.fresh(block.size) if ordinal not in closed), None)
            if fresh is not None:
                return block, fresh
        for ordinal, freed in use.freed.items():
            key = (freed.freed_at or 0, block, ordinal)
            if ordinal not in closed and (longest_free is None or key < longest_free):
                longest_free = key
    if longest_free is None:
        raise _nothing_free(state, asked)
    return longest_free[1], longest_free[2]


def _nothing_free(state: State, asked: Wish) -> ClaimPendingError | PoolExhaustedError:
    """Claim a block when none is pending yet, and say why there is no address now."""
    pools = [pool for pool in state.cluster.selected_pools(asked.family) if asked.pool in (None, pool.name)]
    names = {pool.name for pool in pools}
    if not any(waiting.pool in names for waiting in state.pending.values()):
        any(claim(state, pool) for pool in pools)
    if waiting := tuple(block for block, each in state.pending.items() if each.pool in names):
        return ClaimPendingError(waiting)
    used = sum(len(state.ledger.use(record.prefix).used) for record in state.usable(asked.family, asked.pool))
    return PoolExhaustedError(tuple(pool_use(state, pool) for pool in pools), used)


def give_back(state: State, record: AddressRecord) -> AddressRecord:
    """Free an address; it is reused after all that were freed before it."""
    freed = replace(record, handle=None, freed_at=state.ledger.tick(), attributes=())
    state.ledger.put_address(record.address, freed)
    return freed


def sorted_attributes(attributes: Mapping[str, str]) -> Attributes:
    """Attributes as they are kept."""
    return tuple(sorted(attributes.items()))
