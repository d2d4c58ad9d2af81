"""The paths of one family gathered per prefix, and what the decision made of them: the Loc-RIB.

Theory of operation: most prefixes share their attributes with thousands of others, so nothing is made per prefix.

- `Candidates` is the set of paths that a prefix has, from all peers and under all path ids. Equal sets are one object,
  held while a prefix uses it (`uses`). A batch of prefixes moves from set to set by one look-up each.
- `Outcome` is what policy and decision make of one set at one place (see `places`). It is found once per pair and kept
  with the set. What a prefix costs is therefore three look-ups.
- A change marks the prefixes that it touches; `decide` works them off in slices and tells only what differs from the
  last time. Nothing but the present paths, places, next hops and context enters, so the outcome does not depend on
  history.
- The prefixes of an UPDATE come, wait and are decided as one run. As long as all of a run have the same set of paths
  and the same place, the look-ups are made for the whole run at once, without a step of Python for each prefix;
  where they differ, prefix by prefix. Both ways come to the same.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress, repeat
from weakref import WeakValueDictionary

from calicopy.net import Family, IPAddress, Packed
from calicopy.rib.admission import admit
from calicopy.rib.decision import NextHops, rank
from calicopy.rib.model import Decisions, Path, RibContext, Selection
from calicopy.rib.outcome import Candidates, Outcome, counted, is_seen
from calicopy.rib.places import Place, PlaceKind, Places
from calicopy.rib.waiting import Waiting

NOBODY: tuple[int, ...] = ()
LEAST_RUN = 16
"""A run of fewer prefixes is decided prefix by prefix: telling whether all are alike would cost more."""


def _order(path: Path) -> tuple[str, int]:
    return path.peer.key, path.path_id


def _each_once(prefixes: Sequence[Packed]) -> Sequence[Packed]:
    """The same, without those that are named again."""
    distinct = dict.fromkeys(prefixes)
    return prefixes if len(distinct) == len(prefixes) else list(distinct)


class FamilyTable:
    """All paths of one family, and the selections that follow from them."""

    def __init__(
        self, family: Family, context: RibContext, next_hops: NextHops, out_of_use: Collection[IPAddress]
    ) -> None:
        self.family = family
        self.places = Places(family, context.pools)
        self._context = context
        self._next_hops = next_hops
        self._out_of_use = out_of_use
        self._paths: dict[Packed, Candidates] = {}
        self._loc: dict[Packed, Outcome] = {}
        self._interned: dict[tuple[Path, ...], Candidates] = {}
        self._selections: WeakValueDictionary[tuple[Path, ...], Selection] = WeakValueDictionary()
        self._live: set[Outcome] = set()
        self._waiting = Waiting()
        self._carriers: dict[IPAddress, dict[str, int]] = {}  # next hop: peer: how many sets have such a path of its

    # -- paths in

    def replace(self, peer: str, path_id: int, prefixes: Sequence[Packed], path: Path | None) -> None:
        """`path` (None: nothing) is from now on what `peer` has under `path_id` for all of `prefixes`.

        The sequence must not be changed afterwards: it waits for `decide` as it is.
        """
        if not prefixes:
            return
        table = self._paths
        old, before = table.get(prefixes[0]), len(table)
        new = self._with(old, peer, path_id, path)
        olds = list(map(table.pop, prefixes, repeat(None))) if new is None else list(map(table.get, prefixes))
        if olds.count(old) != len(olds):
            if new is None:  # some may have a path left: back to the beginning
                table.update((prefix, had) for prefix, had in zip(prefixes, olds, strict=True) if had is not None)
            self._replace_each(peer, path_id, prefixes, path)
            return
        if new is old:
            return
        if new is not None:
            table.update(zip(prefixes, repeat(new)))
        if abs(len(table) - before) != len(prefixes):  # else all came, or went, and so are different
            prefixes = _each_once(prefixes)
        self._settle({old: (new, prefixes)})

    def _replace_each(self, peer: str, path_id: int, prefixes: Sequence[Packed], path: Path | None) -> None:
        """The same for prefixes that have different sets so far."""
        table = self._paths
        moves: dict[Candidates | None, tuple[Candidates | None, list[Packed]]] = {}
        last: Candidates | None = None
        new, moved = moves[None] = (self._with(None, peer, path_id, path), list[Packed]())
        for prefix in prefixes:
            old = table.get(prefix)
            if old is not last:
                last = old
                move = moves.get(old)
                if move is None:
                    move = moves[old] = (self._with(old, peer, path_id, path), [])
                new, moved = move
            if new is old:
                continue
            if new is None:
                del table[prefix]
            else:
                table[prefix] = new
            moved.append(prefix)
        self._settle(moves)

    def _settle(self, moves: Mapping[Candidates | None, tuple[Candidates | None, Sequence[Packed]]]) -> None:
        """Count who uses which set after a batch, let go of the unused, and mark the prefixes."""
        for old, (new, moved) in moves.items():
            if moved:
                self._mark(moved)
            if new is not None:
                new.uses += len(moved)
            if old is not None:
                old.uses -= len(moved)
        for pair in moves.items():
            for candidates in (pair[0], pair[1][0]):
                if candidates is not None and candidates.uses == 0:
                    self._drop(candidates)

    def _mark(self, prefixes: Sequence[Packed]) -> None:
        self._waiting.add(prefixes, there_are=max(len(self._paths), len(self._loc)))

    def _with(self, old: Candidates | None, peer: str, path_id: int, path: Path | None) -> Candidates | None:
        """The set that `old` becomes when the peer's path under this id is replaced."""
        before = () if old is None else old.paths
        rest = [other for other in before if other.path_id != path_id or other.peer.key != peer]
        if path is not None:
            rest.append(path)
            rest.sort(key=_order)
        return self._intern(tuple(rest))

    def _intern(self, paths: tuple[Path, ...]) -> Candidates | None:
        if not paths:
            return None
        found = self._interned.get(paths)
        if found is None:
            found = self._interned[paths] = Candidates(paths)
            for path in paths:
                if path.refused is None and path.next_hop is not None:
                    carriers = self._carriers.setdefault(path.next_hop, {})
                    carriers[path.peer.key] = carriers.get(path.peer.key, 0) + 1
        return found

    def _drop(self, candidates: Candidates) -> None:
        if self._interned.pop(candidates.paths, None) is None:
            return
        for path in candidates.paths:
            if path.refused is None and path.next_hop is not None:
                carriers = self._carriers[path.next_hop]
                carriers[path.peer.key] -= 1
                if not carriers[path.peer.key]:
                    del carriers[path.peer.key]
                if not carriers:
                    del self._carriers[path.next_hop]

    # -- what the decision depends on

    def set_context(self, context: RibContext) -> None:
        """Judge everything anew."""
        self._context = context
        self.places.set_pools(context.pools)
        for candidates in self._interned.values():
            candidates.outcomes.clear()
        self._mark(list(self._paths))

    def next_hops_changed(self, changed: Collection[IPAddress]) -> None:
        """Judge anew the prefixes that have a path over one of these."""
        touched: set[Candidates] = set()
        if any(address in self._carriers for address in changed):
            touched = {
                candidates
                for candidates in self._interned.values()
                if any(path.next_hop in changed for path in candidates.paths)
            }
        for candidates in touched:
            candidates.outcomes.clear()
        if touched:
            self._mark([prefix for prefix, have in self._paths.items() if have in touched])

    def mark(self, prefixes: Iterable[Packed]) -> None:
        """Judge these anew, as far as they have paths."""
        table = self._paths
        self._mark([prefix for prefix in prefixes if prefix in table])

    @property
    def wanted(self) -> Iterable[IPAddress]:
        """The next hops of all paths that the policy lets through."""
        return self._carriers.keys()

    @property
    def carriers(self) -> Mapping[IPAddress, Collection[str]]:
        """Those next hops, each with the peers that such paths are of. Read only."""
        return self._carriers

    # -- decision

    @property
    def pending(self) -> bool:
        """Whether prefixes wait for `decide`."""
        return bool(self._waiting)

    def decide(self, limit: int, decisions: Decisions) -> int:
        """Judge up to `limit` prefixes, add what changed to `decisions`; gives how many were judged."""
        done = 0
        while done < limit and self._waiting:
            prefixes, is_run = self._waiting.take(limit - done)
            done += len(prefixes)
            if not (is_run and len(prefixes) >= LEAST_RUN and self._decide_run(prefixes, decisions)):
                self._decide_each(prefixes, decisions)
        return done

    def _decide_run(self, prefixes: Sequence[Packed], decisions: Decisions) -> bool:
        """Decide prefixes, each named once, that are alike; False, and nothing is done, where they are not."""
        table = self._paths
        candidates = table.get(prefixes[0])
        if candidates is None:
            if table.keys().isdisjoint(prefixes):
                self._forget(prefixes, decisions)
                return True
            return False
        if list(map(table.get, prefixes)).count(candidates) != len(prefixes):
            return False
        place = self.places.of_run(prefixes)
        if place is None:
            return False
        new = candidates.outcomes.get(place) or self._judge(candidates, place)
        olds = list(map(self._loc.get, prefixes))
        uses = counted(olds)
        if new in uses:
            return len(uses) == 1  # nothing is another than before, for all or for some
        told = {(None if old is None else old.selection) is not new.selection for old in uses}
        owned = {is_seen(old, new) for old in uses}
        if len(told) > 1 or len(owned) > 1 or new.conflicts or any(old is not None and old.conflicts for old in uses):
            return False
        self._loc.update(zip(prefixes, repeat(new)))
        new.uses += len(prefixes)
        self._live.add(new)
        self._leave(uses)
        decisions.judged.setdefault(self.family, []).extend(prefixes)
        if told.pop():
            decisions.changes.setdefault(self.family, []).append((new.selection, prefixes))
        if owned.pop() and (owner := new.owner) is not None:
            decisions.owners_seen += [(self.family, prefix, owner) for prefix in prefixes]
        return True

    def _forget(self, prefixes: Sequence[Packed], decisions: Decisions) -> None:
        """Decide prefixes, each named once, that have no path any more."""
        olds = list(map(self._loc.pop, prefixes, repeat(None)))
        uses = counted(olds)
        if None in uses:  # those came and went undecided
            prefixes = list(compress(prefixes, olds))
            olds = list(compress(olds, olds))
            if not olds:
                return
        self.places.forget(prefixes)
        self._leave(uses)
        decisions.judged.setdefault(self.family, []).extend(prefixes)
        if any(old is not None and old.conflicts for old in uses):
            for prefix, old in zip(prefixes, olds, strict=True):
                self._note_conflicts(prefix, old, None, decisions)
        if any(old is not None and old.selection is None for old in uses):  # these were not selected
            had = (old is not None and old.selection is not None for old in olds)
            prefixes = list(compress(prefixes, had))
        if prefixes:
            decisions.changes.setdefault(self.family, []).append((None, prefixes))

    def _leave(self, uses: Mapping[Outcome | None, int]) -> None:
        """So many prefixes have these outcomes no more."""
        for old, count in uses.items():
            if old is not None:
                old.uses -= count
                if not old.uses:
                    self._live.discard(old)

    def _decide_each(self, prefixes: Sequence[Packed], decisions: Decisions) -> None:
        """The same for any prefixes, one by one: three look-ups each, and work of its own only where something is new.
        """
        table, loc, place_of = self._paths, self._loc, self.places.of
        judged: list[Packed] = []
        changes: list[tuple[Selection | None, list[Packed]]] = []
        run: list[Packed] | None = None
        run_of: Selection | None = None
        for prefix in prefixes:
            candidates = table.get(prefix)
            old = loc.get(prefix)
            if candidates is None:
                if old is None:
                    continue
                del loc[prefix]
                self.places.forget((prefix,))
                new = after = None
            else:
                place = place_of(prefix)
                new = candidates.outcomes.get(place)
                if new is None:
                    new = self._judge(candidates, place)
                if new is old:
                    continue
                loc[prefix] = new
                new.uses += 1
                if new.uses == 1:
                    self._live.add(new)
                after = new.selection
            judged.append(prefix)
            before = None
            if old is not None:
                before = old.selection
                old.uses -= 1
                if not old.uses:
                    self._live.discard(old)
            if before is not after:
                if run is None or after is not run_of:
                    run_of, run = after, []
                    changes.append((after, run))
                run.append(prefix)
            if new is not None and new.owner is not None and is_seen(old, new):
                decisions.owners_seen.append((self.family, prefix, new.owner))
            if (new is not None and new.conflicts) or (old is not None and old.conflicts):
                self._note_conflicts(prefix, old, new, decisions)
        if changes:
            decisions.changes.setdefault(self.family, []).extend(changes)
        if judged:
            decisions.judged.setdefault(self.family, []).extend(judged)

    def _judge(self, candidates: Candidates, place: Place) -> Outcome:
        admission, context = admit(candidates.paths, place), self._context
        ranking = rank(
            admission.accepted, self._next_hops, multipath_max=context.multipath_max,
            multipath_relax=context.multipath_relax, out_of_use=self._out_of_use,
        )  # fmt: skip
        outcome = candidates.outcomes[place] = Outcome(
            self._selection(ranking.selected),
            losing=ranking.losing,
            rejected=admission.rejected,
            owner=admission.owner if place.kind is PlaceKind.BLOCK else None,
            conflicts=admission.conflicts,
            foreign_host=admission.foreign_host,
            unheld=place.holder is None or place.holder.router_id != admission.owner,
        )
        return outcome

    def _selection(self, paths: tuple[Path, ...]) -> Selection | None:
        if not paths:
            return None
        found = self._selections.get(paths)
        if found is None:
            found = self._selections[paths] = Selection(paths)
        return found

    def _note_conflicts(self, prefix: Packed, old: Outcome | None, new: Outcome | None, decisions: Decisions) -> None:
        """Tell of conflicts that were not there before, and of those that are over."""
        before = NOBODY if old is None else old.conflicts
        after = NOBODY if new is None else new.conflicts
        decisions.conflicts += [(self.family, prefix, who) for who in after if who not in before]
        decisions.conflicts_over += [(self.family, prefix, who) for who in before if who not in after]

    # -- views

    def __len__(self) -> int:
        return len(self._paths)

    def prefixes(self) -> list[Packed]:
        """All prefixes that have a path, in the order in which they came."""
        return list(self._paths)

    def selection(self, prefix: Packed) -> Selection | None:
        """How a prefix is reached, as last decided."""
        outcome = self._loc.get(prefix)
        return None if outcome is None else outcome.selection

    def outcome(self, prefix: Packed) -> Outcome | None:
        """The outcome of a prefix, as last decided."""
        return self._loc.get(prefix)

    def entry(self, prefix: Packed) -> tuple[tuple[Path, ...], Outcome | None]:
        """(the paths of a prefix now, the outcome as last decided)."""
        candidates = self._paths.get(prefix)
        return (() if candidates is None else candidates.paths), self._loc.get(prefix)

    def outcomes(self) -> Iterable[Outcome]:
        """The outcomes that stand for at least one prefix."""
        return self._live

    def conflicts(self) -> list[tuple[Family, Packed, int]]:
        """The conflicts that are on now."""
        if not any(outcome.conflicts for outcome in self._live):
            return []
        return [
            (self.family, prefix, router_id) for prefix, outcome in self._loc.items() for router_id in outcome.conflicts
        ]
