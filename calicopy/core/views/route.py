"""Routes: the paths of a prefix, and what the kernel holds of it."""
from __future__ import annotations

import enum
from dataclasses import dataclass

from calicopy.core.views.reason import ReasonView
from calicopy.net import IPAddress, Prefix


class PathState(enum.Enum):
    """What became of a path."""

    BEST = "best"
    MULTIPATH = "multipath"
    LOST = "lost"
    REJECTED = "rejected"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class PathView:
    """One path of a prefix. Communities and the AS path are text as operators write them. `rule`: the filter and rule
    that decided on it or changed it, empty for none.
    """

    peer: str
    peer_address: str
    path_id: int
    state: PathState
    reason: ReasonView | None = None
    stale: bool = False
    next_hop: IPAddress | None = None
    owner: str = ""
    origin: str = "igp"
    as_path: str = ""
    local_pref: int | None = None
    med: int | None = None
    communities: tuple[str, ...] = ()
    large_communities: tuple[str, ...] = ()
    originator_id: str = ""
    cluster_list: tuple[str, ...] = ()
    rule: str = ""


@dataclass(frozen=True, slots=True)
class KernelRouteView:
    """What the kernel holds of a prefix, or why it does not. `origin`: block, workload or bgp. `next_hop_id`: of the
    nexthop object that the route leads to, 0 without one; `text` is what is behind it.
    """

    installed: bool
    text: str
    reason: ReasonView | None
    origin: str
    next_hop_id: int = 0


@dataclass(frozen=True, slots=True)
class RouteView:
    """A prefix with its paths."""

    prefix: Prefix
    paths: tuple[PathView, ...]
    kernel: KernelRouteView | None


class RouteQuery(enum.Enum):
    """Which routes are asked for."""

    ALL = "all"
    RECEIVED = "received"
    ADVERTISED = "advertised"
    REJECTED = "rejected"
    INSTALLED = "installed"
