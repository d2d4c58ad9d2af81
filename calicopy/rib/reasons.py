"""Why a path is not used, or not passed on: the typed reasons of import policy, decision and export."""
from __future__ import annotations

import enum


class ImportReason(enum.Enum):
    """Why the import policy refused a path. The value is a stable name for APIs and logs."""

    OUTSIDE_POOLS = "outside-pools"
    WRONG_LENGTH = "wrong-length"
    OURS = "ours"
    USED_HERE = "used-here"
    NEXT_HOP_MISSING = "next-hop-missing"
    NEXT_HOP_MARTIAN = "next-hop-martian"
    NEXT_HOP_SELF = "next-hop-self"
    NEXT_HOP_FOREIGN = "next-hop-foreign"
    AS_LOOP = "as-loop"
    ORIGINATOR_LOOP = "originator-loop"
    CLUSTER_LOOP = "cluster-loop"
    OWNER_UNKNOWN = "owner-unknown"
    OWNER_MISMATCH = "owner-mismatch"
    HELD_ELSEWHERE = "held-elsewhere"
    LOST_CONFLICT = "lost-conflict"
    FILTER = "filter"

    @property
    def text(self) -> str:
        """The reason in words."""
        return _IMPORT[self][0]

    @property
    def source(self) -> str:
        """The RFC section, or `calicopy` for a rule of our own (docs/)."""
        return _IMPORT[self][1]


_OWN = "calicopy"
_IMPORT: dict[ImportReason, tuple[str, str]] = {
    ImportReason.OUTSIDE_POOLS: ("the prefix lies in no pool", _OWN),
    ImportReason.WRONG_LENGTH: ("the prefix has neither its pool's block length nor the length of a host prefix", _OWN),
    ImportReason.OURS: ("the prefix is ours: an own block, or inside one, or it names us as its owner", _OWN),
    ImportReason.USED_HERE: ("an address that a workload here uses is announced by another node", _OWN),
    ImportReason.NEXT_HOP_MISSING: ("the path has no next hop", "RFC 4271 5.1.3"),
    ImportReason.NEXT_HOP_MARTIAN: ("the next hop is loopback, multicast, unspecified or reserved", "RFC 4271 6.3"),
    ImportReason.NEXT_HOP_SELF: ("the next hop is an address of this node", "RFC 4271 5.1.3"),
    ImportReason.NEXT_HOP_FOREIGN: ("the next hop is neither a node of the cluster file nor the peer", _OWN),
    ImportReason.AS_LOOP: ("our AS is in the AS_PATH", "RFC 4271 9.1.2"),
    ImportReason.ORIGINATOR_LOOP: ("the ORIGINATOR_ID is our router id", "RFC 4456 8"),
    ImportReason.CLUSTER_LOOP: ("our cluster id is in the CLUSTER_LIST", "RFC 4456 8"),
    ImportReason.OWNER_UNKNOWN: ("the owner is no node of the cluster file", _OWN),
    ImportReason.OWNER_MISMATCH: ("the path does not come from the node that it names as its owner", _OWN),
    ImportReason.HELD_ELSEWHERE: ("the block is pinned to, or reserved for, another node", _OWN),
    ImportReason.LOST_CONFLICT: ("two nodes announce the block, and the other one wins it", _OWN),
    ImportReason.FILTER: ("a filter of the cluster file refuses it", _OWN),
}


class DecisionStep(enum.Enum):
    """The step of the decision that a path lost at, in the order of the ladder. The value is a stable name."""

    NEXT_HOP = "next-hop"
    BFD_DOWN = "bfd-down"
    LOCAL_PREF = "local-pref"
    AS_PATH = "as-path"
    ORIGIN = "origin"
    MED = "med"
    EXTERNAL = "ebgp-over-ibgp"
    METRIC = "metric"
    ROUTER_ID = "router-id"
    CLUSTER_LIST = "cluster-list"
    PEER_ADDRESS = "peer-address"
    PATH_ID = "path-id"

    @property
    def text(self) -> str:
        """Why the path lost, in words."""
        return _STEPS[self][0]

    @property
    def source(self) -> str:
        """The RFC section that the step comes from."""
        return _STEPS[self][1]


