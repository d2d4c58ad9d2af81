"""What a service manager is told: sd_notify(3), with the standard library alone.

Theory of operation: one datagram for each message, to the socket that `NOTIFY_SOCKET` names: a path, or a name in the
abstract namespace after `@`. Without that variable nobody listens, nothing is loaded and nothing is done, so that
processes that have to load quickly may call this. Nothing here waits or raises: no process of ours hangs or ends
because of who watches it.
"""
from __future__ import annotations

import os

WATCHDOG_SHARE = 4
"""Signs of life for each watchdog time: systemd recommends two, and a busy machine may make one late."""


def notify(*lines: str) -> bool:
    """Send lines such as `READY=1` in one message; whether there was somebody to take it."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return False
    import socket  # not at the top: it is needed under a service manager alone

    name = f"\0{place[1:]}" if place.startswith("@") else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, name)
    except OSError:
        return False
    return True


def watchdog_every() -> float | None:
    """Seconds between two signs of life (`WATCHDOG=1`); None when nobody waits for them from this process."""
    try:
        wanted_of = int(os.environ.get("WATCHDOG_PID") or os.getpid())
        time_us = int(os.environ["WATCHDOG_USEC"])
    except (KeyError, ValueError):
        return None
    return time_us / 1e6 / WATCHDOG_SHARE if time_us > 0 and wanted_of == os.getpid() else None
