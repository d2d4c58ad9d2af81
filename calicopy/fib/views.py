"""What the FIB shows of itself."""
from __future__ import annotations

from collections.abc import Mapping
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
        desired=None if desired is None else next_hops.led(desired, wanted=True),
        actual=None if actual is None else next_hops.led(actual),
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
    led = next_hops.wanted(desired)
    if led is not None and next_hops.is_dead(led):
        return Unprogrammed(UnprogrammedReason.NEXT_HOP_GONE, led.keys[0].next_hop)
    failure = tracker.failures.get(packed)
    if led is not None:
        failure = failure or next_hops.failures.get(led.id)
    if failure is not None and failure.errno:
        return Unprogrammed(UnprogrammedReason.KERNEL_ERROR, errno=failure.errno)
    if failure is not None and desired is not actual:
        return Unprogrammed(UnprogrammedReason.FOREIGN_ROUTE)
    return None if desired is actual else Unprogrammed(UnprogrammedReason.WAITING)


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
