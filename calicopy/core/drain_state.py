"""The values of a drain: how far it is, what of it is on disk, and the steps that people are told."""
from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime

from calicopy.net import Prefix

DEFAULT_WAIT_S = 10.0


class DrainPhase(enum.Enum):
    """Whether this node is being taken out of service, and how far."""

    ACTIVE = "active"
    DRAINING = "draining"  # everything is announced with GRACEFUL_SHUTDOWN (RFC 8326) and LOCAL_PREF 0
    DRAINED = "drained"  # nothing is announced


@dataclass(frozen=True, slots=True)
class DrainRecord:
    """A drain as the store keeps it. `since`: when it was asked for, seconds since the epoch; `wait_s`: how long it
    waits for other paths at most; `finished`: everything is withdrawn.
    """

    since: float
    wait_s: float = DEFAULT_WAIT_S
    finished: bool = False


@dataclass(frozen=True, slots=True)
class DrainSaved:
    """Write the drain, new or further on."""

    record: DrainRecord


@dataclass(frozen=True, slots=True)
class DrainCleared:
    """Forget it: the node is in service."""


DrainChange = DrainSaved | DrainCleared


@dataclass(frozen=True, slots=True)
class DrainView:
    """A drain as it stands. `waiting`: how many shared prefixes still have no other path. `without_alternative`: some
    of the `without_count` prefixes that were withdrawn although this node knows no other path, its own blocks first.
    """

    phase: DrainPhase
    since: float
    wait_s: float
    waiting: int = 0
    without_count: int = 0
    without_alternative: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True)
class DrainStep:
    """One step of a drain, for who waits for it: a stable code and a sentence. The last one has `last` set."""

    code: str
    message: str
    view: DrainView
    last: bool = False


def since_text(since: float) -> str:
    """RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
