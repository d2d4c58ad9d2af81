"""What an operator lets in and out: filters, and the modes of a session that decide what is announced.

`filters` holds the values (a filter is an ordered list of rules), `modes` the choices of a session that are no filter,
`communities` both kinds of communities as one. `evaluate` applies a chain of filters to a path. Pure: the cluster file
is turned into these by `config.resolve`, and the RIB evaluates them.
"""
from __future__ import annotations

from calicopy.policy.classes import PrefixClass
from calicopy.policy.communities import Community, community_text, parse_community, split_communities
from calicopy.policy.evaluate import EVERY_PREFIX, Chain, Judgement, PathFacts, RuleRef
from calicopy.policy.filters import (
    Action,
    AsPathMatch,
    Changes,
    Filter,
    Match,
    PeerType,
    PrefixMatch,
    RouteSource,
    Rule,
)
from calicopy.policy.modes import AdvertiseScope, LimitAction, NextHopMode

__all__ = [
    "EVERY_PREFIX",
    "Action",
    "AdvertiseScope",
    "AsPathMatch",
    "Chain",
    "Changes",
    "Community",
    "Filter",
    "Judgement",
    "LimitAction",
    "Match",
    "NextHopMode",
    "PathFacts",
    "PeerType",
    "PrefixClass",
    "PrefixMatch",
    "RouteSource",
    "Rule",
    "RuleRef",
    "community_text",
    "parse_community",
    "split_communities",
]
