"""A kernel in memory, for tests of the FIB: it behaves as the real one, and fails on demand.

It keeps its table by the kernel's key (prefix, metric), with the protocol as a value, its nexthop objects by id, and
knows which interfaces are up. Failure flags make the next writes fail the way a real kernel's do. Whatever takes an
object away takes its routes and its places in groups along, as there.
"""
from __future__ import annotations

import enum
import errno
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace

from calicopy.fib.types import (
    DEFAULT_METRIC,
    DEFAULT_PROTOCOL,
    HELD_PROTOCOL,
    NEXT_HOP_IDS,
    KernelDump,
    KernelRoute,
    NextHopChange,
    NextHopObject,
    NextHopOp,
    NextHopResult,
    RouteBatch,
    RouteOp,
    RouteTarget,
    WriteResult,
)
from calicopy.kernel.events import KernelEvent
from calicopy.net import Family, IPAddress, Packed
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts


class FailureFlag(enum.Flag):
    """Ways in which the next `write` fails, or `write_next_hops` (NEXT_HOP). Each is taken back by that write."""

    NONE = 0
    ADD = enum.auto()
    REPLACE = enum.auto()
    DELETE = enum.auto()
    EVERY_SECOND = enum.auto()
    VANISHED = enum.auto()
    ALREADY_THERE = enum.auto()
    NEXT_HOP = enum.auto()


@dataclass(slots=True)
class Held:
    """One route of the table."""

    protocol: int
    target: RouteTarget


@dataclass(slots=True)
class HeldObject:
    """One nexthop object."""

    protocol: int
    object: NextHopObject


_Key = tuple[Family, Packed, int]


