"""SQLite under the agent's state directory: loads everything once, then applies batches, each whole or not at all.

Theory of operation: one process (the lock), one connection, write-ahead log, `synchronous=FULL`: when `commit`
returns, the batch survives a power cut. When it raises, nothing of the batch was applied and the last good state is
on disk. A damaged file is reported and never replaced: the blocks in it may be in use by running workloads. All
calls block; the agent makes them in a thread of their own, one after another.
"""
from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, cast

from calicopy.core.drain_state import DrainCleared, DrainRecord, DrainSaved
from calicopy.ipam import (
    AddressFreed,
    AddressRecord,
    AddressRemoved,
    AddressSaved,
    BlockRecord,
    BlockRemoved,
    BlockSaved,
    CounterSaved,
    ReservationRecord,
    ReservationRemoved,
    ReservationSaved,
    Snapshot,
)
from calicopy.net import Prefix
from calicopy.store.errors import StoreCorruptedError, StoreError, StoreFullError, StoreTooNewError
from calicopy.store.lock import StateLock
from calicopy.store.records import StoreChange, Stored, WorkloadRecord, WorkloadRemoved, WorkloadSaved
from calicopy.store.schema import MIGRATIONS

DATABASE_NAME = "calicopy.db"

Value: TypeAlias = str | int | float | None
Statement: TypeAlias = tuple[str, tuple[Value, ...]]


