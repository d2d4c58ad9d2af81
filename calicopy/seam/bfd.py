"""What crosses the seam between the core and the BFD process: sessions wanted, what a Down takes out of use, states.

Theory of operation: the core gives whole sets (sessions; nexthop objects and groups), the process finds what changed.
The process itself replaces the objects of a session that went Down by blackholes, whether the agent lives or not, marks
them in the kernel (`calicopy.fib.types.HELD_PROTOCOL`), and holds them so until the core has taken that as its own wish
(`AcknowledgeBfd`). A session is named by its peer's address as text, which is also the BGP peer's key.
"""
from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from calicopy.net import Family, IPAddress


class HopMode(enum.Enum):
    """RFC 5881 (UDP port 3784, TTL 255) or RFC 5883 (4784). AUTO begins as single hop, and goes over to multihop when
    the peer, which has not been Up yet, turns out to be further away or to speak multihop.
    """

    SINGLE = "single"
    MULTI = "multi"
    AUTO = "auto"


class BfdAuthType(enum.Enum):
    """RFC 5880 sections 6.7.2 and 6.7.4."""

    SIMPLE = "simple"
    METICULOUS_SHA1 = "meticulous-sha1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BfdAuth:
    """How packets are authenticated. The key is read from `key_file` by the process, and never told to anybody."""

    type: BfdAuthType
    key_id: int
    key_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BfdSpec:
    """One session to hold. Intervals are microseconds, as on the wire. `min_ttl`: of packets taken, multihop only.

    `next_hops` are taken out of use with the session. `admin_down`: held in AdminDown (RFC 5880 section 6.8.16).
    """

    peer: str
    local: str
    hop: HopMode = HopMode.MULTI
    min_ttl: int = 1
    desired_min_tx_us: int = 100_000
    required_min_rx_us: int = 100_000
    detect_mult: int = 3
    auth: BfdAuth | None = None
    admin_down: bool = False
    next_hops: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class BfdTable:
    """The nexthop objects that lead to a next hop: id to family and next hop; groups: id to family and member ids."""

    objects: Mapping[int, tuple[Family, IPAddress]] = field(default_factory=dict)
    groups: Mapping[int, tuple[Family, tuple[int, ...]]] = field(default_factory=dict)


class SessionState(enum.IntEnum):
    """RFC 5880 section 4.1, with its values."""

    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BfdState:
    """A session as the process has it now. Times are monotonic seconds, intervals microseconds.

    `ups` counts how often it came Up, `downs` how often it left Up although nobody asked for it (neither side went to
    AdminDown): one that is higher than last time says that the path failed, whatever the state is by now. `heard`:
    valid packets of the peer come in. `remote_independent`: the C bit of its last packet. `holding`: the process keeps
    the next hops out of use until `AcknowledgeBfd` names this `downs`.
    """

    peer: str
    state: SessionState
    remote_state: SessionState
    diagnostic: int
    remote_diagnostic: int
    local_discriminator: int
    remote_discriminator: int
    remote_independent: bool
    hop: HopMode  # never AUTO
    ups: int
    downs: int
    heard: bool
    changed_at: float
    tx_interval_us: int
    detection_time_us: int
    remote_detect_mult: int
    holding: bool = False
    sent: int = 0
    received: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
