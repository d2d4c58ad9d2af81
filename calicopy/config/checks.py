"""What must hold between the parts of the cluster file.

Theory of operation: each check looks at whole, typed parts and yields `Problem`s: the path of the value to blame, and
the paths of the other values the judgement rests on. A check never raises and never stops at the first. Of two values
that clash, the later one in the file is blamed and the earlier one is named. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from calicopy.config.checks_bgp import check_bgp
from calicopy.config.checks_encapsulation import check_encapsulation
from calicopy.config.errors import Path
from calicopy.config.fields import DetectionMethod
from calicopy.config.problems import FirstUse, Problem, matches_nothing
from calicopy.config.sections import (
    AddressDetection,
    AgentSection,
    EncapsulationSection,
    NodeEntry,
    PoolEntry,
    selects,
)
from calicopy.config.sections_bgp import BgpSection
from calicopy.net import Family, Prefix, PrefixError

BLOCK_LENGTHS = {Family.IPV4: (20, 32), Family.IPV6: (116, 128)}
"""Least and greatest block length in bits."""
UNUSABLE = tuple(
    Prefix.parse(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::1/128", "fe80::/10", "ff00::/8")
)
"""What no pod can have as an address: this network, loopback, link-local, multicast and reserved (RFC 6890)."""


def check(
    *,
    nodes: Sequence[NodeEntry],
    pools: Sequence[PoolEntry],
    nat_exclude: Sequence[Prefix],
    detection: AddressDetection,
    encapsulation: EncapsulationSection,
    bgp: BgpSection,
    agent: AgentSection,
    cluster_as: int,
) -> Iterator[Problem]:
    """Every problem between the parts, errors and warnings, in no particular order."""
    yield from _nodes(nodes)
    yield from _undetected(nodes, detection, bgp)
    yield from _pools(pools, nodes)
    yield from _nat_exclude(nat_exclude, pools)
    yield from check_encapsulation(encapsulation, pools, nodes)
    yield from _pins(nodes, pools)
    yield from _room(nodes, pools)
    yield from _families(nodes, pools)
    yield from check_bgp(bgp, nodes, pools, cluster_as=cluster_as)
    yield from _agent(agent)


def _nodes(nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    if not nodes:
        yield Problem(("nodes",), "no node is given, expected at least one")
    names, addresses, ids = (
        FirstUse("two nodes have the name {!r}"),
        FirstUse("two nodes have the address {}"),
        FirstUse("two nodes have the router id {}"),
    )
    for index, node in enumerate(nodes):
        yield from names.use(node.name, ("nodes", index, "name"))
        for key, interface in (("address", node.address), ("address6", node.address6)):
            if interface is not None:
                yield from addresses.use(interface.ip, ("nodes", index, key))
        router_id = node.effective_router_id
        if router_id is not None:
            explicit = node.router_id is not None
            for problem in ids.use(router_id, ("nodes", index, "router_id" if explicit else "address")):
                # two default router ids clash only because the addresses do, which is said already
                if explicit or (problem.other is not None and problem.other[-1] == "router_id"):
                    yield problem
        elif node.address6 is not None:
            yield Problem(
                ("nodes", index),
                "a node with only an IPv6 address needs a `router_id`: expected one such as 192.0.2.1, "
                "which need not be an address of the node",
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
        related: tuple[Path, ...] = ((*path, "address"), (*path, "address6"), ("bgp", "mesh"), ("bgp", "peers"))
        if node.router_id is None:
            yield Problem(
                path,
                "no `address` and no `router_id`: the other nodes cannot tell which blocks this node owns; "
                "give a `router_id`",
                related=related,
                warning=True,
            )
        between = bgp.mesh or any(
            peer.picks(node.labels) or (peer.peer_selector is not None and peer.held_by(node.name, node.labels))
            for peer in bgp.peers
        )
        if between and len(nodes) > 1:
            yield Problem(
                path,
                "no `address`: the node detects its own, but the other nodes do not know it, so there is no session "
                "between them and this node; give an `address`, or peer with a router outside of this file",
                related=related,
                warning=True,
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
        yield Problem(
            path, f"method {detection.method.value} needs a `value`: {expected[detection.method]}", (*related, at)
        )
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
        yield Problem(
            at,
            f"found the text {value!r}, expected {expected[detection.method]} (method {detection.method.value})",
            related,
        )


def _pools(pools: Sequence[PoolEntry], nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    if not pools:
        yield Problem(("pools",), "no pool is given: no node gets addresses for pods", warning=True)
    names = FirstUse("two pools have the name {!r}")
    for index, pool in enumerate(pools):
        at: Path = ("pools", index)
        cidr: Path = (*at, "cidr")
        yield from names.use(pool.label, (*at, "name" if pool.name is not None else "cidr"))
        yield from _block_size(pool, at)
        for prefix in UNUSABLE:
            if prefix.overlaps(pool.cidr):
                yield Problem(
                    cidr, f"found {pool.cidr}, expected a prefix of addresses that pods can have ({prefix} is reserved)"
                )
                break
        for before, other in enumerate(pools[:index]):
            if other.cidr.overlaps(pool.cidr):
                yield Problem(cidr, f"pool {pool.cidr} overlaps pool {other.cidr}", other=("pools", before, "cidr"))
        if pool.node_selector is not None and not any(selects(pool.node_selector, node.labels) for node in nodes):
            yield matches_nothing((*at, "node_selector"), pool.node_selector)
        yield from _node_in_pool(pool, cidr, nodes)


def _nat_exclude(prefixes: Sequence[Prefix], pools: Sequence[PoolEntry]) -> Iterator[Problem]:
    """One that a pool lies inside is in order: pools are excluded anyway, and the rest of it is not."""
    for index, prefix in enumerate(prefixes):
        at: Path = ("nat_exclude", index)
        pool = next((number for number, pool in enumerate(pools) if prefix in pool.cidr), None)
        other = next((number for number, one in enumerate(prefixes[:index]) if prefix in one), None)
        if pool is not None:
            text = "has no effect: pods keep their addresses among each other; expected a prefix outside of pools"
            yield Problem(at, text, (("pools", pool, "cidr"),), other=("pools", pool, "cidr"), warning=True)
        elif other is not None:
            yield Problem(at, "has no effect: it lies inside another one", other=("nat_exclude", other), warning=True)
        elif not any(pool.nat_outgoing and pool.cidr.family is prefix.family for pool in pools):
            text = f"has no effect: no {prefix.family} pool has `nat_outgoing: true`"
            yield Problem(at, text, (("pools",),), warning=True)


def _block_size(pool: PoolEntry, at: Path) -> Iterator[Problem]:
    cidr, size = (*at, "cidr"), (*at, "block_size")
    least, greatest = BLOCK_LENGTHS[pool.cidr.family]
    if pool.block_size is not None and not least <= pool.block_size <= greatest:
        yield Problem(
            size,
            f"found {pool.block_size}, expected a block size (a prefix length) from {least} to {greatest} "
            f"for {pool.cidr.family}",
            (cidr,),
        )
    elif pool.block_length < pool.cidr.length:
        where = size if pool.block_size is not None else cidr
        default = "" if pool.block_size is not None else " (the default)"
        yield Problem(
            where,
            f"a block of /{pool.block_length}{default} is larger than its pool {pool.cidr}: "
            f"expected a block size of {max(pool.cidr.length, least)} or more",
            (cidr, size),
        )


def _node_in_pool(pool: PoolEntry, cidr: Path, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    for index, node in enumerate(nodes):
        for key, interface in (("address", node.address), ("address6", node.address6)):
            if interface is not None and interface.ip in pool.cidr:
                message = (
                    f"found {interface.ip}, expected an address outside of all pools, and pool {pool.cidr} holds it"
                )
                yield Problem(("nodes", index, key), message, other=cidr)


def _pins(nodes: Sequence[NodeEntry], pools: Sequence[PoolEntry]) -> Iterator[Problem]:
    seen = FirstUse("the block {} is pinned twice")
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
                    path,
                    f"found the block {block} of pool {pool.label}, expected one of the pool's block size, "
                    f"/{pool.block_length}",
                    related=((*at, "cidr"), (*at, "block_size")),
                )
            if not selects(pool.node_selector, node.labels):
                yield Problem(
                    path,
                    f"the block {block} is pinned to a node that the pool {pool.label} does not select",
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
                ("pools", index, "cidr"),
                f"has room for {1 << shift} blocks of /{pool.block_length}, and {wanting} nodes want one",
                related=(("pools", index, "block_size"), ("nodes",)),
                warning=True,
            )


def _families(nodes: Sequence[NodeEntry], pools: Sequence[PoolEntry]) -> Iterator[Problem]:
    """Warns when a node is to have pods of a family that it has no address of: nobody would learn a way to them."""
    for index, pool in enumerate(pools):
        version = 4 if pool.cidr.family is Family.IPV4 else 6
        without = [
            number
            for number, node in enumerate(nodes)
            if node.interfaces
            and selects(pool.node_selector, node.labels)
            and all(interface.version != version for interface in node.interfaces)
        ]
        if without:
            key = "address" if version == 4 else "address6"
            names = ", ".join(nodes[number].name for number in without[:5]) + (", ..." if without[5:] else "")
            yield Problem(
                ("pools", index, "cidr"),
                f"selects {names}, without an `{key}`: its blocks there are announced to nobody; give an `{key}`, or a "
                "`node_selector` that leaves such nodes out",
                related=(("pools", index, "node_selector"), *(("nodes", number, key) for number in without)),
                warning=True,
            )


def _agent(agent: AgentSection) -> Iterator[Problem]:
    if agent.state_dir == agent.run_dir:
        yield Problem(
            ("agent", "run_dir"),
            "is the same as `state_dir`: expected another one, it does not outlive a boot",
            (("agent", "state_dir"),),
        )
    if agent.readyz_listen is not None and not agent.readyz_listen.host.is_loopback:
        yield Problem(("agent", "readyz_listen"), "is not of this host alone: expected 127.0.0.1:PORT or [::1]:PORT")
    if len(agent.read_only_socket_path.encode()) > 107:
        key = "socket" if agent.socket is not None else "run_dir"
        yield Problem(("agent", key), "too long: the path of a unix socket has at most 107 bytes")
