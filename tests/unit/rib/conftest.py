"""A cluster of five nodes in one rack, seen from the first: short words for what peers do and for what became of it."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest
from exporting import Out

from calicopy.bgp import AsPath, NlriBatch, PathAttributes, Update
from calicopy.net import Family, Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.rib import Decisions, Holder, NodeFacts, PeerInfo, PoolFacts, Rib, RibContext

AS = 64512


def node_address(number: int) -> IPv4Address:
    return IPv4Address(f"10.0.0.{number}")


def packed(text: str) -> bytes:
    return Prefix.parse(text).packed


class World:
    """We are node 1, 10.0.0.1, router id the same; pool 10.244.0.0/16 in blocks of /26 and fd00:10::/64 in /122."""

    def __init__(self) -> None:
        self.nodes = {
            int(node_address(n)): NodeFacts(f"n{n}", int(node_address(n)), AS, frozenset({node_address(n)}))
            for n in range(1, 6)
        }
        self.context = RibContext(
            local_as=AS,
            cluster_as=AS,
            router_id=self.id(1),
            cluster_id=self.id(1),
            own_addresses=frozenset({node_address(1), ip_address("192.0.2.1")}),
            pools=(PoolFacts(Prefix.parse("10.244.0.0/16"), 26), PoolFacts(Prefix.parse("fd00:10::/64"), 122)),
            nodes=self.nodes,
        )
        self.rib = Rib(self.context)
        self.rib.set_next_hops({node_address(n): NextHopFacts(node_address(n), reachable=True) for n in range(2, 6)})

    @staticmethod
    def id(number: int) -> int:
        return int(node_address(number))

    @staticmethod
    def packed(text: str) -> bytes:
        return packed(text)

    def owner(self, number: int) -> tuple[int, int, int]:
        return (AS, 1, self.id(number))

    def node_peer(self, number: int, **changes: object) -> PeerInfo:
        """A session with a node of the cluster file is up."""
        address = node_address(number)
        info = PeerInfo(str(address), f"n{number}", address, AS, AS, int(address), node=f"n{number}")
        info = replace(info, **changes)
        self.rib.peer_up(info)
        return info

    def peer(self, address: str, *, asn: int = AS, **changes: object) -> PeerInfo:
        """A session with something that is no node is up."""
        ip = ip_address(address)
        router_id = int(ip) if ip.version == 4 else 9
        info = replace(PeerInfo(address, address, ip, asn, AS, router_id), **changes)
        self.rib.peer_up(info)
        return info

    def announce(
        self, peer: PeerInfo, *prefixes: str, next_hop: str | None = "", path_id: int | None = None,
        as_path: tuple[int, ...] | None = None, **attributes: object,
    ) -> None:  # fmt: skip
        """`peer` announces prefixes; by default its own address is the next hop, and an external one's AS the path."""
        hop = peer.address if next_hop == "" else None if next_hop is None else ip_address(next_hop)
        if as_path is None:
            as_path = () if peer.ibgp else (peer.asn,)
        family = Prefix.parse(prefixes[0]).family
        nlri = [packed(prefix) for prefix in prefixes]
        batch = NlriBatch(family, nlri, None if path_id is None else [path_id] * len(nlri), hop)
        values = PathAttributes(as_path=AsPath.sequence(*as_path), **attributes)
        self.rib.update(peer.key, Update(announced=(batch,), attributes=values))

    def withdraw(self, peer: PeerInfo, *prefixes: str, path_id: int | None = None) -> None:
        nlri = [packed(prefix) for prefix in prefixes]
        family = Prefix.parse(prefixes[0]).family
        batch = NlriBatch(family, nlri, None if path_id is None else [path_id] * len(nlri))
        self.rib.update(peer.key, Update(withdrawn=(batch,)))

    def own(self, *blocks: str, used: tuple[str, ...] = ()) -> None:
        self.rib.set_own(Family.IPV4, [packed(block) for block in blocks], [packed(host) for host in used])

    def hold(self, block: str, number: int | None, *, pinned: bool = False) -> None:
        holder = None if number is None else Holder(self.id(number), pinned)
        self.rib.set_holders(Family.IPV4, {packed(block): holder})

    def settle(self, limit: int = 1000) -> Decisions:
        """Decide until nothing is left; all slices as one."""
        total = Decisions()
        while True:
            slice_ = self.rib.decide(limit)
            for family, changes in slice_.changes.items():
                total.changes.setdefault(family, []).extend(changes)
            for family, judged in slice_.judged.items():
                total.judged.setdefault(family, []).extend(judged)
            total.owners_seen += slice_.owners_seen
            total.conflicts += slice_.conflicts
            total.conflicts_over += slice_.conflicts_over
            total.limits += slice_.limits
            if not slice_.more:
                return total

    def views(self, prefix: str) -> list:
        self.settle()
        parsed = Prefix.parse(prefix)
        return list(self.rib.lookup(parsed.family, parsed.packed))

    def states(self, prefix: str) -> dict[str, str]:
        """Peer key (with `#path id` where it is not 0) to `best`, `multipath`, or `state: step or reason`."""
        found = {}
        for view in self.views(prefix):
            why = view.step or view.reason
            key = view.path.peer.key + (f"#{view.path.path_id}" if view.path.path_id else "")
            found[key] = view.state.value if why is None else f"{view.state.value}: {why.value}"
        return found

    def state(self, prefix: str) -> str:
        """The state of the only path of a prefix."""
        (state,) = self.states(prefix).values()
        return state

    def best(self, prefix: str) -> str | None:
        """The peer key of the best path."""
        self.settle()
        parsed = Prefix.parse(prefix)
        selection = self.rib.selection(parsed.family, parsed.packed)
        return None if selection is None else selection.best.peer.key


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def out(world: World) -> Out:
    return Out(world)
