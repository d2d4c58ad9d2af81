"""What the agent shows of itself: frozen pictures of its state, which the API turns into proto messages.

Addresses and prefixes stay typed here; the API writes them as text. Times are wall-clock seconds since the epoch, put
in by the agent, since the core knows only a monotonic `now`.
"""
from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from calicopy.core.drain import DrainView
from calicopy.core.peer_views import PeerDetails
from calicopy.net import Family, IPAddress, Prefix
from calicopy.seam.speaker import FsmState


@dataclass(frozen=True, slots=True)
class ReasonView:
    """Why something is refused, lost or failed: a stable code, a sentence, and where the rule is written."""

    code: str
    message: str = ""
    source: str = ""


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


class PeerKind(enum.Enum):
    """Where the peer comes from: the mesh of nodes, or the `bgp.peers` list."""

    MESH = "mesh"
    CONFIGURED = "configured"


@dataclass(frozen=True, slots=True)
class PeerFamilyView:
    """One family on one session."""

    family: Family
    negotiated: bool
    received: int
    accepted: int
    rejected: int
    stale: int
    advertised: int
    end_of_rib_received: bool
    end_of_rib_sent: bool
    in_sync: bool
    rejected_by_reason: Mapping[str, int]
    prefix_limit: int


@dataclass(frozen=True, slots=True)
class PeerView:
    """One BGP session."""

    name: str
    address: IPAddress
    asn: int
    local_as: int
    local_address: IPAddress | None
    kind: PeerKind
    state: FsmState
    state_since: float
    last_error: str
    last_error_at: float
    router_id: IPAddress | None
    passive: bool
    hold_time_s: int
    capabilities: tuple[str, ...]
    families: tuple[PeerFamilyView, ...]
    updates_received: int
    sessions_established: int
    sessions_lost: int
    graceful_restart: bool
    graceful_restart_time_s: int
    malformed_updates: int
    details: PeerDetails


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
    reason: ReasonView | None
    stale: bool
    next_hop: IPAddress | None
    owner: str
    origin: str
    as_path: str
    local_pref: int | None
    med: int | None
    communities: tuple[str, ...]
    large_communities: tuple[str, ...]
    originator_id: str
    cluster_list: tuple[str, ...]
    rule: str = ""


@dataclass(frozen=True, slots=True)
class KernelRouteView:
    """What the kernel holds of a prefix, or why it does not. `origin`: block, workload or bgp."""

    installed: bool
    text: str
    reason: ReasonView | None
    origin: str


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


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool and how much of it is taken."""

    name: str
    cidr: Prefix
    block_size: int
    encapsulation: str
    mode: str
    nat_outgoing: bool
    selected: bool
    total_blocks: int
    own_blocks: int
    reserved_blocks: int


class BlockState(enum.Enum):
    """A block's state."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    LOST = "lost"
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True)
class BlockView:
    """A block, ours or reserved for another node."""

    cidr: Prefix
    pool: str
    node: str
    state: BlockState
    pinned: bool
    size: int
    assigned: int
    conflict: ReasonView | None = None


@dataclass(frozen=True, slots=True)
class AddressView:
    """An address: `state` is assigned, free or reserved (in another node's block)."""

    address: IPAddress
    block: Prefix | None
    pool: str
    handle: str
    sequence: int
    node: str
    state: str
    conflict: ReasonView | None = None


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """A namespace with an address of ours; `problem` is empty when all is there."""

    name: str
    netns: str
    interface: str
    host_interface: str
    addresses: tuple[IPAddress, ...]
    mac: str
    mtu: int
    attached_at: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LogView:
    """A line of the event log; level is info, warning or error."""

    component: str
    object: str
    code: str
    message: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A change for the watchers: the new picture, or, when `deleted`, the last one known."""

    object: NodeStatusView | PeerView | RouteView | BlockView | WorkloadView | LogView
    deleted: bool = False
    at: float = field(default=0.0)
