"""Pictures of the core's state for the API: reading only, never on the hot path.

Theory of operation: each function takes the core as it is and gives a view. Routes come in pages, so that a table of
100,000 is shown without holding up the agent.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from heapq import heapify, heappop
from ipaddress import IPv4Address
from itertools import islice

from calicopy.bgp import PathAttributes, format_community, format_large_community
from calicopy.core.core import Core
from calicopy.core.peering.peer import Peer
from calicopy.core.views import (
    KernelRouteView,
    PathState,
    PathView,
    ReasonView,
    RouteQuery,
    RouteView,
)
from calicopy.fib import ForeignRoute, RouteOrigin, RouteStatus, Unprogrammed, UnprogrammedReason, format_target
from calicopy.net import Family, Packed, Prefix
from calicopy.rib import DecisionStep, ImportReason, OutRoute, owner_community
from calicopy.rib import PathState as RibState
from calicopy.rib import PathView as RibPath

PAGE = 200  # some milliseconds
REASON_CODES = ("pending", *(reason.value for reason in ImportReason), *(step.value for step in DecisionStep))
"""What a path's reason may be."""
SHADOWED = "shadowed"
"""The code of a route of ours that another program's goes before."""
PROTOCOL_NAMES = {
    0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 11: "zebra", 12: "bird", 16: "dhcp",
    80: "Calico", 186: "bgp", 188: "ospf",
}  # fmt: skip  # linux/rtnetlink.h and iproute2's rt_protos
_STATES = {
    RibState.BEST: PathState.BEST,
    RibState.MULTIPATH: PathState.MULTIPATH,
    RibState.LOSING: PathState.LOST,
    RibState.REJECTED: PathState.REJECTED,
    RibState.PENDING: PathState.LOST,
}


# -- routes -----------------------------------------------------------------------------------------------------


def routes(
    core: Core,
    query: RouteQuery,
    *,
    peer: Peer | None,
    family: Family | None,
    within: Prefix | None,
    reason: str = "",
) -> Iterator[Sequence[RouteView]]:
    """Pages of routes, in order of prefix. `reason`: only paths whose reason has this code."""
    for one in Family if family is None else (family,):
        if within is not None and within.family is not one:
            continue
        found: Iterable[Packed] = _prefixes(core, query, one, peer)
        if within is not None:
            found = _matching(set(found), within)
        yield from _pages(_route(core, query, prefix, peer, reason=reason) for prefix in _in_order(one, found))


def _in_order(family: Family, prefixes: Iterable[Packed]) -> Iterator[Prefix]:
    """By address, then by length. A heap, since sorting a large table would take long before the first is shown."""
    heap = [(packed[1:], packed[0]) for packed in prefixes]
    heapify(heap)
    while heap:
        network, length = heappop(heap)
        yield Prefix(family, bytes((length,)) + network)


def _pages(views: Iterator[RouteView | None]) -> Iterator[Sequence[RouteView]]:
    """A page for every PAGE prefixes that were looked at, without those that do not fit the query: it may be empty."""
    while seen := list(islice(views, PAGE)):
        yield [view for view in seen if view is not None]


def _matching(prefixes: Collection[Packed], within: Prefix) -> list[Packed]:
    """`within` itself, else what lies in it and what holds it next; of an address, the longest that holds it."""
    if within.packed in prefixes:
        return [within.packed]
    holding = (within.supernet(length).packed for length in reversed(range(within.length)))
    next_holding = [packed for packed in holding if packed in prefixes][:1]
    if within.is_host:
        return next_holding
    return next_holding + list(inside(prefixes, within))


