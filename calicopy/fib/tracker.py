"""Desired and actual routes of one family, side by side, and what is still to be done.

Theory of operation: `desired` is what should be in the kernel, `actual` what is there as far as known. A prefix where
the two differ is ready (to be written with the next batch), in flight (written, no result yet), or waiting for its next
attempt after a failure. Only a confirmed write moves `actual`; a failed one stays to be done, after a pause that
doubles. Targets are interned by the owner of the tracker, so "differs" is `is not`, and the work per prefix is a few
dict operations.

A route of ours that a dump brought and that nobody has wanted in this life is adopted: it stays, untouched, until
sweeping is allowed. A route that was wanted and is not any more goes at once.
"""
from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from errno import ENOENT
from itertools import islice

from calicopy.fib.types import KernelRoute, RouteBatch, RouteOp, RouteTarget, WriteResult
from calicopy.net import Family, Packed

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
FOREIGN_PAUSE_S = 30.0
"""A foreign route that goes away is seen as an event; the pause is only for an event that was lost."""


@dataclass(slots=True)
class Failure:
    """A write that failed: `errno` 0 stands for a foreign route at the key. `retry_at` is on the clock of `now`."""

    errno: int
    attempts: int
    retry_at: float


class RouteTracker:
    """The delta of one family. Not for hashing outside: its dicts are read by the FIB, and changed here alone."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.desired: dict[Packed, RouteTarget] = {}
        self.actual: dict[Packed, RouteTarget] = {}
        self.failures: dict[Packed, Failure] = {}
        self._ready: dict[Packed, None] = {}
        self._urgent: dict[Packed, None] = {}
        self._in_flight: set[Packed] = set()
        self._adopted: set[Packed] = set()
        self._strays: dict[tuple[Packed, int], KernelRoute] = {}
        self._retries: list[tuple[float, int, list[Packed]]] = []
        self._retry_number = 0
        self._sweeping = False

    @property
    def pending(self) -> int:
        """How many prefixes differ, or are being written."""
        return len(self._pending_prefixes())

    @property
    def idle(self) -> bool:
        """Whether nothing is ready, in flight or failed."""
        busy = self._urgent or self._ready or self._in_flight or self.failures
        return not (busy or (self._sweeping and self._strays))

    @property
    def has_ready(self) -> bool:
        """Whether `delta` has something to give. While writes are in flight, their results come first."""
        return not self._in_flight and bool(self._urgent or self._ready or (self._sweeping and self._strays))

    def is_pending(self, packed: Packed) -> bool:
        """Whether this prefix differs, or is being written."""
        return any(packed in part for part in (self._ready, self._urgent, self._in_flight, self.failures))

    def next_retry(self) -> float | None:
        """When the next failed write is due."""
        return self._retries[0][0] if self._retries else None

    def want(self, changes: Iterable[tuple[Packed, RouteTarget | None]], *, urgent: bool = False) -> None:
        """Set what is desired of some prefixes; None: nothing. Targets must be interned."""
        desired, held, failures, adopted = self.desired, self.actual.get, self.failures, self._adopted
        ready, other = (self._urgent, self._ready) if urgent else (self._ready, self._urgent)
        for packed, target in changes:
            if desired.get(packed) is target:
                continue
            if target is None:
                del desired[packed]
            else:
                desired[packed] = target
                if adopted:
                    adopted.discard(packed)
            if failures:
                failures.pop(packed, None)
            if other:
                other.pop(packed, None)
            if held(packed) is not target:
                ready[packed] = None
            elif ready:
                ready.pop(packed, None)

    def allow_sweep(self, allowed: bool) -> None:
        """Whether adopted routes that nobody wants may be deleted."""
        self._sweeping = allowed
        if allowed and self._adopted:
            self._ready.update(dict.fromkeys(self._adopted))
            self._adopted.clear()

    def delta(self, limit: int, now: float) -> list[RouteBatch]:
        """Up to `limit` prefixes to write now, which are in flight from here on, until `written`."""
        self._release_retries(now)
        taken = self._take(limit)
        if not taken and not self._strays:
            return []
        batches = self._sort(taken)
        for batch in batches:
            self._in_flight.update(batch.prefixes)
        return batches + self._stray_batches() if self._sweeping else batches

    def _take(self, limit: int) -> list[Packed]:
        taken: list[Packed] = []
        for queue in (self._urgent, self._ready):
            room = limit - len(taken)
            if not queue or room <= 0:
                continue
            if self._in_flight:
                part = list(islice((packed for packed in queue if packed not in self._in_flight), room))
            else:
                part = list(islice(queue, room))
            if len(part) == len(queue):
                queue.clear()
            else:
                for packed in part:
                    del queue[packed]
            taken += part
        return taken

    def _sort(self, taken: list[Packed]) -> list[RouteBatch]:
        deletes: list[Packed] = []
        adds: dict[int, list[Packed]] = {}
        replaces: dict[int, list[Packed]] = {}
        targets: dict[int, RouteTarget] = {}
        desired, actual = self.desired, self.actual
        for packed in taken:
            target, held = desired.get(packed), actual.get(packed)
            if target is held:
                continue
            if target is None:
                deletes.append(packed)
                continue
            key = id(target)
            group = adds if held is None else replaces
            if key in group:
                group[key].append(packed)
            else:
                group[key] = [packed]
                targets[key] = target
        batches = [RouteBatch(RouteOp.ADD, self.family, targets[key], part) for key, part in adds.items()]
        batches += [RouteBatch(RouteOp.REPLACE, self.family, targets[key], part) for key, part in replaces.items()]
        if deletes:
            batches.append(RouteBatch(RouteOp.DELETE, self.family, None, deletes))
        return batches

    def _stray_batches(self) -> list[RouteBatch]:
        """Deletes for routes with our protocol and another metric. They are not tracked: the next dump tells."""
        strays, self._strays = self._strays, {}
        by_metric: dict[int, list[Packed]] = {}
        for packed, metric in strays:
            by_metric.setdefault(metric, []).append(packed)
        return [RouteBatch(RouteOp.DELETE, self.family, None, part, metric) for metric, part in by_metric.items()]

    def written(self, result: WriteResult, now: float) -> None:
        """Take the result of a batch that `delta` gave."""
        batch = result.batch
        if batch.metric is not None:
            return
        self._in_flight.difference_update(batch.prefixes)
        failed = dict(result.failures)
        failed.update(dict.fromkeys(result.foreign, 0))
        done = [packed for packed in batch.prefixes if packed not in failed] if failed else batch.prefixes
        if batch.target is None:
            for packed in done:
                self.actual.pop(packed, None)
        else:
            self.actual.update(dict.fromkeys(done, batch.target))
        if self.failures:
            for packed in done:
                self.failures.pop(packed, None)
        desired, target, ready = self.desired, batch.target, self._ready
        for packed in done:
            if desired.get(packed) is not target:
                ready[packed] = None
        if failed:
            self._fail(batch, failed, now)

    def _fail(self, batch: RouteBatch, failed: Mapping[Packed, int], now: float) -> None:
        due: dict[float, list[Packed]] = {}
        for packed, code in failed.items():
            if batch.op is RouteOp.REPLACE and code != 0:
                # What is at the key is not known: the next attempt adds, and so finds out.
                self.actual.pop(packed, None)
            if packed in self._ready or packed in self._urgent:
                continue  # something else is wanted by now: that is tried at once
            if batch.op is RouteOp.REPLACE and code == ENOENT:
                self._ready[packed] = None  # it had vanished before we knew
                continue
            before = self.failures.get(packed)
            attempts = 1 if before is None else before.attempts + 1
            pause = FOREIGN_PAUSE_S if code == 0 else min(FIRST_PAUSE_S * 2.0 ** (attempts - 1), LONGEST_PAUSE_S)
            self.failures[packed] = Failure(code, attempts, now + pause)
            due.setdefault(now + pause, []).append(packed)
        for retry_at, prefixes in due.items():
            self._schedule(retry_at, prefixes)

    def _schedule(self, retry_at: float, prefixes: list[Packed]) -> None:
        self._retry_number += 1
        heapq.heappush(self._retries, (retry_at, self._retry_number, prefixes))

    def _release_retries(self, now: float) -> None:
        while self._retries and self._retries[0][0] <= now:
            _, _, prefixes = heapq.heappop(self._retries)
            self._release(packed for packed in prefixes if self._is_due(packed, now))

    def _is_due(self, packed: Packed, now: float) -> bool:
        failure = self.failures.get(packed)
        return failure is not None and failure.retry_at <= now

    def _release(self, prefixes: Iterable[Packed]) -> None:
        for packed in prefixes:
            if packed not in self._urgent and packed not in self._in_flight:
                self._ready[packed] = None

    def retry_now(self) -> None:
        """Something happened that may have removed the causes: try every failed write again, at once."""
        self._retries.clear()
        self._release(list(self.failures))

    def kernel_state(self, routes: Mapping[Packed, RouteTarget], strays: Iterable[KernelRoute]) -> None:
        """Take a whole dump (targets interned) as what is there. What is in flight keeps its state until its result."""
        desired, failures = self.desired, self.failures
        leaving = {packed for packed in self._pending_prefixes() if packed not in desired}
        in_flight = {packed: self.actual.get(packed) for packed in self._in_flight}
        actual = self.actual = dict(routes)
        for packed, held in in_flight.items():
            if held is None:
                actual.pop(packed, None)
            else:
                actual[packed] = held
        self._strays = {(stray.packed, stray.metric): stray for stray in strays}
        ready = {packed: None for packed, target in desired.items() if actual.get(packed) is not target}
        unwanted = actual.keys() - desired.keys()
        self._adopted = set() if self._sweeping else unwanted - leaving
        ready.update(dict.fromkeys(unwanted - self._adopted))
        for packed in list(failures):
            if packed in ready:
                del ready[packed]
            else:
                del failures[packed]
        # Those that were due already had left the schedule.
        self._retries.clear()
        for packed, failure in failures.items():
            self._schedule(failure.retry_at, [packed])
        self._urgent = {packed: None for packed in self._urgent if packed in ready}
        self._ready = {packed: None for packed in ready if packed not in self._urgent}

    def kernel_changed(self, changes: Mapping[Packed, RouteTarget | None]) -> None:
        """Take what an event said of single prefixes: None means that ours is gone, or may be."""
        for packed, target in changes.items():
            if packed in self._in_flight:
                continue
            if target is None:
                self.actual.pop(packed, None)
            else:
                self.actual[packed] = target
            self._adopted.discard(packed)
            self.failures.pop(packed, None)
            wanted = self.desired.get(packed)
            if wanted is target:
                self._ready.pop(packed, None)
                self._urgent.pop(packed, None)
            elif wanted is None and not self._sweeping:
                self._adopted.add(packed)
                self._ready.pop(packed, None)
            elif packed not in self._urgent:
                self._ready[packed] = None

    def forget_routes_over(self, ifindexes: frozenset[int]) -> None:
        """Take routes with a hop over one of these interfaces as gone, for all that is known."""
        hit = {
            key
            for key, target in {id(target): target for target in self.actual.values()}.items()
            if any(hop.ifindex in ifindexes for hop in target.hops)
        }
        if hit:
            self.kernel_changed({packed: None for packed, target in self.actual.items() if id(target) in hit})

    def targets_in_use(self) -> Iterable[RouteTarget]:
        """Every target that a desired or an actual route has, with repetitions."""
        yield from self.desired.values()
        yield from self.actual.values()

    def _pending_prefixes(self) -> set[Packed]:
        return {*self._ready, *self._urgent, *self.failures, *self._in_flight}
