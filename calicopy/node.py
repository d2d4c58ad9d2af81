"""`calicopy node`: starts speaker, forwarder, BFD and agent, and starts each again when it ends.

Theory of operation: standard library only, one loop over signals and process descriptors, fit to be PID 1 (it reaps
what is handed to it). Each service runs in a session of its own and holds, through a descriptor that it inherits, the
lock on `RUN_DIR/NAME.lock`: so the lock is held exactly as long as the service lives, whoever started it. When this
process is killed the services go on. A new one finds their locks held, reads the pid beside, and watches the process
that is there instead of starting a second. A service that ends is started again at once the first time, then after a
growing delay, which starts over when it has run for a while. A service that needs a file runs only while that is
there: the agent asks for the forwarder of encapsulation udp by writing its settings, and never starts it itself. While
they are there a queue of its device is held open here too, so that the device keeps its carrier, and the kernel the
routes on it, when agent and forwarder die at the same moment.

Signals: SIGTERM and SIGINT stop the agent, then BFD (it says AdminDown, so that nobody takes the end for a fault), then
the forwarder, then the speaker (ExaBGP closes its sessions without a NOTIFICATION, so peers with graceful restart keep
the routes; the kernel's routes stay too). With `--drain` the agent
drains the node before it ends, and is given the time for it; a second signal goes to it too, and ends that. SIGHUP goes
to the agent alone. It ends no process that it neither started nor adopted, and of those it did only one that is no
longer asked for.
"""
from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from calicopy.bfd.process import SESSIONS_FILE
from calicopy.bfd.process.realtime import PRIORITY
from calicopy.udp import SETTINGS_FILE
from calicopy.udp.settings import device_of
from calicopy.unit import DEFAULT_RUN_DIR, say

if TYPE_CHECKING:
    from calicopy.kernel.tun import TunHold

FIRST_DELAY_S = 0.0
SECOND_DELAY_S = 0.5
LAST_DELAY_S = 15.0
STABLE_S = 30.0  # a service that ran so long starts with no delay again
STOP_TIMEOUT_S = 8.0
DRAIN_TIMEOUT_S = 20.0  # more than what an agent that drains before its end takes at most
LOCK_POLL_S = 0.5
NEEDS_POLL_S = 0.25
FORWARDER_STABLE_S = 2.0  # it is the data path, so its first start again is at once also soon after the last
BFD_STABLE_S = 2.0  # it has to be back within the detection time, also soon after the last time
BFD_SECOND_DELAY_S = 0.05
USAGE = "usage: calicopy node [--run-dir DIR] [AGENT ARGUMENTS]\n"


class NodeError(Exception):
    """The supervisor cannot start; the message says why."""


def process_identity(pid: int) -> str:
    """`PID START` with the start time in clock ticks (proc(5), field 22): no later process has the same.

    OSError when there is no such process, ProcessLookupError too when it has ended and was not reaped.
    """
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123 - pathlib loads slowly
        fields = stat.read().rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(f"process {pid} has ended")
    return f"{pid} {fields[19]}"


