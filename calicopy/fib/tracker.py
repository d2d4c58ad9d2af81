"""Desired and actual routes of one family, side by side, and what is still to be done.

Theory of operation: `desired` is what should be in the kernel, `actual` what is there as far as known. A prefix where
the two differ is queued, in flight (written, no result yet), parked (until the nexthop object that it leads to is
there), or waiting for its next attempt after a failure. Only a confirmed write moves `actual`; a failed one stays to be
done, after a pause that doubles.

Prefixes come in runs that share a target, and targets are interned by the owner of the tracker, so "differs" is `is
not`, and a run costs a few calls of dict and set methods; prefixes are looked at one by one only where failures, parked
or unsure ones are among them. A run of new prefixes goes through as it came: nothing is looked at again when it is
taken, unless something happened since that may concern it (`_mixed`).

A route of ours that a dump brought and that nobody has wanted in this life is adopted: it stays, untouched, until
sweeping is allowed. A route that was wanted and is not any more goes at once.
"""
from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from errno import ENOENT
from itertools import repeat
from operator import is_

from calicopy.fib.batches import sorted_out
from calicopy.fib.check import Check
from calicopy.fib.forgetting import Forgetting
from calicopy.fib.in_flight import InFlight
from calicopy.fib.parked import Parked
from calicopy.fib.queue import Queue, drop
from calicopy.fib.retries import Failure, Retries
from calicopy.fib.strays import Strays
from calicopy.fib.targets import Intern
from calicopy.fib.types import KernelRoute, RouteBatch, RouteOp, RouteTarget, WriteResult
from calicopy.net import Family, Packed


