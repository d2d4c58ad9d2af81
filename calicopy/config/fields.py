"""The value types of the cluster file: what a text or number in it may be, and the words that say so when it is not.

Theory of operation: each type is an `Annotated` with a parser of ours (so that the error says what was expected, in
the field's words), a serialiser back to the file's form, and its JSON schema. Parsers take the file's text, or an
object that is already of the type (models made in code). They are pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from typing import Annotated, NoReturn, TypeAlias

from pydantic import Field, PlainSerializer, PlainValidator, StrictBool, StrictInt, StrictStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from calicopy.net import Encapsulation, EncapsulationMode, Family, IPAddress, Prefix, PrefixError

IPInterface: TypeAlias = IPv4Interface | IPv6Interface

RESERVED_PROTOCOLS = frozenset({*range(5), *range(8, 19), 42, 80, 84, 99, *range(186, 198)})
"""Route protocol numbers that others use: the kernel (0-4), iproute2's rt_protos, FRR's rt_protos.d, Calico (80)."""
RESERVED_AS = frozenset({0, 23456, 65535, 4294967295})
"""AS 0 (RFC 7607), AS_TRANS (RFC 6793), last ASNs (RFC 7300)."""


def found(value: object) -> str:
    """A value of the file as a message names it: `the text '10.0.0.1'`, `the number 3`, `a list`."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return f"the switch {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value!r}" if len(value) <= 80 else f"the text {value[:77]!r}..."
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping (keys and values)"
    return f"{value}"


def refuse(value: object, expected: str) -> NoReturn:
    """Raise the error that says what was found and what was expected."""
    raise PydanticCustomError("refused", "{message}", {"message": f"found {found(value)}, expected {expected}"})


def _text(value: object, expected: str) -> str:
    if not isinstance(value, str):
        refuse(value, expected)
    return value


def _address4(value: object) -> IPv4Address:
    if isinstance(value, IPv4Address) and not isinstance(value, IPv4Interface):
        return value
    expected = "an IPv4 address such as 192.0.2.1"
    try:
        return IPv4Address(_text(value, expected))
    except ValueError:
        refuse(value, expected)


def _router_id(value: object) -> IPv4Address:
    address = _address4(value)
    if not int(address):
        refuse(value, "a router id other than 0.0.0.0")
    return address


def _address(value: object) -> IPAddress:
    if isinstance(value, IPv4Address | IPv6Address) and not isinstance(value, IPv4Interface | IPv6Interface):
        return value
    expected = "an IP address such as 192.0.2.1 or 2001:db8::1, without a prefix length"
    try:
        address = ip_address(_text(value, expected))
    except ValueError:
        refuse(value, expected)
    if (
        address.is_unspecified
        or address.is_multicast
        or address.is_loopback
        or address == IPv4Address("255.255.255.255")
    ):
        refuse(value, "the address of one host that can be reached over the network")
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        refuse(value, "an address without a %scope")
    return address


def _interface4(value: object) -> IPv4Interface:
    return value if isinstance(value, IPv4Interface) else IPv4Interface(_node_address(value, Family.IPV4))


def _interface6(value: object) -> IPv6Interface:
    return value if isinstance(value, IPv6Interface) else IPv6Interface(_node_address(value, Family.IPV6))


def _node_address(value: object, family: Family) -> str:
    """The text of a node address that is fit to be one: prefix length given, of `family`, a host's."""
    example = "192.0.2.1/24" if family is Family.IPV4 else "2001:db8::1/64"
    name = "IPv4" if family is Family.IPV4 else "IPv6"
    expected = f"an {name} address with its prefix length, such as {example}"
    text = _text(value, expected)
    if "/" not in text:
        refuse(value, f"{expected} (the prefix length is missing)")
    try:
        parsed = IPv4Interface(text) if family is Family.IPV4 else IPv6Interface(text)
        length = int(text.partition("/")[2])
    except ValueError:
        other = ":" in text if family is Family.IPV4 else ":" not in text
        key = "address6" if family is Family.IPV4 else "address"
        refuse(value, f"{expected} (the other family goes under `{key}`)" if other else expected)
    address = parsed.ip
    if address.is_unspecified or address.is_multicast or address.is_loopback or length == 0:
        refuse(value, f"{expected}, of one host that can be reached over the network")
    if family is Family.IPV6 and address.is_link_local:
        refuse(value, f"{expected}: a link-local address cannot be a node's")
    if family is Family.IPV4 and length <= 30 and address in (parsed.network[0], parsed.network[-1]):
        refuse(value, f"{expected}: {address} is the network or broadcast address of {parsed.network}")
    return text


