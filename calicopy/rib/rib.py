"""The RIB: what all peers sent, what the policy makes of it, and how each prefix is reached.

Theory of operation: `Rib` joins the parts and holds no rule itself. Every peer's Adj-RIB-In (`adj_in`) keeps paths
before policy, so that another context or other filters judge them again without a session reset, in slices of `decide`.
`policy` judges a path once per attribute set; `table` gathers the paths of a prefix, and judges prefixes in slices by
`places`, `admission` and `decision`. Inputs may come in any order; `decide` tells what changed since it was last asked.
The outcome depends on the present inputs alone.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from calicopy.bgp.attributes import PathAttributes
from calicopy.bgp.update import NlriBatch, Update
from calicopy.net import Family, IPAddress, Packed
from calicopy.rib.adj_in import AdjRibIn, PathKey, by_path_id, key_of
from calicopy.rib.model import (
    Decisions,
    Holder,
    LimitExceeded,
    NextHopResolution,
    Path,
    PathView,
    PeerCounters,
    PeerInfo,
    RibContext,
    Selection,
)
from calicopy.rib.outcome import Outcome
from calicopy.rib.policy import PathPolicy
from calicopy.rib.reasons import ImportReason
from calicopy.rib.table import FamilyTable
from calicopy.rib.views import path_views


class UnknownPeerError(KeyError):
    """A peer that `peer_up` was never called for, or that is gone."""

    def __init__(self, key: str) -> None:
        super().__init__(f"peer {key} is not known to the RIB: expected peer_up first")


class Rib:
    """Adj-RIB-In of every peer, import policy, decision, Loc-RIB."""

    def __init__(self, context: RibContext) -> None:
        self._policy = PathPolicy(context)
        self._peers: dict[str, AdjRibIn] = {}
        self._leaving: dict[str, None] = {}  # peers with paths to take out
        self._rejudging: dict[str, None] = {}  # peers with paths to judge anew
        self._next_hops: dict[IPAddress, NextHopResolution] = {}
        self._out_of_use: set[IPAddress] = set()
        self._tables = {
            family: FamilyTable(family, context, self._next_hops, self._out_of_use) for family in Family
        }
        self.context = context
        self.dead_next_hops: frozenset[IPAddress] = frozenset()
        """Next hops whose last path of a peer that is there was lost with its session, and that were not heard since.
        Those paths take a while to leave, and what follows from them takes longer."""

    # -- what the policy judges by

    def set_context(self, context: RibContext) -> None:
        """Another cluster file: every path is judged anew. The same context is no change."""
        if context == self.context:
            return
        self.context = context
        self._policy = PathPolicy(context)
        for peer in self._peers.values():
            self._begin_rejudge(peer, peer.info)
        for table in self._tables.values():
            table.set_context(context)

    def set_own(self, family: Family, blocks: Collection[Packed], used: Collection[Packed] = ()) -> None:
        """The blocks that are ours now, and the host prefixes of the addresses that workloads here use (whole sets)."""
        table = self._tables[family]
        table.mark(table.places.set_own(blocks, used))

    def set_holders(self, family: Family, changes: Mapping[Packed, Holder | None]) -> None:
        """Who may announce these blocks from now on; None: whoever comes. Other blocks stay as they are."""
        table = self._tables[family]
        table.mark(table.places.set_holders(changes))

    def holders(self, family: Family) -> dict[Packed, Holder]:
        """Who may announce which block, as `set_holders` was last told."""
        return self._tables[family].places.holders()

    def set_next_hops(self, changes: Mapping[IPAddress, NextHopResolution]) -> None:
        """What is known of these next hops now. Only prefixes that use one that changed are decided anew."""
        changed = set()
        for address, facts in changes.items():
            before = self._next_hops.get(address)
            self._next_hops[address] = facts
            if before is None or (before.reachable, before.metric) != (facts.reachable, facts.metric):
                changed.add(address)
        if changed:
            for table in self._tables.values():
                table.next_hops_changed(changed)

    def set_out_of_use(self, addresses: Collection[IPAddress]) -> None:
        """All next hops that BFD has found to be gone: no path over them is used, whoever announced it."""
        changed = self._out_of_use.symmetric_difference(addresses)
        if changed:
            self._out_of_use.symmetric_difference_update(changed)
            for table in self._tables.values():
                table.next_hops_changed(changed)

    def wanted_next_hops(self) -> frozenset[IPAddress]:
        """The next hops whose facts the decision needs: those of all paths that no rule on paths refused."""
        return frozenset(address for table in self._tables.values() for address in table.wanted)

    # -- peers

    def peer_up(self, info: PeerInfo) -> None:
        """A session is up. Paths kept from the session before stay, stale, until heard again or swept."""
        peer = self._peers.get(info.key)
        if peer is None:
            self._peers[info.key] = AdjRibIn(info)
            return
        peer.up, peer.over_limit, peer.limit_told = True, 0, False
        if peer.info != info:
            self._begin_rejudge(peer, info)

    def set_peer(self, info: PeerInfo) -> None:
        """The peer's filters, or what else the policy knows of it, are others now; its session goes on, or its paths
        are kept. One that is not known is passed over: `peer_up` brings it.
        """
        peer = self._peers.get(info.key)
        if peer is not None and peer.up and peer.info != info:
            self._begin_rejudge(peer, info)

    def reconsider_limit(self, key: str) -> bool:
        """A peer's limit (see `set_peer`), or what follows from it, is another: `decide` tells again when it is passed.

        Gives whether announcements were not stored so far: the peer has to send them again.
        """
        peer = self._peers.get(key)
        return peer is not None and peer.reconsider_limit()

    def peer_down(self, key: str, *, retain: bool) -> None:
        """A session is lost. `retain`: its paths stay in use, stale, but for those stale since an earlier loss.

        (RFC 4724 section 4.2: what was stale already when the peer goes down again is deleted.) Unknown peers are
        passed over.
        """
        peer = self._peers.get(key)
        if peer is None:
            return
        self._leaving[key] = None
        if not retain:
            peer.sweep_all()
            self._bury(key)
            return
        for family in peer.families:
            peer.lose(family)

    def _bury(self, key: str) -> None:
        """A peer is gone: the next hops that no other one has paths over are dead."""
        carried = [(address, peers) for table in self._tables.values() for address, peers in table.carriers.items()]
        alive = {address for address, peers in carried if any(self._is_up(one) for one in peers)}
        dead = {address for address, peers in carried if key in peers} - alive
        self.dead_next_hops |= dead

    def _heard(self, path: Path) -> None:
        """A peer that is there has this path."""
        if path.next_hop in self.dead_next_hops and path.refused is None and self._is_up(path.peer.key):
            self.dead_next_hops -= {path.next_hop}

    def _is_up(self, key: str) -> bool:
        peer = self._peers.get(key)
        return peer is not None and peer.up

    def begin_refresh(self, key: str, family: Family) -> None:
        """The peer sends its table again (RFC 7313 BoRR, or we asked): all it had is stale until heard again."""
        self._peer(key).begin_refresh(family)

    def end_refresh(self, key: str, family: Family) -> None:
        """The peer has sent its table (End-of-RIB, EoRR, or time ran out): what is still stale goes."""
        peer = self._peers.get(key)
        if peer is not None:
            peer.sweep(family)
            self._leaving[key] = None

    def has_heard(self, key: str, family: Family) -> bool:
        """Whether the peer has any path of the family that is not stale."""
        peer = self._peers.get(key)
        return peer is not None and peer.has_heard(family)

    def update(self, key: str, update: Update) -> None:
        """Take in an UPDATE: withdrawn prefixes first (RFC 4271 section 4.3). UnknownPeerError without peer_up."""
        peer = self._peer(key)
        for batch in update.withdrawn:
            for path_id, prefixes in _groups(batch).items():
                gone = peer.withdraw(batch.family, path_id, prefixes)
                self._tables[batch.family].replace(key, path_id, gone, None)
        if update.attributes is None:
            return
        for batch in update.announced:
            for path_id, prefixes in _groups(batch).items():
                self._announce(peer, batch, path_id, prefixes, update.attributes)

    def _announce(
        self, peer: AdjRibIn, batch: NlriBatch, path_id: int, prefixes: list[Packed], attributes: PathAttributes
    ) -> None:
        for path, group in peer.paths(self._policy, batch, path_id, prefixes, attributes):
            stored = peer.announce(batch.family, path, group)
            self._tables[batch.family].replace(peer.info.key, path_id, stored, path)
            if stored:
                self._heard(path)
        if peer.leaving:  # stale paths that made way
            self._leaving[peer.info.key] = None

    def _peer(self, key: str) -> AdjRibIn:
        peer = self._peers.get(key)
        if peer is None or not peer.up:
            raise UnknownPeerError(key)
        return peer

    def _take_leaving(self, limit: int) -> int:
        """Take out up to `limit` paths that were swept or whose peer is gone; gives how many are left of the limit."""
        for key in list(self._leaving):
            peer = self._peers[key]
            for family, table in peer.families.items():
                before = len(table.leaving)
                for path_id, prefixes in peer.take_leaving(family, limit).items():
                    self._tables[family].replace(key, path_id, prefixes, None)
                limit -= before - len(table.leaving)
            if peer.leaving:
                break
            del self._leaving[key]
            if not peer.up:
                del self._peers[key]
        return limit

    def _begin_rejudge(self, peer: AdjRibIn, info: PeerInfo) -> None:
        peer.begin_rejudge(info)
        if peer.rejudging:
            self._rejudging[info.key] = None

    def _rejudge(self, limit: int) -> int:
        """Judge up to `limit` paths anew; gives how many are left of the limit."""
        while self._rejudging and limit > 0:
            key = next(iter(self._rejudging))
            peer = self._peers.get(key)
            if peer is None or not peer.rejudging:
                del self._rejudging[key]
                continue
            family, changed, done = peer.rejudge(self._policy, limit)
            limit -= done
            for path, keys in changed.items():
                self._heard(path)
                for path_id, prefixes in by_path_id(keys).items():
                    self._tables[family].replace(key, path_id, prefixes, path)
        return limit

    # -- decision

    def decide(self, limit: int) -> Decisions:
        """Judge up to `limit` prefixes of those that something changed for, and tell what came out differently."""
        decisions = Decisions()
        limit = self._take_leaving(limit)
        if self._rejudging:  # half of the slice, so that what is heard meanwhile is decided too
            limit = limit // 2 + self._rejudge(limit - limit // 2)
        decisions.more = bool(self._leaving or self._rejudging)
        for table in self._tables.values():
            limit -= table.decide(limit, decisions)
            decisions.more = decisions.more or table.pending
        for key, peer in self._peers.items():
            if peer.over_limit and not peer.limit_told:
                peer.limit_told = True
                decisions.limits.append(LimitExceeded(key, peer.info.prefix_limit or 0, peer.over_limit))
        return decisions

    # -- views

    def peers(self) -> tuple[PeerInfo, ...]:
        """The peers that are up, or whose paths are kept."""
        return tuple(peer.info for peer in self._peers.values() if peer.up)

    def prefixes(self, family: Family, *, peer: str | None = None) -> list[Packed]:
        """All prefixes that have a path (from `peer`, when given), each once. A list of its own: walk it in slices."""
        if peer is None:
            return self._tables[family].prefixes()
        known = self._peers.get(peer)
        if known is None:
            return []
        table = known.family(family)
        keys = (key for key in table.paths if key not in table.leaving)
        return list(dict.fromkeys(key if isinstance(key, bytes) else key[1] for key in keys))

    def received(self, key: str) -> dict[Family, list[tuple[PathKey, Path]]]:
        """What a peer has sent, before policy, as it is now: lists of its own."""
        known = self._peers.get(key)
        tables = {} if known is None else known.families
        return {
            family: [item for item in table.paths.items() if item[0] not in table.leaving]
            if table.leaving
            else list(table.paths.items())
            for family, table in tables.items()
        }

    def selection(self, family: Family, prefix: Packed) -> Selection | None:
        """How a prefix is reached, as last decided; None when it is not."""
        return self._tables[family].selection(prefix)

    def outcome(self, family: Family, prefix: Packed) -> Outcome | None:
        """What became of a prefix's paths, as last decided; None when it has none."""
        return self._tables[family].outcome(prefix)

    def lookup(self, family: Family, prefix: Packed) -> tuple[PathView, ...]:
        """Every path of a prefix with its state and reason: best, multipath, losing, rejected, not judged yet."""
        paths, outcome = self._tables[family].entry(prefix)
        return path_views(family, prefix, paths, outcome, stale=lambda path: self._is_stale(family, prefix, path))

    def live_paths(self, family: Family, prefix: Packed) -> tuple[Path, ...]:
        """The paths of a prefix, refused ones too, that are not stale."""
        paths, _ = self._tables[family].entry(prefix)
        return tuple(path for path in paths if not self._is_stale(family, prefix, path))

    def _is_stale(self, family: Family, prefix: Packed, path: Path) -> bool:
        peer = self._peers.get(path.peer.key)
        if peer is None:
            return False
        table, key = peer.family(family), key_of(prefix, path.path_id)
        return key in table.stale or key in table.leaving

    def conflicts(self) -> list[tuple[Family, Packed, int]]:
        """(family, prefix, router id) of every conflict that is on now; see Decisions."""
        return [row for table in self._tables.values() for row in table.conflicts()]

    def beyond_limit(self, key: str) -> int:
        """How many announcements of a peer were not stored in this session."""
        peer = self._peers.get(key)
        return 0 if peer is None else peer.over_limit

    def counters(self, key: str, family: Family | None = None) -> PeerCounters:
        """The numbers of one peer (of one family, when given), all 0 when it is not known; `over_limit` is always that
        of all families. The cost goes with the number of attribute sets.
        """
        peer = self._peers.get(key)
        if peer is None:
            return PeerCounters(received=0, accepted=0, best=0, rejected={}, stale=0, over_limit=0)
        best = accepted = 0
        rejected: Counter[ImportReason] = Counter()
        families = Family if family is None else (family,)
        for one in families:
            for outcome in self._tables[one].outcomes():
                selected = () if outcome.selection is None else outcome.selection.paths
                chosen = sum(path.peer.key == key for path in selected)
                lost = sum(path.peer.key == key for path, _ in outcome.losing)
                best += chosen * outcome.uses
                accepted += (chosen + lost) * outcome.uses
                for path, reason in outcome.rejected:
                    if path.peer.key == key:
                        rejected[reason] += outcome.uses
        tables = [peer.families[one] for one in families if one in peer.families]
        return PeerCounters(
            received=sum(len(table) for table in tables),
            accepted=accepted,
            best=best,
            rejected=dict(rejected),
            stale=sum(len(table.stale) for table in tables),
            over_limit=peer.over_limit,
        )


def _groups(batch: NlriBatch) -> dict[int, list[Packed]]:
    """The prefixes of a batch per path id, in order; all under 0 without ADD-PATH."""
    if batch.path_ids is None:
        return {0: batch.prefixes}
    groups: dict[int, list[Packed]] = {}
    for prefix, path_id in zip(batch.prefixes, batch.path_ids, strict=True):
        groups.setdefault(path_id, []).append(prefix)
    return groups
