"""What the decoder and the encoder must know about the session that a message belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from calicopy.net import Family

HEADER_OCTETS = 19
MESSAGE_OCTETS = 4096
EXTENDED_MESSAGE_OCTETS = 65535


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """The negotiated facts that change how an UPDATE is read and written.

    `asn4`: AS_PATH carries 4 octets per AS (RFC 6793). `families`: unicast families in use. `add_path`: families
    whose NLRI carry a path id in this direction (RFC 7911). `ibgp`: the peer has our AS. `extended_next_hop`: IPv4
    NLRI may have an IPv6 next hop (RFC 8950). `extended_message`: messages up to 65535 octets (RFC 8654); the encoder
    alone looks at it.
    """

    asn4: bool = True
    families: frozenset[Family] = frozenset({Family.IPV4})
    add_path: frozenset[Family] = frozenset()
    ibgp: bool = False
    extended_next_hop: bool = False
    extended_message: bool = False

    @property
    def body_octets(self) -> int:
        """The most octets that a message body may have, the header left out."""
        return (EXTENDED_MESSAGE_OCTETS if self.extended_message else MESSAGE_OCTETS) - HEADER_OCTETS
