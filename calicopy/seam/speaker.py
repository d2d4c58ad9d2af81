"""What crosses the seam between the agent and the speaker: sessions wanted, announcements, events.

Theory of operation: everything here is plain data, so that tests and an event log can use it.
A peer is named by its address as text in canonical form (`ipaddress`'s), which is also ExaBGP's key. BGP messages
travel as raw bodies (what follows the 19-octet header, RFC 4271 section 4.1): this package never decodes an UPDATE.
"""
from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from calicopy.bgp.attributes import RawAttribute
from calicopy.net.family import Family

BGP_PORT = 179
MAX_RESTART_TIME_S = 4095  # RFC 4724 section 3: twelve bits
MAX_MD5_OCTETS = 80  # TCP_MD5SIG_MAXKEYLEN of linux/tcp.h


class SpecError(ValueError):
    """A session, prefix or attribute that ExaBGP's text cannot carry; names the field and what was expected."""


class FsmState(enum.Enum):
    """The states of RFC 4271 section 8.2.2; the values are what people read."""

    IDLE = "idle"
    CONNECT = "connect"
    ACTIVE = "active"
    OPEN_SENT = "open-sent"
    OPEN_CONFIRM = "open-confirm"
    ESTABLISHED = "established"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """One session to hold. A change of any field resets that session, and only that one; but for
    `restarted_without_state` (the next start's), `name`, `description` and `keepalive_s`, which hold at once.

    Times are seconds, TTLs and ports integers as on the wire. `passive` waits for the peer to dial; one side of a
    pair should be passive (no collisions), which the caller decides. `listen_port` None means that inbound connections
    are not taken; it must be set when `passive`. `local_address` must be assigned to the host.
    """

    name: str
    peer_address: str
    local_address: str
    local_as: int
    peer_as: int
    router_id: str
    families: tuple[Family, ...] = (Family.IPV4,)
    hold_time_s: int = 90
    keepalive_s: int | None = None  # at most, and for None, a third of the negotiated hold time
    passive: bool = False
    listen_port: int | None = BGP_PORT
    peer_port: int = BGP_PORT
    md5_password_file: str | None = None  # read when the text is rendered; never logged
    outgoing_ttl: int | None = None  # TTL of what we send: 255 with GTSM (RFC 5082), 2 or more for multihop
    incoming_ttl: int | None = None  # least TTL accepted (GTSM)
    graceful_restart_time_s: int = 120  # 0: the capability is not offered
    restarted_without_state: bool = False  # F bit 0 until this process's first session is up (RFC 4724 section 3)
    add_path_send: tuple[Family, ...] = ()
    add_path_receive: tuple[Family, ...] = ()
    extended_message: bool = True
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceGroup:
    """Prefixes of one family that share a next hop and all attributes.

    NEXT_HOP and the MP attributes are not listed; AS_PATH has four-octet AS numbers always. `path_id` goes out where
    ADD-PATH is negotiated (RFC 7911); elsewhere it is 0.
    """

    family: Family
    next_hop: str
    path_id: int = 0
    attributes: tuple[RawAttribute, ...] = ()
    prefixes: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawGroup:
    """Prefixes of one family that are withdrawn under one path id (0 without ADD-PATH)."""

    family: Family
    path_id: int = 0
    prefixes: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSnapshot:
    """What the bridge knows of a peer when the agent attaches.

    When `state` is ESTABLISHED but an OPEN is None, the bridge was restarted and could not learn it: the agent decides
    (reset under graceful restart, or guess).
    """

    peer: str
    state: FsmState
    reason: str = ""
    local_open: bytes | None = None
    peer_open: bytes | None = None


@dataclass(frozen=True, slots=True)
class SpeakerAttached:
    """The agent is attached. A new `instance` is a new ExaBGP process: it holds no announcements of ours.

    `peers` is empty when all that this instance ever said follows as events; else UPDATEs of before are gone, and have
    to be asked for again. `config` is the digest of the configuration that ExaBGP started with (see control.py).

    """

    instance: str
    exabgp_pid: int
    peers: tuple[PeerSnapshot, ...]
    config: str = ""


@dataclass(frozen=True, slots=True)
class SpeakerDetached:
    """The bridge is not reachable. The sessions may well be up: nothing follows for the routes."""

    reason: str


@dataclass(frozen=True, slots=True)
class PeerUp:
    """The session is Established; both OPEN bodies (RFC 4271 section 4.2), empty when not known."""

    peer: str
    local_open: bytes
    peer_open: bytes


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The session left Established, or an attempt got past the TCP connection and failed."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerState:
    """The session's state machine moved."""

    peer: str
    state: FsmState


@dataclass(frozen=True, slots=True)
class UpdatesReceived:
    """UPDATE bodies of one peer, in the order of arrival."""

    peer: str
    bodies: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotificationSeen:
    """A NOTIFICATION body (RFC 4271 section 4.5), sent by us or by the peer."""

    peer: str
    sent: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class RefreshReceived:
    """A ROUTE-REFRESH body (RFC 2918; RFC 7313's BoRR and EoRR)."""

    peer: str
    body: bytes


@dataclass(frozen=True, slots=True)
class EventsLost:
    """Something of `peer` (None: of any peer) was lost between ExaBGP and us: its routes must be learnt again."""

    peer: str | None
    reason: str


SpeakerEvent: TypeAlias = (
    SpeakerAttached
    | SpeakerDetached
    | PeerUp
    | PeerDown
    | PeerState
    | UpdatesReceived
    | NotificationSeen
    | RefreshReceived
    | EventsLost
)


class CommandResult(enum.Enum):
    """How a command ended. UNKNOWN (no answer in time, or the speaker went): verify or send again, it does no harm."""

    DONE = "done"
    ERROR = "error"
    UNKNOWN = "unknown"
