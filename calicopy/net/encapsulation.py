"""How packets to a pool's addresses travel between nodes, and when."""
from __future__ import annotations

import enum


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
