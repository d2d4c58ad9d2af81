"""Attach, detach and inspect: the Calico way to give a namespace an address.

Theory of operation. A veth pair: the host's end has a name made of the workload's, a fixed MAC address and the device
group that says it is ours; the pod's end is made inside the pod's namespace at once, so neither is ever seen elsewhere.
The pod holds its address as a /32 (/128), reaches everything via a gateway that exists nowhere (169.254.1.1), and has
that gateway's MAC address as a permanent neighbor entry; so has the host the pod's. Nothing is ever asked by ARP, so
nothing waits for an answer. Proxy ARP stands behind it, for a pod that loses the entry.

Each step looks at what is there and does what is missing, so an attach that was cut short is completed by the next.
What is ours but joined to another namespace is made anew. What is not ours is never touched. The host's route to the
address is not made here: it is the FIB's.
"""
from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from calicopy.kernel.linkset import set_inet_conf
from calicopy.kernel.netlink import NetlinkError, NetlinkSocket
from calicopy.workload import ipv6, requests
from calicopy.workload.check import (
    HOST_MAC_OCTETS,
    HOST_SETTINGS,
    alias_of,
    belongs,
    check_spec,
    default_is_ours,
    host_problems,
    joined,
    mac_octets,
    mac_text,
    pod_problems,
    versions,
)
from calicopy.workload.guard import ensure_guard
from calicopy.workload.namespaces import host_socket, opened, run_in, socket_in
from calicopy.workload.requests import LinkState, VethEnd
from calicopy.workload.types import DEVICE_GROUP, GATEWAYS, Attached, AttachSpec, Inspection, WorkloadError

_DENIED = (errno.EPERM, errno.EACCES)


def attach(spec: AttachSpec) -> Attached:
    """Make, complete or repair the workload's interfaces. Blocks for some milliseconds.

    WorkloadError with what stands in the way; a pair made by this very call is then gone again.
    """
    check_spec(spec)
    with _worded(spec), opened(spec.netns) as netns, host_socket() as host, socket_in(netns, spec.netns) as pod:
        ensure_guard(ipv4_only=versions(spec) == [4])
        link, made = _pair(host, pod, spec, netns)
        try:
            if 6 in versions(spec):
                ipv6.switch_on(spec.host_interface)
                run_in(netns, spec.netns, lambda: ipv6.switch_on(spec.interface, "lo"))
            _set_host_end(host, link, spec)
            mac = _set_pod_end(pod, spec)
            # Only now: an interface that is set down loses its neighbor entries, and both ends are up at last.
            for address in spec.addresses:
                requests.set_neighbor(host, link.ifindex, address, mac)
        except BaseException:
            if made:
                with suppress(OSError):
                    requests.delete_link(host, link.ifindex)
            raise
        return Attached(link.ifindex, spec.host_interface, mac_text(mac))


def detach(spec: AttachSpec) -> None:
    """Remove the workload's interfaces, if they are there and ours. The namespace need not be there any more."""
    with _worded(spec), host_socket() as host:
        link = requests.find_link(host, spec.host_interface)
        if link is not None and belongs(link, spec.name):
            requests.delete_link(host, link.ifindex)


def set_mtu(spec: AttachSpec) -> None:
    """Give both ends of the workload's pair the MTU of `spec`, if they are there. WorkloadError when that fails."""
    check_spec(spec)
    with _worded(spec), opened(spec.netns) as netns, host_socket() as host, socket_in(netns, spec.netns) as pod:
        link, inside = requests.find_link(host, spec.host_interface), requests.find_link(pod, spec.interface)
        if link is None or inside is None or not belongs(link, spec.name) or not joined(host, link, inside, netns):
            return  # `inspect` says so, and the next attach makes it with the right one
        requests.change_link(pod, inside.ifindex, mtu=spec.mtu)
        requests.change_link(host, link.ifindex, mtu=spec.mtu)


def inspect(spec: AttachSpec) -> Inspection:
    """Look at the workload's interfaces, changing nothing of them; the first thing that is wrong is the problem.

    The anti-spoofing rule, which is the whole host's, is put back where it is missing. Raises nothing: what cannot be
    looked at is a problem too.
    """
    ifindex: int | None = None
    try:
        with _worded(spec), host_socket() as host:
            link = requests.find_link(host, spec.host_interface)
            if link is None:
                return Inspection(None, f"host interface {spec.host_interface} is missing")
            if not belongs(link, spec.name):
                return Inspection(None, f"host interface {spec.host_interface} is not the one of this workload")
            ifindex = link.ifindex
            ensure_guard(ipv4_only=versions(spec) == [4])
            return Inspection(ifindex, next(_problems(host, link, spec), ""))
    except WorkloadError as error:
        return Inspection(ifindex, str(error), looked=ifindex is not None)


def _problems(host: NetlinkSocket, link: LinkState, spec: AttachSpec) -> Iterator[str]:
    with opened(spec.netns) as netns, socket_in(netns, spec.netns) as pod:
        inside = requests.find_link(pod, spec.interface)
        if inside is None or not joined(host, link, inside, netns):
            ends = f"{spec.interface} that is the other end of {spec.host_interface}"
            yield f"namespace {spec.netns} has no interface {ends}"
            return
        yield from host_problems(host, link, spec)
        yield from pod_problems(pod, inside, spec)


