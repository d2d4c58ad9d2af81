"""The agent's journal: a file with all that its core is told, from the start of the process on. Off by default.

Theory of operation: the loop hands over each step as it is; frozen data need no copy. A thread makes text of it and
writes, so that a step takes no longer for it, though the processor is shared. The file of the process before is kept
as FILE.1, so that the start after a crash does not take away what led to it. At its bound the journal says so and ends:
without its beginning it would be worth nothing, and without an end it would fill the disk. Whatever fails of it is
logged once and costs the journal alone.
"""
from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from calicopy import __version__
from calicopy.config.nodeconfig import NodeConfig
from calicopy.core.commands import Command
from calicopy.core.drain_state import DrainRecord
from calicopy.core.events import CoreEvent
from calicopy.ipam import Snapshot
from calicopy.journal import lines

log = logging.getLogger(__name__)

MODE = 0o640  # routes and addresses of the cluster, and no secrets
WAITING_STEPS = 10_000  # more are not held in memory for a disk that does not keep up
CLOSE_S = 2.0

Beginning = tuple[NodeConfig, Snapshot, DrainRecord | None]
Recorded = lines.Begin | tuple[float, list[CoreEvent], list[Command]]


@contextmanager
def recording(beginning: Beginning, *, now: float, began_at: float) -> Iterator[Journal]:
    """The journal that the node's configuration asks for, begun with what its core was made from."""
    node, snapshot, drain = beginning
    settings = node.cluster.agent
    assert settings.journal is not None
    journal = Journal(Path(settings.journal), limit=settings.journal_limit_mib << 20)
    journal.begin(lines.Begin(lines.FORMAT, __version__, node, snapshot, now, began_at, drain))
    try:
        yield journal
    finally:
        journal.close()


class Journal:
    """Writes steps to `path` until it holds `limit` octets."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._queue: queue.Queue[Recorded | None] = queue.Queue(WAITING_STEPS)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._over = False

    def begin(self, beginning: lines.Begin) -> None:
        """Start the file."""
        self._queue.put_nowait(beginning)
        self._thread.start()

    def step(self, now: float, events: list[CoreEvent], commands: list[Command]) -> None:
        """The core was told `events` at `now`, and `commands` came of it. Returns at once."""
        if self._over:
            return
        try:
            self._queue.put_nowait((now, events, commands))
        except queue.Full:
            self._end("the disk does not keep up")

    def close(self) -> None:
        """Write what waits, for CLOSE_S at most. Nothing is taken any more."""
        self._over = True
        with suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            with suppress(FileNotFoundError):
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
            with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor, for its mode
                self._write(file)
        except (OSError, TypeError, ValueError) as error:
            self._end(str(error))

    def _write(self, file: BinaryIO) -> None:
        written = 0
        while (recorded := self._queue.get()) is not None:
            row = lines.write(recorded if isinstance(recorded, lines.Begin) else _line(*recorded))
            if written + len(row) > self._limit:
                file.write(lines.write(lines.Full(written)))
                self._end(f"it has {written} octets, and {self._limit} are its bound")
                return
            file.write(row)
            written += len(row)

    def _end(self, why: str) -> None:
        self._over = True
        log.warning("the journal %s ends: %s", self._path, why)


def _line(now: float, events: list[CoreEvent], commands: list[Command]) -> lines.Step:
    return lines.Step(now, tuple(events), tuple(map(lines.done, commands)))
