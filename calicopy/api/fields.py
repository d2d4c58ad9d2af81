"""Fields of requests, from text to types. Each function raises InvalidFieldError, naming the field."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from calicopy.api.errors import InvalidFieldError
from calicopy.core.show import REASON_CODES
from calicopy.core.views import RouteQuery
from calicopy.net import Family, IPAddress, Prefix, PrefixError
from calicopy.v1 import route_pb2, types_pb2

NAME_LENGTH = 253
PATH_LENGTH = 4096
_FAMILIES = {types_pb2.FAMILY_IPV4: Family.IPV4, types_pb2.FAMILY_IPV6: Family.IPV6}
_QUERIES = {
    route_pb2.ROUTE_VIEW_UNSPECIFIED: RouteQuery.ALL,
    route_pb2.ROUTE_VIEW_ALL: RouteQuery.ALL,
    route_pb2.ROUTE_VIEW_RECEIVED: RouteQuery.RECEIVED,
    route_pb2.ROUTE_VIEW_ADVERTISED: RouteQuery.ADVERTISED,
    route_pb2.ROUTE_VIEW_REJECTED: RouteQuery.REJECTED,
    route_pb2.ROUTE_VIEW_INSTALLED: RouteQuery.INSTALLED,
}


def required(field: str, value: str, *, length: int = NAME_LENGTH) -> str:
    """Text that has to be there: printable, at most `length` characters."""
    if not value:
        raise InvalidFieldError(field, "is required")
    return optional(field, value, length=length)


def optional(field: str, value: str, *, length: int = NAME_LENGTH) -> str:
    """Text that may be empty."""
    if len(value) > length:
        raise InvalidFieldError(field, f"has {len(value)} characters, expected at most {length}")
    if not value.isprintable():
        raise InvalidFieldError(field, "has characters that cannot be printed")
    return value


def address(field: str, value: str) -> IPAddress | None:
    """An address; None when empty."""
    if not value:
        return None
    try:
        found = ip_address(value)
    except ValueError:
        raise InvalidFieldError(field, f"{value[:64]!r} is not an address, expected one like 10.244.0.5") from None
    if "%" in value:
        raise InvalidFieldError(field, f"{value[:64]!r} has a zone, expected an address without one")
    return found


def addresses(field: str, values: Iterable[str]) -> Iterator[IPAddress]:
    """Addresses, none of them empty."""
    for value in values:
        found = address(field, value)
        if found is None:
            raise InvalidFieldError(field, "has an empty address")
        yield found


def prefix(field: str, value: str) -> Prefix | None:
    """A prefix, or an address as a host prefix; None when empty."""
    if not value:
        return None
    try:
        return Prefix.parse(value[:64])
    except PrefixError as error:
        raise InvalidFieldError(field, f"{error}; expected one like 10.244.0.0/26, or an address") from None


def family(field: str, value: types_pb2.Family) -> Family | None:
    """A family; None when unspecified."""
    if value == types_pb2.FAMILY_UNSPECIFIED:
        return None
    if value not in _FAMILIES:
        raise InvalidFieldError(field, f"{int(value)} is not a family that this agent knows")
    return _FAMILIES[value]


def families(field: str, values: Iterable[types_pb2.Family]) -> Iterator[Family]:
    """Families, none of them unspecified."""
    for value in values:
        found = family(field, value)
        if found is None:
            raise InvalidFieldError(field, "has one that is unspecified")
        yield found


def route_query(field: str, value: route_pb2.RouteView) -> RouteQuery:
    """Which routes are meant; all when unspecified."""
    if value not in _QUERIES:
        raise InvalidFieldError(field, f"{int(value)} is not a view that this agent knows")
    return _QUERIES[value]


def reason_code(field: str, value: str) -> str:
    """The code of a path's reason; may be empty."""
    if value and value not in REASON_CODES:
        raise InvalidFieldError(field, f"{value[:64]!r} is not a reason: expected one of {', '.join(REASON_CODES)}")
    return value


def seconds(field: str, value: float, *, most: float) -> float:
    """A duration from 0 to `most` seconds."""
    if not 0 <= value <= most:
        raise InvalidFieldError(field, f"is {value:g}, expected 0 to {most:g} seconds")
    return value
