"""The import policy's half that depends on the path alone: next hop, loops, who owns what it carries, and filters.

Theory of operation: `PathPolicy.path` looks at one attribute set from one peer, once, and all prefixes that came with
it share the outcome (where the filters look at prefixes: all of a class). It refuses by default: what is not known to
be right has a reason. The other half, which depends on the prefix (pools, lengths, own blocks, holders), is in `places`
and `admission`. What is let in gets its effective attributes in this order:

1. what only an internal peer may say (LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST) is dropped from an external one (RFC
   4271 section 5.1.5, RFC 4456 section 8), and an owner that is not believed from everybody else;
2. the filters, in order;
3. GRACEFUL_SHUTDOWN: LOCAL_PREF 0 (RFC 8326 section 4.2), unless a filter took the community away.

The owner travels in a large community `<cluster AS>:1:<router id>`. It is believed from nodes of the cluster file and
from peers with `trust_owner`; from all others it is read as if it were not there. A believed owner must also be where
the path began: at ORIGINATOR_ID (RFC 4456), at the peer when the peer is a node, or in the origin AS where nodes have
their own AS.
"""
from __future__ import annotations

from dataclasses import replace

from calicopy.bgp.attributes import PathAttributes
from calicopy.bgp.communities import GRACEFUL_SHUTDOWN
from calicopy.net import IPAddress
from calicopy.policy import Chain, PathFacts, PeerType, PrefixClass, RouteSource
from calicopy.rib.model import NodeFacts, Path, PeerInfo, RibContext
from calicopy.rib.reasons import ImportReason

OWNER_FUNCTION = 1
"""The second field of the owner's large community: <cluster AS>:1:<router id>."""
TUNNEL_FUNCTION = 2
"""That of one that names a tunnel address of the owner: <cluster AS>:2:<where it is in the block, from 0>."""


