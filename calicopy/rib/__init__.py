"""Routing information bases: what peers sent, which of it is let in, how each prefix is reached, what peers are told.

`Rib` is Adj-RIB-In, import policy, decision and Loc-RIB; `AdjRibOut` is the other direction. Both are pure: events go
in by their methods, and what changed comes out of `Rib.decide` and `AdjRibOut.advance`.
"""
from __future__ import annotations

from calicopy.rib.adj_out import AdjRibOut, OutPeer, Told
from calicopy.rib.export import Exporter, ExportTarget, owner_community, tunnel_community
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
from calicopy.rib.outcome import Outcome
from calicopy.rib.policy import TUNNEL_FUNCTION
from calicopy.rib.reasons import DecisionStep, ExportReason, ImportReason
from calicopy.rib.rib import Rib, UnknownPeerError
from calicopy.rib.routes import OWN_PATH_ID, OutAttributes, OutBatch, OutDelta, OutRoute, OwnCommunities

__all__ = [
    "OWN_PATH_ID",
    "TUNNEL_FUNCTION",
    "AdjRibOut",
    "DecisionStep",
    "Decisions",
    "ExportReason",
    "ExportTarget",
    "Exporter",
    "Holder",
    "ImportReason",
    "LimitExceeded",
    "NextHopResolution",
    "NodeFacts",
    "OutAttributes",
    "OutBatch",
    "OutDelta",
    "OutPeer",
    "OutRoute",
    "Outcome",
    "OwnCommunities",
    "Path",
    "PathState",
    "PathView",
    "PeerCounters",
    "PeerInfo",
    "PoolFacts",
    "Rib",
    "RibContext",
    "Selection",
    "Told",
    "UnknownPeerError",
    "owner_community",
    "tunnel_community",
]
