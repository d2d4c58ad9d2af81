"""What must hold between the peers, the mesh and the nodes of the cluster file. Pure; the rules of `checks` hold here
too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from calicopy.config.errors import Path
from calicopy.config.problems import FirstUse, Problem, did_you_mean, matches_nothing
from calicopy.config.sections import BgpSection, NodeEntry, PeerEntry, selects


def check_bgp(bgp: BgpSection, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    """Problems of the `bgp` section, by itself and with the nodes."""
    if bgp.hold_time_s == 0:
        yield Problem(("bgp", "hold_time_s"), "with 0 a peer that is gone is never noticed", warning=True)
    if bgp.mesh_password_file is not None and not bgp.mesh:
        yield Problem(("bgp", "mesh_password_file"), "has no effect: the mesh is off", (("bgp", "mesh"),), warning=True)
    yield from _peers(bgp, nodes)


def holders(peer: PeerEntry, nodes: Sequence[NodeEntry]) -> frozenset[int]:
    """The indexes of the nodes that hold the session with `peer`."""
    return frozenset(
        index
        for index, node in enumerate(nodes)
        if (peer.nodes is None or node.name in peer.nodes) and selects(peer.node_selector, node.labels)
    )


def _peers(bgp: BgpSection, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    names = FirstUse("two peers have the name {!r}")
    known = [node.name for node in nodes]
    held: list[tuple[int, PeerEntry, frozenset[int]]] = []
    if not bgp.mesh and not bgp.peers and len(nodes) > 1:
        yield Problem(("bgp",), "the mesh is off and there are no peers: no node hears of another", warning=True)
    for index, peer in enumerate(bgp.peers):
        at: Path = ("bgp", "peers", index)
        if peer.name is not None:
            yield from names.use(peer.name, (*at, "name"))
            if peer.name in known:
                node: Path = ("nodes", known.index(peer.name), "name")
                yield Problem((*at, "name"), f"{peer.name!r} is the name of a node", other=node)
        yield from _peer_nodes(peer, at, nodes)
        mine = holders(peer, nodes)
        for before, earlier, theirs in held:
            if earlier.address == peer.address and mine & theirs:
                first: Path = ("bgp", "peers", before, "address")
                message = f"two peers have the address {peer.address}, and a node holds both"
                yield Problem((*at, "address"), message, ((*at, "nodes"), (*at, "node_selector")), other=first)
                break
        held.append((index, peer, mine))
        yield from _peer_address(peer, at, nodes, mine, mesh=bgp.mesh)


def _peer_nodes(peer: PeerEntry, at: Path, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
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


def _peer_address(
    peer: PeerEntry, at: Path, nodes: Sequence[NodeEntry], mine: frozenset[int], *, mesh: bool
) -> Iterator[Problem]:
    address = (*at, "address")
    for index, node in enumerate(nodes):
        if peer.address not in node.addresses:
            continue
        other: Path = ("nodes", index, "address" if peer.address.version == 4 else "address6")
        related: tuple[Path, ...] = ((*at, "nodes"), (*at, "node_selector"), ("bgp", "mesh"))
        if index in mine:
            message = f"found {peer.address}, expected another host's address: it is that of node {node.name!r}, "
            yield Problem(address, f"{message}which holds this session itself", related, other=other)
        elif mesh and mine:
            message = f"{peer.address} is the address of node {node.name!r}, which is a peer by the mesh already"
            yield Problem(address, message, related, other=other)
    version = peer.address.version
    lacking = [
        nodes[i].name
        for i in sorted(mine)
        if nodes[i].addresses and all(a.version != version for a in nodes[i].addresses)
    ]
    if lacking:
        names = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        yield Problem(address, f"no session from {names}: no IPv{version} address in this file", warning=True)
