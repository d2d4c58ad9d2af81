"""What the core does with the speaker's events: sessions come and go, tables are learnt, marked stale and swept.

Theory of operation. The speaker says what happened on the wire; this module keeps each `Peer` true to it and tells the
RIB. Graceful restart (RFC 4724), as helper: paths of a session that broke without a NOTIFICATION are retained as stale,
until the peer's restart time has passed, or the new session's End-of-RIB, or at once when its new OPEN says that
forwarding state was not preserved. When our own speaker restarted, the same rule holds for all peers. When only the
agent restarted, or was detached for a while, the sessions may never have broken: the table is asked for again (RFC
2918), what does not come again is swept, and the peer is told anew what it should hear. While detached no time runs
out, since nothing can be heard.
"""
from __future__ import annotations

from collections.abc import Callable

from calicopy.bgp import (
    AttributeCache,
    OpenError,
    RefreshError,
    RefreshKind,
    Verdict,
    decode_notification,
    decode_open,
    decode_route_refresh,
    decode_update,
    negotiate,
)
from calicopy.core.commands import Command, Log, ResetPeer, SendRefresh
from calicopy.core.peers import LATE_S, MAX_S, QUIET_S, FamilySync, Peer, Phase
from calicopy.core.setup import peer_info
from calicopy.core.views import LogView
from calicopy.net import Family
from calicopy.rib import Rib
from calicopy.seam.speaker import (
    EventsLost,
    FsmState,
    NotificationSeen,
    PeerDown,
    PeerSnapshot,
    PeerState,
    PeerUp,
    RefreshReceived,
    SpeakerAttached,
    SpeakerDetached,
    UpdatesReceived,
)

MALFORMED_PAUSE_S = 1.0


