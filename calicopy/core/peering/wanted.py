"""Which sessions the speaker is asked for, and whether it took them.

Theory of operation: the whole set follows from the peers; it is told when it differs from what was told last, or when
somebody says so (a key in a file may be another). Each telling has a serial, which comes back with the answer.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from calicopy.config.resolve import NodeConfig
from calicopy.core.commands import Command, Log, ResetPeer, SetSessions
from calicopy.core.events import SessionsSet
from calicopy.core.host import Host
from calicopy.core.peering.limits import PeerLimits
from calicopy.core.peering.peer import Peer
from calicopy.core.peering.session_spec import session_spec
from calicopy.core.views import LogView
from calicopy.seam.speaker import SessionSpec


class WantedSessions:
    """The sessions of `peers`, without those that `limits` stopped.

    `serial` is that of the last telling, `taken` and `refused` those of the last that the speaker took, or did not take
    whole (then `error` says why). `dropped`: peers that went, with the serial of the telling without them.
    """

    def __init__(
        self, peers: Mapping[str, Peer], limits: PeerLimits, host: Host, *, emit: Callable[[Command], None]
    ) -> None:
        self._peers = peers
        self._limits = limits
        self._host = host
        self._emit = emit
        self._told: tuple[SessionSpec, ...] | None = None
        self._running: tuple[SessionSpec, ...] = ()  # what the speaker has, once it took what it was told
        self._taken: tuple[SessionSpec, ...] = ()  # the last of these that it took for certain
        self._left_out: frozenset[str] = frozenset()
        self._waiting: frozenset[str] = frozenset(peers)  # not told yet: our address of that session is on no interface
        self._cold = True
        self._stale = False
        self.serial = self.taken = self.refused = 0
        self.error = ""
        self.dropped: dict[str, int] = {}

    def renew(self) -> None:
        """Tell the whole set, also when it is the same."""
        self._stale = True

    def drop(self, key: str) -> None:
        """The peer went: the next telling is without it."""
        self.dropped[key] = self.serial + 1
        self._stale = True

    def answered(self, event: SessionsSet) -> None:
        """The speaker took them, or says why not."""
        if event.error and event.error != self.error:
            self._emit(Log(LogView("speaker", "", "sessions-refused", event.error, "error")))
        self.error = event.error
        if event.error:
            self.refused = event.serial
            if event.unchanged and event.serial == self.serial:
                self._not_taken()
        else:
            self.taken = event.serial
            if event.serial == self.serial:
                self._taken = self._running
            self.dropped = {key: serial for key, serial in self.dropped.items() if serial > event.serial}

    def _not_taken(self) -> None:
        """The speaker has what it had, and ends no session for the new settings."""
        self._running = self._taken
        for peer in self._peers.values():
            peer.reset_coming = False

    def retry(self) -> None:
        """Tell what the speaker did not take once more: what was in the way may be gone."""
        if self.error and self._told is not None:
            self._emit(SetSessions(self._told, self.serial))

    def _note_left_out(self, left_out: frozenset[str]) -> None:
        """Peers that are left out go, as far as the speaker is concerned. One that comes back before the speaker took
        that may have a session still: whatever it is, it begins anew."""
        self.dropped.update(dict.fromkeys(left_out - self._left_out, self.serial + 1))
        for key in (self._left_out - left_out) & self._peers.keys() & self.dropped.keys():
            self._emit(ResetPeer(key, "the session was stopped and is wanted again"))
        self._left_out = left_out

    def advance(self, node: NodeConfig) -> None:
        """Once our address is on an interface, and we know whether the kernel kept our routes.

        The F bit of the first session says so (RFC 4724 section 3); as soon as one was up the kernel has what we tell.
        A family whose address is missing holds up the sessions over it, and no others.
        """
        waiting = frozenset(key for key in self._waiting & self._peers.keys() if not self._can_begin(key, node))
        if self._told is None and self._peers.keys() <= waiting and not self._host.has_addresses(node.addresses):
            return
        cold = self._cold and not self._host.had_routes and not any(peer.is_up for peer in self._peers.values())
        left_out = self._limits.stopped
        same = self._told is not None and cold is self._cold and left_out == self._left_out
        same = same and waiting == self._waiting
        if same and not self._stale:
            return
        self._note_left_out(left_out)
        self._cold, self._stale, self._waiting = cold, False, waiting
        before = {spec.peer_address: spec for spec in self._running}
        self._told = self._running = tuple(
            session_spec(peer.configured, node, restarted_without_state=cold)
            for key, peer in self._peers.items()
            if key not in left_out and key not in waiting
        )
        for spec in self._told:
            old, peer = before.get(spec.peer_address), self._peers[spec.peer_address]
            if old is not None and peer.is_up and _needs_reset(old, spec):
                peer.reset_coming = True
        self.serial += 1
        self._emit(SetSessions(self._told, self.serial))

    def _can_begin(self, key: str, node: NodeConfig) -> bool:
        address = self._peers[key].configured.local_address
        return address not in node.addresses or self._host.has_addresses((address,))


def _needs_reset(old: SessionSpec, new: SessionSpec) -> bool:
    """Whether the speaker ends the session for the difference (see SessionSpec)."""
    return new != replace(
        old,
        name=new.name,
        description=new.description,
        keepalive_s=new.keepalive_s,
        restarted_without_state=new.restarted_without_state,
    )
