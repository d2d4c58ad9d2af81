"""Which BFD sessions the process is asked for.

Theory of operation: one for each BGP peer that is to be watched, lingering ones too, whether its session is up or not:
so it is up before BGP is, and outlives a BGP session that restarts. The peer of a stopped session is told that nobody
watches (AdminDown, RFC 5880 section 6.8.16), since its end is no failure of the path. A drained node goes on watching,
and being watched. The whole set is told when it differs from what was told last, and at the start.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping

from calicopy.config.resolve import NodeConfig, SessionConfig
from calicopy.core.commands import Command, SetBfdSessions
from calicopy.core.peering.limits import PeerLimits
from calicopy.core.peering.peer import Peer
from calicopy.net import IPAddress
from calicopy.seam.bfd import BfdSpec


class WantedBfd:
    """The BFD sessions of `peers`; those that `limits` stopped are held down."""

    def __init__(
        self, peers: Mapping[str, Peer], limits: PeerLimits, *, emit: Callable[[Command], None]
    ) -> None:
        self._peers = peers
        self._limits = limits
        self._emit = emit
        self._told: tuple[BfdSpec, ...] | None = None
        self._stopped: frozenset[str] = frozenset()
        self._stale = True

    def renew(self) -> None:
        """Peers came, went, or are configured otherwise: look at all of them again."""
        self._stale = True

    def advance(self, node: NodeConfig) -> None:
        """Tell the whole set when it is another one."""
        stopped = self._limits.stopped
        if not self._stale and stopped == self._stopped:
            return
        self._stale, self._stopped = False, stopped
        wanted = tuple(
            bfd_spec(peer.configured, node, admin_down=bool(peer.stopped))
            for peer in self._peers.values()
            if peer.configured.bfd is not None
        )
        if wanted != self._told:
            self._told = wanted
            self._emit(SetBfdSessions(wanted))


def watched_next_hops(session: SessionConfig, node: NodeConfig) -> tuple[IPAddress, ...]:
    """What goes out of use with the peer: every address of a node, else its own one. Other next hops that it may
    announce (`next_hops`) are other routers.
    """
    if session.node is not None:
        for other in node.nodes:
            if other.name == session.node:
                return other.addresses
    return (session.address,)


def bfd_spec(session: SessionConfig, node: NodeConfig, *, admin_down: bool) -> BfdSpec:
    """The BFD session of a BGP session, which is to be watched."""
    bfd = session.bfd
    if bfd is None:
        raise ValueError(f"the session with {session.name} has no BFD")
    interval_us = round(bfd.interval_s * 1_000_000)
    return BfdSpec(
        peer=str(session.address),
        local=str(session.local_address),
        hop=bfd.hop,
        min_ttl=bfd.min_ttl,
        desired_min_tx_us=interval_us,
        required_min_rx_us=interval_us,
        detect_mult=bfd.multiplier,
        auth=bfd.auth,
        admin_down=admin_down,
        next_hops=watched_next_hops(session, node),
    )
