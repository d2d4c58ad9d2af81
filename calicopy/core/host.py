"""What the host itself needs for the routes: next hops to resolve, tunnels, forwarding, masquerading, and MTUs.

Theory of operation: whole desired sets, compared with what was asked for last. `check_again` asks for what no event
keeps true: those who carry it out look first, and change what differs.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from calicopy.config.resolve import NodeConfig
from calicopy.core.commands import Command, ResolveNextHops, SetHost, SetWorkloadMtu
from calicopy.core.tunnel_probes import TunnelProbes
from calicopy.core.tunnels import Tunnels
from calicopy.fib import ForeignRoute
from calicopy.ipam import Ipam
from calicopy.net import Family, IPAddress, Packed
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

DEFAULT_MTU = 1500


class Host:
    """Wanted and asked-for state of the host. `facts` are the latest about next hops and the other nodes."""

    def __init__(self, node: NodeConfig, *, emit: Callable[[Command], None]) -> None:
        self._emit = emit
        self.interfaces: tuple[InterfaceFacts, ...] = ()
        self.facts: dict[IPAddress, NextHopFacts] = {}
        self.problems: dict[str, dict[str, str]] = {}
        self.foreign: Mapping[Family, Mapping[Packed, ForeignRoute]] = {}  # what goes before ours, if we have it
        self.had_routes = False
        self.tunnels = Tunnels(node, emit=emit)
        self.probes = TunnelProbes(node, emit=emit)
        self._resolving: frozenset[IPAddress] | None = None
        self._asked: SetHost | None = None
        self._mtu: int | None = None  # of workloads, as asked for last
        self.configure(node)

    def configure(self, node: NodeConfig) -> None:
        """Another cluster file, or the first."""
        self._node = node
        # As last found; None: to be found anew. Every round of the core asks, and there may be thousands of nodes.
        self._underlay: tuple[InterfaceFacts, ...] | None = None
        self._ways: dict[IPAddress, int] | None = None
        self._complete = False  # whether there are facts of all nodes, as `_ways` was found
        self._nodes = frozenset(
            address for other in node.nodes if other.name != node.name for address in other.addresses
        )
        self.tunnels.configure(node)
        self.probes.configure(node)
        pools = node.cluster.pools
        self._settings = SetHost(
            underlay=(),
            nat_pools=tuple(pool.cidr for pool in pools if pool.nat_outgoing),
            nat_exempt=(*(pool.cidr for pool in pools), *node.cluster.nat_exclude),
            guarded=self.tunnels.decapsulations(),
            senders=tuple(sorted(self._nodes, key=lambda address: (address.version, int(address)))),
            unused=self.tunnels.unused(),
        )

    def has_addresses(self, addresses: Collection[IPAddress]) -> bool:
        """Whether all of `addresses` are on interfaces of this host, and can be used."""
        held = {address for interface in self.interfaces for address, _ in interface.addresses}
        tentative = {address for interface in self.interfaces for address in interface.tentative}
        return (held - tentative).issuperset(addresses)

    def interfaces_changed(self, interfaces: tuple[InterfaceFacts, ...]) -> None:
        """All interfaces, as they are now."""
        self.interfaces = interfaces
        self._underlay = self._ways = None

    def next_hops_resolved(self, facts: Mapping[IPAddress, NextHopFacts]) -> None:
        """What is known of these next hops now."""
        self.facts.update(facts)
        self._underlay = self._ways = None

    def check_again(self) -> None:
        """Ask for tunnels and settings again: somebody may have changed them, or what was in the way is gone."""
        self._asked = None
        self.tunnels.check_again()

    def is_known(self) -> bool:
        """Whether the kernel has answered all that the routes depend on: interfaces, next hops, tunnels."""
        if not self.interfaces or self._resolving is None or not self._resolving <= self.facts.keys():
            return False
        return self.tunnels.known

    def advance(self, next_hops: Collection[IPAddress], ipam: Ipam) -> None:
        """Compare and ask."""
        wanted = self._nodes | frozenset(next_hops)
        if wanted != self._resolving:
            self._resolving = wanted
            self._emit(ResolveNextHops(wanted))
        self._set_host()
        self.probes.advance(self.tunnels.own_addresses(ipam))
        mtus = self._mtus()
        if self.interfaces and self._complete:
            # before the way to the nodes is known, a start would set an MTU that is not the right one
            self.tunnels.advance(ipam, mtus, default_mtu=self._underlay_mtu())
            self._set_workload_mtu()

    @property
    def underlay(self) -> tuple[InterfaceFacts, ...]:
        """The interfaces that lead to the other nodes, and those that hold our own addresses."""
        if self._underlay is None:
            used = {self.facts[address].ifindex for address in self._nodes if address in self.facts}
            own = set(self._node.addresses)
            self._underlay = tuple(
                interface
                for interface in self.interfaces
                if interface.ifindex in used or any(address in own for address, _ in interface.addresses)
            )
        return self._underlay

    def _set_host(self) -> None:
        if not self.interfaces:
            return
        underlay = tuple(sorted(interface.name for interface in self.underlay if not interface.loopback))
        wanted = replace(self._settings, underlay=underlay)
        if wanted != self._asked:
            self._asked = wanted
            self._emit(wanted)

    def _set_workload_mtu(self) -> None:
        """While no interface leads anywhere it stays as it is: it would only change back."""
        if any(not interface.loopback for interface in self.underlay) and self.workload_mtu != self._mtu:
            self._mtu = self.workload_mtu
            self._emit(SetWorkloadMtu(self._mtu))

    @property
    def workload_mtu(self) -> int:
        """The least of all ways that pods' packets take, in octets: directly, and through the tunnels of the pools."""
        ways = [self._underlay_mtu(), *self._mtus().values()]
        least = min(ways) - max((self.tunnels.overhead(one) for one in self.tunnels.used), default=0)
        devices = [self.tunnels.wanted[one].mtu for one in self.tunnels.used & self.tunnels.wanted.keys()]
        return min(least, *devices) if devices else least

    def _underlay_mtu(self) -> int:
        return min((interface.mtu for interface in self.underlay if not interface.loopback), default=DEFAULT_MTU)

    def _mtus(self) -> dict[IPAddress, int]:
        """The MTU of the way to each node's address, where there is one; the same object until one changes."""
        if self._ways is None:
            links = {interface.ifindex: interface.mtu for interface in self.interfaces}
            ways = (self.facts[address] for address in self._nodes if address in self.facts)
            reached = (way for way in ways if way.reachable)
            self._complete = self._nodes <= self.facts.keys()
            self._ways = {way.address: mtu for way in reached if (mtu := way.mtu or links.get(way.ifindex, 0))}
        return self._ways


def loopback_problems(interfaces: Collection[InterfaceFacts]) -> dict[str, str]:
    """What is wrong with the loopback interface: the kernel has no blackhole nexthop objects while it is down."""
    text = "is down, so that no next hop that is gone can be taken out of use; set it up: `ip link set {} up`"
    return {one.name: text.format(one.name) for one in interfaces if one.loopback and not one.up}
