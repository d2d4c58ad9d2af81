"""What the API needs of the agent: the one seam between the gRPC services and everything behind them.

Reading calls answer at once from memory. Changing calls are coroutines that end when the change is durable and done.
"""
from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from calicopy.core.drain_state import DrainStep
from calicopy.core.views import (
    AddressView,
    BlockView,
    ChangeView,
    ConfigTextView,
    ExplainView,
    NodeStatusView,
    PeerView,
    PlanView,
    PoolView,
    ProgressView,
    RouteQuery,
    RouteView,
    WorkloadView,
)
from calicopy.net import Family, IPAddress, Prefix


class RefusalKind(enum.Enum):
    """Why a call was refused; each maps to one gRPC status code."""

    NOT_FOUND = "not-found"
    INVALID = "invalid"  # the argument is wrong in itself: INVALID_ARGUMENT
    CONFLICT = "conflict"  # wrong in the present state: FAILED_PRECONDITION
    EXHAUSTED = "exhausted"  # nothing left to give: RESOURCE_EXHAUSTED
    UNAVAILABLE = "unavailable"  # not ready yet, try again: UNAVAILABLE
    FAILED = "failed"  # the machine refused (errno, disk full): INTERNAL


class RefusedError(Exception):
    """A call that the agent refuses: kind, stable code, the sentence for people, and the object it is about."""

    def __init__(self, kind: RefusalKind, code: str, message: str, *, subject: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.subject = subject


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressWishes:
    """Which addresses a workload is to have, one at most of each family.

    `families`: these alone; none named: each that a pool of this node has. `addresses` and `pools` (by name) say more
    of their family.
    """

    families: tuple[Family, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    pools: tuple[str, ...] = ()


ANY_ADDRESSES = AddressWishes()


class ConfigKind(enum.Enum):
    """Which configuration."""

    RUNNING = "running"
    STARTUP = "startup"


class ConfigBackend(Protocol):
    """Changing the configuration, as the API sees it. A change that was begun goes on when its listener goes away."""

    async def plan(self, text: bytes, filename: str) -> PlanView:
        """What this text would change. Raises RefusedError."""
        ...

    def apply(self, text: bytes, filename: str, *, confirm_s: int = 0) -> AsyncIterator[ProgressView]:
        """Makes this text the running configuration; the progress up to the outcome. Raises RefusedError."""
        ...

    async def confirm(self) -> ProgressView:
        """The change that is under way holds; its outcome. Raises RefusedError."""
        ...

    def rollback(self, *, confirm_s: int = 0) -> AsyncIterator[ProgressView]:
        """Restores what ran before; the progress up to the outcome. Raises RefusedError."""
        ...

    def config(self, kind: ConfigKind) -> ConfigTextView:
        """The text of a configuration. Raises RefusedError."""
        ...


class Backend(Protocol):
    """The agent, as the API sees it. Every method runs in the agent's event loop."""

    @property
    def configuration(self) -> ConfigBackend:
        """What runs, and changing it. Raises RefusedError (UNAVAILABLE) while the agent starts."""
        ...

    def status(self) -> NodeStatusView:
        """The status from memory, without the ways to the other nodes."""
        ...

    async def full_status(self) -> NodeStatusView:
        """The whole status, with what takes more to find out: packets that nft counts, the way to each node."""
        ...

    def peers(self) -> Sequence[PeerView]:
        """All peers, in order of name."""
        ...

    def routes(
        self,
        query: RouteQuery,
        *,
        peer: str = "",
        family: Family | None = None,
        within: Prefix | None = None,
        reason: str = "",
    ) -> Iterator[Sequence[RouteView]]:
        """Routes in pages of up to 1,000, in order of prefix.

        `within`: only that prefix, or, when it is a host prefix, its longest match. `reason`: only paths whose reason
        has this code.

        Raises RefusedError (NOT_FOUND) for an unknown peer before the first page.
        """
        ...

    async def explain(self, target: Prefix) -> ExplainView:
        """Everything about a prefix, or about an address as a host prefix. It asks the kernel too."""
        ...

    def pools(self) -> Sequence[PoolView]:
        """All pools of the cluster file."""
        ...

    def blocks(self, *, include_reserved: bool) -> Sequence[BlockView]:
        """Own blocks, and those reserved for others when asked."""
        ...

    def addresses(self, *, address: IPAddress | None = None, handle: str = "") -> Sequence[AddressView]:
        """Assigned addresses. With `address`: that one, also when it is free or another node's."""
        ...

    def workloads(self) -> Sequence[WorkloadView]:
        """All workloads, in order of name."""
        ...

    async def assign_address(
        self, handle: str, *, family: Family, pool: str = "", address: IPAddress | None = None
    ) -> AddressView:
        """Gives `handle` an address, the same again when it has one. Raises RefusedError."""
        ...

    async def release_address(self, handle: str, *, sequence: int | None = None) -> Sequence[AddressView]:
        """Frees what `handle` holds; empty when it holds nothing. Raises RefusedError."""
        ...

    async def release_block(self, cidr: Prefix) -> BlockView:
        """Forgets a reservation, or gives up an own block without addresses. Raises RefusedError."""
        ...

    async def attach(
        self, netns: str, name: str, *, interface: str = "eth0", wishes: AddressWishes = ANY_ADDRESSES
    ) -> tuple[WorkloadView, bool]:
        """Attaches a namespace; the flag says whether this call made it. Raises RefusedError."""
        ...

    async def detach(self, name: str) -> bool:
        """Undoes it; False when there was none. Raises RefusedError."""
        ...

    async def refresh_peer(self, name: str, *, inbound: bool, outbound: bool) -> PeerView:
        """Asks a peer for its routes again (`inbound`), has ours sent again (`outbound`). Raises RefusedError."""
        ...

    async def reset_peer(self, name: str) -> PeerView:
        """Ends a session, to begin it anew; a stopped one is wanted again. Raises RefusedError."""
        ...

    def drain(self, *, force: bool, wait_s: float) -> AsyncIterator[DrainStep]:
        """Takes the node out of service: the steps, of which the last is marked. It goes on without its caller.

        Raises RefusedError before the first step.
        """
        ...

    async def undrain(self) -> bool:
        """Brings the node back into service; whether it was out of it. Raises RefusedError."""
        ...

    def subscribe(self, sink: ChangeSink) -> None:
        """From now on every change goes to `sink`, in order, until `unsubscribe`."""
        ...

    def unsubscribe(self, sink: ChangeSink) -> None:
        """Ends it; no error when it was not there."""
        ...

    @property
    def revision(self) -> int:
        """Grows with each change."""
        ...


class ChangeSink(Protocol):
    """Takes changes; never blocks, never raises."""

    def push(self, revision: int, changes: Sequence[ChangeView]) -> None:
        """`changes` that came about at `revision`."""
        ...