def _prefix(value: object) -> Prefix:
    if isinstance(value, Prefix):
        return value
    expected = "a prefix such as 10.244.0.0/16"
    text = _text(value, expected)
    if "/" not in text:
        refuse(value, f"{expected} (the prefix length is missing)")
    try:
        return Prefix.parse(text)
    except PrefixError as error:
        reason = str(error).partition(": ")[2]
        if "host bits" in reason:
            reason = "bits are set after the prefix length"
            refuse(value, f"{expected} ({reason})")
        refuse(value, expected)


class _Words:
    """A text that must match a pattern."""

    def __init__(self, pattern: str, expected: str) -> None:
        self._pattern = re.compile(pattern)
        self._expected = expected

    def __call__(self, value: object) -> str:
        text = _text(value, self._expected)
        if not self._pattern.fullmatch(text):
            refuse(value, self._expected)
        return text


def _file(value: object) -> str:
    """An absolute path. The value is not repeated in the message: under a wrong key it may be a secret."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or value.endswith("/"):
        raise PydanticCustomError(
            "refused",
            "{message}",
            {"message": "expected the absolute path of a file, such as /etc/calicopy/bgp.password"},
        )
    return value


@dataclass(frozen=True, slots=True)
class Listen:
    """A TCP address to listen on."""

    host: IPAddress
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.host.version == 6 else f"{self.host}:{self.port}"


def _listen(value: object) -> Listen:
    if isinstance(value, Listen):
        return value
    expected = 'ADDRESS:PORT such as 0.0.0.0:7443 or "[::]:7443"'
    host, colon, port = _text(value, expected).rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        refuse(value, expected)
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = IPv6Address(host[1:-1]) if bracketed else IPv4Address(host)
    except ValueError:
        refuse(value, expected)
    return Listen(address, int(port))


def parse_readyz_listen(text: str) -> Listen:
    """ADDRESS:PORT of this host alone, as `/readyz` listens on it. ValueError says what was expected."""
    try:
        found = _listen(text)
    except PydanticCustomError as error:
        raise ValueError(error.message()) from None
    if not found.host.is_loopback:
        raise ValueError(f"{text} is not of this host alone: expected 127.0.0.1:PORT or [::1]:PORT")
    return found


class Choice:
    """A text that is the value of one of `members`."""

    def __init__(self, members: Iterable[enum.Enum]) -> None:
        self._members = tuple(members)

    def __call__(self, value: object) -> enum.Enum:
        for member in self._members:
            if value in (member, member.value):
                return member
        refuse(value, "one of " + ", ".join(str(member.value) for member in self._members))


class DetectionMethod(enum.Enum):
    """How a node finds its address when the file does not give it."""

    CIDR = "cidr"
    INTERFACE = "interface"
    CAN_REACH = "can-reach"
    DEFAULT_ROUTE = "default-route"


class LogLevel(enum.Enum):
    """The least level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _family(value: object) -> Family:
    if isinstance(value, Family):
        return value
    if value == "ipv4":
        return Family.IPV4
    if value == "ipv6":
        return Family.IPV6
    refuse(value, "one of ipv4, ipv6")


def _asn(value: object) -> int:
    expected = "an AS number: a whole number from 1 to 4294967294, such as 64512"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4294967294:
        hint = " (without quotes)" if isinstance(value, str) and value.isdecimal() else ""
        refuse(value, expected + hint)
    if value in RESERVED_AS:
        refuse(value, f"{expected}; this one is reserved")
    return value


