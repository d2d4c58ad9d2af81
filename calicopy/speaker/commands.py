"""Announcements to ExaBGP's command lines: pure text.

The bulk form carries many prefixes that share attributes in one line, to any number of peers. ExaBGP adds nothing that
we do not say: AS_PATH is always written out, since it would otherwise prepend the local AS on eBGP. An attribute has
words of ExaBGP's where these give the very octets, and hexadecimal otherwise. What depends on the width of AS numbers
(RFC 6793) has words wherever they exist, since ExaBGP then writes two octets for an old peer.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address

from calicopy.bgp.attributes import AttributeCode, RawAttribute
from calicopy.net.family import Family
from calicopy.seam.speaker import AnnounceGroup, SpecError, WithdrawGroup

PREFIXES_PER_LINE = 500
MAX_PATH_ID = 0xFFFFFFFF  # RFC 7911 section 3: four octets
BRACKETS = {1: "( {} )", 2: "[ {} ]"}  # AS_SET and AS_SEQUENCE; ExaBGP cannot read its own words for the other two
AS_SEGMENTS = range(1, 5)  # RFC 4271 section 4.3, RFC 5065 section 3
ORIGINS = ("igp", "egp", "incomplete")
FLAGS_OF_WORDS = {  # the flags octet that ExaBGP writes for each attribute that has words here
    AttributeCode.ORIGIN: 0x40,
    AttributeCode.AS_PATH: 0x40,
    AttributeCode.MULTI_EXIT_DISC: 0x80,
    AttributeCode.LOCAL_PREF: 0x40,
    AttributeCode.AGGREGATOR: 0xC0,
}
MP_OR_NEXT_HOP = (AttributeCode.NEXT_HOP, AttributeCode.MP_REACH_NLRI, AttributeCode.MP_UNREACH_NLRI)


def announce_lines(peers: Sequence[str], groups: Iterable[AnnounceGroup]) -> Iterator[str]:
    """One or more lines per group, of at most PREFIXES_PER_LINE prefixes each. Raises SpecError."""
    to = _neighbors(peers)
    for group in groups:
        words = " ".join((*_path_id(group.path_id), *attribute_words(group.attributes)))
        head = f"{to} announce attributes next-hop {group.next_hop} {words} nlri "
        for prefixes in _chunks(group.prefixes, group.family):
            yield head + prefixes


def withdraw_lines(peers: Sequence[str], groups: Iterable[WithdrawGroup]) -> Iterator[str]:
    """Lines that withdraw these prefixes, each under its path id. Raises SpecError."""
    to = _neighbors(peers)
    for group in groups:
        next_hop = "0.0.0.0" if group.family is Family.IPV4 else "::"
        words = " ".join((next_hop, *_path_id(group.path_id)))
        for chunk in _chunks(group.prefixes, group.family):
            yield f"{to} withdraw attributes next-hop {words} nlri {chunk}"


def attribute_words(attributes: Iterable[RawAttribute]) -> Iterator[str]:
    """The attributes in ExaBGP's words; those without a need for one in hexadecimal."""
    codes = set()
    for attribute in attributes:
        if attribute.code in MP_OR_NEXT_HOP:
            raise SpecError(f"attribute {attribute.code} is the next hop's and the prefixes' own, not to be listed")
        if attribute.code in codes:
            raise SpecError(f"attribute {attribute.code} is given twice")
        codes.add(attribute.code)
        yield _words(attribute)
    if AttributeCode.ORIGIN not in codes:
        yield "origin igp"
    if AttributeCode.AS_PATH not in codes:
        yield "as-path [ ]"


def _neighbors(peers: Sequence[str]) -> str:
    if not peers:
        raise SpecError("no peer is named: ExaBGP would tell all of them")
    return " , ".join(f"neighbor {peer}" for peer in peers)


def _path_id(number: int) -> tuple[str, ...]:
    if not 0 <= number <= MAX_PATH_ID:
        raise SpecError(f"path id {number}: expected 0 to {MAX_PATH_ID}")
    return (f"path-information {number}",) if number else ()


def _words(attribute: RawAttribute) -> str:
    value, words = attribute.value, None
    match attribute.code:
        case AttributeCode.AS_PATH:
            words = _as_path(as_segments(value))
        case AttributeCode.ORIGIN:
            if len(value) != 1 or value[0] >= len(ORIGINS):
                raise SpecError(f"ORIGIN {value.hex()}: expected one octet, 0 to 2")
            words = f"origin {ORIGINS[value[0]]}"
        case AttributeCode.MULTI_EXIT_DISC if len(value) == 4:
            words = f"med {int.from_bytes(value, 'big')}"
        case AttributeCode.LOCAL_PREF if len(value) == 4:
            words = f"local-preference {int.from_bytes(value, 'big')}"
        case AttributeCode.AGGREGATOR if len(value) == 8:
            words = f"aggregator ( {int.from_bytes(value[:4], 'big')}:{IPv4Address(value[4:])} )"
    if words is not None and attribute.flags == FLAGS_OF_WORDS[AttributeCode(attribute.code)]:
        return words
    return f"attribute [ 0x{attribute.code:02x} 0x{attribute.flags:02x} 0x{value.hex()} ]"


def _as_path(segments: Sequence[tuple[int, tuple[int, ...]]]) -> str | None:
    """ExaBGP's words for the path, None where it has none: confederation segments (RFC 5065)."""
    if not all(kind in BRACKETS for kind, _ in segments):
        return None
    inside = (BRACKETS[kind].format(" ".join(map(str, numbers))) for kind, numbers in segments)
    return f"as-path {' '.join(inside) or '[ ]'}"


def as_segments(value: bytes) -> list[tuple[int, tuple[int, ...]]]:
    """An AS_PATH's segments: type and AS numbers (RFC 4271 section 4.3, RFC 6793: four octets each).

    SpecError for an unknown type, an empty segment (RFC 7606 section 7.2), or one that is cut.
    """
    segments = []
    at = 0
    while at < len(value):
        kind, count = value[at], value[at + 1] if at + 1 < len(value) else 0
        end = at + 2 + 4 * count
        if kind not in AS_SEGMENTS or not count or end > len(value):
            raise SpecError(f"AS_PATH {value.hex()}: expected whole segments of types 1 to 4 with four-octet numbers")
        segments.append((kind, tuple(int.from_bytes(value[i : i + 4], "big") for i in range(at + 2, end, 4))))
        at = end
    return segments


def _chunks(prefixes: Sequence[str], family: Family) -> Iterator[str]:
    mark = "." if family is Family.IPV4 else ":"
    for start in range(0, len(prefixes), PREFIXES_PER_LINE):
        chunk = prefixes[start : start + PREFIXES_PER_LINE]
        if any(mark not in prefix or " " in prefix or "/" not in prefix for prefix in chunk):
            raise SpecError(f"not all are {family} prefixes with their length: {chunk[0]!r} to {chunk[-1]!r}")
        yield " ".join(chunk)
