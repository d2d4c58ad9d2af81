"""Pools, blocks, addresses and workloads."""
from __future__ import annotations

import enum
from dataclasses import dataclass

from calicopy.core.views.reason import ReasonView
from calicopy.net import IPAddress, Prefix


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool and how much of it is taken."""

    name: str
    cidr: Prefix
    block_size: int
    encapsulation: str
    mode: str
    nat_outgoing: bool
    selected: bool
    total_blocks: int
    own_blocks: int
    reserved_blocks: int


class BlockState(enum.Enum):
    """A block's state."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    LOST = "lost"
    RESERVED = "reserved"
    RETIRING = "retiring"


@dataclass(frozen=True, slots=True)
class BlockView:
    """A block, ours or reserved for another node."""

    cidr: Prefix
    pool: str
    node: str
    state: BlockState
    pinned: bool
    size: int
    assigned: int
    conflict: ReasonView | None = None


@dataclass(frozen=True, slots=True)
class AddressView:
    """An address: `state` is assigned, free or reserved (in another node's block)."""

    address: IPAddress
    block: Prefix | None
    pool: str
    handle: str
    sequence: int
    node: str
    state: str
    conflict: ReasonView | None = None


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """A namespace with an address of ours; `problem` is empty when all is there."""

    name: str
    netns: str
    interface: str
    host_interface: str
    addresses: tuple[IPAddress, ...]
    mac: str
    mtu: int
    attached_at: float
    problem: str = ""