def _hold_time(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not (value == 0 or 3 <= value <= 65535):
        refuse(value, "a hold time in seconds: 0 (no keepalives), or 3 to 65535 (RFC 4271 section 4.2)")
    return value


def _protocol(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 5 <= value <= 255:
        refuse(value, "a route protocol number from 5 to 255 that no other program uses, such as 117")
    if value in RESERVED_PROTOCOLS:
        refuse(
            value,
            "a route protocol number that no other program uses, such as 117 "
            "(the kernel, FRR, BIRD, Calico or another entry of rt_protos has this one)",
        )
    return value


_STRING = PlainSerializer(str, return_type=str)
VALUE = PlainSerializer(lambda member: member.value, return_type=str)


def one_of(members: Iterable[enum.Enum]) -> WithJsonSchema:
    """The schema of a choice: the values of `members`."""
    return WithJsonSchema({"type": "string", "enum": [member.value for member in members]})


Address: TypeAlias = Annotated[IPAddress, PlainValidator(_address), _STRING, WithJsonSchema({"type": "string"})]
RouterId: TypeAlias = Annotated[
    IPv4Address, PlainValidator(_router_id), _STRING, WithJsonSchema({"type": "string", "format": "ipv4"})
]
NodeAddress4: TypeAlias = Annotated[
    IPv4Interface,
    PlainValidator(_interface4),
    _STRING,
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+/[0-9]+$"}),
]
NodeAddress6: TypeAlias = Annotated[
    IPv6Interface,
    PlainValidator(_interface6),
    _STRING,
    WithJsonSchema({"type": "string", "pattern": r"^[0-9a-fA-F:.]+/[0-9]+$"}),
]
PrefixField: TypeAlias = Annotated[
    Prefix, PlainValidator(_prefix), _STRING, WithJsonSchema({"type": "string", "pattern": r"^[0-9a-fA-F:.]+/[0-9]+$"})
]
_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"
Name: TypeAlias = Annotated[
    str,
    PlainValidator(_Words(_NAME, "a name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends")),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"}),
]
_LABEL_KEY = r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?"
LabelKey: TypeAlias = Annotated[
    str,
    PlainValidator(_Words(_LABEL_KEY, "a label name of letters, digits, `-`, `_`, `.` and `/`")),
    WithJsonSchema({"type": "string", "pattern": f"^{_LABEL_KEY}$"}),
]
_LABEL_VALUE = r"[A-Za-z0-9._/-]{0,253}"
LabelValue: TypeAlias = Annotated[
    str,
    PlainValidator(
        _Words(_LABEL_VALUE, "a label value: a text of letters, digits, `-`, `_`, `.` and `/` (quote numbers)")
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_LABEL_VALUE}$"}),
]
_GROUP = r"[a-z_][a-z0-9_-]{0,31}"
GroupName: TypeAlias = Annotated[
    str,
    PlainValidator(_Words(_GROUP, "the name of a group of the system, such as calicopy")),
    WithJsonSchema({"type": "string", "pattern": f"^{_GROUP}$"}),
]
_DEVICE = r"[A-Za-z0-9_.-]{1,15}"
DeviceName: TypeAlias = Annotated[
    str,
    PlainValidator(_Words(_DEVICE, "an interface's name: at most 15 letters, digits, `-`, `_`, `.`, like calivx0")),
    WithJsonSchema({"type": "string", "pattern": f"^{_DEVICE}$"}),
]
FilePath: TypeAlias = Annotated[str, PlainValidator(_file), WithJsonSchema({"type": "string", "pattern": "^/.*[^/]$"})]
ListenField: TypeAlias = Annotated[Listen, PlainValidator(_listen), _STRING, WithJsonSchema({"type": "string"})]
AsNumber: TypeAlias = Annotated[
    int, PlainValidator(_asn), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 4294967294})
]
HoldTime: TypeAlias = Annotated[
    int,
    PlainValidator(_hold_time),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 65535, "not": {"enum": [1, 2]}}),
]
RouteProtocol: TypeAlias = Annotated[
    int,
    PlainValidator(_protocol),
    WithJsonSchema({"type": "integer", "minimum": 5, "maximum": 255, "not": {"enum": sorted(RESERVED_PROTOCOLS)}}),
]
FamilyField: TypeAlias = Annotated[
    Family, PlainValidator(_family), _STRING, WithJsonSchema({"type": "string", "enum": ["ipv4", "ipv6"]})
]
EncapsulationField: TypeAlias = Annotated[
    Encapsulation, PlainValidator(Choice(Encapsulation)), VALUE, one_of(Encapsulation)
]
_TUNNELS = tuple(one for one in Encapsulation if one is not Encapsulation.NONE)
TunnelField: TypeAlias = Annotated[Encapsulation, PlainValidator(Choice(_TUNNELS)), VALUE, one_of(_TUNNELS)]
ModeField: TypeAlias = Annotated[
    EncapsulationMode, PlainValidator(Choice(EncapsulationMode)), VALUE, one_of(EncapsulationMode)
]
MethodField: TypeAlias = Annotated[
    DetectionMethod, PlainValidator(Choice(DetectionMethod)), VALUE, one_of(DetectionMethod)
]
LogLevelField: TypeAlias = Annotated[LogLevel, PlainValidator(Choice(LogLevel)), VALUE, one_of(LogLevel)]
Switch: TypeAlias = StrictBool
Text: TypeAlias = StrictStr
Port: TypeAlias = Annotated[StrictInt, Field(ge=1, le=65535)]
