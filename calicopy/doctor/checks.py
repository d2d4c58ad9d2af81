"""All checks, in the order in which they are shown."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from calicopy.doctor import host, mtu, network_manager, others, ports, rights
from calicopy.doctor.result import Finding, Setting, skipped

Check = Callable[[Setting], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    host.kernel, host.modules, host.sysctls, host.loopback, host.own_address, host.namespaces, host.clock,
    rights.capabilities, rights.realtime, ports.ports, others.networkd, network_manager.network_manager,
    others.other_routes, others.firewall, mtu.mtus,
)  # fmt: skip


def examine(setting: Setting) -> list[Finding]:
    """What every check says."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        return [finding for found in pool.map(lambda check: _run(check, setting), CHECKS) for finding in found]


def _run(check: Check, setting: Setting) -> list[Finding]:
    try:
        return list(check(setting))
    except (OSError, ValueError) as error:  # a host where what it reads is not there, or looks different
        return [skipped(check.__name__.replace("_", " "), f"could not look: {error}")]