class RouteTracker:
    """The delta of one family. Not for hashing outside: its dicts are read by the FIB, and changed here alone.

    `unsure` has what was at a prefix before something happened that it may have survived (a replace that failed, a link
    that went): nobody knows until the next write or dump. Such a prefix is not in `actual`, so it is written anew.
    `next_hops` are the ids of the nexthop objects that the kernel holds; the tracker reads it, and changes nothing.
    `intern` gives the one object for each target.
    """

    def __init__(self, family: Family, next_hops: Container[int], intern: Intern) -> None:
        self.family = family
        self.desired: dict[Packed, RouteTarget] = {}
        self.actual: dict[Packed, RouteTarget] = {}
        self.unsure: dict[Packed, RouteTarget] = {}
        self._next_hops = next_hops
        self._intern = intern
        self._retries: Retries[Packed] = Retries()
        self._ready = Queue()
        self._urgent = Queue()
        self._mixed = False  # whether what waits may be in flight as well, wait twice, or have come right
        self._parked = Parked()
        self.in_flight = InFlight()
        self._told: dict[Packed, RouteTarget | None] = {}  # what events said of prefixes in flight
        self._recheck = False  # whether something that is in flight was wanted otherwise meanwhile
        self._adopted: set[Packed] = set()
        self._leaving = False  # whether routes that are neither desired nor adopted may be in the kernel
        self._forgetting = Forgetting()
        self._strays = Strays()
        self._check: Check | None = None
        self._checked = False
        self._sweeping = False

    @property
    def failures(self) -> Mapping[Packed, Failure]:
        """The prefixes whose last write failed."""
        return self._retries.failures

    @property
    def pending(self) -> int:
        """How many prefixes differ, or are being written."""
        queued = filter(self._differs, self._ready.distinct() | self._urgent.distinct())
        return len({*queued, *self.failures, *self.in_flight.prefixes, *self._parked})

    @property
    def idle(self) -> bool:
        """Whether nothing is ready, parked, in flight or failed."""
        return not (self.has_ready or self.in_flight or self._parked or self.failures)

    @property
    def has_ready(self) -> bool:
        """Whether `delta` has something to give."""
        dumped = self._check is not None and self._check.has_come
        return bool(self._urgent or self._ready or dumped or self._forgetting or (self._sweeping and self._strays))

    def is_pending(self, packed: Packed) -> bool:
        """Whether this prefix differs, or is being written."""
        return self._differs(packed) or packed in self.in_flight.prefixes

    def _differs(self, packed: Packed) -> bool:
        wanted = self.desired.get(packed)
        if wanted is None:
            return packed not in self._adopted and (packed in self.actual or packed in self.unsure)
        return wanted is not self.actual.get(packed)

    def next_retry(self) -> float | None:
        """When the next failed write is due."""
        return self._retries.next_due()

    # -- what is desired

    def want(self, prefixes: list[Packed], target: RouteTarget | None, *, urgent: bool = False) -> None:
        """Set what is desired of a run of prefixes, each of them once; None: nothing. The target must be interned."""
        if self._parked or self.failures or self.unsure:
            self._want_each(prefixes, target, urgent=urgent)
            return
        if not prefixes:
            return
        desired, count = self.desired, len(self.desired)
        before = [] if prefixes[0] not in desired and target is not None else list(map(desired.get, prefixes))
        if target is None:
            drop(desired, prefixes)
            if not all(before):
                prefixes = [packed for packed, had in zip(prefixes, before, strict=True) if had is not None]
                before = [had for had in before if had is not None]
            self._leaving = True
        else:
            desired.update(dict.fromkeys(prefixes, target))
            known = self._leaving or bool(self._adopted)
            if self._adopted:
                self._adopted.difference_update(prefixes)
            if len(desired) - count == len(prefixes) and not (known and not self.actual.keys().isdisjoint(prefixes)):
                self._queue(prefixes, RouteOp.ADD, target, urgent=urgent)
                return
        held = list(map(self.actual.get, prefixes))
        settled = len(before) == len(held) and all(held) and all(map(is_, before, held))
        if settled and not self._mixed and not any(map(is_, before, repeat(target))):
            # All were as desired, so none of them waits or is in flight.
            self._queue(prefixes, RouteOp.DELETE if target is None else RouteOp.REPLACE, target, urgent=urgent)
            return
        differ = [packed for packed, now in zip(prefixes, held, strict=True) if now is not target]
        if len(differ) < len(prefixes):
            self._recheck = self._recheck or bool(self.in_flight)
            self._mixed = True
        self._queue(differ, urgent=urgent)

    def _want_each(self, prefixes: list[Packed], target: RouteTarget | None, *, urgent: bool) -> None:
        desired, held = self.desired, self.actual.get
        differ: list[Packed] = []
        for packed in prefixes:
            before = desired.get(packed)
            if before is target:
                continue
            if before is not None:
                self._parked.discard(packed, before.next_hop_id)
            if target is None:
                del desired[packed]
            else:
                desired[packed] = target
                self._adopted.discard(packed)
            self._retries.forget(packed)
            if held(packed) is not target or (target is None and packed in self.unsure):
                differ.append(packed)
            else:
                self._recheck = self._recheck or bool(self.in_flight)
        self._mixed = self._leaving = True
        self._queue(differ, urgent=urgent)

    def _queue(
        self, prefixes: list[Packed], op: RouteOp | None = None, target: RouteTarget | None = None, *,
        urgent: bool = False,
    ) -> None:  # fmt: skip
        """Have these written. `op`, `target`: what each of them needs, when none of them waits or is in flight."""
        if not prefixes:
            return
        if op is None and (self._ready or self._urgent or self.in_flight):
            self._mixed = True
        queue = self._urgent if urgent else self._ready
        queue.add(prefixes, op, target, there_are=max(len(self.desired), len(self.actual)))

    def allow_sweep(self, allowed: bool) -> None:
        """Whether adopted routes that nobody wants may be deleted."""
        self._sweeping = self._leaving = allowed
        if allowed and self._adopted:
            self._queue(list(self._adopted))
            self._adopted.clear()

    # -- what is written

    def delta(self, limit: int, now: float) -> list[RouteBatch]:
        """Up to `limit` prefixes to write now, which are in flight from here on, until `written`."""
        if due := self._retries.due(now):
            self._queue(due)
        self._check_on()
        self._forget_on()
        if not self._checked:
            return []
        batches: list[RouteBatch] = []
        for op, target, part in self._take(limit):
            if op is None:
                batches += self._sort(self._once(part))
            elif target is None or not self._park_all(part, target):
                batches.append(RouteBatch(op, self.family, target, part))
        self.in_flight.begin(batches)
        self._mixed = self._mixed and bool(self._ready or self._urgent or self.in_flight)
        self._leaving = self._leaving and not (self.idle and not self.unsure)
        return batches + self._strays.take(self.family) if self._sweeping else batches

    def _take(self, limit: int) -> list[tuple[RouteOp | None, RouteTarget | None, list[Packed]]]:
        """Up to `limit` prefixes with what each of them needs, or (None) those to be looked at."""
        taken: list[tuple[RouteOp | None, RouteTarget | None, list[Packed]]] = []
        for queue in (self._urgent, self._ready):
            while queue and limit > 0:
                part, op, target = queue.take(limit)
                limit -= len(part)
                if self._mixed:
                    op = target = None
                if taken and taken[-1][:2] == (op, target):
                    taken[-1][2].extend(part)
                else:
                    taken.append((op, target, part[:]))
        return taken

    def _once(self, part: list[Packed]) -> list[Packed]:
        """Each once, without those that are in flight: their results will tell whether there is more to do."""
        part = list(dict.fromkeys(part))
        flying = self.in_flight.prefixes
        if not flying or flying.isdisjoint(part):
            return part
        self._recheck = True
        return [packed for packed in part if packed not in flying]

    def _sort(self, taken: list[Packed]) -> list[RouteBatch]:
        """Batches of what differs, of what need not wait."""
        found = sorted_out(
            self.family, taken, desired=self.desired, actual=self.actual, is_left=self._differs
        )
        return [batch for batch in found if batch.target is None or not self._park_all(batch.prefixes, batch.target)]

    def _park_all(self, prefixes: list[Packed], target: RouteTarget) -> bool:
        """Have these wait when the object that they lead to is not there."""
        if self._can_lead(target):
            return False
        self._parked.add(prefixes, target.next_hop_id)
        return True

    def _can_lead(self, target: RouteTarget | None) -> bool:
        return target is None or not target.next_hop_id or target.next_hop_id in self._next_hops

    def next_hop_is_there(self, number: int) -> None:
        """The kernel holds the nexthop object with this id now: routes to it can be written."""
        self._queue(self._parked.take(number))

    def written(self, result: WriteResult, now: float) -> None:
        """Take the result of a batch that `delta` gave."""
        batch = result.batch
        if batch.metric is not None:
            return
        doubted = self.in_flight.end(batch)
        self._know(batch.prefixes)
        failed = dict(result.failures) | dict.fromkeys(result.foreign, 0)
        done = [packed for packed in batch.prefixes if packed not in failed] if failed else batch.prefixes
        target = batch.target
        if self.failures or self.unsure:
            self._retries.forget_all(done)
            drop(self.unsure, done)
        if doubted:
            self._doubt(dict.fromkeys(done, target) if target is not None else {}, done)
        elif target is None:
            drop(self.actual, done)
        else:
            self.actual.update(dict.fromkeys(done, target))
        if self._recheck:
            wanted = map(self.desired.get, done)
            self._queue([packed for packed, now_ in zip(done, wanted, strict=True) if now_ is not target])
            self._recheck = bool(self.in_flight)
        if self._told:
            self._weigh(batch)
        if failed:
            self._fail(batch, failed, now)

    def _weigh(self, batch: RouteBatch) -> None:
        """Others changed some of these while they were written, before us or after us."""
        told = {packed: self._told.pop(packed) for packed in batch.prefixes if packed in self._told}
        other = {packed: now or batch.target for packed, now in told.items() if now is not batch.target}
        self._doubt({packed: perhaps for packed, perhaps in other.items() if perhaps is not None}, other)

    def _fail(self, batch: RouteBatch, failed: Mapping[Packed, int], now: float) -> None:
        again: list[Packed] = []
        for packed, code in failed.items():
            if batch.op is RouteOp.REPLACE and code != 0:
                # What is at the key is not known: the next attempt adds, and so finds out.
                held = self.actual.pop(packed, None)
                if held is not None:
                    self.unsure[packed] = held
            vanished = batch.op is RouteOp.REPLACE and code == ENOENT
            if vanished or self.desired.get(packed) is not batch.target or not self._can_lead(batch.target):
                again.append(packed)  # something else is wanted by now, or something had vanished before we knew
                continue
            self._retries.failed(packed, code, now)
        self._queue(again)

    def retry_now(self) -> None:
        """Something happened that may have removed the causes: try every failed write again, at once."""
        if self.failures:
            self._queue(self._retries.all_now())

    # -- what the kernel says

    def dump_begins(self) -> None:
        """A dump is asked for: what is heard from here on it may have missed."""
        self._check = Check()

    def kernel_state(self, routes: Mapping[Packed, RouteTarget], strays: Iterable[KernelRoute]) -> None:
        """Take a whole dump as what is there, in this call and in the next deltas, a slice in each.

        What is in flight keeps its state until its result. Before the first dump was taken whole, delta gives nothing.
        """
        self._strays.set(strays)
        self._check = self._check or Check()
        self._check.came(routes)
        for _ in range(2):  # for few routes there are no more slices
            self._check_on()

    def _check_on(self) -> None:
        check = self._check
        if check is None or not check.has_come:
            return
        found, flying, failures = check.step(self.actual, self.unsure), self.in_flight.prefixes, self.failures
        again: list[Packed] = []
        self._mixed, self._leaving = self._mixed or bool(found), self._leaving or bool(found)
        for packed, now in self._intern(found).items():
            if packed in flying:
                continue
            if packed not in failures or self.desired.get(packed) is now:
                self._settle(packed, now, again)
            elif now is None:
                self.actual.pop(packed, None)
            else:
                self.actual[packed] = now  # still not what is wanted: it keeps its pause
        self._queue(again)
        drop(self.unsure, check.gone)
        if check.done:
            self._check, self._checked = None, True

    def _know(self, prefixes: Iterable[Packed]) -> None:
        """Something newer is known of these than what a dump says that is still being taken."""
        if self._check is not None:
            self._check.since.update(prefixes)

    def kernel_changed(self, changes: Mapping[Packed, RouteTarget | None]) -> None:
        """Take what an event said of single prefixes (targets interned): None means that ours is gone, or may be."""
        flying = self.in_flight.prefixes
        again: list[Packed] = []
        for packed, target in changes.items():
            if packed in flying:
                self._told[packed] = target
            else:
                self._settle(packed, target, again)
        self._mixed = self._leaving = True
        self._know(changes)
        self._queue(again)

    def _settle(self, packed: Packed, target: RouteTarget | None, again: list[Packed]) -> None:
        """Take what is there; what is to be written for it goes to `again`."""
        wanted = self.desired.get(packed)
        if target is None:
            self.actual.pop(packed, None)
        else:
            self.actual[packed] = target
        waits = self.unsure.pop(packed, None) is not None and not (packed in self._adopted or packed in self.failures)
        self._adopted.discard(packed)
        self._retries.forget(packed)
        if wanted is None and target is not None and not self._sweeping:
            self._adopted.add(packed)
        elif wanted is not target and not waits:
            again.append(packed)

    def forget(self, lost: Iterable[RouteTarget]) -> None:
        """Take routes with one of these targets as gone, for all that is known: in the next deltas, a slice in each."""
        keys = frozenset(map(id, lost))
        if keys:
            self.in_flight.doubt(keys)
            self._forgetting.add(self.actual, keys)

    def _forget_on(self) -> None:
        if self._forgetting:
            hit = self._forgetting.step(self.actual)
            drop(hit, self.in_flight.prefixes)
            self._retries.forget_all(hit)
            self._doubt(hit, hit)

    def _doubt(self, routes: dict[Packed, RouteTarget], prefixes: Iterable[Packed]) -> None:
        """Nobody knows whether these are still there: they are written anew, or deleted when nobody wants them."""
        self._know(prefixes)
        drop(self.actual, prefixes)
        self.unsure.update(routes)
        self._mixed = True
        self._queue([packed for packed in prefixes if packed not in self._adopted])
