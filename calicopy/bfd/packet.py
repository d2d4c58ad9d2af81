"""BFD control packets (RFC 5880 section 4.1): octets to a packet, or to the reason why they are none.

Theory of operation: `decode` makes the checks of section 6.8.6 that need no session, in that section's order, and never
raises whatever the octets are. What a session has to say (authentication, states) is `session`'s and `auth`'s. Reasons
are numbers, so that counters are a list. Nothing here loads more than `enum` and `struct`, since a killed process has
to be back within the detection time.
"""
from __future__ import annotations

import enum
import struct

HEADER = struct.Struct("!BBBBIIIII")  # section 4.1: the mandatory section
HEADER_LENGTH = 24
AUTH_HEADER_LENGTH = 2  # section 4.1: type and length
VERSION = 1

POLL = 0x20
FINAL = 0x10
INDEPENDENT = 0x08  # C: control plane independent
AUTHENTICATED = 0x04
DEMAND = 0x02
MULTIPOINT = 0x01


class State(enum.IntEnum):
    """The Sta field (section 4.1)."""

    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3


class Diagnostic(enum.IntEnum):
    """The Diag field (section 4.1). A peer may send values up to 31 that are not named here."""

    NONE = 0
    DETECTION_TIME_EXPIRED = 1
    ECHO_FAILED = 2
    NEIGHBOR_SIGNALED_DOWN = 3
    FORWARDING_PLANE_RESET = 4
    PATH_DOWN = 5
    CONCATENATED_PATH_DOWN = 6
    ADMINISTRATIVELY_DOWN = 7
    REVERSE_CONCATENATED_PATH_DOWN = 8


class Refusal(enum.IntEnum):
    """Why a packet was dropped; the index into counters. The first three are for who receives to count."""

    TTL = 0  # further away than allowed (RFC 5881 section 5, RFC 5883 section 5)
    ADDRESS = 1  # its discriminator is a session's with another address
    UNKNOWN_SESSION = 2
    VERSION = 3
    LENGTH = 4
    MULTIPLIER_ZERO = 5
    MULTIPOINT = 6
    DISCRIMINATOR_ZERO = 7
    STATE_WITHOUT_DISCRIMINATOR = 8  # Your Discriminator 0 in a state other than Down and AdminDown
    AUTH_UNEXPECTED = 9
    AUTH_MISSING = 10
    AUTH_TYPE = 11
    AUTH_KEY_ID = 12
    AUTH_LENGTH = 13
    AUTH_SEQUENCE = 14  # replayed, or too far ahead
    AUTH_DIGEST = 15  # a wrong password or key

    @property
    def label(self) -> str:
        """As counters are named: `auth-key-id`."""
        return self.name.lower().replace("_", "-")


STATES = (State.ADMIN_DOWN, State.DOWN, State.INIT, State.UP)  # by the field's value; faster than State(value)


class Packet:
    """A control packet that is well-formed. Intervals are microseconds. `auth`: its authentication section, or empty.

    `octets` is the packet as it came, without what followed the length that it says.
    """

    __slots__ = (
        "auth", "desired_min_tx_us", "detect_mult", "diagnostic", "flags", "my_discriminator", "octets",
        "required_min_rx_us", "state", "your_discriminator",
    )

    def __init__(
        self, *, state: State, flags: int, diagnostic: int, detect_mult: int, my_discriminator: int,
        your_discriminator: int, desired_min_tx_us: int, required_min_rx_us: int, auth: bytes = b"",
        octets: bytes = b"",
    ) -> None:
        self.state = state
        self.flags = flags
        self.diagnostic = diagnostic
        self.detect_mult = detect_mult
        self.my_discriminator = my_discriminator
        self.your_discriminator = your_discriminator
        self.desired_min_tx_us = desired_min_tx_us
        self.required_min_rx_us = required_min_rx_us
        self.auth = auth
        self.octets = octets

    def __repr__(self) -> str:
        flags = "".join(letter for place, letter in enumerate("MDACFP") if self.flags >> place & 1)
        return (
            f"<BFD {self.state.name} {flags or '-'} diag {self.diagnostic} mult {self.detect_mult} "
            f"{self.my_discriminator:#x}>{self.your_discriminator:#x} "
            f"tx {self.desired_min_tx_us} rx {self.required_min_rx_us}>"
        )


def encode_header(packet: Packet, *, length: int = HEADER_LENGTH) -> bytes:
    """The mandatory section, with `length` in its Length field. We never offer echo (Required Min Echo RX is 0)."""
    return HEADER.pack(
        VERSION << 5 | packet.diagnostic, packet.state << 6 | packet.flags, packet.detect_mult, length,
        packet.my_discriminator, packet.your_discriminator, packet.desired_min_tx_us, packet.required_min_rx_us, 0,
    )


def decode(octets: bytes) -> Packet | Refusal:
    """The packet in a datagram's payload, or why it is dropped (section 6.8.6, up to the selection of the session)."""
    size = len(octets)
    if size and octets[0] >> 5 != VERSION:
        return Refusal.VERSION
    if size < HEADER_LENGTH:
        return Refusal.LENGTH
    first, second, mult, length, mine, yours, tx, rx, _echo = HEADER.unpack_from(octets)
    if length < (HEADER_LENGTH + AUTH_HEADER_LENGTH if second & AUTHENTICATED else HEADER_LENGTH) or length > size:
        return Refusal.LENGTH
    if not mult:
        return Refusal.MULTIPLIER_ZERO
    if second & MULTIPOINT:
        return Refusal.MULTIPOINT
    if not mine:
        return Refusal.DISCRIMINATOR_ZERO
    state = STATES[second >> 6]
    if not yours and state > State.DOWN:
        return Refusal.STATE_WITHOUT_DISCRIMINATOR
    auth = b""
    if second & AUTHENTICATED:
        auth = octets[HEADER_LENGTH:length]
        if auth[1] != len(auth):
            return Refusal.AUTH_LENGTH
    return Packet(
        state=state, flags=second & 0x3F, diagnostic=first & 0x1F, detect_mult=mult, my_discriminator=mine,
        your_discriminator=yours, desired_min_tx_us=tx, required_min_rx_us=rx, auth=auth,
        octets=octets if length == size else octets[:length],
    )
