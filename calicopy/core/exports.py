"""What each peer should hear of us, what it was told, and when End-of-RIB goes out.

Theory of operation: `AdjRibOut` knows what peers hear, update group by update group; here it learns of sessions, own
prefixes and decisions, and what it finds goes to the speaker, announcements before withdrawals, in slices. On a new
session nothing was heard: everything is announced, then what an earlier session may have left is withdrawn, then comes
End-of-RIB, family by family. A claim that is still pending does not hold it; `hold_end_of_rib` does, for peers that
hear what we learn ourselves. When a hand-over failed, nobody knows what the peer heard: all announcements, all
withdrawals and End-of-RIB go out again, which does no harm.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from calicopy.bgp import LargeCommunity, PathAttributes, RawAttribute, SessionOptions, attribute_list
from calicopy.config.resolve import NodeConfig
from calicopy.core.commands import Advertise, Command, SendEndOfRib
from calicopy.core.drain_state import DrainPhase
from calicopy.core.events import AdvertiseFailed
from calicopy.core.peering.graceful import DEFERRAL_S
from calicopy.core.peering.peer import Peer
from calicopy.net import Family, IPAddress, Packed, Prefix, format_packed
from calicopy.policy import AdvertiseScope, Chain, Filter
from calicopy.rib import (
    AdjRibOut,
    Decisions,
    ExportReason,
    ExportTarget,
    OutAttributes,
    OutBatch,
    OutDelta,
    OutPeer,
    OwnCommunities,
    Rib,
    RibContext,
    tunnel_community,
)
from calicopy.seam.speaker import AnnounceGroup, WithdrawGroup

RETRY_S = 1.0
SLICE = 1000  # prefixes a call, counted once for each update group
FINISH_SLICE = 250  # for what comes last, however much there is to announce
ENCODED_SETS = 4096
AGE_S = 300.0  # what was withdrawn is remembered so long at least: a hand-over that fails is noticed earlier


class Exports:
    """The Adj-RIBs-Out of this node. `prefixes` is what it announces to everybody.

    `hold_end_of_rib`: keys of peers that must not get End-of-RIB yet, since what they are to hear is not known. What an
    agent before us announced to them is not withdrawn before either.
    """

    def __init__(self, node: NodeConfig, rib: Rib, peers: dict[str, Peer], *, emit: Callable[[Command], None]) -> None:
        self._node = node
        self._context = rib.context
        self._peers = peers
        self._emit = emit
        self._drain = DrainPhase.ACTIVE
        self._chains: dict[tuple[int, ...], tuple[tuple[Filter, ...], Chain]] = {}
        self._encoded: dict[PathAttributes, tuple[RawAttribute, ...]] = {}
        self._unfinished: dict[tuple[str, Family], None] = {}
        self._undecided = False
        self._up: set[str] = set()  # peers that `out` knows a session of
        self._retry_at: dict[str, float] = {}
        self._age_at = 0.0
        self.out = AdjRibOut(rib)
        self.prefixes: frozenset[Prefix] = frozenset()
        self._tunnels: frozenset[IPAddress] = frozenset()
        self.hold_end_of_rib: frozenset[str] = frozenset()
        self.more = False  # whether `advance` has more to do at once

    # -- what is announced

    def set_prefixes(self, prefixes: frozenset[Prefix], tunnels: frozenset[IPAddress] = frozenset()) -> None:
        """The whole set that this node announces from now on. `tunnels`: addresses of its tunnel devices, which the
        blocks that hold them name, so that others can ask whether they answer.
        """
        if (prefixes, tunnels) != (self.prefixes, self._tunnels):
            self.prefixes, self._tunnels = prefixes, tunnels
            self._set_own()

    def _set_own(self) -> None:
        for family in Family:
            own = {prefix.packed: self._communities(prefix) for prefix in self.prefixes if prefix.family is family}
            self.out.set_own(family, own)

    def _communities(self, prefix: Prefix) -> OwnCommunities:
        """What the file says that the prefix carries; of several entries that hold it, all."""
        entries = [entry for entry in self._node.communities if prefix in entry[0]]
        return OwnCommunities(
            tuple(dict.fromkeys(one for _, plain, _ in entries for one in plain)),
            (*self._named(prefix), *dict.fromkeys(one for _, _, large in entries for one in large)),
        )

    def _named(self, prefix: Prefix) -> list[LargeCommunity]:
        """The tunnel addresses that lie in a block of ours."""
        places = (int(address) - prefix.first for address in self._tunnels if Prefix.host(address) in prefix)
        return [tunnel_community(self._context, place) for place in sorted(places) if place < 1 << 32]

    def decided(self, decisions: Decisions) -> None:
        """The RIB came to other outcomes, and may come to more."""
        self._undecided = decisions.more
        if decisions.judged:
            self.out.judged(decisions.judged)

    @property
    def drain(self) -> DrainPhase:
        """How far this node is out of service."""
        return self._drain

    @drain.setter
    def drain(self, phase: DrainPhase) -> None:
        self._drain = phase
        self._set_policy()

    def configure(self, node: NodeConfig, context: RibContext) -> None:
        """Another cluster file. Peers that stay have their `Peer.configured` replaced before."""
        self._node, self._context = node, context
        self._set_policy()
        self._set_own()
        self.peers_changed(self._peers)
        used = {id(target.chain) for target in self.out.targets()}
        self._chains = {key: entry for key, entry in self._chains.items() if id(entry[1]) in used}

    def peers_changed(self, keys: Iterable[str]) -> None:
        """These peers are configured otherwise: those that are up are told what differs. One whose AS, or ours, is
        another hears it in its next session: this one ends, and what it hears until then is for this one.
        """
        up = [self._peers[key] for key in keys if key in self._up and self._peers[key].is_up]
        up = [peer for peer in up if not self._is_of_other_ases(peer)]
        self.out.move({self._out_peer(peer): tuple(self._targets(peer)) for peer in up})
        self._unfinished.update(((peer.key, family), None) for peer in up for family in peer.families)

    def _is_of_other_ases(self, peer: Peer) -> bool:
        """Whether the session that is up is between other ASes than the one that is configured."""
        now = [target for family in peer.families if (target := self.out.target(peer.key, family)) is not None]
        wanted = peer.configured.ibgp, peer.configured.local_asn
        return any((target.ibgp, target.local_asn) != wanted for target in now)

    def remove(self, key: str, *, withdraw: bool) -> None:
        """The peer goes. `withdraw`: it is told first that nothing of ours holds any more."""
        if withdraw:
            self.withdraw_all(key)
        self.out.remove(key)
        self._up.discard(key)
        self._retry_at.pop(key, None)

    def withdraw_all(self, key: str) -> None:
        """Tell a peer that is up that all is gone: its session is stopped, and it ends without a NOTIFICATION."""
        for family in Family:
            for delta in self.out.withdraw_all(key, family):
                self._hand_over(delta)
        self.out.remove(key)
        self._up.discard(key)

    def announced_learned(self) -> list[tuple[Family, list[Packed]]]:
        """Snapshots of what is announced to those that hear what we learn; a prefix may be in several."""
        return self.out.learned()

    def desired(self, key: str, family: Family) -> dict[Packed, tuple[OutAttributes, ...]]:
        """What the peer hears when all is told, the paths of each prefix; what is not negotiated yet is taken to be
        as it is configured.
        """
        target = self.target(key, family)
        return {} if target is None else self.out.desired(target, self._out_peer(self._peers[key]))

    def refusal(self, key: str, prefix: Prefix) -> ExportReason | None:
        """Why a peer does not hear a prefix that is ours, or selected; None: it does when all is told."""
        target = self.target(key, prefix.family)
        if target is None:
            return None
        return self.out.refusal(target, self._out_peer(self._peers[key]), prefix.packed)

    def target(self, key: str, family: Family) -> ExportTarget | None:
        """What decides on what the peer hears in a family; peers of one target hear the same. None: it hears nothing.
        """
        peer = self._peers.get(key)
        if peer is None:
            return None
        families = peer.families if peer.is_up else peer.configured.families
        return self._target(peer, family) if family in families else None

    def _set_policy(self) -> None:
        self.out.set_policy(
            self._context,
            draining=self._drain is DrainPhase.DRAINING,
            silent=self._drain is DrainPhase.DRAINED,
        )

    # -- sessions

    def speaker_changed(self) -> None:
        """Another ExaBGP process: it holds no announcement of ours."""
        self.out.reset()
        self._up.clear()
        self._unfinished.clear()
        self._retry_at.clear()

    def failed(self, event: AdvertiseFailed, now: float) -> None:
        """Nobody knows what the peers were told: tell them all again, after a pause."""
        for key in event.peers:
            if key in self._peers:
                self._retry_at[key] = now + RETRY_S

    def deadline(self) -> float | None:
        """When something that failed is tried again."""
        return min(self._retry_at.values(), default=None)

    def announced_before(self, peer: str, family: Family, routes: Iterable[tuple[int, Packed]]) -> None:
        """What an agent before us announced on a session that is still up, as (path id, prefix): withdrawn unless it
        is wanted.
        """
        if peer in self._peers:
            self.out.announced_before(peer, family, routes)
            self._unfinished[peer, family] = None

    def advance(self, fresh: Iterable[str], now: float) -> None:
        """Tell every peer that is up what it has not heard; `fresh` are those whose session is new to us."""
        for key in [key for key in self._up if key not in self._peers or not self._peers[key].is_up]:
            self._up.discard(key)
            self.out.leave(key)
        for key in [key for key in self._retry_at if key not in self._up]:
            del self._retry_at[key]
        due = [key for key, at in self._retry_at.items() if now >= at]
        for key in due:
            del self._retry_at[key]
            for sync in self._peers[key].families.values():
                sync.end_of_rib_sent = False
        for key in dict.fromkeys((*due, *fresh)):
            self._join(self._peers[key])
        if now >= self._age_at:
            self._age_at = now + AGE_S
            self.out.age()
        left = self._tell(SLICE)
        left = self._finish(max(left, FINISH_SLICE), now)
        self.more = self.out.pending or left <= 0

    def _join(self, peer: Peer) -> None:
        if not peer.is_up:
            return
        self._up.add(peer.key)
        self.out.join(self._out_peer(peer), self._targets(peer))
        self._unfinished.update(((peer.key, family), None) for family in peer.families)

    @staticmethod
    def _out_peer(peer: Peer) -> OutPeer:
        router_id = 0 if peer.opened is None else int(peer.opened.router_id)
        return OutPeer(peer.key, peer.configured.address, router_id)

    def _targets(self, peer: Peer) -> Iterator[ExportTarget]:
        """What the peer hears, family by family; nothing in one in which we have no address."""
        for family in sorted(peer.families):
            target = self._target(peer, family)
            if target is not None:
                yield target

    def _target(self, peer: Peer, family: Family) -> ExportTarget | None:
        session, negotiated = peer.configured, peer.negotiated
        next_hop = self._next_hop(peer, family)
        if next_hop is None:
            return None
        return ExportTarget(
            family=family,
            ibgp=session.ibgp,
            local_asn=session.local_asn,
            next_hop=next_hop,
            chain=self._chain(session.export_filters),
            mesh=session.mesh,
            client=session.client,
            scope=session.advertise,
            next_hop_mode=session.next_hop,
            add_path=session.add_path if negotiated is None else family in negotiated.add_path_send,
            extended_message=negotiated is None or negotiated.extended_message,
        )

    def _chain(self, filters: tuple[Filter, ...]) -> Chain:
        """The one chain of equal filters. Sessions share their filters' objects, so that few are compared at length; an
        entry holds on to them, which keeps their ids theirs.
        """
        key = tuple(map(id, filters))
        found = self._chains.get(key)
        if found is None:
            equal = (chain for _, chain in self._chains.values() if chain.filters == filters)
            found = self._chains[key] = (filters, next(equal, None) or Chain(filters))
        return found[1]

    def _next_hop(self, peer: Peer, family: Family) -> IPAddress | None:
        """Our end of the session, or our address of the other family; without one nothing can be announced in it."""
        version = 4 if family is Family.IPV4 else 6
        ours = (peer.configured.local_address, *self._node.addresses)
        return next((address for address in ours if address.version == version), None)

    # -- telling

    def _tell(self, left: int) -> int:
        deltas, left = self.out.advance(left)
        for delta in deltas:
            self._hand_over(delta)
        return left

    def _waits(self, peer: Peer, now: float) -> bool:
        """Whether it is not known yet what the peer is to hear: heard, perhaps, but not decided."""
        if peer.key in self.hold_end_of_rib:
            return True
        learns = peer.configured.advertise is AdvertiseScope.ALL
        return learns and self._undecided and now < peer.changed_at + DEFERRAL_S

    def _finish(self, left: int, now: float) -> int:
        """What comes last: withdrawals of what earlier sessions left, and End-of-RIB."""
        for key, family in list(self._unfinished):
            peer = self._peers.get(key)
            sync = None if peer is None else peer.families.get(family)
            if peer is None or sync is None:
                del self._unfinished[key, family]
                continue
            if self._waits(peer, now):
                self.out.hold(key, family)
                continue
            if left <= 0:
                continue
            deltas, left, done = self.out.finish(key, family, left)
            for delta in deltas:
                self._hand_over(delta)
            if done or self._target(peer, family) is None:  # nothing is to be told: the mark is owed all the same
                del self._unfinished[key, family]
                if not sync.end_of_rib_sent:
                    sync.end_of_rib_sent = True
                    self._emit(SendEndOfRib(key, family))
        return left

    def _hand_over(self, delta: OutDelta) -> None:
        family = delta.family
        announce = tuple(self._group(delta, batch) for batch in delta.announce)
        withdraw = tuple(
            WithdrawGroup(family=family, path_id=batch.path_id, prefixes=_texts(family, sorted(batch.prefixes)))
            for batch in delta.withdraw
        )
        self._emit(Advertise(delta.peers, family, announce, withdraw))

    def _group(self, delta: OutDelta, batch: OutBatch) -> AnnounceGroup:
        """AS_PATH in four octets always: the speaker writes two where the peer is that old."""
        if batch.attributes is None:
            raise ValueError("an announcement has attributes")
        return AnnounceGroup(
            family=delta.family,
            next_hop=str(batch.attributes.next_hop),
            path_id=batch.path_id,
            attributes=self._attributes(batch.attributes.attributes),
            prefixes=_texts(delta.family, batch.prefixes),
        )

    def _attributes(self, attributes: PathAttributes) -> tuple[RawAttribute, ...]:
        """All of them: what another AS must not hear the exporter has left out."""
        found = self._encoded.get(attributes)
        if found is None:
            if len(self._encoded) >= ENCODED_SETS:
                self._encoded.clear()
            encoded = attribute_list(attributes, SessionOptions(asn4=True, ibgp=True))
            found = self._encoded[attributes] = tuple(encoded)
        return found


def _texts(family: Family, prefixes: Iterable[Packed]) -> tuple[str, ...]:
    return tuple(format_packed(packed, family) for packed in prefixes)
