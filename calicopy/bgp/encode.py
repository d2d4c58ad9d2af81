"""Values to the octets of path attributes and UPDATEs: the other direction of the decoder.

Theory of operation: ExaBGP writes the messages of real sessions. This encoder serves what ExaBGP has no words for (its
`attribute [0x.. 0x.. 0x..]` form), the tests, and anybody who replays. What it writes, `decode_update` reads back to an
equal value. Mistakes of the caller raise ValueError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from calicopy.bgp.as_path import AS_TRANS, AsPath, Segment, encode_as_path
from calicopy.bgp.attributes import Aggregator, AttributeCode, AttributeFlag, PathAttributes, RawAttribute
from calicopy.bgp.nlri import encode_nlri
from calicopy.bgp.session import SessionOptions
from calicopy.bgp.update import NlriBatch, Update
from calicopy.net import Family
from calicopy.net.family import SAFI_UNICAST

_WELL_KNOWN = int(AttributeFlag.TRANSITIVE)
_OPTIONAL = int(AttributeFlag.OPTIONAL)
_OPTIONAL_TRANSITIVE = int(AttributeFlag.OPTIONAL | AttributeFlag.TRANSITIVE)
_PARTIAL = int(AttributeFlag.PARTIAL)
_FLAGS = {
    AttributeCode.MULTI_EXIT_DISC: _OPTIONAL,
    AttributeCode.ORIGINATOR_ID: _OPTIONAL,
    AttributeCode.CLUSTER_LIST: _OPTIONAL,
    AttributeCode.AGGREGATOR: _OPTIONAL_TRANSITIVE,
    AttributeCode.COMMUNITIES: _OPTIONAL_TRANSITIVE,
    AttributeCode.LARGE_COMMUNITIES: _OPTIONAL_TRANSITIVE,
    AttributeCode.AS4_PATH: _OPTIONAL_TRANSITIVE,
    AttributeCode.AS4_AGGREGATOR: _OPTIONAL_TRANSITIVE,
}


def encode_attribute(flags: int, code: int, value: bytes) -> bytes:
    """One attribute; the extended length bit is set where the value needs it, and only there."""
    if len(value) > 0xFFFF:
        raise ValueError(f"attribute {code} has {len(value)} octets, expected at most 65535")
    flags &= ~int(AttributeFlag.EXTENDED_LENGTH)
    if len(value) > 255:
        return struct.pack(">BBH", flags | AttributeFlag.EXTENDED_LENGTH, code, len(value)) + value
    return bytes((flags, code, len(value))) + value


def attribute_list(attributes: PathAttributes, session: SessionOptions) -> list[RawAttribute]:
    """The path attributes one by one (flags, code, value), in order of code, without MP_REACH and MP_UNREACH_NLRI.

    LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are left out towards an external peer. On a 2-octet session, AS4_PATH and
    AS4_AGGREGATOR are added where an AS number needs them (RFC 6793 section 4.2.2).
    """
    parts = [RawAttribute(_FLAGS.get(code, _WELL_KNOWN), code, value) for code, value in _values(attributes, session)]
    parts += attributes.unknown
    if attributes.partial:
        parts = [replace(one, flags=one.flags | _PARTIAL) if one.code in attributes.partial else one for one in parts]
    return sorted(parts, key=lambda part: part.code)


def encode_attributes(attributes: PathAttributes, session: SessionOptions) -> bytes:
    """The path attributes as octets: those of `attribute_list`, one after the other."""
    parts = attribute_list(attributes, session)
    return b"".join(encode_attribute(one.flags, one.code, one.value) for one in parts)


def _values(attributes: PathAttributes, session: SessionOptions) -> Iterator[tuple[AttributeCode, bytes]]:
    yield AttributeCode.ORIGIN, bytes((attributes.origin,))
    yield AttributeCode.AS_PATH, encode_as_path(attributes.as_path, asn4=session.asn4)
    if isinstance(attributes.next_hop, IPv4Address):
        yield AttributeCode.NEXT_HOP, attributes.next_hop.packed
    if attributes.med is not None:
        yield AttributeCode.MULTI_EXIT_DISC, attributes.med.to_bytes(4, "big")
    if attributes.atomic_aggregate:
        yield AttributeCode.ATOMIC_AGGREGATE, b""
    if attributes.aggregator is not None:
        yield AttributeCode.AGGREGATOR, _aggregator(attributes.aggregator, asn4=session.asn4)
    if attributes.communities:
        yield AttributeCode.COMMUNITIES, struct.pack(f">{len(attributes.communities)}I", *attributes.communities)
    if attributes.large_communities:
        large = b"".join(struct.pack(">III", *one) for one in attributes.large_communities)
        yield AttributeCode.LARGE_COMMUNITIES, large
    if session.ibgp:
        yield from _internal(attributes)
    if not session.asn4:
        yield from _as4(attributes)


def _internal(attributes: PathAttributes) -> Iterator[tuple[AttributeCode, bytes]]:
    """What only an internal peer may hear."""
    if attributes.local_pref is not None:
        yield AttributeCode.LOCAL_PREF, attributes.local_pref.to_bytes(4, "big")
    if attributes.originator_id is not None:
        yield AttributeCode.ORIGINATOR_ID, attributes.originator_id.packed
    if attributes.cluster_list:
        yield AttributeCode.CLUSTER_LIST, b"".join(one.packed for one in attributes.cluster_list)


def _as4(attributes: PathAttributes) -> Iterator[tuple[AttributeCode, bytes]]:
    """What a 2-octet session needs beside its AS_PATH and AGGREGATOR."""
    segments: tuple[Segment, ...] = attributes.as_path.segments
    if any(asn > 0xFFFF for segment in segments for asn in segment.asns):
        plain = AsPath(tuple(segment for segment in segments if not segment.kind.is_confed))
        yield AttributeCode.AS4_PATH, encode_as_path(plain, asn4=True)
    if attributes.aggregator is not None and attributes.aggregator.asn > 0xFFFF:
        yield AttributeCode.AS4_AGGREGATOR, _aggregator(attributes.aggregator, asn4=True)


def _aggregator(aggregator: Aggregator, *, asn4: bool) -> bytes:
    if asn4:
        return aggregator.asn.to_bytes(4, "big") + aggregator.address.packed
    asn = aggregator.asn if aggregator.asn <= 0xFFFF else AS_TRANS
    return asn.to_bytes(2, "big") + aggregator.address.packed


def encode_update(update: Update, session: SessionOptions) -> bytes:
    """The body of one UPDATE: its End-of-RIB, or its withdrawn and announced batches with the attributes.

    IPv4 goes in the fields of RFC 4271 where its next hop is IPv4, all else in MP_REACH_NLRI and MP_UNREACH_NLRI; at
    most one batch each. ValueError when it does not fit that form, or the message size.
    """
    if update.end_of_rib is not None:
        return encode_end_of_rib(update.end_of_rib)
    withdrawn, mp_unreach = _by_form(update.withdrawn)
    announced, mp_reach = _by_form(update.announced)
    attributes = b""
    if mp_unreach is not None:
        value = _family_head(mp_unreach) + _nlri(mp_unreach, session)
        attributes += encode_attribute(_OPTIONAL, AttributeCode.MP_UNREACH_NLRI, value)
    if mp_reach is not None:
        attributes = encode_attribute(_OPTIONAL, AttributeCode.MP_REACH_NLRI, _mp_reach(mp_reach, session)) + attributes
    if update.announced:
        if update.attributes is None:
            raise ValueError("an UPDATE that announces needs attributes")
        attributes += encode_attributes(update.attributes, session)
    unreachable = _nlri(withdrawn, session)
    body = struct.pack(">H", len(unreachable)) + unreachable + struct.pack(">H", len(attributes)) + attributes
    body += _nlri(announced, session)
    if len(body) > session.body_octets:
        raise ValueError(f"the UPDATE has {len(body)} octets, expected at most {session.body_octets}")
    return body


def encode_end_of_rib(family: Family) -> bytes:
    """The body of an End-of-RIB (RFC 4724 section 2)."""
    if family is Family.IPV4:
        return b"\0\0\0\0"
    marker = encode_attribute(_OPTIONAL, AttributeCode.MP_UNREACH_NLRI, bytes((0, family, SAFI_UNICAST)))
    return b"\0\0" + struct.pack(">H", len(marker)) + marker


def _by_form(batches: Iterable[NlriBatch]) -> tuple[NlriBatch | None, NlriBatch | None]:
    """(the batch for the fields of RFC 4271, the batch for an MP attribute)."""
    plain: NlriBatch | None = None
    multiprotocol: NlriBatch | None = None
    for batch in batches:
        if batch.family is Family.IPV4 and (batch.next_hop is None or batch.next_hop.version == 4):
            if plain is not None:
                raise ValueError("an UPDATE holds one IPv4 batch, got two")
            plain = batch
        elif multiprotocol is not None:
            raise ValueError("an UPDATE holds one multiprotocol batch, got two")
        else:
            multiprotocol = batch
    return plain, multiprotocol


def _family_head(batch: NlriBatch) -> bytes:
    return bytes((0, batch.family, SAFI_UNICAST))


def _mp_reach(batch: NlriBatch, session: SessionOptions) -> bytes:
    if batch.next_hop is None:
        raise ValueError(f"an announced {batch.family} batch needs a next hop")
    next_hop = batch.next_hop.packed + (batch.link_local.packed if batch.link_local is not None else b"")
    return _family_head(batch) + bytes((len(next_hop),)) + next_hop + b"\0" + _nlri(batch, session)


def _nlri(batch: NlriBatch | None, session: SessionOptions) -> bytes:
    if batch is None:
        return b""
    path_ids: Sequence[int] | None = batch.path_ids
    if (batch.family in session.add_path) != (path_ids is not None):
        wanted = "with" if path_ids is None else "without"
        raise ValueError(f"the session wants {batch.family} {wanted} path ids")
    return encode_nlri(batch.prefixes, path_ids)
