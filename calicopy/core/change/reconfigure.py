"""Another cluster file while the core runs: what each part is told, and which sessions come, stay and go.

Theory of operation. The file is a whole desired set: every part gets what it would have got at the start, and finds
the difference itself. A session whose settings are the same keeps its `Peer` and all that is known of it; one that
changed gets the new settings, and the speaker resets it when it must. What the new file drops lingers (see `linger`) or
goes at once: then the peer is told first that we take everything back, since it may keep our routes over the end of
the session (RFC 4724). After all has settled the core is as if it had begun with the new file.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from calicopy.config.resolve import NodeConfig, SessionConfig
from calicopy.core.commands import Log, ResetPeer
from calicopy.core.peering.peer import Peer
from calicopy.core.setup import configure_fib, node_specs, pool_specs, rib_context
from calicopy.core.views import LogView
from calicopy.policy import LimitAction

if TYPE_CHECKING:
    from calicopy.core.core import Core


def reconfigure(core: Core, node: NodeConfig, now: float) -> None:
    """Run with `node` from now on. It must be ready, and the same node with the same addresses and router id."""
    core.node = node
    core.linger.configure(node)
    context = rib_context(node)
    limits = {key: _limit(peer) for key, peer in core.peers.items()}
    changed, removed = _set_peers(core, node, now)
    core.exports.configure(node, context)
    for key in removed:
        drop_peer(core, key)
    core.rib.set_context(context)
    core.sessions.reinform(changed)
    core.sessions.relimit([key for key in changed if _limit(core.peers[key]) != limits[key]])
    core.limits.reconsider(changed)
    core.ipam.configure(nodes=node_specs(node), pools=pool_specs(node))
    core.blocks.configure(node)
    core.host.configure(node)
    configure_fib(core.fib, node)
    core.gate.expected = frozenset(core.peers)
    core.ipam_changed()
    core.wanted.renew()
    core.bfd.configure(node)


def _limit(peer: Peer) -> tuple[int, LimitAction]:
    return peer.configured.prefix_limit, peer.configured.prefix_limit_action


def _set_peers(core: Core, node: NodeConfig, now: float) -> tuple[list[str], list[str]]:
    """Add and change peers; gives the keys of those whose settings changed, and of those that have to go."""
    wanted = {str(session.address): session for session in node.sessions}
    changed: list[str] = []
    removed: list[str] = []
    for key, peer in core.peers.items():
        session = wanted.get(key)
        if session is not None:
            before = peer.configured
            core.linger.keep(peer, session, now)
            if peer.configured != before:
                changed.append(key)
        elif core.linger.drop(peer, now):
            _say(core, peer, "peer-lingering", core.linger.reason(key))
        else:
            removed.append(key)
    for key, session in wanted.items():
        if key not in core.peers:
            _add_peer(core, key, session, now)
    return changed, removed


def _add_peer(core: Core, key: str, session: SessionConfig, now: float) -> None:
    core.peers[key] = Peer(session, changed_at=now)
    if key in core.wanted.dropped:
        # The speaker may never have been told, so that the session still runs: whatever it is, it begins anew.
        core.emit(ResetPeer(key, "the session was removed and added again"))


def drop_peer(core: Core, key: str) -> None:
    """The session is not wanted any more: its paths go, and so does all that is known of it."""
    peer = core.peers[key]
    core.exports.remove(key, withdraw=peer.is_up and peer.lingering_since is None)
    core.rib.peer_down(key, retain=False)
    core.linger.forget(key)
    core.sessions.forget(key)
    del core.peers[key]
    core.wanted.drop(key)
    core.bfd.configure(core.node)
    _say(core, peer, "peer-removed", f"session with {peer.configured.name} is not wanted any more")


def end_lingering(core: Core, now: float) -> None:
    """Drop the sessions that lingered long enough."""
    gone = core.linger.advance(now)
    for key in gone.dropped:
        drop_peer(core, key)
    core.sessions.reinform(gone.settled)
    core.exports.peers_changed(gone.settled)
    if gone.dropped:
        core.gate.expected = frozenset(core.peers)
    if gone.more or gone.dropped or gone.settled:
        core.look_again()


def _say(core: Core, peer: Peer, code: str, message: str) -> None:
    core.emit(Log(LogView("peer", peer.configured.name, code, message)))
