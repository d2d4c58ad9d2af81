"""What IPAM is told (nodes, pools) and what it shows (blocks, conflicts, look-ups)."""
from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from calicopy.ipam.records import AddressRecord
from calicopy.net import Encapsulation, Family, IPAddress, Packed, Prefix, pack

TUNNEL_HANDLES: Mapping[Encapsulation, str] = {
    one: f"tunnel:{one.value}" for one in Encapsulation if one is not Encapsulation.NONE
}
"""The handles that hold the addresses of the tunnel devices."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node of the cluster file. `router_id` is a 32-bit number, unique in the file."""

    name: str
    router_id: int
    pinned: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A pool of the cluster file: `block_length` is the prefix length of its blocks; `nodes` may use it (None: all)."""

    name: str
    cidr: Prefix
    block_length: int
    nodes: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not self.cidr.length <= self.block_length <= self.cidr.family.bits:
            raise ValueError(
                f"pool {self.name}: block length {self.block_length} does not fit {self.cidr}: "
                f"expected {self.cidr.length} to {self.cidr.family.bits}"
            )

    @property
    def family(self) -> Family:
        """The family of its addresses."""
        return self.cidr.family

    @property
    def blocks(self) -> int:
        """How many blocks it has: always a power of two."""
        return 1 << (self.block_length - self.cidr.length)

    def selects(self, node: str) -> bool:
        """Whether the node may claim blocks of it."""
        return self.nodes is None or node in self.nodes

    def block_at(self, index: int) -> Prefix:
        """The block number `index`."""
        size = 1 << (self.family.bits - self.block_length)
        return Prefix(self.family, pack(self.cidr.first + index * size, self.block_length, self.family))

    def index_of(self, block: Prefix) -> int:
        """The number of the block that `block` is or begins in. ValueError when it lies outside."""
        if block not in self.cidr:
            raise ValueError(f"{block} is not in pool {self.name} ({self.cidr})")
        return (block.first - self.cidr.first) >> (self.family.bits - self.block_length)


class BlockState(enum.Enum):
    """Where a block of this node stands."""

    PENDING = "pending"
    """Claimed, not confirmed: counts as absent, is neither announced nor used."""
    CONFIRMED = "confirmed"
    LOST = "lost"
    """Another node won it; our used addresses are announced one by one until the last is released."""
    RETIRING = "retiring"
    """No longer a block that the file gives to this node (pool gone, not selected, or blocks of another size): nothing
    new is given out, and it is held until the last address is released."""


class PendingReason(enum.Enum):
    """Why a claim is still pending."""

    FIRST_CLAIM = "first claim of this node: waits for what the peers hold"
    FURTHER_CLAIM = "further claim: waits to be confirmed"
    MOVED = "the block chosen before was seen at another node; waits again"


@dataclass(frozen=True, slots=True)
class PendingClaim:
    """A claim that waits for `Ipam.confirm`."""

    block: Prefix
    pool: str
    first: bool
    """Whether this node had no confirmed block when it chose, so that the core's waiting rule holds."""
    reason: PendingReason


class ConflictRule(enum.Enum):
    """What decided who keeps a block that two nodes own."""

    PINNED = "the node it is pinned to wins"
    ROUTER_ID = "the lower router id wins"


@dataclass(frozen=True, slots=True)
class BlockConflict:
    """A block of this node that another node of the file owns too."""

    block: Prefix
    rival: str
    won: bool
    rule: ConflictRule
    in_use: int
    """How many addresses of it this node has in use."""

    def __str__(self) -> str:
        verdict = "kept" if self.won else "lost"
        return f"block {self.block} is also announced by {self.rival}: {verdict}, {self.rule.value}"


@dataclass(frozen=True, slots=True)
class AddressConflict:
    """An address in use here that another node announces as its own."""

    address: IPAddress
    handle: str
    rival: str

    def __str__(self) -> str:
        return f"address {self.address} is used by {self.handle} here and announced by {self.rival} too"


@dataclass(frozen=True, slots=True)
class BlockView:
    """A block of this node as people see it; `free` counts what could be given out were the state `confirmed`."""

    prefix: Prefix
    pool: str
    state: BlockState
    reason: str
    pinned: bool
    size: int
    used: int
    free: int


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How the blocks of a pool are spoken for, as this node knows."""

    name: str
    cidr: Prefix
    blocks: int
    own: int
    pinned_elsewhere: int
    reserved_elsewhere: int
    first_elsewhere: int
    """First blocks of other nodes by the joint assignment that are not counted above."""

    @property
    def claimable(self) -> int:
        """How many blocks this node may still claim."""
        return max(0, self.blocks - self.own - self.pinned_elsewhere - self.reserved_elsewhere - self.first_elsewhere)

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.cidr}): {self.blocks} blocks, {self.own} ours, {self.pinned_elsewhere} pinned to "
            f"other nodes, {self.reserved_elsewhere} reserved for other nodes, {self.first_elsewhere} kept as first "
            f"blocks of other nodes"
        )


@dataclass(frozen=True, slots=True)
class AddressLookup:
    """What is known of one address. `node` and `router_id` are of the block's holder, when one is known."""

    address: IPAddress
    pool: str | None
    block: Prefix | None
    node: str | None
    router_id: int | None
    record: AddressRecord | None


HolderChanges = Mapping[Family, Mapping[Packed, int | None]]
"""Per family: block -> router id of the only node that may announce it; None: no longer held by another node."""
