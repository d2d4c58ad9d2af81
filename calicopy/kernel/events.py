"""What the kernel edge tells the agent, unasked. Events are merged while nobody reads them."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from calicopy.fib.types import RouteTarget
from calicopy.net import Family, Packed


@dataclass(frozen=True, slots=True)
class LinksChanged:
    """Interfaces, addresses or settings changed: read the interfaces again, and resolve the next hops.

    Settings are forwarding and rp_filter of an interface. `lost` are indexes of interfaces that went down, away, or
    lost carrier or an address: the kernel drops routes and nexthop objects over those without telling each.
    """

    lost: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class RoutesChanged:
    """Others changed keys of ours: our route there is now this, or is gone or hidden (None)."""

    changes: Mapping[Family, Mapping[Packed, RouteTarget | None]]


@dataclass(frozen=True, slots=True)
class NextHopsChanged:
    """Others changed nexthop objects with these ids, which are in our range: read them again."""

    ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class UnderlayChanged:
    """Routes that are not ours changed: resolve the next hops again."""


@dataclass(frozen=True, slots=True)
class ForeignRoutesChanged:
    """Routes of others that go before ours came or went, inside the pools: read them again."""


@dataclass(frozen=True, slots=True)
class KernelEventsLost:
    """The event socket overran (ENOBUFS): read everything again."""


KernelEvent: TypeAlias = (
    LinksChanged | RoutesChanged | NextHopsChanged | UnderlayChanged | ForeignRoutesChanged | KernelEventsLost
)
