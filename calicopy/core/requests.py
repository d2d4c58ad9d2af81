"""Requests that change addresses or blocks, and the rule that nothing is used before it is on disk.

Theory of operation. IPAM answers a request at once in memory and leaves changes; the store commits them; only then the
caller is answered. One batch is in flight at a time: answers that come about meanwhile wait for the next. When a commit
fails, IPAM rolls back and every answer that waited is a refusal. From then on something is written every STORE_RETRY_S,
if only what is there already: that the disk is well again must not need a request, since a node without a disk gets
none. A request that meets a pending claim is parked, and tried again when the claim was confirmed, for PARK_S at most.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from calicopy.core.commands import Command, Log, Persist, Reply
from calicopy.core.events import AddressReleased, AddressRequested, BlockReleased, Persisted, PersistFailed
from calicopy.core.views import LogView
from calicopy.ipam import AddressRecord, ClaimPendingError, Ipam, IpamError

PARK_S = 3.0
STORE_RETRY_S = 1.0


class StoreFailedError(IpamError):
    """The store could not write; nothing was changed."""


@dataclass(slots=True)
class _Parked:
    event: AddressRequested
    until: float


class Requests:
    """Owns the way from a request to its answer."""

    def __init__(self, ipam: Ipam, *, emit: Callable[[Command], None]) -> None:
        self._ipam = ipam
        self._emit = emit
        self._token = 0
        self._waiting: list[Reply] = []  # for a commit that has not begun
        self._in_flight: list[Reply] = []  # for the commit under way
        self._parked: list[_Parked] = []
        self._retry_at: float | None = None
        self.store_failures = 0
        self.store_error = ""

    def assign(self, event: AddressRequested, now: float) -> None:
        """Answer with an address, or park it."""
        if not self._try_assign(event):
            self._parked.append(_Parked(event, now + PARK_S))

    def _try_assign(self, event: AddressRequested) -> bool:
        try:
            record = self._ipam.assign(
                event.handle, family=event.family, pool=event.pool or None, address=event.address
            )
        except ClaimPendingError:
            return False
        except IpamError as error:
            self._emit(Reply(event.request, error=error))
            return True
        self._waiting.append(Reply(event.request, addresses=(record,)))
        return True

    def release(self, event: AddressReleased) -> None:
        """Free what the handle holds."""
        freed: tuple[AddressRecord, ...] = self._ipam.release(event.handle, sequence=event.sequence)
        self._waiting.append(Reply(event.request, addresses=freed))

    def release_block(self, event: BlockReleased) -> None:
        """Free a block or forget a reservation."""
        try:
            self._ipam.release_block(event.block)
        except IpamError as error:
            self._emit(Reply(event.request, error=error))
            return
        self._waiting.append(Reply(event.request))

    def retry_parked(self, now: float) -> None:
        """Try parked requests again; those whose time has passed are refused."""
        still: list[_Parked] = []
        for parked in self._parked:
            if self._try_assign(parked.event):
                continue
            if now < parked.until:
                still.append(parked)
                continue
            pending = tuple(claim.block for claim in self._ipam.pending())
            self._emit(Reply(parked.event.request, error=ClaimPendingError(pending)))
        self._parked = still

    def deadline(self) -> float | None:
        """When a parked request has to be refused, or the store is tried again."""
        times = [parked.until for parked in self._parked]
        if self._retry_at is not None:
            times.append(self._retry_at)
        return min(times, default=None)

    def flush(self, now: float) -> None:
        """Begin a commit when there is something to commit and none is under way; answer what needs none.

        After a failed commit only requests make it try again at once; what was learned waits STORE_RETRY_S.
        """
        if self._ipam.in_flight:
            return
        if self._retry_at is not None and now < self._retry_at and not self._waiting:
            return
        self._retry_at = None
        changes = self._ipam.take_changes() if self._ipam.has_changes else ()
        if not changes:
            self._answer(self._waiting)
            self._waiting = []
            if not self.store_error:
                return
            changes, self._retry_at = (self._ipam.same_again(),), now + STORE_RETRY_S
        self._token += 1
        self._in_flight, self._waiting = self._waiting, []
        self._emit(Persist(self._token, changes))

    def persisted(self, event: Persisted) -> None:
        """The commit is through: its answers go out."""
        if event.token != self._token:
            return
        self._ipam.committed()
        self.store_error, self._retry_at = "", None
        self._answer(self._in_flight)
        self._in_flight = []

    def persist_failed(self, event: PersistFailed, now: float) -> None:
        """Nothing was written: undo, and refuse all that waited."""
        if event.token != self._token:
            return
        self._ipam.roll_back()
        self._retry_at = now + STORE_RETRY_S
        self.store_failures += 1
        refused = (*self._in_flight, *self._waiting)
        error = StoreFailedError(f"the store could not write: {event.error}")
        if refused or event.error != self.store_error:
            self._emit(Log(LogView("ipam", "store", "store-failed", str(error), "error")))
        self.store_error = event.error
        for reply in refused:
            self._emit(Reply(reply.request, error=error))
        self._in_flight, self._waiting = [], []

    def _answer(self, replies: list[Reply]) -> None:
        for reply in replies:
            self._emit(reply)
