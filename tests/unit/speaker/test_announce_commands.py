"""Announcements as ExaBGP's command lines."""
from __future__ import annotations

import dataclasses

import pytest

from calicopy.bgp import RawAttribute
from calicopy.net import Family
from calicopy.seam.speaker import AnnounceGroup, SpecError, WithdrawGroup
from calicopy.speaker.commands import announce_lines, attribute_words, withdraw_lines

OWNER = RawAttribute(0xC0, 32, bytes.fromhex("0000fc00000000010a090001"))


def group(*prefixes: str, attributes: tuple[RawAttribute, ...] = (), family: Family = Family.IPV4) -> AnnounceGroup:
    next_hop = "10.9.0.1" if family is Family.IPV4 else "fd00::1"
    return AnnounceGroup(family=family, next_hop=next_hop, attributes=attributes, prefixes=prefixes)


def test_a_group_is_one_line_with_all_its_attributes() -> None:
    path = RawAttribute(0x40, 2, bytes.fromhex("02020000fc0000010000"))
    preference = RawAttribute(0x40, 5, (200).to_bytes(4, "big"))
    wanted = group("10.1.0.0/26", "10.1.0.64/26", attributes=(path, preference, OWNER))
    lines = list(announce_lines(["10.9.0.2"], [wanted]))
    assert lines == [
        "neighbor 10.9.0.2 announce attributes next-hop 10.9.0.1 as-path [ 64512 65536 ] local-preference 200 "
        "attribute [ 0x20 0xc0 0x0000fc00000000010a090001 ] origin igp nlri 10.1.0.0/26 10.1.0.64/26"
    ]


def test_five_hundred_prefixes_make_a_line() -> None:
    prefixes = tuple(f"10.{i // 256}.{i % 256}.0/24" for i in range(1001))
    lines = list(announce_lines(["10.9.0.2"], [group(*prefixes)]))
    assert [line.split(" nlri ")[1].count("/") for line in lines] == [500, 500, 1]
    lines = list(withdraw_lines(["10.9.0.2"], [WithdrawGroup(family=Family.IPV4, prefixes=prefixes)]))
    assert [line.split(" nlri ")[1].count("/") for line in lines] == [500, 500, 1]


def test_as_path_and_origin_are_always_said_so_that_exabgp_prepends_nothing() -> None:
    assert list(attribute_words(())) == ["origin igp", "as-path [ ]"]
    assert list(attribute_words((RawAttribute(0x40, 1, b"\2"), RawAttribute(0x40, 2, b"")))) == [
        "origin incomplete",
        "as-path [ ]",
    ]


def test_withdraw_names_no_attributes() -> None:
    assert list(withdraw_lines(["fd00::2"], [WithdrawGroup(family=Family.IPV6, prefixes=("fd01::/64",))])) == [
        "neighbor fd00::2 withdraw attributes next-hop :: nlri fd01::/64"
    ]


def test_several_peers_share_a_line_and_a_path_id_goes_before_the_attributes() -> None:
    peers = ["10.9.0.2", "10.9.0.3"]
    wanted = dataclasses.replace(group("10.1.0.0/26"), path_id=7)
    assert list(announce_lines(peers, [wanted])) == [
        "neighbor 10.9.0.2 , neighbor 10.9.0.3 announce attributes next-hop 10.9.0.1 path-information 7 "
        "origin igp as-path [ ] nlri 10.1.0.0/26"
    ]
    gone = WithdrawGroup(family=Family.IPV4, path_id=4294967295, prefixes=("10.1.0.0/26",))
    assert list(withdraw_lines(peers, [gone])) == [
        "neighbor 10.9.0.2 , neighbor 10.9.0.3 withdraw attributes next-hop 0.0.0.0 path-information 4294967295 "
        "nlri 10.1.0.0/26"
    ]


def test_no_peer_at_all_is_refused_since_exabgp_would_tell_everybody() -> None:
    with pytest.raises(SpecError, match="no peer"):
        list(announce_lines([], [group("10.1.0.0/26")]))


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_a_path_id_of_more_than_four_octets_is_refused(number: int) -> None:
    with pytest.raises(SpecError, match="path id"):
        list(announce_lines(["10.9.0.2"], [dataclasses.replace(group("10.1.0.0/26"), path_id=number)]))


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        (RawAttribute(0x40, 2, bytes.fromhex("02020000000100000002" "01010000fc00")), "as-path [ 1 2 ] ( 64512 )"),
        (RawAttribute(0x40, 2, bytes.fromhex("01010000fc00")), "as-path ( 64512 )"),
        (RawAttribute(0x40, 2, bytes.fromhex("03010000fc00")), "attribute [ 0x02 0x40 0x03010000fc00 ]"),
        (RawAttribute(0xC0, 7, bytes.fromhex("000100000a000001")), "aggregator ( 65536:10.0.0.1 )"),
        (RawAttribute(0xE0, 7, bytes.fromhex("000100000a000001")), "attribute [ 0x07 0xe0 0x000100000a000001 ]"),
        (RawAttribute(0x80, 4, b"\0\0\0\7"), "med 7"),
        (RawAttribute(0xE0, 99, b""), "attribute [ 0x63 0xe0 0x ]"),
    ],
)
def test_an_attribute_has_words_where_they_give_its_octets_and_hexadecimal_else(
    attribute: RawAttribute, words: str
) -> None:
    assert next(attribute_words([attribute])) == words


@pytest.mark.parametrize(
    "attributes",
    [
        (RawAttribute(0x80, 14, b""),),
        (RawAttribute(0x40, 3, b"\x0a\x09\x00\x01"),),
        (OWNER, OWNER),
        (RawAttribute(0x40, 1, b"\x03"),),
        (RawAttribute(0x40, 2, bytes.fromhex("05010000fc00")),),
        (RawAttribute(0x40, 2, bytes.fromhex("0200")),),
        (RawAttribute(0x40, 2, bytes.fromhex("02020000fc00")),),
    ],
    ids=["MP_REACH", "NEXT_HOP", "twice", "ORIGIN 3", "segment 5", "empty segment", "AS_PATH cut"],
)
def test_attributes_that_have_no_words_are_refused(attributes: tuple[RawAttribute, ...]) -> None:
    with pytest.raises(SpecError):
        list(attribute_words(attributes))


@pytest.mark.parametrize("prefix", ["fd00::/64", "10.0.0.0", "10.0.0.0/24 withdraw", ""])
def test_a_prefix_that_is_none_of_the_family_is_refused(prefix: str) -> None:
    with pytest.raises(SpecError):
        list(announce_lines(["10.9.0.2"], [group(prefix)]))
