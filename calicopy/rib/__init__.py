"""Routing information bases: what peers sent, which of it is let in, how each prefix is reached, what peers are told.

`Rib` is Adj-RIB-In, import policy, decision and Loc-RIB; `AdjRibOut` is the other direction. Both are pure: events go
in by their methods, and what changed comes out of `Rib.decide` and `AdjRibOut.delta`.
"""
from __future__ import annotations

from calicopy.rib.adj_out import AdjRibOut, OutAttributes, OutBatch, OutDelta, export_own, owner_community
from calicopy.rib.model import (
    Decisions,
    Holder,
    LimitExceeded,
    NextHopResolution,
    NodeFacts,
    Path,
    PathState,
    PathView,
    PeerCounters,
    PeerInfo,
    PoolFacts,
    RibContext,
    Selection,
)
from calicopy.rib.reasons import DecisionStep, ImportReason
from calicopy.rib.rib import Rib, UnknownPeerError

__all__ = [
    "AdjRibOut",
    "DecisionStep",
    "Decisions",
    "Holder",
    "ImportReason",
    "LimitExceeded",
    "NextHopResolution",
    "NodeFacts",
    "OutAttributes",
    "OutBatch",
    "OutDelta",
    "Path",
    "PathState",
    "PathView",
    "PeerCounters",
    "PeerInfo",
    "PoolFacts",
    "Rib",
    "RibContext",
    "Selection",
    "UnknownPeerError",
    "export_own",
    "owner_community",
]
