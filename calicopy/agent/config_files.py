"""The texts of configurations on disk: the agent's own file, and what it keeps in the state directory.

Theory of operation: every file is written whole or not at all (a new one beside it, synced, renamed over it, the
directory synced). The state directory has `running.yaml` (the last good text), `previous.yaml` (the good one before)
and, while a change is under way or when one did not come up, `pending.json`: the digest of the text that is not good,
and that of the agent's own file at the time. An agent that starts and finds its own file to be either of these takes
the last good text instead. All calls block.
"""
from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

MODE = 0o640
FOLDER = "config"


def digest(text: bytes) -> str:
    """A name for a text."""
    return hashlib.sha256(text).hexdigest()


@dataclass(frozen=True, slots=True)
class Pending:
    """The note of a change that is not good (yet): digests of its text and of the agent's own file, and who began it.
    """

    text: str
    startup: str
    by: str


class ConfigFiles:
    """The files of one agent. `own` is the cluster file that it was started with."""

    def __init__(self, own: Path, state_dir: Path) -> None:
        self.own = own
        self._folder = state_dir / FOLDER

    def startup(self) -> bytes | None:
        """The agent's own file as it is now; None when it cannot be read."""
        return _read(self.own)

    def running(self) -> bytes | None:
        """The last good text."""
        return _read(self._folder / "running.yaml")

    def previous(self) -> bytes | None:
        """The good text before the last one."""
        return _read(self._folder / "previous.yaml")

    def pending(self) -> Pending | None:
        """The note of a change that is not good; a damaged one is none."""
        data = _read(self._folder / "pending.json")
        with suppress(ValueError, TypeError, KeyError):
            if data is not None:
                found = json.loads(data)
                return Pending(str(found["text"]), str(found["startup"]), str(found["by"]))
        return None

    def distrusted(self, startup: bytes) -> Pending | None:
        """The note for which a start takes the last good text instead of `startup`, the agent's own file."""
        note, good = self.pending(), self.running()
        if note is None or good is None or good == startup:
            return None
        return note if digest(startup) in (note.text, note.startup) else None

    def begin(self, running: bytes, text: bytes, by: str) -> None:
        """A change from `running` to `text` is under way. Raises OSError; then nothing may be changed."""
        self.keep(running)
        note = Pending(digest(text), digest(self.startup() or b""), by)
        self._write("pending.json", json.dumps(asdict(note)).encode())

    def keep(self, text: bytes) -> None:
        """`text` is the last good one from now on; what was before it becomes the previous one. Raises OSError."""
        before = self.running()
        if before == text:
            return
        if before is not None:
            self._write("previous.yaml", before)
        self._write("running.yaml", text)

    def end(self) -> None:
        """No change is under way, and none failed."""
        with suppress(OSError):
            (self._folder / "pending.json").unlink(missing_ok=True)

    def restored(self) -> None:
        """The change did not come up: its note stays only where the next start would take its text."""
        note = self.pending()
        if note is not None and note.text != digest(self.startup() or b""):
            self.end()

    def save(self, text: bytes) -> None:
        """Make `text` the agent's own file, with the mode and owner that it has. Raises OSError."""
        if self.startup() != text:
            write_whole(self.own.resolve(), text)

    def _write(self, name: str, data: bytes) -> None:
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_whole(self._folder / name, data)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def write_whole(path: Path, data: bytes) -> None:
    """Replace the file, whole or not at all; one that is there keeps its mode and owner. Raises OSError."""
    found: os.stat_result | None = None
    with suppress(FileNotFoundError):
        found = path.stat()
    if found is not None and not found.st_mode & 0o222:  # root could, but somebody has said that it is not to be
        raise PermissionError(errno.EACCES, "the file is read-only", str(path))
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    try:
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, MODE if found is None else stat.S_IMODE(found.st_mode))
                if found is not None:
                    os.fchown(descriptor, found.st_uid, found.st_gid)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            fresh.rename(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
