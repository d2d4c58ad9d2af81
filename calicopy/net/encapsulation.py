"""How packets to a pool's addresses travel between nodes, and when."""
from __future__ import annotations

import enum
from dataclasses import dataclass


class Encapsulation(enum.Enum):
    """How packets to a pool's addresses travel between nodes."""

    NONE = "none"
    IPIP = "ipip"
    VXLAN = "vxlan"
    UDP = "udp"


class EncapsulationMode(enum.Enum):
    """When a pool's encapsulation is used."""

    ALWAYS = "always"
    CROSS_SUBNET = "cross-subnet"


@dataclass(frozen=True, slots=True)
class Decapsulation:
    """An encapsulation that this node takes apart. `port` (UDP) and `vni` (RFC 7348) are 0 where it has none."""

    encapsulation: Encapsulation
    port: int = 0
    vni: int = 0
