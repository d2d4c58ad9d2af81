"""The tunnel devices: up, with addresses of pools and the wanted MTU. IPIP (RFC 2003), and what all kinds share.

Theory of operation: a device is read first, and changed only where it differs, so that a restart sends no event
and imports no pyroute2.
Addresses on it that lie in a pool are ours, and all but the wanted ones are removed; others are somebody's, and stay.
Each has a link-local address besides (`ANCHOR`): from a device without any IPv4 address the kernel takes no packet,
with any rp_filter, unless a route leads back over it (fib_validate_source); and packets of a node that uses another
encapsulation already come over a device that no route of ours leads to. Its scope keeps it from being a source.
`tunl0` is the kernel's fallback device, in every namespace once the module is loaded; it takes every protocol 4 packet
that no other tunnel claims, and routes name the far end (`via NODE dev tunl0 onlink`).
"""
from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from calicopy.kernel.links import interfaces
from calicopy.kernel.linkset import LinkChanges
from calicopy.kernel.netlink import NetlinkError, NetlinkSocket
from calicopy.kernel.problems import KernelProblem, ProblemKind
from calicopy.net import IPAddress, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.tunnel import IPIP_DEVICE

ANCHOR = IPv4Address("169.254.1.2")
"""On every tunnel device of every node."""


@dataclass(frozen=True, slots=True)
class TunnelSpec:
    """What a tunnel device should be. `mtu` in octets. `pools`: addresses in them are ours."""

    mtu: int
    addresses: tuple[IPAddress, ...] = ()
    pools: tuple[Prefix, ...] = ()
    device: str = IPIP_DEVICE


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """What it is. `ifindex` is None when there is no working device; direct routes go on without it.

    `addresses` are those of the wanted ones that it has.
    """

    device: str
    ifindex: int | None
    up: bool = False
    addresses: tuple[IPAddress, ...] = ()
    mtu: int = 0
    problems: tuple[KernelProblem, ...] = ()
    unsupported: bool = False  # the kernel has no such kind of device
    entries_changed: int = field(default=0, compare=False)  # neighbor and forwarding entries that were brought to be so


Find = Callable[[NetlinkSocket, LinkChanges], InterfaceFacts]
"""Gives a device of the right kind, made if need be; NetlinkError when there can be none."""


def ensure_tunnel(socket: NetlinkSocket, spec: TunnelSpec) -> TunnelStatus:
    """Bring the IPIP device to what `spec` says; what could not be done is in the status."""
    return bring_up(socket, spec, lambda socket, changes: _find_or_create(socket, changes, spec.device), kind="ipip")


def ensure_tun(socket: NetlinkSocket, spec: TunnelSpec) -> TunnelStatus:
    """Bring the TUN device to what `spec` says. It must be there already, and held (`calicopy.kernel.tun`)."""
    return bring_up(socket, spec, lambda socket, _: _existing(socket, spec.device, "tun"), kind="tun")


def retire_tunnel(socket: NetlinkSocket, spec: TunnelSpec) -> list[KernelProblem]:
    """Have the device of `spec` take no packet any more, where it is one of ours.

    A VXLAN device of that name is removed. Another, which the kernel may have made itself, loses our addresses, and is
    set down unless somebody's are on it; the anchor is what tells that we had set it up.
    """
    link = find_link(socket, spec.device)
    with LinkChanges() as changes:
        try:
            if link is not None and link.kind == "vxlan":
                changes.delete(link.ifindex)
            elif link is not None and (ANCHOR, ANCHOR.max_prefixlen) in link.addresses:
                ours = [
                    (address, length)
                    for address, length in link.addresses
                    if address == ANCHOR or any(address in pool for pool in spec.pools)
                ]
                theirs = [address for address, _ in set(link.addresses) - set(ours) if not address.is_link_local]
                if not theirs:
                    changes.set_down(link.ifindex)
                for address, length in sorted(ours, key=lambda one: one[0] == ANCHOR):  # the sign is taken off last
                    changes.remove_address(link.ifindex, address, length=length)
        except NetlinkError as error:
            return [not_set(spec.device, error)]
    return []


