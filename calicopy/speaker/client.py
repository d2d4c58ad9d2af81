"""The agent's end of the bridge: events in batches, commands that end with an answer.

Theory of operation: one task keeps a connection to the bridge's socket, and tries again for ever when there is none.
Events are handed over in batches, one per wake-up (`async for batch in client.batches()`). When the consumer lags,
reading stops at a bound and the bridge's backlog fills. A connection lost ends each command under way with UNKNOWN; a
new `SpeakerAttached` follows, whose `instance` tells whether ExaBGP is the same process and still holds what was
announced.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress

from calicopy.net.family import Family
from calicopy.seam.speaker import (
    AnnounceGroup,
    CommandResult,
    SpeakerAttached,
    SpeakerDetached,
    SpeakerEvent,
    UpdatesReceived,
    WithdrawGroup,
)
from calicopy.speaker.commands import announce_lines, withdraw_lines
from calicopy.speaker.stream import Answer, EventStream, Refused

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.02
LAST_RETRY_S = 0.25
REFUSED_RETRY_S = 1.0
PENDING_OCTETS = 8 << 20  # bodies handed over but not yet taken: above it reading pauses
COMMAND_TIMEOUT_S = 60.0  # for the whole queue ahead of us; the bridge itself times out each command


class _Connection(asyncio.Protocol):
    """One connection: bytes to the client's stream."""

    def __init__(self, client: SpeakerClient) -> None:
        self.client = client
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.client.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(str(exc) if exc else "the bridge closed the connection")


