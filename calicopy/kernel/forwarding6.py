"""IPv6 forwarding, without taking the host's own default route away.

Theory of operation: Linux forwards IPv6 only where `net.ipv6.conf.all.forwarding` is 1; the settings of a device do not
count (ip6_forward). Writing 1 there makes the host a router on every device: where `accept_ra` is 1 it takes no router
advertisements any more, and the default routes that came with them are removed at once (addrconf_fixup_forwarding,
rt6_purge_dflt_routers). 2 says: take them although we forward. So before forwarding is switched on, each device that
took them so far gets 2, so that a default route learned before stays, and one that is not learned yet can come. Where
forwarding is on already, nothing is changed: whoever switched it on has decided. None of this can be set over netlink,
so where /proc/sys is read-only it has to be set from outside.
"""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

CONF = Path("/proc/sys/net/ipv6/conf")
FORWARDING = "net.ipv6.conf.all.forwarding"
_ACCEPT, _ACCEPT_ALTHOUGH_ROUTER = 1, 2


class ForwardingError(Exception):
    """IPv6 is not forwarded, and why that could not be changed. `value` is None when the setting cannot be read."""

    def __init__(self, value: int | None, message: str) -> None:
        super().__init__(message)
        self.value = value


def ensure_forwarding6(devices: Iterable[str]) -> None:
    """Switch IPv6 forwarding on where it is off; `devices` are those that may take router advertisements.

    In the network namespace of the calling thread. Raises ForwardingError.
    """
    value = read(CONF / "all/forwarding")
    if value == 1:
        return
    if value is None:
        raise ForwardingError(None, "the kernel has no IPv6")
    try:
        for device in devices:
            setting = CONF / device / "accept_ra"
            if read(setting) == _ACCEPT:
                setting.write_text(f"{_ACCEPT_ALTHOUGH_ROUTER}\n")
        (CONF / "all/forwarding").write_text("1\n")
    except OSError as error:
        raise ForwardingError(value, error.strerror or str(error)) from error


def read(setting: Path) -> int | None:
    """A number under /proc/sys; None when it cannot be read."""
    try:
        return int(setting.read_text())
    except (OSError, ValueError):
        return None
