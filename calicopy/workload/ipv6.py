"""IPv6 settings of single interfaces, which no netlink message reaches: they are files under /proc/sys.

Where /proc/sys is read-only nothing happens, and the kernel then says what it does not allow. In the network namespace
of the calling thread.
"""
from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_CONF = Path("/proc/sys/net/ipv6/conf")


def switch_on(*interfaces: str) -> None:
    """Let the interfaces have IPv6: engines of containers switch it off in every new namespace."""
    for interface in interfaces:
        _write(interface, "disable_ipv6", "0")


def ignore_advertisements(interface: str) -> None:
    """Take no router advertisements on the interface: a workload is not the host's router."""
    _write(interface, "accept_ra", "0")


def _write(interface: str, name: str, wanted: str) -> None:
    setting = _CONF / interface / name
    with suppress(OSError):
        if setting.read_text().strip() != wanted:
            setting.write_text(wanted)
