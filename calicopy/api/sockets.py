"""The unix sockets: who holds them, who may open them.

Theory of operation: a lock file beside the sockets says which agent holds them; the kernel drops the lock with the
process, however that ends. Only the holder touches the sockets' paths. A socket is bound under a name of its own, gets
its group and mode there, and is then renamed to its path: so nobody can open it before its permissions are right, and
the server library, which removes the name that it bound when it ends, never removes the socket of the next agent.
"""
from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from calicopy.config.model import AgentSection

DIRECTORY_MODE = 0o750
SOCKET_MODE = 0o660
LONGEST_PATH = 107  # sun_path of unix(7) less the final NUL


class SocketsHeldError(OSError):
    """Another agent serves these sockets."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(errno.EADDRINUSE, f"{holder} serves this socket already: one agent per socket", str(path))
        self.pid = pid


class SocketLock:
    """A lock on `SOCKET.lock`, held until `release` or the end of the process."""

    def __init__(self, socket_path: Path) -> None:
        """Take it. Raises SocketsHeldError at once when another process has it, OSError when it cannot be made."""
        path = socket_path.with_name(f"{socket_path.name}.lock")
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read_pid(self._descriptor)
            self.release()
            raise SocketsHeldError(socket_path, pid) from None
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same, only its note is missing
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give it up. The file stays: removing it would let two processes lock two files of one name."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def hold_sockets(settings: AgentSection) -> SocketLock:
    """Make the sockets' directory and take their lock. Raises SocketsHeldError, and OSError of what the host says."""
    path = Path(settings.socket_path)
    group = find_group(settings.socket_group)
    make_directory(path.parent, group, dedicated=path.parent == Path(settings.run_dir))
    return SocketLock(path)


def _read_pid(descriptor: int) -> int | None:
    try:
        return int(os.pread(descriptor, 32, 0))
    except (OSError, ValueError):
        return None


def find_group(name: str) -> int | None:
    """The group's number, or None when the host has no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def make_directory(path: Path, group: int | None, *, dedicated: bool) -> None:
    """Make the directory of the sockets; only its owner and `group` may enter it.

    One that is there already gets the same rights only when it is `dedicated` to the agent (its run directory) and
    looks like it: ours, not shared like /tmp, and not a top directory such as /run.
    """
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True)
    except FileExistsError:
        found = path.stat()
        top = len(path.resolve().parts) < 3
        if not dedicated or top or found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX:
            return
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(DIRECTORY_MODE)


class PublishedSocket:
    """A socket at its path, with its permissions. `bind` is called with the name to bind."""

    def __init__(self, path: Path, *, group: int | None, bind: Callable[[Path], None]) -> None:
        """Raises OSError. The caller holds the lock."""
        self.path = path
        bound = path.with_name(f".{path.name}.{os.getpid()}")
        if len(os.fsencode(bound)) > LONGEST_PATH:
            most = LONGEST_PATH - len(os.fsencode(bound)) + len(os.fsencode(path))
            raise OSError(errno.ENAMETOOLONG, f"the path of a socket may have {most} octets at most here", str(path))
        for left in path.parent.glob(f".{path.name}.*"):  # of an agent that was killed while it bound
            left.unlink(missing_ok=True)
        _refuse_other_files(path)
        before = os.umask(0o177)
        try:
            bind(bound)
        finally:
            os.umask(before)
        if group is not None:
            os.chown(bound, -1, group)
        bound.chmod(SOCKET_MODE)
        bound.rename(path)
        self._identity = _identity(path)

    def remove(self) -> None:
        """Remove it, unless something else is at its path by now."""
        with contextlib.suppress(FileNotFoundError):
            if _identity(self.path) == self._identity:
                self.path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _refuse_other_files(path: Path) -> None:
    """The path may be free or have a socket that a killed agent left; a file of another kind is not ours."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "is there and is not a socket", str(path))
        if answers(path):
            raise OSError(errno.EADDRINUSE, "another program serves this socket", str(path))


def answers(path: Path) -> bool:
    """Whether somebody accepts connections at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
