"""The store: what the agent keeps on disk, in SQLite, under a lock. It decides nothing."""
from __future__ import annotations

from calicopy.store.errors import (
    StoreCorruptedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreTooNewError,
)
from calicopy.store.lock import StateLock
from calicopy.store.records import StoreChange, Stored, WorkloadRecord, WorkloadRemoved, WorkloadSaved
from calicopy.store.store import Store

__all__ = [
    "StateLock",
    "Store",
    "StoreChange",
    "StoreCorruptedError",
    "StoreError",
    "StoreFullError",
    "StoreLockedError",
    "StoreTooNewError",
    "Stored",
    "WorkloadRecord",
    "WorkloadRemoved",
    "WorkloadSaved",
]