@dataclass(slots=True)
class Service:
    """One process to keep running. `pid` is 0 when none is known; `descriptor` is its pidfd, -1 when none."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    stop_timeout: float | None = None  # seconds; None: the supervisor's
    stable_after: float = STABLE_S  # seconds
    second_delay: float = SECOND_DELAY_S
    realtime: bool = False  # scheduled so from its first instruction, where that is allowed
    needs: str = ""  # the path of a file; empty: it always runs
    pid: int = 0
    descriptor: int = -1
    started: float = 0.0
    due: float = 0.0
    delay: float = FIRST_DELAY_S


class Supervisor:
    """Keeps the services running until it is told to stop."""

    def __init__(self, run_dir: str, services: Sequence[Service], *, stop_timeout: float = STOP_TIMEOUT_S) -> None:
        self.run_dir = run_dir
        self.services = list(services)
        self.stop_timeout = stop_timeout
        self.stopping = False
        self.poller = select.poll()
        self.wake_reader, self.wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.poller.register(self.wake_reader, select.POLLIN)
        self.lock = -1
        self.hold: TunHold | None = None

    def run(self) -> int:
        """Until SIGTERM or SIGINT; returns the exit code. Raises NodeError when another supervisor runs here."""
        self._take_own_lock()
        signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # the wake-up descriptor carries the number
        while not self.stopping:
            now = time.monotonic()
            for service in self._due(now):
                self._try(service)
            self._hold_device()
            self._wait(self._next_due(now))
        return self._stop()

    def _take_own_lock(self) -> None:
        os.makedirs(self.run_dir, mode=0o750, exist_ok=True)  # noqa: PTH103 - pathlib is slow to load
        path = f"{self.run_dir}/node.lock"
        self.lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self.lock, 64).decode("ascii", "replace").split(" ")[0]
            raise NodeError(f"another supervisor, process {holder or '?'}, holds {path}") from None
        os.ftruncate(self.lock, 0)
        os.write(self.lock, process_identity(os.getpid()).encode())

    # services

    def _try(self, service: Service) -> None:
        """Start or adopt it. What fails is said and tried again: an end of this process could end a container."""
        try:
            os.makedirs(self.run_dir, mode=0o750, exist_ok=True)  # noqa: PTH103 - pathlib is slow to load
            self._start_or_adopt(service)
        except OSError as error:
            self._say(f"cannot start {service.name}: {error}")
            self._schedule(service)

    def _start_or_adopt(self, service: Service) -> None:
        path = f"{self.run_dir}/{service.name}.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._adopt(service, os.read(lock, 64).decode("ascii", "replace"))
                return
            self._start(service, lock)
        finally:
            os.close(lock)

    def _start(self, service: Service, lock: int) -> None:
        service.started = time.monotonic()
        os.ftruncate(lock, 0)
        os.set_inheritable(lock, True)
        try:
            pid = self._spawn(service, realtime=service.realtime)
        except PermissionError:  # it says so itself
            pid = self._spawn(service, realtime=False)
        with contextlib.suppress(OSError):
            os.pwrite(lock, process_identity(pid).encode(), 0)
        self._watch(service, pid)
        self._say(f"started {service.name}, process {pid}")

    @staticmethod
    def _spawn(service: Service, *, realtime: bool) -> int:
        spawn = partial(
            os.posix_spawn, service.command[0], service.command, {**os.environ, **service.environment},
            setsid=True, setsigmask=(), setsigdef=(signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM),
        )  # fmt: skip
        return spawn(scheduler=(os.SCHED_FIFO, os.sched_param(PRIORITY))) if realtime else spawn()

    def _adopt(self, service: Service, identity: str) -> None:
        """Watch the process of an earlier supervisor; when its pid is not known, wait for its lock."""
        service.started = time.monotonic()
        with contextlib.suppress(OSError, ValueError):
            pid = int(identity.split(" ")[0])
            if process_identity(pid) == identity:
                self._watch(service, pid)
                self._say(f"adopted {service.name}, process {pid}")
                return
        service.due = time.monotonic() + LOCK_POLL_S

    def _watch(self, service: Service, pid: int) -> None:
        service.descriptor = os.pidfd_open(pid)  # may fail: then it is adopted by its lock soon
        service.pid = pid
        self.poller.register(service.descriptor, select.POLLIN)

    def _ended(self, service: Service, how: str) -> None:
        self.poller.unregister(service.descriptor)
        os.close(service.descriptor)
        service.pid, service.descriptor = 0, -1
        if not self.stopping:
            self._schedule(service)
            self._say(f"{service.name} ended ({how}), next start in {max(0.0, service.due - time.monotonic()):.1f} s")

    def _schedule(self, service: Service) -> None:
        now = time.monotonic()
        if now - service.started >= service.stable_after:
            service.delay = FIRST_DELAY_S
        service.due = now + service.delay
        service.delay = min(max(service.second_delay, service.delay * 2), LAST_DELAY_S)

    # the forwarder's device

    def _hold_device(self) -> None:
        """Keep the carrier of the device that the forwarder's settings name, from when they are there."""
        try:
            with open(f"{self.run_dir}/{SETTINGS_FILE}", encoding="utf-8") as file:  # noqa: PTH123 - as above
                device = device_of(file.readline())
        except FileNotFoundError:
            if self.hold is not None:
                self.hold.close()
            return
        except (OSError, ValueError):
            return  # the forwarder says so
        from calicopy.kernel.tun import TunHold  # not at the top: most nodes need none

        self.hold = self.hold or TunHold()
        with contextlib.suppress(OSError):  # the agent says so
            self.hold.hold(device)

    # the loop

    def _due(self, now: float) -> Iterator[Service]:
        """The services to start now. Those that run and are no longer asked for are told to end."""
        for service in self.services:
            if service.needs and not os.path.exists(service.needs):  # noqa: PTH110 - pathlib is slow to load
                self._signal(service.name, signal.SIGTERM)
            elif not service.pid and now >= service.due:
                yield service

    def _next_due(self, now: float) -> float | None:
        """Seconds to the next start, or to the next look at what a service needs; None: nothing is due."""
        waits = [max(0.0, service.due - now) for service in self.services if not service.pid and not service.needs]
        for service in self.services:
            if service.needs:
                soon = not service.pid and now < service.due < now + NEEDS_POLL_S
                waits.append(service.due - now if soon else NEEDS_POLL_S)
        return min(waits, default=None)

    def _wait(self, seconds: float | None) -> None:
        for descriptor, _ in self.poller.poll(None if seconds is None else seconds * 1000 + 1):
            if descriptor == self.wake_reader:
                self._signals()
        self._reap()

    def _signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self.wake_reader, 4096):
                if number in (signal.SIGTERM, signal.SIGINT):
                    if self.stopping:
                        self._signal("agent", signal.SIGTERM)
                    self.stopping = True
                elif number == signal.SIGHUP:
                    self._signal("agent", signal.SIGHUP)

    def _reap(self) -> None:
        """Collect children that ended, ours and those handed to PID 1, and notice adopted services that did."""
        ended: dict[int, str] = {}
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                code = os.waitstatus_to_exitcode(status)
                ended[pid] = f"signal {-code}" if code < 0 else f"exit code {code}"
        for service in self.services:
            if service.pid and (service.pid in ended or self._is_over(service)):
                self._ended(service, ended.get(service.pid, "adopted, so its exit code is not known"))

    @staticmethod
    def _is_over(service: Service) -> bool:
        poller = select.poll()
        poller.register(service.descriptor, select.POLLIN)
        return bool(poller.poll(0))

    def _signal(self, name: str, number: signal.Signals) -> None:
        for service in self.services:
            if service.name == name and service.pid:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(service.descriptor, number)

    def _stop(self) -> int:
        """End the services in the reverse order of their start, each within its time, then by SIGKILL."""
        for service in reversed(self.services):
            self._signal(service.name, signal.SIGTERM)
            patience = self.stop_timeout if service.stop_timeout is None else service.stop_timeout
            deadline = time.monotonic() + patience
            while service.pid and time.monotonic() < deadline:
                self._wait(deadline - time.monotonic())
            if service.pid:
                self._say(f"{service.name} did not end within {patience} s, killed")
                self._signal(service.name, signal.SIGKILL)
                while service.pid:
                    self._wait(0.1)
        return 0

    @staticmethod
    def _say(text: str) -> None:
        say(f"calicopy node: {text}")


