"""The path attributes field of an UPDATE to values and faults, with a cache.

Theory of operation: the field is cut into type-length-value triples, MP_REACH_NLRI and MP_UNREACH_NLRI are set aside for the
update decoder (they differ in every message), and the rest is decoded by one table of rules: expected flags, verdict when
malformed, function. An `AttributeCache` keeps the outcome per raw octets and session kind, so that a table of 100,000 prefixes
in few attribute sets decodes each set once, and all its prefixes share one `PathAttributes` object. The outcome of equal octets
is equal, faults included; nothing here depends on earlier messages.
"""
from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from calicopy.bgp.as_path import AS_TRANS, AsPath, AsPathError, decode_as_path, merge_as4_path
from calicopy.bgp.attributes import (
    Aggregator,
    AttributeCode,
    AttributeFlag,
    LargeCommunity,
    Origin,
    PathAttributes,
    UnknownAttribute,
)
from calicopy.bgp.session import SessionOptions
from calicopy.bgp.verdict import Fault, FaultKind, Verdict

_OPTIONAL = int(AttributeFlag.OPTIONAL)
_TRANSITIVE = int(AttributeFlag.TRANSITIVE)
_EXTENDED_LENGTH = int(AttributeFlag.EXTENDED_LENGTH)
_KIND_BITS = _OPTIONAL | _TRANSITIVE
_MP_CODES = frozenset({int(AttributeCode.MP_REACH_NLRI), int(AttributeCode.MP_UNREACH_NLRI)})


@dataclass(frozen=True, slots=True)
class RawAttribute:
    """One attribute as it stood in the message: flags octet, type code, value."""

    flags: int
    code: int
    value: bytes


@dataclass(frozen=True, slots=True)
class DecodedAttributes:
    """The attributes that are not MP_REACH/MP_UNREACH: values (of those that were sound), the codes seen, and the faults.

    `codes` has every type code that occurred, broken ones included; `sound` those whose value stands in `attributes`.
    """

    attributes: PathAttributes
    codes: frozenset[int]
    sound: frozenset[int]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class AttributesField:
    """A whole path attributes field: the decoded part, the MP attributes left raw, and the faults of its framing."""

    decoded: DecodedAttributes
    mp_reach: RawAttribute | None
    mp_unreach: RawAttribute | None
    faults: tuple[Fault, ...]


