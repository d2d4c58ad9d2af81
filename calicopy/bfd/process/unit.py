"""`calicopy bfd-process`: the loop around the sessions.

Theory of operation: whoever starts processes may start this one at any time, also before the agent. A round waits for
packets or for what is due; then lets a little time pass where there are many sessions, so that a wake-up is worth it;
then looks at the clock, reads the sockets, and only then asks what is due at that time. So a process that was stopped,
or got no processor, finds the packets that came meanwhile before it takes any session for dead; and after it stood
still for long, the peers have one more interval, since they may be nodes of the same machine. Reading is bounded in
each round, and a flood that is faster than it holds up no packet of ours, and detection for a while alone: what was in
a socket at some time is known to be read once as many datagrams have been read as it can keep.
"""
from __future__ import annotations

import os
import select
import signal
import sys
import time
from _random import Random  # without the time that loading `random` takes
from collections.abc import Sequence

from calicopy.bfd.process import SESSIONS_FILE, SOCKET_FILE, STATE_FILE, TABLE_FILE, realtime
from calicopy.bfd.process.control import Control
from calicopy.bfd.process.engine import LAST_PACKETS, Engine
from calicopy.bfd.process.listeners import Listeners
from calicopy.bfd.process.settings import parse_sessions, parse_table
from calicopy.bfd.process.state import StateFile
from calicopy.notify import notify
from calicopy.unit import Ending, run_unit, say

USAGE = "usage: calicopy bfd-process [--run-dir DIR]\n"
LOOK_S = 1.0  # how often the files are looked at without a poke, and counters told
BUSY_SESSIONS = 8
PAUSE_S = 0.004  # what a round waits for more packets, from so many sessions on
LATE_S = 0.01  # a round that begins so late was kept from running: the kernel's own work may be behind too
LATE_PAUSE_S = 0.002
STALL_S = 0.1  # later than that, it stood still; the peers may have too, where one machine runs several nodes
STOP_PAUSE_S = 0.005
LOCK_AFTER_S = 0.5
MOST_DIGITS = 20  # of a count; Python refuses to read a number of thousands