def bring_up(socket: NetlinkSocket, spec: TunnelSpec, find: Find, *, kind: str) -> TunnelStatus:
    """Bring a tunnel device of any kind to what `spec` says; what could not be done is in the status."""
    with LinkChanges() as changes:
        try:
            link = find(socket, changes)
        except NetlinkError as error:
            problem = _unavailable(spec.device, kind, error)
            return TunnelStatus(spec.device, None, problems=(problem,), unsupported=error.errno == errno.EOPNOTSUPP)
        problems: list[KernelProblem] = []
        for step in (_set_mtu, _set_up, _set_addresses):  # an IPv6 address wants a device that is up
            try:
                step(changes, link, spec)
            except NetlinkError as error:
                problems.append(not_set(spec.device, error))
        made = changes.made
    return _status(find_link(socket, spec.device) if made else link, spec, problems)


def find_link(socket: NetlinkSocket, name: str) -> InterfaceFacts | None:
    """The interface of that name."""
    return next((link for link in interfaces(socket).values() if link.name == name), None)


def _find_or_create(socket: NetlinkSocket, changes: LinkChanges, name: str) -> InterfaceFacts:
    link = find_link(socket, name)
    if link is None:
        try:
            # This also has the kernel load the module, which brings the fallback device tunl0: then EEXIST.
            changes.create(name, "ipip")
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
    return _existing(socket, name, "ipip")


def _existing(socket: NetlinkSocket, name: str, kind: str) -> InterfaceFacts:
    link = find_link(socket, name)
    if link is None:
        raise NetlinkError(errno.ENODEV, f"{name} did not appear")
    if link.kind not in (kind, ""):
        raise NetlinkError(errno.EEXIST, f"{name} is there, but of kind {link.kind}, expected {kind}")
    return link


def _set_mtu(changes: LinkChanges, link: InterfaceFacts, spec: TunnelSpec) -> None:
    if spec.mtu and link.mtu != spec.mtu:
        changes.set_mtu(link.ifindex, spec.mtu)


def _set_up(changes: LinkChanges, link: InterfaceFacts, spec: TunnelSpec) -> None:
    del spec
    if not link.up:
        changes.set_up(link.ifindex)


def _set_addresses(changes: LinkChanges, link: InterfaceFacts, spec: TunnelSpec) -> None:
    wanted: set[tuple[IPAddress, int]] = {(address, address.max_prefixlen) for address in (ANCHOR, *spec.addresses)}
    for address, length in sorted(wanted.difference(link.addresses), key=str):
        changes.add_address(link.ifindex, address, length=length)
    for address, length in link.addresses:
        if (address, length) not in wanted and any(address in pool for pool in spec.pools):
            changes.remove_address(link.ifindex, address, length=length)


def _status(link: InterfaceFacts | None, spec: TunnelSpec, problems: list[KernelProblem]) -> TunnelStatus:
    if link is None:
        gone = KernelProblem(ProblemKind.TUNNEL_UNAVAILABLE, spec.device, "the device went away")
        return TunnelStatus(spec.device, None, problems=(*problems, gone))
    held = {address for address, _ in link.addresses}
    addresses = tuple(address for address in spec.addresses if address in held)
    return TunnelStatus(
        spec.device, link.ifindex if link.up else None, link.up, addresses, link.mtu, tuple(problems)
    )


def _unavailable(device: str, kind: str, error: NetlinkError) -> KernelProblem:
    if error.errno == errno.EPERM:
        return KernelProblem(ProblemKind.NO_PERMISSION, device, "making the tunnel device needs CAP_NET_ADMIN")
    if error.errno == errno.EOPNOTSUPP:
        text = f"the kernel has no {kind} module: pools with encapsulation {kind} cannot be reached through it"
        return KernelProblem(ProblemKind.TUNNEL_UNAVAILABLE, device, text)
    return KernelProblem(ProblemKind.TUNNEL_UNAVAILABLE, device, str(error.strerror))


def not_set(device: str, error: NetlinkError) -> KernelProblem:
    """A setting of the device that the kernel refused."""
    kind = ProblemKind.NO_PERMISSION if error.errno == errno.EPERM else ProblemKind.TUNNEL_NOT_SET
    return KernelProblem(kind, device, str(error.strerror))
