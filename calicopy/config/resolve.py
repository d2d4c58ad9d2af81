"""`NodeConfig`: what one node needs of the cluster file, with every selector and default worked out.

Theory of operation: `find_node` tells which node of the file we are; `resolve` turns the file and that node (with the
address that it detected, when the file gives none) into the facts the rest of the agent works with. The same file and
node always give the same result, in the file's order. While the node's own address is not known there are no peers:
the agent waits for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

from calicopy.config.fields import IPInterface
from calicopy.config.model import AddressDetection, ClusterConfig, NodeEntry, PeerEntry, PoolEntry, selects
from calicopy.config.problems import did_you_mean
from calicopy.net import Family, IPAddress, Prefix
from calicopy.policy import AdvertiseScope, Filter, LimitAction, NextHopMode

BGP_PORT = 179


class NodeNotFoundError(LookupError):
    """This host is no node of the cluster file; the message says which names were tried and which there are."""


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node of the file, ourselves included."""

    name: str
    router_id: IPv4Address | None
    """None when neither router id nor address are in the file (and, for ourselves, not detected yet)."""
    asn: int
    interfaces: tuple[IPInterface, ...]
    """Its addresses with their prefix lengths, IPv4 first; empty while not known."""
    labels: Mapping[str, str]
    blocks: tuple[Prefix, ...]
    """Its pinned blocks."""
    cluster_id: IPv4Address | None = None
    """Its cluster id when it is a route reflector (RFC 4456), else None."""

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Its addresses, IPv4 first."""
        return tuple(interface.ip for interface in self.interfaces)


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """A BGP session that this node holds."""

    name: str
    """The node's name (mesh), or the peer's name, or its address."""
    address: IPAddress
    local_address: IPAddress
    """Our address of the same family."""
    asn: int
    local_asn: int
    port: int
    password_file: str | None
    passive: bool
    """Whether we wait for the peer to dial. In the mesh the node with the lower router id waits: one dials per pair."""
    hold_time_s: int
    graceful_restart_time_s: int
    trust_owner: bool
    prefix_limit: int
    """Most prefixes per family."""
    families: tuple[Family, ...]
    node: str | None
    """The node of the file that the peer is, by address; None for others."""
    mesh: bool = False
    """Whether it is a session of the mesh."""
    client: bool = False
    """Whether we are its route reflector (RFC 4456)."""
    advertise: AdvertiseScope = AdvertiseScope.OWN
    next_hop: NextHopMode | None = None
    """Of learned paths; None as the RFCs have it: our address towards eBGP, unchanged within the AS."""
    allow_own_as: int = 0
    add_path: bool = False
    """Whether several paths of a prefix are sent and taken (RFC 7911), in every family of the session."""
    keepalive_s: int | None = None
    """None: a third of the negotiated hold time."""
    listen_port: int = BGP_PORT
    ttl: int | None = None
    """TTL of what we send (eBGP: 1, or more with multihop); None: the system's."""
    least_ttl: int | None = None
    """Least TTL of what is taken (RFC 5082); we then send 255."""
    prefix_limit_action: LimitAction = LimitAction.WARN
    prefix_limit_restart_s: int = 60
    flush_on_hold_expiry: bool = True
    """Whether the routes of a peer whose hold timer ran out go at once (RFC 4724); False keeps them (RFC 8538)."""
    import_filters: tuple[Filter, ...] = ()
    """The chain for what the peer sends, in order."""
    export_filters: tuple[Filter, ...] = ()

    @property
    def ibgp(self) -> bool:
        """Whether both sides have one AS."""
        return self.asn == self.local_asn


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What one node needs of the cluster file."""

    name: str
    cluster: ClusterConfig
    asn: int
    address: IPv4Interface | None
    """Of the file, else detected; None while not known."""
    address6: IPv6Interface | None
    router_id: IPv4Address | None
    labels: Mapping[str, str]
    detection: AddressDetection | None
    """How to detect the address; None when the file gives one."""
    nodes: tuple[ClusterNode, ...]
    """Every node of the file, ourselves included, in the file's order."""
    sessions: tuple[SessionConfig, ...]
    """The mesh first (in the file's order), then the configured peers. Empty while our address or router id is not
    known."""
    pools: tuple[PoolEntry, ...]
    """The pools that we may claim blocks of. All pools are in `cluster.pools`."""
    pinned: Mapping[Prefix, str]
    """Every pinned block, with the name of its node."""
    unreachable_nodes: tuple[str, ...]
    """The other nodes that the mesh should reach and cannot: no address in the file of a family that we have."""

    @property
    def ready(self) -> bool:
        """Whether address and router id are known, so that sessions can be held."""
        return self.router_id is not None and (self.address is not None or self.address6 is not None)

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Our addresses, IPv4 first."""
        return tuple(interface.ip for interface in (self.address, self.address6) if interface is not None)


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
        mesh, unreachable = _mesh(config, me, nodes)
        sessions = (*mesh, *_peers(config, me, nodes))
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
    )


def _pair(me: ClusterNode, remote: tuple[IPAddress, ...]) -> tuple[IPAddress, IPAddress] | None:
    """Our and their address of one family, IPv4 before IPv6."""
    return next(((ours, theirs) for ours in me.addresses for theirs in remote if ours.version == theirs.version), None)


def _mesh(
    config: ClusterConfig, me: ClusterNode, nodes: tuple[ClusterNode, ...]
) -> tuple[list[SessionConfig], tuple[str, ...]]:
    sessions: list[SessionConfig] = []
    unreachable: list[str] = []
    for other in nodes if config.bgp.mesh else ():
        if other.name == me.name:
            continue
        pair = _pair(me, other.addresses)
        if pair is None or other.router_id is None or me.router_id is None:
            unreachable.append(other.name)
            continue
        common = {each.version for each in me.addresses} & {each.version for each in other.addresses}
        sessions.append(
            SessionConfig(
                name=other.name,
                address=pair[1],
                local_address=pair[0],
                asn=other.asn,
                local_asn=me.asn,
                port=config.bgp.listen_port,
                password_file=config.bgp.mesh_password_file,
                passive=me.router_id < other.router_id,
                hold_time_s=config.bgp.hold_time_s,
                graceful_restart_time_s=config.bgp.graceful_restart_time_s,
                trust_owner=True,
                prefix_limit=config.bgp.prefix_limit,
                families=tuple(Family.IPV4 if version == 4 else Family.IPV6 for version in sorted(common)),
                node=other.name,
                mesh=True,
                listen_port=config.bgp.listen_port,
            )
        )
    return sessions, tuple(unreachable)


def _holds(peer: PeerEntry, me: ClusterNode) -> bool:
    return (peer.nodes is None or me.name in peer.nodes) and selects(peer.node_selector, me.labels)


def _peers(config: ClusterConfig, me: ClusterNode, nodes: tuple[ClusterNode, ...]) -> list[SessionConfig]:
    """The configured peers that apply to us. One of a family in which we have no address is not among them."""
    sessions: list[SessionConfig] = []
    for peer in config.bgp.peers:
        pair = _pair(me, (peer.address,))
        if pair is None or not _holds(peer, me):
            continue
        node = next((each.name for each in nodes if peer.address in each.addresses), None)
        own_family = Family.IPV4 if peer.address.version == 4 else Family.IPV6
        sessions.append(
            SessionConfig(
                name=peer.label,
                address=peer.address,
                local_address=pair[0],
                asn=peer.asn,
                local_asn=me.asn,
                port=peer.port,
                password_file=peer.password_file,
                passive=peer.passive,
                hold_time_s=config.bgp.hold_time_s if peer.hold_time_s is None else peer.hold_time_s,
                graceful_restart_time_s=config.bgp.graceful_restart_time_s,
                trust_owner=peer.trust_owner or node is not None,
                prefix_limit=config.bgp.prefix_limit if peer.prefix_limit is None else peer.prefix_limit,
                families=(own_family,) if peer.families is None else peer.families,
                node=node,
                listen_port=config.bgp.listen_port,
            )
        )
    return sessions