class PathPolicy:
    """The policy on paths that follows from one context."""

    def __init__(self, context: RibContext) -> None:
        self._context = context
        us = context.nodes.get(context.router_id)
        self._own = context.own_addresses if us is None else context.own_addresses | us.addresses
        self._nodes = frozenset(address for node in context.nodes.values() for address in node.addresses)

    def path(
        self, peer: PeerInfo, chain: Chain, prefix_class: PrefixClass, *, path_id: int, attributes: PathAttributes,
        next_hop: IPAddress | None,
    ) -> Path:  # fmt: skip
        """The path that the peer's announcement is, for prefixes of a class under `chain`, its import filters."""
        owner, refused = self.judge(peer, attributes, next_hop)
        if refused is not None:
            return Path(peer, path_id, attributes, next_hop, owner, refused)
        believed = self._believed(peer, attributes)
        judged = chain.judge(believed, prefix_class, self._facts(peer))
        if not judged.accepted:
            return Path(peer, path_id, attributes, next_hop, owner, ImportReason.FILTER, rule=judged.rule)
        effective = judged.attributes
        if judged.prepend and (neighbor := effective.as_path.neighbor_as) is not None:
            effective = replace(effective, as_path=effective.as_path.prepend(neighbor, judged.prepend))
        if GRACEFUL_SHUTDOWN in effective.communities and effective.local_pref != 0:
            effective = replace(effective, local_pref=0)
        changed = None if effective is attributes else effective
        return Path(peer, path_id, attributes, next_hop, owner, None, changed, judged.rule)

    def _believed(self, peer: PeerInfo, attributes: PathAttributes) -> PathAttributes:
        """The attributes without what this peer has no say in; the same object where there is no such thing."""
        believed = attributes
        if not peer.ibgp and (
            attributes.local_pref is not None or attributes.originator_id is not None or attributes.cluster_list
        ):
            believed = replace(believed, local_pref=None, originator_id=None, cluster_list=())
        if not _trusted(peer):
            given = self.reserved
            large = tuple(one for one in attributes.large_communities if one[:2] not in given)
            if large != attributes.large_communities:
                believed = replace(believed, large_communities=large)
        return believed

    def _facts(self, peer: PeerInfo) -> PathFacts:
        source = RouteSource.IBGP if peer.ibgp else RouteSource.EBGP
        return PathFacts(peer_types(ibgp=peer.ibgp, mesh=peer.mesh), source, peer.name, self.reserved)

    @property
    def reserved(self) -> frozenset[tuple[int, int]]:
        """What the large communities begin with that only the owner gives."""
        return reserved(self._context)

    def judge(
        self, peer: PeerInfo, attributes: PathAttributes, next_hop: IPAddress | None
    ) -> tuple[int | None, ImportReason | None]:
        """(the owner's router id where known and believed, why the path is refused whatever its prefix and the filters
        say, or None).
        """
        owner, owner_reason = self._owner(peer, attributes)
        return owner, self._loop(peer, attributes) or self._next_hop(peer, next_hop) or owner_reason

    def _loop(self, peer: PeerInfo, attributes: PathAttributes) -> ImportReason | None:
        """The three loops. Those of reflection exist inside an AS only (RFC 4456 section 8)."""
        ours = (self._context.local_as, peer.local_asn)
        seen = sum(asn in ours for segment in attributes.as_path.segments for asn in segment.asns)
        if seen > peer.allow_own_as:
            return ImportReason.AS_LOOP
        if not peer.ibgp:
            return None
        if attributes.originator_id is not None and int(attributes.originator_id) == self._context.router_id:
            return ImportReason.ORIGINATOR_LOOP
        if any(int(cluster) == self._context.cluster_id for cluster in attributes.cluster_list):
            return ImportReason.CLUSTER_LOOP
        return None

    def _next_hop(self, peer: PeerInfo, next_hop: IPAddress | None) -> ImportReason | None:
        if next_hop is None:
            return ImportReason.NEXT_HOP_MISSING
        reserved = next_hop.version == 4 and next_hop.is_reserved  # for IPv6 `is_reserved` means something else
        if next_hop.is_loopback or next_hop.is_multicast or next_hop.is_unspecified or reserved:
            return ImportReason.NEXT_HOP_MARTIAN
        if next_hop in self._own:
            return ImportReason.NEXT_HOP_SELF
        if next_hop == peer.address or next_hop in self._nodes or next_hop in peer.next_hops:
            return None
        if self._may_be_of(peer, next_hop):
            return None
        return ImportReason.NEXT_HOP_FOREIGN

    def _may_be_of(self, peer: PeerInfo, next_hop: IPAddress) -> bool:
        """Whether it may be the peer's address of the other family, which nothing names where the session carries IPv6
        over IPv4 or the reverse: it shares a subnet with us (RFC 4271 section 5.1.3).
        """
        if next_hop.version == peer.address.version:
            return False
        return any(next_hop in network for network in self._context.own_networks)

    def _owner(self, peer: PeerInfo, attributes: PathAttributes) -> tuple[int | None, ImportReason | None]:
        """(owner, reason): see the head of this module. To have no owner is no fault."""
        if not _trusted(peer):
            return None, None
        claims = {
            router_id
            for asn, function, router_id in attributes.large_communities
            if asn == self._context.cluster_as and function == OWNER_FUNCTION
        }
        if not claims:
            return self._origin_node(peer, attributes), None
        if len(claims) > 1:
            return None, ImportReason.OWNER_MISMATCH
        claimed = claims.pop()
        node = self._context.nodes.get(claimed)
        if node is None:
            return None, ImportReason.OWNER_UNKNOWN
        if not self._began_at(peer, attributes, node):
            return None, ImportReason.OWNER_MISMATCH
        return claimed, ImportReason.OURS if claimed == self._context.router_id else None

    def _began_at(self, peer: PeerInfo, attributes: PathAttributes, node: NodeFacts) -> bool:
        """Whether the path can have begun at `node`, by the strongest sign of its origin that it carries."""
        if peer.ibgp and attributes.originator_id is not None:
            return int(attributes.originator_id) == node.router_id
        if _direct(peer, attributes):
            return peer.router_id == node.router_id
        if peer.node is None and node.asn == self._context.cluster_as:
            return True  # the nodes share an AS, so that no AS path tells them apart: the peer is trusted
        return attributes.as_path.origin_as == node.asn

    def _origin_node(self, peer: PeerInfo, attributes: PathAttributes) -> int | None:
        """The node that a path from a node peer began at, where nothing names the owner; None: it cannot be told."""
        if peer.node is None:
            return None
        origin = peer.router_id if _direct(peer, attributes) else None
        if peer.ibgp and attributes.originator_id is not None:
            origin = int(attributes.originator_id)
        return origin if origin in self._context.nodes and origin != self._context.router_id else None


def reserved(context: RibContext) -> frozenset[tuple[int, int]]:
    """What the large communities begin with that only the owner gives, and that no filter changes."""
    return frozenset(((context.cluster_as, OWNER_FUNCTION), (context.cluster_as, TUNNEL_FUNCTION)))


def peer_types(*, ibgp: bool, mesh: bool) -> frozenset[PeerType]:
    """What a session is to a filter."""
    kind = PeerType.IBGP if ibgp else PeerType.EBGP
    return frozenset({kind, PeerType.MESH}) if mesh else frozenset({kind})


def _trusted(peer: PeerInfo) -> bool:
    """Whether the owner that the peer names is believed."""
    return peer.node is not None or peer.trust_owner


def _direct(peer: PeerInfo, attributes: PathAttributes) -> bool:
    """Whether the peer is a node and began the path itself: no other AS lies behind it."""
    if peer.node is None:
        return False
    return not attributes.as_path.segments if peer.ibgp else attributes.as_path.origin_as == peer.asn
