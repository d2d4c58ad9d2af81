"""The BFD process, as the agent sees it: what it is asked for, what it says, and what it left behind.

Theory of operation: the process is one of its own that the agent neither starts nor ends (`calicopy.bfd.process`). What
is wanted of it stands in two files of the run directory, so that it goes on, and comes back after a kill, without the
agent. Its control socket says what becomes of the sessions, and what it says is posted at once. An agent that starts
leaves the files of before as they are until the core has said what it wants; while the process is not there, what it
knew last is read from its own file.
"""
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from calicopy.agent.edges import Post
from calicopy.bfd.process import SESSIONS_FILE, SOCKET_FILE, STATE_FILE, TABLE_FILE
from calicopy.bfd.process.settings import (
    END,
    POKE,
    SessionSetting,
    StateLine,
    Table,
    format_ack,
    format_sessions,
    parse_state,
    parse_table,
)
from calicopy.bfd.process.state import StateError, read_states
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.net import Family
from calicopy.seam.bfd import BfdSpec, BfdState, BfdTable, HopMode, SessionState
from calicopy.unit import remove, write_whole

log = logging.getLogger(__name__)

COMPONENT = "bfd"
ATTACH_AGAIN_S = 0.05  # a killed process is back within a detection time
ATTACH_REST_S = 1.0  # when it has not been there for a while
GRACE_S = 3.0  # so long without the process although sessions are wanted: said as a problem
COUNTERS_S = 10.0  # how old counters may be that the core knows; all else is told at once
WRITE_AGAIN_S = 1.0  # a disk that was full
_LONGEST_LINE = 1 << 16

BfdCommand = do.SetBfdSessions | do.SetBfdTable | do.AcknowledgeBfd


class BfdEdge:
    """Sessions wanted, nexthop objects, acknowledgements, and what the process says. `protocol`: of our objects."""

    def __init__(self, run_dir: Path, post: Post, *, protocol: int) -> None:
        self._socket = str(run_dir / SOCKET_FILE)
        self._state = str(run_dir / STATE_FILE)
        self._sessions, self._table = str(run_dir / SESSIONS_FILE), str(run_dir / TABLE_FILE)
        self._post = post
        self._protocol = protocol
        self._wanted = False
        self._texts: dict[str, str | None] = {}  # to be written; None: nothing is to be there
        self._dirty = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._states: dict[str, BfdState] = {}
        self._told: dict[str, BfdState] | None = None
        self._told_at = 0.0
        self._whole = False
        self._problems: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self.counters: dict[str, int] = {}

    # -- what the core wants ------------------------------------------------------------------------------------

    def put(self, command: BfdCommand) -> None:
        """Carry it out; nothing is waited for."""
        match command:
            case do.SetBfdSessions():
                self._wanted = bool(command.sessions)
                text = format_sessions(map(_setting, command.sessions)) if command.sessions else None
                self._texts[self._sessions] = text
                self._dirty.set()
            case do.SetBfdTable():
                table = _table(command.table, protocol=self._protocol)
                if not command.complete:
                    self._keep_before(table)
                self._texts[self._table] = table.as_text()
                self._dirty.set()
            case do.AcknowledgeBfd():
                for peer, downs in command.downs.items():
                    self._say(format_ack(peer, downs))

    def _keep_before(self, table: Table) -> None:
        """Add what an agent of before has told of objects that this one does not know yet, and that still lead."""
        try:
            before = parse_table(Path(self._table).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        known = table.objects.keys() | table.groups.keys()
        table.objects |= {number: one for number, one in before.objects.items() if number not in known}
        table.groups |= {number: one for number, one in before.groups.items() if number not in known}

    async def write(self) -> None:
        """Write what is wanted, as it comes, until cancelled. What cannot be written is tried again."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            texts, self._texts = self._texts, {}
            failed = {path: text for path, text in texts.items() if not self._put(path, text)}
            if failed:
                self._texts = {**failed, **self._texts}
                await asyncio.sleep(WRITE_AGAIN_S)
                self._dirty.set()
            self._say(POKE)
            self._tell_problems()

    def _put(self, path: str, text: str | None) -> bool:
        """The files are small and in memory (tmpfs), so they are written here and now."""
        try:
            if text is None:
                remove(path)
            else:
                write_whole(path, text)
        except OSError as error:
            self._problems["files"] = f"{path}: {error.strerror}"
            return False
        self._problems.pop("files", None)
        return True

    def _say(self, text: str) -> None:
        """To the process, if it is there: it is told everything anew when it comes."""
        if self._writer is not None:
            self._writer.write(text.encode())

    # -- what the process says ----------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Post what the process says, until cancelled; attach again whenever it went."""
        absent_since = time.monotonic()
        self._left_behind("the BFD process is not there")
        while True:
            reason = "the BFD process ended"
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._socket, limit=_LONGEST_LINE)
                try:
                    self._problems.pop("process", None)
                    self._say(POKE)  # the files may be newer than the process's look at them
                    await self._attached(reader)
                except (OSError, ValueError) as error:  # it was killed before it read what we said, or talks nonsense
                    reason = str(error)
                finally:
                    self._writer.close()
                    if self._whole:
                        absent_since = time.monotonic()
                    self._writer, self._whole = None, False
                self._left_behind(reason)
            except OSError:  # it is not there, as was said
                pass
            absent = time.monotonic() - absent_since
            if self._wanted and absent > GRACE_S:
                self._problems["process"] = "the BFD process does not run: a node that dies is noticed by BGP alone"
            elif not self._wanted:
                self._problems.clear()
            self._tell_problems()
            await asyncio.sleep(ATTACH_AGAIN_S if absent < GRACE_S else ATTACH_REST_S)

    async def _attached(self, reader: asyncio.StreamReader) -> None:
        """Until it ends. ValueError for a line that is not the process's."""
        self._states, self._whole = {}, False
        rest = b""
        while data := await reader.read(_LONGEST_LINE):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._hear(line.decode("utf-8", "replace"))
            if self._whole:
                self._tell()
            self._tell_problems()

    def _hear(self, line: str) -> None:
        kind, _, text = line.partition(" ")
        match kind:
            case "state":
                state = _state(parse_state(line))
                self._states[state.peer] = state
            case "gone":
                self._states.pop(text, None)
            case _ if kind == END:
                self._whole = True
            case "problem" if text and self._wanted:
                self._problems["sessions"] = text
            case "problem":
                self._problems.pop("sessions", None)
            case "drop":
                name, _, count = text.partition(" ")
                self.counters[f"bfd.dropped_{name.replace('-', '_')}"] = int(count)
            case "process":
                pid, _, realtime = text.partition(" ")
                self.counters["bfd.realtime"] = int(realtime)
                log.info("attached to the BFD process %s%s", pid, "" if realtime == "1" else ", not in real time")

    def _tell(self) -> None:
        """Post the whole set, unless only counters differ from what was told lately."""
        now = time.monotonic()
        if self._told is not None and now - self._told_at < COUNTERS_S and _same(self._told, self._states):
            return
        self._told, self._told_at = dict(self._states), now
        self._post(ev.BfdSeen(self._told, attached=True))

    def _left_behind(self, reason: str) -> None:
        """What the process, which is not there, knew last."""
        try:
            states = {peer: _state(line) for peer, line in read_states(self._state).items()}
        except (OSError, StateError, ValueError):  # damaged: a state that there is not
            states = {}
        self._told = None
        self._post(ev.BfdSeen(states, attached=False, reason=reason))

    def _tell_problems(self) -> None:
        if self._problems != self._said:
            self._said = dict(self._problems)
            self._post(ev.HostChecked(COMPONENT, self._said))


