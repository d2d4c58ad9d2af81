"""`Core`: events in, commands out.

Theory of operation. The core joins the pure parts of one node: sessions, RIB, IPAM and FIB. `handle` takes what has
happened and gives back what is to be done; `deadline` says when to call again although nothing happens. It never waits,
reads no clock and does no I/O; what it wants depends on the present state, never on the order of history.

What the speaker says keeps its order and is taken in slices, so that a large table holds nothing up; all else is taken
at once. Each call then ends with the same round of steps (`_advance`), each of which compares what is wanted with what
is there:

1. what has run out: sessions' timers, once all that was said is taken;
2. a slice of the decision process; what it tells about blocks goes to IPAM, what was selected goes to the FIB;
3. claims, when the gate is open and nothing that was heard is left undecided;
4. the host: next hops to resolve, the tunnel and its address, forwarding;
5. IPAM's changes go to the store, and only committed state is announced, blackholed and answered;
6. what each peer should hear, then End-of-RIB;
7. changes of nexthop objects and a slice of the FIB's delta go to the kernel; and, once everything is known, the sweep.

Before the round comes what must not wait for it: packets to nodes that are gone are dropped. Then the round is for the
next call.

A step that has more to do than its slice says so, and `deadline` is at once.
"""
from __future__ import annotations

from collections import Counter, deque

from calicopy.config.resolve import NodeConfig
from calicopy.core import events as ev
from calicopy.core.blocks import Blocks
from calicopy.core.change.reconfigure import end_lingering, reconfigure
from calicopy.core.claims import ClaimGate, waiting_since
from calicopy.core.commands import Command, Log, Reply
from calicopy.core.drain.drainer import Drainer
from calicopy.core.drain_state import DrainPhase, DrainRecord
from calicopy.core.exports import Exports
from calicopy.core.fail_over import FailOver
from calicopy.core.host import Host
from calicopy.core.host_log import HostLog
from calicopy.core.kernel_events import KERNEL_EVENTS, host_checked, kernel_said
from calicopy.core.kernel_routes import KernelRoutes
from calicopy.core.peering.bfd import Bfd
from calicopy.core.peering.limits import PeerLimits
from calicopy.core.peering.linger import Linger
from calicopy.core.peering.peer import Peer
from calicopy.core.peering.session_events import SessionEvents
from calicopy.core.peering.wanted import WantedSessions
from calicopy.core.requests import Requests
from calicopy.core.setup import fib_for, ipam_for, rib_for
from calicopy.core.views import LogView
from calicopy.ipam import Snapshot
from calicopy.net import Family, Packed, Prefix
from calicopy.seam import speaker as sp

TAKE_SLICE = 32 * 1024  # octets of UPDATEs a call, each counted with BODY_COST more
BODY_COST = 300
DECIDE_SLICE = 2000
LEAST_RESTART_S = 10.0  # an agent is given this long to be in sync, however short the restart time

SPOKEN = (
    sp.SpeakerAttached, sp.SpeakerDetached, sp.PeerUp, sp.PeerDown, sp.PeerState, sp.UpdatesReceived,
    sp.NotificationSeen, sp.RefreshReceived, sp.EventsLost, ev.AnnouncedBefore, ev.AdvertiseFailed,
)  # fmt: skip
"""The events whose order among each other matters, and that may be many."""


