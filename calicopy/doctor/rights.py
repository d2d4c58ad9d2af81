"""What this process, and so an agent started in the same way, may do."""
from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from calicopy.doctor.result import Finding, Setting, fail, ok, warn

CAPABILITIES = {
    "CAP_NET_BIND_SERVICE": (10, "listening on port 179"),
    "CAP_NET_ADMIN": (12, "routes, devices, nft"),
    "CAP_NET_RAW": (13, "packets with a TTL of their own, MTU probes"),
    "CAP_SYS_ADMIN": (21, "entering the namespaces of pods"),
    "CAP_SYS_NICE": (23, "SCHED_FIFO of the BFD process"),
}
"""Number (linux/capability.h), and what each is for."""
NEEDED = ("CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN")
LOCKED_BYTES = 64 << 20
"""What the BFD process locks in memory at most."""


def capabilities(_: Setting) -> Iterator[Finding]:
    """Effective, and what the bounding set leaves."""
    status = Path("/proc/self/status").read_text()
    effective, bounding = capability_set(status, "CapEff"), capability_set(status, "CapBnd")
    missing = [name for name, (number, _) in CAPABILITIES.items() if not effective >> number & 1]
    if not missing:
        yield ok("capabilities", "all that is needed")
    for name in missing:
        number, purpose = CAPABILITIES[name]
        how = "start it as root" if bounding >> number & 1 else "the bounding set lacks it: give it to the container"
        yield (fail if name in NEEDED else warn)(name, f"missing, for {purpose}", how)


def capability_set(status: str, name: str) -> int:
    """A line such as `CapEff: 000001ffffffffff` of proc(5)'s status, as a number; 0 without it."""
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.partition(":")[2], 16)
    return 0


def realtime(_: Setting) -> Iterator[Finding]:
    """SCHED_FIFO and locked memory, for BFD."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # of this thread alone
        os.sched_setscheduler(0, *before)
        yield ok("SCHED_FIFO", "allowed")
    except OSError as error:
        yield warn("SCHED_FIFO", f"refused: {error.strerror}", "give CAP_SYS_NICE, or RLIMIT_RTPRIO: on a busy host "
                   "BFD may take a living path for dead")
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    ipc_lock = capability_set(Path("/proc/self/status").read_text(), "CapEff") >> 14 & 1
    if ipc_lock or soft == resource.RLIM_INFINITY or soft >= LOCKED_BYTES:
        yield ok("memlock", "the BFD process can be kept in memory")
    else:
        yield warn("memlock", f"{soft >> 10} KiB at most", "give CAP_IPC_LOCK or a greater LimitMEMLOCK: pages of the "
                   "BFD process may be swapped out")
