"""The words between the FIB and the kernel: targets, routes, batches, results, and reasons for what is not there."""
from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from calicopy.net import Encapsulation, EncapsulationMode, Family, IPAddress, Packed, Prefix

DEFAULT_PROTOCOL = 117
"""rtm_protocol of our routes: free in /etc/iproute2/rt_protos and in no daemon's use that we know of."""
HELD_PROTOCOL = 118
"""Protocol of the nexthop objects that the BFD process has replaced by blackholes: ours, and kept so until the core
takes them over. The kernel takes the protocol of a replace for single objects, and not for groups
(net/ipv4/nexthop.c)."""
DEFAULT_METRIC = 1024
"""Priority of our routes: a key of our own, so that a replace never meets a foreign route (kernel: the key is prefix,
tos and metric, not protocol)."""
NEXT_HOP_IDS = range(0x0CA10000, 0x0CA20000)
"""Ids of our nexthop objects."""


@dataclass(frozen=True, slots=True)
class FibPool:
    """A pool, as far as the FIB cares."""

    prefix: Prefix
    encapsulation: Encapsulation = Encapsulation.NONE
    mode: EncapsulationMode = EncapsulationMode.ALWAYS


@dataclass(frozen=True, slots=True)
class UnderlayAddress:
    """A node's address on the underlay; `prefix_length` is None where the cluster file does not say."""

    address: IPAddress
    prefix_length: int | None = None


class SelectedPath(Protocol):
    """What the FIB reads of a path of the Loc-RIB."""

    @property
    def next_hop(self) -> IPAddress | None:
        """The NEXT_HOP attribute (RFC 4271 section 5.1.3); a path without one is never usable."""

    @property
    def owner(self) -> int | None:
        """Router id of the node that owns the prefix, when known."""


class Selected(Protocol):
    """What the FIB reads of a selection: the paths, best first. Equal selections should be one object."""

    @property
    def paths(self) -> Sequence[SelectedPath]:
        """The best path, and those that share the load with it."""


class RouteKind(enum.Enum):
    """Type of a kernel route (linux/rtnetlink.h, rtm_type)."""

    UNICAST = "unicast"
    BLACKHOLE = "blackhole"


@dataclass(frozen=True, slots=True, order=False)
class Hop:
    """One way out: through `gateway` (None: the destination is on the link itself) and the interface `ifindex`.

    `onlink` has the kernel take the gateway as on the link although no prefix of the interface says so.
    """

    gateway: IPAddress | None
    ifindex: int
    onlink: bool = False
    weight: int = 1

    def order(self) -> tuple[int, int, bool]:
        """A fixed order of hops makes equal sets of them equal targets."""
        return int(self.gateway or 0), self.ifindex, self.onlink


@dataclass(frozen=True, slots=True)
class RouteTarget:
    """Where a route leads. Many prefixes share one; the FIB keeps equal targets as one object.

    `altered` is set on what a dump read when the route carries something that we never set (a preferred source,
    metrics, an encapsulation): such a target equals none that we want, so the route is put right.
    `next_hop_id` names a `NextHopObject`; `hops` is empty then, since what they are is the object's matter.
    """

    kind: RouteKind
    hops: tuple[Hop, ...] = ()
    link_scope: bool = False
    altered: bool = False
    next_hop_id: int = 0


BLACKHOLE = RouteTarget(RouteKind.BLACKHOLE)


@cache
def object_target(next_hop_id: int) -> RouteTarget:
    """The target of routes that lead to a nexthop object: one object per id, so that identity says everything."""
    return RouteTarget(RouteKind.UNICAST, next_hop_id=next_hop_id)


def workload_target(ifindex: int) -> RouteTarget:
    """The target of a workload's host route: on the link of its host interface, scope link."""
    return RouteTarget(RouteKind.UNICAST, (Hop(None, ifindex),), link_scope=True)


@dataclass(frozen=True, slots=True)
class NextHopObject:
    """A nexthop object of the kernel (linux/nexthop.h, since 5.3), which routes of its family name by `id`.

    It is one hop, or a group (`members`: id and weight of each, in the order of the ids), or with neither a blackhole.
    A group's members are no groups, and a blackhole is member of no group with others. `held`: the BFD process made it
    a blackhole (`HELD_PROTOCOL`), and keeps it so.
    """

    id: int
    family: Family
    hop: Hop | None = None
    members: tuple[tuple[int, int], ...] = ()
    held: bool = False

    @property
    def is_blackhole(self) -> bool:
        """Whether packets to it are dropped."""
        return self.hop is None and not self.members


class NextHopOp(enum.Enum):
    """What to do with a nexthop object."""

    ADD = "add"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class NextHopChange:
    """One operation. An ADD that meets an object of ours brings it to this; a REPLACE of what is not there fails.

    Objects of others are touched by none, and one that BFD holds only with `over_hold`, or to delete it.
    """

    op: NextHopOp
    object: NextHopObject
    over_hold: bool = False


