"""Neighbor entries (address to MAC) and forwarding entries of a VXLAN device (MAC to remote node).

Numbers are those of linux/neighbour.h. All entries of a device of ours are ours, but for what the kernel itself makes
of multicast addresses.
"""
from __future__ import annotations

import socket as sockets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    U32,
    NetlinkSocket,
    address_of,
    attribute,
    attributes,
    is_unsupported,
    message,
)
from calicopy.net import IPAddress, Prefix

NDMSG = struct.Struct("=BxxxiHBB")
"""ndmsg: family, interface index, state, flags, type."""
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_NTF_SELF = 0x02
_NUD_PERMANENT = 0x80
_BRIDGE = int(getattr(sockets, "AF_BRIDGE", 7))


@dataclass(frozen=True, slots=True)
class Neighbor:
    """Packets to `address` go to `mac` (6 octets); or, as a forwarding entry, frames to `mac` go to node `address`."""

    address: IPAddress
    mac: bytes
    forwarding: bool = False
    permanent: bool = True

    def __str__(self) -> str:
        if self.forwarding:
            return f"{self.mac.hex(':')} dst {self.address}"
        return f"{self.address} lladdr {self.mac.hex(':')}"


def neighbors(socket: NetlinkSocket, ifindex: int) -> set[Neighbor]:
    """All entries of the device: forwarding entries, and neighbors of both families but for multicast ones."""
    found = set(_dump(socket, _BRIDGE, ifindex))
    for number in ADDRESS_FAMILY.values():
        found.update(_dump(socket, number, ifindex))
    return found


def _dump(socket: NetlinkSocket, number: int, ifindex: int) -> Iterator[Neighbor]:
    forwarding = number == _BRIDGE
    # The filter is taken from the header for forwarding entries, and from an attribute for neighbors.
    body = NDMSG.pack(number, ifindex if forwarding else 0, 0, 0, 0)
    if not forwarding:
        body += attribute(_NDA_IFINDEX, U32.pack(ifindex))
    request = message(RTM_GETNEIGH, 0, body)
    try:
        answers = list(socket.ask(request, flags=NLM_F_DUMP, what=f"neighbors of interface {ifindex}"))
    except OSError as error:
        if is_unsupported(error):
            return
        raise
    for kind, data, start, end in answers:
        family, index, state, _, _ = NDMSG.unpack_from(data, start)
        held = attributes(data, start + NDMSG.size, end)
        # An old kernel filters nothing.
        if kind != RTM_NEWNEIGH or index != ifindex or family != number or not {_NDA_DST, _NDA_LLADDR} <= held.keys():
            continue
        one = Neighbor(address_of(held[_NDA_DST]), held[_NDA_LLADDR], forwarding, bool(state & _NUD_PERMANENT))
        if forwarding or not one.address.is_multicast:
            yield one


def set_neighbors(socket: NetlinkSocket, ifindex: int, wanted: Iterable[Neighbor]) -> int:
    """Bring the entries of the device to exactly these; how many changes that took. NetlinkError for the first refused.

    Entries that are not permanent go by themselves, and are left.
    """
    held, made = neighbors(socket, ifindex), 0
    desired = set(wanted)
    keys = {_key(one) for one in desired}
    for one in sorted(held - desired, key=str):
        if one.permanent and _key(one) not in keys:
            _change(socket, RTM_DELNEIGH, 0, ifindex, one)
            made += 1
    for one in sorted(desired - held, key=str):
        _change(socket, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ifindex, one)
        made += 1
    return made


def _key(one: Neighbor) -> tuple[bool, object]:
    """What there is one entry for."""
    return one.forwarding, one.mac if one.forwarding else one.address


def _change(socket: NetlinkSocket, kind: int, flags: int, ifindex: int, one: Neighbor) -> None:
    number = _BRIDGE if one.forwarding else ADDRESS_FAMILY[Prefix.host(one.address).family]
    body = NDMSG.pack(number, ifindex, _NUD_PERMANENT, _NTF_SELF if one.forwarding else 0, 0)
    body += attribute(_NDA_DST, one.address.packed) + attribute(_NDA_LLADDR, one.mac)
    verb = "removal" if kind == RTM_DELNEIGH else "entry"
    socket.request(message(kind, flags, body), what=f"{verb} of {one} on interface {ifindex}")
