"""The rules of the single path attributes: expected flags, verdict when malformed, and the function that reads the
value.

Theory of operation: a reader gets the draft of the whole set and the value's octets, and either sets its field or
raises MalformedError. It judges nothing else: flags, duplicates and where the attribute came from are the decoder's
part, by what the rule says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from calicopy.bgp.as_path import AS_TRANS, AsPath, AsPathError, decode_as_path, merge_as4_path
from calicopy.bgp.attributes import (
    EMPTY_PATH,
    Aggregator,
    AttributeCode,
    AttributeFlag,
    LargeCommunity,
    Origin,
    PathAttributes,
    RawAttribute,
)
from calicopy.bgp.session import SessionOptions
from calicopy.bgp.verdict import FaultKind, Verdict

KIND_BITS = int(AttributeFlag.OPTIONAL | AttributeFlag.TRANSITIVE)
"""The flags that tell the category of an attribute (RFC 4271 section 5)."""
_OPTIONAL = int(AttributeFlag.OPTIONAL)
_TRANSITIVE = int(AttributeFlag.TRANSITIVE)


class MalformedError(Exception):
    """A value that breaks its rule."""

    def __init__(self, kind: FaultKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(slots=True)
class Draft:
    """The attributes of one field while they are being read."""

    session: SessionOptions
    origin: Origin = Origin.INCOMPLETE
    as_path: AsPath = EMPTY_PATH
    as4_path: AsPath | None = None
    next_hop: IPv4Address | None = None
    med: int | None = None
    local_pref: int | None = None
    atomic_aggregate: bool = False
    aggregator: Aggregator | None = None
    as4_aggregator: Aggregator | None = None
    communities: tuple[int, ...] = ()
    originator_id: IPv4Address | None = None
    cluster_list: tuple[IPv4Address, ...] = ()
    large_communities: tuple[LargeCommunity, ...] = ()
    unknown: list[RawAttribute] = field(default_factory=list)
    partial: list[int] = field(default_factory=list)

    def finish(self) -> PathAttributes:
        """The values as one set, the AS4 attributes of a 2-octet session folded in (RFC 6793 section 4.2.3)."""
        as_path, aggregator = self.as_path, self.aggregator
        # an AGGREGATOR with a real AS number was written by a speaker that knows no AS4 attributes: they are stale
        if not (self.as4_aggregator is not None and aggregator is not None and aggregator.asn != AS_TRANS):
            if aggregator is not None and self.as4_aggregator is not None:
                aggregator = self.as4_aggregator
            if self.as4_path is not None:
                as_path = merge_as4_path(as_path, self.as4_path)
        return PathAttributes(
            origin=self.origin,
            as_path=as_path,
            next_hop=self.next_hop,
            med=self.med,
            local_pref=self.local_pref,
            atomic_aggregate=self.atomic_aggregate,
            aggregator=aggregator,
            communities=self.communities,
            originator_id=self.originator_id,
            cluster_list=self.cluster_list,
            large_communities=self.large_communities,
            unknown=tuple(self.unknown),
            partial=tuple(sorted(self.partial)),
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """How one attribute is read: its optional and transitive bits, its reader, and the verdict when it is malformed."""

    bits: int
    read: Callable[[Draft, bytes], None]
    malformed: Verdict = Verdict.TREAT_AS_WITHDRAW
    internal_only: bool = False
    two_octet_only: bool = False


def _length(value: bytes, expected: int, name: str) -> bytes:
    if len(value) != expected:
        raise MalformedError(FaultKind.ATTRIBUTE_LENGTH, f"{name} has {len(value)} octets, expected {expected}")
    return value


def _multiple(value: bytes, of: int, name: str) -> bytes:
    if not value or len(value) % of:
        text = f"{name} has {len(value)} octets, expected a multiple of {of} over 0"
        raise MalformedError(FaultKind.ATTRIBUTE_LENGTH, text)
    return value


def _number(value: bytes, name: str) -> int:
    return int.from_bytes(_length(value, 4, name), "big")


def _read_origin(draft: Draft, value: bytes) -> None:
    code = _length(value, 1, "ORIGIN")[0]
    if code > 2:
        raise MalformedError(FaultKind.ATTRIBUTE_VALUE, f"ORIGIN is {code}, expected 0, 1 or 2")
    draft.origin = Origin(code)


def _read_as_path(draft: Draft, value: bytes) -> None:
    path = _as_path(value, asn4=draft.session.asn4)
    if path.has_confed and not draft.session.ibgp:  # RFC 5065 section 5: an error from outside the confederation
        raise MalformedError(FaultKind.ATTRIBUTE_VALUE, "a confederation segment came from an external peer")
    draft.as_path = path


def _as_path(value: bytes, *, asn4: bool) -> AsPath:
    try:
        return decode_as_path(value, asn4=asn4)
    except AsPathError as error:
        raise MalformedError(FaultKind.ATTRIBUTE_VALUE, str(error)) from None


def _read_next_hop(draft: Draft, value: bytes) -> None:
    draft.next_hop = IPv4Address(_length(value, 4, "NEXT_HOP"))


def _read_med(draft: Draft, value: bytes) -> None:
    draft.med = _number(value, "MULTI_EXIT_DISC")


def _read_local_pref(draft: Draft, value: bytes) -> None:
    draft.local_pref = _number(value, "LOCAL_PREF")


def _read_atomic_aggregate(draft: Draft, value: bytes) -> None:
    _length(value, 0, "ATOMIC_AGGREGATE")
    draft.atomic_aggregate = True


def _aggregator(value: bytes, width: int, name: str) -> Aggregator:
    _length(value, width + 4, name)
    asn = int.from_bytes(value[:width], "big")
    if asn == 0:  # RFC 7607 section 2
        raise MalformedError(FaultKind.ATTRIBUTE_VALUE, f"{name} has AS 0")
    return Aggregator(asn, IPv4Address(value[width:]))


def _read_aggregator(draft: Draft, value: bytes) -> None:
    draft.aggregator = _aggregator(value, 4 if draft.session.asn4 else 2, "AGGREGATOR")


def _read_communities(draft: Draft, value: bytes) -> None:
    _multiple(value, 4, "COMMUNITIES")
    draft.communities = struct.unpack(f">{len(value) // 4}I", value)


def _read_originator_id(draft: Draft, value: bytes) -> None:
    draft.originator_id = IPv4Address(_length(value, 4, "ORIGINATOR_ID"))


def _read_cluster_list(draft: Draft, value: bytes) -> None:
    _multiple(value, 4, "CLUSTER_LIST")
    draft.cluster_list = tuple(IPv4Address(value[at : at + 4]) for at in range(0, len(value), 4))


def _read_extended_communities(draft: Draft, value: bytes) -> None:
    _multiple(value, 8, "EXTENDED_COMMUNITIES")
    draft.unknown.append(RawAttribute(KIND_BITS, int(AttributeCode.EXTENDED_COMMUNITIES), value))


def _read_ipv6_extended_communities(draft: Draft, value: bytes) -> None:
    _multiple(value, 20, "IPv6 EXTENDED_COMMUNITIES")
    draft.unknown.append(RawAttribute(KIND_BITS, int(AttributeCode.IPV6_EXTENDED_COMMUNITIES), value))


def _read_as4_path(draft: Draft, value: bytes) -> None:
    draft.as4_path = _as_path(value, asn4=True)


def _read_as4_aggregator(draft: Draft, value: bytes) -> None:
    draft.as4_aggregator = _aggregator(value, 4, "AS4_AGGREGATOR")


def _read_large_communities(draft: Draft, value: bytes) -> None:
    _multiple(value, 12, "LARGE_COMMUNITIES")
    draft.large_communities = tuple(dict.fromkeys(struct.iter_unpack(">III", value)))


def _read_only_to_customer(draft: Draft, value: bytes) -> None:
    _length(value, 4, "ONLY_TO_CUSTOMER")
    draft.unknown.append(RawAttribute(KIND_BITS, int(AttributeCode.ONLY_TO_CUSTOMER), value))


_WELL_KNOWN = _TRANSITIVE
_OPTIONAL_TRANSITIVE = _OPTIONAL | _TRANSITIVE
_OPTIONAL_LOCAL = _OPTIONAL

RULES: dict[int, Rule] = {  # verdicts: RFC 7606 section 7, RFC 6793 section 6, RFC 8092 section 6, RFC 9234 section 5
    AttributeCode.ORIGIN: Rule(_WELL_KNOWN, _read_origin),
    AttributeCode.AS_PATH: Rule(_WELL_KNOWN, _read_as_path),
    AttributeCode.NEXT_HOP: Rule(_WELL_KNOWN, _read_next_hop),
    AttributeCode.MULTI_EXIT_DISC: Rule(_OPTIONAL_LOCAL, _read_med),
    AttributeCode.LOCAL_PREF: Rule(_WELL_KNOWN, _read_local_pref, internal_only=True),
    AttributeCode.ATOMIC_AGGREGATE: Rule(_WELL_KNOWN, _read_atomic_aggregate, Verdict.ATTRIBUTE_DISCARD),
    AttributeCode.AGGREGATOR: Rule(_OPTIONAL_TRANSITIVE, _read_aggregator, Verdict.ATTRIBUTE_DISCARD),
    AttributeCode.COMMUNITIES: Rule(_OPTIONAL_TRANSITIVE, _read_communities),
    AttributeCode.ORIGINATOR_ID: Rule(_OPTIONAL_LOCAL, _read_originator_id, internal_only=True),
    AttributeCode.CLUSTER_LIST: Rule(_OPTIONAL_LOCAL, _read_cluster_list, internal_only=True),
    AttributeCode.EXTENDED_COMMUNITIES: Rule(_OPTIONAL_TRANSITIVE, _read_extended_communities),
    AttributeCode.AS4_PATH: Rule(_OPTIONAL_TRANSITIVE, _read_as4_path, Verdict.ATTRIBUTE_DISCARD, two_octet_only=True),
    AttributeCode.AS4_AGGREGATOR: Rule(
        _OPTIONAL_TRANSITIVE, _read_as4_aggregator, Verdict.ATTRIBUTE_DISCARD, two_octet_only=True
    ),
    AttributeCode.IPV6_EXTENDED_COMMUNITIES: Rule(_OPTIONAL_TRANSITIVE, _read_ipv6_extended_communities),
    AttributeCode.LARGE_COMMUNITIES: Rule(_OPTIONAL_TRANSITIVE, _read_large_communities),
    AttributeCode.ONLY_TO_CUSTOMER: Rule(_OPTIONAL_TRANSITIVE, _read_only_to_customer),
}
