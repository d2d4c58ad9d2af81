"""The first process of a lab node: makes the node's namespaces and file system, then becomes the node's `cmd`.

Theory of operation: run as a script by `run.up` (`python -I -S init.py STATUS LOCK < spec.json`), so it knows nothing
but the standard library. Three processes follow each other: the starter reads the spec, forks the monitor and ends; the
monitor stays on the host, forks the node into a new PID namespace, writes its pid *before* it may go on (so that nobody
ever runs unrecorded), waits for it and writes down how it ended; the node enters its network namespace, makes its
mount, UTS and IPC namespaces, and executes `cmd` as PID 1. Killing that one process therefore ends everything in the
node.

The file system is the host's, copy on write (overlayfs on a tmpfs), as if the host were the image: what a node writes
anywhere is its own and goes with it. /run, /tmp, /var/lib/calicopy and /etc/calicopy start empty; /proc and /sys are
the node's own, and read-only where a container without `privileged` has them read-only. Binds go on top. Nothing of
the host is mounted in there but that, so no namespace or mount of the host is kept alive by a node.

A failure before the `exec` is told through the pipe STATUS as text; an empty pipe at its end means success. LOCK is the
descriptor with the lab's lock: it stays held until the node is recorded and executed, also when `up` was killed
meanwhile, so that no `down` can pass a node by that is about to start.
"""
from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import signal
import sys
import traceback
from typing import TypedDict


class BindSpec(TypedDict):
    """A bind mount: paths of the host and of the node."""

    source: str
    target: str
    read_only: bool


class Spec(TypedDict):
    """What the starter reads: see `plan.NodePlan`. `tools` are directories of the host shown as they are, read-only;
    `record` and `ended` are files to write the pid and the end to; `work` is an empty directory."""

    netns: str
    hostname: str
    argv: list[str]
    env: dict[str, str]
    sysctls: dict[str, str]
    binds: list[BindSpec]
    tools: list[str]
    hosts: str
    privileged: bool
    log: str
    record: str
    ended: str
    work: str


_LIBC = ctypes.CDLL(None, use_errno=True)
# <linux/sched.h>
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000)
# <linux/mount.h>
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1, 2, 4, 8, 32, 4096, 16384, 1 << 18)
MNT_DETACH = 2
HOST = "/.host"
FRESH = ("/run", "/tmp", "/var/lib/calicopy", "/etc/calicopy")  # noqa: S108 - the node's own /tmp, made empty here
NOT_COPIED = frozenset((
    "autofs", "bpf", "cgroup", "cgroup2", "debugfs", "devpts", "devtmpfs", "fuse.snapfuse", "fusectl", "hugetlbfs",
    "mqueue", "nsfs", "overlay", "proc", "pstore", "ramfs", "securityfs", "squashfs", "sysfs", "tmpfs", "tracefs"))
"""Types of file systems of the host that a node does not get: pseudo ones, and the insides of others' containers."""


class SetupError(Exception):
    """A step that failed, in words for the user."""


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise SetupError(f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2); raises SetupError."""
    _check(_LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()),
           f"mount {kind or source} on {target}")


def bind(source: str, target: str, *, read_only: bool, recursive: bool = True) -> None:
    """Show `source` at `target`, which must exist."""
    mount(source, target, "", MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        mount("", target, "", MS_REMOUNT | MS_BIND | MS_RDONLY)


def main() -> int:
    """The starter."""
    status, lock = int(sys.argv[1]), int(sys.argv[2])
    for fd in (status, lock):
        os.set_inheritable(fd, False)  # so that executing `cmd` closes it, which says "started"
    spec: Spec = json.load(sys.stdin)
    if os.fork() == 0:
        try:
            _monitor(spec, status, lock)
        except BaseException as error:  # the last word of a process that has nobody to raise to
            _tell(status, error)
        os._exit(1)
    return 0


def _tell(status: int, error: BaseException) -> None:
    text = str(error) if isinstance(error, SetupError | OSError) else traceback.format_exc()
    with contextlib.suppress(OSError):
        os.write(status, text.encode())


def _monitor(spec: Spec, status: int, lock: int) -> None:
    os.setsid()
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        os.dup2(null, fd)
    netns = os.open(spec["netns"], os.O_RDONLY | os.O_CLOEXEC)
    go_read, go_write = os.pipe()
    _check(_LIBC.unshare(CLONE_NEWPID), "new PID namespace")
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go_write)
            if os.read(go_read, 1) != b"g":
                os._exit(1)  # the monitor is gone, so nobody knows this process
            _node(spec, netns=netns, log=log)
        except BaseException as error:  # as in main
            _tell(status, error)
        os._exit(1)
    _write(spec["record"], json.dumps({"pid": pid, "start": start_time(pid), "monitor": os.getpid()}))
    os.write(go_write, b"g")
    os.close(status)
    os.close(lock)
    _, ended = os.waitpid(pid, 0)
    with contextlib.suppress(FileNotFoundError):  # the lab was taken down meanwhile
        _write(spec["ended"], str(os.waitstatus_to_exitcode(ended)))
    os._exit(0)


def _write(path: str, text: str) -> None:
    """Whole or not at all."""
    with open(path + ".new", "w") as file:  # noqa: PTH123 - pathlib would double the start-up time of every node
        file.write(text)
    os.rename(path + ".new", path)  # noqa: PTH104 - as above


def start_time(pid: int) -> int:
    """When `pid` started, in clock ticks since boot (proc(5), stat field 22): tells a reused pid from the old one."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - as above
        return int(file.read().rpartition(")")[2].split()[19])


