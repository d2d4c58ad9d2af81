"""The edges as the agent drives them: each carries out its commands in order in a task of its own, and posts events.

Theory of operation: `put` never waits. A queue that grows does so because its edge is slow (the speaker answers each
command); what waits in it is small, since hot paths are bounded by the core (one kernel write at a time).
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.seam.speaker import CommandResult, FsmState, SpeakerAttached, SpecError
from calicopy.speaker.adj_out import announced
from calicopy.speaker.client import SpeakerClient
from calicopy.speaker.control import ConfigRefused, SpeakerControl
from calicopy.store import Store, StoreChange, StoreError

log = logging.getLogger(__name__)

C = TypeVar("C")
Post = Callable[[ev.CoreEvent], None]
SESSIONS_RETRY_S = 5.0  # a missing key file, a full disk


class OrderedTask(Generic[C]):
    """Carries out commands one after the other. What `carry_out` raises is logged, and the next one follows."""

    def __init__(self, name: str, carry_out: Callable[[C], Awaitable[None]]) -> None:
        self._name = name
        self._carry_out = carry_out
        self._queue: asyncio.Queue[C] = asyncio.Queue()

    def put(self, command: C) -> None:
        """Do this after all that was put before."""
        self._queue.put_nowait(command)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            command = await self._queue.get()
            try:
                await self._carry_out(command)
            except Exception:
                log.exception("%s: %s failed", self._name, type(command).__name__)
            finally:
                self._queue.task_done()

    async def finish(self) -> None:
        """Until all that was put is carried out; `run` has to run beside."""
        await self._queue.join()


SpeakerCommand = (
    SpeakerAttached | do.Advertise | do.SendEndOfRib | do.SendRefresh | do.ResendRoutes | do.ResetPeer | do.SetSessions
)


class SpeakerEdge:
    """ExaBGP, through its bridge.

    Setting the sessions has a queue of its own: it waits for a check in another process, and for a reload, and
    meanwhile the sessions that there are have to be served. It begins after what was said before, so that a peer that
    goes hears the withdrawals first. What is said to a session that goes away just fails.
    """

    def __init__(self, client: SpeakerClient, control: SpeakerControl, post: Post) -> None:
        self._client = client
        self.control = control
        self._post = post
        self._wanted: do.SetSessions | None = None
        self.task: OrderedTask[SpeakerCommand] = OrderedTask("speaker", self._carry_out)
        self.sessions: OrderedTask[do.SetSessions] = OrderedTask("speaker sessions", self._set_sessions)

    async def listen(self) -> None:
        """Post the speaker's events, until cancelled."""
        async for batch in self._client.batches():
            for event in batch:
                self._post(event)
                if isinstance(event, SpeakerAttached):
                    self.task.put(event)
                    if self._wanted is not None:
                        self.sessions.put(self._wanted)  # it may have started with an older file

    async def _carry_out(self, command: SpeakerCommand) -> None:
        client = self._client
        match command:
            case SpeakerAttached():
                if any(one.state is FsmState.ESTABLISHED for one in command.peers):
                    self._post(ev.AnnouncedBefore(await announced(client)))
            case do.Advertise():
                await self._advertise(command)
            case do.SendEndOfRib():
                result = await client.end_of_rib(command.peer, command.family)
                if result is not CommandResult.DONE:
                    self._post(ev.AdvertiseFailed((command.peer,), command.family, result.value))
            case do.SendRefresh():
                await client.route_refresh(command.peer, command.family)
            case do.SetSessions():
                self.sessions.put(command)
            case do.ResendRoutes():
                await client.flush(command.peer)
            case do.ResetPeer():
                await client.teardown(command.peer, command.subcode)  # silent where we offer graceful restart

    async def _set_sessions(self, command: do.SetSessions) -> None:
        self._wanted = command
        try:
            await self.control.apply(command.sessions)
        except ConfigRefused as error:
            self._post(ev.SessionsSet(str(error), command.serial, unchanged=True))
        except (SpecError, OSError) as error:
            self._post(ev.SessionsSet(str(error), command.serial, unchanged=isinstance(error, OSError)))
            asyncio.get_running_loop().call_later(SESSIONS_RETRY_S, self._retry_sessions, command)
        else:
            self._post(ev.SessionsSet("", command.serial))

    def _retry_sessions(self, command: do.SetSessions) -> None:
        if command is self._wanted:
            self.sessions.put(command)

    async def _advertise(self, command: do.Advertise) -> None:
        try:
            results = [await self._client.announce(command.peers, command.announce)]
            results.append(await self._client.withdraw(command.peers, command.withdraw))
        except SpecError as error:
            self._post(ev.AdvertiseFailed(command.peers, command.family, str(error)))
            return
        failed = [result for result in results if result is not CommandResult.DONE]
        if failed:
            self._post(ev.AdvertiseFailed(command.peers, command.family, failed[0].value))


class StoreEdge:
    """SQLite, in a thread of its own: a commit waits for the disk."""

    def __init__(self, store: Store, post: Post) -> None:
        self._store = store
        self._post = post
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self.task: OrderedTask[do.Persist] = OrderedTask("store", self._persist)

    async def commit(self, changes: list[StoreChange]) -> None:
        """One transaction. Raises StoreError; then nothing was written."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.commit, changes)

    async def _persist(self, command: do.Persist) -> None:
        try:
            await self.commit(list(command.changes))
        except Exception as error:  # the core waits for an answer, whatever went wrong
            if not isinstance(error, StoreError):
                log.exception("store: commit failed")
            self._post(ev.PersistFailed(command.token, str(error)))
        else:
            self._post(ev.Persisted(command.token))

    def close(self) -> None:
        """End the thread, after what was begun. The store may be closed then."""
        self._thread.shutdown(wait=True, cancel_futures=True)

