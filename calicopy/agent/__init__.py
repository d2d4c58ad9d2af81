"""The agent process: the loop that runs the core and carries out its commands on the edges."""
from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import signal
import sys
import time
from pathlib import Path

GC_THRESHOLD = 50_000  # objects made between two looks at the youngest
SWITCH_S = 0.0002
"""How long one thread may keep the others from the interpreter (5 ms by default). A thread that writes routes comes
back from the kernel every few milliseconds, and while it waits for a busy loop the kernel has nothing to do; one that
turns a nexthop object into a blackhole comes back twice before that is done; and the loop waits as long for a thread
that loads modules or a cluster file."""
EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_REFUSED = 4  # the cluster file is wrong: restarting does not help


def main(config: Path, node: str | None = None, *, drain: bool = False, readyz_listen: str | None = None) -> int:
    """Run the agent with the cluster file `config`, as `node` (default: the hostname). The process's exit code.

    `drain`: SIGTERM drains the node before the agent ends; a second one ends it at once. `readyz_listen`: ADDRESS:PORT,
    before what the file says.
    """
    # The heavy parts are imported here, so that `calicopy --help` does not wait for them. They make no garbage to
    # speak of, and looking for it takes a fifth of the start.
    gc.disable()
    faulthandler.enable()  # a watchdog ends a loop that hangs by SIGABRT: the log then shows where it hung
    sys.setswitchinterval(SWITCH_S)
    began_at = time.monotonic()
    from calicopy.agent.agent import run_agent
    from calicopy.agent.startup import read_startup, this_node
    from calicopy.config.errors import ClusterFileError
    from calicopy.config.fields import parse_readyz_listen
    from calicopy.config.resolve import NodeNotFoundError
    from calicopy.store import StoreError

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the loop takes it: whoever sends one means no harm
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        listen = None if readyz_listen is None else parse_readyz_listen(readyz_listen)
    except ValueError as error:
        print(f"calicopy agent: --readyz-listen: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        startup = read_startup(config)
        name = this_node(startup.config, node)
    except (ClusterFileError, NodeNotFoundError) as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    logging.getLogger().setLevel(startup.config.agent.log_level.value.upper())

    async def run() -> None:
        stopping, hurry = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            (hurry if stopping.is_set() else stopping).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        # What was imported lives for ever, and a table of 100,000 routes holds no cycles: without this a collection in
        # the middle of a step takes 0.1 s (design rule 9).
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 100)
        gc.enable()
        await run_agent(
            startup,
            name,
            config_file=config,
            stopping=stopping,
            hurry=hurry if drain else None,
            readyz_listen=listen,
            began_at=began_at,
        )

    try:
        asyncio.run(run())
    except (StoreError, OSError) as error:
        print(f"calicopy agent: {error}", file=sys.stderr)
        return EXIT_ERROR
    return EXIT_OK

