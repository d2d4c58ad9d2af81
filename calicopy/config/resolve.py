"""`NodeConfig`: what one node needs of the cluster file, with every selector and default worked out.

Theory of operation: `find_node` tells which node of the file we are; `resolve` turns the file and that node (with the
address that it detected, when the file gives none) into the facts the rest of the agent works with. The same file and
node always give the same result, in the file's order. While the node's own address is not known there are no peers:
the agent waits for it. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

from calicopy.config.fields import IPInterface
from calicopy.config.model import ClusterConfig, NodeEntry, selects
from calicopy.config.nodeconfig import ClusterNode, NodeConfig, SessionConfig
from calicopy.config.peering import node_sessions, peer_sessions
from calicopy.config.problems import did_you_mean
from calicopy.policy import split_communities


class NodeNotFoundError(LookupError):
    """This host is no node of the cluster file; the message says which names were tried and which there are."""


def find_node(config: ClusterConfig, *, node: str | None, hostname: str) -> NodeEntry:
    """Which node of the file this host is: by `node` (what `--node` said) when given, else by `hostname`, in full and
    then without its domain. Raises NodeNotFoundError."""
    by_name = {entry.name: entry for entry in config.nodes}
    tried = [node] if node is not None else list(dict.fromkeys((hostname, hostname.partition(".")[0])))
    for name in tried:
        if name in by_name:
            return by_name[name]
    what = "--node" if node is not None else "the hostname"
    names = list(by_name)
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    hint = did_you_mean(tried[-1], names)
    advice = "" if node is not None else "; add it, or say which node this is with --node"
    raise NodeNotFoundError(
        f"{what} is {tried[0]!r}, and no node of the cluster file has that name{hint}: it has {listed}{advice}"
    )


def resolve(
    config: ClusterConfig,
    node_name: str,
    *,
    address: IPv4Interface | None = None,
    address6: IPv6Interface | None = None,
) -> NodeConfig:
    """What the node `node_name` needs of `config`.

    `address` and `address6` are what the node detected; the file's word goes before. Raises NodeNotFoundError.
    """
    entry = find_node(config, node=node_name, hostname="")
    if not entry.interfaces:
        detection = entry.address_detection or config.address_detection
    else:
        detection, address, address6 = None, entry.address, entry.address6
    router_id = entry.router_id or (address.ip if address is not None else None)
    own = tuple(interface for interface in (address, address6) if interface is not None)
    nodes = tuple(
        _cluster_node(config, each, own, router_id)
        if each is entry
        else _cluster_node(config, each, each.interfaces, each.effective_router_id)
        for each in config.nodes
    )
    me = next(each for each in nodes if each.name == entry.name)
    sessions: tuple[SessionConfig, ...] = ()
    unreachable: tuple[str, ...] = ()
    if router_id is not None and own:
        between, unreachable = node_sessions(config, me, nodes)
        sessions = (*between, *peer_sessions(config, me, nodes))
    return NodeConfig(
        name=entry.name,
        cluster=config,
        asn=me.asn,
        address=address,
        address6=address6,
        router_id=router_id,
        labels=entry.labels,
        detection=detection,
        nodes=nodes,
        sessions=sessions,
        unreachable_nodes=unreachable,
        pools=tuple(pool for pool in config.pools if selects(pool.node_selector, entry.labels)),
        pinned={block: each.name for each in config.nodes for block in each.blocks},
        cluster_id=me.cluster_id or router_id,
        communities=tuple((each.prefix, *split_communities(each.communities)) for each in config.bgp.communities),
        mesh_linger_s=config.bgp.mesh_linger,
    )


def _cluster_node(
    config: ClusterConfig, entry: NodeEntry, interfaces: tuple[IPInterface, ...], router_id: IPv4Address | None
) -> ClusterNode:
    return ClusterNode(
        name=entry.name,
        router_id=router_id,
        asn=entry.asn or config.cluster.asn,
        interfaces=interfaces,
        labels=entry.labels,
        blocks=entry.blocks,
        cluster_id=(entry.cluster_id or router_id) if entry.route_reflector else None,
    )


__all__ = ["ClusterNode", "NodeConfig", "NodeNotFoundError", "SessionConfig", "find_node", "resolve"]
