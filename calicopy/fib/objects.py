"""Nexthop objects: what routes to other nodes name, so that a change of the way to a node is one message, and no route.

Theory of operation. A `NextHop` stands for a key: a remote node under a pool's rule, or a group of those (ECMP). It has
an id for life; what is behind the id changes, and whoever routes to it does not care. What an object should be follows
from the present alone: its hop; a blackhole while it has no hop, or while nobody living announces its next hop
(`set_dead`), so that packets for a node that is gone do not leave by the default route; for a group, those members that
are in use and that the kernel holds. Desired and actual stand side by side, and only a confirmed write moves actual.

The kernel's rules (net/ipv4/nexthop.c), which decide on the order of `delta`: a blackhole is in no group of several, so
groups are written between hops and blackholes; groups and single objects do not become each other; an object that is
deleted takes its routes along, and its places in groups, and so does a link that goes down, without a word.

What BFD holds (`calicopy.fib.holds`) is not written to until its next hop is dead, and is in no group meanwhile.

An id follows from its key where it can, so that an agent that starts finds its objects of before (`_choose`): one with
the content that is wanted is taken as it is. Ids that others hold are left alone.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from errno import ENOENT

from calicopy.fib.held import adoptable, leave_groups, over, take_away
from calicopy.fib.holds import Holds, crossed
from calicopy.fib.nexthop import NextHop, free_id, likely_id, table_of
from calicopy.fib.resolution import Found, NextHopKey
from calicopy.fib.retries import Failure, Retries
from calicopy.fib.types import (
    Hop,
    NextHopChange,
    NextHopObject,
    NextHopOp,
    NextHopResult,
    RouteTarget,
    object_target,
)
from calicopy.net import IPAddress
from calicopy.seam.bfd import BfdTable

NO_IDS: frozenset[int] = frozenset()


class NextHops:
    """All nexthop objects of ours. `used`: whether the kernel has such things; before that is known, it has not."""

    def __init__(self, intern: Callable[[RouteTarget], RouteTarget]) -> None:
        self.used = False
        self.actual: dict[int, NextHopObject] = {}
        self.moved = False  # whether one had to take another id: all that leads to it is to be found anew
        self.confirmed: set[int] = set()  # ids that came to be there; the reader empties it
        self.holds = Holds(self.actual)
        self.table_changed = True  # since `new_table` was asked
        self._intern = intern
        self._wanted: dict[int, NextHop] = {}
        self._by_keys: dict[tuple[NextHopKey, ...], NextHop] = {}
        self._foreign: set[int] = set()
        self._dead: frozenset[IPAddress] = frozenset()
        self._dirty: dict[int, None] = {}
        self._unwanted: dict[int, None] = {}  # may be deleted: no route leads there
        self._in_flight: dict[int, NextHopChange] = {}
        self._doubted: set[int] = set()  # in flight, and perhaps gone again
        self._since_dump: set[int] = set()
        self._retries: Retries[int] = Retries()

    # -- what is desired

    def lead(self, found: Iterable[Found]) -> RouteTarget | None:
        """The target for routes that these paths lead; None when no path has a way, or no id is left."""
        ways = {key: way if isinstance(way, Hop) else None for key, way in found if key is not None}
        for key, hop in ways.items():
            known = self._by_keys.get((key,))
            if known is not None and known.hop != hop:
                known.hop = hop
                self._touch(known)
        if not any(ways.values()):
            return None
        members = [self._single(key, ways[key]) for key in sorted(ways, key=NextHopKey.order)]
        there = tuple(member for member in members if member is not None)
        if len(there) < len(members):
            return None
        found_one = there[0] if len(there) == 1 else self._group(there)
        return None if found_one is None else found_one.target

    def _single(self, key: NextHopKey, hop: Hop | None) -> NextHop | None:
        return self._by_keys.get((key,)) or self._new((key,), hop, ())

    def _group(self, members: tuple[NextHop, ...]) -> NextHop | None:
        keys = tuple(member.keys[0] for member in members)
        return self._by_keys.get(keys) or self._new(keys, None, members)

    def _new(self, keys: tuple[NextHopKey, ...], hop: Hop | None, members: tuple[NextHop, ...]) -> NextHop | None:
        one = NextHop(keys, 0, object_target(0), hop, members)
        if not self._choose(one):
            return None
        self._by_keys[keys] = one
        for member in members:
            member.groups.append(one)
        return one

    def _choose(self, one: NextHop) -> bool:
        """Give it an id: that of an object of ours from before with the same content, or a free one; False for none."""
        likely = likely_id(one.keys)
        number = None
        if one.hop is not None or one.members:  # else it needs none yet
            taken = self._wanted.keys() | self._in_flight.keys()
            number = adoptable(self.actual, self.whole(one), likely, taken=taken)
        number = number or free_id(likely, self._is_free)
        if number is None:
            return False
        one.id, one.target = number, self._intern(object_target(number))
        self._wanted[number], self.table_changed = one, True
        self._unwanted.pop(number, None)
        self._touch(one)
        return True

    def _is_free(self, number: int) -> bool:
        taken = (self.actual, self._wanted, self._foreign, self._in_flight)
        return not any(number in part for part in taken)

    def _move(self, one: NextHop) -> None:
        """Its id is not ours to have: it takes another one."""
        del self._wanted[one.id]
        self._retries.forget(one.id)
        self.moved = True
        if not self._choose(one):
            del self._by_keys[one.keys]

    def _touch(self, one: NextHop) -> None:
        """Compare it, and the groups that it is in, with the next delta, whatever failed before."""
        for changed in (one, *one.groups):
            self._dirty[changed.id] = None
            self._retries.forget(changed.id)

    def set_dead(self, addresses: frozenset[IPAddress]) -> None:
        """All next hops that nobody living announces."""
        if addresses is self._dead:
            return
        changed, self._dead = self._dead ^ addresses, addresses
        for one in self._wanted.values() if changed else ():
            if not one.members and one.keys[0].next_hop in changed:
                self._touch(one)

    def is_dead(self, one: NextHop) -> bool:
        """Whether packets that are led there are dropped although somebody wants them led there."""
        return all(self.way(single) is None for single in one.members or (one,))

    def is_held(self, one: NextHop) -> bool:
        """Whether packets that are led there are dropped since BFD holds all that is not dead."""
        return all(self.way(single) is None or single.id in self.holds for single in one.members or (one,))

    def abandon_holds(self) -> bool:
        """What is held now is brought to what is wanted; whether there was something."""
        ids = self.holds.let_go()
        for number in ids:
            if number in self._wanted:
                self._touch(self._wanted[number])
        return bool(ids)

    def new_table(self) -> BfdTable | None:
        """The objects and groups that lead to next hops, when they are others than last time."""
        if not self.table_changed:
            return None
        self.table_changed = False
        return table_of(self._wanted.values())

    def way(self, one: NextHop) -> Hop | None:
        """The hop that a single one should have; None for a blackhole."""
        return None if one.keys[0].next_hop in self._dead else one.hop

    def _content(self, one: NextHop, written: Collection[int] = NO_IDS) -> NextHopObject:
        """What it should be, when those just `written` are what they should be too."""
        if not one.members:
            return NextHopObject(one.id, one.family, self.way(one))
        in_use: dict[Hop, int] = {}
        for member in one.members:
            hop, held = self.way(member), self.actual.get(member.id)
            if hop is not None and (member.id in written or (held is not None and held.hop == hop)):
                in_use.setdefault(hop, member.id)
        numbers = list(in_use.values()) or [one.id for one in one.members if one.id in self.actual][:1]
        return NextHopObject(one.id, one.family, members=tuple((number, 1) for number in sorted(numbers)))

    # -- what is written

    @property
    def idle(self) -> bool:
        """Whether every object is as it should be, as far as known."""
        return not (self._dirty or self._in_flight or self.failures)

    @property
    def has_ready(self) -> bool:
        """Whether `delta` may have something to give. While changes are in flight, their results come first."""
        return bool(self._dirty) and not self._in_flight

    @property
    def failures(self) -> Mapping[int, Failure]:
        """The ids whose last change failed."""
        return self._retries.failures

    def next_retry(self) -> float | None:
        """When the next failed change is due."""
        return self._retries.next_due()

    def retry_now(self) -> None:
        """Try every failed change again."""
        self._dirty.update(dict.fromkeys(self._retries.all_now()))

    def delta(self, now: float) -> list[NextHopChange]:
        """What to write now, in this order; in flight from here on, until `written`."""
        if self._in_flight:
            return []
        self._dirty.update(dict.fromkeys(self._retries.due(now)))
        if not self._dirty:
            return []
        waiting, self._dirty = self._dirty, {}
        wanted = [self._wanted[number] for number in waiting if number in self._wanted]
        singles = [self._change(self._content(one)) for one in wanted if not one.members]
        hops = [change for change in singles if change is not None and not change.object.is_blackhole]
        # What failed before may fail again: a group must not fail with it.
        written = frozenset(change.object.id for change in hops) - self.failures.keys()
        groups = {one.id: one for one in wanted if one.members}
        groups |= {group.id: group for number in written for group in self._wanted[number].groups}
        changes = hops + [
            change
            for group in groups.values()
            if (group.id in waiting or group.id not in self.failures)
            if (change := self._change(self._content(group, written))) is not None
        ]
        # A member that drops packets must have left all groups of several: it is in none that is about to be written.
        drops = [change for change in singles if change is not None and change.object.is_blackhole]
        changes += leave_groups(self.actual, {change.object.id for change in drops}, but=self._wanted) + drops
        changes += self._deletes(number for number in waiting if number in self._unwanted)
        self._in_flight = {change.object.id: change for change in changes}
        return changes

    def _change(self, wanted: NextHopObject) -> NextHopChange | None:
        held, one = self.actual.get(wanted.id), self._wanted[wanted.id]
        if held == wanted or (wanted.is_blackhole and (one.members or (held is None and one.hop is None))):
            self._retries.forget(wanted.id)
            return None  # there is no group of nothing, and what has no way needs no blackhole before it had one
        is_dead = not one.members and one.keys[0].next_hop in self._dead
        if wanted.id in self.holds and not is_dead:
            self._retries.forget(wanted.id)
            return None
        op = NextHopOp.ADD if held is None else NextHopOp.REPLACE
        return NextHopChange(op, wanted, over_hold=is_dead or (held is not None and held.held))

    def _deletes(self, numbers: Iterable[int]) -> list[NextHopChange]:
        """Groups go before their members: what is in a group that the kernel holds, stays."""
        members = {number for held in self.actual.values() for number, _ in held.members}
        found = []
        for number in numbers:
            held = self.actual.get(number)
            if held is None:
                del self._unwanted[number]
            elif number not in members:
                found.append(NextHopChange(NextHopOp.DELETE, held))
        return found

    def written(self, results: Iterable[NextHopResult], now: float) -> frozenset[int]:
        """Take the results of a delta; gives the ids that turned out to be gone, and all routes to them with them."""
        gone: set[int] = set()
        for result in results:
            number = result.change.object.id
            self._in_flight.pop(number, None)
            self._since_dump.add(number)
            if result.foreign:
                self._taken_by_others(number)
            elif result.held:
                self._see({number: NextHopObject(number, result.change.object.family, held=True)}, NO_IDS)
            elif result.errno == 0 or (result.change.op is NextHopOp.DELETE and result.errno == ENOENT):
                gone |= self._done(result.change)
            elif result.change.op is NextHopOp.REPLACE and result.errno == ENOENT:
                gone |= self.gone([number])
            else:
                self._retries.failed(number, result.errno, now)
                self._refresh_groups(number)
        self._doubted.clear()
        return frozenset(gone)

    def _done(self, change: NextHopChange) -> set[int]:
        number = change.object.id
        self._retries.forget(number)
        self._dirty.update(self._unwanted)  # members of a group that is another now may go
        if change.op is NextHopOp.DELETE:
            self.actual.pop(number, None)
            self._unwanted.pop(number, None)
            return set()
        members = tuple(member for member in change.object.members if member[0] in self.actual)
        self.actual[number] = replace(change.object, members=members)
        self.holds.note(number)
        if number in self._doubted or (change.object.members and not members):
            return self.gone([number])
        self.confirmed.add(number)
        one = self._wanted.get(number)
        if one is not None and self._content(one) != self.actual[number]:
            self._dirty[number] = None  # something else is wanted by now
        self._refresh_groups(number)
        for member in one.members if one is not None else ():
            if member.id in self.failures and self.way(member) is None:  # it had to leave the group first
                self._dirty[member.id] = None
        return set()

    def _refresh_groups(self, number: int) -> None:
        one = self._wanted.get(number)
        self._dirty.update((group.id, None) for group in (one.groups if one is not None else ()))

    def _taken_by_others(self, number: int) -> None:
        self.actual.pop(number, None)
        self._unwanted.pop(number, None)
        self._foreign.add(number)
        if number in self._wanted:
            self._move(self._wanted[number])

    # -- what the kernel says

    def dump_begins(self) -> None:
        """A dump is asked for: what is written from here on, it may have seen or not."""
        self._since_dump = set(self._in_flight)

    def kernel_state(self, held: Mapping[int, NextHopObject] | None, foreign: Collection[int]) -> None:
        """Take a dump of all objects of ours as what is there; None: the kernel has no objects."""
        self.used = held is not None
        known = self._since_dump | self._in_flight.keys()
        self._foreign = set(foreign) - (self.actual.keys() & known)
        self._see({**dict.fromkeys(self.actual.keys() - (held or {}).keys()), **(held or {})}, known)
        for number in self._foreign & self._wanted.keys():
            self._move(self._wanted[number])

    def changed(self, changes: Mapping[int, NextHopObject | None]) -> frozenset[int]:
        """What an event said of single objects: None: gone, or another's. Gives the ids that are gone: also those that
        a dump has said so of meanwhile, since it told nothing of routes.
        """
        gone = {number for number, now in changes.items() if now is None}
        self._since_dump |= changes.keys()
        self._doubted |= gone & self._in_flight.keys()
        self._doubted |= crossed(changes, self._in_flight)
        gone -= self._in_flight.keys()
        self._see({number: now for number, now in changes.items() if now is not None}, self._in_flight.keys())
        return frozenset(self.gone(gone) | gone)

    def _see(self, held: Mapping[int, NextHopObject | None], known: Collection[int]) -> None:
        for number, now in held.items():
            if number in known or self.actual.get(number) == now:
                continue
            if now is None:
                del self.actual[number]
            else:
                self.actual[number] = now
                self.holds.note(number)
                self.confirmed.add(number)
            self._dirty[number] = None
            self._refresh_groups(number)
            one = self._wanted.get(number)
            if one is not None and now is not None and bool(now.members) != bool(one.members):
                self._move(one)

    def gone(self, numbers: Iterable[int]) -> set[int]:
        """These are not there any more, nor in groups; gives them, and the groups that went with their last member."""
        lost, fewer = take_away(self.actual, numbers)
        for number in lost | fewer:
            self._dirty[number] = None
            self._refresh_groups(number)
        return lost

    def forget_over(self, ifindexes: Collection[int]) -> frozenset[int]:
        """Take objects on these interfaces as gone, for all that is known; gives all ids that are gone with them."""
        self._doubted.update(
            number
            for number, change in self._in_flight.items()
            if change.object.hop is not None and change.object.hop.ifindex in ifindexes
        )
        return frozenset(self.gone(over(self.actual, ifindexes)))

    # -- what is not used any more

    def release(self, used: Collection[int], *, sweep: bool) -> None:
        """Let go of all that none of the `used` ids needs. `sweep`: also of what was there before us."""
        for one in sorted(self._wanted.values(), key=lambda one: not one.members):  # groups first
            if one.id in used or one.groups:
                continue
            del self._wanted[one.id], self._by_keys[one.keys]
            self.table_changed = True
            self._retries.forget(one.id)
            for member in one.members:
                member.groups.remove(one)
            self._unwanted[one.id] = None
        if sweep:
            self._unwanted.update(dict.fromkeys(self.actual.keys() - self._wanted.keys() - set(used)))
        self._dirty.update(self._unwanted)

    # -- views

    def wanted(self, number: int) -> NextHop | None:
        """The wanted object with this id."""
        return self._wanted.get(number)

    def whole(self, one: NextHop) -> NextHopObject:
        """What it should be, once all members are what they should be."""
        return self._content(one, frozenset(member.id for member in one.members))
