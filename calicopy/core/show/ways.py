"""Pictures of how packets travel between nodes: the tunnel devices, and the way to each other node."""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from calicopy.config.model import PoolEntry, selects
from calicopy.config.nodeconfig import ClusterNode
from calicopy.core.core import Core
from calicopy.core.views import NextHopView, TunnelAnswerView, TunnelView
from calicopy.fib.resolution import crosses_subnet
from calicopy.net import Encapsulation, EncapsulationMode, Family, IPAddress
from calicopy.net.nexthop import NextHopFacts

NO_ROUND_TRIPS: Mapping[IPAddress, float] = {}


def tunnel_views(core: Core, counters: Mapping[str, int]) -> tuple[TunnelView, ...]:
    """The device of each encapsulation that this node takes apart. `counters`: those of the edges."""
    tunnels = core.host.tunnels
    return tuple(_tunnel(core, one, counters) for one in Encapsulation if one in tunnels.taken)


def _tunnel(core: Core, one: Encapsulation, counters: Mapping[str, int]) -> TunnelView:
    tunnels = core.host.tunnels
    wanted, actual = tunnels.wanted.get(one), tunnels.states.get(one)
    return TunnelView(
        encapsulation=one,
        device=tunnels.device(one),
        used=one in tunnels.used,
        up=actual is not None and actual.ifindex is not None,
        addresses=wanted.addresses if wanted is not None else (),
        mtu=wanted.mtu if wanted is not None else 0,
        error=actual.error if actual is not None else "",
        stranger_packets=counters.get(f"nft.dropped_{one.value}"),
    )


def tunnel_answers(core: Core, node: str, round_trips: Mapping[IPAddress, float]) -> tuple[TunnelAnswerView, ...]:
    """The tunnel addresses of another node. `round_trips`: of the last answers, in seconds."""
    probes = core.host.probes
    return tuple(
        TunnelAnswerView(address, probes.answers.get(address), round_trips.get(address))
        for address in probes.nodes.get(node, ())
    )


def next_hop_views(core: Core, round_trips: Mapping[IPAddress, float]) -> tuple[NextHopView, ...]:
    """How packets to pods of each other node leave: one for each encapsulation in use towards it."""
    cidrs = {pool.label: pool.cidr for pool in core.node.cluster.pools}
    links = {interface.ifindex: interface for interface in core.host.interfaces}
    views = []
    for node, address, encapsulation, pools in _ways(core):
        facts = core.host.facts.get(address) or NextHopFacts.unreachable(address)
        link = links.get(facts.ifindex)
        mtu = facts.mtu or (link.mtu if link is not None else 0)
        views.append(
            NextHopView(
                node=node,
                address=address,
                encapsulation=encapsulation,
                device=link.name if link is not None else "",
                gateway=facts.gateway,
                mtu=mtu,
                pod_mtu=_pod_mtu(core, encapsulation, mtu),
                pools=pools,
                answers=tuple(
                    one
                    for one in tunnel_answers(core, node, round_trips)
                    if any(one.address in cidrs[pool] for pool in pools)
                ),
            )
        )
    return tuple(views)


def foreign_sources(core: Core) -> Iterator[tuple[str, str]]:
    """Nodes that drop what we send through the IPIP tunnel, which takes its outer source from the route, and why."""
    if Encapsulation.IPIP not in core.host.tunnels.used:
        return
    for other in core.node.nodes:
        end = core.host.tunnels.end(Encapsulation.IPIP, other.name)
        facts = core.host.facts.get(end.address) if end is not None else None
        if facts is not None and facts.source is not None and facts.source not in core.node.addresses:
            text = f"packets to node {other.name} leave with {facts.source}, which is not this node's address in the "
            yield other.name, text + "cluster file: it drops them when they are encapsulated"


def _ways(core: Core) -> Iterator[tuple[str, IPAddress, Encapsulation, tuple[str, ...]]]:
    """Node, its address, encapsulation, and the pools of which the node may have blocks that are reached so."""
    for other in core.node.nodes:
        if other.name == core.node.name:
            continue
        ways: dict[tuple[IPAddress, Encapsulation], list[str]] = {}
        for pool in core.node.cluster.pools:
            way = _way(core, other, pool) if selects(pool.node_selector, other.labels) else None
            if way is not None:
                ways.setdefault(way, []).append(pool.label)
        for (address, encapsulation), pools in ways.items():
            yield other.name, address, encapsulation, tuple(pools)


def _way(core: Core, other: ClusterNode, pool: PoolEntry) -> tuple[IPAddress, Encapsulation] | None:
    version = 4 if pool.cidr.family is Family.IPV4 else 6
    direct = next((address for address in other.addresses if address.version == version), None)
    facts = None if direct is None else core.host.facts.get(direct)
    if pool.encapsulation is not Encapsulation.NONE and (
        pool.mode is EncapsulationMode.ALWAYS or facts is None or crosses_subnet(facts, core.fib.underlay)
    ):
        end = core.host.tunnels.end(pool.encapsulation, other.name)
        return None if end is None else (end.address, pool.encapsulation)
    return None if direct is None else (direct, Encapsulation.NONE)


def _pod_mtu(core: Core, encapsulation: Encapsulation, mtu: int) -> int:
    """What is left of the way, and what the tunnel device lets through, which goes by the narrowest way."""
    if not mtu:
        return 0
    left = mtu - core.host.tunnels.overhead(encapsulation)
    wanted = core.host.tunnels.wanted.get(encapsulation)
    return left if wanted is None else min(left, wanted.mtu)
