"""NOTIFICATION: why a session ended, in words (RFC 4271 sections 4.5 and 6, RFC 4486, RFC 8538, RFC 9003).

Theory of operation: decoding never fails, for the session is over and the reason is all that is left to tell. Octets
from the peer reach people only as escaped text, so that a shutdown communication cannot steer a terminal or break a
log line.
"""

from __future__ import annotations

from dataclasses import dataclass

CEASE = 6
ADMINISTRATIVE_SHUTDOWN = 2
ADMINISTRATIVE_RESET = 4
HARD_RESET = 9
BFD_DOWN = 10  # RFC 9384

_CODES = {
    1: "message header error",
    2: "OPEN message error",
    3: "UPDATE message error",
    4: "hold timer expired",
    5: "finite state machine error",
    6: "cease",
    7: "ROUTE-REFRESH message error",
    8: "send hold timer expired",
}
_SUBCODES = {
    (1, 1): "connection not synchronized",
    (1, 2): "bad message length",
    (1, 3): "bad message type",
    (2, 1): "unsupported version number",
    (2, 2): "bad peer AS",
    (2, 3): "bad BGP identifier",
    (2, 4): "unsupported optional parameter",
    (2, 5): "authentication failure",
    (2, 6): "unacceptable hold time",
    (2, 7): "unsupported capability",
    (2, 11): "role mismatch",
    (3, 1): "malformed attribute list",
    (3, 2): "unrecognized well-known attribute",
    (3, 3): "missing well-known attribute",
    (3, 4): "attribute flags error",
    (3, 5): "attribute length error",
    (3, 6): "invalid ORIGIN attribute",
    (3, 7): "AS routing loop",
    (3, 8): "invalid NEXT_HOP attribute",
    (3, 9): "optional attribute error",
    (3, 10): "invalid network field",
    (3, 11): "malformed AS_PATH",
    (5, 1): "unexpected message in OpenSent",
    (5, 2): "unexpected message in OpenConfirm",
    (5, 3): "unexpected message in Established",
    (6, 1): "maximum number of prefixes reached",
    (6, 2): "administrative shutdown",
    (6, 3): "peer de-configured",
    (6, 4): "administrative reset",
    (6, 5): "connection rejected",
    (6, 6): "other configuration change",
    (6, 7): "connection collision resolution",
    (6, 8): "out of resources",
    (6, 9): "hard reset",
    (6, 10): "BFD down",
    (7, 1): "invalid message length",
}


@dataclass(frozen=True, slots=True)
class Notification:
    """One NOTIFICATION: error code, subcode, and the data octets after them."""

    code: int
    subcode: int
    data: bytes = b""

    @property
    def code_name(self) -> str:
        """The code in words, such as `cease`."""
        return _CODES.get(self.code, f"error code {self.code}")

    @property
    def subcode_name(self) -> str | None:
        """The subcode in words, such as `administrative shutdown`; None for 0, which says nothing."""
        if self.subcode == 0:
            return None
        return _SUBCODES.get((self.code, self.subcode), f"subcode {self.subcode}")

    @property
    def is_hard_reset(self) -> bool:
        """Whether the peer wants its routes gone at once, graceful restart or not (RFC 8538 section 3)."""
        return (self.code, self.subcode) == (CEASE, HARD_RESET)

    @property
    def inner(self) -> Notification | None:
        """What a hard reset wraps: the code, subcode and data of the real reason (RFC 8538 section 3.1); None
        without.
        """
        if not self.is_hard_reset or len(self.data) < 2:
            return None
        return Notification(self.data[0], self.data[1], self.data[2:])

    @property
    def communication(self) -> str | None:
        """The shutdown communication (RFC 9003 section 2), safe to print; None when there is none.

        Invalid UTF-8 becomes U+FFFD and what is not printable becomes an escape. A length octet that says more than
        came is taken for what came.
        """
        if self.code != CEASE or self.subcode not in (ADMINISTRATIVE_SHUTDOWN, ADMINISTRATIVE_RESET):
            return None
        if len(self.data) < 2 or self.data[0] == 0:
            return None
        text = self.data[1 : 1 + self.data[0]].decode("utf-8", errors="replace")
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)

    @property
    def sentence(self) -> str:
        """All of it in one line, such as `cease: administrative shutdown, "maintenance until 4"`."""
        parts = [self.code_name]
        name = self.subcode_name
        if name is not None:
            parts.append(f": {name}")
        inner, words = self.inner, self.communication
        if inner is not None:
            # a wrapped hard reset would nest without end: say only what it is
            reason = inner.sentence if not inner.is_hard_reset else f"{inner.code_name}: {inner.subcode_name}"
            parts.append(f" ({reason})")
        elif words is not None:
            parts.append(f', "{words}"')
        elif self.data and not self.is_hard_reset:
            parts.append(f" (data 0x{self.data[:32].hex()}{'..' if len(self.data) > 32 else ''})")
        return "".join(parts)

    def __str__(self) -> str:
        return self.sentence


def decode_notification(body: bytes) -> Notification:
    """The body of a NOTIFICATION to its parts. Octets that are not there count as 0. Never raises."""
    code, subcode = body[:2].ljust(2, b"\0")
    return Notification(code, subcode, body[2:])


def encode_notification(notification: Notification) -> bytes:
    """The body of a NOTIFICATION."""
    return bytes((notification.code, notification.subcode)) + notification.data


def shutdown_communication(text: str) -> bytes:
    """The data of a Cease with a shutdown communication: a length octet and UTF-8, cut at 255 octets between
    characters.
    """
    octets = text.encode("utf-8")[:255].decode("utf-8", errors="ignore").encode("utf-8")
    return bytes((len(octets),)) + octets
