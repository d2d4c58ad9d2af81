"""From a selection of paths to a route target, or to the reason why there is none.

Theory of operation: a target depends on the selection and on the pool's rule, never on the prefix itself, so it is
found once per (selection, rule) and shared by all prefixes that have both: a `Resolution`. When facts change, the
resolutions are found anew, which are few; only where one came out differently are its prefixes visited.

The rules. NEXT_HOP decides what is resolvable, and what crosses a subnet; the tunnel's end is the owner's address of
the node list, and without a known owner nothing is tunnelled. Hops that cannot be used leave the others in use.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from calicopy.fib.types import (
    FibPool,
    Hop,
    RouteKind,
    RouteTarget,
    Selected,
    SelectedPath,
    UnderlayAddress,
    Unprogrammed,
    UnprogrammedReason,
)
from calicopy.net import Encapsulation, EncapsulationMode, Family, IPAddress, Packed
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts
from calicopy.net.tunnel import tunnel_end, underlay_family

_START = itemgetter(slice(0, 3))


@dataclass(slots=True)
class Underlay:
    """All facts of the outside that decide on targets. `tunnels` are the ifindexes of the tunnel devices that work."""

    interfaces: Mapping[int, InterfaceFacts] = field(default_factory=dict)
    nodes: Mapping[int, tuple[UnderlayAddress, ...]] = field(default_factory=dict)
    next_hops: dict[IPAddress, NextHopFacts] = field(default_factory=dict)
    tunnels: Mapping[Encapsulation, int] = field(default_factory=dict)
    host_nodes: frozenset[IPAddress] = frozenset()
    family: Family = Family.IPV4
    """What VXLAN and udp travel over."""

    def set_nodes(self, nodes: Mapping[int, tuple[UnderlayAddress, ...]]) -> None:
        """Take the node list. A node that it knows as a host prefix (`host_nodes`) is in nobody's subnet."""
        self.nodes = dict(nodes)
        self.host_nodes = frozenset(
            known.address
            for addresses in self.nodes.values()
            for known in addresses
            if known.prefix_length == known.address.max_prefixlen
        )
        self.family = underlay_family([known.address for known in addresses] for addresses in self.nodes.values())


@dataclass(frozen=True, slots=True)
class NextHopKey:
    """A remote node under a pool's rule: what one nexthop object stands for, however the way to the node changes.

    `owner` is the node at the tunnel's end, None without encapsulation.
    """

    family: Family
    next_hop: IPAddress
    owner: int | None
    encapsulation: Encapsulation
    mode: EncapsulationMode

    def order(self) -> tuple[int, int, int, str, str]:
        """Puts keys in a fixed order."""
        return (
            self.next_hop.version, int(self.next_hop), self.owner or 0, self.encapsulation.value, self.mode.value
        )  # fmt: skip


Found = tuple[NextHopKey | None, Hop | Unprogrammed]
"""The key of a path (None where the path has no next hop at all), and its way out or why there is none."""


@dataclass(slots=True, eq=False)
class Resolution:
    """What a selection under a rule comes to; `excluded` has the reason of each path that is not used."""

    selection: Selected
    target: RouteTarget | None = None
    excluded: tuple[Unprogrammed, ...] = ()


@dataclass(slots=True, eq=False)
class Rule:
    """The encapsulation of one pool (or of what lies in no pool), with the resolutions found under it by selection id.

    A resolution holds its selection, so the id stays that selection's own.
    """

    encapsulation: Encapsulation
    mode: EncapsulationMode
    resolutions: dict[int, Resolution] = field(default_factory=dict)


