"""The models of peers and of BGP as a whole; the rules of `sections` hold here too. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StrictInt

from calicopy.config.fields import Address, AsNumber, FamilyField, FilePath, HoldTime, Name, Port, Switch
from calicopy.config.fields_bgp import (
    AdvertiseField,
    Chain,
    DurationField,
    HoldExpiry,
    HoldExpiryField,
    KeepaliveTime,
    LimitActionField,
    LimitRestart,
    NextHopField,
    PrefixLimit,
    RestartTime,
)
from calicopy.config.sections import Section, Selector, selects
from calicopy.config.sections_bfd import BfdField, BfdSection, PeerBfdField
from calicopy.config.sections_policy import CommunitiesEntry, FilterEntry
from calicopy.policy import LimitAction


class PeerEntry(Section):
    """A BGP peer that is not part of the mesh (a top-of-rack router, a route reflector), or a set of nodes that other
    nodes peer with."""

    name: Name | None = None
    """A name for people. Default: the address. Sessions by `peer_selector` are named after the node."""
    address: Address | None = None
    """The address to peer with."""
    peer_selector: Selector | None = None
    """The nodes of this file to peer with, by labels (instead of `address`). Both ends hold the session, and it takes
    the place of the mesh's."""
    asn: AsNumber | None = Field(default=None, validation_alias="as", serialization_alias="as")
    """The peer's AS number; our own makes the session iBGP. Required with `address`, none with `peer_selector`."""
    nodes: tuple[Name, ...] | None = None
    """The nodes that hold this session, by name. Default: every node."""
    node_selector: Selector | None = None
    """The nodes that hold this session, by labels (instead of `nodes`)."""
    local_as: AsNumber | None = None
    """The AS number that we show to this peer. Default: the node's."""
    allow_own_as: Annotated[StrictInt, Field(ge=0, le=10)] = 0
    """How often our AS may be in the AS_PATH of what this peer sends; more is a loop."""
    multihop: Annotated[StrictInt, Field(ge=1, le=255)] | None = None
    """TTL of an eBGP session that crosses routers. Default: 1 (a neighbour on the link)."""
    ttl_security: Annotated[StrictInt, Field(ge=1, le=254)] | None = None
    """How many hops away the peer may be: packets from further away are dropped (RFC 5082). The peer has to do the
    same. Default: not checked."""
    source_address: Address | None = None
    """Our address of the session. Default: the node's address of the peer's family."""
    listen_port: Port | None = None
    """TCP port on which this session is accepted. Default: that of `bgp`."""
    port: Port | None = None
    """TCP port of the peer. Default: 179; with `peer_selector` the port that the nodes listen on."""
    password_file: FilePath | None = None
    """A file with the TCP MD5 password (RFC 2385), at most 80 bytes. Default: none; with `peer_selector` that of the
    mesh."""
    passive: Switch = False
    """Wait for the peer to connect instead of dialling. Between nodes the one with the lower router id waits."""
    hold_time_s: HoldTime | None = None
    """Hold time offered to this peer, in seconds. Default: that of `bgp`."""
    keepalive_s: KeepaliveTime | None = None
    """Interval of keepalives in seconds. Default: that of `bgp`."""
    graceful_restart_time_s: RestartTime | None = None
    """How long this peer keeps our routes while we restart, in seconds; 0: graceful restart is not offered. Default:
    that of `bgp`."""
    on_hold_expiry: HoldExpiryField | None = None
    """What becomes of this peer's routes when its hold timer runs out. Default: as `bgp` says."""
    next_hop: NextHopField | None = None
    """The next hop of learned paths towards this peer: `self` (our address) or `keep` (as it was). Default: our address
    towards eBGP, as it was within the AS."""
    next_hops: tuple[Address, ...] = ()
    """Further next hops that this peer's paths may have: its address of the other family behind routers, other routers
    that a route server names. Without: the peer itself and the nodes of this file."""
    advertise: AdvertiseField | None = None
    """What this peer hears: `own` (this node's prefixes) or `all` (also what it learned, as RFC 4271 and RFC 4456 let
    it). Default: `all` from a route reflector to its iBGP peers, else `own`."""
    route_reflector_client: Switch = False
    """Whether this iBGP peer is our route reflector client. Between nodes of this file `route_reflector` says it."""
    add_path: Switch | None = None
    """Whether several paths of a prefix are sent and taken (RFC 7911). Default: between nodes of this file."""
    trust_owner: Switch = False
    """Whether the owner community of paths from this peer is believed (a route reflector of the cluster: yes)."""
    prefix_limit: PrefixLimit | None = None
    """Most prefixes accepted per family. Default: that of `bgp`."""
    prefix_limit_action: LimitActionField | None = None
    """What follows when there are more. Default: as `bgp` says."""
    prefix_limit_restart_s: LimitRestart | None = None
    """How long a session that was stopped stays down with action `restart`, in seconds. Default: that of `bgp`."""
    families: Annotated[tuple[FamilyField, ...], Field(min_length=1)] | None = None
    """Address families of the session. Default: that of the peer's address; with `peer_selector` those that both nodes
    have."""
    import_filters: Chain = Field(default=(), validation_alias="import", serialization_alias="import")
    """Filters for what this peer sends, asked before the global ones."""
    export_filters: Chain = Field(default=(), validation_alias="export", serialization_alias="export")
    """Filters for what this peer hears, asked before the global ones."""
    bfd: PeerBfdField | None = None
    """Whether the peer is watched by BFD, and how: `true`, `false`, or a mapping. Default: between nodes of this file
    as `bgp.bfd` says, else no."""

    @property
    def label(self) -> str:
        """Its name, else its address, else its selector."""
        if self.name is not None:
            return self.name
        if self.address is not None:
            return str(self.address)
        return ",".join(f"{key}={value}" for key, value in (self.peer_selector or {}).items())

    def held_by(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the node of this name and labels is one that `nodes` and `node_selector` pick."""
        return (self.nodes is None or name in self.nodes) and selects(self.node_selector, labels)

    def picks(self, labels: Mapping[str, str]) -> bool:
        """Whether `peer_selector` picks a node with these labels."""
        return self.peer_selector is not None and selects(self.peer_selector, labels)


class BgpSection(Section):
    """BGP of every node."""

    mesh: Switch = True
    """Whether every node peers with every other node of this file."""
    mesh_password_file: FilePath | None = None
    """A file with the TCP MD5 password of all mesh sessions (RFC 2385), at most 80 bytes."""
    mesh_linger: DurationField = 60.0
    """How long a session between nodes stays after a change that leaves it out, so that routes by the new way are in
    before the old way goes; 0s: not at all."""
    mesh_import: Chain = ()
    """Filters for what mesh sessions bring, asked before the global ones."""
    mesh_export: Chain = ()
    """Filters for what mesh sessions hear, asked before the global ones."""
    import_filters: Chain = Field(default=(), validation_alias="import", serialization_alias="import")
    """Filters for what every peer sends, after the peer's own."""
    export_filters: Chain = Field(default=(), validation_alias="export", serialization_alias="export")
    """Filters for what every peer hears, after the peer's own."""
    filters: Annotated[tuple[FilterEntry, ...], Field(max_length=256)] = ()
    """Filters, for the chains to name."""
    communities: Annotated[tuple[CommunitiesEntry, ...], Field(max_length=256)] = ()
    """What our own prefixes carry."""
    peers: Annotated[tuple[PeerEntry, ...], Field(max_length=256)] = ()
    """Peers besides the mesh."""
    hold_time_s: HoldTime = 9
    """Hold time in seconds: 0, or 3 and more."""
    keepalive_s: KeepaliveTime | None = None
    """Interval of keepalives in seconds. Default: a third of the hold time."""
    graceful_restart_time_s: RestartTime = 120
    """How long peers keep our routes while we restart, in seconds (RFC 4724: 12 bits); 0: graceful restart is not
    offered."""
    on_hold_expiry: HoldExpiryField = HoldExpiry.FLUSH
    """What becomes of a peer's routes when its hold timer runs out: `flush` (they go, RFC 4724), or `keep` (as after
    any other loss of the session, RFC 8538)."""
    listen_port: Port = 179
    """TCP port on which nodes accept sessions, and to which sessions between nodes are dialled."""
    prefix_limit: PrefixLimit = 250_000
    """Most prefixes accepted per peer and family."""
    prefix_limit_action: LimitActionField = LimitAction.STOP
    """What follows when a peer sends more: `warn` (what is beyond is refused), `stop` (the session ends until somebody
    resets it), `restart` (it ends for `prefix_limit_restart_s`)."""
    prefix_limit_restart_s: LimitRestart = 60
    """How long a session that was stopped stays down with action `restart`, in seconds."""
    multipath_relax: Switch = False
    """Whether paths over different neighbour ASes may be used together."""
    multipath_max_paths: Annotated[StrictInt, Field(ge=1, le=256)] = 16
    """Most next hops of one route; 1 turns multipath off."""
    bfd: BfdField = BfdSection()
    """How peers are watched by BFD (RFC 5880): a mapping, or `true` or `false` for its `enabled`."""


__all__ = ["BgpSection", "PeerEntry"]
