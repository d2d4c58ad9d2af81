"""What is needed to pass a path on: AS_PATH edits, and attributes that come out as they went in."""
from __future__ import annotations

import pytest

from calicopy.bgp import AsPath, RawAttribute, Segment, SegmentKind, SessionOptions, attribute_list
from calicopy.bgp.attribute_decoder import decode_attributes
from calicopy.bgp.encode import encode_attribute

IBGP = SessionOptions(asn4=True, ibgp=True)
SET = Segment(SegmentKind.AS_SET, (1, 2))
CONFED = Segment(SegmentKind.CONFED_SEQUENCE, (65100, 65101))


def sequence(*asns: int) -> Segment:
    return Segment(SegmentKind.AS_SEQUENCE, asns)


@pytest.mark.parametrize(("before", "count", "after"), [
    ((), 1, (sequence(9),)),
    ((sequence(7, 8),), 2, (sequence(9, 9, 7, 8),)),
    ((SET,), 1, (sequence(9), SET)),
    ((sequence(*range(1, 256)),), 1, (sequence(9), sequence(*range(1, 256)))),
    ((sequence(7),), 0, (sequence(7),)),
])  # fmt: skip
def test_an_as_is_prepended_to_the_leading_sequence_or_in_a_new_one(before, count, after):
    assert AsPath(before).prepend(9, count).segments == after


def test_a_path_leaves_a_confederation_without_its_segments():
    path = AsPath((CONFED, sequence(7), SET))
    assert path.without_confed().segments == (sequence(7), SET)
    plain = AsPath.sequence(7)
    assert plain.without_confed() is plain


ATTRIBUTES = [
    (0x40, 1, "01"),
    (0x40, 2, "0202 0000fc00 0000fc01 0102 00000001 00000002"),
    (0x80, 4, "0000004d"),
    (0x40, 5, "00000096"),
    (0x40, 6, ""),
    (0xC0, 7, "0000fc00 0a000001"),
    (0xC0, 8, "00000009 00000003 00000009"),  # in this order, and twice
    (0x80, 9, "0a000002"),
    (0x80, 10, "0a000003 0a000004"),
    (0xC0, 16, "0002fc0000000001 4002fc0000000002"),
    (0xC0, 25, "0002" + "20" * 16 + "0001"),
    (0xC0, 32, "0000fc00 00000001 0a000002"),
    (0xC0, 35, "0000fc00"),
    (0xC0, 99, "6869"),
    (0xC0, 200, "61" * 300),
]


@pytest.mark.parametrize("partial", [0, 0x20])
def test_every_attribute_comes_out_octet_by_octet_as_it_went_in(partial):
    """The Partial bit of optional transitive ones too: nobody may clear it (RFC 4271 section 5)."""
    sent = [RawAttribute(flags | (partial if flags == 0xC0 else 0), code, bytes.fromhex(text))
            for flags, code, text in ATTRIBUTES]  # fmt: skip
    raw = b"".join(encode_attribute(one.flags, one.code, one.value) for one in sent)
    decoded = decode_attributes(raw, IBGP).decoded
    assert not decoded.faults
    assert attribute_list(decoded.attributes, IBGP) == sent


def test_the_partial_bit_makes_another_attribute_set():
    plain, partial = (
        decode_attributes(encode_attribute(flags, 8, bytes(4)), IBGP).decoded.attributes for flags in (0xC0, 0xE0)
    )
    assert plain != partial
    assert plain.communities == partial.communities