def inside(prefixes: Iterable[Packed], within: Prefix) -> Iterator[Packed]:
    """Those of `prefixes`, all of one family, that lie in `within` and are longer."""
    low, length = within.packed[1:], within.length
    high = (within.first + within.size - 1).to_bytes(within.family.bits // 8, "big")
    # Octets compare as numbers do: what is inside has at least as many as `low`, and no more than `high`.
    return (packed for packed in prefixes if packed[0] > length and low <= packed[1:] <= high)


def _prefixes(core: Core, query: RouteQuery, family: Family, peer: Peer | None) -> Iterable[Packed]:
    match query:
        case RouteQuery.ADVERTISED if peer is not None:
            return core.exports.out.told(peer.key, family)
        case RouteQuery.RECEIVED | RouteQuery.REJECTED:
            return core.rib.prefixes(family, peer=None if peer is None else peer.key)
        case RouteQuery.INSTALLED:
            return core.fib.actual(family)
    if peer is not None:
        return core.rib.prefixes(family, peer=peer.key)
    own = [prefix.packed for prefix in core.exports.prefixes if prefix.family is family]
    return {*core.rib.prefixes(family), *core.fib.prefixes(family), *own}


def _route(
    core: Core, query: RouteQuery, prefix: Prefix, peer: Peer | None, *, reason: str = ""
) -> RouteView | None:
    """One prefix; None when it is gone by the time that its page is made."""
    kernel = kernel_view(core, prefix)
    if query is RouteQuery.ADVERTISED and peer is not None:
        routes = core.exports.out.told(peer.key, prefix.family).routes(prefix.packed)
        views = tuple(_advertised(core, peer, route, first=number == 0) for number, route in enumerate(routes))
        return RouteView(prefix, views, kernel) if views else None
    paths = core.rib.lookup(prefix.family, prefix.packed)
    if peer is not None:
        paths = tuple(view for view in paths if view.path.peer.key == peer.key)
    if query is RouteQuery.REJECTED:
        paths = tuple(view for view in paths if view.state is RibState.REJECTED)
    if query is RouteQuery.INSTALLED and kernel is None:
        return None
    if not paths and (peer is not None or query in (RouteQuery.REJECTED, RouteQuery.RECEIVED)):
        return None
    views = tuple(path_view(core, view, received=query is RouteQuery.RECEIVED) for view in paths)
    if reason:
        views = tuple(view for view in views if view.reason is not None and view.reason.code == reason)
        return RouteView(prefix, views, kernel) if views else None
    if query is RouteQuery.ALL and prefix in core.exports.prefixes:
        views = (local_path_view(core), *views)
    return RouteView(prefix, views, kernel)


def one_route(core: Core, prefix: Prefix) -> RouteView | None:
    """One prefix with all its paths; None when there is nothing about it any more."""
    view = _route(core, RouteQuery.ALL, prefix, None)
    return view if view is not None and (view.paths or view.kernel) else None


def path_view(core: Core, view: RibPath, *, received: bool = False) -> PathView:
    """One received path: its attributes as the import policy left them, or, with `received`, as they came."""
    path = view.path
    attributes = path.attributes if received else path.effective
    return _with_attributes(
        attributes,
        PathView(
            peer=path.peer.name,
            peer_address=path.peer.key,
            path_id=path.path_id,
            state=_STATES[view.state],
            reason=path_reason(view),
            stale=view.stale,
            next_hop=path.next_hop,
            owner=_node_name(core, path.owner),
            rule="" if view.rule is None else str(view.rule),
        ),
    )


def _with_attributes(attributes: PathAttributes, view: PathView) -> PathView:
    return replace(
        view,
        origin=str(attributes.origin),
        as_path=str(attributes.as_path),
        local_pref=attributes.local_pref,
        med=attributes.med,
        communities=tuple(map(format_community, attributes.communities)),
        large_communities=tuple(map(format_large_community, attributes.large_communities)),
        originator_id=str(attributes.originator_id or ""),
        cluster_list=tuple(map(str, attributes.cluster_list)),
    )


def path_reason(view: RibPath) -> ReasonView | None:
    """Why a path is not used; None when it is."""
    cause = view.step or view.reason
    if cause is ImportReason.FILTER and view.rule is not None:
        return ReasonView(cause.value, f"refused by {view.rule}", cause.source)
    if cause is not None:
        return ReasonView(cause.value, cause.text, cause.source)
    if view.state is RibState.PENDING:
        return ReasonView("pending", "not decided on yet")
    return None


def _node_name(core: Core, router_id: int | None) -> str:
    if router_id is None:
        return ""
    known = core.rib.context.nodes.get(router_id)
    return known.name if known is not None else str(IPv4Address(router_id))


def local_path_view(core: Core) -> PathView:
    """The path of a prefix of our own."""
    return PathView(peer="", peer_address="", path_id=0, state=PathState.LOCAL, owner=core.node.name)


def _advertised(core: Core, peer: Peer, route: OutRoute, *, first: bool) -> PathView:
    """A path as `peer` was told it; `first`: the best of its prefix."""
    attributes, reserved = route.out.attributes, owner_community(core.rib.context)[:2]
    owners = [one[2] for one in attributes.large_communities if one[:2] == reserved]
    learned = PathState.BEST if first else PathState.MULTIPATH
    return _with_attributes(
        attributes,
        PathView(
            peer=peer.configured.name,
            peer_address=peer.key,
            path_id=route.path_id,
            state=learned if route.source else PathState.LOCAL,
            next_hop=route.out.next_hop,
            owner=_node_name(core, owners[0] if owners else None),
        ),
    )


def kernel_view(core: Core, prefix: Prefix) -> KernelRouteView | None:
    """What the kernel holds of a prefix, or why it does not; None when nobody wants it there."""
    status = core.fib.status(prefix)
    if status is None:
        return None
    names = {interface.ifindex: interface.name for interface in core.host.interfaces}
    shown = status.actual or status.desired
    return KernelRouteView(
        installed=status.actual is not None,
        text=format_target(shown, names) if shown is not None else "",
        reason=_kernel_reason(status) or (_shadow_reason(core, prefix) if status.actual is not None else None),
        origin=_origin(status),
        next_hop_id=0 if shown is None else shown.next_hop_id,
    )


def _origin(status: RouteStatus) -> str:
    return {RouteOrigin.BLOCK: "block", RouteOrigin.WORKLOAD: "workload", RouteOrigin.BGP: "bgp", None: "left-over"}[
        status.origin
    ]


def _kernel_reason(status: RouteStatus) -> ReasonView | None:
    if status.reason is None:
        return None
    return unprogrammed_view(status.reason)


def _shadow_reason(core: Core, prefix: Prefix) -> ReasonView | None:
    foreign = core.host.foreign.get(prefix.family, {}).get(prefix.packed)
    return None if foreign is None else ReasonView(SHADOWED, f"{described(foreign)} goes before ours")


def described(foreign: ForeignRoute) -> str:
    """A route of another program, in words."""
    name = PROTOCOL_NAMES.get(foreign.protocol, str(foreign.protocol))
    return f"a route of protocol {name} with metric {foreign.metric}"


def unprogrammed_view(reason: Unprogrammed) -> ReasonView:
    """Why a prefix is not in the kernel. An errno stays a number here: its name is the edge's to give."""
    code = reason.reason.value
    if reason.reason is UnprogrammedReason.KERNEL_ERROR:
        return ReasonView(f"{code}:{reason.errno}", reason.message)
    return ReasonView(code, reason.message)
