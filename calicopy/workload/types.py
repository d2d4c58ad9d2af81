"""What is asked of, and answered by, the workload edge."""
from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from calicopy.net import IPAddress

HOST_PREFIX = "cali"
"""Begins the name of every host interface."""
HOST_MAC = "ee:ee:ee:ee:ee:ee"
"""The MAC address of every host interface: each is alone with its pod on its link, so one can serve all."""
GATEWAYS: dict[int, IPAddress] = {4: IPv4Address("169.254.1.1"), 6: IPv6Address("fe80::ecee:eeff:feee:eeee")}
"""The pod's gateway by IP version; that of IPv6 is the link-local address that HOST_MAC makes (RFC 4291 appendix A)."""
_HOST_INTERFACE = re.compile(HOST_PREFIX + "[0-9a-f]{11}")
DEVICE_GROUP = 2254
"""The device group of every host interface (`ip link show group 2254`): what makes it ours. CALI, on a telephone."""


class WorkloadError(Exception):
    """It could not be done. `code` is a stable word in kebab case, the text is for people.

    Codes: bad-spec, netns-not-found, not-a-netns, netns-is-host, interface-exists, foreign-interface,
    default-route-exists, no-permission, no-veth, ipv6-disabled, nft-missing, nft-failed, kernel-refused.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachSpec:
    """One workload. `netns` is a name under /run/netns, or an absolute path (such as /proc/PID/ns/net).

    `interface` is the pod's, `host_interface` the host's. `mac` is the pod's; empty lets the kernel choose.
    """

    name: str
    netns: str
    host_interface: str
    addresses: tuple[IPAddress, ...]
    mtu: int
    mac: str = ""
    interface: str = "eth0"


@dataclass(frozen=True, slots=True)
class Attached:
    """What an attach left: the host interface, and the MAC address of the pod's."""

    host_ifindex: int
    host_interface: str
    mac: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is there. `host_ifindex` is None when the host interface is not; `problem` is empty when all is well.

    `looked` is False when the host interface could not be looked at: then nothing is known of it.
    """

    host_ifindex: int | None
    problem: str
    looked: bool = True


def host_interface_name(name: str) -> str:
    """The host interface of a workload: `cali` and 11 hexadecimal digits, the 15 characters that Linux allows."""
    return HOST_PREFIX + hashlib.blake2b(name.encode(), digest_size=16).hexdigest()[:11]


def is_host_interface(name: str) -> bool:
    """Whether an interface has the name of a workload's host interface."""
    return _HOST_INTERFACE.fullmatch(name) is not None
