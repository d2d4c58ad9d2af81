"""Network namespaces: opened by name, and netlink sockets inside of them.

Theory of operation: a socket belongs for good to the namespace in which it was made. So a short-lived thread enters the
namespace, makes the socket, and ends; no thread that lives on ever changes its namespace, and no process is forked.
"""
from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TypeVar

from calicopy.kernel.netlink import NetlinkSocket
from calicopy.workload.types import WorkloadError

Result = TypeVar("Result")

NAMED = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)  # os.setns is there from Python 3.12 on
_BUFFER = 1 << 18
_DENIED = (errno.EPERM, errno.EACCES)


def path_of(netns: str) -> Path:
    """The file of a namespace. WorkloadError(bad-spec) for what is neither a name nor an absolute path."""
    path = Path(netns) if netns.startswith("/") else NAMED / netns
    if not netns or netns in (".", "..") or "\0" in netns or ("/" in netns and not netns.startswith("/")):
        expected = f"expected a name under {NAMED}, or an absolute path such as /proc/PID/ns/net"
        raise WorkloadError(f"namespace {netns!r}: {expected}", "bad-spec")
    return path


@contextmanager
def opened(netns: str) -> Iterator[int]:
    """The namespace's file descriptor. WorkloadError when there is none, or it is the caller's own."""
    path = path_of(netns)
    try:
        # O_NONBLOCK: a path that names a FIFO must not hold the caller.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        code = "no-permission" if error.errno in _DENIED else "netns-not-found"
        raise WorkloadError(f"network namespace {path}: {error.strerror}", code) from error
    try:
        asked, own = os.fstat(descriptor), Path("/proc/thread-self/ns/net").stat()
        if (asked.st_dev, asked.st_ino) == (own.st_dev, own.st_ino):
            raise WorkloadError(f"network namespace {path} is the host's own: expected that of a pod", "netns-is-host")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def host_socket() -> Iterator[NetlinkSocket]:
    """A netlink socket in the namespace of the calling thread."""
    socket = NetlinkSocket(receive_buffer=_BUFFER, send_buffer=_BUFFER)
    try:
        yield socket
    finally:
        socket.close()


@contextmanager
def socket_in(descriptor: int, netns: str) -> Iterator[NetlinkSocket]:
    """A netlink socket in an opened namespace. WorkloadError when it is not one, or may not be entered."""
    socket = run_in(descriptor, netns, lambda: NetlinkSocket(receive_buffer=_BUFFER, send_buffer=_BUFFER))
    try:
        yield socket
    finally:
        socket.close()


def run_in(descriptor: int, netns: str, work: Callable[[], Result]) -> Result:
    """What `work` gives inside an opened namespace. WorkloadError when it is not one, may not be entered, or `work`
    raises OSError there."""
    made: list[Result] = []
    failed: list[OSError] = []

    def enter() -> None:
        try:
            if _LIBC.setns(descriptor, _CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            made.append(work())
        except OSError as error:
            failed.append(error)

    thread = Thread(target=enter, name="calicopy-netns", daemon=True)
    thread.start()
    thread.join()
    if not made:
        raise _refused(failed[0] if failed else OSError(errno.EIO, "the thread inside ended early"), netns)
    return made[0]


def _refused(error: OSError, netns: str) -> WorkloadError:
    path = path_of(netns)
    if error.errno in (errno.EINVAL, errno.EBADF):
        return WorkloadError(f"{path} is not a network namespace", "not-a-netns")
    if error.errno in _DENIED:
        wanted = "entering it wants CAP_SYS_ADMIN and CAP_NET_ADMIN"
        return WorkloadError(f"network namespace {path}: {error.strerror}: {wanted}", "no-permission")
    return WorkloadError(f"network namespace {path}: {error.strerror}", "kernel-refused")
