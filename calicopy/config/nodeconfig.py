"""What one node needs of the cluster file, as values: nodes, sessions, pools. `resolve` makes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

from calicopy.bgp.attributes import LargeCommunity
from calicopy.config.fields import IPInterface
from calicopy.config.model import AddressDetection, ClusterConfig, PoolEntry
from calicopy.config.sections_bfd import interval_text
from calicopy.net import Family, IPAddress, Prefix
from calicopy.policy import AdvertiseScope, Filter, LimitAction, NextHopMode
from calicopy.seam.bfd import BfdAuth, HopMode

BGP_PORT = 179


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BfdConfig:
    """How a peer is watched by BFD."""

    hop: HopMode
    interval_s: float
    multiplier: int
    min_ttl: int
    """Least TTL of what is taken, multihop only."""
    auth: BfdAuth | None = None

    def __str__(self) -> str:
        """As `plan` shows it."""
        ttl = f", TTL {self.min_ttl} at least" if self.min_ttl > 1 and self.hop is not HopMode.SINGLE else ""
        auth = self.auth
        key = "" if auth is None else f", {auth.type.value} with key {auth.key_id} of {auth.key_file}"
        return f"{interval_text(self.interval_s)} x {self.multiplier}, {self.hop.value} hop{ttl}{key}"


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """A BGP session that this node holds."""

    name: str
    """The node's name (between nodes), or the peer's name, or its address."""
    address: IPAddress
    local_address: IPAddress
    """Our address of the same family."""
    asn: int
    local_asn: int
    port: int
    password_file: str | None
    passive: bool
    """Whether we wait for the peer to dial. Between nodes the lower router id waits, so that one dials per pair."""
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
    next_hops: tuple[IPAddress, ...] = ()
    """Further next hops that the peer's paths may have."""
    allow_own_as: int = 0
    add_path: bool = False
    """Whether several paths of a prefix are sent and taken (RFC 7911), in every family of the session."""
    keepalive_s: int | None = None
    """None: a third of the negotiated hold time."""
    listen_port: int = BGP_PORT
    ttl: int | None = None
    """TTL of what we send (eBGP: 1, or more with multihop); None: the system's, as within an AS and between nodes."""
    least_ttl: int | None = None
    """Least TTL of what is taken (RFC 5082); we then send 255."""
    prefix_limit_action: LimitAction = LimitAction.WARN
    prefix_limit_restart_s: int = 60
    flush_on_hold_expiry: bool = True
    """Whether the routes of a peer whose hold timer ran out go at once (RFC 4724); False keeps them (RFC 8538)."""
    import_filters: tuple[Filter, ...] = ()
    """The chain for what the peer sends, in order."""
    export_filters: tuple[Filter, ...] = ()
    bfd: BfdConfig | None = None
    """How the peer is watched by BFD; None: not at all."""

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
    """Those with other nodes first (in the file's order), then the peers by address. Empty while our address or router
    id is not known."""
    pools: tuple[PoolEntry, ...]
    """The pools that we may claim blocks of. All pools are in `cluster.pools`."""
    pinned: Mapping[Prefix, str]
    """Every pinned block, with the name of its node."""
    unreachable_nodes: tuple[str, ...]
    """The other nodes that we should peer with and cannot: no address in the file of a family that we have."""
    cluster_id: IPv4Address | None
    """Our cluster id (RFC 4456); the router id when the file makes us no route reflector. None while neither is
    known."""
    communities: tuple[tuple[Prefix, tuple[int, ...], tuple[LargeCommunity, ...]], ...]
    """What own prefixes carry: those inside the prefix carry these standard and large communities. One that lies in
    several carries those of all, in this order."""
    mesh_linger_s: float
    """How long a session between nodes stays after a change that leaves it out."""

    @property
    def ready(self) -> bool:
        """Whether address and router id are known, so that sessions can be held."""
        return self.router_id is not None and (self.address is not None or self.address6 is not None)

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Our addresses, IPv4 first."""
        return tuple(interface.ip for interface in (self.address, self.address6) if interface is not None)
