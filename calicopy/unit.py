"""What the small processes share (BFD, the forwarder of encapsulation udp, their supervisor): begin, end, files, words.

Theory of operation: a killed one has to be back within tenths of a second, so nothing is loaded here that the
interpreter has not loaded already. Nothing waits for whoever reads what is said: a process that nobody reads goes on.
"""
from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence

DEFAULT_RUN_DIR = "/run/calicopy"
_STDERR = 2


class Ending:
    """Whether SIGTERM or SIGINT came. `descriptor` becomes readable then, for who waits for more than that."""

    __slots__ = ("_writer", "asked", "descriptor")

    def __init__(self) -> None:
        self.asked = False
        self.descriptor, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def heed_signals(self) -> None:
        """From here on; SIGHUP is nothing. To be called in the main thread."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def wait(self, seconds: float) -> None:
        """That long, or until it is asked for."""
        select.select([self.descriptor], [], [], seconds)

    def _ask(self, *_: object) -> None:
        self.asked = True


def say(text: str) -> None:
    """A line to standard error, unless who reads that is gone or stopped: no process of ours waits or ends for it."""
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [_STDERR], [], 0.0)[1]:
            os.write(_STDERR, f"{text}\n".encode("utf-8", "replace")[: select.PIPE_BUF])


def write_whole(path: str, text: str) -> None:
    """Put `text` at `path` at once, whatever was there, so that a reader never sees half of it. OSError."""
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to load
        file.write(text)
    os.replace(beside, path)  # noqa: PTH105 - as above


def remove(path: str) -> None:
    """Have nothing at `path`."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - as above


def run_unit(run: Callable[[str], int], usage: str, argv: Sequence[str] | None) -> int:
    """Entry point: `[--run-dir DIR]` of `argv`, or of the command line. What `run` says of DIR; 2 is a wrong usage."""
    match list(sys.argv[1:] if argv is None else argv):
        case []:
            return run(DEFAULT_RUN_DIR)
        case ["--run-dir", run_dir]:
            return run(run_dir)
        case ["-h" | "--help"]:
            sys.stdout.write(usage)
            return 0
    sys.stderr.write(usage)
    return 2
