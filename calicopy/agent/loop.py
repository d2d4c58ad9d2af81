"""The agent's loop: gather what has happened, let the core decide, hand its commands to the edges.

Theory of operation: edges post events from their own tasks; the loop takes them in slices, so that no call of the
core is long (design rule 9), and dispatches the commands in order. It never awaits an edge. Between slices it yields
to the event loop, so that the API and link events are served while a large table comes in.

The one thing that it waits for, and not for long, is a command that an edge calls urgent: what turns away packets from
a node that is gone is done by a thread, and the next step, which has 100,000 routes to look at, would keep both the
interpreter and the processor from it for 10 ms and more.
"""
from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from calicopy.core.commands import Command
from calicopy.core.core import Core
from calicopy.core.events import CoreEvent, Ticked

if TYPE_CHECKING:
    from calicopy.agent.journal import Journal  # loads what most agents have no use for

log = logging.getLogger(__name__)

SLICE_EVENTS = 64
SLOW_STEP_S = 0.02
PATIENCE_S = 0.05  # for urgent commands; then the loop goes on without


class CoreLoop:
    """Runs `core`. `dispatch` carries a command to its edge and returns at once; what it gives back is urgent, and the
    next step comes when that is done. `after` is called after each step. Each step
    goes into the `journal`, if there is one.
    """

    def __init__(
        self, core: Core, dispatch: Callable[[Command], Awaitable[object] | None], after: Callable[[], None]
    ) -> None:
        self.core = core
        self._dispatch = dispatch
        self._after = after
        self.journal: Journal | None = None
        self._events: deque[CoreEvent] = deque()
        self._urgent: list[asyncio.Future[object]] = []
        self._wake = asyncio.Event()
        self.slow_steps = 0
        self.longest_step_s = 0.0

    def post(self, event: CoreEvent) -> None:
        """Tell the core, in the loop's next step."""
        self._events.append(event)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wait()
            self._wake.clear()
            count = min(SLICE_EVENTS, len(self._events))
            events = [self._events.popleft() for _ in range(count)] or [Ticked()]
            self._step(events)
            if self._events:
                self._wake.set()
            if self._urgent:
                await asyncio.wait(self._urgent, timeout=PATIENCE_S)
                self._urgent.clear()
            await asyncio.sleep(0)

    def _step(self, events: list[CoreEvent]) -> None:
        began = time.perf_counter()
        now = time.monotonic()
        commands = self.core.handle(events, now)
        if self.journal is not None:
            self.journal.step(now, events, commands)
        for command in commands:
            urgent = self._dispatch(command)
            if urgent is not None:
                self._urgent.append(asyncio.ensure_future(urgent))
        self._after()
        took = time.perf_counter() - began
        self.longest_step_s = max(self.longest_step_s, took)
        if took > SLOW_STEP_S:
            self.slow_steps += 1
            log.debug("a step of %d events took %.1f ms", len(events), took * 1000)

    async def _wait(self) -> None:
        if self._wake.is_set():
            return
        now = time.monotonic()
        deadline = self.core.deadline(now)
        if deadline is None:
            await self._wake.wait()
            return
        if deadline <= now:
            return
        handle = asyncio.get_running_loop().call_later(deadline - now, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            handle.cancel()
