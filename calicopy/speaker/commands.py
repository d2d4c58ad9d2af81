"""Announcements to ExaBGP's command lines: pure text.

The bulk form carries many prefixes that share attributes in one line. ExaBGP adds nothing that we do not say: AS_PATH
is always written out, since it would otherwise prepend the local AS on eBGP.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from calicopy.bgp.attributes import RawAttribute
from calicopy.net.family import Family
from calicopy.seam.speaker import AnnounceGroup, SpecError

PREFIXES_PER_LINE = 500
AS_PATH = 2
ORIGIN = 1
AS_SEQUENCE = 2
DECIMAL_WORDS = {4: "med", 5: "local-preference"}
MP_OR_NEXT_HOP = frozenset((3, 14, 15))


def announce_lines(peer: str, groups: Iterable[AnnounceGroup]) -> Iterator[str]:
    """One or more lines per group, of at most PREFIXES_PER_LINE prefixes each. Raises SpecError."""
    for group in groups:
        words = " ".join(attribute_words(group.attributes))
        head = f"neighbor {peer} announce attributes next-hop {group.next_hop} {words} nlri "
        for prefixes in _chunks(group.prefixes, group.family):
            yield head + prefixes


def withdraw_lines(peer: str, family: Family, prefixes: Sequence[str]) -> Iterator[str]:
    """Lines that withdraw these prefixes. Raises SpecError."""
    next_hop = "0.0.0.0" if family is Family.IPV4 else "::"
    for chunk in _chunks(prefixes, family):
        yield f"neighbor {peer} withdraw attributes next-hop {next_hop} nlri {chunk}"


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
    if ORIGIN not in codes:
        yield "origin igp"
    if AS_PATH not in codes:
        yield "as-path [ ]"


def _words(attribute: RawAttribute) -> str:
    if attribute.code == AS_PATH:
        return f"as-path [ {' '.join(str(number) for number in sequence_numbers(attribute.value))} ]"
    if attribute.code == ORIGIN:
        if len(attribute.value) != 1 or attribute.value[0] > 2:
            raise SpecError(f"ORIGIN {attribute.value.hex()}: expected one octet, 0 to 2")
        return "origin " + ("igp", "egp", "incomplete")[attribute.value[0]]
    if attribute.code in DECIMAL_WORDS and len(attribute.value) == 4:
        return f"{DECIMAL_WORDS[attribute.code]} {int.from_bytes(attribute.value, 'big')}"
    return f"attribute [ 0x{attribute.code:02x} 0x{attribute.flags:02x} 0x{attribute.value.hex()} ]"


def sequence_numbers(value: bytes) -> list[int]:
    """The AS numbers of an AS_PATH that holds AS_SEQUENCEs alone (RFC 4271 section 4.3, RFC 6793: four octets each).

    ExaBGP writes them in two octets for an old peer, which hexadecimal would not. SpecError for anything else.
    """
    numbers: list[int] = []
    at = 0
    while at < len(value):
        kind, count = value[at], value[at + 1] if at + 1 < len(value) else 0
        end = at + 2 + 4 * count
        if kind != AS_SEQUENCE or not count or end > len(value):
            raise SpecError(f"AS_PATH {value.hex()}: expected AS_SEQUENCE segments with four-octet numbers")
        numbers += (int.from_bytes(value[i : i + 4], "big") for i in range(at + 2, end, 4))
        at = end
    return numbers


def _chunks(prefixes: Sequence[str], family: Family) -> Iterator[str]:
    mark = "." if family is Family.IPV4 else ":"
    for start in range(0, len(prefixes), PREFIXES_PER_LINE):
        chunk = prefixes[start : start + PREFIXES_PER_LINE]
        if any(mark not in prefix or " " in prefix or "/" not in prefix for prefix in chunk):
            raise SpecError(f"not all are {family} prefixes with their length: {chunk[0]!r} to {chunk[-1]!r}")
        yield " ".join(chunk)
