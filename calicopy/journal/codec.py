"""Values of the core to JSON and back, by the types of their fields.

Theory of operation: a `Codec` is made once for a type, out of the codecs of its parts: dataclasses become objects,
unions of dataclasses carry the name of the class, enums their value, bytes are hexadecimal, addresses and prefixes
text, mappings lists of pairs (their keys are no text), sets lists in a fixed order. A `NodeConfig` is what it is made
from: the cluster file, the node's name, and its addresses. What comes back is equal to what went in. Reading checks
as it goes and raises `CodecError`, so that a line that somebody broke never becomes half a value.
"""
from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
)
from typing import TypeAlias, TypeVar, Union, cast

from calicopy.config.model import ClusterConfig
from calicopy.config.nodeconfig import NodeConfig
from calicopy.config.resolve import resolve
from calicopy.ipam.errors import IpamError
from calicopy.net import Prefix

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
T = TypeVar("T")
TAG = "is"
_ADDRESSES = {IPv4Address, IPv6Address}
_INTERFACES = {IPv4Interface, IPv6Interface}


class CodecError(ValueError):
    """JSON that is no value of the type that was expected."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Both ways of one type. `decode` raises CodecError."""

    encode: Callable[[object], Json]
    decode: Callable[[Json], object]


def encode(kind: object, value: object) -> Json:
    """`value`, which is a `kind` (a type, or a union of types), as JSON."""
    return codec(kind).encode(value)


def decode(kind: type[T], data: Json) -> T:
    """The `kind` that was made JSON. Raises CodecError."""
    return cast(T, decode_any(kind, data))


def decode_any(kind: object, data: Json) -> object:
    """The same for what Python does not count as a type, such as a union. Raises CodecError."""
    try:
        return codec(kind).decode(data)
    except CodecError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CodecError(f"no {getattr(kind, '__name__', kind)}: {error}") from error


