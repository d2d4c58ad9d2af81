"""Which routes the kernel should hold, and what has to be written so that it does.

Theory of operation. The FIB owns the desired routes and its knowledge of the actual ones. Inputs are whole sets (pools,
nodes, interfaces, blackholes, workload routes), changes (decisions, next hop facts), and what the kernel says (a dump,
an event, the results of writes). Outputs are batches (`delta`) and the time of the next one (`next_deadline`).

Desired is layered: a workload's host route wins over a blackhole of an own block, which wins over what was learned.
Learned prefixes share `Resolution`s; when facts change these are found anew, and their prefixes visited in slices, so
that no step takes long. Present inputs alone decide on desired, not the order in which they came.

It must not do I/O, read a clock, or touch a route that is not ours: the kernel edge tells ours by protocol and metric.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from calicopy.fib.resolution import Resolution, Rule, RuleIndex, Underlay, Way, resolve_selection, ways_of
from calicopy.fib.tracker import RouteTracker
from calicopy.fib.types import (
    BLACKHOLE,
    FibPool,
    KernelDump,
    RouteBatch,
    RouteTarget,
    Selected,
    UnderlayAddress,
    WriteResult,
    workload_target,
)
from calicopy.fib.views import FibCounts, RouteStatus, status_of
from calicopy.net import Encapsulation, Family, IPAddress, Packed, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

_VISIT_AT_ONCE = 5_000
"""Learned prefixes looked at per `delta` while targets are found anew: a few milliseconds."""
_PRUNE_AT = 4096


class _Learned:
    """One family's learned prefixes with their resolutions, and the part of the table still to be visited."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.rules = RuleIndex(family, ())
        self.resolutions: dict[Packed, Resolution] = {}
        self.to_visit: Iterator[Packed] | None = None
        self.reruled = False


