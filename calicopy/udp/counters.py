"""What the forwarder counts, in packets where nothing else is said."""
from __future__ import annotations


class Counters:
    """Since the process began. `out` is from the TUN device to other nodes, `in` from them to the device."""

    __slots__ = (
        "in_failed",
        "in_foreign",
        "in_malformed",
        "in_not_ecn",
        "in_octets",
        "in_packets",
        "out_failed",
        "out_full",
        "out_malformed",
        "out_multicast",
        "out_no_node",
        "out_octets",
        "out_packets",
        "out_too_big",
    )

    def __init__(self) -> None:
        self.in_failed = 0  # the device did not take it (it is down)
        self.in_foreign = 0  # the outer source is no node of the cluster file
        self.in_malformed = 0  # no whole IP packet
        self.in_not_ecn = 0  # congestion on the way, and the inner packet's ends do not know ECN (RFC 6040)
        self.in_octets = 0
        self.in_packets = 0
        self.out_failed = 0  # the socket refused it (no route to the node)
        self.out_full = 0  # the socket's buffer or the interface's queue was full
        self.out_malformed = 0
        self.out_multicast = 0  # what the kernel itself says on every device, for one; it is not carried
        self.out_no_node = 0  # no route over the device says which node the destination is behind
        self.out_octets = 0
        self.out_packets = 0
        self.out_too_big = 0  # for the way to the node

    def as_dict(self) -> dict[str, int]:
        """All by name."""
        return {name: getattr(self, name) for name in self.__slots__}
