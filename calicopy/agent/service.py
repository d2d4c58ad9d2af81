"""What the agent tells its service manager: that it is ready, how it is, that it reloads, and that it lives.

Theory of operation: everything is said after a step of the core's loop, and never from a task or thread beside it. So a
loop that hangs is silent, whatever else still runs. An idle loop makes a step for each sign of life.
"""
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from calicopy.core import events as ev
from calicopy.core.core import Core
from calicopy.notify import notify, watchdog_every

STATUS_EVERY_S = 5.0
"""How old the line of `systemctl status` may be."""


class ServiceManager:
    """Tells the service manager of this process, when it has one."""

    def __init__(
        self, core: Core, post: Callable[[ev.CoreEvent], None], *, changing: Callable[[], bool]
    ) -> None:
        """`changing`: whether a cluster file is being read, or its change is under way."""
        self._core = core
        self._changing = changing
        self._post = post
        self._every = min(watchdog_every() or STATUS_EVERY_S, STATUS_EVERY_S)
        self._due = 0.0
        self._serving = False
        self._ready = False
        self._reloading = False
        self._status = ""
        notify("STATUS=starting: reading the kernel's routes")

    async def run(self) -> None:
        """Have the loop make a step when one is due to be told."""
        while True:
            await asyncio.sleep(self._every)
            self._post(ev.Ticked())

    def serving(self) -> None:
        """The API answers."""
        self._serving = True
        self._post(ev.Ticked())

    def reloading(self) -> None:
        """A reload begins. It ends when what was read holds, or is refused."""
        if self._ready and not self._reloading:
            self._reloading = True
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        notify("STOPPING=1", "STATUS=ending: routes and sessions stay")

    def stepped(self, now: float) -> None:
        """The core has made a step, at `now` (monotonic seconds)."""
        if not self._ready and self._serving and self._core.kernel.dumped:
            self._ready = True
            self._due = now + self._every
            notify("READY=1", *self._news())
        elif self._reloading and not self._changing():
            self._reloading = False
            notify("READY=1", *self._news())
        elif now >= self._due:
            self._due = now + self._every
            notify("WATCHDOG=1", *self._news())

    def _news(self) -> list[str]:
        """The status line, when it is another one than before."""
        if not self._ready:
            return []
        peers = self._core.peers.values()
        up = sum(peer.is_up for peer in peers)
        drain = self._core.drainer.phase.value
        status = f"STATUS=node {self._core.node.name}, {drain}: {up} of {len(peers)} peers established"
        if status == self._status:
            return []
        self._status = status
        return [status]
