"""Whether a new configuration has come up: what is missing of it, one sentence each.

Theory of operation: what counts is compared with a picture from before the change. It has come up when the speaker took
the sessions; every session that was up before, and every new or reset one with a peer that is no node of the file, is
Established and in sync; and the kernel holds what it should, but for what it refused before already. New sessions with
nodes do not count: the other node may not have its file yet. Nor do those that linger.
"""
from __future__ import annotations

from dataclasses import dataclass

from calicopy.config.diff import diff_sessions
from calicopy.config.resolve import NodeConfig
from calicopy.core.core import Core


@dataclass(frozen=True, slots=True)
class Before:
    """The picture: keys of peers that must be up afterwards, whether sessions are reset, how many routes the kernel
    refused, and what the speaker had against the sessions."""

    required: frozenset[str]
    resets: bool
    failed: int
    session_error: str


def picture(core: Core, new: NodeConfig) -> Before:
    """What the core is like before `new` takes the place of what runs."""
    changes = diff_sessions(core.node, new)
    fresh = [*changes.added.values(), *(change.new for change in changes.reset.values())]
    required = {key for key, peer in core.peers.items() if peer.is_up and peer.lingering_since is None}
    required |= {str(session.address) for session in fresh if session.node is None}
    return Before(frozenset(required), bool(changes.reset), core.fib.counts().failed, core.wanted.error)


def refused(core: Core, before: Before) -> str:
    """What the speaker has against the new sessions, but for what it had before; empty for nothing."""
    if core.wanted.refused != core.wanted.serial or core.wanted.error == before.session_error:
        return ""
    return core.wanted.error


def missing(core: Core, before: Before) -> tuple[str, ...]:
    """What has not come up yet; empty when all has."""
    found = []
    if not core.sessions.attached:
        found.append(f"the speaker is not reachable: {core.sessions.detached_reason}")
    elif core.wanted.serial not in (core.wanted.taken, core.wanted.refused):
        found.append("the speaker has not taken the sessions yet")
    for key in sorted(before.required & core.peers.keys()):
        peer = core.peers[key]
        if peer.lingering_since is not None or peer.in_sync:
            continue
        why = "has not told all it has yet" if peer.is_up else peer.failure or "is not up yet"
        found.append(f"session with {peer.configured.name}: {why}")
    counts = core.fib.counts()
    if counts.failed > before.failed:
        found.append(f"the kernel refuses {counts.failed - before.failed} routes more than before")
    if not core.fib.settled or counts.pending > counts.failed:
        found.append("routes are not all written yet")
    found += [f"tunnel {device}: {error}" for device, error in core.host.tunnels.problems().items()]
    return tuple(found)
