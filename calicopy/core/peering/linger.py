"""Make before break: sessions with other nodes that the cluster file dropped stay until they are not needed.

Theory of operation. A session with a node of the file that another file drops lingers (`Peer.lingering_since`): it
stays wanted, its paths stay in use, and the peer goes on hearing us. It goes

- when it is down and none of its routes are kept: the peer has closed it;
- when all that it brings is brought by a session that stays, and it is down, or the linger time has passed.

A route reflector that is none any more goes on reflecting until the linger time has passed (`Peer.later` is what the
file says of the session): what its clients have by other ways it cannot know. Both are looked at from the present
state alone; a scan of many prefixes is cut in slices. Nothing here does I/O; `now` is monotonic seconds.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from calicopy.config.resolve import NodeConfig, SessionConfig
from calicopy.core.peering.peer import Peer
from calicopy.net import Family, Packed, Prefix
from calicopy.policy import AdvertiseScope
from calicopy.rib import PathState, Rib

CHECK_S = 1.0  # between two looks for another way
SCAN_SLICE = 300  # prefixes, some milliseconds
_IN_USE = (PathState.BEST, PathState.MULTIPATH, PathState.LOSING)


@dataclass(slots=True)
class _Scan:
    """A look at one lingering peer: what is left of its prefixes, and when to look again."""

    left: list[tuple[Family, Packed]] | None = None
    again_at: float = 0.0
    lacking: Prefix | None = None


@dataclass(slots=True)
class Gone:
    """What `advance` found: keys of sessions to drop, of those whose `later` has come, and whether to go on at once."""

    dropped: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    more: bool = False


def may_linger(peer: Peer, nodes: Collection[str], time_s: float) -> bool:
    """Whether a session that a file with these nodes drops lingers: there is something to keep."""
    return peer.configured.node in nodes and time_s > 0 and (peer.is_up or peer.stale_until is not None)


def kept(peer: Peer, session: SessionConfig, time_s: float) -> SessionConfig:
    """What a file says of a session with a node, with what is reflected to the peer until the linger time has passed.
    """
    if session.node is None or not time_s or not peer.is_up:
        return session
    before = peer.configured
    scope = AdvertiseScope.ALL if before.advertise is AdvertiseScope.ALL else session.advertise
    return replace(session, advertise=scope, client=before.client or session.client)


class Linger:
    """The sessions that linger, out of `peers`."""

    def __init__(self, rib: Rib, peers: Mapping[str, Peer]) -> None:
        self._rib = rib
        self._peers = peers
        self._scans: dict[str, _Scan] = {}
        self._later: set[str] = set()
        self._nodes: frozenset[str] = frozenset()
        self.time_s = 0.0

    def configure(self, node: NodeConfig) -> None:
        """Another file: its linger time counts for all that linger."""
        self.time_s = node.mesh_linger_s
        self._nodes = frozenset(each.name for each in node.nodes)

    def drop(self, peer: Peer, now: float) -> bool:
        """The file has dropped the session: whether it lingers."""
        if not may_linger(peer, self._nodes, self.time_s):
            return False
        if peer.lingering_since is None:
            peer.lingering_since = now
        self._scans.setdefault(peer.key, _Scan())
        return True

    def keep(self, peer: Peer, session: SessionConfig, now: float) -> None:
        """The file has the session, as `session`: what it reflects goes on until the linger time has passed."""
        peer.lingering_since = None
        self._scans.pop(peer.key, None)
        both = kept(peer, session, self.time_s)
        if both == session:
            self._settle(peer, session)
            return
        if peer.later is None:
            peer.later_at = now
        peer.configured, peer.later = both, session
        self._later.add(peer.key)

    def _settle(self, peer: Peer, session: SessionConfig) -> None:
        peer.configured, peer.later = session, None
        self._later.discard(peer.key)

    def forget(self, key: str) -> None:
        """The peer is gone."""
        self._scans.pop(key, None)
        self._later.discard(key)

    def advance(self, now: float) -> Gone:
        """What has come to its end. To be called when nothing that was heard is left undecided."""
        gone = Gone()
        for key in sorted(self._later):
            peer = self._peers[key]
            if peer.later is not None and now >= peer.later_at + self.time_s:
                self._settle(peer, peer.later)
                gone.settled.append(key)
        for key, scan in self._scans.items():
            peer = self._peers[key]
            if not peer.is_up and peer.stale_until is None:
                gone.dropped.append(key)
            elif now >= self._due(peer, scan):
                if self._scan(key, scan, now):
                    gone.dropped.append(key)
                gone.more = gone.more or scan.left is not None
        return gone

    def _due(self, peer: Peer, scan: _Scan) -> float:
        since = peer.lingering_since or 0.0
        return max(scan.again_at, since + self.time_s if peer.is_up else since)

    def _scan(self, key: str, scan: _Scan, now: float) -> bool:
        """Look at a slice of what the peer brings; True when all of it was found to have another way."""
        if scan.left is None:
            scan.left = [(family, prefix) for family in Family for prefix in self._rib.prefixes(family, peer=key)]
        for _ in range(min(SCAN_SLICE, len(scan.left))):
            family, prefix = scan.left.pop()
            if not self._other_way(key, family, prefix):
                scan.left, scan.again_at = None, now + CHECK_S
                scan.lacking = Prefix(family, prefix)
                return False
        if scan.left:
            return False
        scan.left = None
        return True

    def _other_way(self, key: str, family: Family, prefix: Packed) -> bool:
        """Whether a session that stays brings the prefix, or this one brings nothing that is of use."""
        views = self._rib.lookup(family, prefix)
        if any(view.state is PathState.PENDING for view in views):
            return False
        usable = [view for view in views if view.state in _IN_USE]
        if not any(view.path.peer.key == key for view in usable):
            return True
        return any(not view.stale and self._stays(view.path.peer.key) for view in usable)

    def _stays(self, key: str) -> bool:
        peer = self._peers.get(key)
        return peer is not None and peer.is_up and peer.lingering_since is None

    def deadline(self) -> float | None:
        """When something may come to its end."""
        times = [self._peers[key].later_at + self.time_s for key in self._later]
        times += [self._due(self._peers[key], scan) for key, scan in self._scans.items()]
        return min(times, default=None)

    def reason(self, key: str) -> str:
        """Why a session that the file dropped is still there, or still reflects; empty for any other."""
        if key in self._later:
            return f"reflects as before for {self.time_s:g} s (mesh_linger)"
        scan = self._scans.get(key)
        if scan is None:
            return ""
        if scan.lacking is not None:
            return f"lingering: no other way to {scan.lacking} yet"
        return f"lingering: stays for {self.time_s:g} s at least (mesh_linger)"