class SessionEvents:
    """Keeps `peers` (by key) and tells `rib`. `emit` takes commands.

    `instance` names the ExaBGP process that holds the sessions, empty before the first is known.
    """

    def __init__(
        self, rib: Rib, peers: dict[str, Peer], *, emit: Callable[[Command], None], restart_time_s: int
    ) -> None:
        self._rib = rib
        self._peers = peers
        self._emit = emit
        self._cache = AttributeCache()
        self.restart_time_s = restart_time_s
        self.instance = ""
        self.speaker_pid = 0
        self.attached = False
        self.detached_reason = "not attached yet"
        self.events_lost = 0
        self.fresh: list[str] = []  # keys of peers whose session is new to us: nothing was announced on it
        self.marks: list[str] = []  # keys of peers that have said all they have, since last asked

    # the speaker

    def speaker_attached(self, event: SpeakerAttached, now: float) -> None:
        """The bridge is there, with what it knows of each peer."""
        same = event.instance == self.instance
        if self.instance and not same:
            for peer in self._peers.values():
                if peer.is_up:
                    self._lose(peer, "the speaker was restarted", now, retain=True)
        self.instance, self.speaker_pid, self.attached = event.instance, event.exabgp_pid, True
        self.detached_reason = ""
        for peer in self._peers.values():
            peer.reset_asked = False
        known = {snapshot.peer: snapshot for snapshot in event.peers}
        for key, peer in self._peers.items():
            self._adopt(peer, known.get(key), now)

    def _adopt(self, peer: Peer, snapshot: PeerSnapshot | None, now: float) -> None:
        if snapshot is None or snapshot.state is not FsmState.ESTABLISHED:
            if peer.is_up:
                self._lose(peer, snapshot.reason if snapshot else "unknown to the speaker", now, retain=True)
            if snapshot is not None:
                self._move(peer, snapshot.state, now)
                if snapshot.reason:
                    peer.failure, peer.failed_at = snapshot.reason, now
        elif snapshot.local_open and snapshot.peer_open:
            self._begin(peer, snapshot.local_open, snapshot.peer_open, now, running=True)
        elif peer.is_up:
            self._resume(peer, now)
        else:
            self._reset(peer, "its OPEN messages are not known any more")

    def speaker_detached(self, event: SpeakerDetached, now: float) -> None:
        """The bridge is gone; sessions and routes stay as they are."""
        self.attached = False
        self.detached_reason = event.reason

    def events_were_lost(self, event: EventsLost, now: float) -> None:
        """Something between ExaBGP and us was lost: learn the tables concerned again."""
        self.events_lost += 1
        for peer in self._peers.values():
            if peer.is_up and event.peer in (None, peer.key):
                self._relearn(peer, now)

    # sessions

    def peer_up(self, event: PeerUp, now: float) -> None:
        """A session is Established."""
        peer = self._peers.get(event.peer)
        if peer is None:
            return
        peer.reset_asked = False
        if not event.local_open or not event.peer_open:
            self._reset(peer, "the session came up without its OPEN messages")
            return
        self._begin(peer, event.local_open, event.peer_open, now, running=False)

    def peer_moved(self, event: PeerState, now: float) -> None:
        """The state machine moved below Established."""
        peer = self._peers.get(event.peer)
        if peer is not None and event.state is not FsmState.ESTABLISHED and not peer.is_up:
            self._move(peer, event.state, now)

    def peer_down(self, event: PeerDown, now: float) -> None:
        """A session, or an attempt at one, ended."""
        peer = self._peers.get(event.peer)
        if peer is None:
            return
        peer.reset_asked = False
        reason = peer.notification or event.reason
        if peer.is_up:
            self._lose(peer, reason, now, retain=not peer.notification)
        else:
            self._move(peer, FsmState.IDLE, now)
            peer.failure, peer.failed_at = reason, now
        peer.notification = ""

    def notification_seen(self, event: NotificationSeen, now: float) -> None:
        """A NOTIFICATION: the reason of the `down` that follows."""
        peer = self._peers.get(event.peer)
        if peer is not None:
            by = "us" if event.sent else "the peer"
            peer.notification = f"{decode_notification(event.body).sentence} (sent by {by})"
            peer.failure, peer.failed_at = peer.notification, now

    def _begin(self, peer: Peer, local_open: bytes, peer_open: bytes, now: float, *, running: bool) -> None:
        try:
            local, opened = decode_open(local_open), decode_open(peer_open)
        except OpenError as error:
            self._reset(peer, f"its OPEN cannot be read: {error}")
            return
        known = peer.is_up
        if known and not running:
            self._lose(peer, "a new session took its place", now, retain=True)
        peer.opened, peer.negotiated = opened, negotiate(local, opened)
        peer.options = peer.negotiated.receive
        peer.families = {family: FamilySync(family) for family in sorted(peer.negotiated.families)}
        peer.notification, peer.stopped, peer.stale_until = "", "", None
        self._move(peer, FsmState.ESTABLISHED, now)
        self._rib.peer_up(peer_info(peer.configured, int(opened.router_id)))
        for family in Family:
            if family not in peer.families:
                self._flush(peer, family)
        if running:
            self._resume(peer, now)
        else:
            self.fresh.append(peer.key)
            for sync in peer.families.values():
                self._learn(peer, sync, now)
        if not peer.families:
            self.marks.append(peer.key)
            self._say(peer, "no-common-family", "no address family in common", "warning")
        if not (known and running):
            peer.counters.sessions_established += 1
            self._say(peer, "peer-up", f"session with {peer.configured.name} is up")

    def _resume(self, peer: Peer, now: float) -> None:
        """A session that runs since before we attached: learn its table again, and tell it all once more.

        It may have broken and come back meanwhile: then the peer waits for our End-of-RIB, which else does no harm.
        """
        for sync in peer.families.values():
            sync.end_of_rib_sent = False
        self.fresh.append(peer.key)
        self._relearn(peer, now)

    def _learn(self, peer: Peer, sync: FamilySync, now: float) -> None:
        restart = peer.negotiated.graceful_restart if peer.negotiated else None
        if restart is None or not restart.preserves(sync.family):
            self._flush(peer, sync.family)  # RFC 4724 section 4.2: what was retained goes at once
        limit = max(MAX_S, self.restart_time_s) if restart is not None else MAX_S
        sync.learn(now, expects_mark=restart is not None, limit_s=limit)

    def _flush(self, peer: Peer, family: Family) -> None:
        """All that the peer, which is up, has sent of the family so far goes."""
        self._rib.begin_refresh(peer.key, family)
        self._rib.end_refresh(peer.key, family)

    def _relearn(self, peer: Peer, now: float) -> None:
        """Ask for the tables again. A peer that cannot send them again is reset, under graceful restart."""
        if peer.negotiated is None or not peer.negotiated.route_refresh:
            self._reset(peer, "it cannot send its table again (no route refresh)")
            return
        for sync in peer.families.values():
            if sync.phase is Phase.REFRESHING:  # its end would be taken for that of a second one
                sync.again = True
            else:
                self._refresh(peer, sync, now, enhanced=peer.negotiated.enhanced_refresh)

    def _refresh(self, peer: Peer, sync: FamilySync, now: float, *, enhanced: bool) -> None:
        self._rib.begin_refresh(peer.key, sync.family)
        sync.refresh(now, enhanced=enhanced)
        self._emit(SendRefresh(peer.key, sync.family))

    def _lose(self, peer: Peer, reason: str, now: float, *, retain: bool) -> None:
        restart = peer.negotiated.graceful_restart if peer.negotiated else None
        kept = ""
        if retain and restart is not None and restart.families:
            for family in peer.families:
                if not restart.covers(family):
                    self._flush(peer, family)
            self._rib.peer_down(peer.key, retain=True)
            peer.stale_until = now + restart.restart_time_s
            kept = f"; its routes are kept for {restart.restart_time_s} s"
        else:
            self._rib.peer_down(peer.key, retain=False)
            peer.stale_until = None
        peer.negotiated = None
        peer.families = {}
        peer.counters.sessions_lost += 1
        peer.failure, peer.failed_at = reason, now
        self._move(peer, FsmState.IDLE, now)
        self._say(peer, "peer-down", f"session with {peer.configured.name} is down: {reason}{kept}", "warning")

    # tables

    def updates_received(self, event: UpdatesReceived, now: float) -> None:
        """UPDATE bodies, in order."""
        peer = self._peers.get(event.peer)
        if peer is None or not peer.is_up:
            return
        peer.counters.updates_received += len(event.bodies)
        for body in event.bodies:
            update = decode_update(body, peer.options, self._cache)
            if update.verdict is not Verdict.OK:
                self._malformed(peer, "; ".join(map(str, update.faults)), now)
            if update.verdict is Verdict.SESSION_RESET:  # ExaBGP does not end the session on all of RFC 7606's cases
                self._reset(peer, "; ".join(map(str, update.faults)))
                break
            if update.end_of_rib is not None:
                self._end_of_rib(peer, update.end_of_rib, now)
            else:
                self._rib.update(peer.key, update)
        for sync in peer.families.values():
            sync.heard(now)

    def _malformed(self, peer: Peer, faults: str, now: float) -> None:
        """Count it, and say one a second: a peer may send thousands."""
        peer.counters.malformed_updates += 1
        if peer.malformed_at is None or now >= peer.malformed_at + MALFORMED_PAUSE_S:
            peer.malformed_at = now
            self._say(peer, "malformed-update", faults, "warning")

    def refresh_received(self, event: RefreshReceived, now: float) -> None:
        """ROUTE-REFRESH: a request (the speaker answers it), or the borders of an enhanced refresh (RFC 7313)."""
        peer = self._peers.get(event.peer)
        if peer is None or not peer.is_up:
            return
        try:
            refresh = decode_route_refresh(event.body)
        except RefreshError as error:
            self._say(peer, "malformed-refresh", str(error), "warning")
            return
        if refresh.family is None or refresh.family not in peer.families:
            return
        sync = peer.families[refresh.family]
        if sync.phase not in (Phase.REFRESHING, Phase.IN_SYNC):
            return  # RFC 7313 section 4: not before the initial table is complete
        if refresh.kind is RefreshKind.BEGIN:
            self._rib.begin_refresh(peer.key, refresh.family)
            if sync.phase is Phase.IN_SYNC:  # the peer's own wish
                sync.refresh(now, enhanced=True, limit_s=max(MAX_S, self.restart_time_s))
        elif refresh.kind is RefreshKind.END:
            self._complete(peer, refresh.family, now)

    def _end_of_rib(self, peer: Peer, family: Family, now: float) -> None:
        sync = peer.families.get(family)
        if sync is None:
            return
        sync.end_of_rib_received = True
        if sync.phase is Phase.LEARNING:
            self._complete(peer, family, now)

    def _complete(self, peer: Peer, family: Family, now: float) -> None:
        sync = peer.families[family]
        if sync.again and peer.negotiated is not None:
            sync.again = False
            self._refresh(peer, sync, now, enhanced=peer.negotiated.enhanced_refresh)
            return
        self._rib.end_refresh(peer.key, family)
        sync.phase = Phase.IN_SYNC
        if peer.in_sync:
            self.marks.append(peer.key)

    # time

    def expire(self, now: float) -> None:
        """Do what has become due; what is due for long is put off (see `calicopy.core.peers`)."""
        if not self.attached:
            return
        for peer in self._peers.values():
            for sync in peer.families.values():
                deadline = sync.deadline()
                if deadline is None or now < deadline:
                    continue
                if now > deadline + LATE_S:
                    sync.put_off(now)
                else:
                    self._complete(peer, sync.family, now)
            if peer.stale_until is not None and now >= peer.stale_until:
                self._expire_stale(peer, peer.stale_until, now)

    def _expire_stale(self, peer: Peer, deadline: float, now: float) -> None:
        if now > deadline + LATE_S:
            peer.stale_until = now + QUIET_S
            return
        peer.stale_until = None
        self._rib.peer_down(peer.key, retain=False)
        self._say(peer, "stale-flushed", "the restart time has passed: its routes are removed", "warning")

    def deadline(self) -> float | None:
        """When something becomes due."""
        if not self.attached:
            return None
        return min((time for peer in self._peers.values() if (time := peer.deadline()) is not None), default=None)

    # small things

    def _move(self, peer: Peer, state: FsmState, now: float) -> None:
        if peer.state is not state:
            peer.state, peer.changed_at = state, now

    def _reset(self, peer: Peer, reason: str) -> None:
        if peer.reset_asked:
            return
        peer.reset_asked = True
        self._say(peer, "peer-reset", f"session with {peer.configured.name} is reset: {reason}", "warning")
        self._emit(ResetPeer(peer.key, reason))

    def _say(self, peer: Peer, code: str, message: str, level: str = "info") -> None:
        self._emit(Log(LogView("peer", peer.configured.name, code, message, level)))