class AttributeCache:
    """Outcomes per raw octets, bounded by number and by octets; the less recently used half goes when it is full.

    One cache may serve many peers: what differs between kinds of session is part of the key.
    """

    def __init__(self, *, entries: int = 8192, octets: int = 4 << 20) -> None:
        self._half_entries = max(1, entries // 2)
        self._half_octets = max(1, octets // 2)
        self._young: dict[tuple[bytes, bool, bool], AttributesField] = {}
        self._old: dict[tuple[bytes, bool, bool], AttributesField] = {}
        self._octets = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, raw: bytes, session: SessionOptions) -> AttributesField | None:
        """The outcome of these octets in this kind of session, None when it is not known."""
        key = (raw, session.asn4, session.ibgp)
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(raw, session, found)
        return found

    def put(self, raw: bytes, session: SessionOptions, outcome: AttributesField) -> None:
        """Keep an outcome."""
        if len(self._young) >= self._half_entries or self._octets + len(raw) > self._half_octets:
            self._old, self._young, self._octets = self._young, {}, 0
        self._young[raw, session.asn4, session.ibgp] = outcome
        self._octets += len(raw)


def decode_attributes(raw: bytes, session: SessionOptions, cache: AttributeCache | None = None) -> AttributesField:
    """The path attributes field (without its length octets) to values and faults. Never raises."""
    if cache is None:
        return _decode_field(raw, session, None)
    found = cache.get(raw, session)
    if found is None:
        found = _decode_field(raw, session, cache)
        if found.mp_reach is None and found.mp_unreach is None:
            cache.put(raw, session, found)
    return found


def _decode_field(raw: bytes, session: SessionOptions, cache: AttributeCache | None) -> AttributesField:
    plain, mp, faults, plain_raw = _split(raw)
    if not mp:
        return AttributesField(_decode_plain(plain, session), None, None, faults)
    # the rest, without the MP attributes, repeats from message to message: it is worth the cache where they are not
    common = cache.get(plain_raw, session) if cache is not None and not faults else None
    if common is None:
        common = AttributesField(_decode_plain(plain, session), None, None, ())
        if cache is not None and not faults:
            cache.put(plain_raw, session, common)
    reach, unreach = mp.get(AttributeCode.MP_REACH_NLRI), mp.get(AttributeCode.MP_UNREACH_NLRI)
    return AttributesField(common.decoded, reach, unreach, faults)


def _split(raw: bytes) -> tuple[list[RawAttribute], dict[int, RawAttribute], tuple[Fault, ...], bytes]:
    """The field to (plain attributes, MP attributes by code, framing faults, octets of the plain ones)."""
    plain: list[RawAttribute] = []
    mp: dict[int, RawAttribute] = {}
    faults: list[Fault] = []
    plain_octets: list[bytes] = []
    position, end = 0, len(raw)
    while position < end:
        flags = raw[position]
        head = 4 if flags & _EXTENDED_LENGTH else 3
        if position + head > end:
            faults.append(_overrun(None, f"{end - position} octets are left over where an attribute header of {head} was expected"))
            break
        code = raw[position + 1]
        length = int.from_bytes(raw[position + 2 : position + head], "big")
        stop = position + head + length
        if stop > end:
            faults.append(_overrun(code, f"attribute {code} of {length} octets runs {stop - end} over the attributes field"))
            break
        attribute = RawAttribute(flags, code, raw[position + head : stop])
        if code not in _MP_CODES:
            plain.append(attribute)
            plain_octets.append(raw[position:stop])
        elif code in mp:
            text = f"attribute {code} is there twice"
            faults.append(Fault(Verdict.SESSION_RESET, FaultKind.ATTRIBUTE_DUPLICATE, code, text))
        else:
            mp[code] = attribute
        position = stop
    return plain, mp, tuple(faults), b"".join(plain_octets)


def _overrun(code: int | None, text: str) -> Fault:
    """RFC 7606 section 4: treat as withdraw; but NLRI inside the broken attribute cannot be located (section 3 j)."""
    verdict = Verdict.SESSION_RESET if code in _MP_CODES else Verdict.TREAT_AS_WITHDRAW
    return Fault(verdict, FaultKind.ATTRIBUTE_OVERRUN, code, text)


class _Malformed(Exception):
    """A value that breaks its rule."""

    def __init__(self, kind: FaultKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(slots=True)
class _Draft:
    """The attributes of one field while they are being read."""

    session: SessionOptions
    origin: Origin = Origin.INCOMPLETE
    as_path: AsPath = AsPath()
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
    unknown: list[UnknownAttribute] = field(default_factory=list)

    def finish(self) -> PathAttributes:
        """The values as one set, the AS4 attributes of a 2-octet session folded in (RFC 6793 section 4.2.3)."""
        as_path, aggregator = self.as_path, self.aggregator
        # an AGGREGATOR with a real AS number shows that a speaker that knows no AS4 attributes has rewritten the path since
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
        )


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one attribute is read: its optional and transitive bits, its reader, and the verdict when it is malformed."""

    bits: int
    read: Callable[[_Draft, bytes], None]
    malformed: Verdict = Verdict.TREAT_AS_WITHDRAW
    internal_only: bool = False
    two_octet_only: bool = False


def _decode_plain(plain: list[RawAttribute], session: SessionOptions) -> DecodedAttributes:
    draft = _Draft(session)
    faults: list[Fault] = []
    codes: set[int] = set()
    sound: set[int] = set()
    for attribute in plain:
        if attribute.code in codes:  # RFC 7606 section 3 g: all but the first are discarded
            text = f"attribute {attribute.code} is there again"
            faults.append(Fault(Verdict.ATTRIBUTE_DISCARD, FaultKind.ATTRIBUTE_DUPLICATE, attribute.code, text))
            continue
        codes.add(attribute.code)
        fault = _read_one(draft, attribute)
        if fault is None:
            sound.add(attribute.code)
        else:
            faults.append(fault)
    return DecodedAttributes(draft.finish(), frozenset(codes), frozenset(sound), tuple(faults))


def _read_one(draft: _Draft, attribute: RawAttribute) -> Fault | None:
    """Read one attribute into the draft; the fault when it cannot be taken."""
    code, rule = attribute.code, _RULES.get(attribute.code)
    if rule is None:
        return _read_unknown(draft, attribute)
    if attribute.flags & _KIND_BITS != rule.bits:  # RFC 7606 section 3 c
        text = f"attribute {code} has flags 0x{attribute.flags:02x}, expected 0x{rule.bits:02x} in the first two bits"
        return Fault(rule.malformed, FaultKind.ATTRIBUTE_FLAGS, code, text)
    if rule.internal_only and not draft.session.ibgp:
        text = f"attribute {code} came from an external peer"
        return Fault(Verdict.ATTRIBUTE_DISCARD, FaultKind.ATTRIBUTE_MISPLACED, code, text)
    if rule.two_octet_only and draft.session.asn4:  # RFC 6793 section 4.1
        text = f"attribute {code} came on a session with 4-octet AS numbers"
        return Fault(Verdict.ATTRIBUTE_DISCARD, FaultKind.ATTRIBUTE_MISPLACED, code, text)
    try:
        rule.read(draft, attribute.value)
    except _Malformed as error:
        return Fault(rule.malformed, error.kind, code, str(error))
    return None


def _read_unknown(draft: _Draft, attribute: RawAttribute) -> Fault | None:
    """An attribute without a rule: kept when optional transitive, dropped without a word when optional non-transitive."""
    if not attribute.flags & _OPTIONAL:  # RFC 4271 section 6.3, which RFC 7606 leaves as it is
        text = f"attribute {attribute.code} claims to be well-known, but no such attribute is"
        return Fault(Verdict.SESSION_RESET, FaultKind.ATTRIBUTE_UNRECOGNIZED, attribute.code, text)
    if attribute.flags & _TRANSITIVE:
        draft.unknown.append(UnknownAttribute(attribute.flags & ~_EXTENDED_LENGTH, attribute.code, attribute.value))
    return None


def _length(value: bytes, expected: int, name: str) -> bytes:
    if len(value) != expected:
        raise _Malformed(FaultKind.ATTRIBUTE_LENGTH, f"{name} has {len(value)} octets, expected {expected}")
    return value


def _multiple(value: bytes, of: int, name: str) -> bytes:
    if not value or len(value) % of:
        raise _Malformed(FaultKind.ATTRIBUTE_LENGTH, f"{name} has {len(value)} octets, expected a multiple of {of} over 0")
    return value


def _number(value: bytes, name: str) -> int:
    return int.from_bytes(_length(value, 4, name), "big")


def _read_origin(draft: _Draft, value: bytes) -> None:
    code = _length(value, 1, "ORIGIN")[0]
    if code > 2:
        raise _Malformed(FaultKind.ATTRIBUTE_VALUE, f"ORIGIN is {code}, expected 0, 1 or 2")
    draft.origin = Origin(code)


def _read_as_path(draft: _Draft, value: bytes) -> None:
    path = _as_path(value, asn4=draft.session.asn4)
    if path.has_confed and not draft.session.ibgp:  # RFC 5065 section 5: an error from outside the confederation
        raise _Malformed(FaultKind.ATTRIBUTE_VALUE, "a confederation segment came from an external peer")
    draft.as_path = path


def _as_path(value: bytes, *, asn4: bool) -> AsPath:
    try:
        return decode_as_path(value, asn4=asn4)
    except AsPathError as error:
        raise _Malformed(FaultKind.ATTRIBUTE_VALUE, str(error)) from None


def _read_next_hop(draft: _Draft, value: bytes) -> None:
    draft.next_hop = IPv4Address(_length(value, 4, "NEXT_HOP"))


def _read_med(draft: _Draft, value: bytes) -> None:
    draft.med = _number(value, "MULTI_EXIT_DISC")


def _read_local_pref(draft: _Draft, value: bytes) -> None:
    draft.local_pref = _number(value, "LOCAL_PREF")


def _read_atomic_aggregate(draft: _Draft, value: bytes) -> None:
    _length(value, 0, "ATOMIC_AGGREGATE")
    draft.atomic_aggregate = True


def _aggregator(value: bytes, width: int, name: str) -> Aggregator:
    _length(value, width + 4, name)
    asn = int.from_bytes(value[:width], "big")
    if asn == 0:  # RFC 7607 section 2
        raise _Malformed(FaultKind.ATTRIBUTE_VALUE, f"{name} has AS 0")
    return Aggregator(asn, IPv4Address(value[width:]))


def _read_aggregator(draft: _Draft, value: bytes) -> None:
    draft.aggregator = _aggregator(value, 4 if draft.session.asn4 else 2, "AGGREGATOR")


def _read_communities(draft: _Draft, value: bytes) -> None:
    _multiple(value, 4, "COMMUNITIES")
    draft.communities = struct.unpack(f">{len(value) // 4}I", value)


def _read_originator_id(draft: _Draft, value: bytes) -> None:
    draft.originator_id = IPv4Address(_length(value, 4, "ORIGINATOR_ID"))


def _read_cluster_list(draft: _Draft, value: bytes) -> None:
    _multiple(value, 4, "CLUSTER_LIST")
    draft.cluster_list = tuple(IPv4Address(value[at : at + 4]) for at in range(0, len(value), 4))


def _read_extended_communities(draft: _Draft, value: bytes) -> None:
    _multiple(value, 8, "EXTENDED_COMMUNITIES")
    draft.unknown.append(UnknownAttribute(_KIND_BITS, AttributeCode.EXTENDED_COMMUNITIES, value))


def _read_ipv6_extended_communities(draft: _Draft, value: bytes) -> None:
    _multiple(value, 20, "IPv6 EXTENDED_COMMUNITIES")
    draft.unknown.append(UnknownAttribute(_KIND_BITS, AttributeCode.IPV6_EXTENDED_COMMUNITIES, value))


def _read_as4_path(draft: _Draft, value: bytes) -> None:
    draft.as4_path = _as_path(value, asn4=True)


def _read_as4_aggregator(draft: _Draft, value: bytes) -> None:
    draft.as4_aggregator = _aggregator(value, 4, "AS4_AGGREGATOR")


def _read_large_communities(draft: _Draft, value: bytes) -> None:
    _multiple(value, 12, "LARGE_COMMUNITIES")
    draft.large_communities = tuple(dict.fromkeys(struct.iter_unpack(">III", value)))


def _read_only_to_customer(draft: _Draft, value: bytes) -> None:
    _length(value, 4, "ONLY_TO_CUSTOMER")
    draft.unknown.append(UnknownAttribute(_KIND_BITS, AttributeCode.ONLY_TO_CUSTOMER, value))


_WELL_KNOWN = _TRANSITIVE
_OPTIONAL_TRANSITIVE = _OPTIONAL | _TRANSITIVE
_OPTIONAL_LOCAL = _OPTIONAL

_RULES: dict[int, _Rule] = {  # verdicts: RFC 7606 section 7, RFC 6793 section 6, RFC 8092 section 6, RFC 9234 section 5
    AttributeCode.ORIGIN: _Rule(_WELL_KNOWN, _read_origin),
    AttributeCode.AS_PATH: _Rule(_WELL_KNOWN, _read_as_path),
    AttributeCode.NEXT_HOP: _Rule(_WELL_KNOWN, _read_next_hop),
    AttributeCode.MULTI_EXIT_DISC: _Rule(_OPTIONAL_LOCAL, _read_med),
    AttributeCode.LOCAL_PREF: _Rule(_WELL_KNOWN, _read_local_pref, internal_only=True),
    AttributeCode.ATOMIC_AGGREGATE: _Rule(_WELL_KNOWN, _read_atomic_aggregate, Verdict.ATTRIBUTE_DISCARD),
    AttributeCode.AGGREGATOR: _Rule(_OPTIONAL_TRANSITIVE, _read_aggregator, Verdict.ATTRIBUTE_DISCARD),
    AttributeCode.COMMUNITIES: _Rule(_OPTIONAL_TRANSITIVE, _read_communities),
    AttributeCode.ORIGINATOR_ID: _Rule(_OPTIONAL_LOCAL, _read_originator_id, internal_only=True),
    AttributeCode.CLUSTER_LIST: _Rule(_OPTIONAL_LOCAL, _read_cluster_list, internal_only=True),
    AttributeCode.EXTENDED_COMMUNITIES: _Rule(_OPTIONAL_TRANSITIVE, _read_extended_communities),
    AttributeCode.AS4_PATH: _Rule(
        _OPTIONAL_TRANSITIVE, _read_as4_path, Verdict.ATTRIBUTE_DISCARD, two_octet_only=True
    ),
    AttributeCode.AS4_AGGREGATOR: _Rule(
        _OPTIONAL_TRANSITIVE, _read_as4_aggregator, Verdict.ATTRIBUTE_DISCARD, two_octet_only=True
    ),
    AttributeCode.IPV6_EXTENDED_COMMUNITIES: _Rule(_OPTIONAL_TRANSITIVE, _read_ipv6_extended_communities),
    AttributeCode.LARGE_COMMUNITIES: _Rule(_OPTIONAL_TRANSITIVE, _read_large_communities),
    AttributeCode.ONLY_TO_CUSTOMER: _Rule(_OPTIONAL_TRANSITIVE, _read_only_to_customer),
}
