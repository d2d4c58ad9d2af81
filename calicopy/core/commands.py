"""What the core wants done, in the imperative. The agent carries them out and answers with events."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from calicopy.bgp.notification import ADMINISTRATIVE_RESET
from calicopy.core.drain_state import DrainChange, DrainStep
from calicopy.core.views import LogView
from calicopy.fib import NextHopChange, RouteBatch
from calicopy.ipam import AddressRecord, Change, IpamError
from calicopy.net import Decapsulation, Encapsulation, Family, IPAddress, Prefix
from calicopy.net.tunnel import TunnelEnd
from calicopy.seam.bfd import BfdSpec, BfdTable
from calicopy.seam.speaker import AnnounceGroup, SessionSpec, WithdrawGroup


@dataclass(frozen=True, slots=True)
class SetSessions:
    """The whole set of sessions to hold; `SessionsSet` answers with the same serial."""

    sessions: tuple[SessionSpec, ...]
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Advertise:
    """Tell all of `peers` the same: first the announcements, then the withdrawals."""

    peers: tuple[str, ...]
    family: Family
    announce: tuple[AnnounceGroup, ...] = ()
    withdraw: tuple[WithdrawGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class SendEndOfRib:
    """Everything of `family` was announced to `peer`."""

    peer: str
    family: Family


@dataclass(frozen=True, slots=True)
class SendRefresh:
    """Ask `peer` for its table again (RFC 2918)."""

    peer: str
    family: Family


@dataclass(frozen=True, slots=True)
class ResendRoutes:
    """Announce to `peer` all that it was told, once more (as a ROUTE-REFRESH of its own would have it)."""

    peer: str


@dataclass(frozen=True, slots=True)
class ResetPeer:
    """End the session with `peer`, under graceful restart; the speaker dials again. `subcode`: of the Cease that is
    sent where we do not offer graceful restart.
    """

    peer: str
    reason: str
    subcode: int = ADMINISTRATIVE_RESET


@dataclass(frozen=True, slots=True)
class DumpRoutes:
    """Read the kernel's routes anew."""


@dataclass(frozen=True, slots=True)
class WriteRoutes:
    """Bring these changes into the kernel, in order; all are tried."""

    batches: tuple[RouteBatch, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteNextHops:
    """Bring these changes of nexthop objects into the kernel, in order, before any routes that wait; all are tried."""

    changes: tuple[NextHopChange, ...]


@dataclass(frozen=True, slots=True)
class ResolveNextHops:
    """The whole set of addresses whose way the core wants to know, now and whenever it changes."""

    addresses: frozenset[IPAddress]


@dataclass(frozen=True, slots=True)
class SetTunnel:
    """The tunnel device of an encapsulation, up, with exactly these addresses (of pools) and this MTU (octets).

    `local` is our own end's address, the outer source; `ends` are all other nodes. `port` is the outer UDP port and
    `vni` the VXLAN network identifier, 0 where the encapsulation has none.
    """

    encapsulation: Encapsulation
    device: str
    mtu: int
    addresses: tuple[IPAddress, ...] = ()
    local: IPAddress | None = None
    ends: tuple[TunnelEnd, ...] = ()
    port: int = 0
    vni: int = 0


@dataclass(frozen=True, slots=True)
class SetHost:
    """Settings of the host.

    `underlay`: devices that must forward. `nat_pools`: pods whose packets leave with the node's address, unless they go
    to `nat_exempt`. `guarded`: what is decapsulated, and taken from `senders` alone. `unused`: tunnel devices that take
    no packet any more.
    """

    underlay: tuple[str, ...]
    nat_pools: tuple[Prefix, ...] = ()
    nat_exempt: tuple[Prefix, ...] = ()
    guarded: tuple[Decapsulation, ...] = ()
    senders: tuple[IPAddress, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetWorkloadMtu:
    """The MTU of all workloads, in octets."""

    mtu: int


@dataclass(frozen=True, slots=True)
class Persist:
    """Commit these changes in one transaction; answered by Persisted or PersistFailed."""

    token: int
    changes: tuple[Change | DrainChange, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request: addresses, or the refusal."""

    request: int
    addresses: tuple[AddressRecord, ...] = ()
    error: IpamError | None = None


@dataclass(frozen=True, slots=True)
class DrainProgress:
    """A drain went on: for all who wait for it."""

    step: DrainStep


@dataclass(frozen=True, slots=True)
class ProbeTunnels:
    """The whole set of tunnel addresses of other nodes to ask, over and over, whether they answer; each with the
    address to ask from.
    """

    targets: Mapping[IPAddress, IPAddress]


@dataclass(frozen=True, slots=True)
class SetBfdSessions:
    """The whole set of BFD sessions to hold."""

    sessions: tuple[BfdSpec, ...]


@dataclass(frozen=True, slots=True)
class SetBfdTable:
    """All nexthop objects and groups that a BFD session going Down may have to take out of use. Not `complete`: what an
    agent of before has told may have to be taken out too.
    """

    table: BfdTable
    complete: bool = False


@dataclass(frozen=True, slots=True)
class AcknowledgeBfd:
    """The core has taken these Downs (peer to `BfdState.downs`) as its own wish: the process need hold nothing more."""

    downs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the event log and the watchers."""

    line: LogView


Command: TypeAlias = (
    SetSessions
    | Advertise
    | SendEndOfRib
    | SendRefresh
    | ResendRoutes
    | ResetPeer
    | DumpRoutes
    | WriteRoutes
    | WriteNextHops
    | ResolveNextHops
    | SetTunnel
    | SetHost
    | SetWorkloadMtu
    | Persist
    | Reply
    | DrainProgress
    | ProbeTunnels
    | SetBfdSessions
    | SetBfdTable
    | AcknowledgeBfd
    | Log
)
