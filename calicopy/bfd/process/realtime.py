"""What keeps other work on the host from looking like dead paths: scheduling, memory, no garbage collection."""
from __future__ import annotations

import contextlib
import gc
import os

PRIORITY = 10
_NICE = -20
_MCL_CURRENT, _MCL_FUTURE = 1, 2


def schedule() -> bool:
    """Be scheduled in real time (SCHED_FIFO), where that is allowed; else before others. Whether it is real time."""
    try:
        if os.sched_getscheduler(0) != os.SCHED_FIFO:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        return False
    return True


def keep_garbage_collection_away() -> None:
    """Nothing here makes cycles, so that counting references frees all there is."""
    gc.disable()
    gc.freeze()


def lock_memory() -> None:
    """Keep all pages in memory, where that is allowed. It takes some milliseconds, so not before the first packets."""
    import ctypes  # not at the top: it is most of these milliseconds

    with contextlib.suppress(OSError):
        ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE)
