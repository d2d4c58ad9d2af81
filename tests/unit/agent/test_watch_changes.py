"""What watchers are told of the core: everything that changes after they came."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from calicopy.agent.backend import AgentBackend
from calicopy.agent.changes import Changes
from calicopy.agent.loop import CoreLoop
from calicopy.config import load_text
from calicopy.config.resolve import resolve
from calicopy.core.core import Core
from calicopy.core.views import ChangeView, PeerView
from calicopy.ipam import Snapshot
from calicopy.seam.speaker import FsmState, PeerState, SpeakerAttached

CLUSTER = """
nodes:
  - {name: n1, address: 192.0.2.1/24}
  - {name: n2, address: 192.0.2.2/24}
pools:
  - {cidr: 10.244.0.0/16}
"""


class Sink:
    def __init__(self) -> None:
        self.seen: list[ChangeView] = []

    def push(self, revision: int, changes: Sequence[ChangeView]) -> None:
        self.seen += changes

    def peer_states(self) -> list[FsmState]:
        return [change.object.state for change in self.seen if isinstance(change.object, PeerView)]


async def test_the_first_change_after_the_first_watcher_came_is_told() -> None:
    config = load_text(CLUSTER, filename="test").config
    assert config is not None
    core = Core(resolve(config, "n1"), Snapshot(), now=time.monotonic())
    changes: Changes
    loop = CoreLoop(core, lambda command: None, lambda: changes.happened())
    backend = AgentBackend(
        core, loop.post, config_file="test", edge_counters=dict, match_route=None, count_packets=None,
            round_trips={},
    )
    changes = Changes(core, backend)
    tasks = [asyncio.create_task(loop.run()), asyncio.create_task(changes.run())]
    try:
        loop.post(SpeakerAttached("one", 1, ()))
        async with asyncio.timeout(5):
            while not core.sessions.attached:  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.01)
        sink = Sink()
        backend.subscribe(sink)
        loop.post(PeerState("192.0.2.2", FsmState.CONNECT))
        async with asyncio.timeout(5):
            while not sink.peer_states():  # noqa: ASYNC110 - the changes come at their own pace
                await asyncio.sleep(0.01)
        assert sink.peer_states() == [FsmState.CONNECT]
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
