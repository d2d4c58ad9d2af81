"""What the core does with the speaker's events: sessions come and go; their tables are `tables`' work.

Theory of operation. The speaker says what happened on the wire; this module keeps each `Peer` true to it and tells the
RIB. `graceful` says what stays of a session that is lost, as stale: until its time has passed, or the new session's
End-of-RIB, or at once when the new OPEN says that forwarding state was not preserved. When only the agent restarted, or
was detached for a while, the sessions may never have broken: the table is asked for again (RFC 2918), what does not
come again is swept, and the peer is told anew what it should hear. While detached no time runs out, since nothing can
be heard.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable

from calicopy.bgp import OpenError, decode_notification, decode_open, negotiate
from calicopy.bgp.notification import BFD_DOWN
from calicopy.core.commands import Command, Log, ResendRoutes, ResetPeer
from calicopy.core.peering.graceful import Deferral, LossCause, defer, retention, stays
from calicopy.core.peering.peer import LATE_S, QUIET_S, FamilySync, Notice, Peer
from calicopy.core.peering.tables import Tables
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

MESSAGE_ERRORS = frozenset({1, 3})  # NOTIFICATION codes of a message that cannot be read (RFC 4271 section 4.5)
HOLD_TIMERS = frozenset({4, 8})  # hold timer (RFC 4271), send hold timer (RFC 9687)
NOTICE_S = 5.0  # a NOTIFICATION ends its connection at once: one from longer ago was that of another connection


class SessionEvents:
    """Keeps `peers` (by key) and tells `rib`. `emit` takes commands.

    `instance` names the ExaBGP process that holds the sessions, empty before the first is known.
    """

    def __init__(self, rib: Rib, peers: dict[str, Peer], *, emit: Callable[[Command], None]) -> None:
        self._rib = rib
        self._peers = peers
        self._emit = emit
        self.tables = Tables(rib, emit=emit, say=self._say, reset=self._reset)
        self.instance = ""
        self.speaker_pid = 0
        self.attached = False
        self.detached_reason = "not attached yet"
        self.fresh: list[str] = []  # keys of peers that are to be told everything: nothing was announced to them
        self.broken: list[str] = []  # keys of peers whose session a malformed UPDATE ended, since last asked

    @property
    def marks(self) -> list[str]:
        """Keys of peers that have said all they have, since last asked."""
        return self.tables.marks

    def reinform(self, keys: Iterable[str]) -> None:
        """Tell the RIB how these peers are configured now. Their sessions go on."""
        for key in keys:
            peer = self._peers[key]
            if peer.opened is not None and (peer.is_up or peer.stale_until is not None):
                self._rib.set_peer(peer_info(peer.configured, int(peer.opened.router_id)))

    def relimit(self, keys: Iterable[str]) -> None:
        """These peers have another limit, or another action: what did not fit so far is asked for again."""
        for key in keys:
            peer = self._peers[key]
            if peer.is_up and self._rib.reconsider_limit(key) and self.tables.ask(peer):
                peer.over_limit = ""

    def forget(self, key: str) -> None:
        """The peer is not wanted any more."""
        for names in (self.fresh, self.broken, self.marks):
            names[:] = [one for one in names if one != key]

    # the speaker

    def speaker_attached(self, event: SpeakerAttached, now: float) -> None:
        """The bridge is there, with what it knows of each peer."""
        same = event.instance == self.instance
        if self.instance and not same:
            for peer in self._peers.values():
                if peer.is_up:
                    self._lose(peer, "the speaker was restarted", now, LossCause.OURS)
        self.instance, self.speaker_pid, self.attached = event.instance, event.exabgp_pid, True
        self.detached_reason = ""
        for peer in self._peers.values():
            peer.reset_asked = False
            if peer.ends_for_bfd:  # it may not have heard of it
                self.bfd_down(peer, peer.ends_for_bfd)
        known = {snapshot.peer: snapshot for snapshot in event.peers}
        for key, peer in self._peers.items():
            self._adopt(peer, known.get(key), now)

    def _adopt(self, peer: Peer, snapshot: PeerSnapshot | None, now: float) -> None:
        if peer.stopped:
            return  # the sessions wanted are set anew, without it
        if snapshot is None or snapshot.state is not FsmState.ESTABLISHED:
            if peer.is_up:
                self._lose(peer, snapshot.reason if snapshot else "unknown to the speaker", now, LossCause.SILENT)
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

    def speaker_detached(self, event: SpeakerDetached) -> None:
        """The bridge is gone; sessions and routes stay as they are."""
        self.attached = False
        self.detached_reason = event.reason

    def events_were_lost(self, event: EventsLost, now: float) -> None:
        """Something between ExaBGP and us was lost: learn the tables concerned again."""
        for peer in self._peers.values():
            if peer.is_up and event.peer in (None, peer.key):
                self._relearn(peer, now)

    # sessions

    def peer_up(self, event: PeerUp, now: float) -> None:
        """A session is Established."""
        peer = self._peers.get(event.peer)
        if peer is None or peer.stopped:
            return
        peer.reset_asked = False
        if not event.local_open or not event.peer_open:
            self._reset(peer, "the session came up without its OPEN messages")
            return
        self._begin(peer, event.local_open, event.peer_open, now, running=False)

    def peer_moved(self, event: PeerState, now: float) -> None:
        """The state machine moved below Established."""
        peer = self._peers.get(event.peer)
        if peer is not None and event.state is not FsmState.ESTABLISHED and not peer.is_up and not peer.stopped:
            self._move(peer, event.state, now)

    def peer_down(self, event: PeerDown, now: float) -> None:
        """A session, or an attempt at one, ended."""
        peer = self._peers.get(event.peer)
        if peer is None:
            return
        notice = peer.notice
        if notice is not None and now > notice.at + NOTICE_S:
            notice = None
        if peer.is_up:
            cause = self._cause(peer, notice)
            if peer.malformed or (notice is not None and notice.sent and notice.notification.code in MESSAGE_ERRORS):
                self.broken.append(peer.key)
            self._lose(peer, peer.malformed or peer.ends_for_bfd or str(notice or "") or event.reason, now, cause)
        elif not peer.stopped:
            self._move(peer, FsmState.IDLE, now)
            peer.failure, peer.failed_at = str(notice or "") or event.reason, now
        peer.notice, peer.malformed, peer.reset_asked, peer.reset_coming = None, "", False, False

    def _cause(self, peer: Peer, notice: Notice | None) -> LossCause:
        if peer.ends_for_bfd:
            return LossCause.BFD_DOWN
        if notice is not None:
            code = notice.notification.code
            return LossCause.HOLD_EXPIRED if code in HOLD_TIMERS else LossCause.NOTIFICATION
        return LossCause.OURS if peer.reset_asked or peer.reset_coming else LossCause.SILENT

    def notification_seen(self, event: NotificationSeen, now: float) -> None:
        """A NOTIFICATION: the reason of the `down` that follows."""
        peer = self._peers.get(event.peer)
        if peer is None:
            return
        peer.notice = peer.last_notice = Notice(decode_notification(event.body), event.sent, now)
        if event.sent:
            peer.counters.notifications_sent += 1
        else:
            peer.counters.notifications_received += 1
        if not peer.stopped:
            peer.failure, peer.failed_at = str(peer.notice), now

    def bfd_down(self, peer: Peer, reason: str) -> None:
        """BFD says that the path to the peer is gone: its session ends (RFC 9384), and so does a restart that it is in
        (RFC 5882 section 4.3.1).
        """
        if peer.is_up:
            peer.ends_for_bfd, peer.reset_asked = reason, True
            self._emit(ResetPeer(peer.key, reason, BFD_DOWN))
        elif peer.stale_until is not None:
            peer.stale_until = None
            self._rib.peer_down(peer.key, retain=False)
            self._say(peer, "stale-flushed", f"its routes are kept no longer: {reason}", "warning")

    def stop(self, peer: Peer, reason: str, now: float) -> None:
        """The session is not wanted any more: all that the peer has sent goes."""
        if peer.is_up:
            self._lose(peer, reason, now, LossCause.STOPPED)
        else:
            self._rib.peer_down(peer.key, retain=False)
            peer.stale_until = None
            self._move(peer, FsmState.IDLE, now)

    def _begin(self, peer: Peer, local_open: bytes, peer_open: bytes, now: float, *, running: bool) -> None:
        try:
            local, opened = decode_open(local_open), decode_open(peer_open)
        except OpenError as error:
            self._reset(peer, f"its OPEN cannot be read: {error}")
            return
        known = peer.is_up
        if known and not running:
            self._lose(peer, "a new session took its place", now, self._cause(peer, None))
        if not running:
            peer.reset_coming = False  # the session that it was for is over
        peer.local_opened, peer.opened, peer.negotiated = local, opened, negotiate(local, opened)
        peer.options = peer.negotiated.receive
        peer.families = {family: FamilySync(family) for family in sorted(peer.negotiated.families)}
        peer.notice, peer.over_limit, peer.malformed, peer.stale_until = None, "", "", None
        self._move(peer, FsmState.ESTABLISHED, now)
        self._rib.peer_up(peer_info(peer.configured, int(opened.router_id)))
        for family in Family:
            if family not in peer.families:
                self.tables.flush(peer, family)
        if running:
            self._resume(peer, now)
        else:
            self.fresh.append(peer.key)
            for sync in peer.families.values():
                self._learn(peer, sync, now)
        peer.lost_by_us, peer.adopted = False, running and not known
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
        if not stays(restart, sync.family, lost_by_us=peer.lost_by_us):
            self.tables.flush(peer, sync.family)  # RFC 4724 section 4.2: what was retained goes at once
        self.tables.learn(peer, sync, now)

    def _relearn(self, peer: Peer, now: float) -> None:
        """Ask for the tables again. A peer that cannot send them again is reset, under graceful restart."""
        if not self.tables.relearn(peer, now):
            self._reset(peer, "it cannot send its table again (no route refresh)")

    def _lose(self, peer: Peer, reason: str, now: float, cause: LossCause) -> None:
        kept, said = retention(peer, cause), ""
        if kept.families:
            for family in peer.families:
                if family not in kept.families:
                    self.tables.flush(peer, family)
            self._rib.peer_down(peer.key, retain=True)
            peer.stale_until = now + kept.time_s
            said = f"; its routes are kept for {kept.time_s} s"
        else:
            self._rib.peer_down(peer.key, retain=False)
            peer.stale_until = None
        peer.lost_by_us, peer.ends_for_bfd, peer.over_limit = cause is LossCause.OURS, "", ""
        peer.negotiated = None
        peer.families = {}
        peer.counters.sessions_lost += 1
        peer.failure, peer.failed_at = reason, now
        self._move(peer, FsmState.IDLE, now)
        self._say(peer, "peer-down", f"session with {peer.configured.name} is down: {reason}{said}", "warning")

    # tables

    def updates_received(self, event: UpdatesReceived, now: float) -> None:
        """UPDATE bodies, in order."""
        peer = self._peers.get(event.peer)
        if peer is not None and peer.is_up:
            self.tables.updates_received(peer, event, now)

    def refresh_received(self, event: RefreshReceived, now: float) -> None:
        """ROUTE-REFRESH."""
        peer = self._peers.get(event.peer)
        if peer is not None and peer.is_up:
            self.tables.refresh_received(peer, event, now)

    # what people ask for

    def refresh(self, key: str, *, inbound: bool, outbound: bool) -> None:
        """Ask the peer for its table again, have ours sent again; nothing when the session is down."""
        peer = self._peers.get(key)
        if peer is None or not peer.is_up:
            return
        if inbound:
            self.tables.ask(peer)
        if outbound:
            self._emit(ResendRoutes(peer.key))

    def reset(self, key: str, reason: str) -> None:
        """End the session, under graceful restart; the speaker dials again."""
        peer = self._peers.get(key)
        if peer is not None and peer.is_up:
            self._reset(peer, reason)

    # time

    def expire(self, now: float) -> None:
        """Do what has become due; what is due for long is put off (see `calicopy.core.peering.peer`)."""
        if not self.attached:
            return
        for peer in self._peers.values():
            self.tables.expire(peer, now)
            if peer.stale_until is not None and now >= peer.stale_until:
                self._expire_stale(peer, peer.stale_until, now)

    def deferral(self, now: float) -> Deferral:
        """Which peers must not get End-of-RIB yet."""
        return defer(self._peers.values(), now)

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
