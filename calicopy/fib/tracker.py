"""Desired and actual routes of one family, side by side, and what is still to be done.

Theory of operation: `desired` is what should be in the kernel, `actual` what is there as far as known. A prefix where
the two differ is ready (to be written with the next batch), in flight (written, no result yet), parked (until the
nexthop object that it leads to is there), or waiting for its next attempt after a failure. Only a confirmed write moves
`actual`; a failed one stays to be done, after a pause that doubles. What is ready may have come right meanwhile: that
shows when it is taken.

Prefixes come in runs that share a target, and targets are interned by the owner of the tracker, so "differs" is `is
not`, and a run costs a few calls of dict and set methods; prefixes are looked at one by one only where failures, parked
or urgent ones are among them.

A route of ours that a dump brought and that nobody has wanted in this life is adopted: it stays, untouched, until
sweeping is allowed. A route that was wanted and is not any more goes at once.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from errno import ENOENT
from itertools import chain, compress, islice, repeat
from typing import TypeVar

from calicopy.fib.retries import Failure, Retries
from calicopy.fib.types import KernelRoute, RouteBatch, RouteOp, RouteTarget, WriteResult
from calicopy.net import Family, Packed

_ORDER = {RouteOp.ADD: 0, RouteOp.REPLACE: 1, RouteOp.DELETE: 2}
V = TypeVar("V")


class RouteTracker:
    """The delta of one family. Not for hashing outside: its dicts are read by the FIB, and changed here alone.

    `unsure` has what was at a prefix before something happened that it may have survived (a replace that failed, a link
    that went): nobody knows until the next write or dump. Such a prefix is not in `actual`, so it is written anew.
    `next_hops` are the ids of the nexthop objects that the kernel holds; the tracker reads it, and changes nothing.
    """

    def __init__(self, family: Family, next_hops: Container[int] = ()) -> None:
        self.family = family
        self.desired: dict[Packed, RouteTarget] = {}
        self.actual: dict[Packed, RouteTarget] = {}
        self.unsure: dict[Packed, RouteTarget] = {}
        self._next_hops = next_hops
        self._retries: Retries[Packed] = Retries()
        self._ready: dict[Packed, object] = {}
        self._urgent: dict[Packed, object] = {}
        self._parked: dict[int, dict[Packed, None]] = {}  # by nexthop id
        self._in_flight: dict[int, RouteBatch] = {}  # by id of the batch
        self._flying: frozenset[Packed] | None = None  # the prefixes of those, once somebody asked
        self._recheck = False  # whether something that is in flight was wanted otherwise meanwhile
        self._doubted: set[int] = set()  # batches in flight whose routes may be gone again
        self._adopted: set[Packed] = set()
        self._strays: dict[tuple[Packed, int], KernelRoute] = {}
        self._sweeping = False

    @property
    def failures(self) -> Mapping[Packed, Failure]:
        """The prefixes whose last write failed."""
        return self._retries.failures

    @property
    def pending(self) -> int:
        """How many prefixes differ, or are being written."""
        return len(self._pending_prefixes())

    @property
    def idle(self) -> bool:
        """Whether nothing is ready, parked, in flight or failed."""
        busy = self._urgent or self._ready or self._in_flight or self._parked or self.failures
        return not (busy or (self._sweeping and self._strays))

    @property
    def has_ready(self) -> bool:
        """Whether `delta` has something to give. What is in flight waits for its result."""
        if self._sweeping and self._strays:
            return True
        if not self._in_flight:
            return bool(self._urgent or self._ready)
        flying = self._flying_prefixes()
        return any(packed not in flying for packed in chain(self._urgent, self._ready))

    @property
    def in_flight(self) -> Iterable[RouteBatch]:
        """What is being written."""
        return self._in_flight.values()

    def is_pending(self, packed: Packed) -> bool:
        """Whether this prefix differs, or is being written."""
        if any(packed in part for part in (self._ready, self._urgent, self.failures, *self._parked.values())):
            return True
        return packed in self._flying_prefixes()

    def next_retry(self) -> float | None:
        """When the next failed write is due."""
        return self._retries.next_due()

    # -- what is desired

    def want(self, prefixes: list[Packed], target: RouteTarget | None, *, urgent: bool = False) -> None:
        """Set what is desired of a run of prefixes, each of them once; None: nothing. The target must be interned."""
        if urgent or self._urgent or self._parked or self.failures or self.unsure:
            self._want_each(prefixes, target, urgent=urgent)
            return
        desired, ready = self.desired, self._ready
        if target is None:
            before = list(map(desired.pop, prefixes, repeat(None)))
            if not all(before):
                prefixes = list(compress(prefixes, before))
        else:
            count = len(desired)
            desired.update(zip(prefixes, repeat(target)))
            if self._adopted:
                self._adopted.difference_update(prefixes)
            if len(desired) - count == len(prefixes) and self.actual.keys().isdisjoint(prefixes):
                ready.update(zip(prefixes, repeat(None)))
                return
        held = list(map(self.actual.get, prefixes))
        if target is None and all(held):
            ready.update(zip(prefixes, repeat(None)))
            return
        differ = [packed for packed, now in zip(prefixes, held, strict=True) if now is not target]
        if len(differ) < len(prefixes):
            self._recheck = self._recheck or bool(self._in_flight)
            if ready:
                drop(ready, set(prefixes).difference(differ))
        ready.update(zip(differ, repeat(None)))

    def _want_each(self, prefixes: list[Packed], target: RouteTarget | None, *, urgent: bool) -> None:
        desired, held = self.desired, self.actual.get
        ready, other = (self._urgent, self._ready) if urgent else (self._ready, self._urgent)
        for packed in prefixes:
            before = desired.get(packed)
            if before is target:
                continue
            if before is not None and before.next_hop_id in self._parked:
                self._unpark(packed, before.next_hop_id)
            if target is None:
                del desired[packed]
            else:
                desired[packed] = target
                self._adopted.discard(packed)
            self._retries.forget(packed)
            other.pop(packed, None)
            if held(packed) is not target or (target is None and packed in self.unsure):
                ready[packed] = None
            else:
                ready.pop(packed, None)
                self._recheck = self._recheck or bool(self._in_flight)

    def allow_sweep(self, allowed: bool) -> None:
        """Whether adopted routes that nobody wants may be deleted."""
        self._sweeping = allowed
        if allowed and self._adopted:
            self._ready.update(dict.fromkeys(self._adopted))
            self._adopted.clear()

    # -- what is written

    def delta(self, limit: int, now: float) -> list[RouteBatch]:
        """Up to `limit` prefixes to write now, which are in flight from here on, until `written`."""
        if due := self._retries.due(now):
            self._release(due)
        taken = self._take(limit)
        if not taken and not self._strays:
            return []
        batches = self._sort(taken)
        self._in_flight.update((id(batch), batch) for batch in batches)
        self._flying = None
        return batches + self._stray_batches() if self._sweeping else batches

    def _take(self, limit: int) -> list[Packed]:
        taken: list[Packed] = []
        for queue in (self._urgent, self._ready):
            room = limit - len(taken)
            if not queue or room <= 0:
                continue
            part = list(islice(queue, room))
            if any(not queue.keys().isdisjoint(batch.prefixes) for batch in self._in_flight.values()):
                flying = self._flying_prefixes()
                part = list(islice((packed for packed in queue if packed not in flying), room))
            if len(part) == len(queue):
                queue.clear()
            else:
                drop(queue, part)
            taken += part
        return taken

    def _sort(self, taken: list[Packed]) -> list[RouteBatch]:
        """Batches of what differs. Mostly one run is all there is: new prefixes of one target, or prefixes that go."""
        wanted, held = list(map(self.desired.get, taken)), list(map(self.actual.get, taken))
        if len(set(map(id, wanted))) == 1:
            target = wanted[0]
            if target is None and all(held):
                return [RouteBatch(RouteOp.DELETE, self.family, None, taken)]
            if target is not None and not any(held) and not self._park_all(taken, target):
                return [RouteBatch(RouteOp.ADD, self.family, target, taken)]
        runs: dict[tuple[RouteOp, int], tuple[RouteTarget | None, list[Packed]]] = {}
        for packed, target, there in zip(taken, wanted, held, strict=True):
            if target is there and not (target is None and packed in self.unsure):
                continue
            op = RouteOp.DELETE if target is None else RouteOp.ADD if there is None else RouteOp.REPLACE
            runs.setdefault((op, id(target)), (target, []))[1].append(packed)
        ordered = sorted(runs.items(), key=lambda run: _ORDER[run[0][0]])
        return [
            RouteBatch(op, self.family, target, part)
            for (op, _), (target, part) in ordered
            if target is None or not self._park_all(part, target)
        ]

    def _park_all(self, prefixes: list[Packed], target: RouteTarget) -> bool:
        """Have these wait when the object that they lead to is not there."""
        number = target.next_hop_id
        if not number or number in self._next_hops:
            return False
        self._parked.setdefault(number, {}).update(dict.fromkeys(prefixes))
        return True

    def _unpark(self, packed: Packed, number: int) -> None:
        parked = self._parked[number]
        parked.pop(packed, None)
        if not parked:
            del self._parked[number]

    def next_hop_is_there(self, number: int) -> None:
        """The kernel holds the nexthop object with this id now: routes to it can be written."""
        self._ready.update(self._parked.pop(number, {}))

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
        self._in_flight.pop(id(batch), None)
        self._flying = None
        failed = dict(result.failures)
        failed.update(dict.fromkeys(result.foreign, 0))
        done = [packed for packed in batch.prefixes if packed not in failed] if failed else batch.prefixes
        target = batch.target
        if self.failures or self.unsure:
            self._retries.forget_all(done)
            drop(self.unsure, done)
        if id(batch) in self._doubted:
            self._doubted.discard(id(batch))
            self._doubt(dict.fromkeys(done, target))
        elif target is None:
            drop(self.actual, done)
        else:
            self.actual.update(zip(done, repeat(target)))
        if self._recheck:
            wanted = map(self.desired.get, done)
            self._ready.update((packed, None) for packed, now_ in zip(done, wanted, strict=True) if now_ is not target)
            self._recheck = bool(self._in_flight)
        if failed:
            self._fail(batch, failed, now)

    def _fail(self, batch: RouteBatch, failed: Mapping[Packed, int], now: float) -> None:
        for packed, code in failed.items():
            if batch.op is RouteOp.REPLACE and code != 0:
                # What is at the key is not known: the next attempt adds, and so finds out.
                held = self.actual.pop(packed, None)
                if held is not None:
                    self.unsure[packed] = held
            if packed in self._ready or packed in self._urgent:
                continue  # something else is wanted by now: that is tried at once
            if batch.op is RouteOp.REPLACE and code == ENOENT:
                self._ready[packed] = None  # it had vanished before we knew
                continue
            self._retries.failed(packed, code, now)

    def _release(self, prefixes: Iterable[Packed]) -> None:
        flying = self._flying_prefixes()
        for packed in prefixes:
            if packed not in self._urgent and packed not in flying:
                self._ready[packed] = None

    def retry_now(self) -> None:
        """Something happened that may have removed the causes: try every failed write again, at once."""
        if self.failures:
            self._release(self._retries.all_now())

    # -- what the kernel says

    def kernel_state(
        self,
        routes: Mapping[Packed, RouteTarget],
        strays: Iterable[KernelRoute],
        intern: Callable[[Mapping[Packed, RouteTarget]], dict[Packed, RouteTarget]],
    ) -> None:
        """Take a whole dump as what is there. What is in flight keeps its state until its result.

        A dump that says what is known costs one comparison; `intern` is called for the targets of what it says else.
        """
        self._strays = {(stray.packed, stray.metric): stray for stray in strays}
        actual = self.actual
        self.unsure.clear()
        if not self._in_flight and routes == actual:
            return
        if not actual and not self._pending_prefixes() and not self.desired:
            actual.update(intern(routes))
            if self._sweeping:
                self._ready.update(dict.fromkeys(routes))
            else:
                self._adopted.update(routes)
            return
        held = map(actual.get, routes)
        other = {
            packed: target
            for (packed, target), now in zip(routes.items(), held, strict=True)
            if now is not target and now != target
        }
        flying, failures = self._flying_prefixes(), self.failures
        changes: dict[Packed, RouteTarget | None] = dict.fromkeys(actual.keys() - routes.keys())
        for packed, now in (changes | intern(other)).items():
            if packed in flying:
                continue
            if packed not in failures or self.desired.get(packed) is now:
                self._settle(packed, now)
            elif now is None:
                self.actual.pop(packed, None)
            else:
                self.actual[packed] = now  # still not what is wanted: it keeps its pause

    def kernel_changed(self, changes: Mapping[Packed, RouteTarget | None]) -> None:
        """Take what an event said of single prefixes (targets interned): None means that ours is gone, or may be."""
        flying = self._flying_prefixes()
        for packed, target in changes.items():
            if packed not in flying:
                self._settle(packed, target)

    def _settle(self, packed: Packed, target: RouteTarget | None) -> None:
        wanted = self.desired.get(packed)
        if target is None:
            self.actual.pop(packed, None)
        else:
            self.actual[packed] = target
        self._adopted.discard(packed)
        self.unsure.pop(packed, None)
        self._retries.forget(packed)
        if wanted is target:
            self._ready.pop(packed, None)
            self._urgent.pop(packed, None)
        elif wanted is None and not self._sweeping:
            self._adopted.add(packed)
            self._ready.pop(packed, None)
        elif packed not in self._urgent:
            self._ready[packed] = None

    def forget(self, lost: Iterable[RouteTarget], *, surely: bool) -> None:
        """Take routes with one of these targets as gone: `surely`, or for all that is known."""
        keys = set(map(id, lost))
        if not keys:
            return
        hit = {packed: target for packed, target in self.actual.items() if id(target) in keys}
        self._doubted.update(key for key, batch in self._in_flight.items() if id(batch.target) in keys)
        drop(hit, self._flying_prefixes())
        self._doubt({} if surely else hit)
        if surely:
            drop(self.actual, hit)
            self._adopted.difference_update(hit)
            self._ready.update((packed, None) for packed in hit if packed in self.desired)
        self._retries.forget_all(hit)

    def _doubt(self, routes: Mapping[Packed, RouteTarget | None]) -> None:
        """Nobody knows whether these are still there: they are written anew, or deleted when nobody wants them."""
        drop(self.actual, routes)
        self.unsure.update((packed, target) for packed, target in routes.items() if target is not None)
        if self._adopted:
            routes = {packed: target for packed, target in routes.items() if packed not in self._adopted}
        self._ready.update(routes)

    def _flying_prefixes(self) -> frozenset[Packed]:
        if self._flying is None:
            self._flying = frozenset(chain.from_iterable(batch.prefixes for batch in self._in_flight.values()))
        return self._flying

    def _pending_prefixes(self) -> set[Packed]:
        parked = chain.from_iterable(self._parked.values())
        return {*self._ready, *self._urgent, *self.failures, *self._flying_prefixes(), *parked}


def drop(table: dict[Packed, V], prefixes: Iterable[Packed]) -> None:
    """Take prefixes out of a table that may not have all of them, without a step of Python for each."""
    deque(map(table.pop, prefixes, repeat(None)), maxlen=0)
