"""What is to be written for prefixes, as batches with one operation and one target each."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import repeat
from operator import is_

from calicopy.fib.types import RouteBatch, RouteOp, RouteTarget
from calicopy.net import Family, Packed

_ORDER = {RouteOp.ADD: 0, RouteOp.REPLACE: 1, RouteOp.DELETE: 2}


def sorted_out(
    family: Family, prefixes: list[Packed], *, desired: Mapping[Packed, RouteTarget],
    actual: Mapping[Packed, RouteTarget], is_left: Callable[[Packed], bool],
) -> list[RouteBatch]:  # fmt: skip
    """Batches of what differs. `is_left` tells of prefixes that nobody desires whether something may be there to go."""
    wanted, held = list(map(desired.get, prefixes)), list(map(actual.get, prefixes))
    if wanted and (target := wanted[0]) is not None and not any(held) and all(map(is_, wanted, repeat(target))):
        return [RouteBatch(RouteOp.ADD, family, target, prefixes)]
    runs: dict[tuple[RouteOp, int], tuple[RouteTarget | None, list[Packed]]] = {}
    for packed, target, there in zip(prefixes, wanted, held, strict=True):
        if (target is there) if target is not None else not is_left(packed):
            continue
        op = RouteOp.DELETE if target is None else RouteOp.ADD if there is None else RouteOp.REPLACE
        runs.setdefault((op, id(target)), (target, []))[1].append(packed)
    ordered = sorted(runs.items(), key=lambda run: _ORDER[run[0][0]])
    return [RouteBatch(op, family, target, part) for (op, _), (target, part) in ordered]
