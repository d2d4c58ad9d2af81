"""What must hold between the peers, the mesh and the nodes of the cluster file. Pure; the rules of `checks` hold here
too. `checks_peers` judges each peer by itself, this module what they are together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from calicopy.config.checks_bfd import check_bfd
from calicopy.config.checks_peers import check_peer, check_timers
from calicopy.config.checks_policy import check_policy
from calicopy.config.errors import Path
from calicopy.config.problems import FirstUse, Problem, few
from calicopy.config.sections import NodeEntry, PoolEntry
from calicopy.config.sections_bgp import BgpSection, PeerEntry
from calicopy.net import IPAddress


def check_bgp(
    bgp: BgpSection, nodes: Sequence[NodeEntry], pools: Sequence[PoolEntry], *, cluster_as: int
) -> Iterator[Problem]:
    """Problems of the `bgp` section, by itself and with the nodes. `cluster_as` is that of nodes that name none."""
    at: Path = ("bgp",)
    if bgp.hold_time_s == 0:
        yield Problem((*at, "hold_time_s"), "with 0 a peer that is gone is never noticed", warning=True)
    yield from check_timers(at, bgp.hold_time_s, bgp.keepalive_s)
    if bgp.graceful_restart_time_s == 0:
        yield Problem(
            (*at, "graceful_restart_time_s"), "with 0 peers drop our routes while the agent restarts", warning=True
        )
    if not bgp.mesh:
        by_selector = any(peer.peer_selector is not None for peer in bgp.peers)
        if bgp.mesh_password_file is not None and not by_selector:
            yield Problem((*at, "mesh_password_file"), "has no effect: the mesh is off", ((*at, "mesh"),), warning=True)
        for key, chain in (("mesh_import", bgp.mesh_import), ("mesh_export", bgp.mesh_export)):
            if chain:
                yield Problem((*at, key), "has no effect: the mesh is off", ((*at, "mesh"),), warning=True)
    yield from check_bfd(bgp)
    yield from _names(bgp, nodes)
    for index, peer in enumerate(bgp.peers):
        yield from check_peer(peer, (*at, "peers", index), bgp, nodes, cluster_as=cluster_as)
    yield from _Sessions(bgp, nodes, cluster_as).check()
    yield from check_policy(bgp, nodes, pools)


def _names(bgp: BgpSection, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    names = FirstUse("two peers have the name {!r}")
    known = {node.name: index for index, node in reversed(list(enumerate(nodes)))}
    for index, peer in enumerate(bgp.peers):
        path: Path = ("bgp", "peers", index, "name")
        if peer.name is not None:
            yield from names.use(peer.name, path)
            if peer.name in known:
                node: Path = ("nodes", known[peer.name], "name")
                yield Problem(path, f"{peer.name!r} is the name of a node", other=node)


@dataclass(slots=True)
class _Sessions:
    """All sessions of the file, by the nodes that hold them."""

    bgp: BgpSection
    nodes: Sequence[NodeEntry]
    cluster_as: int
    pairs: dict[tuple[int, int], int] = field(default_factory=dict)
    """Pairs of nodes (the lower index first) with the entry that makes them peers by selector."""
    to_address: dict[tuple[int, IPAddress], int] = field(default_factory=dict)
    """Nodes and the addresses that they peer with, with the entry."""

    by_address: dict[IPAddress, int] = field(default_factory=dict)
    """The nodes by their addresses."""

    def check(self) -> Iterator[Problem]:
        """Double sessions, sessions with oneself, reflectors that refuse each other, nodes that nobody hears."""
        self.by_address = {address: index for index, node in enumerate(self.nodes) for address in node.addresses}
        for entry, peer in enumerate(self.bgp.peers):
            if peer.peer_selector is not None:
                yield from self._selected(entry, peer)
        for entry, peer in enumerate(self.bgp.peers):
            if peer.address is not None and peer.peer_selector is None:
                yield from self._addressed(entry, peer, peer.address)
        yield from self._reflectors()
        yield from self._alone()

    def _holders(self, peer: PeerEntry) -> list[int]:
        return [index for index, node in enumerate(self.nodes) if peer.held_by(node.name, node.labels)]

    def _selected(self, entry: int, peer: PeerEntry) -> Iterator[Problem]:
        at: Path = ("bgp", "peers", entry)
        picked = [index for index, node in enumerate(self.nodes) if peer.picks(node.labels)]
        holders = self._holders(peer)
        mine = {(min(a, b), max(a, b)) for a in holders for b in picked if a != b}
        related: tuple[Path, ...] = ((*at, "nodes"), (*at, "node_selector"), ("nodes",))
        double = sorted(pair for pair in mine if pair in self.pairs)
        if double:
            one, two = (self.nodes[index].name for index in double[0])
            more = f" (and {len(double) - 1} more pairs)" if len(double) > 1 else ""
            other: Path = ("bgp", "peers", self.pairs[double[0]], "peer_selector")
            message = f"{one!r} and {two!r} are peers by another entry already{more}: a pair of nodes has one session"
            yield Problem((*at, "peer_selector"), message, related, other=other)
        if picked and holders and not mine:
            message = f"no session: {self.nodes[picked[0]].name!r} would peer with itself alone"
            yield Problem((*at, "peer_selector"), message, related, warning=True)
        self.pairs.update(dict.fromkeys(mine - self.pairs.keys(), entry))

    def _addressed(self, entry: int, peer: PeerEntry, address: IPAddress) -> Iterator[Problem]:
        at: Path = ("bgp", "peers", entry, "address")
        related: tuple[Path, ...] = ((*at[:-1], "nodes"), (*at[:-1], "node_selector"))
        holders = self._holders(peer)
        for index in holders:
            before = self.to_address.setdefault((index, address), entry)
            if before != entry:
                message = f"two peers have the address {address}, and a node holds both"
                yield Problem(at, message, related, other=("bgp", "peers", before, "address"))
                break
        node = self.by_address.get(address)
        if node is None:
            return
        other: Path = (
            "nodes",
            node,
            "address" if address.version == 4 else "address6",
        )
        name, related = self.nodes[node].name, (*related, ("bgp", "mesh"))
        selected = next((pair for i in holders if (pair := (min(i, node), max(i, node))) in self.pairs), None)
        if node in holders:
            message = f"found {address}, expected another host's address: it is that of node {name!r}, "
            yield Problem(at, f"{message}which holds this session itself", related, other=other)
        elif selected is not None:
            message = f"{address} is the address of node {name!r}, which is a peer by a `peer_selector` already"
            yield Problem(at, message, related, other=("bgp", "peers", self.pairs[selected], "peer_selector"))
        elif self.bgp.mesh and holders:
            message = f"{address} is the address of node {name!r}, which is a peer by the mesh already"
            yield Problem(at, message, related, other=other)

    def _joined(self) -> Iterator[tuple[int, int, int]]:
        """Pairs of nodes that peer besides the mesh, with the entry, in the nodes' order."""
        joined = {**self.pairs}
        for (index, address), entry in self.to_address.items():
            node = self.by_address.get(address)
            if node is not None and node != index:
                joined.setdefault((min(index, node), max(index, node)), entry)
        for pair, entry in sorted(joined.items()):
            yield *pair, entry

    def _reflectors(self) -> Iterator[Problem]:
        """Reflectors that refuse each other, that reflect to nobody, and those that are in another AS."""
        with_clients: set[int] = set()
        foreign: dict[int, list[str]] = {}
        for first, second, entry in self._joined():
            one, two = self.nodes[first], self.nodes[second]
            if one.route_reflector and two.route_reflector:
                yield from self._one_cluster(first, second, ("bgp", "peers", entry))
            elif one.route_reflector or two.route_reflector:
                with_clients.add(first if one.route_reflector else second)
                if (one.asn or self.cluster_as) != (two.asn or self.cluster_as):
                    foreign.setdefault(entry, []).append(f"{one.name} and {two.name}")
        for entry, names in foreign.items():
            message = f"no route reflection between {few(names)}: it is for one AS, and they have two"
            yield Problem(("bgp", "peers", entry), message, (("nodes",),), warning=True)
        for peer in self.bgp.peers:
            with_clients |= set(self._holders(peer)) if peer.route_reflector_client else set()
        for index, node in enumerate(self.nodes):
            path: Path = ("nodes", index)
            if node.route_reflector and index not in with_clients:
                message = "has no effect: no peer of this node is its client (see `peer_selector`)"
                yield Problem((*path, "route_reflector"), message, (("bgp", "peers"),), warning=True)
            if node.cluster_id is not None and not node.route_reflector:
                message = "has no effect: the node is no `route_reflector`"
                yield Problem((*path, "cluster_id"), message, ((*path, "route_reflector"),), warning=True)

    def _one_cluster(self, first: int, second: int, entry: Path) -> Iterator[Problem]:
        one, two = self.nodes[first], self.nodes[second]
        if one.effective_cluster_id is None or one.effective_cluster_id != two.effective_cluster_id:
            return
        message = (
            f"{two.name!r} and {one.name!r} are route reflectors of the cluster id {one.effective_cluster_id} and "
        )
        message += "peer: each refuses what the other reflects; give them two ids, or take their session out"
        where, other = (("nodes", index, "cluster_id") for index in (second, first))
        yield Problem(where, message, (entry,), warning=True, other=other)

    def _alone(self) -> Iterator[Problem]:
        if self.bgp.mesh or len(self.nodes) < 2:
            return
        if not self.bgp.peers:
            message = "the mesh is off and there are no peers: no node hears of another"
            yield Problem(("bgp",), message, warning=True)
            return
        reached = {index for pair in self.pairs for index in pair} | {index for index, _ in self.to_address}
        reached |= {self.by_address[address] for _, address in self.to_address if address in self.by_address}
        lonely = [node.name for index, node in enumerate(self.nodes) if index not in reached]
        if lonely:
            message = f"the mesh is off, and no peer is for {few(lonely)}: no session"
            yield Problem(("bgp", "peers"), message, (("nodes",), ("bgp", "mesh")), warning=True)
