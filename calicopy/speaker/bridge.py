"""ExaBGP's helper process: relays its events to the agent, and the agent's commands to it.

Theory of operation. ExaBGP blocks when its helper does not read, so this process reads always and waits for nobody.
It is one loop over four descriptors, standard library only, run as a plain file (`python -I -S bridge.py ...`).
- Lines from ExaBGP pass unchanged. Only the few that are no UPDATE are looked into, to remember per peer the state,
  the last reason and both OPENs. These are also kept in a file, so that a bridge that was killed knows them again.
- One agent at a time at a unix socket (0660); a second one is refused and told who holds it. It gets `#hello`, a
  `#peer` for each peer known, `#ready`, and then the stream. The first agent ever gets no `#peer`, but all lines since
  ExaBGP's start. Later, without an agent, UPDATEs are dropped: one that attaches asks for a refresh.
- The backlog towards a slow agent is bounded in bytes. Over it UPDATEs are dropped and counted, and `#lost` tells.
- Commands come as `ID TEXT`, go out one at a time as whole lines, and end with `#answer ID done|error|timeout`; output
  lines come before as `#output ID TEXT`. ExaBGP's answers carry no id, so after a time-out nothing goes out until a
  command with a recognisable output has been answered; where one of that kind was overdue too, until all were, or
  no more comes. Short announcements and withdrawals follow each other without waiting, up to PIPELINE of them: ExaBGP
  works them off, and answers, in their order. A time-out ends all of these.
- While a long command or several run, single spaces keep ExaBGP's loop turning: it works off 50 steps a turn and then
  sleeps. They become the (ignored) indent of the next command.
"""
from __future__ import annotations

import collections
import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time
from typing import Any

PROTOCOL = 1
BACKLOG_BYTES = 32 << 20
HARD_EXTRA_BYTES = 4 << 20  # what may come on top that is no UPDATE, before the agent is let go
COMMAND_BYTES = (1 << 20) - 1024  # ExaBGP gives up on a helper whose line exceeds 1 MiB
QUEUE_BYTES = 8 << 20
ANSWER_TIMEOUT_S = 5.0
LONG_COMMAND = 1500  # octets; roughly the 50 prefixes that ExaBGP works off in one turn
LONG_LIST = b"show adj-rib"  # prints a line per prefix, 50 a turn
PIPELINE = 16  # short bulk commands under way; ExaBGP then looks at the sessions once for all of them
PIPELINED = (b" announce attributes ", b" withdraw attributes ")
TICK_S = 0.001
MAX_TICKS = 4096
PIPE_BYTES = 1 << 20
SYNC = b"show neighbor json"
UPDATE_MARK = b'"type": "update"'
UP_TOLERANCE_S = 2.0


