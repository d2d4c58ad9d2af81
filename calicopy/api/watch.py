"""The watch stream: snapshot, sync mark, changes, heartbeats; and the queues between the agent and its watchers.

Theory of operation: the hub takes changes from the backend while anybody watches, and only then. Each change becomes
one message, which all watchers share. A watcher's queue begins before its snapshot is taken, so that nothing falls
between the two; a change may therefore come again that the snapshot already showed, and the last word on an object is
right. A queue is bounded. A watcher whose queue is full is dropped: its queue is emptied and its stream ends with
RESOURCE_EXHAUSTED as soon as it reads again, or is cut when it does not. The hub never waits for a watcher.
"""
from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

from google.rpc import code_pb2  # type: ignore[import-untyped]  # googleapis-common-protos ships no types

from calicopy.api import convert
from calicopy.api.backend import Backend
from calicopy.api.errors import InvalidFieldError, abort, end_call, refused_status
from calicopy.api.scalars import timestamp
from calicopy.api.services import Context
from calicopy.core.views import (
    BlockView,
    ChangeView,
    LogView,
    NodeStatusView,
    PeerView,
    RouteQuery,
    RouteView,
    WorkloadView,
)
from calicopy.v1 import watch_pb2, watch_pb2_grpc

log = logging.getLogger(__name__)

QUEUE_LENGTH = 10_000
CUT_AFTER_S = 5.0  # a dropped watcher that reads nothing for so long is cut off
HEARTBEAT_S = 10
LONGEST_HEARTBEAT_S = 3600
TOPICS = frozenset(number for number in watch_pb2.Topic.values() if number != watch_pb2.TOPIC_UNSPECIFIED)


def topic_of(view: ChangeView) -> watch_pb2.Topic:
    """The topic that a change belongs to."""
    match view.object:
        case NodeStatusView():
            return watch_pb2.TOPIC_STATUS
        case PeerView():
            return watch_pb2.TOPIC_PEERS
        case RouteView():
            return watch_pb2.TOPIC_ROUTES
        case BlockView():
            return watch_pb2.TOPIC_BLOCKS
        case WorkloadView():
            return watch_pb2.TOPIC_WORKLOADS
        case LogView():
            return watch_pb2.TOPIC_EVENTS


