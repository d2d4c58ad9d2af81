"""The tunnel devices that the node should have, and what became of them.

Theory of operation: whole desired set, compared with what was asked for last. Every encapsulation that the cluster
takes apart has its device on every node at all times, whether a pool uses it or not: so a pool can be switched while
the nodes read the new file one after the other. A device that pools use has an address of one of our own blocks of each
family, under a handle of its own, so that what the host itself sends to pods has a source that pods can answer. Its MTU
is the least of those of the ways to the other nodes, less the outer headers.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from calicopy.config.resolve import NodeConfig
from calicopy.core.commands import Command, SetTunnel
from calicopy.core.events import TunnelSet
from calicopy.ipam import TUNNEL_HANDLES, Ipam, IpamError
from calicopy.net import Decapsulation, Encapsulation, Family, IPAddress, Prefix
from calicopy.net.tunnel import TunnelEnd, overhead, tunnel_end, underlay_family

LEAST_MTU = {Family.IPV4: 576, Family.IPV6: 1280}
"""What every host takes (RFC 791, RFC 8200). With less the kernel has no IPv6 on a device at all."""


@dataclass(frozen=True, slots=True)
class TunnelState:
    """A tunnel device as it is; `error` says what of it is not as wanted."""

    ifindex: int | None
    error: str


class Tunnels:
    """Wanted and asked-for tunnel devices. `wanted` is what was asked for last, `states` what became of it."""

    def __init__(self, node: NodeConfig, *, emit: Callable[[Command], None]) -> None:
        self._emit = emit
        self.wanted: dict[Encapsulation, SetTunnel] = {}
        self.states: dict[Encapsulation, TunnelState] = {}
        self._asked: dict[Encapsulation, SetTunnel] = {}
        self._assigned: set[str] = set()  # handles, in this life: their addresses may not be on disk yet
        self.configure(node)

    def configure(self, node: NodeConfig) -> None:
        """Another cluster file, or the first."""
        self._node = node
        self.family = underlay_family(other.addresses for other in node.nodes)
        self.used = node.cluster.used_encapsulations
        self.taken = node.cluster.decapsulated
        for kept in (self.wanted, self.states, self._asked):
            for gone in kept.keys() - self.taken:
                del kept[gone]
        # Every round of the core asks, and there may be thousands of nodes: what the file alone decides is kept.
        self._ends = {one: self._find_ends(one) for one in self.taken}
        self._settings = {one: found for one in self.taken if (found := self._find_settings(one)) is not None}
        self._mtus: Mapping[IPAddress, int] | None = None
        self._least: dict[Encapsulation, int | None] = {}

    @property
    def ifindexes(self) -> dict[Encapsulation, int]:
        """The devices that routes may lead to."""
        return {one: state.ifindex for one, state in self.states.items() if state.ifindex is not None}

    @property
    def known(self) -> bool:
        """Whether the kernel has answered for every device that a pool uses."""
        return self.used <= self.states.keys()

    def problems(self) -> dict[str, str]:
        """What is wrong with devices that pools use, by name. What none uses may be missing: no kernel has all."""
        return {
            self.device(one): state.error for one, state in self.states.items() if one in self.used and state.error
        }

    def device(self, encapsulation: Encapsulation) -> str:
        """The name of its device."""
        return self._node.cluster.encapsulation.device(encapsulation)

    def overhead(self, encapsulation: Encapsulation) -> int:
        """Octets of its outer headers."""
        return overhead(encapsulation, Family.IPV4 if encapsulation is Encapsulation.IPIP else self.family)

    def end(self, encapsulation: Encapsulation, node: str) -> TunnelEnd | None:
        """Another node as its end; None when it has no address that the tunnel can lead to."""
        return self._ends[encapsulation].get(node)

    def decapsulations(self) -> tuple[Decapsulation, ...]:
        """What packets are taken apart here."""
        section = self._node.cluster.encapsulation
        each = {
            Encapsulation.IPIP: Decapsulation(Encapsulation.IPIP),
            Encapsulation.VXLAN: Decapsulation(Encapsulation.VXLAN, section.vxlan.port, section.vxlan.vni),
            Encapsulation.UDP: Decapsulation(Encapsulation.UDP, section.udp.port),
        }
        return tuple(wanted for one, wanted in each.items() if one in self.taken)

    def unused(self) -> tuple[str, ...]:
        """The kernel's tunnel devices that have to take no packet, since nobody keeps strangers out of them."""
        return tuple(self.device(one) for one in (Encapsulation.IPIP, Encapsulation.VXLAN) if one not in self.taken)

    def own_addresses(self, ipam: Ipam) -> frozenset[IPAddress]:
        """The addresses of our devices that pools use, as far as they are on disk."""
        handles = (TUNNEL_HANDLES[one] for one in self.used)
        return frozenset(
            record.address for handle in handles if handle not in self._assigned for record in ipam.held_by(handle)
        )

    def tunnel_set(self, event: TunnelSet) -> None:
        """The answer to `SetTunnel`."""
        if event.encapsulation in self.taken:
            self.states[event.encapsulation] = TunnelState(event.ifindex, event.error)

    def check_again(self) -> None:
        """Ask for all of them again: somebody may have changed them, or what was in the way is gone."""
        self._asked.clear()

    def advance(self, ipam: Ipam, mtus: Mapping[IPAddress, int], *, default_mtu: int) -> None:
        """Compare and ask. `mtus`: of the way to each node's address, in octets; `default_mtu` where there is none."""
        for one in sorted(self.taken, key=lambda encapsulation: encapsulation.value):
            if one in self.used:
                self._assign(one, ipam)
            wanted = self._wanted(one, ipam, mtus, default_mtu)
            if wanted is not None and self._asked.get(one) != wanted:
                self.wanted[one] = self._asked[one] = wanted
                self._emit(wanted)

    def _wanted(
        self, one: Encapsulation, ipam: Ipam, mtus: Mapping[IPAddress, int], default_mtu: int
    ) -> SetTunnel | None:
        handle = TUNNEL_HANDLES[one]
        held = [record.address for record in ipam.held_by(handle)]
        if handle in self._assigned:
            if not ipam.in_flight and not ipam.has_changes:
                self._assigned.discard(handle)
            elif one in self.wanted:
                return None
            else:
                held = []  # it is used when it is on disk
        if one not in self._settings:
            return None
        mtu = (self._narrowest(one, mtus) or default_mtu) - self.overhead(one)
        return replace(
            self._settings[one],
            mtu=max(mtu, self._least_mtu(one)),
            addresses=tuple(sorted(held, key=lambda address: address.version)),
        )

    def _narrowest(self, one: Encapsulation, mtus: Mapping[IPAddress, int]) -> int | None:
        """The least MTU of the ways to its ends. `mtus` is another object when one of them has changed."""
        if mtus is not self._mtus:
            self._mtus = mtus
            self._least = {
                taken: min((mtu for end in ends.values() if (mtu := mtus.get(end.address))), default=None)
                for taken, ends in self._ends.items()
            }
        return self._least[one]

    def _find_settings(self, one: Encapsulation) -> SetTunnel | None:
        """All of it that the file decides; None where we have no address to be an end with."""
        own = tunnel_end(self._node.addresses, one, self.family)
        if own is None:
            return None
        section = self._node.cluster.encapsulation
        port = section.vxlan.port if one is Encapsulation.VXLAN else section.udp.port
        return SetTunnel(
            encapsulation=one,
            device=self.device(one),
            mtu=0,
            local=own.address,
            ends=tuple(self._ends[one].values()),
            port=0 if one is Encapsulation.IPIP else port,
            vni=section.vxlan.vni if one is Encapsulation.VXLAN else 0,
        )

    def _least_mtu(self, one: Encapsulation) -> int:
        carries = {pool.cidr.family for pool in self._node.cluster.pools if pool.encapsulation is one}
        return max(LEAST_MTU[family] for family in {Family.IPV4, *carries})

    def _find_ends(self, one: Encapsulation) -> dict[str, TunnelEnd]:
        others = (other for other in self._node.nodes if other.name != self._node.name)
        ends = {other.name: tunnel_end(other.addresses, one, self.family) for other in others}
        return {name: end for name, end in ends.items() if end is not None}

    def _assign(self, one: Encapsulation, ipam: Ipam) -> None:
        """One of each family that its pools have: from such a pool where we may, else from any pool."""
        handle = TUNNEL_HANDLES[one]
        held = {Prefix.host(record.address).family for record in ipam.held_by(handle)}
        families = {pool.cidr.family for pool in self._node.cluster.pools if pool.encapsulation is one}
        for family in sorted(families - held):
            if _has_block(ipam, family):
                mine = [pool for pool in self._node.pools if pool.encapsulation is one and pool.cidr.family is family]
                self._assign_one(handle, family, ipam, [pool.label for pool in mine])

    def _assign_one(self, handle: str, family: Family, ipam: Ipam, pools: Sequence[str | None]) -> None:
        for label in pools or [None]:
            with suppress(IpamError):  # none is free yet: the next round asks again
                ipam.assign(handle, family=family, pool=label)
                self._assigned.add(handle)
                return


def _has_block(ipam: Ipam, family: Family) -> bool:
    return any(prefix.family is family and not prefix.is_host for prefix in ipam.announcements())
