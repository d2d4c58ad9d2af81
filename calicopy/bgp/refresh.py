"""ROUTE-REFRESH: the body of the message (RFC 2918), and its subtypes (RFC 7313)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from calicopy.net import Family
from calicopy.net.family import SAFI_UNICAST

_BODY = struct.Struct(">HBB")


class RefreshError(ValueError):
    """A body that is no ROUTE-REFRESH (RFC 7313 section 5: invalid message length)."""


class RefreshKind(enum.IntEnum):
    """The subtype (RFC 7313 section 4.2)."""

    REQUEST = 0
    BEGIN = 1
    END = 2


@dataclass(frozen=True, slots=True)
class RouteRefresh:
    """One ROUTE-REFRESH. `family` is None for one that calicopy does not carry; `kind` None for an unknown subtype.

    RFC 7313 section 5 wants both ignored.
    """

    family: Family | None
    kind: RefreshKind | None


def decode_route_refresh(body: bytes) -> RouteRefresh:
    """AFI 2, subtype 1, SAFI 1 to a RouteRefresh. RefreshError when the body is not 4 octets (we never negotiate
    ORF).
    """
    if len(body) != _BODY.size:
        raise RefreshError(f"a ROUTE-REFRESH body has {len(body)} octets, expected {_BODY.size}")
    afi, subtype, safi = _BODY.unpack(body)
    family = next((one for one in Family if one == afi and safi == SAFI_UNICAST), None)
    kind = next((one for one in RefreshKind if one == subtype), None)
    return RouteRefresh(family, kind)


def encode_route_refresh(family: Family, kind: RefreshKind = RefreshKind.REQUEST) -> bytes:
    """The body of a ROUTE-REFRESH."""
    return _BODY.pack(family, kind, SAFI_UNICAST)
