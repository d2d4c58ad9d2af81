"""The sessions that one node holds: with other nodes (the mesh, and peers by selector), and with peers by address.

Theory of operation: a pair of nodes has one session at most, and both work it out from the same file, each from its
own side: which entry (a `peer_selector` goes before the mesh), who dials (the higher router id), who reflects to whom.
A peer by address is one end only. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from calicopy.config.chains import Chains
from calicopy.config.fields_bgp import HoldExpiry
from calicopy.config.model import BgpSection, ClusterConfig, PeerEntry
from calicopy.config.nodeconfig import BGP_PORT, BfdConfig, ClusterNode, SessionConfig
from calicopy.config.sections_bfd import PeerBfdSection
from calicopy.net import Family, IPAddress
from calicopy.policy import AdvertiseScope, LimitAction, NextHopMode
from calicopy.seam.bfd import BfdAuth, HopMode

_DEFAULTS = PeerEntry()
"""What a session of the mesh has besides what `bgp` says."""


def node_sessions(
    config: ClusterConfig, me: ClusterNode, nodes: Sequence[ClusterNode]
) -> tuple[list[SessionConfig], tuple[str, ...]]:
    """Our sessions with other nodes in the file's order, and the names of those that should be peers but have no
    address in the file of a family that we have (or no router id)."""
    chains = Chains(config.bgp)
    entries = _entries(config, me, nodes)
    sessions: list[SessionConfig] = []
    unreachable: list[str] = []
    for other in nodes:
        entry = entries.get(other.name)
        if other is me or not (entry or config.bgp.mesh):
            continue
        session = _node_session(config, me, other, entry=entry, chains=chains)
        if session is None:
            unreachable.append(other.name)
        else:
            sessions.append(session)
    return sessions, tuple(unreachable)


def _entries(config: ClusterConfig, me: ClusterNode, nodes: Sequence[ClusterNode]) -> dict[str, PeerEntry]:
    """The entry with a selector that makes each node our peer, by the node's name; the first in the file."""
    found: dict[str, PeerEntry] = {}
    for entry in config.bgp.peers:
        if entry.peer_selector is None:
            continue
        hold, picked = entry.held_by(me.name, me.labels), entry.picks(me.labels)
        for other in nodes if hold or picked else ():
            if (hold and entry.picks(other.labels)) or (picked and entry.held_by(other.name, other.labels)):
                found.setdefault(other.name, entry)
    return found


def _pair(me: ClusterNode, remote: tuple[IPAddress, ...]) -> tuple[IPAddress, IPAddress] | None:
    """Our and their address of one family, IPv4 before IPv6."""
    return next(((ours, theirs) for ours in me.addresses for theirs in remote if ours.version == theirs.version), None)


def _waits(me: ClusterNode, other: ClusterNode) -> bool:
    """Whether we wait for the other node to dial: the lower router id does, so that one dials per pair."""
    return me.router_id is not None and other.router_id is not None and me.router_id < other.router_id


class _Common(TypedDict):
    """What every session takes from its peer entry, and from `bgp` where the entry says nothing."""

    hold_time_s: int
    keepalive_s: int | None
    graceful_restart_time_s: int
    flush_on_hold_expiry: bool
    listen_port: int
    least_ttl: int | None
    next_hop: NextHopMode | None
    next_hops: tuple[IPAddress, ...]
    allow_own_as: int
    prefix_limit: int
    prefix_limit_action: LimitAction
    prefix_limit_restart_s: int
    bfd: BfdConfig | None


def _common(bgp: BgpSection, peer: PeerEntry, *, between_nodes: bool) -> _Common:
    hold, restart = peer.hold_time_s, peer.graceful_restart_time_s
    return _Common(
        hold_time_s=bgp.hold_time_s if hold is None else hold,
        keepalive_s=peer.keepalive_s or bgp.keepalive_s,
        graceful_restart_time_s=bgp.graceful_restart_time_s if restart is None else restart,
        flush_on_hold_expiry=(peer.on_hold_expiry or bgp.on_hold_expiry) is HoldExpiry.FLUSH,
        listen_port=peer.listen_port or bgp.listen_port,
        least_ttl=None if peer.ttl_security is None else 256 - peer.ttl_security,
        next_hop=peer.next_hop,
        next_hops=peer.next_hops,
        allow_own_as=peer.allow_own_as,
        prefix_limit=peer.prefix_limit or bgp.prefix_limit,
        prefix_limit_action=peer.prefix_limit_action or bgp.prefix_limit_action,
        prefix_limit_restart_s=peer.prefix_limit_restart_s or bgp.prefix_limit_restart_s,
        bfd=_bfd(bgp, peer, between_nodes=between_nodes),
    )