@dataclass(frozen=True, slots=True)
class NextHopResult:
    """What became of a change: done when `errno` is 0. `foreign`: the id is held by an object that is not ours; `held`:
    it is one that BFD holds. Both were left alone.
    """

    change: NextHopChange
    errno: int = 0
    foreign: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """One route of ours as the kernel holds it."""

    family: Family
    packed: Packed
    target: RouteTarget
    metric: int = DEFAULT_METRIC


@dataclass(frozen=True, slots=True)
class KernelDump:
    """All routes with our protocol in table main: those with our metric by prefix, and the others (`strays`).

    `next_hops` are our nexthop objects by id (protocol ours), `foreign_ids` ids in our range that others hold.
    `next_hops` None: the kernel has no such objects, and routes carry their hops themselves.
    """

    routes: Mapping[Family, Mapping[Packed, RouteTarget]]
    strays: tuple[KernelRoute, ...] = ()
    next_hops: Mapping[int, NextHopObject] | None = None
    foreign_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class KernelMatch:
    """The kernel's own answer for one address: the route that a packet to it takes now, of whatever protocol.

    `prefix`, `protocol`, `metric` and `table` are the route's; `target` where it leads; `local`: to this host. `errno`
    is set, and the rest empty, when the kernel drops such packets: no route, or one of type blackhole (EINVAL),
    unreachable, prohibit.
    """

    address: IPAddress
    prefix: Prefix | None = None
    protocol: int = 0
    metric: int = 0
    table: int = 0
    target: RouteTarget | None = None
    local: bool = False
    errno: int = 0


@dataclass(frozen=True, slots=True)
class ForeignRoute:
    """A route of another program for a prefix, as far as it matters to ours: rtm_protocol and RTA_PRIORITY."""

    protocol: int
    metric: int


class RouteOp(enum.Enum):
    """What to do with the prefixes of a batch."""

    ADD = "add"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RouteBatch:
    """The same operation, with the same target, for many prefixes of one family.

    `target` is None for deletes only. `metric` is None for our own metric; deletes of strays name theirs.
    """

    op: RouteOp
    family: Family
    target: RouteTarget | None
    prefixes: list[Packed]
    metric: int | None = None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a batch: everything is done but `failures` (prefix, errno) and `foreign`.

    `foreign` are prefixes whose key (prefix and metric) is held by a route that is not ours, which was left alone.
    """

    batch: RouteBatch
    failures: list[tuple[Packed, int]] = field(default_factory=list)
    foreign: list[Packed] = field(default_factory=list)


class UnprogrammedReason(enum.Enum):
    """Why a prefix is not, or not fully, in the kernel; the value is the stable code of the API."""

    NEXT_HOP_UNREACHABLE = "next-hop-unreachable"
    NOT_ON_LINK = "not-on-link"
    NO_TUNNEL_ENDPOINT = "no-tunnel-endpoint"
    TUNNEL_UNAVAILABLE = "tunnel-unavailable"
    FOREIGN_ROUTE = "foreign-route"
    KERNEL_ERROR = "kernel-error"
    NEXT_HOP_GONE = "next-hop-gone"
    NEXT_HOP_HELD = "next-hop-held"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Unprogrammed:
    """A reason with its details: the next hop it is about, the kernel's errno for KERNEL_ERROR (else 0), and the
    encapsulation whose tunnel is missing.
    """

    reason: UnprogrammedReason
    next_hop: IPAddress | None = None
    errno: int = 0
    encapsulation: Encapsulation = Encapsulation.NONE

    @property
    def message(self) -> str:
        """A sentence for people, without the errno's name (the caller has `os.strerror`)."""
        return _MESSAGES[self.reason].format(
            next_hop=self.next_hop, errno=self.errno, encapsulation=self.encapsulation.value
        )


_MESSAGES = {
    UnprogrammedReason.NEXT_HOP_UNREACHABLE: "no route of the host leads to next hop {next_hop}",
    UnprogrammedReason.NOT_ON_LINK: "next hop {next_hop} is behind a gateway, and the pool has no encapsulation",
    UnprogrammedReason.NO_TUNNEL_ENDPOINT: "no node of the file is known as the owner: no {encapsulation} tunnel end",
    UnprogrammedReason.TUNNEL_UNAVAILABLE: "the {encapsulation} tunnel is not there",
    UnprogrammedReason.FOREIGN_ROUTE: "a route that is not ours holds this prefix with our metric",
    UnprogrammedReason.KERNEL_ERROR: "the kernel refused the route with errno {errno}",
    UnprogrammedReason.NEXT_HOP_GONE: "no session brings a path over next hop {next_hop} any more: packets are dropped",
    UnprogrammedReason.NEXT_HOP_HELD: "BFD has taken next hop {next_hop} out of use: packets are dropped",
    UnprogrammedReason.WAITING: "not written to the kernel yet",
}


class RouteOrigin(enum.Enum):
    """Whose wish a route is."""

    WORKLOAD = "workload"
    BLOCK = "block"
    BGP = "bgp"
