"""The node as a whole: its health, its parts, and what is wrong. Times are wall-clock seconds."""
from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from calicopy.core.drain_state import DrainView
from calicopy.core.views.reason import ReasonView
from calicopy.net import Encapsulation, Family, IPAddress


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
    families: tuple[tuple[Family, int, int], ...] = ()
    """Each family that this node has blocks of, with how many addresses are assigned and free."""


@dataclass(frozen=True, slots=True)
class TunnelView:
    """The device of an encapsulation that this node takes apart; `error` says why it is not as it should be.

    `used`: by a pool. `stranger_packets`: how many came from no node and were dropped; None while they are not counted.
    """

    encapsulation: Encapsulation
    device: str
    used: bool
    up: bool
    addresses: tuple[IPAddress, ...]
    mtu: int
    error: str = ""
    stranger_packets: int | None = None


@dataclass(frozen=True, slots=True)
class NextHopView:
    """How packets to pods of another node leave. `device` is empty while the kernel has no way there.

    `mtu` is that of the way, `pod_mtu` what of it is left for the packets of `pools`; in octets.
    """

    node: str
    address: IPAddress
    encapsulation: Encapsulation
    device: str
    gateway: IPAddress | None
    mtu: int
    pod_mtu: int
    pools: tuple[str, ...]
    answers: tuple[TunnelAnswerView, ...] = ()


@dataclass(frozen=True, slots=True)
class TunnelAnswerView:
    """A tunnel address of another node, and whether it answers through the tunnel; None: not known yet, or not asked.

    `round_trip_s`: of the last answer, in seconds.
    """

    address: IPAddress
    answers: bool | None = None
    round_trip_s: float | None = None


@dataclass(frozen=True, slots=True)
class ReadinessView:
    """Whether the node does its work: it is ready while there are no `reasons`. `degraded`: what is wrong besides."""

    reasons: tuple[ProblemView, ...] = ()
    degraded: tuple[ProblemView, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether work may be given to the node."""
        return not self.reasons


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
    tunnels: tuple[TunnelView, ...]
    counters: Mapping[str, int]
    config_file: str
    drain: DrainView | None = None
    workload_mtu: int = 0
    next_hops: tuple[NextHopView, ...] = ()
    readiness: ReadinessView = ReadinessView()
