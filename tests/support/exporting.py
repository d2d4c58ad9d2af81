"""An Adj-RIB-Out with a speaker behind it, for tests of what peers are told."""
from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from calicopy.net import Family, Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.policy import Action, AdvertiseScope, Chain, Filter, Rule
from calicopy.rib import AdjRibOut, ExportTarget, OutPeer, OwnCommunities

V4 = Family.IPV4
A, B, C = "10.244.1.0/26", "10.244.2.0/26", "10.244.3.0/26"
US = IPv4Address("10.0.0.1")
N2, N3, N4, N5 = (f"10.0.0.{number}" for number in range(2, 6))
TOR = "10.0.0.9"
NO_FILTERS = Chain(())
ALL = AdvertiseScope.ALL


def target(**parts: object) -> ExportTarget:
    values: dict = {"family": V4, "ibgp": True, "local_asn": 64512, "next_hop": US, "chain": NO_FILTERS, "scope": ALL}
    return ExportTarget(**{**values, **parts})


CLIENT = target(client=True)
NON_CLIENT = target()
EXTERNAL = target(ibgp=False)
MANY = target(client=True, add_path=True)


class Out:
    """An Adj-RIB-Out and a speaker: `held` is what it holds for each peer, whether the session is up or not."""

    def __init__(self, world) -> None:
        self.world = world
        self.out = AdjRibOut(world.rib)
        world.rib.set_next_hops({ip_address(TOR): NextHopFacts(ip_address(TOR), reachable=True)})
        self.held: dict[str, dict] = {}
        self.deltas: list = []
        self.told: list[tuple] = []
        self.done: set[str] = set()

    def up(self, peer: str, which: ExportTarget = CLIENT, router_id: int | None = None) -> None:
        address = ip_address(peer)
        self.out.join(OutPeer(peer, address, int(address) if router_id is None else router_id), [which])
        self.done.discard(peer)

    def run(self, limit: int = 1000) -> Out:
        """Until nothing is left; the deltas of this run are in `deltas`."""
        decisions = self.world.settle()
        self.out.judged(decisions.judged)
        self.deltas = []
        while True:
            deltas, _ = self.out.advance(limit)
            self._take(deltas)
            if not self.out.pending:
                break
        for peer in {*self.held, N2, N3, N4, N5, TOR}:
            done = False
            while not done:
                deltas, left, done = self.out.finish(peer, V4, limit)
                self._take(deltas)
                if left == limit:
                    break
            if done:
                self.done.add(peer)
        return self

    def _take(self, deltas) -> None:
        self.deltas += deltas
        for delta in deltas:
            for peer in delta.peers:
                held = self.held.setdefault(peer, {})
                for batch in delta.announce:
                    held.update({(batch.path_id, prefix): batch.attributes for prefix in batch.prefixes})
                for batch in delta.withdraw:
                    for prefix in batch.prefixes:
                        held.pop((batch.path_id, prefix), None)

    def hears(self, peer: str) -> dict:
        """(path id, prefix as text) to attributes; just the prefix without ADD-PATH."""
        found = {}
        for (path_id, packed), out in self.held.get(peer, {}).items():
            text = str(Prefix(V4, packed))
            found[(path_id, text) if path_id else text] = out
        return found

    def one(self, peer: str):
        """The attributes of the only prefix that a peer hears."""
        (found,) = self.hears(peer).values()
        return found.attributes

    def commands(self) -> list[tuple]:
        """(peers, how many announced, how many withdrawn) of the last run."""
        return [
            (delta.peers, sum(len(batch.prefixes) for batch in delta.announce),
             sum(len(batch.prefixes) for batch in delta.withdraw))
            for delta in self.deltas
        ]  # fmt: skip


def own(out: Out, *prefixes: str, **communities: object) -> None:
    out.out.set_own(V4, {out.world.packed(prefix): OwnCommunities(**communities) for prefix in prefixes})


def anycast(world, *numbers: int, prefix: str = "10.244.1.5/32") -> str:
    reflector = world.peer(N5, trust_owner=True, client=True)
    for path_id, number in enumerate(numbers, 1):
        world.announce(reflector, prefix, path_id=path_id, next_hop=f"10.0.0.{number}", med=number,
                       large_communities=(world.owner(2),))  # fmt: skip
    return prefix


def chain(*rules: Rule, default: Action | None = None) -> Chain:
    return Chain((Filter("f", rules, default),))