def _same(before: Mapping[str, BfdState], now: Mapping[str, BfdState]) -> bool:
    return before.keys() == now.keys() and all(_facts(before[peer]) == _facts(one) for peer, one in now.items())


def _facts(state: BfdState) -> tuple[object, ...]:
    """All but what counts packets."""
    return (
        state.state, state.remote_state, state.diagnostic, state.remote_diagnostic, state.local_discriminator,
        state.remote_discriminator, state.remote_independent, state.hop, state.ups, state.downs, state.heard,
        state.changed_at, state.tx_interval_us, state.detection_time_us, state.remote_detect_mult, state.holding,
    )  # fmt: skip


def _setting(spec: BfdSpec) -> SessionSetting:
    auth = spec.auth
    return SessionSetting(
        spec.peer,
        spec.local,
        hop=spec.hop.value,
        min_ttl=spec.min_ttl,
        tx_us=spec.desired_min_tx_us,
        rx_us=spec.required_min_rx_us,
        detect_mult=spec.detect_mult,
        auth_type="" if auth is None else auth.type.value,
        auth_key_id=0 if auth is None else auth.key_id,
        auth_key_file="" if auth is None else auth.key_file,
        admin_down=spec.admin_down,
        next_hops=map(str, spec.next_hops),
    )


def _table(table: BfdTable, *, protocol: int) -> Table:
    def version(family: Family) -> int:
        return 4 if family is Family.IPV4 else 6

    return Table(
        objects={number: (version(family), str(hop)) for number, (family, hop) in table.objects.items()},
        groups={number: (version(family), members) for number, (family, members) in table.groups.items()},
        protocol=protocol,
    )


def _state(line: StateLine) -> BfdState:
    return BfdState(
        peer=line.peer,
        state=SessionState(line.state),
        remote_state=SessionState(line.remote_state),
        diagnostic=line.diagnostic,
        remote_diagnostic=line.remote_diagnostic,
        local_discriminator=line.local_discriminator,
        remote_discriminator=line.remote_discriminator,
        remote_independent=line.remote_independent,
        hop=HopMode(line.hop),
        ups=line.ups,
        downs=line.downs,
        heard=line.heard,
        changed_at=line.changed_at,
        tx_interval_us=line.tx_interval_us,
        detection_time_us=line.detection_time_us,
        remote_detect_mult=line.remote_detect_mult,
        holding=line.holding,
        sent=line.sent,
        received=line.received,
        dropped=line.dropped,
    )
