"""Taking a node out of service, and back."""
from __future__ import annotations

import enum


class DrainPhase(enum.Enum):
    """How far a node is out of service: what it announces follows from it."""

    ACTIVE = "active"
    DRAINING = "draining"  # announced as the last choice (RFC 8326)
    DRAINED = "drained"  # nothing is announced
