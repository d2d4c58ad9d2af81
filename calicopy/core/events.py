"""What the core is told, in the past tense. Frozen data: a log of them can be replayed (design rule 7).

The speaker's events come as `calicopy.seam.speaker` defines them. BGP messages are raw bodies here; the core decodes.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from calicopy.config.resolve import NodeConfig
from calicopy.fib import ForeignRoute, KernelDump, NextHopObject, NextHopResult, RouteTarget, WriteResult
from calicopy.net import Encapsulation, Family, IPAddress, Packed, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts
from calicopy.seam.bfd import BfdState
from calicopy.seam.speaker import SpeakerEvent


@dataclass(frozen=True, slots=True)
class Ticked:
    """Nothing happened but that time has passed."""


@dataclass(frozen=True, slots=True)
class KernelDumped:
    """Every route of ours that the kernel holds."""

    dump: KernelDump = field(repr=False)


@dataclass(frozen=True, slots=True)
class KernelDumpFailed:
    """The kernel's routes could not be read."""

    error: str


@dataclass(frozen=True, slots=True)
class RoutesChanged:
    """Somebody else changed keys of ours: our route there is now this, or is gone or hidden (None)."""

    changes: Mapping[Family, Mapping[Packed, RouteTarget | None]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ForeignRoutesRead:
    """All routes of others inside the pools that the kernel prefers to ours, by prefix."""

    routes: Mapping[Family, Mapping[Packed, ForeignRoute]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KernelEventsLost:
    """Events about routes were lost, or a device went that had some: read the kernel's routes again."""


@dataclass(frozen=True, slots=True)
class RoutesWritten:
    """A `WriteRoutes` command is through: one result for each batch of it, in order."""

    results: tuple[WriteResult, ...]


@dataclass(frozen=True, slots=True)
class NextHopsWritten:
    """A `WriteNextHops` command is through: one result for each change of it, in order."""

    results: tuple[NextHopResult, ...]


@dataclass(frozen=True, slots=True)
class NextHopsChanged:
    """Somebody else, or the kernel itself, changed nexthop objects of ours: they are now these, or are gone (None)."""

    changes: Mapping[int, NextHopObject | None]


@dataclass(frozen=True, slots=True)
class InterfacesChanged:
    """All interfaces of the host, as they are now."""

    interfaces: tuple[InterfaceFacts, ...]


@dataclass(frozen=True, slots=True)
class LinksLost:
    """Interfaces (by index) that went down, away, or lost an address: routes over them may be gone without a word.

    An empty set says that links changed, so what failed before is worth another try.
    """

    ifindexes: frozenset[int]


@dataclass(frozen=True, slots=True)
class NextHopsResolved:
    """How the kernel reaches addresses that were asked for."""

    facts: Mapping[IPAddress, NextHopFacts]


@dataclass(frozen=True, slots=True)
class TunnelSet:
    """The tunnel device of an encapsulation; `error` says what of it is not as wanted. `ifindex` None: no device."""

    encapsulation: Encapsulation
    ifindex: int | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class HostChecked:
    """Settings of the host (sysctl, nft) that could not be made, and those that somebody else had changed and that are
    as they should be again: one sentence each, by object.
    """

    component: str
    problems: Mapping[str, str]
    put_right: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionsSet:
    """The speaker took the wanted sessions of the `SetSessions` with this serial, or `error` says why not. `unchanged`:
    it goes on with those that it had.
    """

    error: str = ""
    serial: int = 0
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class AdvertiseFailed:
    """The speaker did not take what these peers should hear (End-of-RIB too), or nobody knows whether it did."""

    peers: tuple[str, ...]
    family: Family
    error: str


@dataclass(frozen=True, slots=True)
class AnnouncedBefore:
    """What the speaker holds as announced when the agent attached to sessions that were up: peer to family to pairs of
    path id (0 without ADD-PATH) and prefix.
    """

    routes: Mapping[str, Mapping[Family, tuple[tuple[int, Packed], ...]]]


@dataclass(frozen=True, slots=True)
class Persisted:
    """The store has committed what `Persist(token)` asked for."""

    token: int


@dataclass(frozen=True, slots=True)
class PersistFailed:
    """The store could not commit; nothing of it was written."""

    token: int
    error: str


@dataclass(frozen=True, slots=True)
class AddressRequested:
    """A caller wants an address for `handle`; answered by `Reply(request)`."""

    request: int
    handle: str
    family: Family
    pool: str = ""
    address: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class AddressReleased:
    """A caller gives back what `handle` holds (only `sequence`, when given); answered by `Reply(request)`."""

    request: int
    handle: str
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class BlockReleased:
    """A caller gives back an own block, or forgets a reservation; answered by `Reply(request)`."""

    request: int
    block: Prefix


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Take this node out of service; answered by `Reply(request)` when that is on disk, `DrainProgress` follows.

    `force`: although addresses are in use. `wait_s`: for other paths, at most. `at`: seconds since the epoch.
    `stopping`: for the end of the process, so that nothing of it is kept.
    """

    request: int
    force: bool
    wait_s: float
    at: float
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class UndrainRequested:
    """Bring this node back into service; answered by `Reply(request)`."""

    request: int


@dataclass(frozen=True, slots=True)
class WorkloadsChanged:
    """All attached workloads: address (as a host prefix) to the host interface's index."""

    routes: Mapping[Prefix, int]


@dataclass(frozen=True, slots=True)
class PeerRefreshRequested:
    """Somebody wants the routes of a session again: those of the peer (`inbound`), ours (`outbound`)."""

    peer: str
    inbound: bool = False
    outbound: bool = False


@dataclass(frozen=True, slots=True)
class PeerResetRequested:
    """Somebody wants a session ended and begun anew, and one that is stopped wanted again."""

    peer: str


@dataclass(frozen=True, slots=True)
class BfdSeen:
    """All BFD sessions that the process holds, by peer, as they are now. `attached`: it is there and was asked; else
    this is what it left behind when it was last seen, or nothing.
    """

    states: Mapping[str, BfdState]
    attached: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TunnelsAnswered:
    """Which of the tunnel addresses of `ProbeTunnels` answer, and which do not: those of which it is known."""

    answers: Mapping[IPAddress, bool]


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """The cluster file that counts from now on, as this node reads it: ready, with the same addresses and router id."""

    node: NodeConfig = field(repr=False)


RequestEvent: TypeAlias = (
    AddressRequested
    | AddressReleased
    | BlockReleased
    | DrainRequested
    | UndrainRequested
    | Persisted
    | PersistFailed
)

KernelSaid: TypeAlias = (
    KernelDumped
    | KernelDumpFailed
    | RoutesChanged
    | ForeignRoutesRead
    | KernelEventsLost
    | RoutesWritten
    | NextHopsWritten
    | NextHopsChanged
    | InterfacesChanged
    | LinksLost
    | NextHopsResolved
    | TunnelSet
    | TunnelsAnswered
)
"""What `kernel_events` takes."""

OtherEvent: TypeAlias = (
    SpeakerEvent
    | RequestEvent
    | Ticked
    | HostChecked
    | SessionsSet
    | AdvertiseFailed
    | AnnouncedBefore
    | WorkloadsChanged
    | PeerRefreshRequested
    | PeerResetRequested
    | BfdSeen
    | ConfigChanged
)

CoreEvent: TypeAlias = KernelSaid | OtherEvent
