"""What must hold within one peer of the cluster file, and between it and the nodes. Pure; the rules of `checks` hold
here too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from calicopy.config.checks_bfd import check_peer_bfd
from calicopy.config.errors import Path
from calicopy.config.problems import FirstUse, Problem, did_you_mean, few, matches_nothing
from calicopy.config.sections import NodeEntry, selects
from calicopy.config.sections_bgp import BgpSection, PeerEntry
from calicopy.policy import AdvertiseScope, LimitAction, NextHopMode


def check_peer(
    peer: PeerEntry, at: Path, bgp: BgpSection, nodes: Sequence[NodeEntry], *, cluster_as: int
) -> Iterator[Problem]:
    """Problems of the peer at the path `at`. `cluster_as` is that of nodes that name none."""
    yield from _ends(peer, at)
    yield from _held_by(peer, at, nodes)
    hold = bgp.hold_time_s if peer.hold_time_s is None else peer.hold_time_s
    if peer.hold_time_s is not None or peer.keepalive_s is not None:
        related: tuple[Path, ...] = ((*at, "hold_time_s"), ("bgp", "hold_time_s"), ("bgp", "keepalive_s"))
        yield from check_timers(at, hold, peer.keepalive_s or bgp.keepalive_s, related=related)
    action = peer.prefix_limit_action or bgp.prefix_limit_action
    if peer.prefix_limit_restart_s is not None and action is not LimitAction.RESTART:
        path, by = (*at, "prefix_limit_restart_s"), ((*at, "prefix_limit_action"), ("bgp", "prefix_limit_action"))
        yield Problem(path, f"has no effect: `prefix_limit_action` is {action.value}", by, warning=True)
    if peer.multihop is not None and peer.ttl_security is not None:
        message = "expected either `multihop` or `ttl_security` (which counts the hops by itself), found both"
        yield Problem((*at, "ttl_security"), message, ((*at, "multihop"),))
    if peer.add_path and bgp.multipath_max_paths == 1:
        message = "brings nothing: `multipath_max_paths` is 1, so one path of each prefix is used"
        yield Problem((*at, "add_path"), message, (("bgp", "multipath_max_paths"),), warning=True)
    yield from check_peer_bfd(peer, at, bgp, is_node=any(peer.address in node.addresses for node in nodes))
    holders = [index for index, node in enumerate(nodes) if peer.held_by(node.name, node.labels)]
    if peer.peer_selector is not None:
        if not any(peer.picks(node.labels) for node in nodes):
            yield matches_nothing((*at, "peer_selector"), peer.peer_selector)
        return
    yield from _addresses(peer, at, nodes, holders)
    yield from _numbers(peer, at, nodes, holders, cluster_as=cluster_as)


def check_timers(at: Path, hold: int, keepalive: int | None, *, related: tuple[Path, ...] = ()) -> Iterator[Problem]:
    """Problems between a hold time and an interval of keepalives, in seconds (RFC 4271 section 4.4)."""
    path, by = (*at, "keepalive_s"), related or ((*at, "hold_time_s"),)
    if keepalive is None:
        return
    if hold == 0:
        yield Problem(path, f"found {keepalive}, expected none: the hold time is 0, so no keepalives are sent", by)
    elif keepalive >= hold:
        yield Problem(path, f"found {keepalive}, expected less than the hold time, {hold}", by)
    elif keepalive * 3 > hold:
        message = (
            f"{keepalive} is more than a third of the hold time, {hold}: keepalives are sent at a third all the same"
        )
        yield Problem(path, message, by, warning=True)


def _ends(peer: PeerEntry, at: Path) -> Iterator[Problem]:
    """What an entry needs and what it may not have: with an address, and with a selector of peers."""
    if peer.peer_selector is None:
        if peer.address is None:
            message = "expected `address: ...`, or `peer_selector: {...}` for nodes of this file; found neither"
            yield Problem(at, message, ((*at, "address"), (*at, "peer_selector")))
        if peer.asn is None:
            yield Problem((*at, "as"), "the key is missing in the peer, expected as: ...", ((*at, "address"),))
        return
    selector = (*at, "peer_selector")
    if peer.address is not None:
        yield Problem(selector, "expected either `address` or `peer_selector`, found both", ((*at, "address"),))
        return
    for key, given, why in (
        ("as", peer.asn is not None, "the AS is that of the nodes"),
        ("local_as", peer.local_as is not None, "nodes show each other their own"),
        ("source_address", peer.source_address is not None, "nodes use the addresses of this file"),
        ("port", peer.port is not None, "nodes dial each other's `listen_port`"),
        ("passive", peer.passive, "of two nodes the one with the lower router id waits"),
        ("route_reflector_client", peer.route_reflector_client, "`route_reflector` of the nodes says who reflects"),
        ("trust_owner", peer.trust_owner, "nodes of this file are trusted"),
        ("next_hops", bool(peer.next_hops), "the addresses of this file are next hops anyway"),
    ):
        if given:
            yield Problem((*at, key), f"expected none with `peer_selector`: {why}", (selector,))


def _held_by(peer: PeerEntry, at: Path, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    known = [node.name for node in nodes]
    if peer.nodes is not None and peer.node_selector is not None:
        yield Problem(
            (*at, "node_selector"), "expected either `nodes` or `node_selector`, found both", ((*at, "nodes"),)
        )
    elif peer.node_selector is not None and not any(selects(peer.node_selector, node.labels) for node in nodes):
        yield matches_nothing((*at, "node_selector"), peer.node_selector)
    if peer.nodes is not None and not peer.nodes:
        yield Problem((*at, "nodes"), "an empty list: no node holds this session", warning=True)
    seen = FirstUse("the node {!r} is named twice")
    for position, name in enumerate(peer.nodes or ()):
        path = (*at, "nodes", position)
        yield from seen.use(name, path)
        if name not in known:
            yield Problem(path, f"no node has the name {name!r}{did_you_mean(name, known)}", (("nodes",),))
    families = FirstUse("the family {} is named twice")
    for position, family in enumerate(peer.families or ()):
        yield from families.use(family, (*at, "families", position))
    next_hops = FirstUse("the next hop {} is named twice")
    for position, next_hop in enumerate(peer.next_hops):
        yield from next_hops.use(next_hop, (*at, "next_hops", position))


def _addresses(peer: PeerEntry, at: Path, nodes: Sequence[NodeEntry], holders: Sequence[int]) -> Iterator[Problem]:
    if peer.address is None:
        return
    version, path = peer.address.version, (*at, "address")
    mine = [nodes[index] for index in holders]
    lacking = [node.name for node in mine if node.addresses and all(a.version != version for a in node.addresses)]
    if lacking:
        message = f"no session from {few(lacking)}: no IPv{version} address in this file"
        yield Problem(path, message, warning=True)
    source = peer.source_address
    if source is None:
        return
    path, related = (*at, "source_address"), ((*at, "nodes"), (*at, "node_selector"), (*at, "address"), ("nodes",))
    others = [node.name for node in mine if node.addresses and source not in node.addresses]
    if source.version != version:
        yield Problem(path, f"found {source}, expected an IPv{version} address, as that of the peer", related)
    elif others:
        message = (
            f"found {source}, expected an address of the node that holds this session; it is none of {few(others)}"
        )
        yield Problem(path, message, related)


def _numbers(
    peer: PeerEntry, at: Path, nodes: Sequence[NodeEntry], holders: Sequence[int], *, cluster_as: int
) -> Iterator[Problem]:
    """What depends on whether the session is iBGP or eBGP."""
    if peer.asn is None or peer.address is None:
        return
    own = {peer.local_as or nodes[index].asn or cluster_as for index in holders}
    real = {nodes[index].asn or cluster_as for index in holders}
    related: tuple[Path, ...] = tuple((*at, key) for key in ("as", "local_as", "nodes", "node_selector"))
    related = (*related, ("nodes",), ("cluster", "as"))
    only_ibgp, only_ebgp = own == {peer.asn}, bool(own) and peer.asn not in own
    if peer.local_as is not None and peer.local_as == peer.asn:
        message = f"found {peer.local_as}, expected another AS than the peer's: it makes the session iBGP"
        yield Problem((*at, "local_as"), message, related)
    elif peer.local_as is not None and real == {peer.local_as}:
        yield Problem((*at, "local_as"), "has no effect: it is the node's own AS", related, warning=True)
    if peer.multihop is not None and only_ibgp:
        yield Problem((*at, "multihop"), "has no effect: the session is iBGP", related, warning=True)
    if peer.next_hop is NextHopMode.KEEP and only_ebgp:
        message = "packets go past this node to a next hop that the peer must reach by itself: eBGP usually wants self"
        yield Problem((*at, "next_hop"), message, related, warning=True)
    reflects = any(nodes[index].route_reflector for index in holders) and not only_ebgp
    if peer.next_hop is not None and peer.advertise is not AdvertiseScope.ALL and not reflects:
        message = "has no effect: only own prefixes go to this peer (`advertise: own`)"
        yield Problem((*at, "next_hop"), message, (*related, (*at, "advertise")), warning=True)
    if peer.route_reflector_client:
        yield from _client(peer, at, [nodes[index] for index in holders], related, ebgp=own != {peer.asn})
    node = next((node for node in nodes if peer.address in node.addresses), None)
    if node is None:
        return
    related = (*related, (*at, "address"))
    dials = next((nodes[index].name for index in sorted(holders) if _is_lower(node, nodes[index])), None)
    if peer.passive and dials is not None:
        message = f"found true, and {dials!r} has to dial: of two nodes the lower router id waits, here {node.name!r}"
        yield Problem((*at, "passive"), message, related)
    if peer.asn != (node.asn or cluster_as):
        message = f"found {peer.asn}, and node {node.name!r} has AS {node.asn or cluster_as}"
        yield Problem((*at, "as"), message, related, warning=True)


def _is_lower(node: NodeEntry, other: NodeEntry) -> bool:
    """Whether the router id of `node` is the lower; False where one is not in the file."""
    ours, theirs = node.effective_router_id, other.effective_router_id
    return ours is not None and theirs is not None and ours < theirs


def _client(
    peer: PeerEntry, at: Path, holders: Sequence[NodeEntry], related: tuple[Path, ...], *, ebgp: bool
) -> Iterator[Problem]:
    path = (*at, "route_reflector_client")
    if ebgp and holders:
        yield Problem(path, "expected none on eBGP: route reflection is for one AS (RFC 4456)", related)
        return
    others = [node.name for node in holders if not node.route_reflector]
    if others:
        message = f"held by {few(others)}, expected nodes with `route_reflector: true`"
        yield Problem(path, message, related)
    if peer.advertise is AdvertiseScope.OWN:
        message = "nothing is reflected to this client: `advertise` is own"
        yield Problem(path, message, ((*at, "advertise"),), warning=True)
