"""The state directory: what is committed is there, and nothing else."""
from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

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
    Ipam,
    NodeSpec,
    PoolSpec,
    ReservationRecord,
    ReservationRemoved,
    ReservationSaved,
    Snapshot,
)
from calicopy.net import Prefix
from calicopy.store import (
    Store,
    StoreCorruptedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreTooNewError,
    WorkloadRecord,
    WorkloadRemoved,
    WorkloadSaved,
)
from calicopy.store.schema import MIGRATIONS

P = Prefix.parse
DRAIN = DrainRecord(1_790_000_000.25, 30.0, finished=False)
BLOCK = BlockRecord(P("10.244.5.0/26"), "default", 1)
LOST = BlockRecord(P("fd00::/122"), "six", 2, rival="node2")
USED = AddressRecord(ip_address("10.244.5.1"), BLOCK.prefix, "pod/a", 3, None, (("netns", "/run/netns/ä"),))
FREED = AddressRecord(ip_address("fd00::1"), LOST.prefix, None, 4, 9)
RESERVED = ReservationRecord(P("10.244.9.0/26"), "node3")
WORKLOAD = WorkloadRecord(
    "blue",
    "/run/netns/blue",
    "eth0",
    "cali1234",
    (ip_address("10.244.5.1"), ip_address("fd00::1")),
    "02:00:00:00:00:01",
    1.5,
    1480,
)
ALL = (
    BlockSaved(BLOCK),
    BlockSaved(LOST),
    AddressSaved(USED),
    AddressFreed(FREED),
    ReservationSaved(RESERVED),
    CounterSaved(9),
    WorkloadSaved(WORKLOAD),
)
SNAPSHOT = Snapshot((BLOCK, LOST), (USED, FREED), (RESERVED,), 9)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "state") as opened:
        yield opened


def test_a_new_directory_is_made_and_is_empty(tmp_path: Path) -> None:
    with Store(tmp_path / "a" / "b") as store:
        assert store.load().ipam == Snapshot()
        assert store.load().workloads == ()
        assert repr(store) == f"<Store {tmp_path}/a/b/calicopy.db>"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o007 == 0


