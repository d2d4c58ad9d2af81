"""What is known of a running lab: the record under /run/calicopy-lab/LAB/, and which of its processes live.

Theory of operation: the record is written before the first namespace is made and removed after the last is gone, so a
lab that was left half made can always be taken down, by any process. It names only what this lab made. A process is
known by pid *and* start time, so that a reused pid is never taken for ours. One file per node and subject:
NODE.pid (written by the node's monitor before the node may run), NODE.exit (its exit code), NODE.log.
"""
from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from calicopy.lab.init import start_time

STATE_ROOT = Path("/run/calicopy-lab")


class LabError(Exception):
    """A lab that cannot be made, found or taken down; the message says what to do."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as `exec` needs it."""

    name: str
    container: str
    netns: str
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """A lab: its file, its nodes, and what must go with it."""

    lab: str
    file: str
    nodes: tuple[NodeRecord, ...]
    namespaces: tuple[str, ...]
    host_interfaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Process:
    """A node's first process, and the monitor that waits for it."""

    pid: int
    start: int
    monitor: int

    def alive(self) -> bool:
        """Whether it runs: neither gone, nor a zombie, nor another process with its pid."""
        try:
            return _runs(str(self.pid)) and start_time(self.pid) == self.start
        except (FileNotFoundError, ProcessLookupError):
            return False

    def kill(self) -> None:
        """SIGKILL it, which ends everything in its PID namespace, and wait until it is gone (5 s at most).

        Raises LabError if it is not gone then.
        """
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if not self.alive():
                return
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(5000):
                raise LabError(f"process {self.pid} does not end, 5 s after SIGKILL")
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class LabDirectory:
    """The files of one lab."""

    path: Path

    @property
    def lab(self) -> str:
        return self.path.name

    def log(self, node: str) -> Path:
        return self.path / f"{node}.log"

    def pid(self, node: str) -> Path:
        return self.path / f"{node}.pid"

    def ended(self, node: str) -> Path:
        return self.path / f"{node}.exit"

    def work(self, node: str) -> Path:
        return self.path / f"{node}.root"

    def process(self, node: str) -> Process | None:
        """The node's process, if one was ever started."""
        try:
            return Process(**json.loads(self.pid(node).read_text()))
        except FileNotFoundError:
            return None

    def exit_code(self, node: str) -> int | None:
        """How the node's process ended (negative: the signal), if it did and the monitor saw it."""
        try:
            return int(self.ended(node).read_text())
        except FileNotFoundError:
            return None

    def write(self, record: Record) -> None:
        """Keep the record, whole or not at all."""
        new = self.path / "lab.json.new"
        new.write_text(json.dumps(asdict(record), indent=1))
        new.rename(self.path / "lab.json")

    def read(self) -> Record | None:
        """The record; None if the lab was interrupted before it was written, and so made nothing."""
        try:
            raw = json.loads((self.path / "lab.json").read_text())
        except FileNotFoundError:
            return None
        nodes = tuple(NodeRecord(**node) for node in raw["nodes"])
        return Record(cast(str, raw["lab"]), cast(str, raw["file"]), nodes, tuple(raw["namespaces"]),
                      tuple(raw["host_interfaces"]))

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the lab's lock, so that `up` and `down` of one lab never meet; gives its descriptor.

        Raises LabError if another process holds it. One that was killed may have left a child that goes on for a
        moment (`ip`, a node that is about to start); those have inherited the lock, and are waited for.
        """
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + 10.0
            while not _try_lock(fd):
                holder = os.pread(fd, 20, 0).decode() or "?"
                if _runs(holder) or time.monotonic() > deadline:
                    raise LabError(f"lab {self.lab}: process {holder} is working on it (`up` or `down`)")
                time.sleep(0.02)
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            os.set_inheritable(fd, True)
            yield fd
        finally:
            os.close(fd)


def _runs(pid: str) -> bool:
    """Whether there is a process `pid` that is no zombie (proc(5), stat field 3)."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def directories(root: Path = STATE_ROOT) -> tuple[LabDirectory, ...]:
    """The labs that are there, also half-made ones, by name."""
    if not root.is_dir():
        return ()
    return tuple(LabDirectory(path) for path in sorted(root.iterdir()) if path.is_dir())
