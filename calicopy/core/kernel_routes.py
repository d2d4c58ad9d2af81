"""The kernel's routes and nexthop objects as the core drives them: one dump, two writes of routes, one of objects.

Theory of operation: nothing is written before the first dump. A dump that somebody asks for while one is under way
follows it, since that one may have missed what made them ask. Of the two writes that may be under way the second waits
in the edge for the first, so that the kernel has something to do while the core takes a result and finds what is next;
meanwhile the FIB's delta gathers. Objects have a lane of their own, so that a change of one never waits behind many
routes.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from errno import EINVAL

from calicopy.core.commands import Command, DumpRoutes, Log, SetBfdTable, WriteNextHops, WriteRoutes
from calicopy.core.events import KernelDumped, NextHopsWritten, RoutesWritten
from calicopy.core.views import LogView
from calicopy.fib import Fib

WRITE_SLICE = 4000
WRITES_UNDER_WAY = 2
DUMP_RETRY_S = 1.0


class KernelRoutes:
    """Keeps the kernel true to `fib`. `dumped`: its routes are known."""

    def __init__(self, fib: Fib, counters: Counter[str], *, emit: Callable[[Command], None], now: float) -> None:
        self._fib = fib
        self._counters = counters
        self._emit = emit
        self._dumping = False
        self._again = False
        self._dump_at = now
        self._writing = 0
        self._objects_under_way = False
        self.dumped = False
        self.error = ""  # of the last dump

    def due(self, now: float) -> bool:
        """Whether it is time to look at everything again; the dump is then asked for."""
        if now < self._dump_at or self._dumping:
            return False
        self.want_dump()
        return True

    def want_dump(self) -> None:
        """Ask for a dump."""
        self._again = self._dumping
        if not self._dumping:
            self._dumping = True
            self._fib.dump_begins()
            self._emit(DumpRoutes())

    def dump_is_old(self) -> None:
        """Something happened that a dump under way may not have seen: another one follows it."""
        self._again = self._dumping

    def dump_came(self, event: KernelDumped, now: float, *, next_in_s: float) -> None:
        """Every route of ours that the kernel holds."""
        self._dumping, self.dumped, self.error = False, True, ""
        self._fib.kernel_state(event.dump)
        self._dump_at = now + next_in_s
        if self._again:
            self.want_dump()

    def dump_failed(self, error: str, now: float) -> None:
        """It could not be read: it is tried again soon."""
        if error != self.error:
            self._emit(Log(LogView("kernel", "", "dump-failed", error, "error")))
        self.error, self._dumping = error, False
        self._dump_at = now + DUMP_RETRY_S

    def written(self, event: RoutesWritten, now: float) -> None:
        """The write is through."""
        self._writing -= 1
        self._fib.written(list(event.results), now)
        self._refused((code for result in event.results for _, code in result.failures), now)
        for result in event.results:
            failed = len(result.failures) + len(result.foreign)
            self._counters["fib.writes_failed"] += failed
            self._counters["fib.routes_written"] += len(result.batch.prefixes) - failed

    def next_hops_written(self, event: NextHopsWritten, now: float) -> None:
        """The changes of nexthop objects are through."""
        self._objects_under_way = False
        self._fib.next_hops_written(event.results, now)
        self._refused((result.errno for result in event.results), now)
        failed = sum(1 for result in event.results if result.errno)
        self._counters["fib.next_hop_writes_failed"] += failed
        self._counters["fib.next_hops_written"] += len(event.results) - failed

    def _refused(self, codes: Iterable[int], now: float) -> None:
        """What the kernel calls invalid may be so because it holds something else than we think: look again, soon."""
        if EINVAL in codes:
            self._dump_at = min(self._dump_at, now + DUMP_RETRY_S)

    def write_next_hops(self, now: float) -> bool:
        """Begin the next changes of nexthop objects; whether there were any."""
        changes = self._fib.next_hop_delta(now) if self.dumped else []
        if (table := self._fib.bfd_table()) is not None:  # before the objects are there
            self._emit(SetBfdTable(table, complete=self._fib.sweeping))
        if changes:
            self._objects_under_way = True
            self._emit(WriteNextHops(tuple(changes)))
        return bool(changes)

    def next_hops_answered(self, now: float) -> bool:
        """Whether the kernel has answered every change of objects that is wanted, though it may have refused some."""
        if not self.dumped or self._objects_under_way:
            return False
        due = self._fib.next_hop_deadline(now)
        return due is None or due > now

    def write(self, now: float) -> bool:
        """Begin the next writes, if there is something to write; False while that cannot be known."""
        self.write_next_hops(now)
        if not self.dumped or self._writing >= WRITES_UNDER_WAY:
            return False
        while self._writing < WRITES_UNDER_WAY and (batches := self._fib.delta(WRITE_SLICE, now)):
            self._writing += 1
            self._emit(WriteRoutes(tuple(batches)))
        return True

    def deadline(self, now: float) -> float | None:
        """When to write or to look again if nothing else happens."""
        times = (
            self._fib.next_deadline(now) if self.dumped and self._writing < WRITES_UNDER_WAY else None,
            self._fib.next_hop_deadline(now) if self.dumped else None,
            None if self._dumping else self._dump_at,
        )
        return min((time for time in times if time is not None), default=None)
