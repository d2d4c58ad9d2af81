"""What the host itself needs for the routes: next hops to resolve, the tunnel, forwarding, masquerading.

Theory of operation: whole desired sets, compared with what was asked for last. The tunnel device is wanted when a pool
encapsulates; its address is one of our own blocks' under a handle of its own, and its MTU that of the interface that
really leads to the other nodes, less the outer header. `check_again` asks for what no event keeps true: those who carry
it out look first, and change what differs.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

from calicopy.config.resolve import NodeConfig
from calicopy.core.commands import Command, ResolveNextHops, SetHost, SetTunnel
from calicopy.core.events import TunnelSet
from calicopy.ipam import TUNNEL_HANDLE, Ipam, IpamError
from calicopy.net import Decapsulation, Encapsulation, Family, IPAddress, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

IPIP_OVERHEAD = 20  # octets of the outer IPv4 header (RFC 2003 section 3.1)
DEFAULT_MTU = 1500
TUNNEL_DEVICE = "tunl0"


@dataclass(frozen=True, slots=True)
class TunnelState:
    """The tunnel device as it is; `error` says why it is not as wanted."""

    ifindex: int | None
    error: str


class Host:
    """Wanted and asked-for state of the host. `facts` are the latest about next hops and the other nodes."""

    def __init__(self, node: NodeConfig, *, emit: Callable[[Command], None]) -> None:
        self._emit = emit
        self.interfaces: tuple[InterfaceFacts, ...] = ()
        self.facts: dict[IPAddress, NextHopFacts] = {}
        self.problems: dict[str, dict[str, str]] = {}
        self.had_routes = False
        self.tunnel: TunnelState | None = None
        self.tunnel_wanted: SetTunnel | None = None
        self._tunnel_assigned = False  # in this life: it may not be on disk yet
        self._resolving: frozenset[IPAddress] | None = None
        self._asked: SetHost | None = None
        self.configure(node)

    def configure(self, node: NodeConfig) -> None:
        """Another cluster file, or the first. A tunnel that nothing needs any more stays as it is: it does no harm."""
        self._node = node
        self._underlay: tuple[InterfaceFacts, ...] | None = None  # as last found; None: to be found anew
        self._nodes = frozenset(
            address for other in node.nodes if other.name != node.name for address in other.addresses
        )
        self.needs_tunnel = any(pool.encapsulation is Encapsulation.IPIP for pool in node.cluster.pools)

    def has_addresses(self, addresses: Collection[IPAddress]) -> bool:
        """Whether all of `addresses` are on interfaces of this host."""
        held = {address for interface in self.interfaces for address, _ in interface.addresses}
        return held.issuperset(addresses)

    def interfaces_changed(self, interfaces: tuple[InterfaceFacts, ...]) -> None:
        """All interfaces, as they are now."""
        self.interfaces, self._underlay = interfaces, None

    def next_hops_resolved(self, facts: Mapping[IPAddress, NextHopFacts]) -> None:
        """What is known of these next hops now."""
        self.facts.update(facts)
        self._underlay = None

    def tunnel_set(self, event: TunnelSet) -> None:
        """The answer to `SetTunnel`."""
        self.tunnel = TunnelState(event.ifindex, event.error)

    def check_again(self) -> None:
        """Ask for the tunnel and the settings again: somebody may have changed them, or what was in the way is gone."""
        self.tunnel_wanted = self._asked = None

    def is_known(self, ipam: Ipam) -> bool:
        """Whether the kernel has answered all that the routes depend on: interfaces, next hops, the tunnel."""
        if not self.interfaces or self._resolving is None or not self._resolving <= self.facts.keys():
            return False
        return not self.needs_tunnel or self.tunnel is not None or not _has_block(ipam)

    def advance(self, next_hops: Collection[IPAddress], ipam: Ipam) -> None:
        """Compare and ask."""
        wanted = self._nodes | frozenset(next_hops)
        if wanted != self._resolving:
            self._resolving = wanted
            self._emit(ResolveNextHops(wanted))
        self._set_host()
        if self.needs_tunnel:
            self._set_tunnel(ipam)

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
        pools = self._node.cluster.pools
        wanted = SetHost(
            underlay=tuple(sorted(interface.name for interface in self.underlay if not interface.loopback)),
            nat_pools=tuple(pool.cidr for pool in pools if pool.nat_outgoing),
            nat_exempt=(*(pool.cidr for pool in pools), *self._node.cluster.nat_exclude),
            guarded=(Decapsulation(Encapsulation.IPIP),) if self.needs_tunnel else (),
            senders=tuple(Prefix.host(address) for address in sorted(self._nodes, key=str)),
        )
        if wanted != self._asked:
            self._asked = wanted
            self._emit(wanted)

    def _set_tunnel(self, ipam: Ipam) -> None:
        held = [each.address for each in ipam.held_by(TUNNEL_HANDLE) if isinstance(each.address, IPv4Address)]
        if not held:
            if _has_block(ipam):
                self._assign_tunnel_address(ipam)
            return  # it is used when it is on disk
        if self._tunnel_assigned and (ipam.in_flight or ipam.has_changes):
            return
        links = [interface.mtu for interface in self.underlay if not interface.loopback]
        if not links or not self._nodes <= self.facts.keys():
            return  # before the way to the nodes is known, a start would set an MTU that is not the right one
        self._tunnel_assigned = False
        wanted = SetTunnel(held[0], min(links) - IPIP_OVERHEAD)
        if wanted != self.tunnel_wanted:
            self.tunnel_wanted = wanted
            self._emit(wanted)

    def _assign_tunnel_address(self, ipam: Ipam) -> None:
        """From a pool that is encapsulated, where we have one: what the host itself sends to pods bears this source."""
        pools = [pool for pool in self._node.pools if pool.cidr.family is Family.IPV4]
        tunnelled: list[str | None] = [pool.label for pool in pools if pool.encapsulation is Encapsulation.IPIP]
        for label in tunnelled or [None]:
            with suppress(IpamError):  # none is free yet: the next round asks again
                ipam.assign(TUNNEL_HANDLE, family=Family.IPV4, pool=label)
                self._tunnel_assigned = True
                return


def _has_block(ipam: Ipam) -> bool:
    return any(prefix.family is Family.IPV4 and not prefix.is_host for prefix in ipam.announcements())
