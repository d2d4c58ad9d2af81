"""The IPIP tunnel device: up, with one /32 of a pool and the wanted MTU (RFC 2003).

Theory of operation: `tunl0` is the kernel's fallback device, in every namespace once the module is loaded; it takes
every protocol 4 packet that no other tunnel claims, and routes name the far end (`via NODE dev tunl0 onlink`). It is
read first, and changed only where it differs, so that a restart sends no event and imports no pyroute2. Addresses on
it that lie in a pool are ours, and all but the wanted one are removed; others are somebody's, and stay.
"""
from __future__ import annotations

import errno
from dataclasses import dataclass
from ipaddress import IPv4Address

from calicopy.kernel.links import interfaces
from calicopy.kernel.linkset import LinkChanges
from calicopy.kernel.netlink import NetlinkError, NetlinkSocket
from calicopy.kernel.problems import KernelProblem, ProblemKind
from calicopy.net import Prefix
from calicopy.net.interface import InterfaceFacts

IPIP_DEVICE = "tunl0"


@dataclass(frozen=True, slots=True)
class TunnelSpec:
    """What tunl0 should be. `address` None: no address yet. `mtu` in octets. `pools`: addresses in them are ours."""

    address: IPv4Address | None
    mtu: int
    pools: tuple[Prefix, ...] = ()
    device: str = IPIP_DEVICE
    kind: str = "ipip"
    """Of the link (IFLA_INFO_KIND). A device of another kind than ipip is made by others."""


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """What it is. `ifindex` is None when there is no working device; direct routes go on without it."""

    device: str
    ifindex: int | None
    up: bool = False
    address: IPv4Address | None = None
    mtu: int = 0
    problems: tuple[KernelProblem, ...] = ()


def ensure_tunnel(socket: NetlinkSocket, spec: TunnelSpec) -> TunnelStatus:
    """Bring the device to what `spec` says; what could not be done is in the status."""
    with LinkChanges() as changes:
        try:
            link = _find_or_create(socket, changes, spec)
        except NetlinkError as error:
            return TunnelStatus(spec.device, None, problems=(_unavailable(spec.device, error),))
        problems: list[KernelProblem] = []
        for step in (_set_mtu, _set_address, _set_up):
            try:
                step(changes, link, spec)
            except NetlinkError as error:
                problems.append(_not_set(spec.device, error))
        held = _find(socket, spec.device) if changes.made else link
    return _status(held, spec, problems)


def _find(socket: NetlinkSocket, name: str) -> InterfaceFacts | None:
    return next((link for link in interfaces(socket).values() if link.name == name), None)


def _find_or_create(socket: NetlinkSocket, changes: LinkChanges, spec: TunnelSpec) -> InterfaceFacts:
    name = spec.device
    link = _find(socket, name)
    if link is None and spec.kind == "ipip":
        try:
            # This also has the kernel load the module, which brings the fallback device tunl0: then EEXIST.
            changes.create(name, "ipip")
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
        link = _find(socket, name)
    if link is None:
        raise NetlinkError(errno.ENODEV, f"{name} did not appear")
    if link.kind not in (spec.kind, ""):
        raise NetlinkError(errno.EEXIST, f"{name} is there, but of kind {link.kind}, expected {spec.kind}")
    return link


def _set_mtu(changes: LinkChanges, link: InterfaceFacts, spec: TunnelSpec) -> None:
    if spec.mtu and link.mtu != spec.mtu:
        changes.set_mtu(link.ifindex, spec.mtu)


def _set_up(changes: LinkChanges, link: InterfaceFacts, spec: TunnelSpec) -> None:
    del spec
    if not link.up:
        changes.set_up(link.ifindex)


def _set_address(changes: LinkChanges, link: InterfaceFacts, spec: TunnelSpec) -> None:
    held = [(address, length) for address, length in link.addresses if isinstance(address, IPv4Address)]
    if spec.address is not None and (spec.address, 32) not in held:
        changes.add_address(link.ifindex, spec.address, length=32)
    for address, length in held:
        if (address, length) != (spec.address, 32) and any(address in pool for pool in spec.pools):
            changes.remove_address(link.ifindex, address, length=length)


def _status(link: InterfaceFacts | None, spec: TunnelSpec, problems: list[KernelProblem]) -> TunnelStatus:
    if link is None:
        gone = KernelProblem(ProblemKind.TUNNEL_UNAVAILABLE, spec.device, "the device went away")
        return TunnelStatus(spec.device, None, problems=(*problems, gone))
    held = [address for address, length in link.addresses if isinstance(address, IPv4Address)]
    address = spec.address if spec.address in held else None
    ifindex = link.ifindex if link.up else None
    return TunnelStatus(spec.device, ifindex, link.up, address, link.mtu, tuple(problems))


def _unavailable(device: str, error: NetlinkError) -> KernelProblem:
    if error.errno == errno.EPERM:
        return KernelProblem(ProblemKind.NO_PERMISSION, device, "making the tunnel device needs CAP_NET_ADMIN")
    if error.errno == errno.EOPNOTSUPP:
        text = "the kernel has no ipip module: pools with encapsulation ipip cannot be reached across subnets"
        return KernelProblem(ProblemKind.TUNNEL_UNAVAILABLE, device, text)
    return KernelProblem(ProblemKind.TUNNEL_UNAVAILABLE, device, str(error.strerror))


def _not_set(device: str, error: NetlinkError) -> KernelProblem:
    kind = ProblemKind.NO_PERMISSION if error.errno == errno.EPERM else ProblemKind.TUNNEL_NOT_SET
    return KernelProblem(kind, device, str(error.strerror))
