"""Control packets (RFC 5880 section 4.1) and the checks that need no session (section 6.8.6)."""
from __future__ import annotations

import pytest

from calicopy.bfd.packet import (
    DEMAND,
    FINAL,
    INDEPENDENT,
    MULTIPOINT,
    POLL,
    Packet,
    Refusal,
    State,
    decode,
    encode_header,
)

FIELDS = {
    "state": State.UP, "flags": INDEPENDENT, "diagnostic": 0, "detect_mult": 3, "my_discriminator": 0x11,
    "your_discriminator": 0x22, "desired_min_tx_us": 100_000, "required_min_rx_us": 300_000,
}


def octets(**changed: int) -> bytes:
    return encode_header(Packet(**{**FIELDS, **changed}))


def test_a_packet_is_laid_out_as_section_4_1_draws_it() -> None:
    laid_out = "21e80318 00000011 00000022 000186a0 000493e0 00000000"
    assert octets(flags=POLL | INDEPENDENT, diagnostic=1) == bytes.fromhex(laid_out)


@pytest.mark.parametrize("changed", [
    {}, {"state": State.ADMIN_DOWN, "diagnostic": 7}, {"flags": POLL | FINAL | DEMAND}, {"diagnostic": 31},
    {"detect_mult": 255}, {"desired_min_tx_us": 0xFFFFFFFF, "required_min_rx_us": 0},
    {"state": State.DOWN, "your_discriminator": 0},
])
def test_what_was_encoded_is_decoded(changed: dict[str, int]) -> None:
    packet = decode(octets(**changed))
    assert isinstance(packet, Packet)
    assert {name: getattr(packet, name) for name in FIELDS} == {**FIELDS, **changed}


def patched(place: int, value: int, *, base: bytes | None = None) -> bytes:
    changed = bytearray(base or octets())
    changed[place] = value
    return bytes(changed)


@pytest.mark.parametrize(("wrong", "reason"), [
    (b"", Refusal.LENGTH),
    (b"\x20", Refusal.LENGTH),
    (b"\x40", Refusal.VERSION),
    (patched(0, 0x00), Refusal.VERSION),
    (octets()[:23], Refusal.LENGTH),
    (patched(3, 23), Refusal.LENGTH),
    (patched(3, 25), Refusal.LENGTH),  # more than came
    (patched(1, 0xC4) + b"\x01\x02", Refusal.LENGTH),  # A, but the length has no room for its section
    (patched(2, 0), Refusal.MULTIPLIER_ZERO),
    (octets(flags=MULTIPOINT), Refusal.MULTIPOINT),
    (octets(my_discriminator=0), Refusal.DISCRIMINATOR_ZERO),
    (octets(your_discriminator=0), Refusal.STATE_WITHOUT_DISCRIMINATOR),
    (octets(your_discriminator=0, state=State.INIT), Refusal.STATE_WITHOUT_DISCRIMINATOR),
    (patched(1, 0xC4, base=patched(3, 27)) + b"\x01\x09\x01", Refusal.AUTH_LENGTH),
])
def test_a_packet_that_cannot_be_has_a_reason(wrong: bytes, reason: Refusal) -> None:
    assert decode(wrong) is reason


@pytest.mark.parametrize("later", [{"detect_mult": 0}, {"my_discriminator": 0}, {"your_discriminator": 0}])
def test_the_first_reason_in_the_order_of_section_6_8_6_counts(later: dict[str, int]) -> None:
    assert decode(patched(0, 0x40, base=octets(**later))) is Refusal.VERSION
    assert decode(patched(3, 20, base=octets(**later))) is Refusal.LENGTH
    assert decode(octets(**{**later, "detect_mult": 0})) is Refusal.MULTIPLIER_ZERO


def test_what_follows_the_length_is_no_part_of_the_packet() -> None:
    packet = decode(octets() + b"padding")
    assert isinstance(packet, Packet)
    assert packet.octets == octets()


def test_a_packet_shows_itself() -> None:
    assert repr(decode(octets(flags=POLL | INDEPENDENT))) == "<BFD UP CP diag 0 mult 3 0x11>0x22 tx 100000 rx 300000>"
    assert Refusal.AUTH_KEY_ID.label == "auth-key-id"
