"""The loop: what is urgent is done before the next step, and holds nothing up for long."""
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from calicopy.agent.loop import PATIENCE_S, CoreLoop
from calicopy.core.commands import Command, WriteNextHops
from calicopy.core.events import CoreEvent, Ticked

WRITE = WriteNextHops(())


class Steps:
    """Stands for the core: each step orders a change of nexthop objects, and has more to do."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.come = asyncio.Event()

    def handle(self, happened: list[CoreEvent], now: float) -> list[Command]:
        self.begun.append(time.monotonic())
        self.come.set()
        return [WRITE]

    def deadline(self, now: float) -> float:
        return now


@asynccontextmanager
async def running(steps: Steps, ordered: list[asyncio.Future[None]]) -> AsyncIterator[CoreLoop]:
    def dispatch(command: Command) -> asyncio.Future[None]:
        ordered.append(asyncio.get_running_loop().create_future())
        return ordered[-1]

    loop = CoreLoop(steps, dispatch, lambda: None)
    task = asyncio.create_task(loop.run())
    loop.post(Ticked())
    try:
        yield loop
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_the_next_step_comes_when_what_is_urgent_is_done() -> None:
    steps, ordered = Steps(), list[asyncio.Future[None]]()
    async with running(steps, ordered) as loop, asyncio.timeout(5):
        await steps.come.wait()
        steps.come.clear()
        loop.post(Ticked())
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(steps.begun) == 1
        done_at = time.monotonic()
        ordered[0].set_result(None)
        await steps.come.wait()
    assert steps.begun[1] >= done_at


async def test_what_fails_or_takes_too_long_is_waited_for_no_more() -> None:
    steps, ordered = Steps(), list[asyncio.Future[None]]()
    async with running(steps, ordered), asyncio.timeout(5):
        while len(ordered) < 2:
            steps.come.clear()
            await steps.come.wait()
        assert not ordered[0].done()
        ordered[-1].set_exception(OSError("refused"))
        steps.come.clear()
        await steps.come.wait()
    assert steps.begun[1] - steps.begun[0] >= PATIENCE_S * 0.9