def _bfd(bgp: BgpSection, peer: PeerEntry, *, between_nodes: bool) -> BfdConfig | None:
    """Between nodes on by default, and always multihop: both ends work it out by themselves, and have to agree."""
    own = peer.bfd or PeerBfdSection(enabled=between_nodes and bgp.bfd.enabled)
    if not own.enabled:
        return None
    auth = own.auth or (bgp.bfd.auth if between_nodes else None)
    ttl = bgp.bfd.min_ttl if peer.ttl_security is None else 256 - peer.ttl_security
    return BfdConfig(
        hop=HopMode.MULTI if between_nodes else own.hop or HopMode.AUTO,
        interval_s=own.interval or bgp.bfd.interval,
        multiplier=own.multiplier or bgp.bfd.multiplier,
        min_ttl=own.min_ttl or ttl,
        auth=None if auth is None else BfdAuth(type=auth.type, key_id=auth.key_id, key_file=auth.key_file),
    )


def _node_session(
    config: ClusterConfig, me: ClusterNode, other: ClusterNode, *, entry: PeerEntry | None, chains: Chains
) -> SessionConfig | None:
    """The session with another node, by a peer entry or by the mesh; None when it cannot be."""
    pair = _pair(me, other.addresses)
    if pair is None or other.router_id is None:
        return None
    bgp, peer, ibgp = config.bgp, entry or _DEFAULTS, me.asn == other.asn
    reflects = ibgp and entry is not None and me.cluster_id is not None
    common = {each.version for each in me.addresses} & {each.version for each in other.addresses}
    return SessionConfig(
        name=other.name,
        address=pair[1],
        local_address=pair[0],
        asn=other.asn,
        local_asn=me.asn,
        port=peer.listen_port or bgp.listen_port,
        password_file=peer.password_file or bgp.mesh_password_file,
        passive=_waits(me, other),
        trust_owner=True,
        families=peer.families or tuple(Family.IPV4 if version == 4 else Family.IPV6 for version in sorted(common)),
        node=other.name,
        mesh=entry is None,
        client=reflects and other.cluster_id is None,
        advertise=peer.advertise or (AdvertiseScope.ALL if reflects else AdvertiseScope.OWN),
        add_path=peer.add_path is not False,
        ttl=None if ibgp else peer.multihop,
        import_filters=chains.chain(bgp.mesh_import if entry is None else peer.import_filters, bgp.import_filters),
        export_filters=chains.chain(bgp.mesh_export if entry is None else peer.export_filters, bgp.export_filters),
        **_common(bgp, peer, between_nodes=True),
    )


def peer_sessions(config: ClusterConfig, me: ClusterNode, nodes: Sequence[ClusterNode]) -> list[SessionConfig]:
    """The peers by address that apply to us. One of a family in which we have no address is not among them."""
    chains = Chains(config.bgp)
    by_address = {address: each for each in nodes for address in each.addresses}
    sessions: list[SessionConfig] = []
    for peer in config.bgp.peers:
        if peer.address is None or peer.asn is None or not peer.held_by(me.name, me.labels):
            continue
        local = peer.source_address or next((a for a in me.addresses if a.version == peer.address.version), None)
        if local is not None:
            node = by_address.get(peer.address)
            sessions.append(_peer_session(config, me, peer, node=node, local=local, chains=chains))
    return sessions


def _peer_session(
    config: ClusterConfig,
    me: ClusterNode,
    peer: PeerEntry,
    *,
    node: ClusterNode | None,
    local: IPAddress,
    chains: Chains,
) -> SessionConfig:
    assert peer.address is not None
    assert peer.asn is not None
    local_asn = peer.local_as or me.asn
    reflects = peer.asn == local_asn and me.cluster_id is not None
    return SessionConfig(
        name=peer.label,
        address=peer.address,
        local_address=local,
        asn=peer.asn,
        local_asn=local_asn,
        port=peer.port or BGP_PORT,
        password_file=peer.password_file,
        passive=peer.passive if node is None else _waits(me, node),
        trust_owner=peer.trust_owner or node is not None,
        families=peer.families or (Family.IPV4 if peer.address.version == 4 else Family.IPV6,),
        node=None if node is None else node.name,
        client=reflects and (peer.route_reflector_client if node is None else node.cluster_id is None),
        advertise=peer.advertise or (AdvertiseScope.ALL if reflects else AdvertiseScope.OWN),
        add_path=node is not None if peer.add_path is None else peer.add_path,
        ttl=None if peer.asn == local_asn else peer.multihop or (1 if node is None else None),
        import_filters=chains.chain(peer.import_filters, config.bgp.import_filters),
        export_filters=chains.chain(peer.export_filters, config.bgp.export_filters),
        **_common(config.bgp, peer, between_nodes=node is not None),
    )
