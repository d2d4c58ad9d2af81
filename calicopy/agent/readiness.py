"""The verdict on the node, for those who ask often or want to be told."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from calicopy.core.views import ReadinessView

FRESH_S = 0.2  # however many ask, it is worked out no more often
LOOK_S = 0.5


class Readiness:
    """Works it out by `judge` when it is needed."""

    def __init__(self, judge: Callable[[], ReadinessView]) -> None:
        self._judge = judge
        self._found = ReadinessView()
        self._at = float("-inf")

    def now(self) -> ReadinessView:
        """The verdict, FRESH_S old at most."""
        now = time.monotonic()
        if now - self._at >= FRESH_S:
            self._found, self._at = self._judge(), now
        return self._found

    async def watch(self, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Say over and over whether it is ready, until cancelled: the listener may come later, and is told at once."""
        while True:
            await tell(self.now().ready)
            await asyncio.sleep(LOOK_S)
