"""What each peer should hear of us, what it was told, and when End-of-RIB goes out.

Theory of operation: the whole set of prefixes to announce is known (`set_prefixes`); per peer that is up the
Adj-RIB-Out knows what was handed to the speaker, and the difference goes out, announcements before withdrawals. On a
new session nothing was heard: everything is announced, then End-of-RIB for every negotiated family, at once: a claim
that is still pending does not hold it. When a hand-over failed, nobody knows what the peer heard: all announcements,
all withdrawals and End-of-RIB go out again, which does no harm. So withdrawn prefixes are remembered as long as the
speaker lives.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from calicopy.bgp import AttributeCode, attribute_list
from calicopy.bgp.communities import GRACEFUL_SHUTDOWN
from calicopy.config.resolve import NodeConfig
from calicopy.core.commands import Advertise, Command, SendEndOfRib
from calicopy.core.drain import DrainPhase
from calicopy.core.events import AdvertiseFailed
from calicopy.core.peers import Peer
from calicopy.net import Family, IPAddress, Packed, Prefix, format_packed
from calicopy.rib import AdjRibOut, OutAttributes, OutBatch, PeerInfo, RibContext, export_own
from calicopy.seam.speaker import AnnounceGroup

RETRY_S = 1.0


class Exports:
    """The Adj-RIBs-Out of this node. `prefixes` is what it announces to everybody."""

    def __init__(
        self, node: NodeConfig, context: RibContext, peers: dict[str, Peer], *, emit: Callable[[Command], None]
    ) -> None:
        self._node = node
        self._context = context
        self._peers = peers
        self._emit = emit
        self.out = AdjRibOut()
        self._drain = DrainPhase.ACTIVE
        self.more = False  # whether `advance` has more to do at once
        self.prefixes: frozenset[Prefix] = frozenset()
        self._gone: dict[str, set[Prefix]] = {}  # to withdraw, also where the session is down now
        self._withdrawn: dict[str, set[Prefix]] = {}  # withdrawals that were handed over
        self._stirred: set[str] = set()  # peers that may have something to hear
        self._retry_at: dict[str, float] = {}
        self.hold_end_of_rib: frozenset[str] = frozenset()
        """Peers that must not get End-of-RIB yet."""

    def configure(self, node: NodeConfig, context: RibContext) -> None:
        """Another cluster file: everything is computed anew, and what differs goes out."""
        self._node, self._context = node, context
        self.peers_changed(list(self._peers))

    def peers_changed(self, keys: Iterable[str]) -> None:
        """These peers are configured otherwise: compute anew what they hear."""
        for key in keys:
            self._want(self._peers[key])

    def remove(self, key: str, *, withdraw: bool) -> None:
        """The peer goes. `withdraw`: it is told first that nothing of ours holds any more."""
        if withdraw:
            self.withdraw_all(key)
        self.out.remove(key)
        self._retry_at.pop(key, None)
        self._gone.pop(key, None)
        self._withdrawn.pop(key, None)
        self._stirred.discard(key)

    def set_prefixes(self, prefixes: frozenset[Prefix]) -> None:
        """The whole set that this node announces from now on."""
        if prefixes == self.prefixes:
            return
        gone = self.prefixes - prefixes
        self.prefixes = prefixes
        for key, peer in self._peers.items():
            self._withdraw(key, gone)
            self._want(peer)

    @property
    def drain(self) -> DrainPhase:
        """Whether the node is taken out of service, and how far."""
        return self._drain

    @drain.setter
    def drain(self, phase: DrainPhase) -> None:
        if phase is not self._drain:
            self._drain = phase
            for peer in self._peers.values():
                self._want(peer)

    def announced_learned(self) -> frozenset[tuple[Family, Packed]]:
        """What was learned and is announced on to any peer."""
        return frozenset()

    def _withdraw(self, key: str, prefixes: Iterable[Prefix]) -> None:
        """Have the peer told that these are gone, but for those that are announced again."""
        gone = self._gone.setdefault(key, set())
        gone.update(prefixes)
        if self._drain is not DrainPhase.DRAINED:
            gone -= self.prefixes
        self._stirred.add(key)

    def speaker_changed(self) -> None:
        """Another ExaBGP process: it holds no announcement of ours."""
        for key in self._peers:
            self.out.reset(key)
        self._gone.clear()
        self._withdrawn.clear()

    def failed(self, event: AdvertiseFailed, now: float) -> None:
        """Nobody knows what the peer was told: tell it all again, after a pause."""
        if event.peer in self._peers:
            self._retry_at[event.peer] = now + RETRY_S

    def deadline(self) -> float | None:
        """When something that failed is tried again."""
        return min(self._retry_at.values(), default=None)

    def announced_before(self, peer: str, family: Family, routes: Iterable[tuple[int, Packed]]) -> None:
        """What an agent before us announced on a session that is still up: withdrawn unless it is wanted."""
        if peer in self._peers:
            self._withdraw(peer, (Prefix(family, packed) for _, packed in routes))

    def advance(self, fresh: Iterable[str], now: float) -> None:
        """Tell every peer that is up what it has not heard; `fresh` are those whose session is new to us."""
        due = [key for key, at in self._retry_at.items() if now >= at]
        for key in due:
            del self._retry_at[key]
            for sync in self._peers[key].families.values():
                sync.end_of_rib_sent = False
            self._withdraw(key, self._withdrawn.pop(key, ()))
        for key in (*due, *fresh):
            self.out.reset(key)
            self._want(self._peers[key])
        for key in sorted(self._stirred):
            if self._peers[key].is_up:
                self._tell(self._peers[key])
        self._stirred.clear()
        for key, peer in self._peers.items():
            if peer.is_up and key not in self.hold_end_of_rib:
                self._end_of_rib(peer)

    def withdraw_all(self, key: str) -> None:
        """Tell a peer that is up that all is gone: its session is given up, and it ends without a NOTIFICATION."""
        for family in sorted(self._peers[key].families):
            told = self.out.told(key, family)
            if told:
                self._emit(Advertise(key, family, (), tuple(sorted(told))))
        self.out.reset(key)
        self._stirred.discard(key)

    def _want(self, peer: Peer) -> None:
        """Compute what `peer` should hear. What depends on its OPEN is not needed for our own prefixes."""
        session = peer.configured
        info = PeerInfo(
            key=peer.key,
            name=session.name,
            address=session.address,
            asn=session.asn,
            local_asn=session.local_asn,
            router_id=0,
            node=session.node,
        )
        for family in session.families:
            next_hop = self._next_hop(peer, family)
            packed = [prefix.packed for prefix in self.prefixes if prefix.family is family]
            exported = export_own(self._context, info, next_hop=next_hop, prefixes=packed) if next_hop else {}
            exported = self._drained(exported, ibgp=info.ibgp)
            self.out.set(peer.key, family, exported)
        self._stirred.add(peer.key)

    def _drained(self, exported: dict[Packed, OutAttributes], *, ibgp: bool) -> dict[Packed, OutAttributes]:
        if self._drain is DrainPhase.ACTIVE:
            return exported
        if self._drain is DrainPhase.DRAINED:
            return {}
        return {
            packed: replace(told, attributes=replace(
                told.attributes, communities=(GRACEFUL_SHUTDOWN,), local_pref=0 if ibgp else told.attributes.local_pref
            ))
            for packed, told in exported.items()
        }  # fmt: skip

    def _next_hop(self, peer: Peer, family: Family) -> IPAddress | None:
        """Our end of the session, or our address of the other family; without one nothing can be announced in it."""
        version = 4 if family is Family.IPV4 else 6
        ours = (peer.configured.local_address, *self._node.addresses)
        return next((address for address in ours if address.version == version), None)

    def _tell(self, peer: Peer) -> None:
        """Hand over what the peer has not heard."""
        delta = self.out.delta(peer.key)
        gone = self._gone.pop(peer.key, set())
        withdrawn = self._withdrawn.setdefault(peer.key, set())
        for family in sorted(peer.families):
            announce = tuple(self._group(peer, batch) for batch in delta.announce if batch.family is family)
            withdraw = {packed for batch in delta.withdraw if batch.family is family for packed in batch.prefixes}
            withdraw |= {prefix.packed for prefix in gone if prefix.family is family}
            withdrawn.update(Prefix(family, packed) for packed in withdraw)
            if announce or withdraw:
                self._emit(Advertise(peer.key, family, announce, tuple(sorted(withdraw))))
        self.out.confirm(peer.key, delta)

    def _end_of_rib(self, peer: Peer) -> None:
        for sync in peer.families.values():
            if not sync.end_of_rib_sent:
                sync.end_of_rib_sent = True
                self._emit(SendEndOfRib(peer.key, sync.family))

    def _group(self, peer: Peer, batch: OutBatch) -> AnnounceGroup:
        """AS_PATH in four octets always: the speaker writes two where the peer is that old."""
        if batch.attributes is None or peer.negotiated is None:
            raise ValueError("only an announcement to a peer that is up has attributes")
        return AnnounceGroup(
            family=batch.family,
            next_hop=str(batch.attributes.next_hop),
            attributes=tuple(
                one
                for one in attribute_list(batch.attributes.attributes, replace(peer.negotiated.send, asn4=True))
                if one.code != AttributeCode.NEXT_HOP
            ),
            prefixes=tuple(format_packed(packed, batch.family) for packed in batch.prefixes),
        )
