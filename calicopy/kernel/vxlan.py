"""The VXLAN device (RFC 7348), and the entries that lead to every other node.

Theory of operation: nothing is learned and nothing is flooded. Every node's device has a MAC address that follows from
the node's address (`net.tunnel`), so each node can write, for every other one, a neighbor entry (gateway to MAC) and a
forwarding entry (MAC to node). The name of the device is ours alone: whatever is on it is ours, and so is a VXLAN
device of that name, or with our anchor. What cannot be changed on it (VNI, port, local address) has it made anew, with
another index; a device of another kind is left alone. Numbers are those of linux/if_link.h.
"""
from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace

from calicopy.kernel.links import interfaces
from calicopy.kernel.linkset import LinkChanges
from calicopy.kernel.neighbors import Neighbor, set_neighbors
from calicopy.kernel.netlink import (
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    NLM_F_DUMP,
    RTM_GETLINK,
    RTM_NEWLINK,
    U32,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attributes,
    message,
)
from calicopy.kernel.tunnel import ANCHOR, TunnelSpec, TunnelStatus, bring_up, find_link, not_set
from calicopy.net import IPAddress
from calicopy.net.interface import InterfaceFacts
from calicopy.net.tunnel import TunnelEnd, vtep_mac

_ID, _GROUP, _LINK, _LOCAL, _LEARNING, _PORT, _GROUP6, _LOCAL6 = 1, 2, 3, 4, 7, 15, 16, 17
_UDP_CSUM, _COLLECT_METADATA = 18, 25


@dataclass(frozen=True, slots=True)
class VxlanSpec:
    """What the device should be: `local` our outer address, `ends` all other nodes."""

    tunnel: TunnelSpec
    vni: int
    port: int
    local: IPAddress
    ends: tuple[TunnelEnd, ...] = ()


@dataclass(frozen=True, slots=True)
class _Device:
    """A VXLAN device of the kernel, with the attributes of its kind."""

    ifindex: int
    name: str
    mac: bytes
    data: dict[int, bytes]

    @property
    def vni_and_port(self) -> tuple[int, int]:
        vni = int(U32.unpack(self.data[_ID])[0]) if _ID in self.data else 0
        return vni, int.from_bytes(self.data.get(_PORT, b""), "big")

    def is_as(self, spec: VxlanSpec) -> bool:
        """Whether all that cannot be changed is as wanted, and nothing more is set that leads packets astray."""
        local = self.data.get(_LOCAL if spec.local.version == 4 else _LOCAL6)
        return (
            self.vni_and_port == (spec.vni, spec.port)
            and local == spec.local.packed
            and not any(any(self.data.get(number, b"")) for number in (_GROUP, _GROUP6, _LINK, _LEARNING))
            and not any(self.data.get(_COLLECT_METADATA, b""))
        )


def ensure_vxlan(socket: NetlinkSocket, spec: VxlanSpec) -> TunnelStatus:
    """Bring the device and its entries to what `spec` says; what could not be done is in the status."""
    status = bring_up(socket, spec.tunnel, lambda socket, changes: _find_or_create(socket, changes, spec), kind="vxlan")
    if status.ifindex is None:
        return status
    try:
        changed = set_neighbors(socket, status.ifindex, wanted_entries(spec))
    except NetlinkError as error:
        return replace(status, problems=(*status.problems, not_set(status.device, error)))
    return replace(status, entries_changed=changed)


def wanted_entries(spec: VxlanSpec) -> Iterator[Neighbor]:
    """For every other node: MAC to node, and the gateways of routes through it to its MAC."""
    for end in spec.ends:
        yield Neighbor(end.address, end.mac, forwarding=True)
        for gateway in (end.gateway4, end.gateway6):
            if gateway is not None:
                yield Neighbor(gateway, end.mac)


def _find_or_create(socket: NetlinkSocket, changes: LinkChanges, spec: VxlanSpec) -> InterfaceFacts:
    name, mac = spec.tunnel.device, vtep_mac(spec.local)
    link = find_link(socket, name)
    if link is not None and link.kind != "vxlan":
        raise NetlinkError(errno.EEXIST, f"{name} is there, but of kind {link.kind or 'unknown'}, expected vxlan")
    devices = {device.name: device for device in _devices(socket)}
    if link is not None and name in devices and devices[name].is_as(spec):
        if devices[name].mac != mac:
            changes.set_mac(link.ifindex, mac)
        return link
    ours = {index for index, one in interfaces(socket).items() if (ANCHOR, ANCHOR.max_prefixlen) in one.addresses}
    for other in devices.values():
        if other.name != name and other.ifindex in ours:
            changes.delete(other.ifindex)  # it has the name that the file gave before
        elif other.name != name and other.vni_and_port == (spec.vni, spec.port):
            text = f"{other.name} has VNI {spec.vni} and port {spec.port} already: one of them needs others"
            raise NetlinkError(errno.EEXIST, text)
    if link is not None:
        changes.delete(link.ifindex)
    changes.create(name, "vxlan", settings=_settings(spec))
    link = find_link(socket, name)
    if link is None:
        raise NetlinkError(errno.ENODEV, f"{name} did not appear")
    return link


def _settings(spec: VxlanSpec) -> dict[str, str | int]:
    """Without the outer checksum over IPv4, as everybody does: the inner packet has its own (RFC 7348 section 5)."""
    return {
        "address": vtep_mac(spec.local).hex(":"),
        "vxlan_id": spec.vni,
        "vxlan_port": spec.port,
        "vxlan_local" if spec.local.version == 4 else "vxlan_local6": str(spec.local),
        "vxlan_learning": 0,
        "vxlan_udp_csum": 0,
    }


def _devices(socket: NetlinkSocket) -> Iterator[_Device]:
    """Every VXLAN device."""
    kind = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"vxlan\0"))
    request = message(RTM_GETLINK, 0, IFINFOMSG.pack(0, 0, 0, 0, 0) + kind)
    for answer, data, start, end in socket.ask(request, flags=NLM_F_DUMP, what="dump of VXLAN devices"):
        found = attributes(data, start + IFINFOMSG.size, end)
        info = _nested(found.get(IFLA_LINKINFO, b""))
        if answer == RTM_NEWLINK and info.get(IFLA_INFO_KIND, b"").rstrip(b"\0") == b"vxlan":
            name = found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
            index = IFINFOMSG.unpack_from(data, start)[2]
            yield _Device(index, name, found.get(IFLA_ADDRESS, b""), _nested(info.get(IFLA_INFO_DATA, b"")))


def _nested(value: bytes) -> dict[int, bytes]:
    return attributes(value, 0, len(value))