class RuleIndex:
    """Finds the rule of a prefix: that of the pool which holds it, else plain routing. One family.

    Pools that say the same share a rule. Where more than one is left, the first 16 bits decide where every pool that
    meets them covers them whole, and are remembered; else the pools, which do not overlap, are tried one by one.
    """

    def __init__(self, family: Family, pools: Iterable[FibPool]) -> None:
        self._plain = Rule(Encapsulation.NONE, EncapsulationMode.ALWAYS)
        self._bits = family.bits
        shared = {(Encapsulation.NONE, mode): self._plain for mode in EncapsulationMode}
        self._pools = [
            (pool.prefix.length, pool.prefix.first >> (family.bits - pool.prefix.length), pool.prefix,
             shared.setdefault((pool.encapsulation, pool.mode), Rule(pool.encapsulation, pool.mode)))
            for pool in pools
            if pool.prefix.family is family
        ]
        self._rules = list({id(rule): rule for rule in shared.values()}.values())
        self._by_start: dict[bytes, Rule] = {}  # by a prefix's length and first two address octets

    def rules(self) -> list[Rule]:
        """Every rule there is."""
        return self._rules

    def split(self, prefixes: list[Packed]) -> list[tuple[Rule, list[Packed]]]:
        """`prefixes` by their rules: seldom more than one."""
        if len(self._rules) == 1:
            return [(self._plain, prefixes)]
        starts = set(map(_START, prefixes))
        for start in starts - self._by_start.keys():
            rule = None if start[0] < 16 else self._whole(start[1:])
            if rule is not None:
                self._by_start[start] = rule
        found = list({id(rule): rule for rule in map(self._by_start.get, starts)}.values())
        if len(found) == 1 and found[0] is not None:
            return [(found[0], prefixes)]
        groups: dict[int, tuple[Rule, list[Packed]]] = {}
        for packed in prefixes:
            rule = self._by_start.get(packed[:3]) or self.find(packed)
            groups.setdefault(id(rule), (rule, []))[1].append(packed)
        return list(groups.values())

    def find(self, packed: Packed) -> Rule:
        """The rule for a prefix."""
        rule = None if packed[0] < 16 else self._whole(packed[1:3])
        return rule or self._search(packed)

    def _whole(self, start: bytes) -> Rule | None:
        """The one rule for all prefixes within these 16 bits; None when they differ."""
        value = int.from_bytes(start.ljust(2, b"\0"), "big")
        for length, first, _, rule in self._pools:
            if length <= 16 and value >> (16 - length) == first:
                return rule
            if length > 16 and first >> (length - 16) == value:
                return None
        return self._plain

    def _search(self, packed: Packed) -> Rule:
        network, prefix_length = int.from_bytes(packed[1:].ljust(self._bits // 8, b"\0"), "big"), packed[0]
        for length, first, _, rule in self._pools:
            if prefix_length >= length and network >> (self._bits - length) == first:
                return rule
        return self._plain


def find_ways(selection: Selected, rule: Rule, family: Family, underlay: Underlay) -> list[Found]:
    """The key and the way of every path of `selection` under `rule`, best first."""
    return [(_key(path, rule, family), _hop(path, rule, family, underlay)) for path in selection.paths]


def _key(path: SelectedPath, rule: Rule, family: Family) -> NextHopKey | None:
    if path.next_hop is None:
        return None
    owner = None if rule.encapsulation is Encapsulation.NONE else path.owner
    return NextHopKey(family, path.next_hop, owner, rule.encapsulation, rule.mode)


def plain_target(found: Iterable[Found]) -> RouteTarget | None:
    """The target that carries its hops itself; None when no path has a way."""
    hops = {way for _, way in found if isinstance(way, Hop)}
    if not hops:
        return None
    return RouteTarget(RouteKind.UNICAST, tuple(sorted(hops, key=Hop.order)))


@dataclass(frozen=True, slots=True)
class Way:
    """How one selected path is taken to the kernel: the pool's rule, the next hop's facts, and what came of both.

    `crosses_subnet`: the next hop is outside the subnet of the interface that reaches it; False when it is not reached.
    """

    path: SelectedPath
    encapsulation: Encapsulation
    mode: EncapsulationMode
    facts: NextHopFacts | None
    crosses_subnet: bool
    outcome: Hop | Unprogrammed


def ways_of(selection: Selected, rule: Rule, family: Family, underlay: Underlay) -> tuple[Way, ...]:
    """For people: the way of each path of `selection`, with all that decided on it."""
    ways = []
    for path in selection.paths:
        facts = None if path.next_hop is None else underlay.next_hops.get(path.next_hop)
        crosses = facts is not None and facts.reachable and crosses_subnet(facts, underlay)
        outcome = _hop(path, rule, family, underlay)
        ways.append(Way(path, rule.encapsulation, rule.mode, facts, crosses, outcome))
    return tuple(ways)


def _hop(path: SelectedPath, rule: Rule, family: Family, underlay: Underlay) -> Hop | Unprogrammed:
    next_hop = path.next_hop
    facts = None if next_hop is None else underlay.next_hops.get(next_hop)
    if facts is None or not facts.reachable:
        return Unprogrammed(UnprogrammedReason.NEXT_HOP_UNREACHABLE, next_hop)
    if rule.encapsulation is not Encapsulation.NONE and (
        rule.mode is EncapsulationMode.ALWAYS or crosses_subnet(facts, underlay)
    ):
        return _tunnel_hop(path, rule.encapsulation, family, underlay)
    if not facts.on_link:
        return Unprogrammed(UnprogrammedReason.NOT_ON_LINK, next_hop)
    return Hop(next_hop, facts.ifindex)


def crosses_subnet(facts: NextHopFacts, underlay: Underlay) -> bool:
    """Whether the next hop is outside the prefix of the interface that reaches it."""
    if not facts.on_link or facts.address in underlay.host_nodes:
        return True
    interface = underlay.interfaces.get(facts.ifindex)
    return interface is None or not interface.holds(facts.address)


def _tunnel_hop(
    path: SelectedPath, encapsulation: Encapsulation, family: Family, underlay: Underlay
) -> Hop | Unprogrammed:
    """A hop through the tunnel to the owner. The gateway names the owner within the tunnel."""
    known = () if path.owner is None else underlay.nodes.get(path.owner, ())
    end = tunnel_end([one.address for one in known], encapsulation, underlay.family)
    if end is None:
        return Unprogrammed(UnprogrammedReason.NO_TUNNEL_ENDPOINT, path.next_hop, encapsulation=encapsulation)
    gateway, ifindex = end.gateway(family), underlay.tunnels.get(encapsulation)
    if gateway is None or ifindex is None:
        return Unprogrammed(UnprogrammedReason.TUNNEL_UNAVAILABLE, path.next_hop, encapsulation=encapsulation)
    return Hop(gateway, ifindex, onlink=True)
