"""An update group: peers that hear the same, and share the work of finding out what that is.

Theory of operation: `table` is what the members were told, prefix by prefix. Prefixes that something changed for are
marked, and worked off in slices: each gets its routes anew, and prefixes that go from the same routes to the same other
ones go out together, in one command for all members alike. Changes may come without end: what is marked meanwhile waits
for its turn, and tables get half of a slice. Only the source of a path, the node that it began at and the
peer that it leads to differ from the others: they do not hear it. A peer that joins is sent the table, in slices too,
together with those that joined at the same time. `withdrawn` remembers what was withdrawn lately, for those that may
not have heard it; who is away for longer keeps the table of then as what it may hold (`age`).
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary, ref

from calicopy.net import IPAddress, Packed
from calicopy.policy import AdvertiseScope
from calicopy.rib.export import Exporter, ExportTarget
from calicopy.rib.routes import OutAttributes, OutBatch, OutDelta, OutRoute, OutRoutes

NOBODY: frozenset[str] = frozenset()
Peers = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """What those that went away in some minute may hold: a table, and what had been withdrawn shortly before."""

    table: Mapping[Packed, OutRoutes]
    withdrawn: Mapping[tuple[int, Packed], None]


@dataclass(slots=True)
class Member:
    """A peer of the group. The speaker may hold for it what it is not told: `stale`, as (path id, prefix), and `known`,
    tables that it was told before; while it is away, `held` too. `returns`: so it may also be told again what is
    withdrawn until it is sent the table. `due` is the turn after which nothing waits of what did when its stale routes
    were first to be withdrawn.
    """

    key: str
    router_id: int
    address: IPAddress
    returns: bool = False
    stale: set[tuple[int, Packed]] = field(default_factory=set)
    known: list[dict[Packed, OutRoutes]] = field(default_factory=list)
    held: Held | None = None
    due: int | None = None


@dataclass(slots=True)
class _Sync:
    """Peers that are sent the table, and what of it is left."""

    peers: Peers
    queue: list[Packed]


class Plan:
    """Announcements and withdrawals while they are gathered, by who hears them."""

    def __init__(self, target: ExportTarget) -> None:
        self._target = target
        self._announce: dict[Peers, dict[tuple[int, OutAttributes], list[Packed]]] = {}
        self._withdraw: dict[Peers, dict[int, list[Packed]]] = {}

    def announce(self, peers: Peers, route: OutRoute, prefixes: Iterable[Packed]) -> None:
        """These hear `route`."""
        if peers:
            self._announce.setdefault(peers, {}).setdefault((route.path_id, route.out), []).extend(prefixes)

    def withdraw(self, peers: Peers, path_id: int, prefixes: Iterable[Packed]) -> None:
        """These are told that it is gone."""
        if peers:
            self._withdraw.setdefault(peers, {}).setdefault(path_id, []).extend(prefixes)

    def deltas(self) -> list[OutDelta]:
        """All of it; nobody hears a withdrawal before the last announcement."""
        family = self._target.family
        gone = {
            peers: tuple(OutBatch(path_id, None, prefixes) for path_id, prefixes in batches.items())
            for peers, batches in self._withdraw.items()
        }
        alone = len(self._announce.keys() | gone.keys()) == 1
        found = [
            OutDelta(
                peers,
                family,
                tuple(OutBatch(path_id, out, prefixes) for (path_id, out), prefixes in batches.items()),
                gone.pop(peers, ()) if alone else (),
            )
            for peers, batches in self._announce.items()
        ]
        return found + [OutDelta(peers, family, (), batches) for peers, batches in gone.items()]


class UpdateGroup:
    """The peers of one target. `routes_of` gives what is announced of a prefix now, by the exporter."""

    def __init__(
        self, target: ExportTarget, exporter: Exporter, routes_of: Callable[[UpdateGroup, Packed], OutRoutes | None]
    ) -> None:
        self.target = target
        self.exporter = exporter
        self.generation = ref(exporter)  # what its answers are kept by, while it lives
        self.members: dict[str, Member] = {}
        self.table: dict[Packed, OutRoutes] = {}
        self._withdrawn: dict[tuple[int, Packed], None] = {}  # since `age`, and before
        self._withdrawn_before: dict[tuple[int, Packed], None] = {}
        self.away: dict[str, Member] = {}  # were members, and are told again by the speaker itself when they are back
        self._routes_of = routes_of
        self._interned: WeakValueDictionary[tuple[OutRoute, ...], OutRoutes] = WeakValueDictionary()
        self._uses: Counter[OutRoutes] = Counter()
        self._marked: dict[Packed, None] = {}
        self._queue: list[Packed] = []
        self._turns = 0  # how often the queue was worked off
        self._all_marked = 0  # the turn after which no prefix waits that was marked along with all others
        self._newcomers: dict[str, None] = {}
        self._syncs: list[_Sync] = []
        self._indexed = True  # what follows is true to the members
        self._everybody: Peers = ()
        self._without: dict[frozenset[str], Peers] = {}
        self._by_router: dict[int, set[str]] = {}
        self._by_address: dict[IPAddress, set[str]] = {}

    @property
    def learns(self) -> bool:
        """Whether its members hear what was learned."""
        return self.target.scope is AdvertiseScope.ALL

    def set_exporter(self, exporter: Exporter) -> None:
        """Other attributes, or others who hear: the caller marks every prefix."""
        self.exporter, self.generation = exporter, ref(exporter)

    def intern(self, routes: tuple[OutRoute, ...]) -> OutRoutes | None:
        """The one object for these routes; None for none."""
        if not routes:
            return None
        found = self._interned.get(routes)
        if found is None:
            found = self._interned[routes] = OutRoutes(routes)
        return found

    # -- members

    def join(self, member: Member) -> None:
        """A peer that was told nothing yet, or that must be told all again."""
        self.away.pop(member.key, None)
        self.members[member.key] = member
        self._newcomers[member.key] = None
        self._drop_sync(member.key)
        self._indexed = False

    def leave(self, key: str) -> None:
        """The peer's session is lost. What it was told the speaker tells it again by itself when it comes back."""
        self.away[key] = self.members.pop(key)
        self._newcomers.pop(key, None)
        self._drop_sync(key)
        self._indexed = False

    @property
    def withdrawn(self) -> dict[tuple[int, Packed], None]:
        """What was withdrawn lately, as (path id, prefix)."""
        return self._withdrawn_before | self._withdrawn

    def age(self) -> None:
        """Forget what was withdrawn before the last call. Who is away holds no more than the table now, and what was
        withdrawn lately.
        """
        away = [member for member in self.away.values() if member.held is None]
        if away:
            held = Held(dict(self.table), self.withdrawn)
            for member in away:
                member.held = held
        self._withdrawn_before, self._withdrawn = self._withdrawn, {}

    def _drop_sync(self, key: str) -> None:
        for sync in self._syncs:
            sync.peers = tuple(peer for peer in sync.peers if peer != key)
        self._syncs = [sync for sync in self._syncs if sync.peers]

    def _index(self) -> None:
        """Bring the indexes up to date, once for all members that came and went. Only who is being told, or was told,
        is told of changes: newcomers get the table.
        """
        if self._indexed:
            return
        self._indexed = True
        self._everybody = tuple(key for key in self.members if key not in self._newcomers)
        self._without = {}
        self._by_router, self._by_address = {}, {}
        for each in (*self.members.values(), *self.away.values()):
            self._by_router.setdefault(each.router_id, set()).add(each.key)
            self._by_address.setdefault(each.address, set()).add(each.key)

    def deaf(self, route: OutRoute) -> frozenset[str]:
        """Who does not hear it, of the members and those away: see OutRoute; and whom its next hop is (RFC 4271 section
        5.1.3).
        """
        self._index()
        found: set[str] = set()
        if route.source in self.members or route.source in self.away:
            found.add(route.source)
        if route.originator is not None and route.originator in self._by_router:
            found |= self._by_router[route.originator]
        if route.out.next_hop in self._by_address:
            found |= self._by_address[route.out.next_hop]
        return frozenset(found) if found else NOBODY

    def _all_but(self, deaf: frozenset[str]) -> Peers:
        self._index()
        if not deaf:
            return self._everybody
        found = self._without.get(deaf)
        if found is None:
            found = self._without[deaf] = tuple(key for key in self._everybody if key not in deaf)
        return found

    # -- changes

    def mark(self, prefixes: Iterable[Packed]) -> None:
        """Something changed for these."""
        if self.members:
            self._marked.update(dict.fromkeys(prefixes))

    def mark_again(self, prefixes: list[Packed]) -> None:
        """The same for many at once: it takes no time that goes with their number."""
        if self.members and prefixes:
            self._queue += prefixes
            self._all_marked = self._turns + 1

    @property
    def pending(self) -> bool:
        """Whether there is something left to work off."""
        return bool(self._queue or self._marked or self._newcomers or self._syncs)

    def is_told(self, key: str) -> bool:
        """Whether the member was sent the whole table, and all that waited when this was first asked after that."""
        if key in self._newcomers or any(key in sync.peers for sync in self._syncs):
            return False
        member = self.members[key]
        if member.due is None:
            member.due = self._turns + bool(self._queue) + bool(self._marked)
        return self._turns >= max(member.due, self._all_marked)

    def advance(self, limit: int) -> tuple[list[OutDelta], int]:
        """Work off up to `limit` prefixes: (what is to be told, how many are left of the limit)."""
        plan = Plan(self.target)
        kept = min((limit + 1) // 2, sum(len(sync.queue) for sync in self._syncs))
        limit -= self._take_marked(limit - kept, plan)
        if self._newcomers and self._turns >= self._all_marked:  # before, the table is that of another time
            self._syncs.append(_Sync(tuple(self._newcomers), list(self.table)))
            self._newcomers.clear()
            self._indexed = False
        limit -= self._take_syncs(limit, plan)
        return plan.deltas(), limit

    def _take_marked(self, limit: int, plan: Plan) -> int:
        done = 0
        moves: dict[tuple[OutRoutes | None, OutRoutes | None], list[Packed]] = {}
        while done < limit and (self._queue or self._marked):
            if not self._queue:
                self._queue, self._marked = list(reversed(self._marked)), {}
            part = self._queue[done - limit :]
            del self._queue[done - limit :]
            done += len(part)
            self._turns += not self._queue
            for prefix in part:
                old, new = self.table.get(prefix), self._routes_of(self, prefix)
                if new is not old:
                    moves.setdefault((old, new), []).append(prefix)
                    if new is None:
                        del self.table[prefix]
                    else:
                        self.table[prefix] = new
        for (old, new), prefixes in moves.items():
            self._move(old, new, prefixes, plan)
        return done

    def _move(self, old: OutRoutes | None, new: OutRoutes | None, prefixes: list[Packed], plan: Plan) -> None:
        """Plan what the members are told when these prefixes go from `old` to `new`."""
        before = {} if old is None else {route.path_id: route for route in old.routes}
        for route in () if new is None else new.routes:
            told, deaf = before.pop(route.path_id, None), self.deaf(route)
            if told is None:
                plan.announce(self._all_but(deaf), route, prefixes)
                continue
            deaf_before = self.deaf(told)
            if told.out != route.out:
                plan.announce(self._all_but(deaf), route, prefixes)
            elif deaf_before - deaf:
                plan.announce(self._among(deaf_before - deaf), route, prefixes)
            if deaf != deaf_before:
                self._withdraw(self._among(deaf - deaf_before), route.path_id, prefixes, plan)
        for path_id, told in before.items():
            self._withdraw(self._all_but(self.deaf(told)), path_id, prefixes, plan)
        if old is not None:
            self._uses[old] -= len(prefixes)
            if not self._uses[old]:
                del self._uses[old]
        if new is not None:
            self._uses[new] += len(prefixes)

    def _among(self, keys: frozenset[str]) -> Peers:
        self._index()
        return tuple(key for key in self._everybody if key in keys)

    def _withdraw(self, peers: Peers, path_id: int, prefixes: list[Packed], plan: Plan) -> None:
        plan.withdraw(peers, path_id, prefixes)
        gone = dict.fromkeys((path_id, prefix) for prefix in prefixes)
        self._withdrawn.update(gone)
        for key in self._newcomers:
            if self.members[key].returns:
                self.members[key].stale.update(gone)

    def _take_syncs(self, limit: int, plan: Plan) -> int:
        done = 0
        for sync in self._syncs:
            groups: dict[OutRoutes, list[Packed]] = {}
            part = sync.queue[: limit - done]
            del sync.queue[: limit - done]
            done += len(part)
            for prefix in part:
                routes = self.table.get(prefix)
                if routes is not None:
                    groups.setdefault(routes, []).append(prefix)
            for routes, prefixes in groups.items():
                for route in routes.routes:
                    deaf = self.deaf(route)
                    peers = tuple(key for key in sync.peers if key not in deaf) if deaf else sync.peers
                    plan.announce(peers, route, prefixes)
            if done >= limit:
                break
        self._syncs = [sync for sync in self._syncs if sync.queue]
        return done

    # -- what is stale

    def hears(self, key: str, path_id: int, prefix: Packed) -> bool:
        """Whether the member is told the prefix under this path id."""
        routes = self.table.get(prefix)
        return routes is not None and any(
            route.path_id == path_id and key not in self.deaf(route) for route in routes.routes
        )

    def take_stale(self, key: str, limit: int) -> tuple[list[OutDelta], int]:
        """Withdraw up to `limit` of what the member may have heard and is not told: (deltas, how many are left).

        Without ADD-PATH a withdrawal does not name its path: one for an id of before takes away what the peer was just
        told of the prefix. The speaker has to forget both, and the latter is told again.
        """
        member = self.members[key]
        plan, again = Plan(self.target), Plan(self.target)
        gone: dict[int, list[Packed]] = {}
        told: dict[Packed, OutRoute] = {}
        while limit > 0 and (member.known or member.stale):
            limit -= 1
            if member.known and not member.known[-1]:
                member.known.pop()
                continue
            if member.known:
                prefix, routes = member.known[-1].popitem()
                pairs = [(route.path_id, prefix) for route in routes.routes]
            else:
                pairs = [member.stale.pop()]
            for path_id, prefix in pairs:
                if not self.hears(key, path_id, prefix):
                    gone.setdefault(path_id, []).append(prefix)
                    if not self.target.add_path and (now := self.table.get(prefix)) is not None:
                        told.update((prefix, route) for route in now.routes if key not in self.deaf(route))
        for path_id, prefixes in gone.items():
            plan.withdraw((key,), path_id, prefixes)
            self._withdrawn.update(dict.fromkeys((path_id, prefix) for prefix in prefixes))
        for prefix, route in told.items():
            plan.withdraw((key,), route.path_id, (prefix,))
            again.announce((key,), route, (prefix,))
        return plan.deltas() + again.deltas(), limit

    # -- views

    def count(self, key: str) -> int:
        """How many prefixes the member is told."""
        return sum(
            uses for routes, uses in self._uses.items() if any(key not in self.deaf(route) for route in routes.routes)
        )