class Core:
    """One node's brain. `node` must be ready: its address and router id are known."""

    def __init__(
        self,
        node: NodeConfig,
        snapshot: Snapshot,
        *,
        now: float,
        began_at: float | None = None,
        drain: DrainRecord | None = None,
    ) -> None:
        """`now` and `began_at`, the start of the process (default: now), are monotonic seconds."""
        self.node = node
        self.began_at = now
        self.rib = rib_for(node)
        self.fib = fib_for(node)
        self.ipam = ipam_for(node, snapshot)
        self.peers = {str(session.address): Peer(session, changed_at=now) for session in node.sessions}
        began = waiting_since(now if began_at is None else began_at, now)
        self.gate = ClaimGate(began, frozenset(self.peers))
        self.gate.is_open = bool(snapshot.blocks)
        self.counters: Counter[str] = Counter()
        self.sweeping = False
        self._commands: list[Command] = []
        emit = self.emit = self._commands.append
        self.sessions = SessionEvents(self.rib, self.peers, emit=emit)
        self.requests = Requests(self.ipam, emit=emit)
        self.exports = Exports(node, self.rib, self.peers, emit=emit)
        self.drainer = Drainer(self.exports, self.rib, self.ipam, emit=emit, record=drain)
        self.limits = PeerLimits(
            self.peers, emit=emit, withdraw=self.exports.withdraw_all, stop=self.sessions.stop
        )
        self.host = Host(node, emit=emit)
        self.host_log = HostLog(emit=emit)
        self.blocks = Blocks(node, self.rib, self.ipam, emit=emit)
        self.kernel = KernelRoutes(self.fib, self.counters, emit=emit, now=now)
        self.wanted = WantedSessions(self.peers, self.limits, self.host, emit=emit)
        self.bfd = Bfd(node, self.peers, self.limits, self.sessions, emit=emit, now=now)
        self.fail_over = FailOver(self.rib, self.fib, self.bfd, self.kernel)
        self.linger = Linger(self.rib, self.peers)
        self.linger.configure(node)
        self._spoken: deque[ev.OtherEvent] = deque()
        self._deferral_ends: float | None = None
        self._workloads_known = False
        self._undecided = True  # something that was heard is not taken or not decided yet
        self._more = False
        self._ipam_changed = True
        self.note_touched = False  # whether `touched` is kept: somebody watches
        self.touched: list[tuple[Family, Packed]] = []

    # -- the two calls ------------------------------------------------------------------------------------------

    def handle(self, happened: list[ev.CoreEvent], now: float) -> list[Command]:
        """Take what has happened, in order, and give back what is to be done, in order."""
        for event in happened:
            if isinstance(event, SPOKEN):
                self._spoken.append(event)
            elif isinstance(event, KERNEL_EVENTS):
                kernel_said(self, event, now)
            else:
                self._take(event, now)
        self._take_spoken(now)
        self.host_log.flush(now)
        self._more = self.fail_over.first(self._commands, now)
        if not self._more:  # the round is for the next call: nothing of it may hold that up
            self._advance(now)
        commands = self._commands[:]
        self._commands.clear()
        return commands

    def deadline(self, now: float) -> float | None:
        """When to call `handle` with `Ticked` if nothing else happens; `now` when there is more to do at once."""
        if self._more:
            return now
        sweep_limit = self._sweep_limit
        times = (
            self.sessions.deadline(),
            self.limits.deadline(),
            self._deferral_ends if self.sessions.attached else None,
            self.gate.deadline(),
            self.requests.deadline(),
            self.drainer.deadline(now),
            self.exports.deadline() if self.sessions.attached else None,
            self.linger.deadline(),
            self.kernel.deadline(now),
            self.bfd.deadline(now),
            self.host_log.deadline(),
            None if self.sweeping or sweep_limit <= now else sweep_limit,
        )
        return min((time for time in times if time is not None), default=None)

    # -- events -------------------------------------------------------------------------------------------------

    def _take_spoken(self, now: float) -> None:
        """Take what the speaker said, as far as the slice goes."""
        room = TAKE_SLICE
        while self._spoken and room > 0:
            event = self._spoken.popleft()
            room -= BODY_COST
            if isinstance(event, sp.UpdatesReceived):
                count = 0
                while count < len(event.bodies) and (not count or room > 0):
                    room -= len(event.bodies[count]) + BODY_COST
                    count += 1
                if count < len(event.bodies):
                    self._spoken.appendleft(sp.UpdatesReceived(event.peer, event.bodies[count:]))
                    event = sp.UpdatesReceived(event.peer, event.bodies[:count])
            self._take(event, now)

    def _take(self, event: ev.OtherEvent, now: float) -> None:
        match event:
            case sp.UpdatesReceived():
                self.sessions.updates_received(event, now)
            case ev.HostChecked():
                host_checked(self, event)
            case ev.SessionsSet():
                self.wanted.answered(event)
            case ev.ConfigChanged():
                reconfigure(self, event.node, now)
            case ev.AdvertiseFailed():
                self.exports.failed(event, now)
            case ev.AnnouncedBefore():
                for peer, families in event.routes.items():
                    for family, routes in families.items():
                        self.exports.announced_before(peer, family, routes)
            case ev.WorkloadsChanged():
                self._workloads_known = True
                self.fib.set_workload_routes(dict(event.routes))
            case ev.Ticked():
                pass
            case ev.BfdSeen():
                self.bfd.seen(event, now)
            case ev.DrainRequested() | ev.UndrainRequested():
                self.drainer.request(event)
            case ev.PeerRefreshRequested(peer, inbound, outbound):
                self.sessions.refresh(peer, inbound=inbound, outbound=outbound)
            case ev.PeerResetRequested(peer):
                self._reset_peer(peer)
            case ev.AddressRequested() | ev.AddressReleased() | ev.BlockReleased():
                self._take_request(event, now)
            case ev.Persisted() | ev.PersistFailed():
                self._take_request(event, now)
            case _:
                self._take_session(event, now)

    def _take_request(self, event: ev.RequestEvent, now: float) -> None:
        self._ipam_changed = True
        match event:
            case ev.AddressRequested() if error := self.drainer.refuses(event.handle):
                self._commands.append(Reply(event.request, error=error))
            case ev.AddressRequested():
                self.requests.assign(event, now)
            case ev.AddressReleased():
                self.requests.release(event)
            case ev.BlockReleased():
                self.requests.release_block(event)
            case ev.Persisted():
                self.requests.persisted(event)
                self.drainer.persisted(event)
            case ev.PersistFailed():
                self.requests.persist_failed(event, now)
                self.drainer.persist_failed(event, now)

    def _take_session(self, event: sp.SpeakerEvent, now: float) -> None:
        match event:
            case sp.SpeakerAttached():
                if self.sessions.instance != event.instance:
                    self._log("speaker", event.instance, "attached", f"attached to ExaBGP, process {event.exabgp_pid}")
                    self.exports.speaker_changed()
                else:
                    self._log("speaker", event.instance, "attached", "attached to the same ExaBGP again")
                self.sessions.speaker_attached(event, now)
            case sp.SpeakerDetached():
                self.sessions.speaker_detached(event)
                self._log("speaker", "", "detached", event.reason, "warning")
            case sp.PeerUp():
                self.sessions.peer_up(event, now)
            case sp.PeerDown():
                self.sessions.peer_down(event, now)
            case sp.PeerState():
                self.sessions.peer_moved(event, now)
            case sp.NotificationSeen():
                self.sessions.notification_seen(event, now)
            case sp.RefreshReceived():
                self.sessions.refresh_received(event, now)
            case sp.EventsLost():
                self.counters["speaker.events_lost"] += 1
                self.sessions.events_were_lost(event, now)
                self._log("speaker", event.peer or "", "events-lost", event.reason, "warning")

    def _reset_peer(self, key: str) -> None:
        peer = self.peers.get(key)
        if peer is not None and peer.stopped:
            self.limits.release(peer, "it was reset by hand")
        else:
            self.sessions.reset(key, "asked for")

    # -- the round ----------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        if self.kernel.due(now):
            self.host.check_again()
            self.wanted.retry()
        self._more = bool(self._spoken)
        if not self._spoken:
            self.sessions.expire(now)
        self.fail_over.heed(now)
        self._decide(now)
        if not self._undecided:
            end_lingering(self, now)
        self.limits.broken(self.sessions.broken, now)
        self.sessions.broken.clear()
        self.limits.expire(now)
        if self.kernel.dumped:
            self.wanted.advance(self.node)
        self._claims(now)
        self.host.advance(self.rib.wanted_next_hops(), self.ipam)
        self._commit(now)
        self._announce(now)
        self._write(now)

    def ipam_changed(self) -> None:
        """IPAM may announce something else: look at it in this round."""
        self._ipam_changed = True

    def look_again(self) -> None:
        """There is more to do at once."""
        self._more = True

    def _decide(self, now: float) -> None:
        decisions = self.rib.decide(DECIDE_SLICE)
        self._undecided = decisions.more or bool(self._spoken)
        self.blocks.heard(decisions)
        self.host.probes.heard(decisions)
        self.exports.decided(decisions)
        for family, runs in decisions.changes.items():
            self.fib.apply_decisions(family, runs)
            if self.note_touched:
                self.touched += ((family, packed) for _, prefixes in runs for packed in prefixes)
        self.limits.passed(decisions.limits, now)
        if self.blocks.tell_rib():
            self._undecided = True
        self._more = self._more or self._undecided

    def _claims(self, now: float) -> None:
        self.gate.any_up = any(peer.is_up for peer in self.peers.values())
        for key in self.sessions.marks:
            self.gate.end_of_rib(key, now)
        self.sessions.marks.clear()
        if self._undecided or not self.gate.check(now):
            return
        if self.ipam.pending() and self.drainer.phase is DrainPhase.ACTIVE:
            self.blocks.confirm()
        self.requests.retry_parked(now)

    def _commit(self, now: float) -> None:
        self.requests.flush(now)
        if not self._ipam_changed:
            return
        self._ipam_changed = False
        announced, blackholes = self.ipam.announcements(), self.ipam.blackholes()
        for prefix in sorted(announced - self.exports.prefixes):
            self._log("ipam", str(prefix), "block-confirmed", f"{prefix} is ours, and announced")
        self.exports.set_prefixes(announced, self.host.tunnels.own_addresses(self.ipam))
        self.fib.set_blackholes(blackholes)
        self.blocks.own_changed()
        self.blocks.report()
        own = {prefix for prefix in announced | blackholes if not prefix.is_host}
        used = [Prefix.host(record.address) for record in self.ipam.addresses()]
        for family in Family:
            self.rib.set_own(
                family,
                [block.packed for block in own if block.family is family],
                [host.packed for host in used if host.family is family],
            )
        self._more = True

    def _announce(self, now: float) -> None:
        if self.sessions.attached:
            deferral = self.sessions.deferral(now)
            self.exports.hold_end_of_rib, self._deferral_ends = deferral.held, deferral.deadline
            self.exports.advance(self.sessions.fresh, now)
            self.sessions.fresh.clear()
            self._more = self._more or self.exports.more
        self.drainer.advance(now, in_sync=self.in_sync)

    # -- the kernel ---------------------------------------------------------------------------------------------

    @property
    def _sweep_limit(self) -> float:
        return self.began_at + max(self.node.cluster.bgp.graceful_restart_time_s, LEAST_RESTART_S)

    @property
    def in_sync(self) -> bool:
        """Whether every configured peer has said all it has, but for those that are stopped."""
        return all(peer.in_sync or peer.stopped for peer in self.peers.values())

    @property
    def _everything_known(self) -> bool:
        """Whether the routes that we want are all that we shall want, as far as anybody can tell."""
        return (
            not self._more
            and self.in_sync
            and self.host.is_known()
            and self.fib.settled
        )

    def _write(self, now: float) -> None:
        self.fail_over.tell()
        known = self.kernel.write(now)
        self._more = self.fail_over.written(now) or self._more
        if not known:
            return
        if self.sweeping or not (self._workloads_known and self.gate.is_open):
            return  # host routes of workloads that are not known yet are never swept, however late it is
        if self._everything_known or now >= self._sweep_limit:
            self.sweeping = True
            self.fib.allow_sweep(True)  # what it makes ready goes with the next write

    def _log(self, component: str, subject: str, code: str, message: str, level: str = "info") -> None:
        self._commands.append(Log(LogView(component, subject, code, message, level)))
