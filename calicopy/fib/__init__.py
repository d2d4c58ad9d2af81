"""The FIB: which routes the kernel should hold, and what has to change for it (see `calicopy.fib.fib`)."""
from __future__ import annotations

from calicopy.fib.fib import Fib
from calicopy.fib.resolution import Way
from calicopy.fib.types import (
    BLACKHOLE,
    DEFAULT_METRIC,
    DEFAULT_PROTOCOL,
    FibPool,
    Hop,
    KernelDump,
    KernelMatch,
    KernelRoute,
    NextHopChange,
    NextHopObject,
    NextHopOp,
    NextHopResult,
    RouteBatch,
    RouteKind,
    RouteOp,
    RouteOrigin,
    RouteTarget,
    UnderlayAddress,
    Unprogrammed,
    UnprogrammedReason,
    WriteResult,
)
from calicopy.fib.views import FibCounts, RouteStatus, format_target

__all__ = [
    "BLACKHOLE",
    "DEFAULT_METRIC",
    "DEFAULT_PROTOCOL",
    "Fib",
    "FibCounts",
    "FibPool",
    "Hop",
    "KernelDump",
    "KernelMatch",
    "KernelRoute",
    "NextHopChange",
    "NextHopObject",
    "NextHopOp",
    "NextHopResult",
    "RouteBatch",
    "RouteKind",
    "RouteOp",
    "RouteOrigin",
    "RouteStatus",
    "RouteTarget",
    "UnderlayAddress",
    "Unprogrammed",
    "UnprogrammedReason",
    "Way",
    "WriteResult",
    "format_target",
]