class SpeakerClient:
    """A client of the bridge at `socket_path`. `async with` it, or call start() and close()."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path
        self.attached: SpeakerAttached | None = None
        self.unreachable_since: float | None = None  # loop time since which nobody listens at the socket
        self._stream = EventStream()
        self._events: list[SpeakerEvent] = []
        self._pending = 0
        self._paused = False
        self._wake = asyncio.Event()
        self._attach_wake = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._next_ident = 0
        self._closing = False
        self._refused = False

    async def __aenter__(self) -> SpeakerClient:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect. Needs a running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="speaker-client")

    async def close(self) -> None:
        """Detach: the sessions go on. Ends `batches()`."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._wake.set()

    @property
    def bridge_pid(self) -> int:
        """The pid of the bridge that we are attached to, 0 before."""
        return self._stream.bridge_pid

    # events

    async def batches(self) -> AsyncIterator[list[SpeakerEvent]]:
        """Batches of events, in order, until close()."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._closing:
                return
            batch, self._events, self._pending = self._events, [], 0
            if self._paused and self._transport is not None:
                self._paused = False
                self._transport.resume_reading()
            if batch:
                yield batch

    async def wait_attached(self) -> SpeakerAttached:
        """Return when attached, at once when so already."""
        while self.attached is None:
            self._attach_wake.clear()
            await self._attach_wake.wait()
        return self.attached

    def received(self, data: bytes) -> None:
        """Bytes of the bridge (called by the connection)."""
        for item in self._stream.feed(data):
            if isinstance(item, Answer):
                waiting = self._answers.pop(item.ident, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(item)
                continue
            if isinstance(item, Refused):
                log.error("speaker: the bridge is held by process %d", item.pid)
                self._refused = True
                continue
            if isinstance(item, SpeakerAttached):
                self.attached = item
                self._attach_wake.set()
            self._events.append(item)
            if isinstance(item, UpdatesReceived):
                self._pending += sum(map(len, item.bodies))
        self._wake.set()
        if self._pending > PENDING_OCTETS and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    async def _run(self) -> None:
        delay = FIRST_RETRY_S
        loop = asyncio.get_running_loop()
        while True:
            self._stream = EventStream()
            self._paused = self._refused = False
            try:
                transport, connection = await loop.create_unix_connection(lambda: _Connection(self), self.socket_path)
            except OSError:
                self.unreachable_since = self.unreachable_since or loop.time()
                await asyncio.sleep(delay)
                delay = min(delay * 1.3, LAST_RETRY_S)
                continue
            self._transport = transport
            self.unreachable_since = None
            reason = "closed by us"
            try:
                reason = await connection.closed
            finally:
                transport.abort()
                self._detached(reason)
            delay = FIRST_RETRY_S
            await asyncio.sleep(REFUSED_RETRY_S if self._refused else FIRST_RETRY_S)

    def _detached(self, reason: str) -> None:
        self._transport = None
        if self.attached is not None:
            self.attached = None
            self._events.append(SpeakerDetached(reason))
            self._wake.set()
        for ident, waiting in self._answers.items():
            if not waiting.done():
                waiting.set_result(Answer(ident, CommandResult.UNKNOWN, ()))
        self._answers.clear()

    # commands

    async def command(self, text: str) -> Answer:
        """Send one line as ExaBGP's API takes it; its answer. UNKNOWN when not attached or not answered in time."""
        (answer,) = await self._send((text,))
        return answer

    async def _send(self, lines: Sequence[str]) -> list[Answer]:
        if self._transport is None or self.attached is None:
            return [Answer(-1, CommandResult.UNKNOWN, ()) for _ in lines]
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[Answer]] = []
        text = []
        for line in lines:
            self._next_ident += 1
            self._answers[self._next_ident] = future = loop.create_future()
            waiting.append(future)
            text.append(f"{self._next_ident} {line}\n")
        self._transport.write("".join(text).encode("ascii"))
        await asyncio.wait(waiting, timeout=COMMAND_TIMEOUT_S)
        return [future.result() if future.done() else Answer(-1, CommandResult.UNKNOWN, ()) for future in waiting]

    async def _all(self, lines: Iterable[str]) -> CommandResult:
        ready = list(lines)
        if not ready:
            return CommandResult.DONE
        results = {answer.result for answer in await self._send(ready)}
        for worst in (CommandResult.ERROR, CommandResult.UNKNOWN):
            if worst in results:
                return worst
        return CommandResult.DONE

    async def announce(self, peers: Sequence[str], groups: Iterable[AnnounceGroup]) -> CommandResult:
        """Announce to these peers, in the order given. Idempotent. Raises SpecError before anything is sent.

        A peer that is no session any more is passed over; ERROR when none of them is one.
        """
        return await self._all(announce_lines(peers, groups))

    async def withdraw(self, peers: Sequence[str], groups: Iterable[WithdrawGroup]) -> CommandResult:
        """Withdraw from these peers. Idempotent. Raises SpecError before anything is sent; ERROR as in announce()."""
        return await self._all(withdraw_lines(peers, groups))

    async def end_of_rib(self, peer: str, family: Family) -> CommandResult:
        """Send End-of-RIB (RFC 4724 section 2), after all announced so far."""
        return (await self.command(f"neighbor {peer} announce eor {family} unicast")).result

    async def route_refresh(self, peer: str, family: Family) -> CommandResult:
        """Ask the peer for its routes again (RFC 2918). ERROR when the session is not Established."""
        return (await self.command(f"neighbor {peer} announce route-refresh {family} unicast")).result

    async def flush(self, peer: str) -> CommandResult:
        """Send all announcements to the peer again, between BoRR and EoRR where both sides can (RFC 7313). ERROR when
        the session is not Established.
        """
        return (await self.command(f"neighbor {peer} flush adj-rib out")).result

    async def teardown(self, peer: str, subcode: int) -> CommandResult:
        """End the session with Cease/`subcode`; silently where we offer graceful restart. ExaBGP dials again."""
        return (await self.command(f"neighbor {peer} teardown {subcode}")).result

    async def reload(self) -> CommandResult:
        """Make ExaBGP read its file again. DONE says that it was told to, not that it worked: see control.py."""
        return (await self.command("reload")).result

    async def show_neighbors(self) -> str | None:
        """ExaBGP's own list of sessions as JSON text, None when it did not answer."""
        answer = await self.command("show neighbor json")
        return next((line for line in answer.output if line.startswith("[")), None)
