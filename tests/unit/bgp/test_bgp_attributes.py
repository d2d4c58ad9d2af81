"""The values: AS paths, attribute sets, NLRI fields, and their octets."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from calicopy.bgp import (
    AsPath,
    NlriBatch,
    PathAttributes,
    Segment,
    SegmentKind,
    SessionOptions,
    Update,
    encode_attributes,
    encode_update,
)
from calicopy.bgp.nlri import NlriError, decode_nlri
from calicopy.net import Family, Prefix

SEQUENCE, SET = SegmentKind.AS_SEQUENCE, SegmentKind.AS_SET
CONFED, CONFED_SET = SegmentKind.CONFED_SEQUENCE, SegmentKind.CONFED_SET


def path(*segments: tuple[SegmentKind, tuple[int, ...]]) -> AsPath:
    return AsPath(tuple(Segment(kind, asns) for kind, asns in segments))


@pytest.mark.parametrize(
    ("as_path", "length", "neighbor", "origin", "text"),
    [
        (AsPath(), 0, None, None, ""),
        (AsPath.sequence(1, 2, 3), 3, 1, 3, "1 2 3"),
        (path((SEQUENCE, (1, 2)), (SET, (3, 4, 5))), 3, 1, None, "1 2 {3,4,5}"),
        (path((SET, (3, 4))), 1, None, None, "{3,4}"),
        (path((CONFED, (9, 8)), (SEQUENCE, (1, 2))), 2, 1, 2, "(9 8) 1 2"),
        (path((CONFED, (9,)), (CONFED_SET, (7, 8))), 0, None, None, "(9) [7,8]"),
    ],
)
def test_an_as_path_answers_the_questions_of_the_decision(
    as_path: AsPath, length: int, neighbor: int | None, origin: int | None, text: str
) -> None:
    assert (as_path.length, as_path.neighbor_as, as_path.origin_as, str(as_path)) == (length, neighbor, origin, text)


def test_equal_attribute_sets_are_one_key() -> None:
    one = PathAttributes(as_path=AsPath.sequence(1), med=5)
    two = replace(PathAttributes(as_path=AsPath.sequence(1)), med=5)
    assert one == two
    assert hash(one) == hash(two)
    assert {one: "kept"}[two] == "kept"
    assert one != replace(one, med=6)
    assert one != "something else"


def test_what_an_external_peer_must_not_hear_is_left_out() -> None:
    attributes = PathAttributes(
        next_hop=IPv4Address("10.0.0.1"),
        local_pref=100,
        originator_id=IPv4Address("10.0.0.2"),
        cluster_list=(IPv4Address("10.0.0.3"),),
    )
    external = encode_attributes(attributes, SessionOptions())
    assert external.hex() == "40010100" + "400200" + "4003040a000001"
    internal = encode_attributes(attributes, SessionOptions(ibgp=True))
    assert internal.hex() == external.hex() + "40050400000064" + "8009040a000002" + "800a040a000003"


def test_a_long_sequence_is_split_into_segments_of_255() -> None:
    octets = encode_attributes(PathAttributes(as_path=AsPath.sequence(*range(1, 301))), SessionOptions())
    assert octets[4:10].hex() == "5002" + f"{2 + 255 * 4 + 2 + 45 * 4:04x}" + "02ff"


@pytest.mark.parametrize(
    "update",
    [
        Update(announced=(NlriBatch(Family.IPV4, [b"\0"], next_hop=IPv4Address("10.0.0.1")),)),
        Update(announced=(NlriBatch(Family.IPV6, [b"\0"]),), attributes=PathAttributes()),
        Update(withdrawn=(NlriBatch(Family.IPV4, [b"\0"]), NlriBatch(Family.IPV4, [b"\0"]))),
        Update(withdrawn=(NlriBatch(Family.IPV6, [b"\0"]), NlriBatch(Family.IPV6, [b"\0"]))),
        Update(withdrawn=(NlriBatch(Family.IPV4, [b"\0"], [1]),)),
        Update(withdrawn=(NlriBatch(Family.IPV4, [b"\0"] * 5000),)),
    ],
)
def test_an_update_that_has_no_octets_is_refused(update: Update) -> None:
    with pytest.raises(ValueError):
        encode_update(update, SessionOptions())


def test_ipv4_with_an_ipv6_next_hop_goes_in_mp_reach() -> None:
    batch = NlriBatch(Family.IPV4, [Prefix.parse("10.0.0.0/8").packed], next_hop=IPv6Address("2001:db8::1"))
    octets = encode_update(Update(announced=(batch,), attributes=PathAttributes()), SessionOptions())
    next_hop = "10" + "20010db8000000000000000000000001" + "00"
    assert octets.hex() == "0000" + "0021" + "800e17" + "000101" + next_hop + "080a" + "40010100" + "400200"


def test_host_bits_are_cleared_so_that_one_prefix_has_one_form() -> None:
    runs = b"\x1a\x0a\xf4\x00\x7f" * 100 + b"\x09\x0a\xff" + b"\x00"
    prefixes, path_ids = decode_nlri(runs, Family.IPV4)
    assert prefixes == [b"\x1a\x0a\xf4\x00\x40"] * 100 + [b"\x09\x0a\x80", b"\x00"]
    assert path_ids is None


@pytest.mark.parametrize(
    ("octets", "family", "add_path", "words"),
    [
        ("21" + "00" * 5, Family.IPV4, False, "prefix length 33 at octet 0 is over 32"),
        ("81" + "00" * 17, Family.IPV6, False, "prefix length 129 at octet 0 is over 128"),
        ("08" + "0a" + "18" + "0a00", Family.IPV4, False, "the /24 prefix at octet 2 lacks 1 octets"),
        ("000000", Family.IPV4, True, "ends within the path id at octet 0"),
        ("00000001" + "00" + "00000001", Family.IPV4, True, "ends within the path id at octet 5"),
    ],
)
def test_a_broken_field_says_where(octets: str, family: Family, add_path: bool, words: str) -> None:
    with pytest.raises(NlriError, match=words):
        decode_nlri(bytes.fromhex(octets), family, add_path=add_path)
