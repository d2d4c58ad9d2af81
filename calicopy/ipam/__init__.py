"""IPAM: pool > block > address, on one node, without a datastore.

Theory of operation: `Ipam` is a pure object. It is told the cluster file, what was stored, and which blocks other
nodes announce; it says which blocks to announce, which claims wait, which addresses belong to whom, and what to
persist. It never reads a clock: when a claim may be confirmed is the core's decision. Its rules:

- a block is used and announced only after it is confirmed *and* on disk;
- a block seen at another node of the file is that node's until it leaves the file or the block is released by hand;
- an address has one handle at a time, and every assignment a sequence number that never comes again;
- what it wants depends on the present state only, so a restart at any point goes on where it was.

docs/ipam.md is the operator's view of the same.
"""
from __future__ import annotations

from calicopy.ipam.errors import (
    AddressHeldElsewhereError,
    AddressInUseError,
    AddressNotOursError,
    BlockInUseError,
    ClaimPendingError,
    HandleMismatchError,
    IpamError,
    PoolExhaustedError,
    UnknownBlockError,
    UnknownPoolError,
)
from calicopy.ipam.ipam import Ipam
from calicopy.ipam.model import (
    TUNNEL_HANDLES,
    AddressConflict,
    AddressLookup,
    BlockConflict,
    BlockState,
    BlockView,
    ConflictRule,
    HolderChanges,
    NodeSpec,
    PendingClaim,
    PendingReason,
    PoolSpec,
    PoolUse,
)
from calicopy.ipam.records import (
    AddressFreed,
    AddressRecord,
    AddressRemoved,
    AddressSaved,
    BlockRecord,
    BlockRemoved,
    BlockSaved,
    Change,
    CounterSaved,
    ReservationRecord,
    ReservationRemoved,
    ReservationSaved,
    Snapshot,
)

__all__ = [
    "TUNNEL_HANDLES",
    "AddressConflict",
    "AddressFreed",
    "AddressHeldElsewhereError",
    "AddressInUseError",
    "AddressLookup",
    "AddressNotOursError",
    "AddressRecord",
    "AddressRemoved",
    "AddressSaved",
    "BlockConflict",
    "BlockInUseError",
    "BlockRecord",
    "BlockRemoved",
    "BlockSaved",
    "BlockState",
    "BlockView",
    "Change",
    "ClaimPendingError",
    "ConflictRule",
    "CounterSaved",
    "HandleMismatchError",
    "HolderChanges",
    "Ipam",
    "IpamError",
    "NodeSpec",
    "PendingClaim",
    "PendingReason",
    "PoolExhaustedError",
    "PoolSpec",
    "PoolUse",
    "ReservationRecord",
    "ReservationRemoved",
    "ReservationSaved",
    "Snapshot",
    "UnknownBlockError",
    "UnknownPoolError",
]
