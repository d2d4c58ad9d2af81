"""UPDATE decoding: the form of the message, and one test per rule of RFC 7606 on real octets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from calicopy.bgp import (
    Aggregator,
    AsPath,
    AttributeCache,
    FaultKind,
    Origin,
    RawAttribute,
    Segment,
    SegmentKind,
    SessionOptions,
    Update,
    Verdict,
    decode_update,
)
from calicopy.net import Family, Prefix

BOTH = frozenset(Family)
INTERNAL = SessionOptions(families=BOTH, ibgp=True)
EXTERNAL = SessionOptions(families=BOTH)
OLD = SessionOptions(asn4=False, families=BOTH)

ORIGIN = "40010100"
AS_PATH = "4002060201" + "0000fc01"
NEXT_HOP = "4003040a000001"
MANDATORY = ORIGIN + AS_PATH + NEXT_HOP
BLOCK = "1a0af40040"  # 10.244.0.64/26
BLOCK_PACKED = Prefix.parse("10.244.0.64/26").packed
BLOCK6 = "7afd000000000000000000000000000040"  # fd00::40/122
BLOCK6_PACKED = Prefix.parse("fd00::40/122").packed
GLOBAL6 = "20010db8000000000000000000000001"
LINK_LOCAL6 = "fe800000000000000000000000000001"


def body(attributes: str = "", nlri: str = "", withdrawn: str = "") -> bytes:
    """A body with its length fields, from hex."""
    gone, attrs = bytes.fromhex(withdrawn), bytes.fromhex(attributes)
    return len(gone).to_bytes(2, "big") + gone + len(attrs).to_bytes(2, "big") + attrs + bytes.fromhex(nlri)


def attribute(flags: int, code: int, value: str) -> str:
    """One attribute in hex, extended where asked by the flags."""
    octets = bytes.fromhex(value)
    width = 2 if flags & 0x10 else 1
    return (bytes((flags, code)) + len(octets).to_bytes(width, "big") + octets).hex()


def mp_reach(next_hop: str = GLOBAL6, nlri: str = BLOCK6, family: str = "000201", flags: int = 0x80) -> str:
    return attribute(flags, 14, family + f"{len(next_hop) // 2:02x}" + next_hop + "00" + nlri)


def decode(attributes: str = "", nlri: str = BLOCK, withdrawn: str = "", session: SessionOptions = INTERNAL) -> Update:
    return decode_update(body(attributes, nlri, withdrawn), session)


def prefixes(update: Update) -> tuple[list[bytes], list[bytes]]:
    """(announced, withdrawn)."""
    return (
        [one for batch in update.announced for one in batch.prefixes],
        [one for batch in update.withdrawn for one in batch.prefixes],
    )


def kinds(update: Update) -> list[FaultKind]:
    return [fault.kind for fault in update.faults]


def test_an_ipv4_announcement_has_its_prefixes_next_hop_and_attributes() -> None:
    update = decode(MANDATORY + "80040400000005" + "40050400000064")
    assert update.verdict is Verdict.OK
    assert update.faults == ()
    assert update.withdrawn == ()
    (batch,) = update.announced
    assert (batch.family, batch.prefixes, batch.path_ids) == (Family.IPV4, [BLOCK_PACKED], None)
    assert batch.next_hop == IPv4Address("10.0.0.1")
    assert update.attributes is not None
    assert update.attributes.origin is Origin.IGP
    assert update.attributes.as_path == AsPath.sequence(64513)
    assert (update.attributes.med, update.attributes.local_pref) == (5, 100)


def test_every_attribute_is_read() -> None:
    update = decode(
        MANDATORY
        + attribute(0x40, 6, "")
        + attribute(0xC0, 7, "0000fc00" + "01020304")
        + attribute(0xC0, 8, "fc000001" + "ffff0000")
        + attribute(0x80, 9, "0a000002")
        + attribute(0x80, 10, "0a000003" + "0a000004")
        + attribute(0xC0, 32, "0000fc00" + "00000001" + "0a000001")
        + attribute(0xC0, 99, "beef")
        + attribute(0x80, 98, "dead")
    )
    values = update.attributes
    assert values is not None
    assert update.verdict is Verdict.OK
    assert values.atomic_aggregate
    assert values.aggregator == Aggregator(64512, IPv4Address("1.2.3.4"))
    assert values.communities == (0xFC000001, 0xFFFF0000)
    assert values.originator_id == IPv4Address("10.0.0.2")
    assert values.cluster_list == (IPv4Address("10.0.0.3"), IPv4Address("10.0.0.4"))
    assert values.large_communities == ((64512, 1, 0x0A000001),)
    assert values.unknown == (RawAttribute(0xC0, 99, b"\xbe\xef"),), "optional non-transitive goes no further"


def test_withdrawn_routes_need_no_attributes() -> None:
    update = decode(nlri="", withdrawn=BLOCK)
    assert prefixes(update) == ([], [BLOCK_PACKED])
    assert (update.verdict, update.attributes, update.end_of_rib) == (Verdict.OK, None, None)


def test_both_forms_of_end_of_rib_are_told_from_empty_messages() -> None:
    assert decode_update(bytes(4), INTERNAL) == Update(end_of_rib=Family.IPV4)
    assert decode_update(body("800f03000201"), INTERNAL) == Update(end_of_rib=Family.IPV6)
    assert decode_update(body("900f0003000101"), INTERNAL).end_of_rib is Family.IPV4
    assert decode_update(body("800f03000201", withdrawn=BLOCK), INTERNAL).end_of_rib is None
    assert decode_update(body(ORIGIN + "800f03000201"), INTERNAL).end_of_rib is None


def test_ipv6_goes_in_mp_reach_and_the_link_local_next_hop_is_kept_aside() -> None:
    update = decode(mp_reach(GLOBAL6 + LINK_LOCAL6) + ORIGIN + AS_PATH, nlri="")
    (batch,) = update.announced
    assert (batch.family, batch.prefixes) == (Family.IPV6, [BLOCK6_PACKED])
    assert (batch.next_hop, batch.link_local) == (IPv6Address("2001:db8::1"), IPv6Address("fe80::1"))
    assert update.attributes is not None
    assert update.attributes.next_hop is None


def test_ipv6_is_withdrawn_by_mp_unreach() -> None:
    update = decode(attribute(0x80, 15, "000201" + BLOCK6), nlri="")
    assert prefixes(update) == ([], [BLOCK6_PACKED])
    assert update.verdict is Verdict.OK


def test_ipv4_in_mp_reach_takes_an_ipv6_next_hop_only_where_that_is_negotiated() -> None:
    reach = mp_reach(GLOBAL6, BLOCK, "000101")
    assert decode(reach + ORIGIN + AS_PATH, nlri="").verdict is Verdict.SESSION_RESET
    session = SessionOptions(ibgp=True, extended_next_hop=True)
    (batch,) = decode(reach + ORIGIN + AS_PATH, nlri="", session=session).announced
    assert (batch.family, batch.next_hop) == (Family.IPV4, IPv6Address("2001:db8::1"))
    assert decode(mp_reach("0a000001", BLOCK, "000101") + ORIGIN + AS_PATH, nlri="").verdict is Verdict.OK


def test_path_ids_are_read_where_add_path_is_negotiated() -> None:
    session = SessionOptions(ibgp=True, add_path=frozenset({Family.IPV4}))
    update = decode(MANDATORY, nlri="00000007" + BLOCK, withdrawn="00000008" + BLOCK, session=session)
    assert update.announced[0].path_ids == [7]
    assert update.withdrawn[0].path_ids == [8]
    assert update.announced[0].prefixes == [BLOCK_PACKED]


def test_a_family_that_is_not_negotiated_is_ignored() -> None:
    only4 = SessionOptions(ibgp=True)
    update = decode(mp_reach() + MANDATORY, session=only4)
    assert prefixes(update) == ([BLOCK_PACKED], [])
    assert (update.verdict, kinds(update)) == (Verdict.ATTRIBUTE_DISCARD, [FaultKind.FAMILY_NOT_NEGOTIATED])
    only6 = SessionOptions(ibgp=True, families=frozenset({Family.IPV6}))
    assert prefixes(decode(mp_reach() + MANDATORY, session=only6)) == ([BLOCK6_PACKED], [])
    vpn = decode(mp_reach("00" * 12, "70" + "00" * 14, "000180") + ORIGIN + AS_PATH, nlri="")
    assert (vpn.verdict, prefixes(vpn)) == (Verdict.ATTRIBUTE_DISCARD, ([], []))


# (what is wrong, attributes of an otherwise sound IPv4 announcement, verdict, kind)
TREAT_AS_WITHDRAW = [
    ("ORIGIN of two octets", "4001020000" + AS_PATH + NEXT_HOP, FaultKind.ATTRIBUTE_LENGTH),
    ("ORIGIN empty", "400100" + AS_PATH + NEXT_HOP, FaultKind.ATTRIBUTE_LENGTH),
    ("ORIGIN 3", "40010103" + AS_PATH + NEXT_HOP, FaultKind.ATTRIBUTE_VALUE),
    ("ORIGIN optional", "c0010100" + AS_PATH + NEXT_HOP, FaultKind.ATTRIBUTE_FLAGS),
    ("ORIGIN missing", AS_PATH + NEXT_HOP, FaultKind.ATTRIBUTE_MISSING),
    ("AS_PATH missing", ORIGIN + NEXT_HOP, FaultKind.ATTRIBUTE_MISSING),
    ("AS_PATH segment type 5", ORIGIN + "4002060501" + "0000fc01" + NEXT_HOP, FaultKind.ATTRIBUTE_VALUE),
    ("AS_PATH segment overrun", ORIGIN + "4002060202" + "0000fc01" + NEXT_HOP, FaultKind.ATTRIBUTE_VALUE),
    ("AS_PATH segment underrun", ORIGIN + "4002070201" + "0000fc01" + "02" + NEXT_HOP, FaultKind.ATTRIBUTE_VALUE),
    ("AS_PATH segment without AS", ORIGIN + "4002020200" + NEXT_HOP, FaultKind.ATTRIBUTE_VALUE),
    ("AS_PATH with AS 0", ORIGIN + "4002060201" + "00000000" + NEXT_HOP, FaultKind.ATTRIBUTE_VALUE),
    ("NEXT_HOP missing", ORIGIN + AS_PATH, FaultKind.ATTRIBUTE_MISSING),
    ("NEXT_HOP of three octets", ORIGIN + AS_PATH + "4003030a0000", FaultKind.ATTRIBUTE_LENGTH),
    ("NEXT_HOP 0.0.0.0", ORIGIN + AS_PATH + "40030400000000", FaultKind.NEXT_HOP_INVALID),
    ("NEXT_HOP multicast", ORIGIN + AS_PATH + "400304e0000001", FaultKind.NEXT_HOP_INVALID),
    ("MULTI_EXIT_DISC of three octets", MANDATORY + "800403000000", FaultKind.ATTRIBUTE_LENGTH),
    ("MULTI_EXIT_DISC transitive", MANDATORY + "c0040400000000", FaultKind.ATTRIBUTE_FLAGS),
    ("LOCAL_PREF of five octets", MANDATORY + "4005050000000000", FaultKind.ATTRIBUTE_LENGTH),
    ("COMMUNITIES empty", MANDATORY + "c00800", FaultKind.ATTRIBUTE_LENGTH),
    ("COMMUNITIES of five octets", MANDATORY + "c008050000000000", FaultKind.ATTRIBUTE_LENGTH),
    ("COMMUNITIES non-transitive", MANDATORY + "80080400000000", FaultKind.ATTRIBUTE_FLAGS),
    ("ORIGINATOR_ID of three octets", MANDATORY + "8009030a0000", FaultKind.ATTRIBUTE_LENGTH),
    ("CLUSTER_LIST empty", MANDATORY + "800a00", FaultKind.ATTRIBUTE_LENGTH),
    ("CLUSTER_LIST of six octets", MANDATORY + "800a060a0000010a00", FaultKind.ATTRIBUTE_LENGTH),
    ("EXTENDED_COMMUNITIES of seven octets", MANDATORY + "c01007" + "00" * 7, FaultKind.ATTRIBUTE_LENGTH),
    ("IPv6 EXTENDED_COMMUNITIES of 19 octets", MANDATORY + "c01913" + "00" * 19, FaultKind.ATTRIBUTE_LENGTH),
    ("LARGE_COMMUNITIES of 11 octets", MANDATORY + "c0200b" + "00" * 11, FaultKind.ATTRIBUTE_LENGTH),
    ("ONLY_TO_CUSTOMER of three octets", MANDATORY + "c02303000001", FaultKind.ATTRIBUTE_LENGTH),
    ("last attribute over the end", MANDATORY + "c00808" + "00000000", FaultKind.ATTRIBUTE_OVERRUN),
    ("two octets left over", MANDATORY + "c008", FaultKind.ATTRIBUTE_OVERRUN),
    ("three octets left over, extended length", MANDATORY + "d00800", FaultKind.ATTRIBUTE_OVERRUN),
]


@pytest.mark.parametrize(("wrong", "attributes", "kind"), TREAT_AS_WITHDRAW, ids=[row[0] for row in TREAT_AS_WITHDRAW])
def test_what_rfc_7606_treats_as_withdraw_becomes_a_withdrawal(wrong: str, attributes: str, kind: FaultKind) -> None:
    update = decode(attributes)
    assert (update.verdict, kinds(update)) == (Verdict.TREAT_AS_WITHDRAW, [kind]), wrong
    assert prefixes(update) == ([], [BLOCK_PACKED])
    assert update.attributes is None
    assert update.withdrawn[0].next_hop is None


@pytest.mark.parametrize(("wrong", "attributes", "kind"), TREAT_AS_WITHDRAW, ids=[row[0] for row in TREAT_AS_WITHDRAW])
def test_the_same_without_reachable_nlri_resets_the_session(wrong: str, attributes: str, kind: FaultKind) -> None:
    """RFC 7606 section 5.2; what only the presence of NLRI makes a fault is none here."""
    update = decode(attributes, nlri="", withdrawn=BLOCK)
    if kind in (FaultKind.ATTRIBUTE_MISSING, FaultKind.NEXT_HOP_INVALID):
        assert (update.verdict, prefixes(update)) == (Verdict.OK, ([], [BLOCK_PACKED])), wrong
    else:
        assert (update.verdict, prefixes(update)) == (Verdict.SESSION_RESET, ([], [])), wrong


DISCARD = [
    ("ATOMIC_AGGREGATE of one octet", MANDATORY + "40060100", INTERNAL, FaultKind.ATTRIBUTE_LENGTH),
    ("ATOMIC_AGGREGATE optional", MANDATORY + "c00600", INTERNAL, FaultKind.ATTRIBUTE_FLAGS),
    ("AGGREGATOR of 6 octets, 4-octet AS", MANDATORY + "c00706fc0001020304", INTERNAL, FaultKind.ATTRIBUTE_LENGTH),
    ("AGGREGATOR empty", MANDATORY + "c00700", INTERNAL, FaultKind.ATTRIBUTE_LENGTH),
    ("AGGREGATOR with AS 0", MANDATORY + "c007080000000001020304", INTERNAL, FaultKind.ATTRIBUTE_VALUE),
    ("LOCAL_PREF from outside", MANDATORY + "40050400000064", EXTERNAL, FaultKind.ATTRIBUTE_MISPLACED),
    ("LOCAL_PREF from outside, malformed", MANDATORY + "400503000064", EXTERNAL, FaultKind.ATTRIBUTE_MISPLACED),
    ("ORIGINATOR_ID from outside", MANDATORY + "8009040a000001", EXTERNAL, FaultKind.ATTRIBUTE_MISPLACED),
    ("CLUSTER_LIST from outside", MANDATORY + "800a040a000001", EXTERNAL, FaultKind.ATTRIBUTE_MISPLACED),
    ("AS4_PATH on a 4-octet session", MANDATORY + "c011060201000f4240", INTERNAL, FaultKind.ATTRIBUTE_MISPLACED),
    ("a second ORIGIN", MANDATORY + "40010102", INTERNAL, FaultKind.ATTRIBUTE_DUPLICATE),
    ("a second unknown", MANDATORY + "c0630101c0630102", INTERNAL, FaultKind.ATTRIBUTE_DUPLICATE),
]


@pytest.mark.parametrize(("wrong", "attributes", "session", "kind"), DISCARD, ids=[row[0] for row in DISCARD])
def test_what_rfc_7606_discards_costs_the_attribute_alone(
    wrong: str, attributes: str, session: SessionOptions, kind: FaultKind
) -> None:
    update = decode(attributes, session=session)
    assert (update.verdict, kinds(update)) == (Verdict.ATTRIBUTE_DISCARD, [kind]), wrong
    assert prefixes(update) == ([BLOCK_PACKED], [])
    values = update.attributes
    assert values is not None
    assert not values.atomic_aggregate
    assert (values.aggregator, values.local_pref, values.originator_id) == (None, None, None)
    assert values.cluster_list == ()
    assert values.as_path == AsPath.sequence(64513)
    assert values.origin is Origin.IGP, "the first of two counts"


RESET = [
    ("body of three octets", bytes(3)),
    ("withdrawn routes over the end", bytes.fromhex("00050000")),
    ("no room for the attribute length", bytes.fromhex("00020000")),
    ("attributes over the end", bytes.fromhex("0000000540010100")),
    ("NLRI /33", body(MANDATORY, "21" + "0af4000000")),
    ("NLRI truncated", body(MANDATORY, BLOCK + "180af4")),
    ("withdrawn /33", body("", "", "21" + "0af4000000")),
    ("withdrawn truncated", body("", "", "180af4")),
    ("MP_REACH /129", body(mp_reach(nlri="81" + "00" * 17) + ORIGIN + AS_PATH)),
    ("MP_REACH NLRI truncated", body(mp_reach(nlri=BLOCK6[:-2]) + ORIGIN + AS_PATH)),
    ("MP_REACH next hop of 5 octets", body(mp_reach("0a00000102") + ORIGIN + AS_PATH)),
    ("MP_REACH next hop of 4 octets for IPv6", body(mp_reach("0a000001") + ORIGIN + AS_PATH)),
    ("MP_REACH next hop over the end", body("800e05" + "000201" + "10" + "00" + ORIGIN + AS_PATH)),
    ("MP_REACH of 4 octets", body("800e04" + "00020100" + ORIGIN + AS_PATH)),
    ("MP_REACH transitive", body(mp_reach(flags=0xC0) + ORIGIN + AS_PATH)),
    ("MP_REACH over the attributes", body("800e30" + "000201" + MANDATORY, BLOCK)),
    ("MP_REACH twice", body(mp_reach() + mp_reach() + ORIGIN + AS_PATH)),
    ("MP_UNREACH of 2 octets", body("800f020002")),
    ("MP_UNREACH well-known", body("400f03000201")),
    ("MP_UNREACH twice", body("800f03000201800f03000201")),
    ("an unknown well-known attribute", body(MANDATORY + "40630101", BLOCK)),
]


@pytest.mark.parametrize(("wrong", "octets"), RESET, ids=[row[0] for row in RESET])
def test_what_leaves_no_certain_nlri_resets_the_session(wrong: str, octets: bytes) -> None:
    update = decode_update(octets, INTERNAL)
    assert update.verdict is Verdict.SESSION_RESET, wrong
    assert (update.announced, update.withdrawn, update.attributes) == ((), (), None)
    assert 1 <= update.faults[-1].subcode <= 11


def test_the_strictest_fault_decides() -> None:
    update = decode("40010103" + AS_PATH + NEXT_HOP + "40060100")
    assert update.verdict is Verdict.TREAT_AS_WITHDRAW
    assert kinds(update) == [FaultKind.ATTRIBUTE_VALUE, FaultKind.ATTRIBUTE_LENGTH]


def test_treat_as_withdraw_covers_every_family_of_the_message() -> None:
    update = decode(mp_reach() + "40010109" + AS_PATH + NEXT_HOP, withdrawn="080b")
    assert update.verdict is Verdict.TREAT_AS_WITHDRAW
    assert prefixes(update) == ([], [b"\x08\x0b", BLOCK_PACKED, BLOCK6_PACKED])


def test_a_next_hop_that_no_ipv4_prefix_uses_is_not_judged() -> None:
    update = decode(mp_reach() + ORIGIN + AS_PATH + "40030400000000", nlri="")
    assert update.verdict is Verdict.OK
    assert update.announced[0].next_hop == IPv6Address("2001:db8::1")


def test_an_unspecified_next_hop_in_mp_reach_is_treated_as_withdraw() -> None:
    assert decode(mp_reach("00" * 16) + ORIGIN + AS_PATH, nlri="").verdict is Verdict.TREAT_AS_WITHDRAW


def test_confederation_segments_from_outside_are_malformed() -> None:
    path = "40020603010000fc01"
    assert decode(ORIGIN + path + NEXT_HOP, session=EXTERNAL).verdict is Verdict.TREAT_AS_WITHDRAW
    update = decode(ORIGIN + path + NEXT_HOP)
    assert update.attributes is not None
    assert update.attributes.as_path.length == 0


def test_large_communities_lose_their_duplicates() -> None:
    one, two = "0000fc00" + "00000001" + "0a000001", "0000fc00" + "00000001" + "0a000002"
    update = decode(MANDATORY + attribute(0xC0, 32, two + one + two))
    assert update.attributes is not None
    assert update.attributes.large_communities == ((64512, 1, 0x0A000002), (64512, 1, 0x0A000001))


def test_a_2_octet_session_takes_the_true_path_from_as4_path() -> None:
    old_path = "4002080203" + "fc01" + "5ba0" + "5ba0"
    as4_path = attribute(0xC0, 17, "0202" + "000f4240" + "000f4241")
    update = decode(ORIGIN + old_path + NEXT_HOP + as4_path, session=OLD)
    assert update.attributes is not None
    assert update.attributes.as_path == AsPath.sequence(64513, 1000000, 1000001)
    assert (update.verdict, update.attributes.unknown) == (Verdict.OK, ())


def test_an_as4_path_longer_than_the_path_is_ignored() -> None:
    as4_path = attribute(0xC0, 17, "0202" + "000f4240" + "000f4241")
    update = decode(ORIGIN + "4002040201" + "5ba0" + NEXT_HOP + as4_path, session=OLD)
    assert update.attributes is not None
    assert update.attributes.as_path == AsPath.sequence(23456)


def test_a_malformed_as4_path_is_discarded() -> None:
    update = decode(ORIGIN + "4002040201" + "5ba0" + NEXT_HOP + "c011040202000f", session=OLD)
    assert update.verdict is Verdict.ATTRIBUTE_DISCARD
    assert update.attributes is not None
    assert update.attributes.as_path == AsPath.sequence(23456)


def test_an_aggregator_of_a_real_as_makes_the_as4_attributes_stale() -> None:
    path = ORIGIN + "4002040201" + "5ba0" + NEXT_HOP
    as4 = attribute(0xC0, 17, "0201" + "000f4240") + attribute(0xC0, 18, "000f4240" + "01020304")
    stale = decode(path + "c00706fc0101020304" + as4, session=OLD).attributes
    assert stale is not None
    assert (stale.as_path, stale.aggregator) == (AsPath.sequence(23456), Aggregator(64513, IPv4Address("1.2.3.4")))
    fresh = decode(path + "c007065ba001020304" + as4, session=OLD).attributes
    assert fresh is not None
    assert fresh.as_path == AsPath.sequence(1000000)
    assert fresh.aggregator == Aggregator(1000000, IPv4Address("1.2.3.4"))


def test_as_set_is_a_segment_of_its_own() -> None:
    update = decode(ORIGIN + "400210" + "02010000fc01" + "0102" + "00000001" + "00000002" + NEXT_HOP)
    assert update.attributes is not None
    path = update.attributes.as_path
    assert path.segments[1] == Segment(SegmentKind.AS_SET, (1, 2))
    assert (path.length, path.neighbor_as, path.origin_as) == (2, 64513, None)


def test_a_cache_gives_the_same_object_and_the_same_faults() -> None:
    cache = AttributeCache()
    first = decode_update(body(MANDATORY + "40060100", BLOCK), INTERNAL, cache)
    second = decode_update(body(MANDATORY + "40060100", "080a"), INTERNAL, cache)
    assert first.attributes is second.attributes
    assert first.faults == second.faults
    six = decode_update(body(mp_reach() + ORIGIN + AS_PATH), INTERNAL, cache)
    more = decode_update(body(mp_reach(nlri="00") + ORIGIN + AS_PATH), INTERNAL, cache)
    assert six.attributes is more.attributes, "what differs in MP_REACH does not spoil the cache"


def test_a_cache_does_not_mix_kinds_of_session() -> None:
    cache = AttributeCache()
    octets = body(MANDATORY + "40050400000064", BLOCK)
    inside, outside = decode_update(octets, INTERNAL, cache), decode_update(octets, EXTERNAL, cache)
    assert inside.attributes is not None
    assert outside.attributes is not None
    assert (inside.attributes.local_pref, outside.attributes.local_pref) == (100, None)


def test_a_cache_stays_bounded_and_keeps_what_is_used() -> None:
    cache = AttributeCache(entries=8)
    kept = decode_update(body(MANDATORY, BLOCK), INTERNAL, cache).attributes
    for med in range(100):
        decode_update(body(MANDATORY + f"800404{med:08x}", BLOCK), INTERNAL, cache)
        assert decode_update(body(MANDATORY, BLOCK), INTERNAL, cache).attributes is kept
        assert len(cache) <= 8
    small = AttributeCache(octets=100)
    for med in range(10):
        decode_update(body(MANDATORY + f"800404{med:08x}", BLOCK), INTERNAL, small)
    assert len(small) <= 4