def _node(spec: Spec, *, netns: int, log: int) -> None:
    os.setsid()
    _check(_LIBC.setns(netns, CLONE_NEWNET), f"enter {spec['netns']}")
    _check(_LIBC.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC), "new namespaces")
    hostname = spec["hostname"].encode()
    _check(_LIBC.sethostname(hostname, ctypes.c_size_t(len(hostname))), "sethostname")
    _file_system(spec)
    for name, value in spec["sysctls"].items():
        _set_sysctl(name, value)
    if not spec["privileged"]:
        bind("/proc/sys", "/proc/sys", read_only=True)
        mount("", "/sys", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.umask(0o022)
    for fd in (1, 2):
        os.dup2(log, fd)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # Python ignores the first two, and `cmd` would inherit that
    try:
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - `cmd` is what the file asks to run
    except OSError as error:
        raise SetupError(f"cmd {spec['argv'][0]}: {error.strerror}") from None


def _set_sysctl(name: str, value: str) -> None:
    # An interface's name may hold dots, which are written as slashes then, as in sysctl(8).
    path = "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))
    try:
        with open(path, "w") as file:  # noqa: PTH123 - as above
            file.write(value + "\n")
    except OSError as error:
        raise SetupError(f"sysctl {name}={value}: {error.strerror}") from None


def _file_system(spec: Spec) -> None:
    """Builds the node's tree under `work` and makes it the root."""
    mount("", "/", "", MS_REC | MS_PRIVATE)
    mount("calicopy-lab", spec["work"], "tmpfs", 0, "mode=0755")
    root = spec["work"] + "/root"
    os.mkdir(root)  # noqa: PTH102 - as above
    _overlay("/", root, store=spec["work"] + "/0")
    for index, place in enumerate(_host_mounts(), start=1):
        with contextlib.suppress(SetupError):  # hidden by another mount, or of a type that cannot lie below
            _overlay(place, root + place, store=f"{spec['work']}/{index}")
    os.mkdir(root + HOST)  # noqa: PTH102 - as above
    _check(_LIBC.pivot_root(root.encode(), (root + HOST).encode()), "pivot_root")
    os.chdir("/")
    # From here on every path, and every symbolic link on its way, is the node's.
    for place in FRESH:
        os.makedirs(place, exist_ok=True)  # noqa: PTH103 - as above
        mode = "mode=1777" if place == "/tmp" else "mode=0755"  # noqa: S108 - as FRESH
        mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, mode)
    os.mkdir("/run/netns")  # noqa: PTH102 - as above
    os.mkdir("/run/lock")  # noqa: PTH102 - as above
    if not os.path.islink("/var/run"):  # noqa: PTH114 - as above
        bind("/run", "/var/run", read_only=False)
    bind(HOST + "/dev", "/dev", read_only=False)
    with contextlib.suppress(SetupError):  # not every host has the directory
        mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")  # noqa: S108 - as FRESH
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for name, text in (("hostname", spec["hostname"] + "\n"), ("hosts", spec["hosts"])):
        _write(f"/etc/{name}", text)
    for place in spec["tools"]:
        _bind_from_host(place, place, read_only=True)
    for one in spec["binds"]:
        _bind_from_host(one["source"], one["target"], read_only=one["read_only"])
    _check(_LIBC.umount2(HOST.encode(), MNT_DETACH), "leave the host's tree")
    os.rmdir(HOST)  # noqa: PTH106 - as above


def _overlay(lower: str, target: str, *, store: str) -> None:
    upper, work = store + "/upper", store + "/work"
    os.makedirs(upper)  # noqa: PTH103 - as above
    os.mkdir(work)  # noqa: PTH102 - as above
    escaped = re.sub(r"([\\,:])", r"\\\1", lower)
    try:
        mount("overlay", target, "overlay", 0, f"lowerdir={escaped},upperdir={upper},workdir={work}")
    except SetupError as error:
        hint = " (does the kernel have overlayfs? `modprobe overlay`)" if ctypes.get_errno() == errno.ENODEV else ""
        raise SetupError(f"{error}{hint}") from None


def _host_mounts() -> list[str]:
    """Directories of the host with a file system of their own that a node should see, the outer ones first."""
    found: list[str] = []
    with open("/proc/self/mountinfo") as file:  # noqa: PTH123 - as above
        for line in file:
            left, _, right = line.partition(" - ")
            place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), left.split()[4])
            kind = right.split()[0]
            hidden = any(place == top or place.startswith(top + "/") for top in ("/proc", "/sys", "/dev", *FRESH))
            if place != "/" and not hidden and kind not in NOT_COPIED and os.path.isdir(place):  # noqa: PTH112
                found.append(place)
    return found


def _bind_from_host(source: str, target: str, *, read_only: bool) -> None:
    """Show the host's `source` (no symbolic link in it) at `target`, which is made where it is missing."""
    if os.path.isdir(HOST + source):  # noqa: PTH112 - as above
        os.makedirs(target, exist_ok=True)  # noqa: PTH103 - as above
    elif os.path.exists(HOST + source):  # noqa: PTH110 - as above
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120 - as above
        with open(target, "a"):  # noqa: PTH123 - as above
            pass
    else:
        raise SetupError(f"bind {source}:{target}: there is no {source}")
    bind(HOST + source, target, read_only=read_only)


if __name__ == "__main__":
    sys.exit(main())
