"""What the FIB shows of itself."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    """Numbers of prefixes. `failed` are those whose last write failed; they are among `pending`."""

    desired: int
    installed: int
    pending: int
    failed: int
    unprogrammed: int
    in_sync: bool


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """One prefix: what should be there, what is, and why they differ.

    `reason` is None when the kernel holds what is desired. `excluded` has the paths that are not used, each with its
    reason, also when others are. `origin` is None for a route left over from before, which nobody wants.
    """

    desired: RouteTarget | None
    actual: RouteTarget | None
    pending: bool
    reason: Unprogrammed | None
    excluded: tuple[Unprogrammed, ...]
    origin: RouteOrigin | None

    @property
    def installed(self) -> bool:
        """Whether the kernel holds what is desired."""
        return self.desired is not None and self.desired is self.actual


def status_of(
    packed: Packed, tracker: RouteTracker, *, resolution: Resolution | None, local: RouteTarget | None
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
        desired=desired,
        actual=actual,
        pending=tracker.is_pending(packed),
        reason=_reason(packed, tracker, excluded),
        excluded=excluded,
        origin=origin,
    )


def _reason(packed: Packed, tracker: RouteTracker, excluded: tuple[Unprogrammed, ...]) -> Unprogrammed | None:
    desired, actual = tracker.desired.get(packed), tracker.actual.get(packed)
    if desired is None:
        return excluded[0] if excluded else None
    if desired is actual:
        return None
    failure = tracker.failures.get(packed)
    if failure is None:
        return Unprogrammed(UnprogrammedReason.WAITING)
    if failure.errno == 0:
        return Unprogrammed(UnprogrammedReason.FOREIGN_ROUTE)
    return Unprogrammed(UnprogrammedReason.KERNEL_ERROR, errno=failure.errno)


def format_target(target: RouteTarget, names: Mapping[int, str]) -> str:
    """A target as `ip route` writes it, such as `via 10.0.0.2 dev eth0`; `names` gives interfaces by index."""
    if target.kind is RouteKind.BLACKHOLE:
        return "blackhole"
    text = " nexthop ".join(_format_hop(hop, names) for hop in target.hops)
    if len(target.hops) > 1:
        text = "nexthop " + text
    return f"{text} scope link" if target.link_scope else text


def _format_hop(hop: Hop, names: Mapping[int, str]) -> str:
    parts = [] if hop.gateway is None else [f"via {hop.gateway}"]
    parts.append(f"dev {names.get(hop.ifindex, f'if{hop.ifindex}')}")
    if hop.weight != 1:
        parts.append(f"weight {hop.weight}")
    if hop.onlink:
        parts.append("onlink")
    return " ".join(parts)
