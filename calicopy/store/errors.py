"""What can go wrong with the state directory. Every message names the file and what to do."""
from __future__ import annotations

from pathlib import Path


class StoreError(Exception):
    """The base: nothing of the transaction was applied."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(f"{path}: {message}")


class StoreLockedError(StoreError):
    """Another agent works on this state directory. `pid` and `since` (UTC, ISO 8601) are as it wrote them, or None."""

    def __init__(self, path: Path, pid: int | None, since: str | None) -> None:
        self.pid = pid
        self.since = since
        who = "a process that did not say who it is" if pid is None else f"the agent with pid {pid}, since {since}"
        super().__init__(path, f"held by {who}; only one agent may run on a state directory")


class StoreCorruptedError(StoreError):
    """The file is damaged, or holds what this program never writes. It is left as it is."""


class StoreTooNewError(StoreError):
    """The file was written by a newer version."""


class StoreFullError(StoreError):
    """No space is left on the device; the last good state is kept."""
