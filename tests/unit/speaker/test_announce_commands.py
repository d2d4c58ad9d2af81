"""Announcements as ExaBGP's command lines."""
from __future__ import annotations

import pytest

from calicopy.bgp import RawAttribute
from calicopy.net import Family
from calicopy.seam.speaker import AnnounceGroup, SpecError
from calicopy.speaker.commands import announce_lines, attribute_words, withdraw_lines

OWNER = RawAttribute(0xC0, 32, bytes.fromhex("0000fc00000000010a090001"))


def group(*prefixes: str, attributes: tuple[RawAttribute, ...] = (), family: Family = Family.IPV4) -> AnnounceGroup:
    next_hop = "10.9.0.1" if family is Family.IPV4 else "fd00::1"
    return AnnounceGroup(family=family, next_hop=next_hop, attributes=attributes, prefixes=prefixes)


def test_a_group_is_one_line_with_all_its_attributes() -> None:
    path = RawAttribute(0x40, 2, bytes.fromhex("02020000fc0000010000"))
    preference = RawAttribute(0x40, 5, (200).to_bytes(4, "big"))
    wanted = group("10.1.0.0/26", "10.1.0.64/26", attributes=(path, preference, OWNER))
    lines = list(announce_lines("10.9.0.2", [wanted]))
    assert lines == [
        "neighbor 10.9.0.2 announce attributes next-hop 10.9.0.1 as-path [ 64512 65536 ] local-preference 200 "
        "attribute [ 0x20 0xc0 0x0000fc00000000010a090001 ] origin igp nlri 10.1.0.0/26 10.1.0.64/26"
    ]


def test_five_hundred_prefixes_make_a_line() -> None:
    prefixes = tuple(f"10.{i // 256}.{i % 256}.0/24" for i in range(1001))
    lines = list(announce_lines("10.9.0.2", [group(*prefixes)]))
    assert [line.split(" nlri ")[1].count("/") for line in lines] == [500, 500, 1]
    lines = list(withdraw_lines("10.9.0.2", Family.IPV4, prefixes))
    assert [line.split(" nlri ")[1].count("/") for line in lines] == [500, 500, 1]


def test_as_path_and_origin_are_always_said_so_that_exabgp_prepends_nothing() -> None:
    assert list(attribute_words(())) == ["origin igp", "as-path [ ]"]
    assert list(attribute_words((RawAttribute(0x40, 1, b"\2"), RawAttribute(0x40, 2, b"")))) == [
        "origin incomplete",
        "as-path [  ]",
    ]


def test_withdraw_names_no_attributes() -> None:
    assert list(withdraw_lines("fd00::2", Family.IPV6, ["fd01::/64"])) == [
        "neighbor fd00::2 withdraw attributes next-hop :: nlri fd01::/64"
    ]


@pytest.mark.parametrize(
    "attributes",
    [
        (RawAttribute(0x80, 14, b""),),
        (RawAttribute(0x40, 3, b"\x0a\x09\x00\x01"),),
        (OWNER, OWNER),
        (RawAttribute(0x40, 1, b"\x03"),),
        (RawAttribute(0x40, 2, bytes.fromhex("01010000fc00")),),
        (RawAttribute(0x40, 2, bytes.fromhex("02020000fc00")),),
    ],
    ids=["MP_REACH", "NEXT_HOP", "twice", "ORIGIN 3", "AS_SET", "AS_PATH cut"],
)
def test_attributes_that_have_no_words_are_refused(attributes: tuple[RawAttribute, ...]) -> None:
    with pytest.raises(SpecError):
        list(attribute_words(attributes))


@pytest.mark.parametrize("prefix", ["fd00::/64", "10.0.0.0", "10.0.0.0/24 withdraw", ""])
def test_a_prefix_that_is_none_of_the_family_is_refused(prefix: str) -> None:
    with pytest.raises(SpecError):
        list(announce_lines("10.9.0.2", [group(prefix)]))
