"""What the host does not let us do, as data for the status."""
from __future__ import annotations

import enum
from dataclasses import dataclass


class ProblemKind(enum.Enum):
    """What a problem is about; the value is the stable code of the API."""

    NO_PERMISSION = "no-permission"
    SYSCTL_NOT_SET = "sysctl-not-set"
    TUNNEL_UNAVAILABLE = "tunnel-unavailable"
    TUNNEL_NOT_SET = "tunnel-not-set"
    NFT_MISSING = "nft-missing"
    NFT_FAILED = "nft-failed"


@dataclass(frozen=True, slots=True)
class KernelProblem:
    """One thing that could not be done: to what (`object`: a sysctl, a device, a table), and why.

    `severe` is False where everything works all the same, only slower.
    """

    kind: ProblemKind
    object: str
    message: str
    severe: bool = True
