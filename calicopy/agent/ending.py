"""The end of an agent that was started with `--drain`: the node is drained before it."""
from __future__ import annotations

import asyncio
import logging

from calicopy.agent.backend import AgentBackend
from calicopy.agent.edges import SpeakerEdge
from calicopy.api.backend import RefusedError
from calicopy.core.drain_state import DEFAULT_WAIT_S

log = logging.getLogger(__name__)

SLACK_S = 5.0  # over the drain's own wait: for the disk and the speaker


async def drain_to_stop(backend: AgentBackend, speaker: SpeakerEdge, hurry: asyncio.Event) -> None:
    """Drain the node and hand the withdrawals to the speaker, until `hurry` is set, and never for long."""

    async def work() -> None:
        log.warning("told to end: draining the node first; a second signal ends at once")
        try:
            async for _ in backend.drain(force=True, wait_s=DEFAULT_WAIT_S, stopping=True):
                pass  # the core logs each step
        except RefusedError as error:
            log.error("the node is not drained: %s", error)
        await speaker.task.finish()

    drained, hurried = asyncio.create_task(work()), asyncio.create_task(hurry.wait())
    done, left = await asyncio.wait(
        (drained, hurried), timeout=DEFAULT_WAIT_S + SLACK_S, return_when=asyncio.FIRST_COMPLETED
    )
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    if drained not in done:
        log.error("the node is not drained: %s", "told to hurry" if hurried in done else "it took too long")
