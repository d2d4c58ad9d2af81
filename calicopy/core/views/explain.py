"""What `explain` says of one address or prefix: typed, and with the sentences that people read."""
from __future__ import annotations

from dataclasses import dataclass

from calicopy.core.views.reason import ReasonView
from calicopy.core.views.route import KernelRouteView, PathView
from calicopy.net import IPAddress, Prefix


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """Two paths at one step of the decision: `value` is that of the path that this belongs to, `other_value` that of
    the path from `other_peer`. `message` has both, such as `local-pref: 200 > 100 (RFC 4271 9.1.1)`.
    """

    step: str
    source: str
    value: str
    other_value: str
    other_peer: str
    message: str


@dataclass(frozen=True, slots=True)
class ExplainedPathView:
    """A path and why it is what it is. `comparison` is the step that decided for the best, and against a loser; None
    where no other path was left to compare with. `changed`: what import policy changed of it, and which rule did.
    """

    path: PathView
    why: str
    comparison: ComparisonView | None = None
    changed: str = ""


@dataclass(frozen=True, slots=True)
class HoldingView:
    """To whom the addresses belong: pool and block, the node that holds the block, and the user of the address.

    `state`: that of an own block (pending, confirmed, lost, retiring), `reserved` or `pinned` for another node's,
    `unclaimed`, `outside-pools`. `conflicts`: a sentence each.
    """

    pool: str
    pool_cidr: Prefix | None
    encapsulation: str
    mode: str
    block: Prefix | None
    node: str
    state: str
    handle: str
    conflicts: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class HopView:
    """How the kernel reaches the next hop of a selected path, and what becomes of it.

    `metric` is the priority of the kernel's route to it. `encapsulation`: none or ipip; `encapsulation_why`: the rule
    that made it so. `text`: the hop as `ip route` writes it; empty when the path cannot be used, and `reason` says why.
    """

    peer: str
    next_hop: IPAddress | None
    reachable: bool
    on_link: bool
    device: str
    gateway: IPAddress | None
    metric: int
    encapsulation: str
    encapsulation_why: str
    text: str
    reason: ReasonView | None


@dataclass(frozen=True, slots=True)
class KernelMatchView:
    """What the kernel itself answers for one address: the route that it takes now, of whatever protocol.

    `ours`: it is one of our routes. `text`: the whole of it in words, or why the kernel drops the packet. `prefix` is
    None when it does.
    """

    address: IPAddress
    prefix: Prefix | None
    protocol: int
    metric: int
    table: int
    ours: bool
    text: str


@dataclass(frozen=True, slots=True)
class AnnouncementView:
    """Whether one peer is told of the prefix; `reason` says why not."""

    peer: str
    announced: bool
    reason: ReasonView | None


@dataclass(frozen=True, slots=True)
class ExplainView:
    """Everything about one address or prefix. `verdict` is the whole in one sentence.

    `prefix` is what decides: the prefix asked for, or the longest that holds it; None when nothing does. `found`:
    there is a path, a route, or an own block. `others`: further prefixes that hold it, or lie in it, a sentence each.
    """

    asked: Prefix
    prefix: Prefix | None
    found: bool
    verdict: str
    holding: HoldingView
    paths: tuple[ExplainedPathView, ...]
    hops: tuple[HopView, ...]
    kernel: KernelRouteView | None
    match: KernelMatchView | None
    announcements: tuple[AnnouncementView, ...]
    others: tuple[str, ...]
