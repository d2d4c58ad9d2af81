"""What each peer should hear, what it was told, and the difference.

Theory of operation: `export_own` computes what a peer hears of our own prefixes, with every attribute set by us
(nothing is left to the speaker). `AdjRibOut` holds, per peer and (family, path id), the whole set that should be
announced and the set that was handed to the speaker. `delta` is their difference; only `confirm` moves what was told,
so that what could not be handed over stays pending. A new session was told nothing (`reset`).
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from calicopy.bgp.as_path import AsPath
from calicopy.bgp.attributes import Origin, PathAttributes
from calicopy.net import Family, IPAddress, Packed
from calicopy.rib.model import DEFAULT_LOCAL_PREF, PeerInfo, RibContext
from calicopy.rib.policy import OWNER_FUNCTION


@dataclass(frozen=True, slots=True)
class OutAttributes:
    """What is announced with a prefix: the next hop (which MP_REACH_NLRI or NEXT_HOP carries) and all other attributes.

    `attributes.next_hop` is None. Equal by value; prefixes that share one go out together.
    """

    next_hop: IPAddress
    attributes: PathAttributes


@dataclass(frozen=True, slots=True)
class OutBatch:
    """Prefixes of one family under one path id (0 without ADD-PATH). `attributes` is None where they are withdrawn."""

    family: Family
    path_id: int
    attributes: OutAttributes | None
    prefixes: list[Packed]


@dataclass(frozen=True, slots=True)
class OutDelta:
    """What a peer must be told next. Empty, and false, when it knows everything."""

    announce: list[OutBatch] = field(default_factory=list)
    withdraw: list[OutBatch] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.announce or self.withdraw)


def owner_community(context: RibContext) -> tuple[int, int, int]:
    """The large community that says that a prefix is this node's."""
    return context.cluster_as, OWNER_FUNCTION, context.router_id


def export_own(
    context: RibContext, peer: PeerInfo, *, next_hop: IPAddress, prefixes: Iterable[Packed]
) -> dict[Packed, OutAttributes]:
    """Our own prefixes (blocks, and the host prefixes of a conflict) as `peer` hears them; `next_hop` is our end of it.

    An internal peer gets LOCAL_PREF and an empty AS_PATH, an external one our AS and neither LOCAL_PREF nor MED (RFC
    4271 sections 5.1.2, 5.1.4, 5.1.5). Both get the owner's large community.
    """
    attributes = PathAttributes(
        origin=Origin.IGP,
        as_path=AsPath() if peer.ibgp else AsPath.sequence(peer.local_asn),
        local_pref=DEFAULT_LOCAL_PREF if peer.ibgp else None,
        large_communities=(owner_community(context),),
    )
    return dict.fromkeys(prefixes, OutAttributes(next_hop, attributes))


class AdjRibOut:
    """Per peer: desired and told announcements."""

    def __init__(self) -> None:
        self._desired: dict[str, dict[tuple[Family, int], dict[Packed, OutAttributes]]] = {}
        self._told: dict[str, dict[tuple[Family, int], dict[Packed, OutAttributes]]] = {}

    def set(self, peer: str, family: Family, announced: Mapping[Packed, OutAttributes], *, path_id: int = 0) -> None:
        """The whole set that `peer` should hear of a family under a path id."""
        self._desired.setdefault(peer, {})[family, path_id] = dict(announced)

    def reset(self, peer: str) -> None:
        """A new session: the peer has heard nothing."""
        self._told.pop(peer, None)

    def remove(self, peer: str) -> None:
        """The peer is no longer configured."""
        self._desired.pop(peer, None)
        self._told.pop(peer, None)

    def delta(self, peer: str) -> OutDelta:
        """What the peer has to be told, prefixes of equal attributes together."""
        desired, told = self._desired.get(peer, {}), self._told.get(peer, {})
        delta = OutDelta()
        for table in sorted({*desired, *told}):
            family, path_id = table
            want, have = desired.get(table, {}), told.get(table, {})
            groups: dict[OutAttributes, list[Packed]] = {}
            for prefix, attributes in want.items():
                if have.get(prefix) != attributes:
                    groups.setdefault(attributes, []).append(prefix)
            delta.announce.extend(OutBatch(family, path_id, attributes, group) for attributes, group in groups.items())
            gone = [prefix for prefix in have if prefix not in want]
            if gone:
                delta.withdraw.append(OutBatch(family, path_id, None, gone))
        return delta

    def confirm(self, peer: str, delta: OutDelta) -> None:
        """`delta` was handed over to the speaker: the peer is told."""
        told = self._told.setdefault(peer, {})
        for batch in delta.withdraw:
            table = told.get((batch.family, batch.path_id), {})
            for prefix in batch.prefixes:
                table.pop(prefix, None)
        for batch in delta.announce:
            if batch.attributes is not None:
                table = told.setdefault((batch.family, batch.path_id), {})
                table.update(dict.fromkeys(batch.prefixes, batch.attributes))

    def desired(self, peer: str, family: Family, *, path_id: int = 0) -> Mapping[Packed, OutAttributes]:
        """What the peer should hear."""
        return self._desired.get(peer, {}).get((family, path_id), {})

    def told(self, peer: str, family: Family, *, path_id: int = 0) -> Mapping[Packed, OutAttributes]:
        """What was handed over for the peer in this session."""
        return self._told.get(peer, {}).get((family, path_id), {})
