"""What IPAM keeps on disk: records, the snapshot that holds them all, and the changes that a transaction applies.

The store writes and reads these as they are, and decides nothing. All ordinals (`claimed_at`, `sequence`, `freed_at`)
come from one counter of the node, which only grows and is itself stored: no sequence number is ever given out twice.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from calicopy.net import IPAddress, Prefix

Attributes: TypeAlias = tuple[tuple[str, str], ...]
"""Sorted (name, value) pairs that the owner of an address wants to see again, such as its namespace path."""


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A confirmed block of this node."""

    prefix: Prefix
    pool: str
    claimed_at: int
    rival: str | None = None
    """Name of the node that this block was lost to while addresses of it were in use; None for a block we hold."""


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """An address that was given out at least once: in use (`handle` set) or free again (`freed_at` set)."""

    address: IPAddress
    block: Prefix
    handle: str | None
    sequence: int
    freed_at: int | None = None
    attributes: Attributes = ()

    @property
    def in_use(self) -> bool:
        """Whether a handle holds it."""
        return self.handle is not None


@dataclass(frozen=True, slots=True)
class ReservationRecord:
    """A block seen at another node of the cluster file, reserved for it by name."""

    prefix: Prefix
    node: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything stored, each part in order of its key, so that two snapshots of one state are equal."""

    blocks: tuple[BlockRecord, ...] = ()
    addresses: tuple[AddressRecord, ...] = ()
    reservations: tuple[ReservationRecord, ...] = ()
    counter: int = 0


@dataclass(frozen=True, slots=True)
class BlockSaved:
    """Write the block, new or changed."""

    record: BlockRecord


@dataclass(frozen=True, slots=True)
class BlockRemoved:
    """Forget the block."""

    prefix: Prefix


@dataclass(frozen=True, slots=True)
class AddressSaved:
    """Write an address that is in use."""

    record: AddressRecord


@dataclass(frozen=True, slots=True)
class AddressFreed:
    """Write an address that became free; the record keeps its last sequence and when it was freed."""

    record: AddressRecord


@dataclass(frozen=True, slots=True)
class AddressRemoved:
    """Forget an address, since its block is no longer ours."""

    address: IPAddress


@dataclass(frozen=True, slots=True)
class ReservationSaved:
    """Write a reservation, new or for another node than before."""

    record: ReservationRecord


@dataclass(frozen=True, slots=True)
class ReservationRemoved:
    """Forget a reservation."""

    prefix: Prefix


@dataclass(frozen=True, slots=True)
class CounterSaved:
    """Write the counter that ordinals come from."""

    value: int


Change: TypeAlias = (
    BlockSaved
    | BlockRemoved
    | AddressSaved
    | AddressFreed
    | AddressRemoved
    | ReservationSaved
    | ReservationRemoved
    | CounterSaved
)