def node_services(run_dir: str, agent_arguments: Sequence[str]) -> list[Service]:
    """Speaker first, so that it has its modules loaded when the agent has rendered the configuration."""
    python = (sys.executable, "-m")
    return [
        Service("speaker", (*python, "calicopy.speaker.unit", "--config", f"{run_dir}/exabgp.conf")),
        Service(
            "udp",
            (*python, "calicopy.udp.unit", "--run-dir", run_dir),
            stable_after=FORWARDER_STABLE_S,
            needs=f"{run_dir}/{SETTINGS_FILE}",
        ),
        Service(
            "bfd",
            (*python, "calicopy.bfd.process.unit", "--run-dir", run_dir),
            stable_after=BFD_STABLE_S,
            second_delay=BFD_SECOND_DELAY_S,
            realtime=True,
            needs=f"{run_dir}/{SESSIONS_FILE}",
        ),
        Service(
            "agent",
            (*python, "calicopy", "agent", *agent_arguments),
            stop_timeout=DRAIN_TIMEOUT_S if "--drain" in agent_arguments else None,
        ),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: `[--run-dir DIR] [AGENT ARGUMENTS]`. Exit codes: 0 stopped by signal, 1 cannot start, 2 usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_dir = DEFAULT_RUN_DIR
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        return 0
    if arguments[:1] == ["--run-dir"]:
        if len(arguments) < 2:
            sys.stderr.write(USAGE)
            return 2
        run_dir = arguments[1]
        arguments = arguments[2:]
    try:
        return Supervisor(run_dir, node_services(run_dir, arguments)).run()
    except (NodeError, OSError) as error:
        sys.stderr.write(f"calicopy node: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