def _pair(host: NetlinkSocket, pod: NetlinkSocket, spec: AttachSpec, netns: int) -> tuple[LinkState, bool]:
    """The host's end of the pair, and whether it was made here."""
    link, inside = requests.find_link(host, spec.host_interface), requests.find_link(pod, spec.interface)
    if link is not None:
        if not belongs(link, spec.name):
            message = f"host interface {spec.host_interface} is there, and is not the one of workload {spec.name}"
            raise WorkloadError(message, "foreign-interface")
        if joined(host, link, inside, netns):
            return link, False
        requests.delete_link(host, link.ifindex)
    taken = WorkloadError(f"namespace {spec.netns} already has an interface {spec.interface}", "interface-exists")
    if inside is not None:
        raise taken
    near = VethEnd(name=spec.host_interface, mtu=spec.mtu, mac=HOST_MAC_OCTETS, group=DEVICE_GROUP)
    far = VethEnd(name=spec.interface, mtu=spec.mtu, mac=mac_octets(spec.mac))
    try:
        requests.create_veth(host, near, far=far, netns=netns)
    except NetlinkError as error:
        if error.errno == errno.EEXIST:
            raise taken from error
        if error.errno == errno.EOPNOTSUPP:
            raise WorkloadError(f"{error.strerror}: the kernel has no veth", "no-veth") from error
        raise
    return _found(host, spec.host_interface), True


def _set_host_end(host: NetlinkSocket, link: LinkState, spec: AttachSpec) -> None:
    if any(link.setting(number) != value for number, value in HOST_SETTINGS.items()):
        # Over netlink, which works where /proc/sys is read-only as well; and before the interface is up.
        set_inet_conf(host, link.ifindex, HOST_SETTINGS)
    for address, length in requests.addresses(host, link.ifindex):
        if address.version == 4:  # with one, rp_filter can be loosened from outside: see guard.py
            requests.remove_address(host, link.ifindex, address, length=length)
    requests.set_proxy_delay(host, link.ifindex, 0)
    ipv6.ignore_advertisements(spec.host_interface)
    if 6 in versions(spec):
        with _ipv6_named():
            requests.add_address(host, link.ifindex, GATEWAYS[6], length=64)
    requests.change_link(
        host,
        link.ifindex,
        up=True,
        mtu=spec.mtu if link.mtu != spec.mtu else 0,
        mac=HOST_MAC_OCTETS if link.mac != HOST_MAC_OCTETS else b"",
        alias=alias_of(spec.name),
    )


def _set_pod_end(pod: NetlinkSocket, spec: AttachSpec) -> bytes:
    """Bring the pod's end up; its MAC address."""
    inside = _found(pod, spec.interface)
    wanted = mac_octets(spec.mac) or inside.mac
    requests.change_link(pod, requests.LOOPBACK, up=True)
    requests.change_link(
        pod,
        inside.ifindex,
        up=True,
        mtu=spec.mtu if inside.mtu != spec.mtu else 0,
        mac=wanted if inside.mac != wanted else b"",
    )
    # An address of an attach before this one would be chosen as a source, and dropped on the host.
    wanted_addresses = {(address, address.max_prefixlen) for address in spec.addresses}
    held = requests.addresses(pod, inside.ifindex)
    for address, length in held - wanted_addresses:
        requests.remove_address(pod, inside.ifindex, address, length=length)
    for given in spec.addresses:
        if (given, given.max_prefixlen) not in held:
            with _ipv6_named():
                requests.add_address(pod, inside.ifindex, given, length=given.max_prefixlen)
    for version in versions(spec):
        _set_way_out(pod, inside.ifindex, spec, version)
    return wanted


def _set_way_out(pod: NetlinkSocket, ifindex: int, spec: AttachSpec, version: int) -> None:
    """Gateway, neighbor entry and default route of one IP version."""
    gateway = GATEWAYS[version]
    if version == 4:
        try:
            requests.add_link_route(pod, ifindex, gateway)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise  # A route of another interface to that address would not matter: the default is onlink.
    requests.set_neighbor(pod, ifindex, gateway, HOST_MAC_OCTETS)
    try:
        requests.add_default_route(pod, ifindex, gateway)
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        if not default_is_ours(pod, ifindex, version):
            message = f"namespace {spec.netns} already has a default route that does not lead over {spec.interface}"
            raise WorkloadError(message, "default-route-exists") from error


def _found(socket: NetlinkSocket, name: str) -> LinkState:
    link = requests.find_link(socket, name)
    if link is None:
        raise WorkloadError(f"interface {name} was removed while it was set up", "kernel-refused")
    return link


@contextmanager
def _ipv6_named() -> Iterator[None]:
    """EACCES on adding an IPv6 address means that IPv6 is off on the interface (net.ipv6.conf.*.disable_ipv6)."""
    try:
        yield
    except NetlinkError as error:
        if error.errno in (errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
            raise WorkloadError(f"{error.strerror}: IPv6 is off (disable_ipv6)", "ipv6-disabled") from error
        raise


@contextmanager
def _worded(spec: AttachSpec) -> Iterator[None]:
    """Turn what the kernel says into a WorkloadError that names the workload."""
    try:
        yield
    except OSError as error:
        code = "no-permission" if error.errno in _DENIED else "kernel-refused"
        raise WorkloadError(f"workload {spec.name}: {error.strerror or error}", code) from error