class Fib:
    """The forwarding table of this node: see the module's docstring for its rules."""

    def __init__(self) -> None:
        self._underlay = Underlay()
        self._pools: tuple[FibPool, ...] = ()
        self._trackers = {family: RouteTracker(family) for family in Family}
        self._learned = {family: _Learned(family) for family in Family}
        self._local: dict[Family, dict[Packed, RouteTarget]] = {family: {} for family in Family}
        self._blackholes: frozenset[Prefix] = frozenset()
        self._workloads: dict[Prefix, int] = {}
        self._targets: dict[RouteTarget, RouteTarget] = {BLACKHOLE: BLACKHOLE}
        self._prune_at = _PRUNE_AT
        self._dump_seen = False
        self._underlay_changed = False

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
        for learned in self._learned.values():
            learned.rules = RuleIndex(learned.family, self._pools)
            learned.reruled = True
            learned.to_visit = iter(list(learned.resolutions))

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
            wanted[prefix.family][prefix.packed] = self._intern(workload_target(ifindex))
        for family, routes in wanted.items():
            before, self._local[family] = self._local[family], routes
            changes: list[tuple[Packed, RouteTarget | None]] = [*routes.items()]
            changes += [(packed, self._learned_target(family, packed)) for packed in before.keys() - routes.keys()]
            self._trackers[family].want(changes, urgent=True)

    def apply_decisions(self, family: Family, runs: Iterable[tuple[Selected | None, Iterable[Packed]]]) -> None:
        """What the decision process came to, in runs of prefixes with one selection; None: no path is left."""
        self._follow_underlay()
        learned, local = self._learned[family], self._local[family]
        find, by_start, resolutions = learned.rules.find, learned.rules.by_start, learned.resolutions
        wanted: list[tuple[Packed, RouteTarget | None]] = []
        for selection, prefixes in runs:
            if selection is None:
                for packed in prefixes:
                    resolutions.pop(packed, None)
                    wanted.append((packed, None))
                continue
            for packed in prefixes:
                rule = by_start.get(packed[:3]) or find(packed)
                resolution = rule.resolutions.get(id(selection)) or self._resolve(selection, rule, family)
                resolutions[packed] = resolution
                wanted.append((packed, resolution.target))
        if local:
            wanted = [change for change in wanted if change[0] not in local]
        self._trackers[family].want(wanted)

    # Inputs: the kernel

    def kernel_state(self, dump: KernelDump) -> None:
        """A whole dump: what is there. Routes equal to what is wanted are never written."""
        self._dump_seen = True
        for family, tracker in self._trackers.items():
            routes = self._intern_all(dump.routes.get(family, {}))
            tracker.kernel_state(routes, [stray for stray in dump.strays if stray.family is family])

    def kernel_changed(self, family: Family, changes: Mapping[Packed, RouteTarget | None]) -> None:
        """What an event said of single prefixes: our route is now this one, or is gone or hidden (None).

        Prefixes whose write failed are tried again at once: a foreign route may have gone.
        """
        self._trackers[family].kernel_changed(self._intern_changes(changes))

    def interfaces_lost(self, ifindexes: Collection[int]) -> None:
        """Interfaces went down, away, or lost an address: the kernel may have dropped routes there without a word.

        Ours over them count as unknown, and are added again where they are still wanted; the kernel edge finds those
        that did survive, and leaves them. Call it for every link or address event, also with none lost: failed writes
        are tried again at once, since an interface may have gone down and up between two looks at it.
        """
        self.retry_now()
        for tracker in self._trackers.values():
            tracker.forget_routes_over(frozenset(ifindexes))

    def written(self, results: Iterable[WriteResult], now: float) -> None:
        """Results of batches that `delta` gave, at monotonic time `now`."""
        for result in results:
            self._trackers[result.batch.family].written(result, now)

    def allow_sweep(self, allowed: bool) -> None:
        """Whether routes of ours that were there before us, and that nobody wants, may be deleted."""
        for tracker in self._trackers.values():
            tracker.allow_sweep(allowed)

    def retry_now(self) -> None:
        """Try every failed write again with the next delta."""
        for tracker in self._trackers.values():
            tracker.retry_now()

    # Outputs

    def delta(self, limit: int, now: float) -> list[RouteBatch]:
        """What to write next: batches of up to `limit` prefixes in all. Nothing before the first dump was seen."""
        self._follow_underlay()
        for learned in self._learned.values():
            self._visit(learned, _VISIT_AT_ONCE)
        if not self._dump_seen:
            return []
        batches: list[RouteBatch] = []
        for tracker in self._trackers.values():
            room = limit - sum(len(batch.prefixes) for batch in batches)
            if room > 0:
                batches += tracker.delta(room, now)
        return batches

    def next_deadline(self, now: float) -> float | None:
        """When `delta` should be called next: `now` if there is something to do, None if only an input can change that.

        Results of batches in flight are such an input.
        """
        if not self.settled:
            return now
        if not self._dump_seen:
            return None
        if any(tracker.has_ready for tracker in self._trackers.values()):
            return now
        retries = [tracker.next_retry() for tracker in self._trackers.values()]
        return min((retry for retry in retries if retry is not None), default=None)

    @property
    def settled(self) -> bool:
        """Whether every desired route follows from the present inputs: nothing is left to be visited."""
        return not self._underlay_changed and all(learned.to_visit is None for learned in self._learned.values())

    @property
    def in_sync(self) -> bool:
        """Whether a dump was seen and the kernel holds exactly what is desired, as far as known."""
        return self._dump_seen and self.settled and all(tracker.idle for tracker in self._trackers.values())

    # Views

    def desired(self, family: Family) -> Mapping[Packed, RouteTarget]:
        """What should be in the kernel. Read only."""
        return self._trackers[family].desired

    @property
    def workload_routes(self) -> Mapping[Prefix, int]:
        """All host routes of workloads, as last told. Read only."""
        return self._workloads

    def actual(self, family: Family) -> Mapping[Packed, RouteTarget]:
        """What is in the kernel, of ours, as far as known. Read only."""
        return self._trackers[family].actual

    def status(self, prefix: Prefix) -> RouteStatus | None:
        """Everything about one prefix; None when nobody wants it and the kernel has none of ours."""
        family, packed = prefix.family, prefix.packed
        return status_of(
            packed,
            self._trackers[family],
            resolution=self._learned[family].resolutions.get(packed),
            local=self._local[family].get(packed),
        )

    def ways(self, prefix: Prefix) -> tuple[Way, ...]:
        """How each path that a learned prefix is reached by is taken to the kernel, or why it is not."""
        learned = self._learned[prefix.family]
        resolution = learned.resolutions.get(prefix.packed)
        if resolution is None:
            return ()
        return ways_of(resolution.selection, learned.rules.find(prefix.packed), prefix.family, self._underlay)

    def prefixes(self, family: Family) -> Iterator[Packed]:
        """Every prefix that `status` knows something about: local, learned, and left over in the kernel."""
        seen = dict.fromkeys(self._local[family])
        seen.update(dict.fromkeys(self._learned[family].resolutions))
        seen.update(dict.fromkeys(self._trackers[family].actual))
        return iter(seen)

    def counts(self) -> FibCounts:
        """Numbers over both families. `unprogrammed` are learned prefixes that have no usable target."""
        trackers = self._trackers.values()
        desired = sum(len(tracker.desired) for tracker in trackers)
        wanted = sum(
            len(learned.resolutions)
            + sum(packed not in learned.resolutions for packed in self._local[learned.family])
            for learned in self._learned.values()
        )
        return FibCounts(
            desired=desired,
            installed=sum(len(tracker.actual) for tracker in trackers),
            pending=sum(tracker.pending for tracker in trackers),
            failed=sum(len(tracker.failures) for tracker in trackers),
            unprogrammed=max(0, wanted - desired),
            in_sync=self.in_sync,
        )

    # Inside

    def _learned_target(self, family: Family, packed: Packed) -> RouteTarget | None:
        resolution = self._learned[family].resolutions.get(packed)
        return None if resolution is None else resolution.target

    def _resolve(self, selection: Selected, rule: Rule, family: Family) -> Resolution:
        self._prune()
        resolution = resolve_selection(selection, rule, family, self._underlay)
        if resolution.target is not None:
            resolution.target = self._intern(resolution.target)
        rule.resolutions[id(selection)] = resolution
        return resolution

    def _follow_underlay(self) -> None:
        """Find all resolutions anew after facts changed; a family where one differs is visited again."""
        if not self._underlay_changed:
            return
        self._underlay_changed = False
        for learned in self._learned.values():
            changed = False
            for rule in learned.rules.rules():
                for resolution in rule.resolutions.values():
                    changed = self._refresh(resolution, rule, learned.family) or changed
            if changed:
                learned.to_visit = iter(list(learned.resolutions))

    def _refresh(self, resolution: Resolution, rule: Rule, family: Family) -> bool:
        fresh = resolve_selection(resolution.selection, rule, family, self._underlay)
        resolution.excluded = fresh.excluded
        target = None if fresh.target is None else self._intern(fresh.target)
        if target is resolution.target:
            return False
        resolution.target = target
        return True

    def _visit(self, learned: _Learned, limit: int) -> None:
        """Bring the next slice of learned prefixes in line with their resolutions."""
        if learned.to_visit is None:
            return
        family, local, resolutions = learned.family, self._local[learned.family], learned.resolutions
        wanted: list[tuple[Packed, RouteTarget | None]] = []
        count = 0
        for packed in islice(learned.to_visit, limit):
            count += 1
            resolution = resolutions.get(packed)
            if resolution is None:
                continue
            if learned.reruled:
                rule, selection = learned.rules.find(packed), resolution.selection
                resolution = rule.resolutions.get(id(selection)) or self._resolve(selection, rule, family)
                resolutions[packed] = resolution
            if packed not in local:
                wanted.append((packed, resolution.target))
        self._trackers[family].want(wanted)
        if count < limit:
            learned.to_visit = None
            learned.reruled = False

    def _intern(self, target: RouteTarget) -> RouteTarget:
        return self._targets.setdefault(target, target)

    def _intern_all(self, routes: Mapping[Packed, RouteTarget]) -> dict[Packed, RouteTarget]:
        # A dump has few distinct targets, each one object: comparing by id first keeps the hashing to those few.
        canonical: dict[int, RouteTarget] = {}
        for target in {id(target): target for target in routes.values()}.values():
            canonical[id(target)] = self._intern(target)
        return {packed: canonical[id(target)] for packed, target in routes.items()}

    def _intern_changes(self, changes: Mapping[Packed, RouteTarget | None]) -> dict[Packed, RouteTarget | None]:
        return {packed: None if target is None else self._intern(target) for packed, target in changes.items()}

    def _prune(self) -> None:
        """Forget resolutions and targets that no prefix uses, once there are twice as many as were in use."""
        total = len(self._targets) + sum(
            len(rule.resolutions) for learned in self._learned.values() for rule in learned.rules.rules()
        )
        if total < self._prune_at:
            return
        kept = 0
        for learned in self._learned.values():
            used = {id(resolution) for resolution in learned.resolutions.values()}
            for rule in learned.rules.rules():
                rule.resolutions = {key: found for key, found in rule.resolutions.items() if id(found) in used}
                kept += len(rule.resolutions)
        self._prune_at = max(_PRUNE_AT, 2 * (kept + self._prune_targets()))

    def _prune_targets(self) -> int:
        used = {id(target) for tracker in self._trackers.values() for target in tracker.targets_in_use()}
        used.update(
            id(resolution.target)
            for learned in self._learned.values()
            for rule in learned.rules.rules()
            for resolution in rule.resolutions.values()
        )
        used.update(id(target) for routes in self._local.values() for target in routes.values())
        self._targets = {target: target for target in self._targets if id(target) in used or target is BLACKHOLE}
        return len(self._targets)