class Watcher:
    """One watcher's queue. Once `overflowed` or `closed`, it takes nothing more."""

    def __init__(self, topics: frozenset[int], *, length: int) -> None:
        self.topics = topics
        self.overflowed = False
        self.closed = False
        self.task = asyncio.current_task()
        self._length = length
        self._queue: collections.deque[watch_pb2.WatchResponse] = collections.deque()
        self._wake = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether its stream is to end."""
        return self.overflowed or self.closed

    def offer(self, messages: Sequence[watch_pb2.WatchResponse]) -> bool:
        """Queue `messages`; False when they do not fit."""
        if len(self._queue) + len(messages) > self._length:
            self._queue.clear()
            self.overflowed = True
            self._wake.set()
            return False
        self._queue.extend(messages)
        self._wake.set()
        return True

    def close(self) -> None:
        """End the stream: the agent stops."""
        self.closed = True
        self._wake.set()

    def cut(self) -> None:
        """Cancel the handler, which hangs in a write that nobody reads."""
        if self.task is not None and not self.task.done():
            self.task.cancel()

    async def next(self, timeout_s: float) -> watch_pb2.WatchResponse | None:
        """The next message; None after `timeout_s` seconds without one, or when it is over."""
        if not self._queue and not self.over:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):  # wait_for of Python 3.11 may lose the cancellation by `cut`
                    await self._wake.wait()
        return self._queue.popleft() if self._queue and not self.over else None


class WatchHub:
    """Spreads the backend's changes to the watchers; a `ChangeSink`."""

    def __init__(self, backend: Backend, *, queue_length: int = QUEUE_LENGTH) -> None:
        self._backend = backend
        self._queue_length = queue_length
        self._watchers: set[Watcher] = set()
        self._closed = False
        self.dropped = 0
        """Watchers dropped for being slow, since the start."""

    @property
    def watching(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    def push(self, revision: int, changes: Sequence[ChangeView]) -> None:
        """Queue `changes` for everyone who asked for their topics."""
        now = time.time()
        wanted = frozenset[int]().union(*(watcher.topics for watcher in self._watchers))
        made = [
            (topic, convert.change(view, revision=revision, now=now))
            for view in changes
            if (topic := topic_of(view)) in wanted
        ]
        for watcher in [*self._watchers]:
            if not watcher.offer([message for topic, message in made if topic in watcher.topics]):
                self._drop(watcher)

    def _drop(self, watcher: Watcher) -> None:
        self.dropped += 1
        self.leave(watcher)
        log.warning("a watcher reads too slowly: dropped after %d queued changes", self._queue_length)
        asyncio.get_running_loop().call_later(CUT_AFTER_S, watcher.cut)

    def join(self, topics: frozenset[int]) -> Watcher:
        """A new watcher, run by the task that calls this."""
        watcher = Watcher(topics, length=self._queue_length)
        if self._closed:
            watcher.close()
            return watcher
        if not self._watchers:
            self._backend.subscribe(self)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """It watches no more; no error when it has left already."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            if not self._watchers:
                self._backend.unsubscribe(self)

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for watcher in [*self._watchers]:
            self.leave(watcher)
            watcher.close()


class WatchService(watch_pb2_grpc.WatchServiceServicer):
    """One stream of everything that changes."""

    def __init__(self, backend: Backend, hub: WatchHub) -> None:
        self._backend = backend
        self._hub = hub

    async def Watch(  # noqa: N802 - the RPC's name
        self, request: watch_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[watch_pb2.WatchResponse]:
        try:
            topics = _topics(request.topics)
            heartbeat_s = _heartbeat(request.heartbeat_s)
        except InvalidFieldError as error:
            await end_call(context, error)
        watcher = self._hub.join(topics)
        try:
            async for message in self._stream(watcher, heartbeat_s):
                yield message
        except Exception as error:
            await end_call(context, error)
        finally:
            self._hub.leave(watcher)
        if watcher.overflowed:
            why = "the watcher reads too slowly and was dropped; watch again to get the state anew"
            await abort(context, refused_status(code_pb2.RESOURCE_EXHAUSTED, "slow-watcher", why))
        await abort(context, refused_status(code_pb2.UNAVAILABLE, "stopping", "the agent stops"))

    async def _stream(self, watcher: Watcher, heartbeat_s: float) -> AsyncIterator[watch_pb2.WatchResponse]:
        """Until the watcher is over."""
        revision = self._backend.revision
        for view in self._snapshot(watcher.topics):
            if watcher.over:
                return
            yield convert.change(view, revision=revision, now=time.time())
        at = timestamp(time.time())
        yield watch_pb2.WatchResponse(revision=revision, at=at, sync=watch_pb2.Sync())
        while not watcher.over:
            message = await watcher.next(heartbeat_s)
            if message is None and not watcher.over:
                at = timestamp(time.time())
                revision = self._backend.revision
                message = watch_pb2.WatchResponse(revision=revision, at=at, heartbeat=watch_pb2.Heartbeat())
            if message is not None:
                yield message

    def _snapshot(self, topics: frozenset[int]) -> Iterator[ChangeView]:
        """All objects of `topics`. Lazy: routes are read while they are sent."""
        backend = self._backend
        if watch_pb2.TOPIC_STATUS in topics:
            yield ChangeView(backend.status())
        if watch_pb2.TOPIC_PEERS in topics:
            yield from map(ChangeView, backend.peers())
        if watch_pb2.TOPIC_BLOCKS in topics:
            yield from map(ChangeView, backend.blocks(include_reserved=True))
        if watch_pb2.TOPIC_WORKLOADS in topics:
            yield from map(ChangeView, backend.workloads())
        if watch_pb2.TOPIC_ROUTES in topics:
            for page in backend.routes(RouteQuery.ALL):
                yield from map(ChangeView, page)


def _topics(asked: Iterable[int]) -> frozenset[int]:
    topics = frozenset(asked)
    unknown = topics - TOPICS
    if unknown:
        raise InvalidFieldError("topics", f"{min(unknown)} is not a topic that this agent knows")
    return topics or TOPICS


def _heartbeat(asked_s: int) -> float:
    if asked_s > LONGEST_HEARTBEAT_S:
        raise InvalidFieldError("heartbeat_s", f"is {asked_s}, expected at most {LONGEST_HEARTBEAT_S} seconds")
    return asked_s or HEARTBEAT_S