class Unit:
    """The process: settings, state, control socket and the loop."""

    def __init__(self, run_dir: str) -> None:
        self._run_dir = run_dir
        self._paths = {name: f"{run_dir}/{name}" for name in (SESSIONS_FILE, TABLE_FILE)}
        self._seen: dict[str, tuple[int, int]] = {}
        self._problem = self._said = ""
        self._dropped: dict[str, int] = {}
        self._ending = Ending()
        self._silent = False
        self._realtime = realtime.schedule()
        self._poller = select.epoll()
        self._poller.register(self._ending.descriptor, select.EPOLLIN)

    def run(self) -> int:
        """Until SIGTERM or SIGINT: the peers are told that the end is meant. At SIGUSR1 they are told nothing."""
        self._ending.heed_signals()
        signal.signal(signal.SIGUSR1, self._end_in_silence)
        state = self._open_state()
        if state is None:
            return 0
        self._listeners = Listeners(self._poller)
        self._engine = Engine(state, random=Random().random, now=time.monotonic())
        self._listeners.open(self._engine.problems, time.monotonic())
        self._look()
        now = time.monotonic()
        self._engine.advance(now, now)
        self._control: Control | None = None
        notify("READY=1")
        realtime.keep_garbage_collection_away()
        self._loop()
        for _ in range(0 if self._silent else LAST_PACKETS):
            self._engine.stop(time.monotonic())
            time.sleep(STOP_PAUSE_S)
        if self._control is not None:
            self._tell()
            self._control.close()
        return 0

    def _end_in_silence(self, *_: object) -> None:
        """The host goes down: nobody is to wait for it, so the peers have to take the end for what it is to them."""
        self._silent = self._ending.asked = True

    def _open_state(self) -> StateFile | None:
        """The file of what was; waits while another process has it. None when told to stop."""
        while not self._ending.asked:
            try:
                return StateFile(f"{self._run_dir}/{STATE_FILE}")
            except BlockingIOError:
                self._say("another process holds the sessions")
            except OSError as error:
                self._say(f"{self._run_dir}/{STATE_FILE}: {error.strerror}")
            self._ending.wait(0.1)
        return None

    # The loop

    def _loop(self) -> None:
        engine, poller, listeners = self._engine, self._poller, self._listeners
        look_at = 0.0
        lock_at = time.monotonic() + LOCK_AFTER_S
        while not self._ending.asked:
            now = time.monotonic()
            if now >= look_at:
                look_at = now + LOOK_S
                self._slow()
            if now >= lock_at:
                lock_at = float("inf")
                realtime.lock_memory()
            due = min(engine.wheel.next_due(), engine.holds.retry_at, look_at)
            ready = poller.poll(0.0 if listeners.behind else max(0.0, due - now))
            if len(engine.runners) >= BUSY_SESSIONS and not listeners.behind:
                time.sleep(PAUSE_S)
            began = time.monotonic()
            late = 0.0 if listeners.behind else began - due  # what waits for reading is not late
            if late > LATE_S:
                time.sleep(LATE_PAUSE_S)
            read_up_to = listeners.read(engine, began)
            if late > STALL_S:
                engine.awake(began, since=due)
            engine.advance(began, read_up_to)
            self._clients(ready)
            self._tell()

    def _slow(self) -> None:
        """What has time: files, listening again, counters."""
        self._look()
        self._listeners.open(self._engine.problems, time.monotonic())
        if self._engine.problems.get("address") or any("%" in peer for peer in self._engine.runners):
            self._engine.find_addresses()  # a device that was made anew has another number
        self._attend()
        if self._control is not None and self._control.clients:
            self._engine.changed.update(self._engine.runners)
            for name, count in self._engine.dropped.items():
                if self._dropped.get(name) != count:
                    self._dropped[name] = count
                    self._control.tell(f"drop {name} {count}\n")
        self._say_problem()

    # The files

    def _look(self, *, poked: bool = False) -> None:
        """Take over what is new in the files; what cannot be read leaves what was.

        The agent takes the sessions' file away when it wants none, and says so by a poke.
        """
        for name in (TABLE_FILE, SESSIONS_FILE):
            path = self._paths[name]
            try:
                found = os.stat(path)  # noqa: PTH116 - pathlib is slow to load
                seen = (found.st_mtime_ns, found.st_ino)
                if seen == self._seen.get(name):
                    continue
                with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as above
                    text = file.read()
                now = time.monotonic()
                if name == SESSIONS_FILE:
                    self._engine.use_sessions(parse_sessions(text), now)
                else:
                    self._engine.use_table(parse_table(text), now)
                self._seen[name] = seen
                self._engine.problems[name] = ""
            except FileNotFoundError:
                if name == SESSIONS_FILE and poked:
                    self._engine.use_sessions({}, time.monotonic())
                if name == SESSIONS_FILE and not self._engine.runners:
                    self._engine.problems[name] = f"waiting for {path}"
            except (OSError, ValueError) as error:
                self._engine.problems[name] = f"{path}: {error}"

    # The agent

    def _attend(self) -> None:
        """Have a control socket."""
        if self._control is None:
            try:
                self._control = Control(f"{self._run_dir}/{SOCKET_FILE}")
                self._poller.register(self._control.fileno(), select.EPOLLIN)
                self._engine.problems["control"] = ""
            except OSError as error:
                self._engine.problems["control"] = f"{self._run_dir}/{SOCKET_FILE}: {error.strerror}"

    def _clients(self, ready: list[tuple[int, int]]) -> None:
        control = self._control
        if control is None:
            return
        for descriptor, _ in ready:
            if descriptor == control.fileno():
                new = control.accept(self._whole)
                if new is not None:
                    self._poller.register(new, select.EPOLLIN)
            elif descriptor in control.clients:
                for line in control.lines(descriptor):
                    self._hear(line)

    def _whole(self) -> list[str]:
        head = [f"process {os.getpid()} {int(self._realtime)}\n", f"problem {self._engine.problem()}\n"]
        return [*head, *self._engine.whole()]

    def _hear(self, line: str) -> None:
        """What a client says; anything else than these is nothing."""
        match line.split(" "):
            case ["poke"]:
                self._seen = {}  # keys may be other ones too
                self._look(poked=True)
                self._say_problem()
            case ["ack", peer, downs] if downs.isascii() and downs.isdigit() and len(downs) <= MOST_DIGITS:
                self._engine.acknowledge(peer, int(downs))

    def _tell(self) -> None:
        control = self._control
        if control is None:
            return
        if self._engine.changed or self._engine.gone:
            control.tell("".join(self._engine.news()))
        for descriptor in [one for one in control.clients if control.waiting(one)]:
            control.flush(descriptor)

    def _say_problem(self) -> None:
        problem = self._engine.problem()
        if problem != self._problem:
            self._problem = problem
            if self._control is not None:
                self._control.tell(f"problem {problem}\n")
        self._say(problem)

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            notify(f"STATUS={text or 'running'}")
            if text:
                say(f"calicopy bfd: {text}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: `[--run-dir DIR]`. Exit codes: 0 stopped by signal, 2 usage."""
    return run_unit(lambda run_dir: Unit(run_dir).run(), USAGE, argv)


if __name__ == "__main__":
    sys.exit(main())
