"""`calicopy udp`: waits for the agent's settings, and forwards while they are there.

Theory of operation: whoever starts processes may start this one at any time, also before the agent. It looks at its
settings four times a second; other nodes are taken over as they are, another device, port or address means to open
anew. What cannot be opened is said in the status file and tried again, since the address or the device may still come.
"""
from __future__ import annotations

import errno
import fcntl
import io
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from calicopy.kernel.tun import TunError, open_tun
from calicopy.notify import notify
from calicopy.udp import SETTINGS_FILE, STATUS_FILE
from calicopy.udp.counters import Counters
from calicopy.udp.forwarder import Forwarder, open_socket
from calicopy.udp.lookup import Changes, Lookup
from calicopy.udp.settings import STATUS_S, Settings, Status, parse_settings
from calicopy.unit import Ending, run_unit, say, write_whole

LOOK_S = 0.25
USAGE = "usage: calicopy udp [--run-dir DIR]\n"
_SIOCGIFMTU = 0x8921


class Unit:
    """The process: settings, status, and the loop."""

    def __init__(self, run_dir: str) -> None:
        self._settings_path = f"{run_dir}/{SETTINGS_FILE}"
        self._status_path = f"{run_dir}/{STATUS_FILE}"
        self._seen: tuple[int, int] | None = None
        self._settings: Settings | None = None
        self._counters = Counters()
        self._error = ""
        self._said = ""
        self._reported = ""
        self._status_due = 0.0
        self._ending = Ending()

    def run(self) -> int:
        """Until SIGTERM or SIGINT."""
        self._ending.heed_signals()
        notify("READY=1")
        while not self._ending.asked:
            settings = self._look()
            if settings is not None:
                try:
                    self._serve(settings)
                    continue
                except OSError as error:
                    self._error = _reason(error, settings)
            self._report()
            self._ending.wait(LOOK_S)
        return 0

    def _look(self) -> Settings | None:
        """The settings as they are now; the last good ones when the file cannot be read."""
        try:
            found = os.stat(self._settings_path)  # noqa: PTH116 - pathlib is slow to load
            seen = (found.st_mtime_ns, found.st_ino)
            if seen != self._seen:
                with open(self._settings_path, encoding="utf-8") as file:  # noqa: PTH123 - as above
                    self._settings = parse_settings(file.read())
                self._seen = seen
        except FileNotFoundError:
            self._seen = self._settings = None
            self._error = f"waiting for {self._settings_path}"
        except (OSError, ValueError) as error:
            self._say(f"{self._settings_path}: {error}")
        return self._settings

    # -- forwarding ---------------------------------------------------------------------------------------------

    def _serve(self, settings: Settings) -> None:
        """Forward until something else is to be opened. OSError when it cannot begin, or the device is gone."""
        with ExitStack() as stack:
            tun = stack.enter_context(io.FileIO(open_tun(settings.device), "r+", closefd=True))
            sockets = [stack.enter_context(open_socket(address, settings.port)) for address in settings.addresses]
            lookup = Lookup(socket.if_nametoindex(settings.device))
            stack.callback(lookup.close)
            changes = Changes()
            stack.callback(changes.close)
            forwarder = Forwarder(
                tun,
                sockets,
                port=settings.port,
                mtu=_mtu(sockets[0], settings.device),
                nodes=settings.nodes,
                resolve=lookup.gateway,
                counters=self._counters,
            )
            self._error = ""
            self._report()
            self._forward(settings, forwarder, tun=tun, sockets=sockets, changes=changes)

    def _forward(
        self,
        settings: Settings,
        forwarder: Forwarder,
        *,
        tun: io.FileIO,
        sockets: Sequence[socket.socket],
        changes: Changes,
    ) -> None:
        by_descriptor = {made.fileno(): made for made in sockets}
        tun_descriptor, changes_descriptor = tun.fileno(), changes.fileno()
        poller = select.epoll()
        with poller:
            for descriptor in (*by_descriptor, tun_descriptor, changes_descriptor, self._ending.descriptor):
                poller.register(descriptor, select.EPOLLIN)
            look_at = 0.0
            while not self._ending.asked:
                ready = poller.poll(LOOK_S)
                for descriptor, _ in ready:
                    if descriptor == tun_descriptor:
                        if changes.drain():
                            forwarder.changed(_mtu(sockets[0], settings.device))
                        forwarder.outbound()
                    elif descriptor in by_descriptor:
                        forwarder.inbound(by_descriptor[descriptor])
                    elif descriptor == changes_descriptor and changes.drain():
                        forwarder.changed(_mtu(sockets[0], settings.device))
                now = time.monotonic()
                if now >= look_at:
                    look_at = now + LOOK_S
                    found = self._look()
                    if found is None or not found.same_place(settings):
                        return
                    if found is not settings:
                        settings = found
                        forwarder.set_nodes(found.nodes)
                    if now >= self._status_due:
                        self._report()

    # -- what is said -------------------------------------------------------------------------------------------

    def _report(self) -> None:
        """Write the status when it is due. That it cannot be written does not stop the forwarding."""
        now = time.monotonic()
        self._say(self._error)
        if now < self._status_due and self._error == self._reported:
            return
        self._status_due, self._reported = now + STATUS_S, self._error
        notify(f"STATUS={self._error or 'forwarding'}")
        status = Status(pid=os.getpid(), said=now, error=self._error, counters=self._counters.as_dict())
        try:
            write_whole(self._status_path, status.as_text())
        except OSError as error:
            self._say(f"{self._status_path}: {error.strerror}")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            if text:
                say(f"calicopy udp: {text}")


def _mtu(any_socket: socket.socket, device: str) -> int:
    answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFMTU, struct.pack("16si20x", device.encode(), 0))
    return int(struct.unpack_from("=i", answer, 16)[0])


def _reason(error: OSError, settings: Settings) -> str:
    if isinstance(error, TunError):
        return str(error.strerror)
    if error.errno in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
        where = " and ".join(f"{address} port {settings.port}" for address in settings.addresses)
        return f"cannot listen on {where}: {error.strerror}"
    if error.errno == errno.EBADFD:
        return f"{settings.device} was deleted"
    return str(error.strerror or error)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: `[--run-dir DIR]`. Exit codes: 0 stopped by signal, 2 usage."""
    return run_unit(lambda run_dir: Unit(run_dir).run(), USAGE, argv)


if __name__ == "__main__":
    sys.exit(main())
