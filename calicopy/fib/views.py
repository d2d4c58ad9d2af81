"""What the FIB shows of itself."""
from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from calicopy.fib.objects import NextHops
from calicopy.fib.resolution import Resolution
from calicopy.fib.tracker import RouteTracker
from calicopy.fib.types import (
    BLACKHOLE,
    Hop,
    RouteKind,
    RouteOrigin,
    RouteTarget,
    Unprogrammed,
    UnprogrammedReason,
)
from calicopy.net import Packed


@dataclass(frozen=True, slots=True)
class FibCounts:
    """Numbers of prefixes. `failed` are those whose last write failed (all among `pending`), and nexthop objects."""

    desired: int
    installed: int
    pending: int
    failed: int
    unprogrammed: int
    in_sync: bool


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """One prefix: what should be there, what is, and why they differ.

    `desired` and `actual` have the hops of the nexthop object that they name, `actual` as the kernel has them.
    `installed`: the kernel holds what is desired. `reason` is None when packets go where they should. `excluded` has
    the paths that are not used, each with its reason, also when others are. `origin` is None for a route left over from
    before, which nobody wants.
    """

    desired: RouteTarget | None
    actual: RouteTarget | None
    installed: bool
    pending: bool
    reason: Unprogrammed | None
    excluded: tuple[Unprogrammed, ...]
    origin: RouteOrigin | None


def status_of(
    packed: Packed,
    tracker: RouteTracker,
    next_hops: NextHops,
    *,
    resolution: Resolution | None,
    local: RouteTarget | None,
) -> RouteStatus | None:
    """The status of a prefix; None when there is nothing to say. `local` is the workload's or block's target."""
    desired, actual = tracker.desired.get(packed), tracker.actual.get(packed)
    if desired is None and actual is None and resolution is None:
        return None
    if local is not None:
        origin: RouteOrigin | None = RouteOrigin.BLOCK if local is BLACKHOLE else RouteOrigin.WORKLOAD
        excluded: tuple[Unprogrammed, ...] = ()
    else:
        origin = None if resolution is None else RouteOrigin.BGP
        excluded = () if resolution is None else resolution.excluded
    return RouteStatus(
        desired=None if desired is None else led(next_hops, desired, wanted=True),
        actual=None if actual is None else led(next_hops, actual),
        installed=desired is not None and desired is actual,
        pending=tracker.is_pending(packed),
        reason=_reason(packed, tracker, next_hops, excluded),
        excluded=excluded,
        origin=origin,
    )


def _reason(
    packed: Packed, tracker: RouteTracker, next_hops: NextHops, excluded: tuple[Unprogrammed, ...]
) -> Unprogrammed | None:
    desired, actual = tracker.desired.get(packed), tracker.actual.get(packed)
    if desired is None:
        return excluded[0] if excluded else None
    one = next_hops.wanted(desired.next_hop_id)
    if one is not None and next_hops.is_dead(one):
        return Unprogrammed(UnprogrammedReason.NEXT_HOP_GONE, one.keys[0].next_hop)
    if one is not None and next_hops.is_held(one):
        return Unprogrammed(UnprogrammedReason.NEXT_HOP_HELD, one.keys[0].next_hop)
    failure = tracker.failures.get(packed)
    if one is not None:
        failure = failure or next_hops.failures.get(one.id)
    if failure is not None and failure.errno:
        return Unprogrammed(UnprogrammedReason.KERNEL_ERROR, errno=failure.errno)
    if failure is not None and desired is not actual:
        return Unprogrammed(UnprogrammedReason.FOREIGN_ROUTE)
    return None if desired is actual else Unprogrammed(UnprogrammedReason.WAITING)


def counts_of(
    trackers: Collection[RouteTracker], next_hops: NextHops, *, unprogrammed: int, in_sync: bool
) -> FibCounts:
    """The numbers over all families."""
    return FibCounts(
        desired=sum(len(tracker.desired) for tracker in trackers),
        installed=sum(len(tracker.actual) for tracker in trackers),
        pending=sum(tracker.pending for tracker in trackers),
        failed=sum(len(tracker.failures) for tracker in trackers) + len(next_hops.failures),
        unprogrammed=unprogrammed,
        in_sync=in_sync,
    )


def led(next_hops: NextHops, target: RouteTarget, *, wanted: bool = False) -> RouteTarget:
    """A target with what its object is in the kernel now, or is `wanted` to be: hops, or a blackhole."""
    one, held = next_hops.wanted(target.next_hop_id), next_hops.actual.get(target.next_hop_id)
    if one is not None and (wanted or held is None):
        held = next_hops.whole(one)
    if held is None:
        return target
    members = [number for number, _ in held.members]
    hops = [_member_hop(next_hops, number, wanted) for number in members] if members else [held.hop]
    there = tuple(sorted((hop for hop in hops if hop is not None), key=Hop.order))
    kind = RouteKind.UNICAST if there else RouteKind.BLACKHOLE
    return RouteTarget(kind, there, next_hop_id=target.next_hop_id)


def _member_hop(next_hops: NextHops, number: int, wanted: bool) -> Hop | None:
    one, held = next_hops.wanted(number), next_hops.actual.get(number)
    if one is not None and (wanted or held is None):
        return next_hops.way(one)
    return None if held is None else held.hop


def format_target(target: RouteTarget, names: Mapping[int, str]) -> str:
    """A target as `ip route` writes it, such as `via 10.0.0.2 dev eth0`; `names` gives interfaces by index.

    Of a nexthop object it says what is behind it, not its id.
    """
    parts = ["blackhole"] if target.kind is RouteKind.BLACKHOLE else []
    hops = [_format_hop(hop, names) for hop in target.hops]
    parts += hops if len(hops) == 1 else [f"nexthop {hop}" for hop in hops]
    if target.link_scope:
        parts.append("scope link")
    return " ".join(parts)


def _format_hop(hop: Hop, names: Mapping[int, str]) -> str:
    parts = [] if hop.gateway is None else [f"via {hop.gateway}"]
    parts.append(f"dev {names.get(hop.ifindex, f'if{hop.ifindex}')}")
    if hop.weight != 1:
        parts.append(f"weight {hop.weight}")
    if hop.onlink:
        parts.append("onlink")
    return " ".join(parts)
