"""One peer's Adj-RIB-In: what it sent, before policy, and which of it is stale.

Theory of operation: per family one table, keyed by prefix for path id 0 (which every session without ADD-PATH has) and
by (path id, prefix) for the others. It knows which keys are stale: marked when a session is lost under graceful restart
or when the peer sends its table again, unmarked when heard again, swept at the end. It stores no more paths than the
peer's limit allows, so that a peer cannot fill the memory; stale ones do not count, and make way. Paths are interned:
one object per (path id, attributes, next hop, class of prefixes under the import filters), held as long as a prefix has
it. Under another policy all are judged anew, in slices: what comes in meanwhile is judged by the new one at once.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice, repeat
from weakref import WeakValueDictionary

from calicopy.bgp.attributes import PathAttributes
from calicopy.bgp.update import NlriBatch
from calicopy.net import Family, IPAddress, Packed
from calicopy.policy import Chain, PrefixClass
from calicopy.rib.model import Path, PeerInfo
from calicopy.rib.policy import PathPolicy

PathKey = Packed | tuple[int, Packed]
"""A prefix, for path id 0, or (path id, prefix)."""
Interned = WeakValueDictionary[tuple[int, PathAttributes, IPAddress | None, PrefixClass], Path]


def key_of(prefix: Packed, path_id: int) -> PathKey:
    """The key of a prefix under a path id."""
    return (path_id, prefix) if path_id else prefix


def by_path_id(keys: Iterable[PathKey]) -> dict[int, list[Packed]]:
    """Keys to prefixes per path id."""
    groups: dict[int, list[Packed]] = {}
    for key in keys:
        path_id, prefix = (0, key) if isinstance(key, bytes) else key
        groups.setdefault(path_id, []).append(prefix)
    return groups


@dataclass(slots=True)
class FamilyPaths:
    """The paths of one family of one peer. `restarting`: the stale ones are of a session that was lost; where a refresh
    has made more stale since, `lost` are those.

    `leaving` keys are as good as gone: they are taken out in slices, unless they are announced again before.
    """

    paths: dict[PathKey, Path] = field(default_factory=dict)
    stale: set[PathKey] = field(default_factory=set)
    restarting: bool = False
    lost: set[PathKey] | None = None
    _leaving: set[PathKey] = field(default_factory=set)
    _all_leave: bool = False

    @property
    def leaving(self) -> set[PathKey]:
        """What is to be taken out."""
        if self._all_leave:
            self.leaving = set(self.paths)
        return self._leaving

    @leaving.setter
    def leaving(self, keys: set[PathKey]) -> None:
        self._all_leave, self._leaving = False, keys

    def leave(self) -> None:
        """All of them are to be taken out. The set is made when it is asked for: failover must not wait for that."""
        self._all_leave, self.stale, self.lost, self.restarting = True, set(), None, False

    def __len__(self) -> int:
        return len(self.paths) - len(self.leaving)

    def keep(self, keys: Iterable[PathKey]) -> None:
        """These are announced: neither stale nor leaving."""
        if self.lost:
            self.lost.difference_update(keys)
        if self.stale:
            self.stale.difference_update(keys)
        if self.leaving:
            self.leaving.difference_update(keys)


class AdjRibIn:
    """The paths of one peer in all families."""

    def __init__(self, info: PeerInfo) -> None:
        self.info = info
        self.chain = Chain(info.import_filters)
        self.families: dict[Family, FamilyPaths] = {}
        self.up = True  # or lost, and its paths kept; not up: gone, and its paths leaving
        self.over_limit = 0  # announcements that were not stored
        self.limit_told = False
        self._interned: Interned = WeakValueDictionary()
        self._to_judge: list[tuple[Family, list[PathKey]]] = []  # keys whose paths are of the policy before

    def __len__(self) -> int:
        return sum(len(table) for table in self.families.values())

    def family(self, family: Family) -> FamilyPaths:
        """The table of a family, made on demand."""
        table = self.families.get(family)
        if table is None:
            table = self.families[family] = FamilyPaths()
        return table

    def paths(
        self, policy: PathPolicy, batch: NlriBatch, path_id: int, prefixes: Sequence[Packed], attributes: PathAttributes
    ) -> list[tuple[Path, Sequence[Packed]]]:
        """The path of these prefixes of a batch, or the paths, where the import filters tell prefixes apart."""
        return [
            (self._path(policy, prefix_class, path_id, attributes, batch.next_hop), group)
            for prefix_class, group in self.chain.split(batch.family, prefixes).items()
        ]

    def _path(
        self, policy: PathPolicy, prefix_class: PrefixClass, path_id: int, attributes: PathAttributes,
        next_hop: IPAddress | None, before: Path | None = None,
    ) -> Path:  # fmt: skip
        """The one path object of these, judged by the policy when it is new. `before` is it when nothing differs."""
        key = (path_id, attributes, next_hop, prefix_class)
        found = self._interned.get(key)
        if found is None:
            found = policy.path(
                self.info, self.chain, prefix_class, path_id=path_id, attributes=attributes, next_hop=next_hop
            )
            if before is not None and _same_verdict(before, found):
                found = before
            self._interned[key] = found
        return found

    def announce(self, family: Family, path: Path, prefixes: Sequence[Packed]) -> Sequence[Packed]:
        """Store `path` for these prefixes; gives those that were stored (all but what passes the limit)."""
        table = self.family(family)
        limit = self.info.prefix_limit
        if limit is not None and len(table) + len(prefixes) > limit:
            prefixes = self._within(limit, table, path.path_id, prefixes)
        keys: Sequence[PathKey] = [(path.path_id, prefix) for prefix in prefixes] if path.path_id else prefixes
        table.paths.update(zip(keys, repeat(path)))
        table.keep(keys)
        if limit is not None and table.stale and len(table) > limit:
            out = [table.stale.pop() for _ in range(min(len(table) - limit, len(table.stale)))]
            table.keep(out)
            table.leaving.update(out)
        return prefixes

    def _within(self, limit: int, table: FamilyPaths, path_id: int, prefixes: Sequence[Packed]) -> list[Packed]:
        """Prefixes that count already, and as many others as the limit leaves room for."""
        room = limit - len(table) + len(table.stale)
        new: set[Packed] = set()
        kept: list[Packed] = []
        for prefix in prefixes:
            key = key_of(prefix, path_id)
            if prefix not in new and (key not in table.paths or key in table.leaving or key in table.stale):
                if len(new) >= room:
                    self.over_limit += 1
                    continue
                new.add(prefix)
            kept.append(prefix)
        return kept

    def reconsider_limit(self) -> bool:
        """The limit, or what follows from it, is another: what is stored beyond it passes it now. Whether announcements
        were not stored before."""
        limit, missing = self.info.prefix_limit, self.over_limit > 0
        self.over_limit, self.limit_told = 0, False
        if limit is not None:
            self.over_limit = sum(max(0, len(one) - len(one.stale) - limit) for one in self.families.values())
        return missing

    def withdraw(self, family: Family, path_id: int, prefixes: Sequence[Packed]) -> Sequence[Packed]:
        """Drop these; gives those that were there."""
        table = self.family(family)
        keys: Sequence[PathKey] = [(path_id, prefix) for prefix in prefixes] if path_id else prefixes
        dropped = list(map(table.paths.pop, keys, repeat(None)))
        gone = prefixes if all(dropped) else list(compress(prefixes, dropped))
        if table.stale or table.leaving:
            table.keep([key_of(prefix, path_id) for prefix in gone])
        return gone

    def begin_refresh(self, family: Family) -> None:
        """Everything of the family has to be heard again."""
        table = self.family(family)
        if table.restarting and table.lost is None:
            table.lost = table.stale
        table.stale = set(table.paths)
        if table.leaving:
            table.stale -= table.leaving

    def lose(self, family: Family) -> None:
        """The session is lost, and the paths are kept, as stale, but for those that were so since an earlier loss."""
        table = self.family(family)
        if table.restarting:
            table.leaving |= table.stale if table.lost is None else table.lost
        table.lost, table.restarting = None, True
        table.stale = set(table.paths)
        if table.leaving:
            table.stale -= table.leaving

    def has_heard(self, family: Family) -> bool:
        """Whether any path is neither stale nor leaving."""
        table = self.family(family)
        return len(table.paths) > len(table.stale) + len(table.leaving)

    def sweep(self, family: Family) -> None:
        """What is stale leaves."""
        table = self.family(family)
        if table.leaving:
            table.leaving |= table.stale
        else:
            table.leaving = table.stale
        table.stale, table.lost, table.restarting = set(), None, False

    def sweep_all(self) -> None:
        """The peer is gone: everything leaves."""
        self.up = False
        for table in self.families.values():
            table.leave()

    def take_leaving(self, family: Family, limit: int) -> dict[int, list[Packed]]:
        """Take out up to `limit` of what leaves; gives the prefixes per path id."""
        table = self.family(family)
        if len(table.leaving) == len(table.paths):  # in the order in which they came: what is alike stays together
            keys = list(islice(table.paths, limit))
            table.leaving.difference_update(keys)
        else:
            keys = [table.leaving.pop() for _ in range(min(limit, len(table.leaving)))]
        for key in keys:
            del table.paths[key]
        return by_path_id(keys)

    @property
    def leaving(self) -> bool:
        """Whether something is left to take out."""
        return any(table.leaving for table in self.families.values())

    def begin_rejudge(self, info: PeerInfo) -> None:
        """Another policy, or the peer is another: all that it sent has to be judged anew."""
        if info.import_filters != self.info.import_filters:
            self.chain = Chain(info.import_filters)
        self.info = info
        self._interned = WeakValueDictionary()
        self._to_judge = [(family, list(table.paths)) for family, table in self.families.items() if table.paths]

    def rejudge(self, policy: PathPolicy, limit: int) -> tuple[Family, dict[Path, list[PathKey]], int]:
        """Judge up to `limit` keys of one family anew. Gives (family, what came out differently, how many it were)."""
        family, keys = self._to_judge[-1]
        table = self.families[family].paths
        part = keys[-limit:]
        del keys[-limit:]
        if not keys:
            self._to_judge.pop()
        becomes: dict[tuple[Path, PrefixClass], tuple[Path, list[PathKey]]] = {}
        prefix_class = self.chain.class_of(family, b"")
        for key in part:
            old = table.get(key)
            if old is None:
                continue
            if self.chain.by_prefix:
                prefix_class = self.chain.class_of(family, key if isinstance(key, bytes) else key[1])
            found = becomes.get((old, prefix_class))
            if found is None:
                new = self._path(policy, prefix_class, old.path_id, old.attributes, old.next_hop, old)
                found = becomes[old, prefix_class] = (new, [])
            found[1].append(key)
        changed: dict[Path, list[PathKey]] = {}
        for (old, _), (new, moved) in becomes.items():
            if new is not old:
                table.update(dict.fromkeys(moved, new))
                changed.setdefault(new, []).extend(moved)
        return family, changed, len(part)

    @property
    def rejudging(self) -> bool:
        """Whether paths of the policy before are left."""
        return bool(self._to_judge)

    @property
    def stale(self) -> int:
        """How many paths are stale."""
        return sum(len(table.stale) for table in self.families.values())


def _same_verdict(one: Path, other: Path) -> bool:
    """Whether two paths of equal attributes were judged alike, for the same peer."""
    return (one.peer, one.owner, one.refused, one.rule, one.effective) == (
        other.peer, other.owner, other.refused, other.rule, other.effective
    )  # fmt: skip
