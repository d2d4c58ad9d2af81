"""The parts of an explanation that stand beside the paths: who holds the addresses, the next hops, the kernel's answer,
and who is told.
"""
from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping

from calicopy.core.core import Core
from calicopy.core.peering.peer import Peer
from calicopy.core.show import PROTOCOL_NAMES, unprogrammed_view
from calicopy.core.views import AnnouncementView, HoldingView, HopView, KernelMatchView, ReasonView
from calicopy.fib import Hop, KernelMatch, RouteKind, RouteTarget, Way, format_target
from calicopy.ipam import BlockView
from calicopy.net import Encapsulation, EncapsulationMode, Prefix
from calicopy.rib import ExportReason, Path

MAIN_TABLE = 254  # linux/rtnetlink.h, RT_TABLE_MAIN
_DROPS = {
    errno.EINVAL: "a blackhole route",
    errno.EACCES: "a prohibit route",
    errno.EHOSTUNREACH: "an unreachable route",
    errno.ENETUNREACH: "no route at all",
}


# -- who holds it -----------------------------------------------------------------------------------------------


def holding(core: Core, asked: Prefix) -> HoldingView:
    """To whom `asked` belongs: for an address its user, for what is inside a block the block, else the pool alone."""
    pool = next((pool for pool in core.node.cluster.pools if asked in pool.cidr), None)
    if pool is None:
        why = "it lies in no pool of the cluster file"
        return HoldingView("", None, "", "", None, "", "outside-pools", "", (), why)
    address = asked.address
    found = core.ipam.lookup(address)
    block = found.block
    if block is None or asked.length < block.length:
        block = None
    own = next((view for view in core.ipam.blocks() if view.prefix == block), None)
    node = core.node.name if own is not None else (found.node or "" if block is not None else "")
    record = found.record if asked.is_host and found.record is not None and found.record.in_use else None
    handle = record.handle or "" if record is not None else ""
    state, why = _state(core, block, own, node)
    if handle:
        why = f"{why}; {asked.address} is used by {handle}"
    return HoldingView(
        pool=pool.label,
        pool_cidr=pool.cidr,
        encapsulation=pool.encapsulation.value,
        mode=pool.mode.value,
        block=block,
        node=node,
        state=state,
        handle=handle,
        conflicts=tuple(_conflicts(core, block, asked)),
        why=why,
    )


def _state(core: Core, block: Prefix | None, own: BlockView | None, node: str) -> tuple[str, str]:
    if block is None:
        return "pool", "it is larger than a block, and no block's"
    if own is not None:
        pinned = ", pinned to it" if own.pinned else ""
        reason = f": {own.reason}" if own.reason else ""
        use = f"{own.used} of {own.size} addresses in use"
        return own.state.value, f"a block of this node{pinned}, {own.state.value}{reason}; {use}"
    if node and core.node.pinned.get(block) == node:
        return "pinned", f"pinned to {node} by the cluster file"
    if node:
        return "reserved", f"reserved for {node}, which announced it first"
    return "unclaimed", "no node holds the block, as far as this node knows"


def _conflicts(core: Core, block: Prefix | None, asked: Prefix) -> Iterator[str]:
    yield from (str(one) for one in core.ipam.block_conflicts() if one.block == block)
    yield from (str(one) for one in core.ipam.address_conflicts() if one.address in asked)


# -- next hops --------------------------------------------------------------------------------------------------


def hops(core: Core, prefix: Prefix) -> tuple[HopView, ...]:
    """The way of each path that the prefix is reached by."""
    pool = next((pool.label for pool in core.node.cluster.pools if prefix in pool.cidr), "")
    names = interface_names(core)
    return tuple(_hop(way, pool, names) for way in core.fib.ways(prefix))


def interface_names(core: Core) -> Mapping[int, str]:
    """The host's interfaces by index."""
    return {interface.ifindex: interface.name for interface in core.host.interfaces}


def _hop(way: Way, pool: str, names: Mapping[int, str]) -> HopView:
    facts, outcome = way.facts, way.outcome
    reachable = facts is not None and facts.reachable
    device = names.get(facts.ifindex, f"if{facts.ifindex}") if facts is not None and reachable else ""
    encapsulation, why = _encapsulation(way, pool, device)
    hop = outcome if isinstance(outcome, Hop) else None
    return HopView(
        peer=way.path.peer.name if isinstance(way.path, Path) else "",
        next_hop=way.path.next_hop,
        reachable=reachable,
        on_link=facts is not None and facts.on_link,
        device=device,
        gateway=None if facts is None else facts.gateway,
        metric=0 if facts is None else facts.metric,
        encapsulation=encapsulation.value,
        encapsulation_why=why,
        text="" if hop is None else format_target(RouteTarget(RouteKind.UNICAST, (hop,)), names),
        reason=None if isinstance(outcome, Hop) else unprogrammed_view(outcome),
    )


