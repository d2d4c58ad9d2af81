"""A FIB and a kernel in memory, brought together: what the core and the kernel's edge do between them."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from calicopy.fib import Fib, Hop, NextHopOp, RouteKind, RouteTarget
from calicopy.kernel.fake import FakeKernel
from calicopy.net import Family, IPAddress, Packed, pack


@dataclass(frozen=True)
class Path:
    """One way to a next hop, and the id of the node that owns what is behind it: what the FIB asks of a path."""

    next_hop: IPAddress
    owner: int | None = None


@dataclass(frozen=True, eq=False)
class Selection:
    """What was decided for many prefixes."""

    paths: tuple[Path, ...]


def blocks(count: int, family: Family = Family.IPV4, *, base: int | None = None) -> list[Packed]:
    """So many blocks of 64 addresses of 10.0.0.0/8 or fd10::/16, or from the address `base` on."""
    first = base if base is not None else {Family.IPV4: 10 << 24, Family.IPV6: 0xFD10 << 112}[family]
    return [pack(first + (number << 6), family.bits - 6, family) for number in range(count)]


def write_next_hops(fib: Fib, kernel: FakeKernel, now: float) -> int:
    """One command of nexthop objects, and its results; how many changes it had. No delete takes a route along."""
    changes = fib.next_hop_delta(now)
    for change in changes:
        if change.op is NextHopOp.DELETE:
            number = change.object.id
            assert not [key for key, held in kernel.table.items() if held.target.next_hop_id == number]
            assert not [held for held in kernel.objects.values() if number in dict(held.object.members)]
    if changes:
        fib.next_hops_written(kernel.write_next_hops_now(changes), now)
    return len(changes)


def write(fib: Fib, kernel: FakeKernel, now: float = 0.0, limit: int = 1000) -> int:
    """Write until nothing is left to do now; how many batches of routes that took."""
    count = 0
    for _ in range(500):
        changes = write_next_hops(fib, kernel, now)
        batches = fib.delta(limit, now)
        if batches:
            fib.written(kernel.write_now(batches), now)
        count += len(batches)
        busy = now in (fib.next_deadline(now), fib.next_hop_deadline(now))
        if not (changes or batches or busy):
            return count
    raise AssertionError("the FIB does not come to rest")


def led(fib: Fib, family: Family = Family.IPV4) -> Mapping[Packed, RouteTarget]:
    """Where every desired route leads, whatever the ids of the objects between."""
    return {packed: replace(fib.led(target), next_hop_id=0) for packed, target in fib.desired(family).items()}


def reached(kernel: FakeKernel, family: Family = Family.IPV4) -> Mapping[Packed, RouteTarget]:
    """Where every route of ours in the kernel leads, through its object."""
    return {packed: followed(kernel, target) for packed, target in kernel.ours(family).items()}


def followed(kernel: FakeKernel, target: RouteTarget) -> RouteTarget:
    """A target with the hops of the object that it names."""
    if not target.next_hop_id:
        return target
    held = kernel.objects[target.next_hop_id].object
    members = [kernel.objects[number].object for number, _ in held.members] or [held]
    hops = tuple(sorted((member.hop for member in members if member.hop is not None), key=Hop.order))
    return RouteTarget(RouteKind.UNICAST if hops else RouteKind.BLACKHOLE, hops)