@functools.cache
def codec(kind: object) -> Codec:
    """The codec of a type. TypeError for one that the core's values have no use for."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin in (tuple, list, frozenset):
        return _series(origin, arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(*arguments)
    if origin is typing.Annotated:
        return codec(arguments[0])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Codec(lambda value: cast(Json, cast(enum.Enum, value).value), lambda data: kind(data))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _fields(kind)
    raise TypeError(f"{kind} has no form in a journal")


def _checked(*kinds: type) -> Codec:
    """What JSON has itself."""

    def check(data: Json) -> Json:
        if type(data) not in kinds:
            raise CodecError(f"{data!r} is no {kinds[0].__name__}")
        return data

    return Codec(lambda value: cast(Json, value), check)


def _text(read: Callable[[str], object]) -> Codec:
    """What is written as `str` has it."""

    def decode_text(data: Json) -> object:
        if not isinstance(data, str):
            raise CodecError(f"{data!r} is no text")
        return read(data)

    return Codec(str, decode_text)


def _union(members: tuple[object, ...]) -> Codec:
    real = [one for one in members if one is not type(None)]
    if set(real) == _ADDRESSES:
        inner = _text(ip_address)
    elif set(real) == _INTERFACES:
        inner = _text(ip_interface)
    elif len(real) == 1:
        inner = codec(real[0])
    else:
        inner = _tagged(real)
    if len(real) == len(members):
        return inner
    return Codec(
        lambda value: None if value is None else inner.encode(value),
        lambda data: None if data is None else inner.decode(data),
    )


def _tagged(members: list[object]) -> Codec:
    """One of several classes: the object that `_fields` makes, with the name of the class."""
    known = {member.__name__: member for member in members if isinstance(member, type)}
    if len(known) != len(members):
        raise TypeError(f"{members} are not told apart by name")

    def encode_one(value: object) -> Json:
        name = type(value).__name__
        return {TAG: name, **cast(dict[str, Json], codec(known[name]).encode(value))}

    def decode_one(data: Json) -> object:
        if not isinstance(data, dict) or data.get(TAG) not in known:
            raise CodecError(f"{data!r:.80} is none of {', '.join(known)}")
        rest = {name: part for name, part in data.items() if name != TAG}
        return codec(known[cast(str, data[TAG])]).decode(rest)

    return Codec(encode_one, decode_one)


def _series(origin: type, arguments: tuple[object, ...]) -> Codec:
    if origin is tuple and (len(arguments) != 2 or arguments[1] is not Ellipsis):
        parts = [codec(one) for one in arguments]

        def decode_fixed(data: Json) -> object:
            return tuple(part.decode(one) for part, one in zip(parts, _list(data), strict=True))

        return Codec(
            lambda value: [part.encode(one) for part, one in zip(parts, cast(tuple[object, ...], value), strict=True)],
            decode_fixed,
        )
    part = codec(arguments[0])
    make = cast(Callable[[list[object]], object], origin)

    def encode_all(value: object) -> Json:
        found = [part.encode(one) for one in cast(tuple[object, ...], value)]
        return sorted(found, key=json.dumps) if origin is frozenset else found

    return Codec(encode_all, lambda data: make([part.decode(one) for one in _list(data)]))


def _mapping(key: object, value: object) -> Codec:
    """Pairs, in the order of the mapping."""
    keys, values = codec(key), codec(value)

    def decode_pairs(data: Json) -> object:
        pairs = [_list(pair) for pair in _list(data)]
        return {keys.decode(name): values.decode(part) for name, part in pairs}

    return Codec(
        lambda found: [[keys.encode(name), values.encode(part)] for name, part in cast(
            Mapping[object, object], found).items()],
        decode_pairs,
    )  # fmt: skip


def _fields(kind: type) -> Codec:
    """A dataclass: what differs from its defaults, by name."""
    hints = typing.get_type_hints(kind)
    parts = {one.name: codec(hints[one.name]) for one in dataclasses.fields(kind) if one.init}
    defaults = {one.name: one.default for one in dataclasses.fields(kind)}

    def encode_fields(value: object) -> Json:
        if type(value) is not kind:
            raise TypeError(f"{type(value).__name__} where a {kind.__name__} was expected")
        return {
            name: part.encode(found)
            for name, part in parts.items()
            if (found := getattr(value, name)) is not defaults[name]
        }

    def decode_fields(data: Json) -> object:
        if not isinstance(data, dict) or not data.keys() <= parts.keys():
            raise CodecError(f"{data!r:.80} is no {kind.__name__}")
        return kind(**{name: parts[name].decode(part) for name, part in data.items()})

    return Codec(encode_fields, decode_fields)


def _list(data: Json) -> list[Json]:
    if not isinstance(data, list):
        raise CodecError(f"{data!r:.80} is no list")
    return data


def _encode_node(value: object) -> Json:
    node = cast(NodeConfig, value)
    return {
        "name": node.name,
        "cluster": node.cluster.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "address": None if node.address is None else str(node.address),
        "address6": None if node.address6 is None else str(node.address6),
    }


def _decode_node(data: Json) -> object:
    if not isinstance(data, dict):
        raise CodecError(f"{data!r:.80} is no NodeConfig")
    address, address6 = (data[name] for name in ("address", "address6"))
    return resolve(
        ClusterConfig.model_validate(data["cluster"]),
        cast(str, data["name"]),
        address=None if address is None else IPv4Interface(cast(str, address)),
        address6=None if address6 is None else IPv6Interface(cast(str, address6)),
    )


_SCALARS: dict[object, Codec] = {
    type(None): _checked(type(None)),
    bool: _checked(bool),
    int: _checked(int),
    float: _checked(float, int),
    str: _checked(str),
    bytes: Codec(lambda value: cast(bytes, value).hex(), lambda data: bytes.fromhex(cast(str, data))),
    Prefix: _text(Prefix.parse),
    IPv4Address: _text(IPv4Address),
    IPv6Address: _text(IPv6Address),
    IPv4Interface: _text(IPv4Interface),
    IPv6Interface: _text(IPv6Interface),
    NodeConfig: Codec(_encode_node, _decode_node),
    IpamError: _text(IpamError),
}
