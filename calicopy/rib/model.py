"""The values that the RIB takes in and gives out. Router ids are 32-bit integers, lengths are in bits."""
from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from calicopy.bgp.attributes import PathAttributes
from calicopy.net import Family, IPAddress, Packed, Prefix
from calicopy.policy import Filter, RuleRef
from calicopy.rib.reasons import DecisionStep, ImportReason

DEFAULT_LOCAL_PREF = 100


class NextHopResolution(Protocol):
    """What the decision asks of a next hop's facts (`calicopy.net.nexthop.NextHopFacts` has more)."""

    @property
    def reachable(self) -> bool:
        """Whether the kernel has a way to it."""

    @property
    def metric(self) -> int:
        """How far it is; the lower is the nearer."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One BGP peer, as its session has it.

    `key` is the peer's address as text. `node` names the node of the cluster file that it is, None for any other peer.
    `trust_owner`: its owner communities are believed although it is no node. `prefix_limit` counts stored paths, per
    family; None is no limit. `allow_own_as` is how often our AS may stand in a received AS_PATH. `next_hops`: further
    ones that its paths may have. `mesh`: the session belongs to the mesh of nodes. `client`: we are its route reflector
    (RFC 4456). `import_filters` is its chain.
    """

    key: str
    name: str
    address: IPAddress
    asn: int
    local_asn: int
    router_id: int
    node: str | None = None
    trust_owner: bool = False
    prefix_limit: int | None = None
    allow_own_as: int = 0
    next_hops: frozenset[IPAddress] = frozenset()
    mesh: bool = False
    client: bool = False
    import_filters: tuple[Filter, ...] = ()

    @property
    def ibgp(self) -> bool:
        """Whether the peer is in our AS (RFC 4271 section 1.1, internal peer)."""
        return self.asn == self.local_asn


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """An address pool: its prefix, and the length of its blocks."""

    prefix: Prefix
    block_length: int


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node of the cluster file. `addresses` are its underlay addresses, the next hops that it may have."""

    name: str
    router_id: int
    asn: int
    addresses: frozenset[IPAddress]


@dataclass(frozen=True, slots=True)
class RibContext:
    """What the policy judges by: who we are, and the cluster file. `nodes` are keyed by router id, ours included.
    `own_networks` are those that our own addresses are in.
    """

    local_as: int
    cluster_as: int
    router_id: int
    cluster_id: int
    own_addresses: frozenset[IPAddress]
    pools: tuple[PoolFacts, ...]
    nodes: Mapping[int, NodeFacts]
    multipath_relax: bool = False
    multipath_max: int = 16
    own_networks: frozenset[IPv4Network | IPv6Network] = frozenset()


@dataclass(frozen=True, slots=True)
class Holder:
    """The node that may announce a block: pinned to it by the cluster file, or reserved because it was seen there."""

    router_id: int
    pinned: bool = False


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Path:
    """One path: attributes from one peer under one path id, shared by all prefixes that came with them.

    Equal only to itself: the RIB interns paths, so that identity says everything. `attributes` are as received,
    `effective` as the import policy left them (`changed`, where it changed something): these are compared, and passed
    on. `owner` is the router id of the node
    that the prefix belongs to, where it is known and believed. `refused` is the verdict of the import policy on what
    holds for every prefix of the path (next hop, loops, owner, filters); None when nothing speaks against it. `rule` is
    the filter's rule that decided or changed something.
    """

    peer: PeerInfo
    path_id: int
    attributes: PathAttributes
    next_hop: IPAddress | None
    owner: int | None = None
    refused: ImportReason | None = None
    changed: PathAttributes | None = None
    rule: RuleRef | None = None

    @property
    def effective(self) -> PathAttributes:
        """The attributes after import policy."""
        return self.attributes if self.changed is None else self.changed

    @property
    def local_pref(self) -> int:
        """LOCAL_PREF, 100 where nobody set one."""
        return DEFAULT_LOCAL_PREF if self.effective.local_pref is None else self.effective.local_pref

    @property
    def med(self) -> int:
        """MULTI_EXIT_DISC; a missing one is the lowest, 0 (RFC 4271 section 9.1.2.2 c)."""
        return self.effective.med or 0

    @property
    def neighbor_as(self) -> int | None:
        """The AS that it came into ours from; our own for a path that began in it (RFC 4271 section 9.1.2.2 c)."""
        as_path = self.effective.as_path
        return as_path.neighbor_as if as_path.segments else self.peer.local_asn

    @property
    def identifier(self) -> int:
        """ORIGINATOR_ID, else the peer's router id: what the tie is broken by (RFC 4456 section 9)."""
        originator = self.effective.originator_id
        return self.peer.router_id if originator is None else int(originator)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Selection:
    """The paths that a prefix is reached by: the best, then those of equal cost. Equal ones are one object."""

    paths: tuple[Path, ...]

    @property
    def best(self) -> Path:
        """The best path."""
        return self.paths[0]


class PathState(enum.Enum):
    """What became of a received path."""

    BEST = "best"
    MULTIPATH = "multipath"
    LOSING = "losing"
    REJECTED = "rejected"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class PathView:
    """A received path of one prefix and its state. `step` is set when LOSING, `reason` when REJECTED.

    `stale`: kept over a lost session or a refresh, and not heard again yet (RFC 4724 section 4.2). `foreign_host`: a
    host prefix inside a block of another node than its owner (the loser of a conflict announces the addresses that it
    uses).
    """

    prefix: Prefix
    path: Path
    state: PathState
    step: DecisionStep | None = None
    reason: ImportReason | None = None
    stale: bool = False
    foreign_host: bool = False

    @property
    def rule(self) -> RuleRef | None:
        """The filter's rule that refused the path or changed it, in words by `str`."""
        return self.path.rule


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """A peer that sent more paths than its limit. `refused` counts the announcements that were not stored so far."""

    peer: str
    limit: int
    refused: int


@dataclass(slots=True)
class Decisions:
    """What one slice of the decision process changed.

    `changes`: per family runs (the selection now, None for none; the prefixes that have it), a prefix in one at most.
    `judged`: the prefixes with another outcome, also where only a path that lost is another; those in `changes` are
    among them. `owners_seen`: (family, block, router id)
    of blocks that a node was accepted as owner of; told again when it comes not to be held for that node. `conflicts`:
    a node that announces a block or a used address of ours, or that another live node has won; `conflicts_over`: the
    same, when it ended. `limits`: peers that passed their prefix limit since the last slice. `more`: prefixes are left
    for another one.
    """

    changes: dict[Family, list[tuple[Selection | None, Sequence[Packed]]]] = field(default_factory=dict)
    judged: dict[Family, list[Packed]] = field(default_factory=dict)
    owners_seen: list[tuple[Family, Packed, int]] = field(default_factory=list)
    conflicts: list[tuple[Family, Packed, int]] = field(default_factory=list)
    conflicts_over: list[tuple[Family, Packed, int]] = field(default_factory=list)
    limits: list[LimitExceeded] = field(default_factory=list)
    more: bool = False


@dataclass(frozen=True, slots=True)
class PeerCounters:
    """The paths of one peer, all families: stored, and of those that were judged, the accepted and the rejected by
    reason.

    `best` counts those in a selection (best or multipath). `over_limit` announcements were not stored. `stale` are kept
    over a lost session or a refresh.
    """

    received: int
    accepted: int
    best: int
    rejected: Mapping[ImportReason, int]
    stale: int
    over_limit: int
