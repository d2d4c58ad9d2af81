"""One peer as the core sees it: is the session up, what was negotiated, and are its routes complete?

Theory of operation. ExaBGP holds the session; this holds what follows from it. Per family a peer is in one phase:

- DOWN: no session. Paths may be retained as stale (RFC 4724 section 4.2) until `Peer.stale_until`.
- LEARNING: a new session; the peer sends its table, and End-of-RIB at its end.
- REFRESHING: the agent attached to a running session and asked for the table again; complete at EoRR (RFC 7313) where
  negotiated, MAX_S without it at most, else after QUIET_S without an UPDATE. UPDATEs that keep coming put that off, our
  restart time at most: what they have not brought yet is not gone.
- IN_SYNC: complete. Only now is anything of the peer swept.

A peer that cannot send End-of-RIB (no graceful restart capability) is taken as complete after QUIET_S of silence; one
that could but never does, when its limit has passed. A deadline that is met LATE_S late says nothing: we were stopped,
and what was said meanwhile is still to be read; so it is put off. Nothing here does I/O; `now` is monotonic seconds.
"""
from __future__ import annotations

import enum
from dataclasses import dataclass, field

from calicopy.bgp import Negotiated, Notification, Open, SessionOptions
from calicopy.config.resolve import SessionConfig
from calicopy.net import Family
from calicopy.seam.speaker import FsmState

QUIET_S = 1.0
MAX_S = 5.0
LATE_S = 0.5


class Phase(enum.Enum):
    """How complete the routes of one family of one peer are."""

    DOWN = "down"
    LEARNING = "learning"
    REFRESHING = "refreshing"
    IN_SYNC = "in-sync"


@dataclass(slots=True)
class FamilySync:
    """One family of one peer."""

    family: Family
    phase: Phase = Phase.DOWN
    expects_mark: bool = False  # End-of-RIB, or EoRR when refreshing, will come
    last_update_at: float = 0.0
    limit_at: float = 0.0  # for a mark
    most_at: float = 0.0  # whatever comes
    end_of_rib_received: bool = False
    end_of_rib_sent: bool = False
    answered: bool = True  # an UPDATE or a mark came since the table was asked for
    again: bool = False  # something was lost while refreshing: this refresh proves nothing, another follows it

    def learn(self, now: float, *, expects_mark: bool, limit_s: float) -> None:
        """A new session: the table comes, then End-of-RIB if `expects_mark`, in `limit_s` seconds at most."""
        self.phase = Phase.LEARNING
        self.expects_mark = expects_mark
        self.last_update_at = now
        self.limit_at = self.most_at = now + limit_s
        self.end_of_rib_received = False
        self.end_of_rib_sent = False

    def refresh(self, now: float, *, enhanced: bool, most_s: float, limit_s: float = MAX_S) -> None:
        """The table comes again on a running session, with marks around it if `enhanced` (RFC 7313). It is waited for
        until `most_s` at most, while UPDATEs come.
        """
        self.phase = Phase.REFRESHING
        self.expects_mark = enhanced
        self.answered = False
        self.last_update_at = now
        self.limit_at, self.most_at = now + limit_s, now + max(limit_s, most_s)

    def await_mark(self, now: float, *, limit_s: float) -> None:
        """The refresh proved nothing: the table is complete at End-of-RIB, or in `limit_s` seconds."""
        self.phase = Phase.LEARNING
        self.expects_mark = True
        self.limit_at = self.most_at = now + limit_s

    def put_off(self, now: float) -> None:
        """Listen for QUIET_S more."""
        self.last_update_at = now
        self.limit_at, self.most_at = max(self.limit_at, now + QUIET_S), max(self.most_at, now + QUIET_S)

    def heard(self, now: float) -> None:
        """An UPDATE came, or the mark before a table."""
        self.last_update_at = now
        self.answered = True

    def deadline(self) -> float | None:
        """When the phase ends if nothing else happens."""
        if self.phase not in (Phase.LEARNING, Phase.REFRESHING):
            return None
        quiet_at = self.last_update_at + QUIET_S
        if not self.expects_mark:
            return min(self.most_at, quiet_at)
        return self.limit_at if self.phase is Phase.LEARNING else min(self.most_at, max(self.limit_at, quiet_at))


@dataclass(slots=True)
class PeerCounters:
    """Only grow. `refreshes_received` counts requests, `refreshes_sent` ours."""

    updates_received: int = 0
    malformed_updates: int = 0
    sessions_established: int = 0
    sessions_lost: int = 0
    notifications_received: int = 0
    notifications_sent: int = 0
    refreshes_received: int = 0
    refreshes_sent: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """A NOTIFICATION that was seen at `at` (monotonic seconds), sent by us or by the peer."""

    notification: Notification
    sent: bool
    at: float

    def __str__(self) -> str:
        return f"{self.notification.sentence} (sent by {'us' if self.sent else 'the peer'})"


@dataclass(slots=True)
class Peer:
    """A configured peer and what is known of its session. All times are monotonic seconds."""

    configured: SessionConfig
    state: FsmState = FsmState.IDLE
    changed_at: float = 0.0
    failure: str = ""
    failed_at: float | None = None
    notice: Notice | None = None  # the NOTIFICATION of the session that has just ended, until its end is told
    last_notice: Notice | None = None
    local_opened: Open | None = None  # what we said
    opened: Open | None = None  # what the peer said
    negotiated: Negotiated | None = None
    options: SessionOptions = field(default_factory=SessionOptions)
    families: dict[Family, FamilySync] = field(default_factory=dict)
    stale_until: float | None = None
    adopted: bool = False  # the session ran on while only our agent restarted
    lost_by_us: bool = False  # what is stale is so because we restarted, not the peer
    malformed_at: float | None = None  # when a malformed UPDATE was last said
    malformed: str = ""  # the malformed UPDATE that ends the session
    reset_asked: bool = False  # we ask the speaker once to end a session
    reset_coming: bool = False  # the speaker was given other settings, for which it ends the session
    ends_for_bfd: str = ""  # what BFD says, for which we asked the speaker to end the session
    over_limit: str = ""  # what of the peer is not taken while its session goes on: its prefix limit
    stopped: str = ""  # why the session is not wanted for now, although it is configured
    stop_code: str = ""  # why, as a stable name: prefix-limit or held-down
    stopped_until: float | None = None  # None: until somebody resets it
    lingering_since: float | None = None  # when the cluster file dropped it: see `calicopy.core.peering.linger`
    later: SessionConfig | None = None  # what `configured` becomes when it needs to reflect no longer
    later_at: float = 0.0  # since when
    counters: PeerCounters = field(default_factory=PeerCounters)

    @property
    def key(self) -> str:
        """The peer's address as text."""
        return str(self.configured.address)

    @property
    def is_up(self) -> bool:
        """Whether the session is Established and its OPENs are known."""
        return self.negotiated is not None

    @property
    def in_sync(self) -> bool:
        """Whether everything that the peer has to say was heard."""
        return self.is_up and all(sync.phase is Phase.IN_SYNC for sync in self.families.values())

    @property
    def restarting(self) -> bool:
        """Whether the peer said that it has restarted: the R bit (RFC 4724 section 3)."""
        restart = self.negotiated.graceful_restart if self.negotiated else None
        return restart is not None and restart.restarting

    def deadline(self) -> float | None:
        """When something of it runs out."""
        times = [sync.deadline() for sync in self.families.values()]
        return min((time for time in (*times, self.stale_until) if time is not None), default=None)