def process_start(pid: int) -> str:
    """The start time of a process in clock ticks, as its identity beside the pid (proc(5), field 22)."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123 - pathlib would double our start-up
        return stat.read().rpartition(")")[2].split()[19]


class Options:
    """The words of the command line: `--socket PATH [--config DIGEST] [--backlog-bytes N] [--answer-timeout S]`."""

    def __init__(self, words: list[str]) -> None:
        given = dict(zip(words[::2], words[1::2], strict=True))
        self.socket = given.pop("--socket")
        self.config = given.pop("--config", "")
        self.backlog_bytes = int(given.pop("--backlog-bytes", BACKLOG_BYTES))
        self.answer_timeout = float(given.pop("--answer-timeout", ANSWER_TIMEOUT_S))
        if given:
            raise SystemExit(f"bridge: unknown words {sorted(given)}")


class Command:
    """One command on its way: its id (None: our own) and text."""

    __slots__ = ("deadline", "ident", "output", "pipelined", "text", "ticks")

    def __init__(self, ident: bytes | None, text: bytes) -> None:
        self.ident = ident
        self.text = text
        self.deadline = 0.0
        self.ticks = MAX_TICKS if len(text) > LONG_COMMAND or text.startswith(LONG_LIST) else 0
        self.pipelined = len(text) <= LONG_COMMAND and any(word in text for word in PIPELINED)
        self.output: list[bytes] = []


class Memory:
    """What is known per peer: state, reason, OPENs (hex), and when it came up. Kept in `path` for the same ExaBGP."""

    def __init__(self, path: str, instance: str) -> None:
        self.path = path
        self.instance = instance
        self.peers: dict[str, dict[str, Any]] = {}
        self.changed = False
        self.inherited = self._load()

    def _load(self) -> bool:
        with contextlib.suppress(OSError, ValueError), open(self.path, encoding="ascii") as file:  # noqa: PTH123 - start-up time
            kept = json.load(file)
            if kept.get("instance") == self.instance:
                self.peers = kept["peers"]
                return True
        return False

    def save(self) -> None:
        """Write the file when something changed. A full disk costs only what a killed bridge would have known."""
        if not self.changed:
            return
        self.changed = False
        with contextlib.suppress(OSError):
            with open(self.path + ".new", "w", encoding="ascii") as file:  # noqa: PTH123 - start-up time
                json.dump({"instance": self.instance, "peers": self.peers}, file)
            os.replace(self.path + ".new", self.path)  # noqa: PTH105 - start-up time

    def learn(self, line: bytes) -> None:
        """Take an event line that is no UPDATE."""
        event = json.loads(line)
        neighbor = event.get("neighbor")
        if not isinstance(neighbor, dict):
            return
        peer = self.peers.setdefault(neighbor["address"]["peer"], {"state": "IDLE", "reason": "", "since": 0.0})
        kind = event.get("type")
        if kind == "state":
            self._state(peer, neighbor)
        elif kind == "fsm":
            peer["state"] = neighbor["state"]
        elif kind == "open":
            side = "local_open" if neighbor.get("direction") == "send" else "peer_open"
            peer[side] = neighbor["message"]["body"][2:]
        self.changed = kind in ("state", "open") or self.changed

    @staticmethod
    def _state(peer: dict[str, Any], neighbor: dict[str, Any]) -> None:
        state = neighbor["state"]
        if state == "up":
            peer.update(state="ESTABLISHED", reason="", since=time.time())
        elif state == "down":
            peer.update(state="IDLE", reason=neighbor.get("reason", ""))
            peer.pop("local_open", None)
            peer.pop("peer_open", None)

    def verify(self, text: bytes) -> None:
        """Compare with `show neighbor json`: an OPEN is kept when it can only be that of the present session."""
        now = time.time()
        present = {entry["peer"]["address"]: entry for entry in json.loads(text)}
        self.peers = {peer: known for peer, known in self.peers.items() if peer in present}
        for peer, entry in present.items():
            known = self.peers.setdefault(peer, {"state": "IDLE", "reason": "", "since": 0.0})
            known["state"] = entry["fsm"]
            up = known["state"] == "ESTABLISHED"
            since = now - (entry["duration"] if entry["state"] == "up" else 0)
            if not up or abs(since - known["since"]) > UP_TOLERANCE_S:
                known.pop("local_open", None)
                known.pop("peer_open", None)
                known["since"] = since if up else 0.0
        self.changed = True


class Bridge:
    """The loop. `reader` and `writer` are the pipes from and to ExaBGP."""

    def __init__(self, options: Options, memory: Memory, *, reader: int = 0, writer: int = 1) -> None:
        self.path, self.memory, self.reader, self.writer = options.socket, memory, reader, writer
        self.limit, self.timeout, self.config = options.backlog_bytes, options.answer_timeout, options.config
        self.early: list[bytes] | None = None if memory.inherited else []  # what the first agent will be told
        self.early_bytes = 0
        self.partial = b""
        self.commands: collections.deque[Command] = collections.deque()
        self.queued = 0
        self.running: Command | None = None
        self.behind: collections.deque[Command] = collections.deque()  # told to ExaBGP after `running`
        self.stale = False  # an answer is overdue: what comes may belong to an older command
        self.overdue_syncs = 0  # of the overdue, those whose answer looks like that of SYNC
        self.settling: list[bytes] = []  # the last such answer, while more may come
        self.outgoing = b""
        self.agent: socket.socket | None = None
        self.agent_partial = b""
        self.backlog: collections.deque[bytes] = collections.deque()
        self.backlog_bytes = 0
        self.lost_lines = 0
        self.greeted = False
        self.poller = select.poll()
        self.listener = self._listen()
        for descriptor in (reader, writer):
            os.set_blocking(descriptor, False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.poller.register(reader, select.POLLIN)
        self.poller.register(self.listener, select.POLLIN)
        if memory.inherited:
            self._enqueue(Command(None, SYNC))

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108 - start-up time
        previous = os.umask(0o117)
        try:
            listener.bind(self.path)
        finally:
            os.umask(previous)
        listener.listen(8)
        listener.setblocking(False)
        return listener

    def run(self) -> None:
        """Until ExaBGP closes our input."""
        while True:
            for descriptor, event in self.poller.poll(self._wait_ms()):
                if descriptor == self.reader:
                    if not self._read_events():
                        return
                elif descriptor == self.listener.fileno():
                    self._accept()
                elif descriptor == self.writer:
                    self._write_command()
                elif self.agent is not None and descriptor == self.agent.fileno():
                    if event & select.POLLOUT:
                        self._flush()
                    if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                        self._read_agent()
            self._watch_running()
            self.memory.save()

    def _wait_ms(self) -> float | None:
        if self.running is None:
            return None
        left = self.running.deadline - time.monotonic()
        return max(0.0, min(left, TICK_S if self.running.ticks or self.behind else left)) * 1000 + 0.5

    # ExaBGP to the agent

    def _read_events(self) -> bool:
        try:
            chunk = os.read(self.reader, 1 << 18)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        data = self.partial + chunk if self.partial else chunk
        end = data.rfind(b"\n") + 1
        self.partial = data[end:]
        updates: list[bytes] = []
        for line in data[:end].splitlines(keepends=True):
            if line.find(UPDATE_MARK, 0, 400) > 0:
                updates.append(line)
                continue
            if updates:
                self._forward_updates(updates)
                updates = []
            self._take(line)
        if updates:
            self._forward_updates(updates)
        return True

    def _keep_early(self, data: bytes) -> None:
        if self.early is None:
            return
        self.early.append(data)
        self.early_bytes += len(data)
        if self.early_bytes > self.limit:
            self.early = None

    def _forward_updates(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        if self.agent is None or not self.greeted:
            self._keep_early(data)
            return
        if self.lost_lines or self.backlog_bytes + len(data) > self.limit:
            self.lost_lines += len(lines)
            return
        self._send(data)

    def _take(self, line: bytes) -> None:
        """A line that is no UPDATE: an event, or an answer."""
        if not line.startswith(b"{"):
            self._answer(line.strip())
            return
        try:
            self.memory.learn(line)
        except (ValueError, KeyError, TypeError):
            self._tell(b"#bad " + line[:200].strip() + b"\n")
            return
        if self.agent is not None and self.greeted:
            self._send(line)
        else:
            self._keep_early(line)

    def _tell(self, line: bytes) -> None:
        if self.agent is not None and self.greeted:
            self._send(line)

    def _send(self, data: bytes) -> None:
        self.backlog.append(data)
        self.backlog_bytes += len(data)
        if self.backlog_bytes > self.limit + HARD_EXTRA_BYTES:
            self._drop_agent()
        elif len(self.backlog) == 1 or self.lost_lines:
            self._flush()

    def _flush(self) -> None:
        assert self.agent is not None
        try:
            while self.backlog:
                data = self.backlog[0]
                sent = self.agent.send(data)
                self.backlog_bytes -= sent
                if sent < len(data):
                    self.backlog[0] = data[sent:]
                    break
                self.backlog.popleft()
                if self.lost_lines and self.backlog_bytes < self.limit // 2:
                    self._append_lost()
        except BlockingIOError:
            pass
        except OSError:
            self._drop_agent()
            return
        self._watch_agent()

    def _append_lost(self) -> None:
        note = b"#lost " + json.dumps({"lines": self.lost_lines, "reason": "the agent did not read"}).encode() + b"\n"
        self.lost_lines = 0
        self.backlog.append(note)
        self.backlog_bytes += len(note)

    # the agent

    def _accept(self) -> None:
        try:
            agent, _ = self.listener.accept()
        except OSError:
            return
        if self.agent is not None and not self._is_gone():
            holder = struct.unpack("3i", self.agent.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            with contextlib.suppress(OSError), agent:
                agent.send(b"#refused " + json.dumps({"pid": holder}).encode() + b"\n")
            return
        agent.setblocking(False)
        with contextlib.suppress(OSError):
            agent.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.agent = agent
        self.poller.register(agent, select.POLLIN)
        if not self.memory.inherited:
            self._greet()

    def _is_gone(self) -> bool:
        """Whether the present agent has closed; then it is let go."""
        assert self.agent is not None
        poller = select.poll()
        poller.register(self.agent, select.POLLRDHUP)
        if not poller.poll(0):
            return False
        self._drop_agent()
        return True

    def _greet(self) -> None:
        """Hello and snapshot; waits after our own restart until ExaBGP has told the present states."""
        if self.agent is None or self.greeted:
            return
        self.greeted = True
        hello = {"protocol": PROTOCOL, "instance": self.memory.instance, "config": self.config}
        hello.update(exabgp=os.getppid(), bridge=os.getpid())
        lines = [b"#hello " + json.dumps(hello).encode()]
        early, self.early = self.early, None
        if early is None:
            peers = self.memory.peers.items()
            lines += [b"#peer " + json.dumps({"peer": peer, **known}).encode() for peer, known in peers]
        self._send(b"\n".join([*lines, b"#ready", b"".join(early or ())]))

    def _drop_agent(self) -> None:
        if self.agent is None:
            return
        self.poller.unregister(self.agent)
        self.agent.close()
        self.agent = None
        self.greeted = False
        self.agent_partial = b""
        self.backlog.clear()
        self.backlog_bytes = self.lost_lines = 0
        for command in (self.running, *self.behind):
            if command is not None:
                command.ident = None  # the next agent's commands have the same numbers
        own = [command for command in self.commands if command.ident is None]
        self.commands = collections.deque(own)
        self.queued = sum(len(command.text) for command in own)

    def _read_agent(self) -> None:
        if self.agent is None:
            return
        try:
            chunk = self.agent.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._drop_agent()
            return
        lines = (self.agent_partial + chunk).split(b"\n")
        self.agent_partial = lines.pop()
        if len(self.agent_partial) > COMMAND_BYTES:
            self._drop_agent()
            return
        for line in lines:
            ident, _, text = line.partition(b" ")
            if not text.isascii() or not text.strip() or len(text) > COMMAND_BYTES:
                self._tell(b"#answer " + ident[:32] + b" error\n")
            else:
                self._enqueue(Command(ident, text))
        self._watch_agent()

    def _watch_agent(self) -> None:
        if self.agent is None:
            return
        wanted = select.POLLOUT if self.backlog else 0
        if self.queued < QUEUE_BYTES:
            wanted |= select.POLLIN
        self.poller.modify(self.agent, wanted)

    # the agent to ExaBGP

    def _enqueue(self, command: Command) -> None:
        self.commands.append(command)
        self.queued += len(command.text)
        self._next()

    def _next(self) -> None:
        """Start what may start now; after a time-out, first find our place in the answers again."""
        if self.stale:
            if self.running is None:
                self.running = Command(None, SYNC)
                self._start(self.running)
            return
        while self.commands and self._may_start(self.commands[0]):
            command = self.commands.popleft()
            self.queued -= len(command.text)
            if self.running is None:
                self.running = command
            else:
                self.behind.append(command)
            self._start(command)
        self._watch_agent()

    def _may_start(self, command: Command) -> bool:
        if self.running is None:
            return True
        return self.running.pipelined and command.pipelined and len(self.behind) < PIPELINE - 1

    def _start(self, command: Command) -> None:
        command.deadline = time.monotonic() + self.timeout
        self.outgoing += command.text + b"\n"
        self._write_command()

    def _ended(self) -> None:
        """`running` has its answer: the one behind it is next in line."""
        self.running = self.behind.popleft() if self.behind else None
        if self.running is not None:
            self.running.deadline = time.monotonic() + self.timeout

    def _write_command(self) -> None:
        try:
            while self.outgoing:
                self.outgoing = self.outgoing[os.write(self.writer, self.outgoing) :]
        except BlockingIOError:
            self.poller.register(self.writer, select.POLLOUT)
            return
        except OSError:
            self.outgoing = b""  # ExaBGP is gone: the end of our input tells
        with contextlib.suppress(KeyError):
            self.poller.unregister(self.writer)

    def _watch_running(self) -> None:
        command = self.running
        if command is None:
            return
        if time.monotonic() >= command.deadline:
            self.running = None
            if self.settling:
                self._settled(command)
                return
            self.stale = True
            self.overdue_syncs += command.text == SYNC
            for late in (command, *self.behind):
                if late.ident is not None:
                    self._tell(b"#answer " + late.ident + b" timeout\n")
            self.behind.clear()
            self._next()
        elif (command.ticks or self.behind) and not self.outgoing:
            command.ticks = max(0, command.ticks - 1)
            self.outgoing = b" "
            self._write_command()

    def _answer(self, line: bytes) -> None:
        command = self.running
        if command is None:
            return  # late: its command was given up
        if line not in (b"done", b"error"):
            command.output.append(line)
            command.deadline = time.monotonic() + self.timeout  # it is at work
            return
        if self.stale:
            if not any(text.startswith(b"[") for text in command.output):
                command.output.clear()
                return  # of a command that timed out
            if self.overdue_syncs:
                self.overdue_syncs -= 1
                self.settling, command.output = command.output, []
                command.deadline = time.monotonic() + self.timeout
                return  # of an older one, as far as anybody can tell
            self.settling = command.output
            self._settled(command)
            return
        self._ended()
        if command.ident is None:
            self._own_done(command)
        else:
            for text in command.output:
                self._tell(b"#output " + command.ident + b" " + text + b"\n")
            self._tell(b"#answer " + command.ident + b" " + line + b"\n")
        self._next()

    def _settled(self, command: Command) -> None:
        """SYNC has its answer: what comes from now on is of what we send from now on."""
        command.output, self.settling = self.settling, []
        self.running, self.stale, self.overdue_syncs = None, False, 0
        self._own_done(command)
        self._next()

    def _own_done(self, command: Command) -> None:
        if not self.memory.inherited:
            return
        for text in command.output:
            if text.startswith(b"["):
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    self.memory.verify(text)
        self.memory.inherited = False
        self._greet()


def main() -> int:
    """Entry point, as rendered into ExaBGP's configuration."""
    options = Options(sys.argv[1:])
    parent = os.getppid()
    memory = Memory(options.socket + ".peers", f"{parent}.{process_start(parent)}")
    Bridge(options, memory).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