def test_what_was_committed_is_loaded_after_a_restart(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.commit(ALL)
    with Store(tmp_path) as store:
        assert store.load().ipam == SNAPSHOT
        assert store.load().workloads == (WORKLOAD,)


def test_removals_are_applied(store: Store) -> None:
    store.commit(ALL)
    removals = (
        BlockRemoved(BLOCK.prefix),
        BlockRemoved(LOST.prefix),
        AddressRemoved(USED.address),
        AddressRemoved(FREED.address),
        ReservationRemoved(RESERVED.prefix),
        WorkloadRemoved("blue"),
    )
    store.commit(removals)
    assert store.load().ipam == Snapshot(counter=9)
    assert store.load().workloads == ()
    store.commit(removals)


def test_it_is_a_write_ahead_log_with_full_synchronisation(store: Store) -> None:
    assert store._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_batch_is_applied_whole_or_not_at_all(store: Store) -> None:
    store.commit(ALL[:1])
    broken = BlockSaved(BlockRecord(P("10.244.6.0/26"), "default", "not a number"))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(StoreError, match=r"calicopy\.db"):
        store.commit((CounterSaved(5), broken))
    assert store.load().ipam == Snapshot(blocks=(BLOCK,))
    store.commit((CounterSaved(6),))
    assert store.load().ipam.counter == 6


def fill(path: Path) -> None:
    """Write until the device is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def test_a_full_disk_refuses_the_batch_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True)
    try:
        with Store(disk) as store:
            store.commit(ALL)
            filler = disk / "filler"
            fill(filler)
            many = [ReservationSaved(ReservationRecord(block, "n")) for block in P("10.0.0.0/16").subnets(26)]
            with pytest.raises(StoreFullError, match="no space left on the device; the last good state is kept"):
                store.commit(many)
            assert store.load().ipam == SNAPSHOT
            filler.unlink()
            store.commit((CounterSaved(10),))
            assert store.load().ipam.counter == 10
        with Store(disk) as store:
            assert store.load().ipam.blocks == SNAPSHOT.blocks
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_assignment_is_refused_while_the_disk_is_full_and_works_after(store: Store) -> None:
    nodes, pools = [NodeSpec("node1", 1, (BLOCK.prefix,))], [PoolSpec("default", P("10.244.0.0/16"), 26)]
    ipam = Ipam("node1", nodes=nodes, pools=pools, snapshot=store.load().ipam)
    store.commit(ipam.take_changes())
    ipam.committed()
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    refused = 0
    for number in range(64):
        ipam.assign(f"handle-{number}", attributes={"padding": "x" * 500})
        try:
            store.commit(ipam.take_changes())
            ipam.committed()
        except StoreFullError:
            ipam.roll_back()
            refused += 1
        assert store.load().ipam == ipam.snapshot()
    assert 0 < refused < 64
    store._database.execute("PRAGMA max_page_count = 100000")
    ipam.assign("after")
    store.commit(ipam.take_changes())
    ipam.committed()
    assert store.load().ipam == ipam.snapshot()


def test_a_second_agent_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from calicopy.store import Store
store = Store(Path(sys.argv[1]))
print("up", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"up\n"
            message = f"agent.lock: held by the agent with pid {holder.pid}, since 2"
            with pytest.raises(StoreLockedError, match=message) as refusal:
                Store(tmp_path)
            assert refusal.value.pid == holder.pid
        finally:
            holder.send_signal(signal.SIGKILL)
    with Store(tmp_path) as store:
        assert store.load().ipam == Snapshot()


def test_two_stores_of_one_process_exclude_each_other_too(store: Store) -> None:
    with pytest.raises(StoreLockedError, match=f"pid {os.getpid()}"):
        Store(store.path.parent)


def test_a_file_that_is_no_database_is_reported_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "calicopy.db"
    file.write_bytes(b"not a database, but somebody's data" * 100)
    for _ in range(2):  # twice: the failed opening must give up the lock
        with pytest.raises(StoreCorruptedError, match=r"calicopy\.db: the database is damaged"):
            Store(tmp_path)
    assert file.read_bytes().startswith(b"not a database")


def test_a_damaged_page_is_found_at_the_start(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.commit([ReservationSaved(ReservationRecord(block, "n")) for block in P("10.0.0.0/16").subnets(26)])
    file = tmp_path / "calicopy.db"
    octets = bytearray(file.read_bytes())
    octets[4096 * 6 : 4096 * 9] = b"\xff" * 4096 * 3
    file.write_bytes(octets)
    with pytest.raises(StoreCorruptedError, match="It is left as it is"):
        Store(tmp_path)
    assert file.read_bytes() == octets


def test_a_row_that_this_program_never_writes_is_reported(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store._database.execute("INSERT INTO reservation VALUES ('10.0.0.1/8', 'n')")
        with pytest.raises(StoreCorruptedError, match="host bits set"):
            store.load()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, migrations=(*MIGRATIONS, ("CREATE TABLE later (x)",))):
        pass
    with pytest.raises(StoreTooNewError, match=f"schema version {len(MIGRATIONS) + 1}"):
        Store(tmp_path)


def test_an_older_file_is_migrated_with_its_rows_and_a_failed_step_leaves_it_as_it_was(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.commit(ALL)
    with pytest.raises(StoreError, match="syntax error"):
        Store(tmp_path, migrations=(*MIGRATIONS, ("CREATE TABLE later (x)", "NONSENSE")))
    with Store(tmp_path) as store:
        assert store.load().ipam == SNAPSHOT
    with Store(tmp_path, migrations=(*MIGRATIONS, ("CREATE TABLE later (x)",))) as store:
        assert store.load().ipam == SNAPSHOT
        assert store._database.execute("SELECT count(*) FROM later").fetchone() == (0,)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file: the state directory cannot be made"):
        Store(tmp_path / "file")


def test_a_batch_is_there_whole_or_not_at_all_after_kill_9(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from calicopy.ipam import CounterSaved, ReservationRecord, ReservationSaved
from calicopy.net import Prefix
from calicopy.store import Store
store = Store(Path(sys.argv[1]))
blocks = list(Prefix.parse("10.0.0.0/20").subnets(26))
for number in range(1, 100000):
    store.commit([CounterSaved(number), *(ReservationSaved(ReservationRecord(block, str(number))) for block in blocks)])
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05)
        writer.kill()
        told = [int(line) for line in writer.stdout if line.endswith(b"\n")]
    with Store(tmp_path) as store:
        kept = store.load().ipam
    assert {reservation.node for reservation in kept.reservations} == {str(kept.counter)}
    assert kept.counter >= max(told, default=1), "what was reported as committed is there"


def test_the_store_is_readable_with_the_sqlite_shell(store: Store) -> None:
    store.commit(ALL)
    with sqlite3.connect(f"file:{store.path}?mode=ro", uri=True) as reader:
        assert reader.execute("SELECT address FROM address WHERE handle = 'pod/a'").fetchone() == ("10.244.5.1",)
    reader.close()


def test_a_drain_is_kept_until_it_is_cleared_and_only_its_last_word_counts(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.load().drain is None
        store.commit([DrainSaved(DRAIN)])
        store.commit([DrainSaved(replace(DRAIN, finished=True))])
    with Store(tmp_path) as store:
        assert store.load().drain == replace(DRAIN, finished=True)
        store.commit([DrainCleared()])
        assert store.load().drain is None


def test_a_file_from_before_drains_is_brought_up_to_date_with_all_that_it_holds(tmp_path: Path) -> None:
    with Store(tmp_path, migrations=MIGRATIONS[:1]) as store:
        store.commit(ALL)
    with Store(tmp_path) as store:
        assert store.load().ipam == SNAPSHOT
        assert store.load().drain is None
