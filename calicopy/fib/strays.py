"""Routes with our protocol and another metric: an earlier agent's, with another configuration."""
from __future__ import annotations

from collections.abc import Iterable

from calicopy.fib.types import KernelRoute, RouteBatch, RouteOp
from calicopy.net import Family, Packed


class Strays:
    """Those of one family. They are deleted, and not tracked: the next dump tells what became of them."""

    def __init__(self) -> None:
        self._by_metric: dict[int, dict[Packed, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_metric)

    def set(self, strays: Iterable[KernelRoute]) -> None:
        """All of them, as a dump tells."""
        self._by_metric.clear()
        for stray in strays:
            self._by_metric.setdefault(stray.metric, {})[stray.packed] = None

    def take(self, family: Family) -> list[RouteBatch]:
        """What deletes them."""
        by_metric, self._by_metric = self._by_metric, {}
        return [RouteBatch(RouteOp.DELETE, family, None, list(part), metric) for metric, part in by_metric.items()]
