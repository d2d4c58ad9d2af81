"""`Drainer`: takes this node out of service without losing what others reach over it, and brings it back.

Theory of operation. The order of a drain, each step only after the one before:

1. refused while addresses are in use, unless it is forced;
2. on disk (design rule 10), so that a restart at any point goes on with it: half done it begins its wait anew, finished
   it announces nothing;
3. DRAINING: everything is announced with GRACEFUL_SHUTDOWN and LOCAL_PREF 0 (RFC 8326), so that others turn to what
   else they have while our paths still carry;
4. it waits until each shared prefix has the path of another in the Adj-RIB-In, LEAST_S at least so that others have
   turned too, `wait_s` at most. Shared is what we learned and announce on, and what is ours and another announces too.
   A block of ours is nobody else's: nothing is waited for. A path that is stale, that is ours come back, or that is
   itself being drained is no alternative;
5. on disk as finished, then DRAINED: everything is withdrawn. The kernel's routes stay: what arrives is forwarded.

A drain for the end of the process (`stopping`) is not put on disk: the next start is in service again. While it is not
ACTIVE, a node gives out no address and confirms no claim of a block, which nobody would hear of.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from calicopy.core.commands import Command, DrainProgress, Log, Persist, Reply
from calicopy.core.drain.other_paths import OtherPaths
from calicopy.core.drain_state import (
    DrainChange,
    DrainCleared,
    DrainPhase,
    DrainRecord,
    DrainSaved,
    DrainStep,
    DrainView,
    since_text,
)
from calicopy.core.events import DrainRequested, Persisted, PersistFailed, UndrainRequested
from calicopy.core.exports import Exports
from calicopy.core.requests import STORE_RETRY_S, StoreFailedError
from calicopy.core.views import LogView
from calicopy.ipam import TUNNEL_HANDLES, AddressRecord, Ipam, IpamError
from calicopy.net import Prefix
from calicopy.rib import Rib

LEAST_S = 2.0
SETTLE_S = 5.0  # until the wait begins, at most: everything is announced, after a restart also heard
MOST_NAMED = 10
MOST_SHOWN = 100


class AddressesInUseError(IpamError):
    """A drain is refused: these addresses are in use."""

    def __init__(self, records: tuple[AddressRecord, ...]) -> None:
        self.records = records
        named = [f"{record.address} ({record.handle})" for record in records[:MOST_NAMED]]
        more = f" and {len(records) - MOST_NAMED} more" if len(records) > MOST_NAMED else ""
        what = "1 address is" if len(records) == 1 else f"{len(records)} addresses are"
        super().__init__(f"{what} in use here: {', '.join(named)}{more}; detach them first, or drain with --force")


class NodeDrainedError(IpamError):
    """A drained node gives out no address."""


@dataclass(slots=True)
class _Commit:
    """What is on its way to the disk, and who waits for it."""

    token: int
    change: DrainChange
    requests: list[int]


class Drainer:
    """Owns the phase of the drain; sets `exports.drain`."""

    def __init__(
        self, exports: Exports, rib: Rib, ipam: Ipam, *, emit: Callable[[Command], None], record: DrainRecord | None
    ) -> None:
        self._exports = exports
        self._ipam = ipam
        self._paths = OtherPaths(exports, rib)
        self._emit = emit
        self._token = 0  # counts down: those of `Requests` count up
        self._commit: _Commit | None = None
        self._later: deque[DrainRequested | UndrainRequested] = deque()
        self._retry_at: float | None = None
        self._stopping = False
        self.record = record
        self.phase = DrainPhase.ACTIVE
        self._without: tuple[int, tuple[Prefix, ...]] = (0, ())
        self._began_at: float | None = None
        self._hold_until: float | None = None
        self._resumed = record is not None and not record.finished
        self._told_waiting = 0
        self._withdrawing = False  # what peers hear is not yet all handed to the speaker
        if record is not None:
            self._set_phase(DrainPhase.DRAINED if record.finished else DrainPhase.DRAINING)

    def _set_phase(self, phase: DrainPhase) -> None:
        self.phase = phase
        self._exports.drain = phase

    # -- requests ---------------------------------------------------------------------------------------------------

    def request(self, event: DrainRequested | UndrainRequested) -> None:
        """Begin, or take back, a drain; one that comes while the disk is written waits for that."""
        if self._commit is not None:
            self._later.append(event)
        elif isinstance(event, DrainRequested):
            self._drain(event)
        else:
            self._undrain(event)

    def _drain(self, event: DrainRequested) -> None:
        if self.phase is not DrainPhase.ACTIVE and (event.stopping or not self._stopping):
            self._emit(Reply(event.request))
            if self.phase is DrainPhase.DRAINED and not self._withdrawing:
                self._tell("drained", f"already drained, {self.since}", last=True)
            return
        tunnels = TUNNEL_HANDLES.values()
        users = tuple(record for record in self._ipam.addresses() if record.handle not in tunnels)
        if users and not event.force:
            self._emit(Reply(event.request, error=AddressesInUseError(users)))
            return
        record = DrainRecord(event.at, event.wait_s)
        if event.stopping:
            self._stopping, self.record = True, record
            self._emit(Reply(event.request))
            self._set_phase(DrainPhase.DRAINING)
        else:
            self._persist(DrainSaved(record), [event.request])

    def _undrain(self, event: UndrainRequested) -> None:
        if self.phase is DrainPhase.ACTIVE or self._stopping:
            self._emit(Reply(event.request))
            return
        self._persist(DrainCleared(), [event.request])

    def refuses(self, handle: str) -> NodeDrainedError | None:
        """Why `handle` gets no address now; None when it may, or has one already."""
        if self.phase is DrainPhase.ACTIVE or self._ipam.held_by(handle):
            return None
        why = f"this node is {self.phase.value} {self.since}: no address is given out until it is undrained"
        return NodeDrainedError(why)

    @property
    def since(self) -> str:
        """`since 2026-11-26T18:00:00Z`."""
        return f"since {since_text(self.record.since)}" if self.record is not None else ""

    # -- the disk ---------------------------------------------------------------------------------------------------

    def _persist(self, change: DrainChange, requests: list[int]) -> None:
        self._token -= 1
        self._commit = _Commit(self._token, change, requests)
        self._emit(Persist(self._token, (change,)))

    def persisted(self, event: Persisted) -> None:
        """What was decided is on disk, and takes effect now."""
        commit = self._commit
        if commit is None or event.token != commit.token:
            return
        self._commit = None
        for request in commit.requests:
            self._emit(Reply(request))
        match commit.change:
            case DrainCleared():
                self._cleared()
            case DrainSaved(record):
                self.record, self._stopping = record, False
                if record.finished:
                    self._withdraw()
                else:
                    self._set_phase(DrainPhase.DRAINING)
                    self._began_at, self._hold_until, self._told_waiting = None, None, 0
                    self._tell("recorded", "the drain goes on, and holds, over restarts")
        while self._later and self._commit is None:
            self.request(self._later.popleft())

    def persist_failed(self, event: PersistFailed, now: float) -> None:
        """Nothing is on disk: a request is refused, the end of a drain is tried again."""
        commit = self._commit
        if commit is None or event.token != commit.token:
            return
        self._commit = None
        error = StoreFailedError(f"the store could not write: {event.error}")
        for request in commit.requests:
            self._emit(Reply(request, error=error))
        if not commit.requests:
            self._retry_at = now + STORE_RETRY_S
            self._tell("store-failed", f"{error}; nothing is withdrawn until it can", level="error")
        while self._later and self._commit is None:
            self.request(self._later.popleft())

    def _cleared(self) -> None:
        self.record, self._began_at = None, None
        self._without, self._withdrawing = (0, ()), False
        self._set_phase(DrainPhase.ACTIVE)
        self._tell("undrained", "in service again: everything is announced as usual", last=True)

    # -- the wait ---------------------------------------------------------------------------------------------------

    def deadline(self, now: float) -> float | None:
        """When `advance` has something to do if nothing else happens."""
        if self._withdrawing:
            return now
        if self.phase is not DrainPhase.DRAINING or self._commit is not None:
            return None
        if self._retry_at is not None:
            return self._retry_at
        if self._began_at is None:
            return now if self._hold_until is None else self._hold_until
        return min(self._paths.next_at, self._began_at + self._wait_s)

    def advance(self, now: float, *, in_sync: bool) -> None:
        """Go on with the wait. Called in each round, after what is announced went out. `in_sync`: every peer has said
        all it has.
        """
        if self._withdrawing and not self._exports.more:
            self._withdrawing = False
            self._tell("drained", "all is withdrawn; routes in the kernel stay, what arrives is forwarded", last=True)
        if self.phase is not DrainPhase.DRAINING or self._commit is not None:
            return
        if self._retry_at is not None:
            if now >= self._retry_at:
                self._retry_at = None
                self._finish()
            return
        if self._began_at is None:
            if self._hold_until is None:
                self._hold_until = now + SETTLE_S
            if (self._exports.more or (self._resumed and not in_sync)) and now < self._hold_until:
                return
            self._began_at, self._resumed = now, False
            self._paths.begin(now)
            self._tell("announced", "everything is announced with GRACEFUL_SHUTDOWN (65535:0) and LOCAL_PREF 0")
        complete = self._paths.look(now)
        over = now >= self._began_at + self._wait_s
        if over or (complete and not self._paths.waiting and now >= self._began_at + LEAST_S):
            self._finish()
        elif complete and self._paths.waiting != self._told_waiting:
            self._told_waiting = self._paths.waiting
            what = f"other paths of {_prefixes(self._told_waiting)}" if self._told_waiting else "others to turn to them"
            self._tell("waiting", f"waiting for {what}, {self._wait_s:g} s at most")

    @property
    def _wait_s(self) -> float:
        return 0.0 if self.record is None else self.record.wait_s

    def _finish(self) -> None:
        """The wait is over: on disk, then withdrawn."""
        if self.record is None:
            return
        self._without = self._paths.without(MOST_SHOWN)
        if self._stopping:
            self._withdraw()
        else:
            self._persist(DrainSaved(replace(self.record, finished=True)), [])

    def _withdraw(self) -> None:
        self._set_phase(DrainPhase.DRAINED)
        count, alone = self._without
        if count:
            named = ", ".join(map(str, alone[:MOST_NAMED])) + (", ..." if count > MOST_NAMED else "")
            self._tell("no-alternative", f"no other path is known of {_prefixes(count)}: {named}", level="warning")
        self._withdrawing = True

    # -- words ------------------------------------------------------------------------------------------------------

    def view(self) -> DrainView | None:
        """The drain as it stands; None when the node is in service."""
        if self.record is None or self.phase is DrainPhase.ACTIVE:
            return None
        draining = self.phase is DrainPhase.DRAINING
        return DrainView(
            self.phase,
            self.record.since,
            self.record.wait_s,
            waiting=self._paths.waiting if draining else 0,
            without_count=0 if draining else self._without[0],
            without_alternative=() if draining else self._without[1],
        )

    def _tell(self, code: str, message: str, *, level: str = "info", last: bool = False) -> None:
        view = self.view() or DrainView(DrainPhase.ACTIVE, 0.0, 0.0)
        self._emit(DrainProgress(DrainStep(code, message, view, last=last)))
        self._emit(Log(LogView("drain", "", code, message, level)))


def _prefixes(count: int) -> str:
    return "1 prefix" if count == 1 else f"{count} prefixes"
