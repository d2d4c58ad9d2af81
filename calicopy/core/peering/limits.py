"""Sessions that are stopped for a while although they are configured: prefix limits, and messages that break them.

Theory of operation: a stopped peer (`Peer.stopped` says why) is not among the sessions wanted. Before its session goes
it is told that everything of ours is gone: the speaker ends it without a NOTIFICATION, and the peer would keep our
routes for the restart time. What it sent goes at once, nothing more of it is taken, and it comes back after
`Peer.stopped_until`, or when somebody resets it. What follows when a peer passes its prefix limit is configured:

- WARN: the session goes on; what is beyond the limit is not stored.
- STOP: until `peers reset`. RESTART: for `prefix_limit_restart_s`.

A session that a message which cannot be read ends again and again (BREAKS in WINDOW_S) is held down: HOLD_S, doubled
each time up to HOLD_LIMIT_S, from the beginning after FORGET_S without. An agent that starts remembers none of this.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from calicopy.core.commands import Command, Log
from calicopy.core.peering.peer import Peer
from calicopy.core.views import LogView
from calicopy.policy import LimitAction
from calicopy.rib import LimitExceeded

BREAKS = 3
WINDOW_S = 60.0
HOLD_S = 30.0
HOLD_LIMIT_S = 300.0
FORGET_S = 600.0


@dataclass(slots=True)
class _Breaks:
    """When sessions of a peer broke, how often it was held down, and until when last."""

    at: list[float] = field(default_factory=list)
    held: int = 0
    held_until: float = 0.0


class PeerLimits:
    """Stops peers, and lets them come back.

    `withdraw` tells a peer (by key) that all of ours is gone; `stop` ends its session for the core: (peer,
    reason, now).
    """

    def __init__(
        self,
        peers: Mapping[str, Peer],
        *,
        emit: Callable[[Command], None],
        withdraw: Callable[[str], None],
        stop: Callable[[Peer, str, float], None],
    ) -> None:
        self._peers = peers
        self._emit = emit
        self._withdraw = withdraw
        self._end = stop
        self._breaks: dict[str, _Breaks] = {}

    @property
    def stopped(self) -> frozenset[str]:
        """Keys of the peers whose session is not wanted for now."""
        return frozenset(key for key, peer in self._peers.items() if peer.stopped)

    def passed(self, limits: Iterable[LimitExceeded], now: float) -> None:
        """These peers sent more than they may."""
        for limit in limits:
            peer = self._peers.get(limit.peer)
            if peer is None or peer.stopped:
                continue
            session = peer.configured
            text = f"it announced more than {limit.limit} prefixes"
            if session.prefix_limit_action is LimitAction.WARN:
                text += ": those beyond are not stored"
                peer.over_limit = text if peer.is_up else ""  # it may have gone in the same step
                self._say(peer, "prefix-limit", text, "error")
            elif session.prefix_limit_action is LimitAction.RESTART:
                wait_s = session.prefix_limit_restart_s
                self._stop(peer, "prefix-limit", f"{text}: stopped for {wait_s} s", now, until=now + wait_s)
            else:
                self._stop(peer, "prefix-limit", f"{text}: stopped until `calicopy peers reset`", now)

    def broken(self, keys: Iterable[str], now: float) -> None:
        """The sessions of these peers were ended by a message that cannot be read."""
        for key in keys:
            peer = self._peers.get(key)
            if peer is None or peer.stopped:
                continue
            breaks = self._breaks.setdefault(key, _Breaks())
            breaks.at = [*(at for at in breaks.at if at > now - WINDOW_S), now]
            if len(breaks.at) < BREAKS:
                continue
            breaks.at.clear()
            if now > breaks.held_until + FORGET_S:
                breaks.held = 0
            wait_s = min(HOLD_S * 2**breaks.held, HOLD_LIMIT_S)
            breaks.held += 1
            breaks.held_until = now + wait_s
            text = f"broken {BREAKS} times within {WINDOW_S:.0f} s, held down for {wait_s:.0f} s: {peer.failure}"
            self._stop(peer, "held-down", text, now, until=now + wait_s)

    def _stop(self, peer: Peer, code: str, reason: str, now: float, *, until: float | None = None) -> None:
        self._withdraw(peer.key)
        peer.stopped, peer.stop_code, peer.stopped_until = reason, code, until
        self._end(peer, reason, now)
        self._say(peer, code, f"session with {peer.configured.name}: {reason}", "error")

    def expire(self, now: float) -> None:
        """Bring back those whose time has passed."""
        for peer in self._peers.values():
            if peer.stopped_until is not None and now >= peer.stopped_until:
                self.release(peer, "its time has passed")

    def reconsider(self, changed: Iterable[str]) -> None:
        """These peers are configured otherwise: one that is stopped may be within its limit now."""
        for key in changed:
            self.release(self._peers[key], "it is configured otherwise")
        self._breaks = {key: breaks for key, breaks in self._breaks.items() if key in self._peers}

    def release(self, peer: Peer, why: str) -> None:
        """The session is wanted again."""
        if peer.stopped:
            peer.stopped, peer.stop_code, peer.stopped_until = "", "", None
            self._say(peer, "peer-released", f"session with {peer.configured.name} is wanted again: {why}", "info")

    def deadline(self) -> float | None:
        """When a peer comes back."""
        return min((at for peer in self._peers.values() if (at := peer.stopped_until) is not None), default=None)

    def _say(self, peer: Peer, code: str, message: str, level: str) -> None:
        self._emit(Log(LogView("peer", peer.configured.name, code, message, level)))