@dataclass(slots=True)
class FakeKernel:
    """The state is public, so that a test plays the other processes of the host."""

    protocol: int = DEFAULT_PROTOCOL
    metric: int = DEFAULT_METRIC
    table: dict[_Key, Held] = field(default_factory=dict)
    objects: dict[int, HeldObject] = field(default_factory=dict)
    has_objects: bool = True
    down: set[int] = field(default_factory=set)
    next_hops: dict[IPAddress, NextHopFacts] = field(default_factory=dict)
    links: dict[int, InterfaceFacts] = field(default_factory=dict)
    failing: FailureFlag = FailureFlag.NONE
    writes: int = 0

    def ours(self, family: Family = Family.IPV4) -> dict[Packed, RouteTarget]:
        """Our routes of a family at our metric."""
        return {
            packed: held.target
            for (of, packed, metric), held in self.table.items()
            if of is family and metric == self.metric and held.protocol == self.protocol
        }

    def dump_now(self) -> KernelDump:
        """What `dump` gives."""
        strays = tuple(
            KernelRoute(family, packed, held.target, metric)
            for (family, packed, metric), held in self.table.items()
            if metric != self.metric and held.protocol == self.protocol
        )
        routes = {family: self.ours(family) for family in Family}
        if not self.has_objects:
            return KernelDump(routes, strays)
        foreign = frozenset(
            number
            for number, held in self.objects.items()
            if number in NEXT_HOP_IDS and held.protocol not in (self.protocol, HELD_PROTOCOL)
        )
        return KernelDump(routes, strays, self.our_objects(), foreign)

    def our_objects(self) -> dict[int, NextHopObject]:
        """Our nexthop objects by id."""
        return {
            number: replace(held.object, held=held.protocol == HELD_PROTOCOL)
            for number, held in self.objects.items()
            if held.protocol in (self.protocol, HELD_PROTOCOL)
        }

    def write_now(self, batches: Iterable[RouteBatch]) -> list[WriteResult]:
        """What `write` does."""
        flags, self.failing = self.failing, self.failing & FailureFlag.NEXT_HOP
        return [self._batch(batch, flags) for batch in batches]

    def _batch(self, batch: RouteBatch, flags: FailureFlag) -> WriteResult:
        result = WriteResult(batch)
        for number, packed in enumerate(batch.prefixes):
            self.writes += 1
            code = self._injected(batch, number, packed, flags)
            if code == 0:
                code = self._apply(batch, packed)
            if code == errno.EEXIST:
                result.foreign.append(packed)
            elif code:
                result.failures.append((packed, code))
        return result

    def _injected(self, batch: RouteBatch, number: int, packed: Packed, flags: FailureFlag) -> int:
        key = (batch.family, packed, self.metric)
        if FailureFlag.VANISHED in flags:
            self.table.pop(key, None)
        if FailureFlag.ALREADY_THERE in flags and batch.op is RouteOp.ADD and batch.target is not None:
            self.table[key] = Held(self.protocol, batch.target)
        if FailureFlag.EVERY_SECOND in flags and number % 2:
            return errno.ENOBUFS
        failing = {
            RouteOp.ADD: (FailureFlag.ADD, errno.ENETUNREACH),
            RouteOp.REPLACE: (FailureFlag.REPLACE, errno.EINVAL),
            RouteOp.DELETE: (FailureFlag.DELETE, errno.EBUSY),
        }
        flag, code = failing[batch.op]
        return code if flag in flags else 0

    def _apply(self, batch: RouteBatch, packed: Packed) -> int:
        """Do what the real writer and kernel would; EEXIST stands for a foreign route at the key."""
        key = (batch.family, packed, self.metric if batch.metric is None else batch.metric)
        held = self.table.get(key)
        if batch.op is RouteOp.DELETE:
            if held is not None and held.protocol == self.protocol:
                del self.table[key]
            return 0
        assert batch.target is not None
        if any(hop.ifindex in self.down for hop in batch.target.hops):
            return errno.ENETDOWN
        if batch.target.next_hop_id and batch.target.next_hop_id not in self.objects:
            return errno.EINVAL
        if batch.op is RouteOp.REPLACE and held is None:
            return errno.ENOENT
        if batch.op is RouteOp.ADD and held is not None and held.protocol != self.protocol:
            return errno.EEXIST
        self.table[key] = Held(self.protocol, batch.target)
        return 0

    def write_next_hops_now(self, changes: Iterable[NextHopChange]) -> list[NextHopResult]:
        """What `write_next_hops` does."""
        failing, self.failing = FailureFlag.NEXT_HOP in self.failing, self.failing & ~FailureFlag.NEXT_HOP
        return [NextHopResult(change, errno.ENOBUFS) if failing else self._change(change) for change in changes]

    def _change(self, change: NextHopChange) -> NextHopResult:
        wanted, held = change.object, self.objects.get(change.object.id)
        self.writes += 1
        if not self.has_objects:
            return NextHopResult(change, errno.EOPNOTSUPP)
        if held is not None and held.protocol not in (self.protocol, HELD_PROTOCOL):
            return NextHopResult(change, 0 if change.op is NextHopOp.DELETE else errno.EEXIST, foreign=True)
        is_held = held is not None and held.protocol == HELD_PROTOCOL
        if is_held and not change.over_hold and change.op is not NextHopOp.DELETE:
            return NextHopResult(change, errno.EBUSY, held=True)
        if change.op is NextHopOp.DELETE:
            self.remove_object(wanted.id)
            return NextHopResult(change)
        if held is None and change.op is NextHopOp.REPLACE:
            return NextHopResult(change, errno.ENOENT)
        code = self._refusal(wanted, held)
        if not code:
            self.objects[wanted.id] = HeldObject(self.protocol, wanted)
        return NextHopResult(change, code)

    def _refusal(self, wanted: NextHopObject, held: HeldObject | None) -> int:
        """Why the kernel does not take this object; 0 where it does."""
        if held is not None and bool(held.object.members) != bool(wanted.members):
            return errno.EINVAL
        members = [self.objects.get(number) for number, _ in wanted.members]
        if any(member is None or member.object.members for member in members):
            return errno.EINVAL
        if len(members) > 1 and any(member is not None and member.object.is_blackhole for member in members):
            return errno.EINVAL
        groups = self._groups(wanted.id) if wanted.is_blackhole else []
        if any(len(group.members) > 1 for group in groups):
            return errno.EINVAL
        return errno.ENETDOWN if wanted.hop is not None and wanted.hop.ifindex in self.down else 0

    def _groups(self, number: int) -> list[NextHopObject]:
        groups = [held.object for held in self.objects.values() if held.object.members]
        return [group for group in groups if number in dict(group.members)]

    def hold(self, number: int) -> set[int]:
        """Do as the BFD process does when the way behind this object failed; gives the ids that changed."""
        changed = {number}
        for group in self._groups(number):
            rest = tuple(member for member in group.members if member[0] != number) or group.members[:1]
            if rest != group.members:
                self.objects[group.id].object = replace(group, members=rest)
                changed.add(group.id)
        family = self.objects[number].object.family
        self.objects[number] = HeldObject(HELD_PROTOCOL, NextHopObject(number, family))
        return changed

    def remove_object(self, number: int) -> None:
        """Take an object away, and with it its routes and its places in groups; an empty group goes too."""
        self.objects.pop(number, None)
        self.table = {key: held for key, held in self.table.items() if held.target.next_hop_id != number}
        for group in self._groups(number):
            rest = tuple(member for member in group.members if member[0] != number)
            if rest:
                self.objects[group.id].object = replace(group, members=rest)
            else:
                self.remove_object(group.id)

    def link_down(self, ifindex: int) -> None:
        """Take an interface down: routes and objects over it are gone, and nobody is told of each."""
        self.down.add(ifindex)
        for number, one in list(self.objects.items()):
            if one.object.hop is not None and one.object.hop.ifindex == ifindex:
                self.remove_object(number)
        self.table = {
            key: held
            for key, held in self.table.items()
            if not any(hop.ifindex == ifindex for hop in held.target.hops)
        }

    def link_up(self, ifindex: int) -> None:
        """Take it up again; no route comes back by itself."""
        self.down.discard(ifindex)

    async def dump(self) -> KernelDump:
        """See `KernelPort`."""
        return self.dump_now()

    async def write(self, batches: Iterable[RouteBatch]) -> list[WriteResult]:
        """See `KernelPort`."""
        return self.write_now(batches)

    async def write_next_hops(self, changes: Iterable[NextHopChange]) -> list[NextHopResult]:
        """See `KernelPort`."""
        return self.write_next_hops_now(changes)

    async def resolve(self, addresses: Iterable[IPAddress]) -> dict[IPAddress, NextHopFacts]:
        """See `KernelPort`."""
        return {address: self.next_hops.get(address, NextHopFacts.unreachable(address)) for address in addresses}

    async def interfaces(self) -> dict[int, InterfaceFacts]:
        """See `KernelPort`."""
        return dict(self.links)

    async def events(self) -> AsyncIterator[KernelEvent]:
        """See `KernelPort`: nothing happens by itself in here."""
        nothing: tuple[KernelEvent, ...] = ()
        for event in nothing:
            yield event
