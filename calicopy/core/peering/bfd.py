"""What follows from BFD: whose next hops are out of use, since when, and until when (RFC 5882).

Theory of operation. Three cases are told apart, from what the process says now and the count of Downs seen before:

- It was never Up since BGP came up, or either side is AdminDown: ignored. The hold timer decides, as without BFD.
- Up: nothing follows.
- Up, then Down (`BfdState.downs` grew, whatever the state is by now): the peer's next hops are out of use, in the FIB
  at once (`dead`) and in the RIB (`out_of_use`); its BGP session is ended, or the graceful restart that it is in. Only
  a restart of a peer whose BFD falls with its control plane (C bit clear) goes on: RFC 5882 section 4.3.2.

They are back in use when BGP, begun anew, and BFD are both up; after damping, and also when the peer that is back does
no BFD any more: ABSENT_S after BGP came up without a packet. Nothing is ever waited for while nothing fell.

The process takes next hops out of use by itself, and holds them so until told (`AcknowledgeBfd`) that we want the same,
which is when our own write is in the kernel. So every Down is `dead` once, also one that is over by now, or that was
before this agent began: `holding` says so. Marks in the kernel that no Down accounts for SETTLE_S after they were seen
are let go of, and so are those of a process that is gone for ABANDON_S.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from calicopy.config.resolve import NodeConfig
from calicopy.core.commands import AcknowledgeBfd, Command, Log
from calicopy.core.events import BfdSeen
from calicopy.core.peering.bfd_wanted import WantedBfd, watched_next_hops
from calicopy.core.peering.bfd_words import why_down, why_ignored
from calicopy.core.peering.limits import PeerLimits
from calicopy.core.peering.peer import Peer
from calicopy.core.peering.session_events import SessionEvents
from calicopy.core.views import BfdEffect, LogView
from calicopy.net import IPAddress
from calicopy.seam.bfd import BfdState, SessionState

WINDOW_S = 60.0  # in which Downs are counted for damping
DAMP_S = 1.0  # after the second of them, doubled for each further one up to MOST_DAMP_S
MOST_DAMP_S = 30.0
ABSENT_S = 3.0  # how long BGP has to be up without a BFD packet, until a peer that fell counts as one without BFD
ABANDON_S = 5.0  # how long the process may be away until what it holds out of use is let go of
SETTLE_S = 2.0  # in which the process has told of the Down that a mark in the kernel belongs to
REPEAT_S = 5.0  # a session that should end, and has not, is told again


@dataclass(frozen=True, slots=True)
class BfdStanding:
    """`why` it is ignored or out of use, since when, and `until` when if nothing else happens (monotonic seconds; None:
    until something happens).
    """

    effect: BfdEffect
    why: str = ""
    until: float | None = None
    since: float | None = None


@dataclass(slots=True)
class Watch:
    """What is known of one peer's BFD. Times are monotonic seconds.

    `discriminator` is ours, of the session in which `downs` were seen: another one counts anew. `out`: why its next
    hops are out of use, empty while they are not. `taking`: the Down that is not in the kernel yet as our own wish.
    `forgiven`: why the last Down is not held against it.
    """

    next_hops: tuple[IPAddress, ...]
    state: BfdState | None = None
    discriminator: int = 0
    downs: int = 0
    acknowledged: int | None = None
    taking: int | None = None
    out: str = ""
    out_at: float = 0.0
    up_since: float = 0.0
    detection_us: int = 0  # as long as it was Up: what is Down has none
    ended_at: float = 0.0
    forgiven: str = ""
    fell_at: list[float] = field(default_factory=list)

    @property
    def is_admin_down(self) -> bool:
        """Whether either side does not want the session (RFC 5880 section 6.8.16)."""
        down, state = SessionState.ADMIN_DOWN, self.state
        return state is not None and (state.state is down or state.remote_state is down)

    def damping_s(self, now: float) -> float:
        """How long it has to be Up before that counts."""
        count = sum(at > now - WINDOW_S for at in self.fell_at)
        return 0.0 if count < 2 else min(DAMP_S * 2 ** (count - 2), MOST_DAMP_S)


class Bfd:
    """The watches, by peer. `dead` and `out_of_use` are other objects when they are other sets."""

    def __init__(
        self,
        node: NodeConfig,
        peers: Mapping[str, Peer],
        limits: PeerLimits,
        sessions: SessionEvents,
        *,
        emit: Callable[[Command], None],
        now: float,
    ) -> None:
        self._node = node
        self._peers = peers
        self._sessions = sessions
        self._emit = emit
        self._wanted = WantedBfd(peers, limits, emit=emit)
        self._stale = True
        self.watches: dict[str, Watch] = {}
        self._open: dict[str, Watch] = {}  # those that are not as if nothing had been
        self.attached = False
        self.reason = "not attached yet"
        self.dead: frozenset[IPAddress] = frozenset()
        self.out_of_use: frozenset[IPAddress] = frozenset()
        self._away_since: float | None = now  # the process
        self._look_over: float | None = now + SETTLE_S  # not before that do marks in the kernel count no more
        self._letting_go: frozenset[IPAddress] = frozenset()  # of peers that are watched no more

    def configure(self, node: NodeConfig) -> None:
        """Peers came, went, or are configured otherwise."""
        self._node, self._stale = node, True

    def _follow(self, now: float) -> None:
        """Who is watched no more is in use again."""
        if not self._stale:
            return
        self._stale = False
        self._wanted.renew()
        before, self.watches = self.watches, {}
        for key, peer in self._peers.items():
            if peer.configured.bfd is not None:
                watch = self.watches[key] = before.pop(key) if key in before else Watch(())
                watch.next_hops = watched_next_hops(peer.configured, self._node)
        for key, watch in before.items():
            if watch.out or watch.taking is not None or (watch.state is not None and watch.state.holding):
                self._letting_go |= set(watch.next_hops)
            self._open.pop(key, None)
            self.look_over(now)

    # -- what the process says

    def seen(self, event: BfdSeen, now: float) -> None:
        """All sessions as they are now."""
        self._follow(now)
        if self.watches and (event.attached, event.reason) != (self.attached, self.reason):
            text = "attached to the BFD process" if event.attached else f"no BFD process: {event.reason}"
            self._say("", "attached" if event.attached else "detached", text)
        if event.attached and not self.attached:
            self.look_over(now)
        self.attached, self.reason = event.attached, event.reason
        if event.attached:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now
        acknowledged: dict[str, int] = {}
        for key, watch in self.watches.items():
            state = event.states.get(key)
            if state is not watch.state:
                self._look(self._peers[key], watch, state, now)
            if self.attached and state is not None and state.holding and watch.acknowledged == state.downs:
                acknowledged[key] = state.downs  # it did not hear of it
        if acknowledged:
            self._emit(AcknowledgeBfd(acknowledged))
        self.advance(now)

    def _look(self, peer: Peer, watch: Watch, state: BfdState | None, now: float) -> None:
        before, watch.state = watch.state, state
        if state is None:
            return
        if state.state is SessionState.UP:
            watch.detection_us = state.detection_time_us
        if state.state is SessionState.UP and (before is None or before.ups != state.ups or not watch.up_since):
            watch.up_since = min(state.changed_at, now)
        if state.local_discriminator != watch.discriminator:  # the first look, or the process has lost its state
            watch.discriminator, watch.acknowledged = state.local_discriminator, None
            fell = int(state.holding)
            is_over = watch.is_admin_down or state.state is SessionState.UP
        else:
            fell, is_over = state.downs - watch.downs, watch.is_admin_down
        watch.downs = state.downs
        if fell:
            watch.taking = state.downs
            self._open[peer.key] = watch
            watch.fell_at = [*(at for at in watch.fell_at if at > now - WINDOW_S), *[now] * min(fell, 10)]
            if not is_over:
                self._fell(peer, watch, state, now)
        elif watch.state is not None and before is not None and before.state is not state.state:
            self._moved(peer, watch, state)

    def _fell(self, peer: Peer, watch: Watch, state: BfdState, now: float) -> None:
        name, why = peer.configured.name, why_down(state, watch.detection_us or state.detection_time_us)
        watch.forgiven = ""
        if peer.stale_until is not None and not peer.is_up and not state.remote_independent:
            watch.forgiven = "its BFD falls when it restarts (C bit clear), and it does: its routes are kept"
            self._say(name, "peer-bfd-down", f"BFD with {name} is down: {why}; {watch.forgiven} (RFC 5882 4.3.2)")
            return
        watch.out, watch.out_at, watch.ended_at = f"BFD: {why}", now, now
        addresses = ", ".join(map(str, watch.next_hops))
        self._say(name, "peer-bfd-down", f"BFD with {name} is down: {why}; out of use: {addresses}")
        self._sessions.bfd_down(peer, watch.out)

    def _moved(self, peer: Peer, watch: Watch, state: BfdState) -> None:
        name = peer.configured.name
        if state.state is SessionState.UP:
            watch.forgiven = ""
            self._emit(Log(LogView("peer", name, "peer-bfd-up", f"BFD with {name} is up")))
        elif watch.is_admin_down and not watch.out:
            text = f"BFD with {name} is administratively down, and watches nothing"
            self._emit(Log(LogView("peer", name, "peer-bfd-admin-down", text)))

    # -- time

    def advance(self, now: float) -> None:
        """Bring back what is to be in use again; ask for the sessions that are wanted."""
        self._follow(now)
        self._wanted.advance(self._node)
        for key, watch in self._open.items():
            if not watch.out:
                continue
            peer = self._peers[key]
            back = self._back_at(peer, watch, now)
            if back is not None and now >= back:
                name = peer.configured.name
                up = watch.state is not None and watch.state.state is SessionState.UP and self.attached
                how = "is up" if up else "is not done there any more"
                self._say(name, "peer-bfd-back", f"{name} is in use again: its session is up, and BFD {how}")
                watch.out = ""
            elif peer.is_up and (now >= watch.ended_at + REPEAT_S if peer.ends_for_bfd else peer.adopted):
                watch.ended_at = now
                self._sessions.bfd_down(peer, watch.out)
        self._collect(now)

    def _back_at(self, peer: Peer, watch: Watch, now: float) -> float | None:
        """When the next hops are in use again, if nothing else happens; None: not by itself."""
        state = watch.state
        if self.attached and watch.is_admin_down:
            return now
        if not peer.is_up or peer.ends_for_bfd:
            return None
        if self.attached and state is not None:
            if state.state is SessionState.UP:
                return watch.up_since + watch.damping_s(watch.out_at)
            if state.heard:
                return None
        return peer.changed_at + ABSENT_S

    def deadline(self, now: float) -> float | None:
        """When something becomes due."""
        times = [self._look_over_at()]
        for key, watch in self._open.items():
            if watch.out and (peer := self._peers.get(key)) is not None:
                times += [self._back_at(peer, watch, now), watch.ended_at + REPEAT_S if peer.ends_for_bfd else None]
        return min((time for time in times if time is not None), default=None)

    # -- the kernel

    def written(self, now: float) -> bool:
        """What is `dead` is so in the kernel: the process may let go of it. Whether another set is dead now."""
        taken = {key: downs for key, watch in self._open.items() if (downs := watch.taking) is not None}
        if not taken and not self._letting_go:
            return False
        self._letting_go = frozenset()
        for key, downs in taken.items():
            self._open[key].taking, self._open[key].acknowledged = None, downs
        if taken:
            self._emit(AcknowledgeBfd(taken))
        before = self.dead
        self._collect(now)
        return self.dead is not before

    def _look_over_at(self) -> float | None:
        """When the marks that are in the kernel count no more."""
        if self._look_over is None or any(watch.taking is not None for watch in self._open.values()):
            return None
        away = self._away_since
        return self._look_over if away is None or not self.watches else max(self._look_over, away + ABANDON_S)

    def abandons(self, now: float) -> bool:
        """Whether marks of holds that are in the kernel count no more: every Down that the process told of is taken, or
        it is away for long, or nobody is watched.
        """
        at = self._look_over_at()
        if at is None or now < at:
            return False
        self._look_over = None
        return True

    def look_over(self, now: float) -> None:
        """There may be marks in the kernel that nobody accounts for. Whose Down is on its way to us is known soon."""
        self._look_over = now + SETTLE_S

    def _collect(self, now: float) -> None:
        for key in [key for key, watch in self._open.items() if not watch.out and watch.taking is None]:
            del self._open[key]
            self.look_over(now)
        out = {one for watch in self._open.values() if watch.out for one in watch.next_hops}
        dead = self._letting_go.union(*(watch.next_hops for watch in self._open.values()))
        if out != self.out_of_use:
            self.out_of_use = frozenset(out)
        if dead != self.dead:
            self.dead = dead

    def why(self, next_hop: IPAddress) -> str:
        """Why a next hop is out of use; empty when it is not."""
        return next((one.out for one in self._open.values() if one.out and next_hop in one.next_hops), "")

    def is_out(self, key: str) -> bool:
        """Whether the peer's next hops are out of use."""
        return key in self._open and bool(self._open[key].out)

    def standing(self, key: str, now: float) -> BfdStanding:
        """What the peer's BFD means for it now."""
        watch = self.watches.get(key)
        if watch is None:
            return BfdStanding(BfdEffect.OFF)
        if watch.out:
            back = self._back_at(self._peers[key], watch, now)
            state = watch.state
            is_up = self.attached and state is not None and state.state is SessionState.UP
            return BfdStanding(BfdEffect.DAMPED if is_up and back else BfdEffect.DOWN, watch.out, back, watch.out_at)
        if not self.attached:
            return BfdStanding(BfdEffect.IGNORED, f"no BFD process: {self.reason}")
        if watch.state is None:
            return BfdStanding(BfdEffect.IGNORED, "not begun yet")
        if watch.state.state is SessionState.UP:
            return BfdStanding(BfdEffect.UP)
        return BfdStanding(BfdEffect.IGNORED, watch.forgiven or why_ignored(watch.state))

    def _say(self, name: str, code: str, message: str) -> None:
        level = "info" if code in ("peer-bfd-back", "attached") else "warning"
        self._emit(Log(LogView("peer" if name else "bfd", name, code, message, level)))
