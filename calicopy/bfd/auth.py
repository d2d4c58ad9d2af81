"""Authentication of BFD packets: simple password (RFC 5880 section 6.7.2) and meticulous keyed SHA1 (section 6.7.4).

Theory of operation: an `Authentication` knows a key and nothing of a session; what a session remembers of sequence
numbers is a `Sequence`. A packet moves the sequence only when all of it was found right, so a forged one changes
nothing. SHA1 is the interpreter's own: OpenSSL's takes longer to load than all the rest of BFD, and longer for so few
octets.
"""
from __future__ import annotations

import struct
from _operator import _compare_digest as same  # hmac.compare_digest, without the load time of hmac
from abc import ABC, abstractmethod

from calicopy.bfd.packet import Packet, Refusal

SIMPLE = 1  # section 4.1: Auth Type
METICULOUS_SHA1 = 5
MAX_PASSWORD = 16  # section 4.2
MAX_KEY = 20  # section 4.4
WRAP = 1 << 32

_SIMPLE_HEADER = struct.Struct("!BBB")
_SHA1_SECTION = struct.Struct("!BBBBI20s")
_SEQUENCE_AT = slice(4, 8)
_SIGNED = 32  # octets of a packet before its digest: header, type, length, key id, reserved, sequence number
_SIGNED_SIZE = _SIGNED + MAX_KEY


class Authentication(ABC):
    """One key. `length`: octets of its section. `sequenced`: packets have sequence numbers, so none is like another."""

    __slots__ = ("key", "key_id", "length")
    sequenced = False

    def __init__(self, key_id: int, key: bytes, *, length: int) -> None:
        self.key_id = key_id
        self.key = key
        self.length = length

    @abstractmethod
    def sign(self, header: bytes, sequence: int) -> bytes:
        """The packet with this header, whose length and A bit are right already, and its authentication section."""

    @abstractmethod
    def refuse(self, packet: Packet, sequence: Sequence) -> Refusal | None:
        """Why the packet is not the peer's, or None when it is; then `sequence` has moved on."""

    def repeats(self, octets: bytes, sequence: Sequence, detect_mult: int) -> bool:
        """Whether these octets, whose header is that of a packet before, are the peer's next; `sequence` moves then.

        The quick way for what comes most. No says nothing: `refuse` has the last word.
        """
        return False


def same_key(one: Authentication | None, other: Authentication | None) -> bool:
    """Whether packets of one are right for the other."""
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and one.key_id == other.key_id and one.key == other.key


class SimplePassword(Authentication):
    """The password in the clear (section 6.7.2). ValueError: it is not of 1 to 16 octets."""

    __slots__ = ("_section",)

    def __init__(self, key_id: int, password: bytes) -> None:
        if not 1 <= len(password) <= MAX_PASSWORD:
            raise ValueError(f"a BFD password has 1 to {MAX_PASSWORD} octets, not {len(password)}")
        super().__init__(key_id, password, length=_SIMPLE_HEADER.size + len(password))
        self._section = _SIMPLE_HEADER.pack(SIMPLE, self.length, key_id) + password

    def sign(self, header: bytes, sequence: int) -> bytes:
        return header + self._section

    def refuse(self, packet: Packet, sequence: Sequence) -> Refusal | None:
        section = packet.auth
        if section[0] != SIMPLE:
            return Refusal.AUTH_TYPE
        if len(section) < _SIMPLE_HEADER.size:
            return Refusal.AUTH_LENGTH
        if section[2] != self.key_id:
            return Refusal.AUTH_KEY_ID
        if len(section) != self.length:
            return Refusal.AUTH_LENGTH
        return None if same(section, self._section) else Refusal.AUTH_DIGEST


class MeticulousSha1(Authentication):
    """SHA1 over the packet with the key in the digest's place (section 6.7.4). ValueError: no key of 1 to 20 octets."""

    __slots__ = ("_kind", "_section", "_sha1")
    sequenced = True

    def __init__(self, key_id: int, key: bytes) -> None:
        if not 1 <= len(key) <= MAX_KEY:
            raise ValueError(f"a BFD SHA1 key has 1 to {MAX_KEY} octets, not {len(key)}")
        super().__init__(key_id, key.ljust(MAX_KEY, b"\0"), length=_SHA1_SECTION.size)
        self._kind = bytes((METICULOUS_SHA1, self.length, key_id))
        self._section = self._kind + b"\0"
        try:
            from _sha1 import sha1  # type: ignore[import-not-found]  # has no types; only who has keys loads it
        except ImportError:  # an interpreter that was built without
            from hashlib import sha1
        self._sha1 = sha1

    def sign(self, header: bytes, sequence: int) -> bytes:
        signed = header + self._section + sequence.to_bytes(4, "big")
        digest: bytes = self._sha1(signed + self.key).digest()
        return signed + digest

    def repeats(self, octets: bytes, sequence: Sequence, detect_mult: int) -> bool:
        if len(octets) != _SIGNED_SIZE or octets[24:27] != self._kind:  # the octet after it is reserved: ignored
            return False
        number = int.from_bytes(octets[28:_SIGNED], "big")
        if not (sequence.known and sequence.expects(number, detect_mult)):
            return False
        if not same(self._sha1(octets[:_SIGNED] + self.key).digest(), octets[_SIGNED:]):
            return False
        sequence.received = number
        return True

    def refuse(self, packet: Packet, sequence: Sequence) -> Refusal | None:
        section = packet.auth
        if section[0] != METICULOUS_SHA1:
            return Refusal.AUTH_TYPE
        if len(section) < 3:
            return Refusal.AUTH_LENGTH
        if section[2] != self.key_id:
            return Refusal.AUTH_KEY_ID
        if len(section) != self.length:
            return Refusal.AUTH_LENGTH
        number = int.from_bytes(section[_SEQUENCE_AT], "big")
        if not sequence.expects(number, packet.detect_mult):
            return Refusal.AUTH_SEQUENCE
        digest = self._sha1(packet.octets[:-MAX_KEY] + self.key).digest()
        if not same(digest, section[-MAX_KEY:]):
            return Refusal.AUTH_DIGEST
        sequence.heard(number)
        return None


class Sequence:
    """bfd.XmitAuthSeq, bfd.RcvAuthSeq and bfd.AuthSeqKnown (section 6.8.1)."""

    __slots__ = ("known", "received", "sent")

    def __init__(self, *, sent: int, received: int = 0, known: bool = False) -> None:
        self.sent = sent % WRAP
        self.received = received
        self.known = known

    def next(self) -> int:
        """The number of the next packet to send: meticulous means that every packet has a new one."""
        self.sent = (self.sent + 1) % WRAP
        return self.sent

    def expects(self, number: int, detect_mult: int) -> bool:
        """Whether a packet with this number may be new: up to 3 * Detect Mult ahead, on the circle (section 6.7.4)."""
        return not self.known or 1 <= (number - self.received) % WRAP <= 3 * detect_mult

    def heard(self, number: int) -> None:
        """An authentic packet had this number."""
        self.received = number
        self.known = True

    def forget(self) -> None:
        """The peer was silent for twice the detection time, so it may begin anew (bfd.AuthSeqKnown)."""
        self.known = False
