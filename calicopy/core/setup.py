"""The pure parts of a node, made from its configuration."""
from __future__ import annotations

from calicopy.config.model import selects
from calicopy.config.resolve import NodeConfig, SessionConfig
from calicopy.fib import Fib, FibPool, UnderlayAddress
from calicopy.ipam import Ipam, NodeSpec, PoolSpec, Snapshot
from calicopy.rib import NodeFacts, PeerInfo, PoolFacts, Rib, RibContext


def rib_context(node: NodeConfig) -> RibContext:
    """What the import policy and the decision judge by. `node` must be ready."""
    if node.router_id is None:
        raise ValueError(f"node {node.name} has no router id yet")
    bgp = node.cluster.bgp
    return RibContext(
        local_as=node.asn,
        cluster_as=node.cluster.cluster.asn,
        router_id=int(node.router_id),
        cluster_id=int(node.cluster_id or node.router_id),
        own_addresses=frozenset(node.addresses),
        pools=tuple(PoolFacts(pool.cidr, pool.block_length) for pool in node.cluster.pools),
        nodes={
            int(other.router_id): NodeFacts(other.name, int(other.router_id), other.asn, frozenset(other.addresses))
            for other in node.nodes
            if other.router_id is not None
        },
        multipath_relax=bgp.multipath_relax,
        multipath_max=bgp.multipath_max_paths,
        own_networks=frozenset(one.network for one in (node.address, node.address6) if one is not None),
    )


def rib_for(node: NodeConfig) -> Rib:
    """The RIB. `node` must be ready."""
    return Rib(rib_context(node))


def peer_info(session: SessionConfig, router_id: int) -> PeerInfo:
    """A peer as the RIB knows it, with the router id of its OPEN."""
    return PeerInfo(
        key=str(session.address),
        name=session.name,
        address=session.address,
        asn=session.asn,
        local_asn=session.local_asn,
        router_id=router_id,
        node=session.node,
        trust_owner=session.trust_owner,
        prefix_limit=session.prefix_limit,
        allow_own_as=session.allow_own_as,
        next_hops=frozenset(session.next_hops),
        mesh=session.mesh,
        client=session.client,
        import_filters=session.import_filters,
    )


def fib_for(node: NodeConfig) -> Fib:
    """The FIB of a node that begins."""
    fib = Fib()
    configure_fib(fib, node)
    return fib


def configure_fib(fib: Fib, node: NodeConfig) -> None:
    """Pools with their encapsulation, and the nodes' addresses, which alone are tunnel ends."""
    fib.set_pools(FibPool(pool.cidr, pool.encapsulation, pool.mode) for pool in node.cluster.pools)
    fib.set_nodes(
        {
            int(other.router_id): tuple(
                UnderlayAddress(interface.ip, interface.network.prefixlen) for interface in other.interfaces
            )
            for other in node.nodes
            if other.router_id is not None
        }
    )


def ipam_for(node: NodeConfig, snapshot: Snapshot) -> Ipam:
    """IPAM of a node that begins, with what it has on disk."""
    return Ipam(node.name, nodes=node_specs(node), pools=pool_specs(node), snapshot=snapshot)


def node_specs(node: NodeConfig) -> list[NodeSpec]:
    """All nodes of the file. Nodes without a router id take part in the joint assignment by name; nothing that they
    announce is ever believed, so any number that is not taken serves.
    """
    taken = {int(other.router_id) for other in node.nodes if other.router_id is not None}
    unknown = iter(number for number in range(1, len(node.nodes) + len(taken) + 1) if number not in taken)
    return [
        NodeSpec(other.name, int(other.router_id) if other.router_id else next(unknown), other.blocks)
        for other in node.nodes
    ]


def pool_specs(node: NodeConfig) -> list[PoolSpec]:
    """All pools, each with the nodes that may claim from it."""
    return [
        PoolSpec(
            pool.label,
            pool.cidr,
            pool.block_length,
            None
            if pool.node_selector is None
            else frozenset(other.name for other in node.nodes if selects(pool.node_selector, other.labels)),
        )
        for pool in node.cluster.pools
    ]
