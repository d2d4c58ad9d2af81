"""What the kernel says about a next hop: how, and whether, an address is reached from here."""
from __future__ import annotations

from dataclasses import dataclass

from calicopy.net.prefix import IPAddress


@dataclass(frozen=True, slots=True)
class NextHopFacts:
    """The kernel's answer to "how would a packet to `address` leave this host?".

    `reachable` is False when no usable route leads there: none at all, one of type local, blackhole or unreachable,
    one over the loopback or an interface without carrier, or one of our own (a route that we made ourselves proves
    nothing). `on_link` means that the answer names no gateway. `gateway` and `source` are None when the answer has
    none; `ifindex`, `metric` (the route's priority) and `mtu` (octets, of the way used) are 0 when not reachable.
    """

    address: IPAddress
    reachable: bool
    on_link: bool = False
    ifindex: int = 0
    gateway: IPAddress | None = None
    metric: int = 0
    mtu: int = 0
    source: IPAddress | None = None

    @classmethod
    def unreachable(cls, address: IPAddress) -> NextHopFacts:
        """An address that no usable route leads to."""
        return cls(address=address, reachable=False)