def _encapsulation(way: Way, pool: str, device: str) -> tuple[Encapsulation, str]:
    """How packets travel, and by which rule."""
    if not pool:
        return Encapsulation.NONE, "the prefix is in no pool"
    if way.encapsulation is Encapsulation.NONE:
        return Encapsulation.NONE, f"pool {pool} has no encapsulation"
    kind = way.encapsulation.value
    if way.mode is EncapsulationMode.ALWAYS:
        return way.encapsulation, f"pool {pool} has {kind}, mode always"
    if way.facts is None or not way.facts.reachable:
        return way.encapsulation, f"pool {pool} has {kind}, mode cross-subnet, and the next hop is not reached"
    if way.crosses_subnet:
        where = f"outside of the subnet of {device}" if way.facts.on_link else f"behind gateway {way.facts.gateway}"
        return way.encapsulation, f"pool {pool} has {kind}, mode cross-subnet, and the next hop is {where}"
    why = f"pool {pool} has {kind}, mode cross-subnet, and the next hop is in the subnet of {device}"
    return Encapsulation.NONE, why


# -- the kernel's own answer ------------------------------------------------------------------------------------


def match_view(core: Core, match: KernelMatch, prefix: Prefix | None) -> KernelMatchView:
    """The kernel's longest match, and whether that is a route of ours; `prefix` is the one that is explained."""
    agent = core.node.cluster.agent
    if match.prefix is None:
        status = None if prefix is None else core.fib.status(prefix)
        actual = None if status is None else status.actual
        ours = match.errno == errno.EINVAL and actual is not None and actual.kind is RouteKind.BLACKHOLE
        text = f"dropped by {_DROPS.get(match.errno, f'errno {match.errno}')}"
        return KernelMatchView(match.address, None, 0, 0, 0, ours, text)
    ours = (match.protocol, match.metric) == (agent.route_protocol, agent.route_metric)
    where = "local" if match.local or match.target is None else format_target(match.target, interface_names(core))
    protocol = PROTOCOL_NAMES.get(match.protocol, str(match.protocol))
    table = "" if match.table in (0, MAIN_TABLE) else f" table {match.table}"
    text = f"{match.prefix} {where} proto {protocol} metric {match.metric}{table}"
    return KernelMatchView(match.address, match.prefix, match.protocol, match.metric, match.table, ours, text)


# -- who is told ------------------------------------------------------------------------------------------------


def announcements(core: Core, prefix: Prefix) -> tuple[AnnouncementView, ...]:
    """For each peer whether it is told of the prefix, and why not; none where there is nothing to tell."""
    selection = core.rib.selection(prefix.family, prefix.packed)
    own = prefix in core.exports.prefixes
    if not own and selection is None:
        return ()
    found = []
    for peer in sorted(core.peers.values(), key=lambda peer: peer.configured.name):
        told = peer.is_up and prefix.packed in core.exports.out.told(peer.key, prefix.family)
        found.append(AnnouncementView(peer.configured.name, told, None if told else _not_told(core, peer, prefix)))
    return tuple(found)


def _not_told(core: Core, peer: Peer, prefix: Prefix) -> ReasonView:
    """Why a peer is not told: first what holds whatever the state of its session is."""
    reason = core.exports.refusal(peer.key, prefix)
    if reason is not None:
        return ReasonView(reason.value, _words(core, peer, reason), reason.source)
    if not peer.is_up:
        return ReasonView("session-down", "the session is down")
    if prefix.family not in peer.families:
        return ReasonView("family-not-negotiated", "the family is not part of the session", "RFC 4760 8")
    return ReasonView("waiting", "not handed to the speaker yet")


def _words(core: Core, peer: Peer, reason: ExportReason) -> str:
    match reason:
        case ExportReason.DRAINED:
            return f"{reason.text} {core.drainer.since}"
        case ExportReason.FILTER:
            return f"{reason.text} ({', '.join(each.name for each in peer.configured.export_filters)})"
        case _:
            return reason.text
