"""The node as a whole: its health, its parts, and what is wrong. Times are wall-clock seconds."""
from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from calicopy.core.drain_state import DrainView
from calicopy.core.views.reason import ReasonView
from calicopy.net import IPAddress


@dataclass(frozen=True, slots=True)
class ProblemView:
    """One thing that is wrong, and where: component is peer, kernel, ipam, config, speaker, sysctl or tunnel."""

    component: str
    object: str
    reason: ReasonView


class Health(enum.Enum):
    """Whether the node does its work."""

    OK = "ok"
    STARTING = "starting"
    DEGRADED = "degraded"
    DRAINED = "drained"  # out of service on request, or on its way there; nothing else is wrong


@dataclass(frozen=True, slots=True)
class SpeakerView:
    """The ExaBGP process as the agent sees it."""

    attached: bool
    instance: str
    pid: int
    last_error: str


@dataclass(frozen=True, slots=True)
class FibView:
    """Counts of routes: wanted, in the kernel, waiting, failed."""

    desired: int
    installed: int
    pending: int
    failed: int
    in_sync: bool
    protocol: int
    metric: int


@dataclass(frozen=True, slots=True)
class IpamView:
    """Counts of blocks and addresses of this node."""

    blocks: int
    pending_blocks: int
    assigned: int
    free: int
    conflicts: int


@dataclass(frozen=True, slots=True)
class TunnelView:
    """The tunnel device, when pools need one; `error` says why it is not there."""

    device: str
    up: bool
    address: IPAddress | None
    mtu: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class NodeStatusView:
    """The whole status of the node."""

    node: str
    router_id: IPAddress
    asn: int
    addresses: tuple[IPAddress, ...]
    version: str
    started_at: float
    health: Health
    problems: tuple[ProblemView, ...]
    speaker: SpeakerView
    fib: FibView
    ipam: IpamView
    peers_total: int
    peers_established: int
    tunnel: TunnelView | None
    counters: Mapping[str, int]
    config_file: str
    drain: DrainView | None = None
