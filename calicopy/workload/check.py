"""What is right and what is wrong with a workload's interfaces, read only."""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from calicopy.kernel.netlink import NetlinkSocket
from calicopy.net import IPAddress
from calicopy.workload import requests
from calicopy.workload.requests import DEVCONF_FORWARDING, DEVCONF_PROXY_ARP, DEVCONF_RP_FILTER, LinkState
from calicopy.workload.types import DEVICE_GROUP, GATEWAYS, HOST_MAC, AttachSpec, WorkloadError

HOST_SETTINGS = {DEVCONF_FORWARDING: 1, DEVCONF_PROXY_ARP: 1, DEVCONF_RP_FILTER: 1}
"""IPv4 settings of a host interface, by IPV4_DEVCONF number."""
HOST_MAC_OCTETS = bytes.fromhex(HOST_MAC.replace(":", ""))
_SETTING_NAMES = {DEVCONF_FORWARDING: "forwarding", DEVCONF_PROXY_ARP: "proxy_arp", DEVCONF_RP_FILTER: "rp_filter"}
_INTERFACE_NAME = re.compile(r"[^\s/:\0]{1,15}")
_ALIAS_OCTETS = 200
LEAST_MTU = {4: 68, 6: 1280}
"""Octets, by IP version (RFC 791, RFC 8200 section 5)."""
_MOST_MTU = 65535


def mac_octets(text: str) -> bytes:
    """Six octets from text, none from empty text. WorkloadError(bad-spec) for what is no unicast MAC address."""
    if not text:
        return b""
    try:
        octets = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != 6 or octets[0] & 1 or not any(octets):
        expected = "expected six octets of a unicast address, as 02:00:00:00:00:01"
        raise WorkloadError(f"MAC address {text!r}: {expected}", "bad-spec")
    return octets


def mac_text(octets: bytes) -> str:
    """Six octets as people write them."""
    return octets.hex(":")


def check_spec(spec: AttachSpec) -> None:
    """WorkloadError(bad-spec) for what cannot work, before anything is touched."""
    for name in (spec.interface, spec.host_interface):
        try:
            fits = len(name.encode()) <= 15
        except UnicodeEncodeError:
            fits = False
        if not fits or not _INTERFACE_NAME.fullmatch(name) or name in (".", "..", "lo"):
            expected = "expected 1 to 15 octets without space, colon or slash"
            raise WorkloadError(f"interface name {name!r}: {expected}", "bad-spec")
    if not spec.addresses:
        raise WorkloadError(f"workload {spec.name}: expected an address at least", "bad-spec")
    least = least_mtu(spec.addresses)
    if not least <= spec.mtu <= _MOST_MTU:
        raise WorkloadError(f"workload {spec.name}: MTU {spec.mtu}: expected {least} to {_MOST_MTU}", "bad-spec")
    mac_octets(spec.mac)


def least_mtu(addresses: Sequence[IPAddress]) -> int:
    """The least MTU, in octets, of an interface with these addresses: with less Linux has no IPv6 on it."""
    return max(LEAST_MTU[address.version] for address in addresses)


def alias_of(name: str) -> str:
    """What `ip link` shows beside the host interface; Linux allows 255 octets."""
    return f"calicopy workload {name}".encode()[:_ALIAS_OCTETS].decode(errors="ignore")


def belongs(link: LinkState, name: str) -> bool:
    """Whether a host interface is ours and this workload's. One whose making was cut short has no alias yet."""
    return link.kind == "veth" and link.group == DEVICE_GROUP and link.alias in ("", alias_of(name))


def versions(spec: AttachSpec) -> list[int]:
    """The IP versions of the workload's addresses."""
    return sorted({address.version for address in spec.addresses})


def joined(host: NetlinkSocket, link: LinkState, inside: LinkState | None, netns: int) -> bool:
    """Whether `inside`, of the namespace of the file descriptor `netns`, is the other end of the host's `link`."""
    if inside is None or inside.kind != "veth" or link.peer != inside.ifindex or inside.peer != link.ifindex:
        return False
    number = requests.netns_number(host, netns)
    return number is not None and number == link.peer_netns


def default_is_ours(pod: NetlinkSocket, ifindex: int, version: int) -> bool:
    """Whether the pod's best default route leads to the gateway on that interface."""
    found = requests.routes(pod, version).get((b"", 0))
    return found is not None and found[0] == (ifindex, GATEWAYS[version].packed)


def host_problems(host: NetlinkSocket, link: LinkState, spec: AttachSpec) -> Iterator[str]:
    """What is wrong with the host's end."""
    where = f"host interface {spec.host_interface}"
    if not link.up:
        yield f"{where} is down"
    if mac_text(link.mac) != HOST_MAC:
        yield f"{where} has the MAC address {mac_text(link.mac)}, expected {HOST_MAC}"
    if link.mtu != spec.mtu:
        yield f"{where} has MTU {link.mtu}, expected {spec.mtu}"
    for number, wanted in HOST_SETTINGS.items():
        value = link.setting(number)
        if value not in (None, wanted):
            yield f"{where} has {_SETTING_NAMES[number]} = {value}, expected {wanted}"
    for address, _ in requests.addresses(host, link.ifindex):
        if address.version == 4:
            yield f"{where} has the address {address}, expected none: its source check could be loosened"
    if link.up:
        held = requests.permanent_neighbors(host, link.ifindex)
        for address in spec.addresses:
            if address not in held:
                yield f"{where} has no permanent neighbor entry for {address}"


def pod_problems(pod: NetlinkSocket, inside: LinkState, spec: AttachSpec) -> Iterator[str]:
    """What is wrong with the pod's end."""
    where = f"interface {spec.interface} in namespace {spec.netns}"
    if not inside.up:
        yield f"{where} is down"
        return
    if spec.mac and mac_text(inside.mac) != spec.mac.lower():
        yield f"{where} has the MAC address {mac_text(inside.mac)}, expected {spec.mac}"
    if inside.mtu > spec.mtu:  # a pod may want less
        yield f"{where} has MTU {inside.mtu}, expected {spec.mtu}"
    held = {address for address, _ in requests.addresses(pod, inside.ifindex)}
    for address in spec.addresses:
        if address not in held:
            yield f"{where} has not the address {address}"
    neighbors = requests.permanent_neighbors(pod, inside.ifindex)
    for version in versions(spec):
        gateway = GATEWAYS[version]
        if not default_is_ours(pod, inside.ifindex, version):
            yield f"{where} has not the default route via {gateway}"
        if neighbors.get(gateway) != HOST_MAC_OCTETS:
            yield f"{where} has no permanent neighbor entry for {gateway}"
