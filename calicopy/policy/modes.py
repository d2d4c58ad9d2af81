"""Choices of a session that decide what is announced over it, and what happens at its limit."""
from __future__ import annotations

import enum


class AdvertiseScope(enum.Enum):
    """What a peer hears: this node's own prefixes, or also what it learned, as RFC 4271 and RFC 4456 let it."""

    OWN = "own"
    ALL = "all"


class NextHopMode(enum.Enum):
    """The next hop of learned paths towards a peer: our address, or as it was received."""

    SELF = "self"
    KEEP = "keep"


class LimitAction(enum.Enum):
    """What follows when a peer passes its prefix limit."""

    WARN = "warn"
    STOP = "stop"
    RESTART = "restart"
