"""One agent per state directory: an advisory lock that the kernel drops with the process, however that ends."""
from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from calicopy.store.errors import StoreError, StoreLockedError

LOCK_NAME = "agent.lock"


class StateLock:
    """A lock on `DIRECTORY/agent.lock`, held until `release` or the end of the process.

    The file holds the pid of the holder and since when, for the message of the one who comes second.
    """

    def __init__(self, directory: Path) -> None:
        """Take the lock. Raises StoreLockedError at once when another process has it."""
        self.path = directory / LOCK_NAME
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StoreError(self.path, f"cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, since = _holder(self._descriptor)
            os.close(self._descriptor)
            raise StoreLockedError(self.path, pid, since) from None
        self._sign()

    def _sign(self) -> None:
        text = json.dumps({"pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")})
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)
        except OSError:  # a full disk: the lock holds all the same, only its note is missing
            return

    def release(self) -> None:
        """Give the lock up. The file stays: removing it would let two processes lock two files of one name."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _holder(descriptor: int) -> tuple[int | None, str | None]:
    try:
        note = json.loads(os.pread(descriptor, 4096, 0))
        return int(note["pid"]), str(note["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
