"""What a new cluster file would change at this node, as the API shows it."""
from __future__ import annotations

import enum
from dataclasses import dataclass

from calicopy.net import IPAddress, Prefix


class SessionEffect(enum.Enum):
    """What becomes of a session."""

    ADDED = "added"
    REMOVED = "removed"
    LINGERING = "lingering"  # removed, but only when it is not needed any more
    RESET = "reset"
    CHANGED = "changed"  # in place: the session stays


class Effect(enum.Enum):
    """What becomes of an announcement or a kernel route."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field, as the cluster file calls it, and its values as text. `resets`: because of it the session ends."""

    name: str
    before: str
    after: str
    resets: bool


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One session that changes."""

    name: str
    address: IPAddress
    effect: SessionEffect
    fields: tuple[FieldChange, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class AnnouncementPlan:
    """Prefixes whose announcement to these peers (by name) changes in the same way; the attributes as text, empty for
    none. Of what is passed on no peer hears what came from it."""

    peers: tuple[str, ...]
    effect: Effect
    prefixes: tuple[Prefix, ...]
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """One kernel route that changes, as `ip route` writes it; `why` says why one goes or does not come."""

    prefix: Prefix
    effect: Effect
    before: str
    after: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class PlanView:
    """All of it. Lists are cut at `LISTED` entries; the totals count all. `restarts` has what cannot be done at run
    time, one sentence each; `notes` what the plan cannot know."""

    sessions: tuple[SessionPlan, ...] = ()
    announcements: tuple[AnnouncementPlan, ...] = ()
    routes: tuple[RoutePlan, ...] = ()
    sessions_total: int = 0
    announcements_total: int = 0
    routes_total: int = 0
    restarts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing changes."""
        return not (self.sessions_total or self.announcements_total or self.routes_total or self.restarts)


class ApplyStage(enum.Enum):
    """How far a change is. The last three are its outcome."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    NOT_SAVED = "not-saved"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class ProgressView:
    """A step of a change; `missing` has what has not come up, one sentence each."""

    stage: ApplyStage
    message: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnderWayView:
    """A change that is under way: who began it, when, and until when it must have come up (since the epoch)."""

    by: str
    began_at: float
    until: float
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfigTextView:
    """The text of a configuration, the agent's own file, and whether that file has the text that runs."""

    text: bytes
    filename: str
    same: bool
    change: UnderWayView | None
