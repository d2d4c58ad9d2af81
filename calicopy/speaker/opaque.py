"""UPDATEs that come in, inside ExaBGP: its own checks, NLRI that stay packed, and the line that tells of them.

Imported by the launcher alone.
"""
from __future__ import annotations

import inspect
from typing import Any

from exabgp.bgp.message import Message, Update
from exabgp.bgp.message.direction import Direction
from exabgp.bgp.message.notification import Notify
from exabgp.bgp.message.update.attribute import Attributes
from exabgp.protocol.family import AFI, SAFI
from exabgp.reactor.api.response import Response
from exabgp.reactor.api.response.json import JSON

SHORTEST = 12  # bodies below are End-of-RIB marks or too short to matter: ExaBGP's own class reads them
MP_REACH, MP_UNREACH = 14, 15
OPTIONAL = 0x80
EXTENDED = 0x10
BAD_NETWORK = (3, 10)  # RFC 4271 section 6.3, Invalid Network Field
BITS = {AFI.ipv4: 32, AFI.ipv6: 128}


def check_nlri(data: bytes, bits: int, path_ids: bool) -> bool:
    """Whether `data` is a sequence of prefixes of at most `bits` bits, each after a 4-octet path id with `path_ids`."""
    size = len(data)
    skip = 5 if path_ids else 1
    if size and not path_ids and data[0] <= bits:
        step = 1 + (data[0] + 7) // 8
        lengths = data[::step]
        if not size % step and lengths.count(data[0]) == len(lengths):
            return True  # a run of one length, the usual case
    at = 0
    while at < size:
        if at + skip > size:
            return False
        length = data[at + skip - 1]
        if length > bits:
            return False
        at += skip + (length + 7) // 8
    return at == size


def split_mp(attributes: bytes) -> tuple[bytes, list[tuple[int, bytes]]] | None:
    """The attribute bytes without MP_REACH/MP_UNREACH, and those two's (code, value).

    None when anything is out of the ordinary (overrun, repeated, other flags): then ExaBGP has to judge.
    """
    taken: list[tuple[int, bytes]] = []
    rest = []
    at, size = 0, len(attributes)
    while at < size:
        if at + 3 > size:
            return None
        flags, code = attributes[at], attributes[at + 1]
        header = 4 if flags & EXTENDED else 3
        if at + header > size:
            return None
        length = int.from_bytes(attributes[at + 2 : at + header], "big")
        end = at + header + length
        if end > size:
            return None
        if code in (MP_REACH, MP_UNREACH):
            if flags & ~EXTENDED != OPTIONAL or any(code == seen for seen, _ in taken):
                return None
            taken.append((code, attributes[at + header : end]))
        else:
            rest.append(attributes[at:end])
        at = end
    return b"".join(rest), taken


def plain_mp(code: int, value: bytes, negotiated: object) -> bool:
    """Whether an MP attribute is unicast of a negotiated family, with a usual next hop and sound prefixes."""
    if len(value) < 3 or value[2] != 1:
        return False
    afi = int.from_bytes(value[:2], "big")
    family = (AFI.create(afi), SAFI.unicast)
    if afi not in (1, 2) or family not in negotiated.families or negotiated.nexthop:  # type: ignore[attr-defined]  # exabgp ships no types
        return False
    at = 3
    if code == MP_REACH:
        if len(value) < 5 or value[3] not in ((4,) if afi == 1 else (16, 32)):
            return False
        at = 5 + value[3]
        if len(value) <= at:
            return False
    path_ids = bool(negotiated.addpath.receive(*family))  # type: ignore[attr-defined]  # exabgp ships no types
    return check_nlri(value[at:], BITS[family[0]], path_ids)


class OpaqueUpdate(Update):  # type: ignore[misc]  # exabgp ships no types
    """An UPDATE that is checked, and whose NLRI are not unpacked."""

    @classmethod
    def unpack_message(cls, data: bytes, direction: object, negotiated: object) -> object:
        """As the parent's, with an empty list of NLRI. Raises Notify for what must end the session."""
        if len(data) < SHORTEST or direction != Direction.IN:
            return Update.unpack_message(data, direction, negotiated)
        withdrawn, attributes, announced = cls.split(data)
        parts = split_mp(attributes)
        if parts is None or not all(plain_mp(code, value, negotiated) for code, value in parts[1]):
            return Update.unpack_message(data, direction, negotiated)
        path_ids = bool(negotiated.addpath.receive(AFI.ipv4, SAFI.unicast))  # type: ignore[attr-defined]  # exabgp ships no types
        decoded = Attributes.unpack(parts[0], direction, negotiated)
        for field in (withdrawn, announced):
            if not check_nlri(field, 32, path_ids):
                raise Notify(*BAD_NETWORK, "invalid prefix in the UPDATE")
        return cls([], decoded)


class QuickJSON(JSON):  # type: ignore[misc]  # as above
    """ExaBGP's lines, where those of whole messages are made without a step of Python for each octet."""

    def packets(
        self, neighbor: Any, direction: str, category: int, negotiated: Any, header: bytes, body: bytes
    ) -> str:
        """As the parent's, which takes 1.5 ms for a full UPDATE."""
        if negotiated:
            return str(super().packets(neighbor, direction, category, negotiated, header, body))
        octets = f'"header": "0x{header.hex().upper()}", "body": "0x{body.hex().upper()}"'
        message = f'"message": {{ "category": {category}, {octets} }} '
        about = self._neighbor(neighbor, direction, message)
        return str(self._header(about, "", "", neighbor, message_type=Message.string(category)))


def register_lines() -> None:
    """Let ExaBGP tell of messages by QuickJSON. RuntimeError when its encoder is no longer what we know."""
    known = ("self", "neighbor", "direction", "category", "negotiated", "header", "body")
    if not issubclass(Response.JSON, JSON) or tuple(inspect.signature(JSON.packets).parameters) != known:
        raise RuntimeError("messages are no longer told by response.json.JSON.packets")
    Response.JSON = QuickJSON


def register_update() -> None:
    """Replace ExaBGP's entry for UPDATE by ours. RuntimeError when the register is no longer what we know."""
    Message.register(OpaqueUpdate)
    if Message.klass(Message.CODE.UPDATE) is not OpaqueUpdate:
        raise RuntimeError("the register of messages did not take the UPDATE class")
