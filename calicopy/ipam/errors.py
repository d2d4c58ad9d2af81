"""Why IPAM refused. Each is a local answer to one request; none of them has changed anything."""
from __future__ import annotations

from calicopy.ipam.model import PoolUse
from calicopy.net import IPAddress, Prefix


class IpamError(Exception):
    """The base of all refusals."""


class UnknownPoolError(IpamError):
    """The pool is not in the cluster file, does not select this node, or is of another family."""


class PoolExhaustedError(IpamError):
    """No free address in own blocks, and no block left to claim. `pools` counts what is taken by whom."""

    def __init__(self, pools: tuple[PoolUse, ...], used: int) -> None:
        self.pools = pools
        self.used = used
        listed = "; ".join(map(str, pools)) or "no pool selects this node"
        super().__init__(f"no address is free ({used} in use) and no block can be claimed: {listed}")


class ClaimPendingError(IpamError):
    """A block was claimed for this and is not yet confirmed: try again when it is."""

    def __init__(self, blocks: tuple[Prefix, ...]) -> None:
        self.blocks = blocks
        super().__init__(f"no address is free yet: the claim of {', '.join(map(str, blocks))} is pending")


class AddressInUseError(IpamError):
    """The address asked for belongs to another handle."""

    def __init__(self, address: IPAddress, handle: str) -> None:
        self.address = address
        self.handle = handle
        super().__init__(f"{address} is in use by {handle}")


class AddressNotOursError(IpamError):
    """The address asked for is in no block that this node gives addresses from."""


class AddressHeldElsewhereError(IpamError):
    """The address asked for is announced by another node, which lost this block with addresses in use."""


class HandleMismatchError(IpamError):
    """The handle holds an address already, and it is not the one asked for."""


class BlockInUseError(IpamError):
    """The block cannot be released: addresses of it are in use, or the file pins it."""


class UnknownBlockError(IpamError):
    """The block is neither ours nor reserved, or no claim of it is pending."""
