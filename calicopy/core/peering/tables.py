"""The tables that peers send: learnt, marked stale, asked for again, swept, and when each counts as complete.

Theory of operation: UPDATEs of a peer that is up go to the RIB; per family a `FamilySync` says how complete they are.
What a peer does not announce again is swept at the end of its table: End-of-RIB on a new session, EoRR or silence on a
running one that was asked to send it again (RFC 2918, RFC 7313), or when the time for it has run out. `marks` tells who
has said all it has.
"""
from __future__ import annotations

from collections.abc import Callable

from calicopy.bgp import AttributeCache, RefreshError, RefreshKind, Verdict, decode_route_refresh, decode_update
from calicopy.core.commands import Command, SendRefresh
from calicopy.core.peering.peer import LATE_S, MAX_S, FamilySync, Peer, Phase
from calicopy.net import Family
from calicopy.rib import Rib
from calicopy.seam.speaker import RefreshReceived, UpdatesReceived

MALFORMED_PAUSE_S = 1.0
Say = Callable[[Peer, str, str, str], None]


class Tables:
    """What the peers that are up send. `say` logs (peer, code, message, level); `reset` ends a session, with a reason.
    """

    def __init__(
        self, rib: Rib, *, emit: Callable[[Command], None], say: Say, reset: Callable[[Peer, str], None]
    ) -> None:
        self._rib = rib
        self._emit = emit
        self._say = say
        self._reset = reset
        self._cache = AttributeCache()
        self.marks: list[str] = []  # keys of peers that have said all they have, since last asked

    def updates_received(self, peer: Peer, event: UpdatesReceived, now: float) -> None:
        """UPDATE bodies, in order."""
        peer.counters.updates_received += len(event.bodies)
        peer.notice = None  # a session that speaks has not ended: it was that of another connection
        for body in event.bodies:
            update = decode_update(body, peer.options, self._cache)
            if update.verdict is not Verdict.OK:
                self._malformed(peer, "; ".join(map(str, update.faults)), now)
            if update.verdict is Verdict.SESSION_RESET:  # ExaBGP does not end the session on all of RFC 7606's cases
                peer.malformed = "; ".join(map(str, update.faults))
                self._reset(peer, peer.malformed)
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

    def refresh_received(self, peer: Peer, event: RefreshReceived, now: float) -> None:
        """ROUTE-REFRESH: a request (the speaker answers it), or the borders of an enhanced refresh (RFC 7313)."""
        try:
            refresh = decode_route_refresh(event.body)
        except RefreshError as error:
            self._say(peer, "malformed-refresh", str(error), "warning")
            return
        if refresh.kind is RefreshKind.REQUEST:
            peer.counters.refreshes_received += 1
        if refresh.family is None or refresh.family not in peer.families:
            return
        sync = peer.families[refresh.family]
        if sync.phase not in (Phase.REFRESHING, Phase.IN_SYNC):
            return  # RFC 7313 section 4: not before the initial table is complete
        if refresh.kind is RefreshKind.BEGIN:
            sync.heard(now)
            self._rib.begin_refresh(peer.key, refresh.family)
            if sync.phase is Phase.IN_SYNC:  # the peer's own wish
                limit = _patience_s(peer)
                sync.refresh(now, enhanced=True, limit_s=limit, most_s=limit)
        elif refresh.kind is RefreshKind.END:
            self._complete(peer, refresh.family, now)

    def learn(self, peer: Peer, sync: FamilySync, now: float) -> None:
        """A new session: the peer sends its table. Without its End-of-RIB its own restart time ends the wait."""
        restart = peer.negotiated.graceful_restart if peer.negotiated else None
        limit = max(MAX_S, restart.restart_time_s) if restart is not None else _patience_s(peer)
        sync.learn(now, expects_mark=restart is not None, limit_s=limit)

    def ask(self, peer: Peer) -> bool:
        """Ask for the tables once more although nothing is missing; False when the peer cannot send them again.

        What it had withdrawn we have heard, so that its silence (or slowness) costs nothing: only where it marks the
        table itself (RFC 7313) goes what is not in it.
        """
        if peer.negotiated is None or not peer.negotiated.route_refresh:
            return False
        for family in peer.families:
            self._send_refresh(peer, family)
        return True

    def relearn(self, peer: Peer, now: float) -> bool:
        """Something may be missing, or withdrawn and not heard: ask for the tables again. False when the peer cannot
        send them again (no route refresh)."""
        if peer.negotiated is None or not peer.negotiated.route_refresh:
            return False
        for sync in peer.families.values():
            if sync.phase is Phase.REFRESHING:  # its end would be taken for that of a second one
                sync.again = True
            else:
                self._refresh(peer, sync, now, enhanced=peer.negotiated.enhanced_refresh)
        return True

    def _refresh(self, peer: Peer, sync: FamilySync, now: float, *, enhanced: bool) -> None:
        self._rib.begin_refresh(peer.key, sync.family)
        sync.refresh(now, enhanced=enhanced, most_s=_patience_s(peer))
        self._send_refresh(peer, sync.family)

    def _send_refresh(self, peer: Peer, family: Family) -> None:
        peer.counters.refreshes_sent += 1
        self._emit(SendRefresh(peer.key, family))

    def flush(self, peer: Peer, family: Family) -> None:
        """All that the peer, which is up, has sent of the family so far goes."""
        self._rib.begin_refresh(peer.key, family)
        self._rib.end_refresh(peer.key, family)

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
        if self._is_mute(peer, sync):
            restart = peer.negotiated.graceful_restart if peer.negotiated else None
            sync.await_mark(now, limit_s=max(MAX_S, restart.restart_time_s if restart else 0))
            return
        self._rib.end_refresh(peer.key, family)
        sync.phase = Phase.IN_SYNC
        if peer.in_sync:
            self.marks.append(peer.key)

    def _is_mute(self, peer: Peer, sync: FamilySync) -> bool:
        """Whether a refresh that brought nothing may be that of a speaker that has restarted (R bit) and was not told
        yet what to announce. Its End-of-RIB may have come before we listened, so this holds for empty tables only.
        """
        if sync.phase is not Phase.REFRESHING or sync.end_of_rib_received or not peer.restarting:
            return False
        return not self._rib.has_heard(peer.key, sync.family)

    def expire(self, peer: Peer, now: float) -> None:
        """End the phases whose time has run out; what is due for long is put off (see `calicopy.core.peering.peer`)."""
        for sync in peer.families.values():
            deadline = sync.deadline()
            if deadline is None or now < deadline:
                continue
            if now > deadline + LATE_S:
                sync.put_off(now)
            elif self._ignores(peer, sync):
                self._reset(peer, "it did not answer when asked for its table again")
                sync.put_off(now)
            else:
                self._complete(peer, sync.family, now)

    def _ignores(self, peer: Peer, sync: FamilySync) -> bool:
        """Whether silence means that the peer does not heed a ROUTE-REFRESH (as OpenBGPD before 7.8), and not that it
        has nothing to say: it had something, or nobody knows. Once reset it sends its table; only under graceful
        restart, since else it would drop our routes meanwhile.
        """
        if sync.phase is not Phase.REFRESHING or sync.answered:
            return False
        if peer.negotiated is None or peer.negotiated.graceful_restart is None:
            return False
        return not peer.counters.updates_received or bool(self._rib.prefixes(sync.family, peer=peer.key))


def _patience_s(peer: Peer) -> float:
    """How long a table may take that is coming: what is kept meanwhile is what a restart of ours would keep."""
    return max(MAX_S, peer.configured.graceful_restart_time_s)
