"""The value types of BGP sections: durations, communities, length ranges and choices. The rules of `fields` hold here
too."""

from __future__ import annotations

import enum
import re
from typing import Annotated, TypeAlias

from pydantic import Field, PlainSerializer, PlainValidator, StrictInt, WithJsonSchema

from calicopy.bgp.communities import WELL_KNOWN
from calicopy.config.fields import VALUE, Choice, Name, one_of, refuse
from calicopy.policy import (
    Action,
    AdvertiseScope,
    Community,
    LimitAction,
    NextHopMode,
    PeerType,
    RouteSource,
    community_text,
    parse_community,
)

_UNITS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"([0-9]{1,6})([smh])")
MAX_DURATION_S = 86_400

LengthRange: TypeAlias = tuple[int, int]
"""Least and most, both included."""
_RANGE = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")


class HoldExpiry(enum.Enum):
    """What becomes of a peer's routes when its hold timer runs out."""

    FLUSH = "flush"
    KEEP = "keep"


def _duration(value: object) -> float:
    """Text such as `60s` to seconds; a float is one already."""
    if isinstance(value, float) and 0 <= value <= MAX_DURATION_S:
        return value
    expected = "a duration with its unit, such as 30s, 2m or 1h (0s: none), at most 24h"
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        refuse(value, expected)
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > MAX_DURATION_S:
        refuse(value, expected)
    return float(seconds)


def duration_text(seconds: float) -> str:
    """Seconds as the file writes them, in the largest unit that holds them whole."""
    for unit in ("h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds) // _UNITS[unit]}{unit}"
    return f"{int(seconds)}s"


def _community(value: object) -> Community:
    if isinstance(value, tuple) and len(value) == 3 and all(isinstance(part, int) for part in value):
        return value
    names = ", ".join(sorted(WELL_KNOWN))
    expected = f'a community such as "64512:100", a large one such as "64512:1:7", or one of {names}'
    if not isinstance(value, str):
        refuse(value, f"{expected} (in quotes)")
    try:
        return parse_community(value)
    except ValueError:
        large = value.count(":") == 1 and value.partition(":")[0].isdecimal()
        hint = "; the parts of a standard one are at most 65535: use a large one" if large else ""
        refuse(value, f"{expected}{hint}")


def _range(value: object) -> LengthRange:
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(end, int) for end in value):
        least, most = value
    else:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        match = _RANGE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            refuse(value, "a length or a range of lengths, such as 26 or 24-26")
        least, most = int(match[1]), int(match[2] or match[1])
    if least > most:
        refuse(value, f"a range that begins with the lesser length: {most}-{least}")
    return least, most


def range_text(lengths: LengthRange) -> str:
    """A range as the file writes it."""
    least, most = lengths
    return str(least) if least == most else f"{least}-{most}"


DurationField: TypeAlias = Annotated[
    float,
    PlainValidator(_duration),
    PlainSerializer(duration_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
CommunityField: TypeAlias = Annotated[
    Community,
    PlainValidator(_community),
    PlainSerializer(community_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^([0-9]+(:[0-9]+){{1,2}}|{'|'.join(sorted(WELL_KNOWN))})$"}),
]
Communities: TypeAlias = Annotated[tuple[CommunityField, ...], Field(min_length=1, max_length=64)]
RangeField: TypeAlias = Annotated[
    LengthRange,
    PlainValidator(_range),
    PlainSerializer(range_text, return_type=str),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_RANGE.pattern}$"}]}
    ),
]
ActionField: TypeAlias = Annotated[Action, PlainValidator(Choice(Action)), VALUE, one_of(Action)]
PeerTypeField: TypeAlias = Annotated[PeerType, PlainValidator(Choice(PeerType)), VALUE, one_of(PeerType)]
SourceField: TypeAlias = Annotated[RouteSource, PlainValidator(Choice(RouteSource)), VALUE, one_of(RouteSource)]
NextHopField: TypeAlias = Annotated[NextHopMode, PlainValidator(Choice(NextHopMode)), VALUE, one_of(NextHopMode)]
AdvertiseField: TypeAlias = Annotated[
    AdvertiseScope, PlainValidator(Choice(AdvertiseScope)), VALUE, one_of(AdvertiseScope)
]
LimitActionField: TypeAlias = Annotated[LimitAction, PlainValidator(Choice(LimitAction)), VALUE, one_of(LimitAction)]
HoldExpiryField: TypeAlias = Annotated[HoldExpiry, PlainValidator(Choice(HoldExpiry)), VALUE, one_of(HoldExpiry)]
Chain: TypeAlias = Annotated[tuple[Name, ...], Field(max_length=64)]
"""Names of filters, in the order in which they are asked."""
KeepaliveTime: TypeAlias = Annotated[StrictInt, Field(ge=1, le=21845)]
RestartTime: TypeAlias = Annotated[StrictInt, Field(ge=0, le=4095)]
PrefixLimit: TypeAlias = Annotated[StrictInt, Field(ge=1, le=10_000_000)]
LimitRestart: TypeAlias = Annotated[StrictInt, Field(ge=1, le=86_400)]
Unsigned32: TypeAlias = Annotated[StrictInt, Field(ge=0, le=4294967295)]
