"""BGP sessions: the summary of each, and what `calicopy peers NAME` shows beyond it. Times are wall-clock seconds."""
from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from calicopy.core.views.node import TunnelAnswerView
from calicopy.net import Family, IPAddress
from calicopy.policy import AdvertiseScope, LimitAction
from calicopy.seam.bfd import BfdState
from calicopy.seam.speaker import FsmState


class BfdEffect(enum.Enum):
    """What a peer's BFD means for its routes. The value is a stable name."""

    OFF = "off"  # it is not watched
    IGNORED = "ignored"
    UP = "up"
    DOWN = "down"  # its next hops are out of use
    DAMPED = "damped"  # the same, although all is up: it fell too often


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
    tunnels: tuple[TunnelAnswerView, ...] = ()


class PeerRole(enum.Enum):
    """What the peer is to us, as far as the passing on of routes goes (RFC 4456 section 6)."""

    MESH = "mesh"
    CLIENT = "client"
    NON_CLIENT = "non-client"
    REFLECTOR = "reflector"
    INTERNAL = "internal"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class RestartView:
    """A graceful restart capability: R bit, N bit (RFC 8538), seconds, and each family with its F bit."""

    restart_time_s: int
    restarting: bool
    notification: bool
    families: tuple[tuple[Family, bool], ...]


@dataclass(frozen=True, slots=True)
class CapabilitiesView:
    """What is negotiated; `restart_ours` and `restart_theirs` as they were offered.

    `unknown`: the peer's, (code, octets in hexadecimal); `other_families`: the peer's beyond IPv4 and IPv6 unicast, as
    AFI/SAFI.
    """

    four_octet_as: bool
    route_refresh: bool
    enhanced_refresh: bool
    extended_message: bool
    extended_next_hop: bool
    add_path_send: tuple[Family, ...]
    add_path_receive: tuple[Family, ...]
    restart_ours: RestartView | None
    restart_theirs: RestartView | None
    unknown: tuple[tuple[int, str], ...]
    other_families: tuple[str, ...]
    host_name: str


@dataclass(frozen=True, slots=True)
class TimersView:
    """Hold time as configured, as the peer offered it, and as it holds (0: none), keepalive interval, all in seconds.

    `stale_until`: when the kept routes of a lost session go; `stopped_until`: when a stopped session is wanted again;
    `lingering_since`: since when a session that is no longer configured is kept. 0 where there is no such time.
    """

    hold_time_configured_s: int
    hold_time_offered_s: int
    hold_time_s: int
    keepalive_s: int
    stale_until: float
    stopped_until: float
    lingering_since: float


@dataclass(frozen=True, slots=True)
class NotificationView:
    """The last NOTIFICATION of the peer's sessions. `communication`: the operator's words in it (RFC 9003)."""

    code: int
    subcode: int
    text: str
    communication: str
    sent: bool
    at: float


@dataclass(frozen=True, slots=True)
class BfdView:
    """The BFD session of a peer: what it means (`effect`), why it is ignored or what it leads to is out of use, since
    and until when (0: no such time). `state` is what the process says, None while it said nothing; `state_since` is
    when it came to that. `diagnostic` and `remote_diagnostic` are in words, empty for none.
    """

    effect: BfdEffect
    reason: str
    since: float
    until: float
    next_hops: tuple[IPAddress, ...]
    state: BfdState | None
    state_since: float
    diagnostic: str
    remote_diagnostic: str


@dataclass(frozen=True, slots=True)
class PeerDetails:
    """All that is shown of one session only.

    `stopped` is why the session is not wanted for now, `stop_code` its stable name. `beyond_limit` counts the
    announcements that were not stored. `end_of_rib_held`: our End-of-RIB waits until we have learned the routes that we
    pass on. `lingering` is why a session that is not configured any more is still there. `bfd`: None where the peer is
    not watched.
    """

    role: PeerRole
    advertise: AdvertiseScope
    import_filters: tuple[str, ...]
    export_filters: tuple[str, ...]
    prefix_limit_action: LimitAction
    stopped: str
    stop_code: str
    end_of_rib_held: bool
    lingering: str
    capabilities: CapabilitiesView | None
    timers: TimersView
    last_notification: NotificationView | None
    beyond_limit: int
    notifications_received: int
    notifications_sent: int
    refreshes_received: int
    refreshes_sent: int
    bfd: BfdView | None = None
