"""AS_PATH: segments, the questions that the decision process asks of them, and their wire form (RFC 4271, 5065,
6793).
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

AS_TRANS = 23456
"""Stands for a 4-octet AS in a 2-octet field (RFC 6793 section 9)."""


class AsPathError(ValueError):
    """Octets that are no AS_PATH (RFC 7606 section 7.2)."""


class SegmentKind(enum.IntEnum):
    """Path segment types (RFC 4271 section 4.3, RFC 5065 section 3)."""

    AS_SET = 1
    AS_SEQUENCE = 2
    CONFED_SEQUENCE = 3
    CONFED_SET = 4

    @property
    def is_confed(self) -> bool:
        """Whether the segment lives only inside a confederation."""
        return self >= SegmentKind.CONFED_SEQUENCE


@dataclass(frozen=True, slots=True)
class Segment:
    """One path segment: its kind and its AS numbers, nearest first."""

    kind: SegmentKind
    asns: tuple[int, ...]

    @property
    def hops(self) -> int:
        """What it adds to the path length: a set is 1, a sequence its AS count, confederation segments 0 (RFC 5065
        section 5.3).
        """
        if self.kind.is_confed:
            return 0
        return 1 if self.kind is SegmentKind.AS_SET else len(self.asns)

    def __str__(self) -> str:
        match self.kind:
            case SegmentKind.AS_SEQUENCE:
                return " ".join(map(str, self.asns))
            case SegmentKind.AS_SET:
                return "{" + ",".join(map(str, self.asns)) + "}"
            case SegmentKind.CONFED_SEQUENCE:
                return "(" + " ".join(map(str, self.asns)) + ")"
            case SegmentKind.CONFED_SET:
                return "[" + ",".join(map(str, self.asns)) + "]"


@dataclass(frozen=True, slots=True)
class AsPath:
    """The AS_PATH of a path; empty for one that began in our own AS."""

    segments: tuple[Segment, ...] = ()

    @classmethod
    def sequence(cls, *asns: int) -> AsPath:
        """A path of one AS_SEQUENCE, nearest AS first; empty without AS numbers."""
        return cls((Segment(SegmentKind.AS_SEQUENCE, asns),)) if asns else cls()

    @property
    def length(self) -> int:
        """The length that the decision compares (RFC 4271 section 9.1.2.2 a, RFC 5065 section 5.3)."""
        return sum(segment.hops for segment in self.segments)

    @property
    def neighbor_as(self) -> int | None:
        """The AS that the path was heard from: the first of the leading AS_SEQUENCE, confederation segments skipped.

        None for a path from our own AS, and for one that begins with an AS_SET (RFC 4271 section 9.1.2.2 c).
        """
        for segment in self.segments:
            if not segment.kind.is_confed:
                return segment.asns[0] if segment.kind is SegmentKind.AS_SEQUENCE else None
        return None

    @property
    def origin_as(self) -> int | None:
        """The AS that the path began in: the last of the final AS_SEQUENCE; None when empty or when it ends in an
        AS_SET (RFC 6811 section 2).
        """
        for segment in reversed(self.segments):
            if not segment.kind.is_confed:
                return segment.asns[-1] if segment.kind is SegmentKind.AS_SEQUENCE else None
        return None

    @property
    def has_confed(self) -> bool:
        """Whether it has a confederation segment."""
        return any(segment.kind.is_confed for segment in self.segments)

    def prepend(self, asn: int, count: int = 1) -> AsPath:
        """The path with `asn` before it, `count` times: in the leading AS_SEQUENCE, or in a new one where there is
        none or where it would pass 255 (RFC 4271 section 5.1.2 b).
        """
        if count <= 0:
            return self
        lead = (Segment(SegmentKind.AS_SEQUENCE, (asn,) * count),)
        return AsPath(_joined(lead, self.segments))

    def without_confed(self) -> AsPath:
        """The path as it leaves a confederation (RFC 5065 section 4.1 c)."""
        if not self.has_confed:
            return self
        return AsPath(tuple(segment for segment in self.segments if not segment.kind.is_confed))

    def __str__(self) -> str:
        return " ".join(map(str, self.segments))


def decode_as_path(value: bytes, *, asn4: bool) -> AsPath:
    """The octets of AS_PATH or AS4_PATH to a path. AsPathError when a segment is unknown, empty, or does not fit."""
    segments: list[Segment] = []
    width, letter = (4, "I") if asn4 else (2, "H")
    position, end = 0, len(value)
    while position < end:
        if end - position < 2:
            raise AsPathError("one octet is left over where a segment header of 2 was expected")
        code, count = value[position], value[position + 1]
        if not 1 <= code <= 4:
            raise AsPathError(f"segment type {code} is unknown: expected 1 to 4")
        if count == 0:
            raise AsPathError("a segment has no AS number")
        stop = position + 2 + count * width
        if stop > end:
            raise AsPathError(f"a segment of {count} AS numbers runs {stop - end} octets over the attribute")
        asns = struct.unpack_from(f">{count}{letter}", value, position + 2)
        if 0 in asns:
            raise AsPathError("AS 0 is in the path (RFC 7607)")
        segments.append(Segment(SegmentKind(code), asns))
        position = stop
    return AsPath(tuple(segments))


def encode_as_path(path: AsPath, *, asn4: bool) -> bytes:
    """A path to octets; AS numbers over 65535 become AS_TRANS where `asn4` is off. Segments over 255 AS numbers are
    split.
    """
    out = bytearray()
    for segment in path.segments:
        asns = segment.asns if asn4 else tuple(asn if asn < 65536 else AS_TRANS for asn in segment.asns)
        for start in range(0, len(asns), 255):
            part = asns[start : start + 255]
            out += struct.pack(f">BB{len(part)}{'I' if asn4 else 'H'}", segment.kind, len(part), *part)
    return bytes(out)


def merge_as4_path(path: AsPath, as4: AsPath) -> AsPath:
    """The true path of a 2-octet session: AS4_PATH, with the leading hops of AS_PATH that it lacks before it (RFC
    6793 section 4.2.3).

    An AS4_PATH that is longer than the AS_PATH is ignored. Its confederation segments are left out.
    """
    as4 = as4.without_confed()
    missing = path.length - as4.length
    if missing < 0:
        return path
    lead: list[Segment] = []
    for segment in path.segments:
        if segment.kind.is_confed:  # counts nothing; belongs to the lead as long as hops follow
            if missing:
                lead.append(segment)
            continue
        if missing == 0:
            break
        if segment.hops <= missing:
            lead.append(segment)
            missing -= segment.hops
            continue
        lead.append(Segment(segment.kind, segment.asns[:missing]))
        missing = 0
    return AsPath(_joined(tuple(lead), as4.segments))


def _joined(lead: tuple[Segment, ...], tail: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The two lists as one, with sequences that meet at the seam made one again."""
    if lead and tail and lead[-1].kind is tail[0].kind is SegmentKind.AS_SEQUENCE:
        asns = lead[-1].asns + tail[0].asns
        if len(asns) <= 255:
            return (*lead[:-1], Segment(SegmentKind.AS_SEQUENCE, asns), *tail[1:])
    return (*lead, *tail)