class Store:
    """The open state directory. Use as a context manager, or `close` it."""

    def __init__(self, directory: Path, *, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
        """Open (or make) the directory, take its lock, check the file and bring it to the newest version.

        Raises StoreLockedError, StoreCorruptedError, StoreTooNewError, StoreFullError, or StoreError for the rest.
        """
        self.path = directory / DATABASE_NAME
        try:
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(directory, f"the state directory cannot be made: {error.strerror}") from error
        self._lock = StateLock(directory)
        try:
            with self._named_errors():
                # The agent opens in one thread and works in another; its executor of one thread is what serialises.
                self._database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
                try:
                    self._prepare(migrations)
                except BaseException:
                    self._database.close()
                    raise
        except BaseException:
            self._lock.release()
            raise

    def _prepare(self, migrations: Sequence[Sequence[str]]) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        problems = [str(row[0]) for row in self._database.execute("PRAGMA quick_check")]
        if problems != ["ok"]:
            raise self._corrupted(problems[0])
        version = int(self._database.execute("PRAGMA user_version").fetchone()[0])
        if version > len(migrations):
            message = f"has schema version {version}, this program knows up to {len(migrations)}: use the newer version"
            raise StoreTooNewError(self.path, message)
        for number, statements in enumerate(migrations[version:], start=version + 1):
            with self._transaction():
                for statement in statements:
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {number}")

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._database.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.path}>"

    # -- reading ------------------------------------------------------------------------------------------------

    def load(self) -> Stored:
        """All that was committed. StoreCorruptedError when a row is nothing that this program writes."""
        with self._named_errors():
            try:
                counter = self._database.execute("SELECT value FROM counter").fetchone()
                snapshot = Snapshot(
                    blocks=tuple(sorted(self._blocks(), key=lambda record: record.prefix)),
                    addresses=tuple(
                        sorted(self._addresses(), key=lambda record: (record.address.version, int(record.address)))
                    ),
                    reservations=tuple(sorted(self._reservations(), key=lambda record: record.prefix)),
                    counter=0 if counter is None else int(counter[0]),
                )
                return Stored(snapshot, tuple(self._workloads()), self._drain())
            except (ValueError, TypeError, AttributeError) as error:
                raise self._corrupted(str(error)) from error

    def _blocks(self) -> Iterator[BlockRecord]:
        rows = self._database.execute("SELECT prefix, pool, claimed_at, rival FROM block")
        for prefix, pool, claimed_at, rival in rows:
            yield BlockRecord(Prefix.parse(prefix), pool, claimed_at, rival)

    def _addresses(self) -> Iterator[AddressRecord]:
        rows = self._database.execute("SELECT address, block, handle, sequence, freed_at, attributes FROM address")
        for address, block, handle, sequence, freed_at, text in rows:
            attributes = tuple(sorted(cast(dict[str, str], json.loads(text)).items()))
            yield AddressRecord(ip_address(address), Prefix.parse(block), handle, sequence, freed_at, attributes)

    def _reservations(self) -> Iterator[ReservationRecord]:
        for prefix, node in self._database.execute("SELECT prefix, node FROM reservation"):
            yield ReservationRecord(Prefix.parse(prefix), node)

    def _workloads(self) -> Iterator[WorkloadRecord]:
        rows = self._database.execute(
            "SELECT name, netns, interface, host_interface, addresses, mac, created_at, mtu FROM workload ORDER BY name"
        )
        for name, netns, interface, host_interface, text, mac, created_at, mtu in rows:
            addresses = tuple(ip_address(address) for address in cast(list[str], json.loads(text)))
            yield WorkloadRecord(name, netns, interface, host_interface, addresses, mac, created_at, mtu)

    def _drain(self) -> DrainRecord | None:
        row = self._database.execute("SELECT since, wait_s, finished FROM drain").fetchone()
        return None if row is None else DrainRecord(float(row[0]), float(row[1]), bool(row[2]))

    # -- writing ------------------------------------------------------------------------------------------------

    def commit(self, changes: Iterable[StoreChange]) -> None:
        """Apply all changes in one transaction, on disk when this returns. Raises StoreFullError or StoreError, and
        then none of them was applied."""
        statements = [_statement(change) for change in changes]
        if not statements:
            return
        with self._named_errors(), self._transaction():
            for sql, values in statements:
                self._database.execute(sql, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite itself rolls back on some errors, such as a full disk
                self._database.execute("ROLLBACK")
            raise

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Map SQLite's exceptions to ours, once."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
            if code == sqlite3.SQLITE_FULL:
                raise StoreFullError(self.path, "no space left on the device; the last good state is kept") from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._corrupted(str(error)) from error
            raise StoreError(self.path, str(error)) from error

    def _corrupted(self, what: str) -> StoreCorruptedError:
        return StoreCorruptedError(
            self.path,
            f"the database is damaged ({what}). It is left as it is: restore it from a copy, or, once no workload of "
            f"this node runs, move it away (with its -wal and -shm files) and start again",
        )


def _statement(change: StoreChange) -> Statement:
    match change:
        case BlockSaved(record):
            values = (str(record.prefix), record.pool, record.claimed_at, record.rival)
            return "INSERT OR REPLACE INTO block (prefix, pool, claimed_at, rival) VALUES (?, ?, ?, ?)", values
        case BlockRemoved(prefix):
            return "DELETE FROM block WHERE prefix = ?", (str(prefix),)
        case AddressSaved(record) | AddressFreed(record):
            return _address_statement(record)
        case AddressRemoved(address):
            return "DELETE FROM address WHERE address = ?", (str(address),)
        case ReservationSaved(record):
            return "INSERT OR REPLACE INTO reservation (prefix, node) VALUES (?, ?)", (str(record.prefix), record.node)
        case ReservationRemoved(prefix):
            return "DELETE FROM reservation WHERE prefix = ?", (str(prefix),)
        case CounterSaved(value):
            return "INSERT OR REPLACE INTO counter (only, value) VALUES (1, ?)", (value,)
        case WorkloadSaved(record):
            return _workload_statement(record)
        case WorkloadRemoved(name):
            return "DELETE FROM workload WHERE name = ?", (name,)
        case DrainSaved(record):
            sql = "INSERT OR REPLACE INTO drain (only, since, wait_s, finished) VALUES (1, ?, ?, ?)"
            return sql, (record.since, record.wait_s, int(record.finished))
        case DrainCleared():
            return "DELETE FROM drain", ()


def _address_statement(record: AddressRecord) -> Statement:
    return (
        "INSERT OR REPLACE INTO address (address, block, handle, sequence, freed_at, attributes)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            str(record.address),
            str(record.block),
            record.handle,
            record.sequence,
            record.freed_at,
            json.dumps(dict(record.attributes)),
        ),
    )


def _workload_statement(record: WorkloadRecord) -> Statement:
    return (
        "INSERT OR REPLACE INTO workload (name, netns, interface, host_interface, addresses, mac, created_at, mtu)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.name,
            record.netns,
            record.interface,
            record.host_interface,
            json.dumps([str(address) for address in record.addresses]),
            record.mac,
            record.created_at,
            record.mtu,
        ),
    )
