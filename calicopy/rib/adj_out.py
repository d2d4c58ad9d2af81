"""What every peer should hear, what it was told, and the difference.

Theory of operation: peers that hear the same are in one update group (`update_group`), in each family; what they hear
follows from our own prefixes, the outcomes of the RIB, and the group's `Exporter`. `advance` works off, in slices,
what changed, and gives what is to be told. What was told counts as long as the speaker lives: it tells a peer again by
itself when a session comes back. So a peer that is away is remembered with its group, and what was withdrawn meanwhile,
or is not announced where it is now, is withdrawn when it is back, after all announcements.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from calicopy.net import Family, IPAddress, Packed
from calicopy.policy import AdvertiseScope
from calicopy.rib.export import Exporter, ExportTarget
from calicopy.rib.model import RibContext
from calicopy.rib.reasons import ExportReason
from calicopy.rib.rib import Rib
from calicopy.rib.routes import OutAttributes, OutDelta, OutRoute, OutRoutes, OwnCommunities
from calicopy.rib.update_group import Member, Plan, UpdateGroup


@dataclass(frozen=True, slots=True)
class OutPeer:
    """A peer whose session is up: its address, and the router id of its OPEN."""

    key: str
    address: IPAddress
    router_id: int


class AdjRibOut:
    """The update groups of this node."""

    def __init__(self, rib: Rib) -> None:
        self._rib = rib
        self._context = rib.context
        self._draining = self._silent = False
        self._own: dict[Family, dict[Packed, OwnCommunities]] = {family: {} for family in Family}
        self._groups: dict[ExportTarget, UpdateGroup] = {}
        self._of: dict[tuple[str, Family], UpdateGroup] = {}  # the group of a peer that is up, or was when it was lost
        self._before: dict[tuple[str, Family], set[tuple[int, Packed]]] = {}  # announced by an agent before us

    # -- what is announced

    def set_own(self, family: Family, prefixes: Mapping[Packed, OwnCommunities]) -> None:
        """The whole set of our own prefixes, each with what it carries besides its owner."""
        before = self._own[family]
        self._own[family] = dict(prefixes)
        changed = [prefix for prefix in {*before, *prefixes} if before.get(prefix) != prefixes.get(prefix)]
        for group in self._groups.values():
            if group.target.family is family:
                group.mark(changed)

    def judged(self, prefixes: Mapping[Family, Iterable[Packed]]) -> None:
        """The RIB came to another outcome for these."""
        for group in self._groups.values():
            if group.learns and (changed := prefixes.get(group.target.family)):
                group.mark(changed)

    def set_policy(self, context: RibContext, *, draining: bool, silent: bool) -> None:
        """Another cluster file, or this node drains. `silent`: nothing at all is announced."""
        if (context, draining, silent) == (self._context, self._draining, self._silent):
            return
        self._context, self._draining, self._silent = context, draining, silent
        for group in self._groups.values():
            group.set_exporter(self._exporter(group.target))
            self._mark_all(group)

    def _exporter(self, target: ExportTarget) -> Exporter:
        return Exporter(self._context, target, draining=self._draining)

    def _mark_all(self, group: UpdateGroup) -> None:
        """All that may be announced to a group, and all that was."""
        group.mark_again(list(self._own[group.target.family]))
        group.mark_again(list(group.table))
        if group.learns:
            group.mark_again(self._rib.prefixes(group.target.family))

    def _routes(self, group: UpdateGroup, prefix: Packed) -> OutRoutes | None:
        """What the group hears of a prefix."""
        if self._silent:
            return None
        target = group.target
        prefix_class = target.chain.class_of(target.family, prefix)
        own = self._own[target.family].get(prefix)
        if own is not None:
            return group.intern(group.exporter.own(own, prefix_class))
        outcome = self._rib.outcome(target.family, prefix) if group.learns else None
        if outcome is None:
            return None
        exports, key = outcome.exports, (group.generation, prefix_class)
        if key not in exports:
            for old in [old for old in exports if old[0]() is None]:  # its exporter is no more
                del exports[old]
            exports[key] = group.intern(group.exporter.learned(outcome, prefix_class))
        return exports[key]

    # -- peers

    def join(self, peer: OutPeer, targets: Iterable[ExportTarget]) -> None:
        """A session is new to us, or is another: the peer is told everything, family by family, and what it may know
        besides is withdrawn.
        """
        wanted = {target.family: target for target in targets}
        for family in Family:
            before = self._of.get((peer.key, family))
            target = wanted.get(family)
            if target is None:
                if before is not None:
                    self._leave(before, peer.key)
                continue
            group = self._group(target)
            member = self._member(peer, before, group)
            if before is not None and before is not group:
                self._forget(peer.key, family)
            self._of[peer.key, family] = group
            awake = bool(group.members)
            group.join(member)
            if not awake:
                self._mark_all(group)

    @staticmethod
    def _member(peer: OutPeer, before: UpdateGroup | None, group: UpdateGroup) -> Member:
        """The peer as a member, with what it may know of the time before."""
        member = Member(peer.key, peer.router_id, peer.address, returns=before is not None)
        if before is None:
            return member
        member.stale.update(before.withdrawn)
        known = before.members.get(peer.key) or before.away.get(peer.key)
        if before is not group or known is None or known.router_id != peer.router_id:
            member.known.append(dict(before.table))
        if known is not None:
            member.stale |= known.stale
            member.known += known.known
            if known.held is not None:
                member.known.append(dict(known.held.table))
                member.stale.update(known.held.withdrawn)
        return member

    def move(self, wanted: Mapping[OutPeer, tuple[ExportTarget, ...]]) -> None:
        """These peers, whose sessions go on, have other targets now. A group that moves as a whole is told only what
        differs; a peer that moves alone is told everything.
        """
        targets = {(peer.key, target.family): target for peer, each in wanted.items() for target in each}
        for group in list(self._groups.values()):
            found = {targets.get((key, group.target.family)) for key in group.members}
            target = found.pop() if len(found) == 1 else None
            if target is not None and target not in self._groups:
                del self._groups[group.target]
                self._groups[target] = group
                group.target = target
                group.set_exporter(self._exporter(target))
                self._mark_all(group)
        for peer, each in wanted.items():
            if any(self._of.get((peer.key, target.family)) is not self._groups.get(target) for target in each):
                self.join(peer, each)

    def _group(self, target: ExportTarget) -> UpdateGroup:
        group = self._groups.get(target)
        if group is None:
            group = self._groups[target] = UpdateGroup(target, self._exporter(target), self._routes)
        return group

    def leave(self, key: str) -> None:
        """The peer's session is lost."""
        for family in Family:
            group = self._of.get((key, family))
            if group is not None:
                self._leave(group, key)

    @staticmethod
    def _leave(group: UpdateGroup, key: str) -> None:
        if key in group.members:
            group.leave(key)

    def remove(self, key: str) -> None:
        """The peer is no longer configured, and the speaker holds nothing for it."""
        for family in Family:
            self._forget(key, family)
            self._before.pop((key, family), None)

    def reset(self) -> None:
        """Another speaker: it holds no announcement of ours, and no session is up."""
        self._groups.clear()
        self._of.clear()
        self._before.clear()

    def _forget(self, key: str, family: Family) -> None:
        group = self._of.pop((key, family), None)
        if group is None:
            return
        if key in group.members:
            group.leave(key)
        group.away.pop(key, None)
        if not group.members and not group.away:
            del self._groups[group.target]

    def announced_before(self, key: str, family: Family, routes: Iterable[tuple[int, Packed]]) -> None:
        """What the speaker holds as announced to the peer, (path id, prefix), from an agent before us."""
        self._before.setdefault((key, family), set()).update(routes)

    def age(self) -> None:
        """To be called now and then: what was withdrawn before the last call is remembered no longer. A hand-over that
        fails must be noticed within that time.
        """
        for group in self._groups.values():
            group.age()

    # -- the difference

    @property
    def pending(self) -> bool:
        """Whether there is more for `advance`; not what waits for a peer that is held."""
        return any(group.members and group.pending for group in self._groups.values())

    def advance(self, limit: int) -> tuple[list[OutDelta], int]:
        """What peers are to be told next, about `limit` prefixes at most: (deltas, how many are left of the limit)."""
        deltas: list[OutDelta] = []
        for target, group in list(self._groups.items()):
            if limit <= 0:
                break
            if group.members and group.pending:
                found, limit = group.advance(limit)
                deltas += found
                self._groups[target] = self._groups.pop(target)  # the others come first the next time
        return deltas, limit

    def finish(self, key: str, family: Family, limit: int) -> tuple[list[OutDelta], int, bool]:
        """Withdraw what the peer may have heard before and is not told, once it was told all else.

        Gives (deltas, how many are left of `limit`, whether the peer knows everything now). What waits to be told at
        the first call counts, what comes after it does not; `hold` begins anew.
        """
        group = self._of.get((key, family))
        if group is None or key not in group.members or not group.is_told(key):
            return [], limit, False
        member = group.members[key]
        member.stale |= self._before.pop((key, family), set())
        deltas, limit = group.take_stale(key, limit)
        if member.stale or member.known:
            return deltas, limit, False
        member.due = None
        return deltas, limit, True

    def hold(self, key: str, family: Family) -> None:
        """It is not known yet what the peer is to hear."""
        group = self._of.get((key, family))
        if group is not None and key in group.members:
            group.members[key].due = None

    def withdraw_all(self, key: str, family: Family) -> list[OutDelta]:
        """What tells the peer that all is gone."""
        group = self._of.get((key, family))
        if group is None or key not in group.members:
            return []
        plan = Plan(group.target)
        for prefix, routes in group.table.items():
            for route in routes.routes:
                if key not in group.deaf(route):
                    plan.withdraw((key,), route.path_id, (prefix,))
        return plan.deltas()

    # -- views

    def target(self, key: str, family: Family) -> ExportTarget | None:
        """What a peer that is, or was, up is told by; None when it is told nothing."""
        group = self._of.get((key, family))
        return None if group is None else group.target

    def targets(self) -> Iterable[ExportTarget]:
        """The targets of all groups."""
        return self._groups.keys()

    def desired(
        self, target: ExportTarget, peer: OutPeer, *, among: Iterable[Packed] | None = None
    ) -> dict[Packed, tuple[OutAttributes, ...]]:
        """What a peer of this target hears when all is told, the paths of each prefix, best first (`among`: only of
        these).
        """
        group = self._group_of_one(target, peer)
        prefixes = among
        if prefixes is None:
            prefixes = {*self._own[target.family], *(self._rib.prefixes(target.family) if group.learns else ())}
        found: dict[Packed, tuple[OutAttributes, ...]] = {}
        for prefix in prefixes:
            routes = self._routes(group, prefix)
            heard = () if routes is None else tuple(one.out for one in routes.routes if peer.key not in group.deaf(one))
            if heard:
                found[prefix] = heard
        return found

    def refusal(self, target: ExportTarget, peer: OutPeer, prefix: Packed) -> ExportReason | None:
        """Why a peer of this target does not hear a prefix that is ours or selected; None: it does once all is told."""
        if self._silent:
            return ExportReason.DRAINED
        group = self._group_of_one(target, peer)
        routes = self._routes(group, prefix)
        sent = () if routes is None else routes.routes
        if any(peer.key not in group.deaf(route) for route in sent):
            return None
        outcome = self._rib.outcome(target.family, prefix)
        if prefix not in self._own[target.family] and outcome is not None and outcome.selection is not None:
            best = outcome.selection.best
            if target.scope is AdvertiseScope.ALL and best.peer.key == peer.key:
                return ExportReason.FROM_THERE
            if (reason := group.exporter.refusal(best)) is not None:
                return reason
        if not sent:
            return ExportReason.FILTER
        return ExportReason.BEGAN_THERE if sent[0].originator == peer.router_id else ExportReason.LEADS_THERE

    def _group_of_one(self, target: ExportTarget, peer: OutPeer) -> UpdateGroup:
        group = UpdateGroup(target, self._exporter(target), self._routes)
        group.join(Member(peer.key, peer.router_id, peer.address))
        return group

    def learned(self) -> list[tuple[Family, list[Packed]]]:
        """What is announced to peers that are up and hear what we learn, our own prefixes among it: a list for each
        group, so that a prefix may be in several.
        """
        return [
            (group.target.family, list(group.table))
            for group in self._groups.values()
            if group.learns and group.members
        ]

    def told(self, key: str, family: Family) -> Told:
        """What the peer was told in its session."""
        group = self._of.get((key, family))
        return Told(key, group if group is not None and key in group.members else None)


class Told(Mapping[Packed, OutAttributes]):
    """Prefix to the attributes that a peer was told (those of the best path); `routes` gives all paths."""

    def __init__(self, key: str, group: UpdateGroup | None) -> None:
        self._key = key
        self._group = group

    def routes(self, prefix: Packed) -> tuple[OutRoute, ...]:
        """The paths that were announced of a prefix, best first."""
        group = self._group
        found = None if group is None else group.table.get(prefix)
        if group is None or found is None:
            return ()
        return tuple(route for route in found.routes if self._key not in group.deaf(route))

    def __getitem__(self, prefix: Packed) -> OutAttributes:
        routes = self.routes(prefix)
        if not routes:
            raise KeyError(prefix)
        return routes[0].out

    def __iter__(self) -> Iterator[Packed]:
        table = () if self._group is None else tuple(self._group.table)
        return (prefix for prefix in table if self.routes(prefix))

    def __len__(self) -> int:
        return 0 if self._group is None else self._group.count(self._key)
