"""Forwarding and reverse-path settings, of the network namespace of the calling thread.

Theory of operation: read first, write only what differs. /proc/sys is read-only in an unprivileged container; the
per-device IPv4 settings then go over netlink. The global ip_forward has no such way, but the kernel decides by the
device a packet came in on (IN_DEV_FORWARD), so it is enough to set `forwarding` per device. What could be set in
neither way is a problem, by name.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from calicopy.kernel.forwarding6 import FORWARDING, ForwardingError, ensure_forwarding6
from calicopy.kernel.links import interfaces
from calicopy.kernel.linkset import set_inet_conf
from calicopy.kernel.netlink import NetlinkError, NetlinkSocket
from calicopy.kernel.problems import KernelProblem, ProblemKind
from calicopy.net.tunnel import IPIP_DEVICE

_PROC = Path("/proc/sys/net")
_DEVCONF = {"forwarding": 1, "rp_filter": 8}
"""IPV4_DEVCONF_* of linux/ip.h."""
OWN_DEVICES = ("lo", IPIP_DEVICE, "cali")
"""How the names of devices begin that are ours, or take no router advertisements anyway."""
LOOSE = 2
"""rp_filter: the source must be reachable through any interface (RFC 3704 section 2.4)."""


@dataclass(frozen=True, slots=True)
class SysctlSpec:
    """What is wanted: forwarding on and rp_filter loose on the underlay's devices and the tunnels'.

    `workloads` are host interfaces of workloads: forwarding alone (their rp_filter is the anti-spoofing rule).
    `ipv6`: IPv6 is forwarded too.
    """

    underlay: tuple[str, ...] = ()
    tunnels: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    ipv6: bool = False


@dataclass(frozen=True, slots=True)
class SysctlProblem:
    """A setting that is not as it should be, and cannot be made so. `value` is None when it cannot be read."""

    name: str
    wanted: int
    value: int | None
    message: str
    severe: bool = True

    def as_problem(self) -> KernelProblem:
        """The same for the status."""
        held = "cannot be read" if self.value is None else f"is {self.value}"
        text = f"{held}, wanted {self.wanted}: {self.message}"
        return KernelProblem(ProblemKind.SYSCTL_NOT_SET, self.name, text, self.severe)


def ensure_sysctls(socket: NetlinkSocket, spec: SysctlSpec) -> list[SysctlProblem]:
    """Bring the settings to what `spec` says; what could not be set comes back."""
    problems: list[SysctlProblem] = []
    # First, since writing it resets the per-device forwarding.
    forwarding = _ensure_file("ipv4/ip_forward", 1)
    compat = _ensure_file("ipv4/nexthop_compat_mode", 0)
    if compat is not None and compat.value is not None:
        problems.append(_mild(compat, "changes of nexthop objects are announced per route, which is slow"))
    indexes = {link.name: link.ifindex for link in interfaces(socket).values()}
    fabric = (*spec.underlay, *spec.tunnels)
    device_problems: list[SysctlProblem] = []
    for device in dict.fromkeys((*fabric, *spec.workloads)):
        if device in indexes:
            loose = device in fabric
            device_problems += _ensure_device(socket, device, indexes[device], loose=loose)
    problems += device_problems
    if forwarding is not None and (not indexes or any("forwarding" in found.name for found in device_problems)):
        problems.append(forwarding)
    if spec.ipv6:
        problems += _ensure_ipv6(name for name in indexes if not name.startswith(OWN_DEVICES))
    return problems


def _ensure_ipv6(devices: Iterable[str]) -> list[SysctlProblem]:
    try:
        ensure_forwarding6(devices)
    except ForwardingError as error:
        consequence = "IPv6 of pods does not leave this host; set it from outside (containers: `sysctls`)"
        return [SysctlProblem(FORWARDING, 1, error.value, f"{error}; {consequence}")]
    return []


def _ensure_device(socket: NetlinkSocket, device: str, ifindex: int, *, loose: bool) -> list[SysctlProblem]:
    wanted = {"forwarding": 1, **({"rp_filter": LOOSE} if loose else {})}
    failed = [
        (name, value, problem)
        for name, value in wanted.items()
        if (problem := _ensure_file(f"ipv4/conf/{device}/{name}", value)) is not None
    ]
    if not failed:
        return []
    try:
        set_inet_conf(socket, ifindex, {_DEVCONF[name]: value for name, value, _ in failed})
    except NetlinkError as error:
        return [_because(problem, f"{problem.message}; over netlink: {error.strerror}") for _, _, problem in failed]
    # The kernel's word counts, where it can be read.
    return [
        problem
        for name, value, problem in failed
        if _read(f"ipv4/conf/{device}/{name}") not in (value, None)
    ]


def _read(name: str) -> int | None:
    try:
        return int((_PROC / name).read_text())
    except (OSError, ValueError):
        return None


def _ensure_file(name: str, wanted: int) -> SysctlProblem | None:
    """Set one file under /proc/sys/net; the problem when that fails."""
    value = _read(name)
    if value == wanted:
        return None
    dotted = "net." + name.replace("/", ".")
    try:
        (_PROC / name).write_text(f"{wanted}\n")
    except OSError as error:
        return SysctlProblem(dotted, wanted, value, error.strerror or str(error))
    return None


def _because(problem: SysctlProblem, message: str) -> SysctlProblem:
    return SysctlProblem(problem.name, problem.wanted, problem.value, message, problem.severe)


def _mild(problem: SysctlProblem, consequence: str) -> SysctlProblem:
    return SysctlProblem(problem.name, problem.wanted, problem.value, f"{problem.message}; {consequence}", severe=False)
