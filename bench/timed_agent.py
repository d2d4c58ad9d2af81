"""`calicopy agent`, with some moments written to stderr: `MARK name time.time()`.

    python -m bench.timed_agent CONFIG NODE

Nothing else differs: the agent is run in this process, and what takes the time stands between the callers and two of
its methods. `peer-down`: the event that a session has ended is handed to the core, which is where it is decided that a
node is gone. `next-hops` and `dump`: the core's orders to change nexthop objects, and to read the kernel's routes back,
are handed to the kernel edge.
"""
from __future__ import annotations

import sys
import time
from collections.abc import Awaitable
from pathlib import Path

from calicopy.agent import main
from calicopy.agent.agent import Agent
from calicopy.agent.loop import CoreLoop
from calicopy.core.commands import Command, DumpRoutes, WriteNextHops
from calicopy.core.events import CoreEvent
from calicopy.seam.speaker import PeerDown

MARK, PEER_DOWN, NEXT_HOPS, DUMP = "MARK", "peer-down", "next-hops", "dump"
_ORDERS = {WriteNextHops: NEXT_HOPS, DumpRoutes: DUMP}


def _mark(name: str) -> None:
    print(MARK, name, f"{time.time():.6f}", file=sys.stderr, flush=True)


def stand_between() -> None:
    """Have the two methods say when they are called."""
    post, dispatch = CoreLoop.post, Agent._dispatch

    def timed_post(loop: CoreLoop, event: CoreEvent) -> None:
        if isinstance(event, PeerDown):
            _mark(PEER_DOWN)
        post(loop, event)

    def timed_dispatch(agent: Agent, command: Command) -> Awaitable[object] | None:
        if type(command) in _ORDERS:
            _mark(_ORDERS[type(command)])
        return dispatch(agent, command)

    CoreLoop.post = timed_post
    Agent._dispatch = timed_dispatch


if __name__ == "__main__":
    stand_between()
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
