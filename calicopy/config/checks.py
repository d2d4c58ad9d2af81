"""What must hold between the parts of the cluster file.

Theory of operation: each check looks at whole, typed parts and yields `Problem`s: the path of the value to blame, and the
paths of the other values the judgement rests on. A check never raises and never stops at the first. Of two values that clash,
the later one in the file is blamed and the earlier one is named. Pure.
"""
from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from calicopy.config.errors import Path, Problem, format_path
from calicopy.config.fields import DetectionMethod, Encapsulation, EncapsulationMode
from calicopy.config.sections import (
    AddressDetection,
    AgentSection,
    BgpSection,
    ClusterSection,
    NodeEntry,
    PeerEntry,
    PoolEntry,
    selects,
)
from calicopy.net import Family, Prefix, PrefixError

BLOCK_LENGTHS = {Family.IPV4: (20, 32), Family.IPV6: (116, 128)}
"""Least and greatest block length in bits."""
UNUSABLE = tuple(
    Prefix.parse(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::1/128", "fe80::/10", "ff00::/8")
)
"""What no pod can have as an address: this network, loopback, link-local, multicast and reserved (RFC 6890)."""


def check(
    *,
    cluster: ClusterSection,
    nodes: Sequence[NodeEntry],
    pools: Sequence[PoolEntry],
    detection: AddressDetection,
    bgp: BgpSection,
    agent: AgentSection,
) -> Iterator[Problem]:
    """Every problem between the parts, errors and warnings, in no particular order."""
    yield from _nodes(nodes)
    yield from _undetected(nodes, detection, bgp)
    yield from _pools(pools, nodes)
    yield from _pins(nodes, pools)
    yield from _room(nodes, pools)
    yield from _bgp(bgp)
    yield from _peers(bgp, nodes)
    yield from _agent(agent)
    del cluster  # nothing else depends on it: its own types say all


class _Seen:
    """Finds the second use of a value that may be used once."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._first: dict[Hashable, Path] = {}

    def use(self, value: Hashable, path: Path, shown: object | None = None) -> Iterator[Problem]:
        """Yields a problem when `value` was used before."""
        first = self._first.setdefault(value, path)
        if first != path:
            text = self._message.format(value if shown is None else shown)
            yield Problem(path, f"{text}: already at {format_path(first)}", related=(first,))


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint such as ` (did you mean 'cidr'?)`, or the empty text."""
    close = difflib.get_close_matches(word[:64], known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _nodes(nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    if not nodes:
        yield Problem(("nodes",), "no node is given, expected at least one")
    names, addresses, ids = _Seen("two nodes have the name {!r}"), _Seen("two nodes have the address {}"), _Seen("two nodes have the router id {}")
    for index, node in enumerate(nodes):
        yield from names.use(node.name, ("nodes", index, "name"))
        for key, interface in (("address", node.address), ("address6", node.address6)):
            if interface is not None:
                yield from addresses.use(interface.ip, ("nodes", index, key))
        router_id = node.effective_router_id
        if router_id is not None:
            explicit = node.router_id is not None
            clash = list(ids.use(router_id, ("nodes", index, "router_id" if explicit else "address")))
            # two default router ids clash only because the addresses do, which is said already
            yield from (problem for problem in clash if explicit or problem.related[0][-1] == "router_id")
        elif node.address6 is not None:
            yield Problem(
                ("nodes", index),
                "a node with only an IPv6 address needs a `router_id`, such as 192.0.2.1 (any unique 32-bit number in that form)",
                related=(("nodes", index, "address"), ("nodes", index, "router_id")),
            )
        if node.address_detection is not None:
            yield from _detection(node.address_detection, ("nodes", index, "address_detection"))


def _undetected(nodes: Sequence[NodeEntry], detection: AddressDetection, bgp: BgpSection) -> Iterator[Problem]:
    yield from _detection(detection, ("address_detection",))
    for index, node in enumerate(nodes):
        if node.interfaces:
            continue
        path: Path = ("nodes", index)
        related: tuple[Path, ...] = ((*path, "address"), (*path, "address6"), ("bgp", "mesh"))
        if node.router_id is None:
            yield Problem(
                path, "no `address` and no `router_id`: the other nodes cannot tell which blocks this node owns; give a `router_id`",
                related=related, warning=True,
            )
        if bgp.mesh and len(nodes) > 1:
            yield Problem(
                path, "no `address`: the node detects its own, but the other nodes do not know it, so there is no mesh session with "
                "this node; give an `address`, or peer through a route reflector", related=related, warning=True,
            )


def _detection(detection: AddressDetection, path: Path) -> Iterator[Problem]:
    value, at = detection.value, (*path, "value")
    related = ((*path, "method"),)
    expected = {
        DetectionMethod.CIDR: "a prefix such as 192.0.2.0/24",
        DetectionMethod.INTERFACE: "the name of an interface, such as eth1",
        DetectionMethod.CAN_REACH: "an IP address such as 192.0.2.254",
    }
    if detection.method is DetectionMethod.DEFAULT_ROUTE:
        if value is not None:
            yield Problem(at, "method default-route takes no value", related)
        return
    if value is None:
        yield Problem(path, f"method {detection.method.value} needs a `value`: {expected[detection.method]}", (*related, at))
        return
    try:
        match detection.method:
            case DetectionMethod.CIDR:
                good = "/" in value and bool(Prefix.parse(value))
            case DetectionMethod.CAN_REACH:
                good = not ip_address(value).is_unspecified
            case _:
                good = 0 < len(value) <= 15 and not any(char.isspace() or char == "/" for char in value)
    except (PrefixError, ValueError):
        good = False
    if not good:
        yield Problem(at, f"found the text {value!r}, expected {expected[detection.method]} (method {detection.method.value})", related)


def _pools(pools: Sequence[PoolEntry], nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    if not pools:
        yield Problem(("pools",), "no pool is given: no node gets addresses for pods", warning=True)
    names = _Seen("two pools have the name {!r}")
    for index, pool in enumerate(pools):
        at: Path = ("pools", index)
        cidr: Path = (*at, "cidr")
        yield from names.use(pool.label, (*at, "name" if pool.name is not None else "cidr"))
        yield from _block_size(pool, at)
        for prefix in UNUSABLE:
            if prefix.overlaps(pool.cidr):
                yield Problem(cidr, f"found {pool.cidr}, expected a prefix of addresses that pods can have ({prefix} is reserved)")
                break
        for before, other in enumerate(pools[:index]):
            if other.cidr.overlaps(pool.cidr):
                first: Path = ("pools", before, "cidr")
                yield Problem(cidr, f"pool {pool.cidr} overlaps pool {other.cidr} at {format_path(first)}", (first,))
        if pool.encapsulation is not Encapsulation.NONE and pool.cidr.family is Family.IPV6:
            yield Problem((*at, "encapsulation"), "ipip carries IPv4 only, and the pool is IPv6: expected none", (cidr,))
        if pool.encapsulation is Encapsulation.NONE and pool.mode is EncapsulationMode.CROSS_SUBNET:
            yield Problem((*at, "mode"), "has no effect: encapsulation is none", ((*at, "encapsulation"),), warning=True)
        if pool.node_selector is not None and not any(selects(pool.node_selector, node.labels) for node in nodes):
            yield _matches_nothing((*at, "node_selector"), pool.node_selector)
        yield from _node_in_pool(pool, cidr, nodes)


def _block_size(pool: PoolEntry, at: Path) -> Iterator[Problem]:
    cidr, size = (*at, "cidr"), (*at, "block_size")
    least, greatest = BLOCK_LENGTHS[pool.cidr.family]
    if pool.block_size is not None and not least <= pool.block_size <= greatest:
        yield Problem(
            size, f"found {pool.block_size}, expected a block size (a prefix length) from {least} to {greatest} for {pool.cidr.family}",
            (cidr,),
        )
    elif pool.block_length < pool.cidr.length:
        where = size if pool.block_size is not None else cidr
        default = "" if pool.block_size is not None else " (the default)"
        yield Problem(
            where, f"a block of /{pool.block_length}{default} is larger than its pool {pool.cidr}: "
            f"expected a block size of {max(pool.cidr.length, least)} or more", (cidr, size),
        )


def _node_in_pool(pool: PoolEntry, cidr: Path, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    for index, node in enumerate(nodes):
        for key, interface in (("address", node.address), ("address6", node.address6)):
            if interface is not None and interface.ip in pool.cidr:
                path: Path = ("nodes", index, key)
                yield Problem(
                    path, f"{interface.ip} lies inside the pool {pool.cidr} at {format_path(cidr)}: "
                    "expected a node address outside of all pools", (cidr,),
                )


def _matches_nothing(path: Path, selector: Mapping[str, str]) -> Problem:
    text = ", ".join(f"{key}={value}" for key, value in selector.items())
    return Problem(path, f"no node of this file has the labels {text}", warning=True)


def _pins(nodes: Sequence[NodeEntry], pools: Sequence[PoolEntry]) -> Iterator[Problem]:
    seen = _Seen("the block {} is pinned twice")
    for index, node in enumerate(nodes):
        for position, block in enumerate(node.blocks):
            path: Path = ("nodes", index, "blocks", position)
            yield from seen.use(block, path)
            number = next((number for number, pool in enumerate(pools) if block in pool.cidr), None)
            if number is None:
                yield Problem(path, f"the block {block} lies in no pool", related=(("pools",),))
                continue
            pool, at = pools[number], ("pools", number)
            if block.length != pool.block_length:
                yield Problem(
                    path, f"the block {block} has another length than the blocks of its pool {pool.label}: expected /{pool.block_length}",
                    related=((*at, "cidr"), (*at, "block_size")),
                )
            if not selects(pool.node_selector, node.labels):
                yield Problem(
                    path, f"the block {block} is pinned to a node that the pool {pool.label} does not select",
                    related=((*at, "node_selector"), ("nodes", index, "labels")),
                )


def _room(nodes: Sequence[NodeEntry], pools: Sequence[PoolEntry]) -> Iterator[Problem]:
    """Warns when not every node can have a block of its own."""
    for index, pool in enumerate(pools):
        wanting = sum(selects(pool.node_selector, node.labels) for node in nodes)
        others = [other for other in pools if other is not pool and other.cidr.family is pool.cidr.family]
        shift = pool.block_length - pool.cidr.length
        if not others and 0 <= shift < 32 and 1 << shift < wanting:
            yield Problem(
                ("pools", index, "cidr"), f"has room for {1 << shift} blocks of /{pool.block_length}, and {wanting} nodes want one",
                related=(("pools", index, "block_size"), ("nodes",)), warning=True,
            )


def _bgp(bgp: BgpSection) -> Iterator[Problem]:
    if bgp.hold_time_s == 0:
        yield Problem(("bgp", "hold_time_s"), "with 0 a peer that is gone is never noticed", warning=True)
    if bgp.mesh_password_file is not None and not bgp.mesh:
        yield Problem(("bgp", "mesh_password_file"), "has no effect: the mesh is off", (("bgp", "mesh"),), warning=True)


def holders(peer: PeerEntry, nodes: Sequence[NodeEntry]) -> frozenset[int]:
    """The indexes of the nodes that hold the session with `peer`."""
    return frozenset(
        index for index, node in enumerate(nodes)
        if (peer.nodes is None or node.name in peer.nodes) and selects(peer.node_selector, node.labels)
    )


def _peers(bgp: BgpSection, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    names = _Seen("two peers have the name {!r}")
    known = [node.name for node in nodes]
    held: list[tuple[int, PeerEntry, frozenset[int]]] = []
    if not bgp.mesh and not bgp.peers and len(nodes) > 1:
        yield Problem(("bgp",), "the mesh is off and there are no peers: no node hears of another", warning=True)
    for index, peer in enumerate(bgp.peers):
        at: Path = ("bgp", "peers", index)
        if peer.name is not None:
            yield from names.use(peer.name, (*at, "name"))
            if peer.name in known:
                other: Path = ("nodes", known.index(peer.name), "name")
                yield Problem((*at, "name"), f"{peer.name!r} is the name of a node at {format_path(other)}", (other,))
        yield from _peer_nodes(peer, at, nodes)
        mine = holders(peer, nodes)
        for before, earlier, theirs in held:
            if earlier.address == peer.address and mine & theirs:
                first: Path = ("bgp", "peers", before, "address")
                yield Problem(
                    (*at, "address"), f"two peers have the address {peer.address}: already at {format_path(first)}",
                    (first, (*at, "nodes"), (*at, "node_selector")),
                )
                break
        held.append((index, peer, mine))
        yield from _peer_address(peer, at, nodes, mine, mesh=bgp.mesh)


def _peer_nodes(peer: PeerEntry, at: Path, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    known = [node.name for node in nodes]
    if peer.nodes is not None and peer.node_selector is not None:
        yield Problem((*at, "node_selector"), "expected either `nodes` or `node_selector`, found both", ((*at, "nodes"),))
    elif peer.node_selector is not None and not any(selects(peer.node_selector, node.labels) for node in nodes):
        yield _matches_nothing((*at, "node_selector"), peer.node_selector)
    if peer.nodes is not None and not peer.nodes:
        yield Problem((*at, "nodes"), "an empty list: no node holds this session", warning=True)
    seen = _Seen("the node {!r} is named twice")
    for position, name in enumerate(peer.nodes or ()):
        path = (*at, "nodes", position)
        yield from seen.use(name, path)
        if name not in known:
            yield Problem(path, f"no node has the name {name!r}{did_you_mean(name, known)}", (("nodes",),))
    families = _Seen("the family {} is named twice")
    for position, family in enumerate(peer.families or ()):
        yield from families.use(family, (*at, "families", position))


def _peer_address(
    peer: PeerEntry, at: Path, nodes: Sequence[NodeEntry], mine: frozenset[int], *, mesh: bool
) -> Iterator[Problem]:
    address = (*at, "address")
    for index, node in enumerate(nodes):
        if peer.address not in node.addresses:
            continue
        key = "address" if peer.address.version == 4 else "address6"
        related: tuple[Path, ...] = (("nodes", index, key), (*at, "nodes"), (*at, "node_selector"), ("bgp", "mesh"))
        if index in mine:
            yield Problem(
                address, f"{peer.address} is the address of node {node.name!r}, which holds this session itself: "
                "expected another host's address, or `nodes` without it", related,
            )
        elif mesh and mine:
            yield Problem(address, f"{peer.address} is the address of node {node.name!r}, a peer of the mesh already", related)


def _agent(agent: AgentSection) -> Iterator[Problem]:
    if agent.state_dir == agent.run_dir:
        yield Problem(
            ("agent", "run_dir"), "is the same as `state_dir`: expected another one, it does not outlive a boot",
            (("agent", "state_dir"),),
        )
    if len(agent.read_only_socket_path.encode()) > 107:
        key = "socket" if agent.socket is not None else "run_dir"
        yield Problem(("agent", key), "too long: the path of a unix socket has at most 107 bytes")
