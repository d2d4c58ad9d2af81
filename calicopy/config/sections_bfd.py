"""The models of BFD (RFC 5880): of `bgp`, and of one peer. The rules of `sections` hold here too. Pure."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, StrictInt, WithJsonSchema

from calicopy.config.fields import VALUE, Choice, FilePath, Switch, one_of, refuse
from calicopy.config.sections import Section
from calicopy.seam.bfd import BfdAuthType, HopMode

LEAST_INTERVAL_S = 0.01
MOST_INTERVAL_S = 60.0
_INTERVAL = re.compile(r"([0-9]{1,5})(ms|s)")


def _interval(value: object) -> float:
    """Text such as `100ms` to seconds; a float is one already."""
    expected = "an interval with its unit, 10ms to 60s, such as 100ms or 1s"
    if isinstance(value, float):
        seconds = value
    elif isinstance(value, str) and (match := _INTERVAL.fullmatch(value)) is not None:
        seconds = int(match[1]) / (1000 if match[2] == "ms" else 1)
    else:
        refuse(value, expected)
    if not LEAST_INTERVAL_S <= seconds <= MOST_INTERVAL_S:
        refuse(value, expected)
    return seconds


def interval_text(seconds: float) -> str:
    """Seconds as the file writes an interval, in the largest unit that holds them whole."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _switch(value: object) -> object:
    """`true` and `false` in the place of a mapping are its `enabled`."""
    return {"enabled": value} if isinstance(value, bool) else value


IntervalField: TypeAlias = Annotated[
    float,
    PlainValidator(_interval),
    PlainSerializer(interval_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{_INTERVAL.pattern}$"}),
]
Multiplier: TypeAlias = Annotated[StrictInt, Field(ge=2, le=255)]
"""With 1 a single packet that is lost or late would be taken for the death of the peer."""
Ttl: TypeAlias = Annotated[StrictInt, Field(ge=1, le=255)]
AuthTypeField: TypeAlias = Annotated[BfdAuthType, PlainValidator(Choice(BfdAuthType)), VALUE, one_of(BfdAuthType)]
HopField: TypeAlias = Annotated[HopMode, PlainValidator(Choice(HopMode)), VALUE, one_of(HopMode)]


class BfdAuthSection(Section):
    """How BFD packets are authenticated, the same at both ends."""

    type: AuthTypeField
    """`simple` (the password in clear, RFC 5880 section 6.7.2) or `meticulous-sha1` (section 6.7.4)."""
    key_id: Annotated[StrictInt, Field(ge=0, le=255)] = 1
    """The number of the key, the same at both ends."""
    key_file: FilePath
    """A file with the key: 1 to 16 octets for `simple`, 1 to 20 for `meticulous-sha1`."""


class BfdSection(Section):
    """BFD of all sessions."""

    enabled: Switch = True
    """Whether sessions between nodes of this file have BFD. What an entry of `peers` says of itself goes before."""
    interval: IntervalField = 0.1
    """How often packets are sent and expected; the slower end decides."""
    multiplier: Multiplier = 3
    """How many packets may be missed: after so many intervals without one the peer is gone."""
    min_ttl: Ttl = 1
    """The least TTL of packets that are taken from a peer that may be behind routers (RFC 5883); 255: none between."""
    auth: BfdAuthSection | None = None
    """Authentication between nodes of this file. Default: none."""


class PeerBfdSection(Section):
    """BFD of one peer."""

    enabled: Switch = True
    """Whether the session has BFD."""
    interval: IntervalField | None = None
    """How often packets are sent and expected. Default: that of `bgp`."""
    multiplier: Multiplier | None = None
    """How many packets may be missed. Default: that of `bgp`."""
    min_ttl: Ttl | None = None
    """The least TTL of packets that are taken when the peer is not on the link. Default: as `ttl_security` says, else
    that of `bgp`."""
    auth: BfdAuthSection | None = None
    """Authentication. Default: none; with `peer_selector` that of `bgp`."""
    hop: HopField | None = None
    """`single` (UDP port 3784, TTL 255, RFC 5881), `multi` (4784, RFC 5883), or `auto`: as the peer does. Default:
    `auto`; nodes of this file always use `multi`."""


BfdField: TypeAlias = Annotated[
    BfdSection, BeforeValidator(_switch, json_schema_input_type=bool | BfdSection)
]
PeerBfdField: TypeAlias = Annotated[
    PeerBfdSection, BeforeValidator(_switch, json_schema_input_type=bool | PeerBfdSection)
]

__all__ = ["BfdAuthSection", "BfdField", "BfdSection", "PeerBfdField", "PeerBfdSection", "interval_text"]
