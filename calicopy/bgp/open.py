"""OPEN: the message, and what two of them agree on (RFC 4271 section 4.2, RFC 5492, RFC 9072).

Theory of operation: the session belongs to ExaBGP, which has judged both OPENs before we see them. So the decoder
raises only where the message cannot be read at all; a capability of a wrong length is kept among the unknown ones.
`negotiate` says what holds in the session from our side, from which comes how UPDATEs are to be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from calicopy.bgp.as_path import AS_TRANS
from calicopy.bgp.capabilities import (
    NO_CAPABILITIES,
    Capabilities,
    CapabilitiesDraft,
    GracefulRestart,
    PathMode,
    decode_capability,
    encode_capabilities,
)
from calicopy.bgp.session import SessionOptions
from calicopy.net import Family

_PARAMETER_CAPABILITIES = 2
_PARAMETER_EXTENDED = 255


class OpenError(ValueError):
    """A body that is no OPEN. `subcode` is that of an OPEN Message Error NOTIFICATION (0: unspecific)."""

    def __init__(self, subcode: int, text: str) -> None:
        super().__init__(text)
        self.subcode = subcode


@dataclass(frozen=True, slots=True)
class Open:
    """One OPEN. `asn` is the true AS number: from the 4-octet capability where that is there. `hold_time_s` 0 is
    "none".
    """

    asn: int
    hold_time_s: int
    router_id: IPv4Address
    capabilities: Capabilities = NO_CAPABILITIES
    version: int = 4


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What holds in a session, seen from the local side.

    `hold_time_s`: the smaller of the two, 0 is "no keepalives". `add_path_receive`: families whose UPDATEs from the
    peer carry path ids; `add_path_send`: those whose UPDATEs to the peer do. `graceful_restart`: the peer's
    announcement of it, None unless both sides announced it. `notification_restart`: NOTIFICATIONs too keep the routes
    (RFC 8538).
    """

    local_asn: int
    peer_asn: int
    hold_time_s: int
    families: frozenset[Family]
    asn4: bool
    add_path_receive: frozenset[Family]
    add_path_send: frozenset[Family]
    route_refresh: bool
    enhanced_refresh: bool
    extended_message: bool
    extended_next_hop: bool
    graceful_restart: GracefulRestart | None
    notification_restart: bool

    @property
    def ibgp(self) -> bool:
        """Whether both sides are of one AS."""
        return self.local_asn == self.peer_asn

    @property
    def receive(self) -> SessionOptions:
        """How UPDATEs from the peer are to be read."""
        return self._options(self.add_path_receive)

    @property
    def send(self) -> SessionOptions:
        """How UPDATEs to the peer are to be written."""
        return self._options(self.add_path_send)

    def _options(self, add_path: frozenset[Family]) -> SessionOptions:
        return SessionOptions(
            asn4=self.asn4,
            families=self.families,
            add_path=add_path,
            ibgp=self.ibgp,
            extended_next_hop=self.extended_next_hop,
            extended_message=self.extended_message,
        )


def negotiate(local: Open, peer: Open) -> Negotiated:
    """What the two OPENs agree on. It judges nothing: with no common family `families` is empty."""
    ours, theirs = local.capabilities, peer.capabilities
    families = ours.unicast_families & theirs.unicast_families
    restart = theirs.graceful_restart if ours.graceful_restart is not None else None
    refresh = ours.route_refresh and theirs.route_refresh
    return Negotiated(
        local_asn=local.asn,
        peer_asn=peer.asn,
        hold_time_s=min(local.hold_time_s, peer.hold_time_s),
        families=families,
        asn4=ours.asn4 is not None and theirs.asn4 is not None,
        add_path_receive=families & ours.paths(PathMode.RECEIVE) & theirs.paths(PathMode.SEND),
        add_path_send=families & ours.paths(PathMode.SEND) & theirs.paths(PathMode.RECEIVE),
        route_refresh=refresh,
        enhanced_refresh=ours.enhanced_refresh and theirs.enhanced_refresh,
        extended_message=ours.extended_message and theirs.extended_message,
        extended_next_hop=ours.extended_next_hop and theirs.extended_next_hop,
        graceful_restart=restart,
        notification_restart=bool(
            restart and restart.notification and ours.graceful_restart and ours.graceful_restart.notification
        ),
    )


def decode_open(body: bytes) -> Open:
    """The body of an OPEN. OpenError when it is too short, of another version, or its parameters do not fit."""
    if len(body) < 10:
        raise OpenError(0, f"an OPEN body has {len(body)} octets, expected at least 10")
    version = body[0]
    if version != 4:
        raise OpenError(1, f"BGP version {version}, expected 4")
    asn, hold_time_s = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    draft = CapabilitiesDraft()
    for kind, value in _parameters(body):
        if kind != _PARAMETER_CAPABILITIES:
            raise OpenError(4, f"optional parameter {kind} is unknown, expected 2 (capabilities)")
        for code, octets in _triples(value, width=1, place="capabilities"):
            decode_capability(draft, code, octets)
    capabilities = draft.finish()
    true_asn = capabilities.asn4 if capabilities.asn4 is not None else asn
    if true_asn == 0:  # RFC 7607 section 2
        raise OpenError(2, "the peer has AS 0")
    if hold_time_s in (1, 2):
        raise OpenError(6, f"hold time {hold_time_s} s, expected 0 or at least 3")
    router_id = IPv4Address(body[5:9])
    if int(router_id) == 0:  # RFC 6286 section 2.1
        raise OpenError(3, "router id 0.0.0.0")
    return Open(true_asn, hold_time_s, router_id, capabilities, version)


def _parameters(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The optional parameters, in either form of the length fields (RFC 4271 section 4.2, RFC 9072 section 2)."""
    length = body[9]
    if length and len(body) >= 13 and body[10] == _PARAMETER_EXTENDED:
        length, start, width = int.from_bytes(body[11:13], "big"), 13, 2
    else:
        start, width = 10, 1
    if len(body) != start + length:
        raise OpenError(0, f"optional parameters of {length} octets, but {len(body) - start} came")
    return _triples(body[start:], width=width, place="optional parameters")


def _triples(data: bytes, *, width: int, place: str) -> Iterator[tuple[int, bytes]]:
    """Type, length (of `width` octets), value, again and again."""
    position = 0
    while position < len(data):
        head = position + 1 + width
        stop = head + int.from_bytes(data[position + 1 : head], "big")
        if head > len(data) or stop > len(data):
            raise OpenError(0, f"{place}: the entry at octet {position} runs over the end")
        yield data[position], data[head:stop]
        position = stop


def encode_open(message: Open) -> bytes:
    """The body of an OPEN: one parameter per capability, the extended form (RFC 9072) where the short one is too
    small.
    """
    asn = message.asn if message.asn < 65536 else AS_TRANS
    head = bytes((message.version,)) + asn.to_bytes(2, "big") + message.hold_time_s.to_bytes(2, "big")
    head += message.router_id.packed
    capabilities = encode_capabilities(message.capabilities)
    short = b"".join(bytes((_PARAMETER_CAPABILITIES, len(one))) + one for one in capabilities if len(one) < 256)
    if len(short) < 256 and all(len(one) < 256 for one in capabilities):
        return head + bytes((len(short),)) + short
    long = b"".join(bytes((_PARAMETER_CAPABILITIES,)) + len(one).to_bytes(2, "big") + one for one in capabilities)
    return head + bytes((255, _PARAMETER_EXTENDED)) + len(long).to_bytes(2, "big") + long