UNUSABLE = frozenset({DecisionStep.NEXT_HOP, DecisionStep.BFD_DOWN})
"""The steps that look at one path alone: what loses there takes no part, and is announced to nobody."""
_STEPS: dict[DecisionStep, tuple[str, str]] = {
    DecisionStep.NEXT_HOP: ("its next hop cannot be resolved", "RFC 4271 9.1.2.1"),
    DecisionStep.BFD_DOWN: ("its next hop is out of use: BFD says that it is not reached", "RFC 5882 4.2"),
    DecisionStep.LOCAL_PREF: ("another path has a higher LOCAL_PREF", "RFC 4271 9.1.1"),
    DecisionStep.AS_PATH: ("another path has a shorter AS_PATH", "RFC 4271 9.1.2.2 a"),
    DecisionStep.ORIGIN: ("another path has a lower ORIGIN", "RFC 4271 9.1.2.2 b"),
    DecisionStep.MED: ("another path from the same neighbor AS has a lower MULTI_EXIT_DISC", "RFC 4271 9.1.2.2 c"),
    DecisionStep.EXTERNAL: ("another path came over eBGP, this one over iBGP", "RFC 4271 9.1.2.2 d"),
    DecisionStep.METRIC: ("another path has a nearer next hop", "RFC 4271 9.1.2.2 e"),
    DecisionStep.ROUTER_ID: ("another path has a lower ORIGINATOR_ID or router id", "RFC 4271 9.1.2.2 f, RFC 4456 9"),
    DecisionStep.CLUSTER_LIST: ("another path has a shorter CLUSTER_LIST", "RFC 4456 9"),
    DecisionStep.PEER_ADDRESS: ("another path came from a lower peer address", "RFC 4271 9.1.2.2 g"),
    DecisionStep.PATH_ID: ("another path of the same peer has a lower path id", "RFC 7911 3"),
}


class ExportReason(enum.Enum):
    """Why a peer is not told of a prefix that is reached, or ours. The value is a stable name for APIs."""

    DRAINED = "drained"
    NOT_OWN = "not-own"
    FROM_THERE = "from-there"
    BEGAN_THERE = "began-there"
    LEADS_THERE = "leads-there"
    NO_ADVERTISE = "no-advertise"
    NO_EXPORT = "no-export"
    NOT_REFLECTED = "not-reflected"
    FILTER = "filter"

    @property
    def text(self) -> str:
        """The reason in words."""
        return _EXPORT[self][0]

    @property
    def source(self) -> str:
        """The RFC section; empty for what the cluster file or an operator asks for."""
        return _EXPORT[self][1]


_EXPORT: dict[ExportReason, tuple[str, str]] = {
    ExportReason.DRAINED: ("this node is drained", ""),
    ExportReason.NOT_OWN: ("only our own prefixes are announced there (advertise: own)", ""),
    ExportReason.FROM_THERE: ("it was learned from there", "RFC 4456 6"),
    ExportReason.BEGAN_THERE: ("it began there", "RFC 4456 8"),
    ExportReason.LEADS_THERE: ("its next hop is the peer itself", "RFC 4271 5.1.3"),
    ExportReason.NO_ADVERTISE: ("it carries NO_ADVERTISE", "RFC 1997"),
    ExportReason.NO_EXPORT: ("it carries NO_EXPORT or NO_EXPORT_SUBCONFED", "RFC 1997"),
    ExportReason.NOT_REFLECTED: ("neither side is a client: this node does not reflect it", "RFC 4456 6"),
    ExportReason.FILTER: ("the export filters refuse it", ""),
}
