"""The forwarder of encapsulation udp, as the agent sees it: what it is asked for, and what it says.

Theory of operation: the forwarder is a process of its own that the agent neither starts nor ends (`calicopy.udp`). It
runs while its settings are in the run directory, and says there how it is. Here a queue of its TUN device is held open
besides, so that the device keeps its carrier, and the kernel the routes through it, while a killed forwarder is started
again.
"""
from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from calicopy.agent.edges import Post
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.kernel.tun import TunError, TunHold
from calicopy.udp import SETTINGS_FILE, STATUS_FILE
from calicopy.udp.settings import STATUS_S, Settings, parse_status
from calicopy.unit import remove, write_whole

log = logging.getLogger(__name__)

SILENT_S = 3 * STATUS_S  # so long without a word: it does not run
COMPONENT = "udp"


class UdpEdge:
    """Settings and status of the forwarder, and a hold on its device."""

    def __init__(self, run_dir: Path, post: Post) -> None:
        self._settings_path = str(run_dir / SETTINGS_FILE)
        self._status_path = run_dir / STATUS_FILE
        self._post = post
        self._wanted_since: float | None = None
        self._hold = TunHold()
        self._problems: dict[str, str] | None = None
        self.counters: dict[str, int] = {}

    def configure(self, *, wanted: bool) -> None:
        """Whether the cluster file has udp at all: without it the forwarder is to end. The device stays."""
        if wanted:
            self._wanted_since = self._wanted_since or time.monotonic()
        else:
            self._wanted_since = None
            try:
                remove(self._settings_path)
            except OSError as error:
                log.warning("%s stays: %s", self._settings_path, error.strerror)

    def prepare(self, command: do.SetTunnel) -> str:
        """Make and hold the device, and ask for the forwarder; what is in the way, or nothing."""
        if self._wanted_since is None:
            return "the cluster file has no udp any more"
        try:
            self._hold.hold(command.device)
            self._ask(settings_of(command).as_text())
        except TunError as error:
            return str(error.strerror)
        except OSError as error:
            return f"{self._settings_path}: {error.strerror}"
        return ""

    def _ask(self, text: str) -> None:
        """Write the settings, unless they are there already."""
        try:
            if Path(self._settings_path).read_text(encoding="utf-8") == text:
                return
        except (OSError, UnicodeDecodeError):
            pass  # it is written anew
        write_whole(self._settings_path, text)

    def close(self) -> None:
        """Let go of the device."""
        self._hold.close()

    async def watch(self) -> None:
        """Post what is wrong with the forwarder, when that changes; until cancelled."""
        while True:
            problem = self._look()
            problems = {"forwarder": problem} if problem else {}
            if problems != (self._problems or {}):
                self._problems = problems
                self._post(ev.HostChecked(COMPONENT, problems))
            await asyncio.sleep(STATUS_S)

    def _look(self) -> str:
        """What is wrong, or nothing. The file is small and in memory (tmpfs), so it is read here and now."""
        if self._wanted_since is None:
            self.counters = {}
            return ""
        now = time.monotonic()
        try:
            status = parse_status(self._status_path.read_text(encoding="utf-8"))
            said, error = status.said, status.error
            self.counters = {f"udp.{name}": value for name, value in status.counters.items()}
        except FileNotFoundError:
            said, error = 0.0, ""
        except (OSError, ValueError):
            return f"{self._status_path} cannot be read"
        if now - max(said, self._wanted_since) > SILENT_S:
            return "the forwarder does not run: pods behind other nodes are not reached through udp"
        return error


def settings_of(command: do.SetTunnel) -> Settings:
    """What the forwarder is asked for."""
    nodes = {
        str(gateway): str(end.address)
        for end in command.ends
        for gateway in (end.gateway4, end.gateway6)
        if gateway is not None
    }
    return Settings(command.device, command.port, addresses=(str(command.local),), nodes=nodes)
