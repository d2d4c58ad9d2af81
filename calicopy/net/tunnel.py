"""The ends of tunnels between nodes: which address, which MAC, which gateway stands for a node, and what it costs.

Theory of operation: everything follows from the addresses of the cluster file, so that every node knows every other
one's without being told. VXLAN and udp have one underlay family in the whole cluster, since a device has one; IPIP is
IPv4 in IPv4. A route through a tunnel needs a gateway of its own family: for IPv4 the node's IPv4 address, for IPv6 the
link-local address that the node's MAC address makes.
"""
from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from calicopy.net.encapsulation import Encapsulation
from calicopy.net.family import Family
from calicopy.net.prefix import IPAddress

IPIP_DEVICE = "tunl0"
"""The IPIP device: the kernel's own name for the one that takes what no other tunnel claims."""
_OUTER_IP = {Family.IPV4: 20, Family.IPV6: 40}
_INSIDE_IP = {Encapsulation.NONE: 0, Encapsulation.IPIP: 0, Encapsulation.VXLAN: 8 + 8 + 14, Encapsulation.UDP: 8}
"""Octets between the outer IP header and the packet: UDP (RFC 768), VXLAN and the inner Ethernet header (RFC 7348)."""
_LINK_LOCAL = 0xFE80 << 112
_FLIPPED = 0x02  # the universal/local bit, which an interface identifier has the other way round


@dataclass(frozen=True, slots=True)
class TunnelEnd:
    """A node as the end of a tunnel: the outer address, and the gateway of routes that lead there, by family."""

    address: IPAddress
    gateway4: IPv4Address | None
    gateway6: IPv6Address | None

    @property
    def mac(self) -> bytes:
        """The MAC address of its VXLAN device, 6 octets."""
        return vtep_mac(self.address)

    def gateway(self, family: Family) -> IPAddress | None:
        """The gateway of routes of this family; None where the tunnel carries none."""
        return self.gateway4 if family is Family.IPV4 else self.gateway6


def overhead(encapsulation: Encapsulation, underlay: Family) -> int:
    """Octets that the encapsulation adds to each packet, over this underlay."""
    if encapsulation is Encapsulation.NONE:
        return 0
    return _OUTER_IP[underlay] + _INSIDE_IP[encapsulation]


def underlay_family(nodes: Iterable[Collection[IPAddress]]) -> Family:
    """What VXLAN and udp travel over, from every node's addresses: IPv4, unless a node has only IPv6."""
    for addresses in nodes:
        if addresses and all(address.version == 6 for address in addresses):
            return Family.IPV6
    return Family.IPV4


def tunnel_end(addresses: Iterable[IPAddress], encapsulation: Encapsulation, underlay: Family) -> TunnelEnd | None:
    """The node with these addresses as an end; None when it has none that the tunnel can lead to."""
    own = list(addresses)
    first4 = next((address for address in own if isinstance(address, IPv4Address)), None)
    if encapsulation is Encapsulation.IPIP:
        return None if first4 is None else TunnelEnd(first4, first4, None)
    version = 4 if underlay is Family.IPV4 else 6
    outer = next((address for address in own if address.version == version), None)
    return None if outer is None else TunnelEnd(outer, first4, link_local(vtep_mac(outer)))


def vtep_mac(address: IPAddress) -> bytes:
    """The MAC address of a node's VXLAN device: locally administered, the same wherever it is worked out.

    02:ca and the IPv4 address; or 06 and a digest of the IPv6 address, which is longer than a MAC address.
    """
    if isinstance(address, IPv4Address):
        return b"\x02\xca" + address.packed
    return b"\x06" + hashlib.blake2b(address.packed, digest_size=5).digest()


def link_local(mac: bytes) -> IPv6Address:
    """The link-local address that a MAC address makes (RFC 4291 appendix A)."""
    identifier = bytes((mac[0] ^ _FLIPPED, *mac[1:3], 0xFF, 0xFE, *mac[3:]))
    return IPv6Address(_LINK_LOCAL | int.from_bytes(identifier, "big"))
