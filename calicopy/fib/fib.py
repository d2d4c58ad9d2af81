"""Which routes the kernel should hold, and what has to be written so that it does.

Theory of operation. The FIB owns the desired routes and nexthop objects, and its knowledge of the actual ones. Inputs
are whole sets (pools, nodes, interfaces, blackholes, workload routes, next hops that are dead), changes (decisions,
next hop facts), and what the kernel says (a dump, an event, the results of writes). Outputs are changes of objects
(`next_hop_delta`), batches of routes (`delta`), and the time of the next ones (`next_deadline`). Objects and routes are
written side by side: a route waits for the object that it leads to, and an object goes when nothing leads there.

What is desired is found in `learned`, the difference in `tracker` for routes and in `objects` for objects. Present
inputs alone decide on desired, not the order in which they came; no step takes long.

It must not do I/O, read a clock, or touch a route that is not ours: the kernel edge tells ours by protocol and metric.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from calicopy.fib.census import PAUSE_S, Census
from calicopy.fib.holds import unexpected
from calicopy.fib.learned import FamilyRoutes
from calicopy.fib.objects import NextHops
from calicopy.fib.resolution import Underlay, Way, ways_of
from calicopy.fib.targets import Targets
from calicopy.fib.types import (
    BLACKHOLE,
    FibPool,
    KernelDump,
    NextHopChange,
    NextHopObject,
    NextHopResult,
    RouteBatch,
    RouteOp,
    RouteTarget,
    Selected,
    UnderlayAddress,
    WriteResult,
    object_target,
    workload_target,
)
from calicopy.fib.views import FibCounts, RouteStatus, counts_of, led, status_of
from calicopy.net import Encapsulation, Family, IPAddress, Packed, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts
from calicopy.seam.bfd import BfdTable

_VISIT_AT_ONCE = 5_000
"""Learned prefixes looked at per `delta` while targets are found anew: a few milliseconds."""
_CENSUS_AT = 4096


class Fib:
    """The forwarding table of this node: see the module's docstring for its rules."""

    def __init__(self) -> None:
        self._underlay = Underlay()
        self._pools: tuple[FibPool, ...] = ()
        self._targets = Targets()
        self._next_hops = NextHops(self._targets.intern)
        self._routes = {
            family: FamilyRoutes(family, self._underlay, self._next_hops, self._targets) for family in Family
        }
        self._trackers = {family: routes.tracker for family, routes in self._routes.items()}
        self._blackholes: frozenset[Prefix] = frozenset()
        self._workloads: dict[Prefix, int] = {}
        self._dump_seen = False
        self._underlay_changed = False
        self.sweeping = False
        self._census: Census | None = None
        self._census_wanted = False
        self._census_from = 0.0
        self._census_at_size = _CENSUS_AT

    # Inputs: facts

    def set_interfaces(self, interfaces: Mapping[int, InterfaceFacts]) -> None:
        """All interfaces by index. Any difference has failed writes tried again at once."""
        if self._underlay.interfaces == interfaces:
            return
        self._underlay.interfaces = dict(interfaces)
        self._underlay_changed = True
        self.retry_now()

    def set_nodes(self, nodes: Mapping[int, tuple[UnderlayAddress, ...]]) -> None:
        """All nodes of the cluster file: router id to underlay addresses. These alone are tunnel ends."""
        if self._underlay.nodes != nodes:
            self._underlay.set_nodes(nodes)
            self._underlay_changed = True

    def set_next_hops(self, changes: Mapping[IPAddress, NextHopFacts]) -> None:
        """New facts of some next hops; those not named keep theirs."""
        known = self._underlay.next_hops
        changed = {address: facts for address, facts in changes.items() if known.get(address) != facts}
        if changed:
            known.update(changed)
            self._underlay_changed = True
            self.retry_now()

    def set_dead_next_hops(self, addresses: frozenset[IPAddress]) -> None:
        """All next hops that nobody living announces, although routes to them may still be desired: packets to them are
        dropped from the next `next_hop_delta` on, whatever number of routes that is. Not without nexthop objects.
        """
        self._next_hops.set_dead(addresses)

    def abandon_holds(self) -> bool:
        """What the BFD process holds now is to be what is wanted again: it is not there any more, or not asked to be.
        Whether there was such a hold; cheap when not. One that is seen later counts again.
        """
        return self._next_hops.abandon_holds()

    def bfd_table(self) -> BfdTable | None:
        """The objects and groups that lead to next hops, when that is another table than last time; else None."""
        return self._next_hops.new_table()

    def set_tunnels(self, ifindexes: Mapping[Encapsulation, int]) -> None:
        """The interface index of each tunnel device that works."""
        if self._underlay.tunnels != ifindexes:
            self._underlay.tunnels = dict(ifindexes)
            self._underlay_changed = True

    def set_pools(self, pools: Iterable[FibPool]) -> None:
        """All pools, which do not overlap."""
        self._pools, before = tuple(pools), self._pools
        if self._pools == before:
            return
        for routes in self._routes.values():
            routes.set_pools(self._pools)

    # Inputs: routes

    def set_blackholes(self, blocks: Iterable[Prefix]) -> None:
        """All own blocks. Host prefixes among them get no blackhole: it would be the workload's own route."""
        self._blackholes = frozenset(block for block in blocks if not block.is_host)
        self._set_local()

    def set_workload_routes(self, routes: Mapping[Prefix, int]) -> None:
        """All host routes of workloads: prefix to the index of the host interface."""
        self._workloads = dict(routes)
        self._set_local()

    def _set_local(self) -> None:
        wanted: dict[Family, dict[Packed, RouteTarget]] = {family: {} for family in Family}
        for prefix in self._blackholes:
            wanted[prefix.family][prefix.packed] = BLACKHOLE
        for prefix, ifindex in self._workloads.items():
            wanted[prefix.family][prefix.packed] = self._targets.intern(workload_target(ifindex))
        for family, routes in wanted.items():
            self._routes[family].set_local(routes)

    def apply_decisions(self, family: Family, runs: Iterable[tuple[Selected | None, Iterable[Packed]]]) -> None:
        """What the decision process came to, in runs of prefixes with one selection; None: no path is left."""
        self._follow_underlay()
        self._routes[family].apply(runs)

    # Inputs: the kernel

    def dump_begins(self) -> None:
        """A dump is asked for. What happens or is written from here on it may have missed."""
        self._next_hops.dump_begins()
        for tracker in self._trackers.values():
            tracker.dump_begins()

    def kernel_state(self, dump: KernelDump) -> None:
        """A whole dump: what is there. Routes equal to what is wanted are never written."""
        self._dump_seen = True
        used = self._next_hops.used
        self._next_hops.kernel_state(dump.next_hops, dump.foreign_ids)
        self._underlay_changed = self._underlay_changed or used != self._next_hops.used
        for family, tracker in self._trackers.items():
            strays = [stray for stray in dump.strays if stray.family is family]
            tracker.kernel_state(dump.routes.get(family, {}), strays)
        self._next_hops_seen()

    def kernel_changed(self, family: Family, changes: Mapping[Packed, RouteTarget | None]) -> list[Packed]:
        """What an event said of single prefixes: our route is now this one, or is gone or hidden (None).

        Prefixes whose write failed are tried again at once: a foreign route may have gone. Gives those that were as
        wanted, and are no more.
        """
        tracker, seen = self._trackers[family], self._targets.intern_all(changes)
        drifted = [
            packed
            for packed, target in seen.items()
            if (wanted := tracker.desired.get(packed)) is not None
            and tracker.actual.get(packed) is wanted
            and target is not wanted
        ]
        tracker.kernel_changed(seen)
        return drifted

    def next_hops_changed(self, changes: Mapping[int, NextHopObject | None]) -> list[int]:
        """What an event said of single objects: ours is now this one, or is gone (None), and its routes with it.

        Gives the ids of those that were there otherwise, and that nobody of us changed.
        """
        drifted = unexpected(changes, self._next_hops.actual)
        self._forget_led(self._next_hops.changed(changes))
        self._next_hops_seen()
        return drifted

    def interfaces_lost(self, ifindexes: Collection[int]) -> None:
        """Interfaces went down, away, or lost an address: the kernel may have dropped routes there without a word.

        Objects and routes of ours over them count as unknown, and are added again where they are still wanted; the
        kernel edge finds those that did survive, and leaves them. Call it for every link or address event, also with
        none lost: failed writes are tried again at once, since an interface may have gone down and up between two looks
        at it.
        """
        self.retry_now()
        if not ifindexes:
            return
        over = self._targets.over(ifindexes)
        for tracker in self._trackers.values():
            tracker.forget(over)
        self._forget_led(self._next_hops.forget_over(ifindexes))

    def written(self, results: Iterable[WriteResult], now: float) -> None:
        """Results of batches that `delta` gave, at monotonic time `now`."""
        for result in results:
            self._trackers[result.batch.family].written(result, now)
            self._census_wanted = self._census_wanted or result.batch.op is not RouteOp.ADD

    def next_hops_written(self, results: Iterable[NextHopResult], now: float) -> None:
        """Results of the changes that `next_hop_delta` gave, all of them, at monotonic time `now`."""
        self._forget_led(self._next_hops.written(results, now))
        self._next_hops_seen()

    def _forget_led(self, gone: Collection[int]) -> None:
        lost = [self._targets.intern(object_target(number)) for number in gone]
        for tracker in self._trackers.values():
            tracker.forget(lost)

    def _next_hops_seen(self) -> None:
        """Objects came to be there, or took other ids: routes follow."""
        for number in self._next_hops.confirmed:
            for tracker in self._trackers.values():
                tracker.next_hop_is_there(number)
        self._next_hops.confirmed.clear()
        self._underlay_changed = self._underlay_changed or self._next_hops.moved
        self._next_hops.moved = False

    def allow_sweep(self, allowed: bool) -> None:
        """Whether routes and objects of ours that were there before us, and that nobody wants, may be deleted."""
        self.sweeping = self._census_wanted = self._next_hops.table_changed = allowed
        for tracker in self._trackers.values():
            tracker.allow_sweep(allowed)

    def retry_now(self) -> None:
        """Try every failed write again with the next delta."""
        self._next_hops.retry_now()
        for tracker in self._trackers.values():
            tracker.retry_now()

    # Outputs

    def next_hop_delta(self, now: float) -> list[NextHopChange]:
        """Changes of objects to write now, in order, before any route that waits. None while others are in flight."""
        self._follow_underlay()
        return self._next_hops.delta(now) if self._dump_seen else []

    def delta(self, limit: int, now: float) -> list[RouteBatch]:
        """What to write next: batches of up to `limit` prefixes in all. Nothing before the first dump was seen."""
        self._follow_underlay()
        for routes in self._routes.values():
            routes.visit(_VISIT_AT_ONCE)
        if not self._dump_seen:
            return []
        batches: list[RouteBatch] = []
        for tracker in self._trackers.values():
            room = limit - sum(len(batch.prefixes) for batch in batches)
            if room > 0:
                batches += tracker.delta(room, now)
        self._targets.touched.update(id(batch.target) for batch in batches)
        self._count(now)
        return batches

    def next_deadline(self, now: float) -> float | None:
        """When `delta` should be called next: `now` if there is something to do, None if only an input can change that.

        Results of batches in flight are such an input.
        """
        if not self.settled or self._census is not None:
            return now
        if not self._dump_seen:
            return None
        if any(tracker.has_ready for tracker in self._trackers.values()):
            return now
        times = [tracker.next_retry() for tracker in self._trackers.values()]
        if self._census_wanted:
            times.append(max(now, self._census_from))
        return min((time for time in times if time is not None), default=None)

    def next_hop_deadline(self, now: float) -> float | None:
        """The same for `next_hop_delta`."""
        if not self._dump_seen or not self._next_hops.used:
            return None
        return now if self._next_hops.has_ready else self._next_hops.next_retry()

    @property
    def settled(self) -> bool:
        """Whether every desired route follows from the present inputs: nothing is left to be visited."""
        return not self._underlay_changed and all(routes.settled for routes in self._routes.values())

    @property
    def in_sync(self) -> bool:
        """Whether a dump was seen and the kernel holds exactly what is desired, as far as known."""
        trackers = self._trackers.values()
        return self._dump_seen and self.settled and self._next_hops.idle and all(each.idle for each in trackers)

    # Views

    def desired(self, family: Family) -> Mapping[Packed, RouteTarget]:
        """What should be in the kernel. Read only."""
        return self._trackers[family].desired

    def led(self, target: RouteTarget) -> RouteTarget:
        """Where a target leads: its own hops, or what its nexthop object is wanted to be."""
        return led(self._next_hops, target, wanted=True) if target.next_hop_id else target

    @property
    def underlay(self) -> Underlay:
        """The facts of the outside that decide on targets. Read only."""
        return self._underlay

    @property
    def workload_routes(self) -> Mapping[Prefix, int]:
        """All host routes of workloads, as last told. Read only."""
        return self._workloads

    def actual(self, family: Family) -> Mapping[Packed, RouteTarget]:
        """What is in the kernel, of ours, as far as known. Read only."""
        return self._trackers[family].actual

    @property
    def next_hops(self) -> Mapping[int, NextHopObject]:
        """The nexthop objects of ours in the kernel, as far as known. Read only."""
        return self._next_hops.actual

    def status(self, prefix: Prefix) -> RouteStatus | None:
        """Everything about one prefix; None when nobody wants it and the kernel has none of ours."""
        routes, packed = self._routes[prefix.family], prefix.packed
        return status_of(
            packed,
            routes.tracker,
            self._next_hops,
            resolution=routes.resolutions.get(packed),
            local=routes.local.get(packed),
        )

    def ways(self, prefix: Prefix) -> tuple[Way, ...]:
        """How each path that a learned prefix is reached by is taken to the kernel, or why it is not."""
        routes = self._routes[prefix.family]
        resolution = routes.resolutions.get(prefix.packed)
        if resolution is None:
            return ()
        return ways_of(resolution.selection, routes.rules.find(prefix.packed), prefix.family, self._underlay)

    def prefixes(self, family: Family) -> Iterator[Packed]:
        """Every prefix that `status` knows something about: local, learned, and left over in the kernel."""
        return self._routes[family].prefixes()

    def counts(self) -> FibCounts:
        """Numbers over both families. `unprogrammed` are learned prefixes that have no usable target."""
        unprogrammed = sum(routes.unprogrammed() for routes in self._routes.values())
        return counts_of(self._trackers.values(), self._next_hops, unprogrammed=unprogrammed, in_sync=self.in_sync)

    # Inside

    def _follow_underlay(self) -> None:
        """Find all resolutions anew after facts changed."""
        while self._underlay_changed:
            self._underlay_changed = False
            for routes in self._routes.values():
                routes.follow_underlay()
            self._next_hops_seen()

    def _count(self, now: float) -> None:
        """Find what is not used any more, in slices, when something may be, and let go of it."""
        if self._census is None:
            wanted = self._census_wanted and now >= self._census_from
            wanted = wanted and not any(tracker.has_ready for tracker in self._trackers.values())
            if not wanted and len(self._targets) + sum(map(_size, self._routes.values())) < self._census_at_size:
                return
            self._census, self._census_wanted = Census(self._routes.values()), False
            flying = (batch for tracker in self._trackers.values() for batch in tracker.in_flight)
            self._targets.touched = {id(batch.target) for batch in flying}
            return
        if not self._census.step():
            return
        used = self._census.used | self._targets.touched
        self._census, self._census_from = None, now + PAUSE_S
        led = {one.next_hop_id for one in self._targets if id(one) in used}
        self._next_hops.release(led, sweep=self.sweeping)
        self._targets.keep(lambda one: id(one) in used or self._next_hops.wanted(one.next_hop_id) is not None)
        self._census_at_size = max(_CENSUS_AT, 2 * (len(self._targets) + sum(map(_size, self._routes.values()))))


def _size(routes: FamilyRoutes) -> int:
    return sum(len(rule.resolutions) for rule in routes.rules.rules())
