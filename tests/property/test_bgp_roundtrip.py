"""decode(encode(x)) == x for every message, and what else must hold for all values."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.bgp import (
    Aggregator,
    AsPath,
    AttributeCache,
    Capabilities,
    Fqdn,
    GracefulRestart,
    LongLivedFamily,
    NlriBatch,
    Notification,
    Open,
    Origin,
    PathAttributes,
    PathMode,
    RawAttribute,
    RefreshKind,
    RouteRefresh,
    Segment,
    SegmentKind,
    SessionOptions,
    Update,
    decode_notification,
    decode_open,
    decode_route_refresh,
    decode_update,
    encode_end_of_rib,
    encode_notification,
    encode_open,
    encode_route_refresh,
    encode_update,
)
from calicopy.bgp.nlri import NlriError, decode_nlri, encode_nlri
from calicopy.net import Family, Packed, pack

FAMILIES = frozenset(Family)
words = st.integers(0, 2**32 - 1)
asns = st.integers(1, 2**32 - 1)
hosts4 = st.integers(1, 0xDFFFFFFF).map(IPv4Address)
hosts6 = st.integers(0x2000 << 112, 0x3FFF << 112).map(IPv6Address)
families = st.sampled_from(list(Family))


def packed(family: Family) -> st.SearchStrategy[Packed]:
    return st.tuples(st.integers(0, 2**family.bits - 1), st.integers(0, family.bits)).map(
        lambda one: pack(one[0], one[1], family)
    )


def as_paths(*kinds: SegmentKind) -> st.SearchStrategy[AsPath]:
    segments = st.builds(Segment, st.sampled_from(kinds), st.lists(asns, min_size=1, max_size=6).map(tuple))
    return st.lists(segments, max_size=3).map(lambda some: AsPath(tuple(some)))


unknown = st.builds(
    RawAttribute,
    st.sampled_from((0xC0, 0xE0)),
    st.integers(100, 120),
    st.one_of(st.binary(max_size=20), st.binary(min_size=255, max_size=300)),
)
external_attributes = st.builds(
    PathAttributes,
    origin=st.sampled_from(Origin),
    as_path=as_paths(SegmentKind.AS_SEQUENCE, SegmentKind.AS_SET),
    med=st.none() | words,
    atomic_aggregate=st.booleans(),
    aggregator=st.none() | st.builds(Aggregator, asns, hosts4),
    communities=st.lists(words, max_size=4).map(tuple),
    large_communities=st.lists(st.tuples(words, words, words), max_size=3, unique=True).map(tuple),
    unknown=st.lists(unknown, max_size=2, unique_by=lambda one: one.code).map(
        lambda some: tuple(sorted(some, key=lambda one: one.code))
    ),
)


@st.composite
def batches(draw: st.DrawFn, family: Family, session: SessionOptions) -> NlriBatch:
    prefixes = draw(st.lists(packed(family), min_size=1, max_size=30))
    path_ids = None
    if family in session.add_path:
        path_ids = draw(st.lists(words, min_size=len(prefixes), max_size=len(prefixes)))
    return NlriBatch(family, prefixes, path_ids)


@st.composite
def updates(draw: st.DrawFn) -> tuple[Update, SessionOptions]:
    session = SessionOptions(
        families=FAMILIES, add_path=frozenset(draw(st.sets(families))), ibgp=draw(st.booleans()), extended_message=True
    )
    withdrawn = tuple(draw(batches(family, session)) for family in sorted(draw(st.sets(families))))
    announced: list[NlriBatch] = []
    attributes = draw(external_attributes)
    if session.ibgp:
        attributes = replace(
            attributes,
            as_path=draw(as_paths(*SegmentKind)),
            local_pref=draw(st.none() | words),
            originator_id=draw(st.none() | hosts4),
            cluster_list=tuple(draw(st.lists(hosts4, max_size=3))),
        )
    for family in sorted(draw(st.sets(families))):
        batch = draw(batches(family, session))
        if family is Family.IPV4:
            batch = replace(batch, next_hop=draw(hosts4))
            attributes = replace(attributes, next_hop=batch.next_hop)
        else:
            batch = replace(batch, next_hop=draw(hosts6), link_local=draw(st.none() | hosts6))
        announced.append(batch)
    return Update(withdrawn, tuple(announced), attributes if announced else None), session


@settings(max_examples=100)
@given(updates())
def test_an_update_survives_the_wire(generated: tuple[Update, SessionOptions]) -> None:
    update, session = generated
    octets = encode_update(update, session)
    if octets == bytes(4):  # nothing at all is the End-of-RIB
        assert decode_update(octets, session).end_of_rib is Family.IPV4
        return
    cache = AttributeCache()
    assert decode_update(octets, session) == update
    assert decode_update(octets, session, cache) == decode_update(octets, session, cache) == update


@settings(max_examples=100)
@given(external_attributes, hosts4)
def test_4_octet_as_numbers_survive_a_2_octet_session(attributes: PathAttributes, next_hop: IPv4Address) -> None:
    session = SessionOptions(asn4=False, extended_message=True)
    batch = NlriBatch(Family.IPV4, [b"\0"], next_hop=next_hop)
    update = Update(announced=(batch,), attributes=replace(attributes, next_hop=next_hop))
    if attributes.aggregator is not None and attributes.aggregator.asn <= 0xFFFF:
        update = replace(update, attributes=replace(update.attributes, aggregator=None))  # real AS: AS4 ones are stale
    assert decode_update(encode_update(update, session), session) == update


@given(families)
def test_end_of_rib_survives_the_wire(family: Family) -> None:
    session = SessionOptions(families=FAMILIES)
    assert decode_update(encode_end_of_rib(family), session) == Update(end_of_rib=family)


def one_by_one(data: bytes, family: Family, lead: int) -> tuple[list[Packed], list[int]]:
    """The plain reading of RFC 4271 section 4.3 that the fast one must equal. ValueError or IndexError when broken."""
    prefixes, path_ids, position = [], [], 0
    while position < len(data):
        path_ids.append(int.from_bytes(data[position : position + lead], "big"))
        length = data[position + lead]
        size = (length + 7) // 8
        octets = data[position + lead + 1 : position + lead + 1 + size]
        if length > family.bits or len(octets) < size:
            raise ValueError(length)
        prefixes.append(pack(int.from_bytes(octets.ljust(family.octets, b"\0"), "big"), length, family))
        position += lead + 1 + size
    return prefixes, path_ids


@st.composite
def nlri_fields(draw: st.DrawFn) -> tuple[bytes, Family, bool]:
    """Runs and mixtures, host bits set at will, sometimes cut short or of a bad length."""
    family, add_path = draw(families), draw(st.booleans())
    out = b""
    for length, count in draw(st.lists(st.tuples(st.integers(0, family.bits), st.integers(1, 200)), max_size=6)):
        size = (length + 7) // 8
        octets = draw(st.binary(min_size=size, max_size=size))
        entry = (b"\0\0\1\2" if add_path else b"") + bytes((length,)) + octets
        out += entry * count if draw(st.booleans()) else entry
    out = out[: draw(st.integers(0, len(out)))] if draw(st.booleans()) else out
    return out + draw(st.sampled_from((b"", b"", b"\x21", b"\xff\0\0"))), family, add_path


@settings(max_examples=200)
@given(nlri_fields())
def test_the_fast_walk_reads_what_the_plain_one_reads(field: tuple[bytes, Family, bool]) -> None:
    data, family, add_path = field
    try:
        prefixes, path_ids = one_by_one(data, family, 4 if add_path else 0)
    except (ValueError, IndexError):
        with pytest.raises(NlriError):
            decode_nlri(data, family, add_path=add_path)
        return
    assert decode_nlri(data, family, add_path=add_path) == (prefixes, path_ids if add_path else None)
    again = encode_nlri(prefixes, path_ids if add_path else None)
    assert decode_nlri(again, family, add_path=add_path) == (prefixes, path_ids if add_path else None)


restarts = st.builds(
    GracefulRestart,
    restart_time_s=st.integers(0, 4095),
    families=st.dictionaries(families, st.booleans()).map(lambda some: tuple(some.items())),
    restarting=st.booleans(),
    notification=st.booleans(),
)
capabilities = st.builds(
    Capabilities,
    families=st.lists(families, unique=True).map(tuple),
    other_families=st.lists(st.tuples(st.integers(3, 65535), st.integers(1, 255)), max_size=2, unique=True).map(tuple),
    route_refresh=st.booleans(),
    enhanced_refresh=st.booleans(),
    extended_message=st.booleans(),
    extended_next_hop=st.booleans(),
    add_path=st.dictionaries(families, st.sampled_from((PathMode.RECEIVE, PathMode.SEND, PathMode.BOTH))).map(
        lambda some: tuple(some.items())
    ),
    graceful_restart=st.none() | restarts,
    long_lived=st.lists(
        st.builds(LongLivedFamily, families, st.booleans(), st.integers(0, 2**24 - 1)),
        max_size=2,
        unique_by=lambda one: one.family,
    ).map(tuple),
    role=st.none() | st.integers(0, 255),
    fqdn=st.none() | st.builds(Fqdn, st.text(max_size=20), st.text(max_size=20)),
    unknown=st.lists(st.tuples(st.integers(128, 255), st.binary(max_size=255)), max_size=3).map(tuple),
)


@settings(max_examples=100)
@given(asns, st.sampled_from((0, 3, 9, 65535)), hosts4, capabilities)
def test_an_open_survives_the_wire_in_either_form(
    asn: int, hold: int, router_id: IPv4Address, some: Capabilities
) -> None:
    message = Open(asn, hold, router_id, replace(some, asn4=asn))
    assert decode_open(encode_open(message)) == message


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300))
def test_a_notification_survives_the_wire_and_is_safe_to_print(code: int, subcode: int, data: bytes) -> None:
    notification = Notification(code, subcode, data)
    assert decode_notification(encode_notification(notification)) == notification
    assert notification.sentence.isprintable()


@given(families, st.sampled_from(RefreshKind))
def test_a_route_refresh_survives_the_wire(family: Family, kind: RefreshKind) -> None:
    assert decode_route_refresh(encode_route_refresh(family, kind)) == RouteRefresh(family, kind)


