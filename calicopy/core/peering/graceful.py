"""Graceful restart (RFC 4724): which routes of a lost session are kept, for how long, and when End-of-RIB may go out.

Theory of operation: pure rules on a `Peer`; `session_events` applies them. Who restarted decides:

- The peer did (its connection broke without a word): what its capability named is kept for *its* restart time (section
  4.2). When it is back, a family stays only if the new OPEN names it with the F bit.
- We did (our speaker was restarted, or we ended the session to begin it anew): everything is kept, for the time that
  *we* offered (section 4.1). The peer never lost its forwarding state, so its F bit says nothing, unless it says by the
  R bit that it restarted as well.
- A NOTIFICATION, either side's, ends the session for good: nothing is kept. That the hold timer ran out is said by one
  too; whether it counts is the operator's choice (RFC 8538 section 4 has it kept; its N bit we never offer).
- BFD found the path gone: nothing is kept (RFC 5882 section 4.3; which restarts go on all the same is in `bfd`).

End-of-RIB towards a peer that hears learned paths is held back until we have learned them (section 4.1, deferral of
route selection): nothing else waits, and not for longer than DEFERRAL_S.
"""
from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass

from calicopy.bgp import GracefulRestart
from calicopy.core.peering.peer import Peer, Phase
from calicopy.net import Family
from calicopy.policy import AdvertiseScope

DEFERRAL_S = 5.0
ABSENT_S = 1.0  # how long a peer that is not up is waited for


class LossCause(enum.Enum):
    """Why a session ended, as far as its routes are concerned."""

    SILENT = "silent"
    NOTIFICATION = "notification"
    HOLD_EXPIRED = "hold-expired"
    OURS = "ours"  # our speaker was restarted, or we reset the session
    STOPPED = "stopped"  # we gave the session up
    BFD_DOWN = "bfd-down"  # the path is gone


@dataclass(frozen=True, slots=True)
class Retention:
    """The families whose routes stay, as stale, and for how many seconds at most. Empty: all go at once."""

    families: frozenset[Family] = frozenset()
    time_s: int = 0


NOTHING = Retention()


def retention(peer: Peer, cause: LossCause) -> Retention:
    """What stays of a session that was up and is lost."""
    if cause in (LossCause.NOTIFICATION, LossCause.STOPPED, LossCause.BFD_DOWN):
        return NOTHING
    if cause is LossCause.HOLD_EXPIRED and peer.configured.flush_on_hold_expiry:
        return NOTHING
    if cause is LossCause.OURS:
        return _retention(peer.families, peer.configured.graceful_restart_time_s)
    restart = peer.negotiated.graceful_restart if peer.negotiated else None
    if restart is None:
        return NOTHING
    return _retention([family for family in peer.families if restart.covers(family)], restart.restart_time_s)


def _retention(families: Collection[Family], time_s: int) -> Retention:
    return Retention(frozenset(families), time_s) if families and time_s else NOTHING


def stays(restart: GracefulRestart | None, family: Family, *, lost_by_us: bool) -> bool:
    """Whether stale routes of a family outlive the new OPEN, which said `restart` (None: no graceful restart)."""
    if lost_by_us and (restart is None or not restart.restarting):
        return True
    return restart is not None and restart.preserves(family)


@dataclass(frozen=True, slots=True)
class Deferral:
    """The peers (keys) that must not get End-of-RIB yet, and when that may change though nothing happens."""

    held: frozenset[str] = frozenset()
    deadline: float | None = None


def _has_just_restarted(peer: Peer) -> bool:
    return peer.restarting and all(sync.phase is not Phase.REFRESHING for sync in peer.families.values())


def defer(peers: Collection[Peer], now: float) -> Deferral:
    """Whose End-of-RIB waits. Of a peer that has restarted itself (R bit) nobody waits for the table: section 4.1. That
    was when its session began: one that we ask for its table again is waited for. A session that ran on while only our
    agent restarted waits for nothing of ours, so there all peers are given the whole time: what the agent before us
    announced is withdrawn with the mark.
    """
    candidates = [
        peer
        for peer in peers
        if peer.is_up
        and peer.configured.advertise is AdvertiseScope.ALL
        and any(not sync.end_of_rib_sent for sync in peer.families.values())
        and now < peer.changed_at + DEFERRAL_S
    ]
    if not candidates:
        return Deferral()
    awaited = {peer.key for peer in peers if peer.is_up and not peer.in_sync and not _has_just_restarted(peer)}
    absent = {peer.key for peer in peers if not peer.is_up and not peer.stopped}
    missing = {peer.key for peer in peers if not peer.in_sync and not peer.stopped}
    held: dict[str, float] = {}
    for peer in candidates:
        if (missing if peer.adopted else awaited) - {peer.key}:
            held[peer.key] = peer.changed_at + DEFERRAL_S
        elif absent and now < peer.changed_at + ABSENT_S:
            held[peer.key] = peer.changed_at + ABSENT_S
    return Deferral(frozenset(held), min(held.values(), default=None))
