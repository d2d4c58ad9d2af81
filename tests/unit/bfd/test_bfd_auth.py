"""Authentication (RFC 5880 sections 6.7.2 and 6.7.4), in sessions."""
from __future__ import annotations

from hashlib import sha1
from itertools import pairwise

import pytest
from bfdlink import Link, packet_of, pair, parameters

from calicopy.bfd.auth import WRAP, Authentication, MeticulousSha1, Sequence, SimplePassword
from calicopy.bfd.packet import AUTHENTICATED, Refusal, State

SHA1 = MeticulousSha1(3, b"secret")
SIMPLE = SimplePassword(3, b"secret")


def up(auth: Authentication) -> Link:
    link = pair(auth=(auth, auth))
    link.until_up()
    link.run(1.0)
    return link


@pytest.mark.parametrize("auth", [SIMPLE, SHA1])
def test_sessions_with_the_same_key_come_up_and_drop_nothing(auth: Authentication) -> None:
    link = up(auth)
    assert link.refused == []
    assert all(packet.flags & AUTHENTICATED for _, packet in link.packets(0))


def test_the_section_of_a_password_is_laid_out_as_section_4_2_draws_it() -> None:
    assert packet_of(up(SIMPLE).sent[-1][2]).auth == b"\x01\x09\x03secret"


def test_the_section_of_sha1_is_laid_out_as_section_4_4_draws_it() -> None:
    octets = up(SHA1).sent[-1][2]
    assert len(octets) == octets[3] == 52
    assert octets[24:28] == b"\x05\x1c\x03\x00"
    assert octets[32:] == sha1(octets[:32] + b"secret".ljust(20, b"\0")).digest()


def test_each_packet_has_the_next_sequence_number() -> None:
    numbers = [int.from_bytes(packet.auth[4:8], "big") for _, packet in up(SHA1).packets(0)]
    assert {(later - earlier) % WRAP for earlier, later in pairwise(numbers)} == {1}


@pytest.mark.parametrize(("ours", "theirs", "reason"), [
    (None, SHA1, Refusal.AUTH_UNEXPECTED),
    (SHA1, None, Refusal.AUTH_MISSING),
    (SHA1, SIMPLE, Refusal.AUTH_TYPE),
    (SIMPLE, SHA1, Refusal.AUTH_TYPE),
    (SHA1, MeticulousSha1(4, b"secret"), Refusal.AUTH_KEY_ID),
    (SHA1, MeticulousSha1(3, b"other"), Refusal.AUTH_DIGEST),
    (SIMPLE, SimplePassword(4, b"secret"), Refusal.AUTH_KEY_ID),
    (SIMPLE, SimplePassword(3, b"other!"), Refusal.AUTH_DIGEST),
    (SIMPLE, SimplePassword(3, b"longer than that"), Refusal.AUTH_LENGTH),
])
def test_sessions_whose_keys_differ_stay_down_with_a_reason(
    ours: Authentication | None, theirs: Authentication | None, reason: Refusal,
) -> None:
    link = pair(auth=(ours, theirs))
    link.run(3.0)
    assert link.ends[0].state is State.DOWN
    assert {why for end, why in link.refused if end == 0} == {reason}
    assert link.ends[0].dropped[reason] == len([end for end, _ in link.refused if end == 0])
    assert link.ends[0].received == 0


@pytest.mark.parametrize("length", [2, 3, 4, 8, 27])
def test_a_section_of_another_length_than_its_type_has_is_refused(length: int) -> None:
    link = up(SHA1)
    octets = bytearray(link.sent[-1][2][:24 + length])
    octets[3], octets[25] = 24 + length, length
    assert link.ends[0].receive(bytes(octets), link.now) is Refusal.AUTH_LENGTH


def test_a_packet_of_before_is_refused_and_changes_nothing() -> None:
    link = up(SHA1)
    octets = [octets for _, who, octets in link.sent if who == 1]
    before = link.ends[0].save(), link.ends[0].save_hot()
    assert [link.ends[0].receive(old, link.now) for old in octets] == [Refusal.AUTH_SEQUENCE] * len(octets)
    assert (link.ends[0].save(), link.ends[0].save_hot()) == before


def test_a_packet_may_be_three_detection_multipliers_ahead_and_not_more() -> None:
    sequence = Sequence(sent=0, received=WRAP - 2, known=True)  # on the circle of section 6.8.1
    assert [number for number in range(-5, 20) if sequence.expects((WRAP - 2 + number) % WRAP, 3)] == list(range(1, 10))


def test_a_forged_packet_does_not_move_the_sequence() -> None:
    link = up(SHA1)
    link.cut = {1}
    session, number = link.ends[0], link.ends[0].sequence.received
    forged = MeticulousSha1(3, b"guess").sign(link.sent[-1][2][:24], number + 5)
    assert session.receive(forged, link.now) is Refusal.AUTH_DIGEST
    assert session.sequence.received == number


def test_a_peer_that_lost_its_numbers_is_heard_after_twice_the_detection_time() -> None:
    link = up(SHA1)
    fresh = pair(auth=(SHA1, SHA1), seed=9).ends[1]
    assert link.ends[0].receive(fresh.packet(), link.now) is Refusal.AUTH_SEQUENCE
    link.cut = {1}
    link.run(0.55)
    assert link.ends[0].receive(fresh.packet(), link.now) is Refusal.AUTH_SEQUENCE
    link.run(0.06)
    assert link.ends[0].receive(fresh.packet(), link.now) is None
    assert link.ends[0].state is State.INIT


def test_the_same_key_read_again_is_no_change_and_another_one_is() -> None:
    link = up(SHA1)
    session = link.ends[0]
    deadline = session.deadline
    session.set_parameters(parameters(), auth=MeticulousSha1(3, b"secret"))
    assert session.deadline == deadline
    assert session.sequence.known
    session.set_parameters(parameters(), auth=MeticulousSha1(4, b"secret"))
    link.run(0.01)
    assert link.refused[-1] == (1, Refusal.AUTH_KEY_ID)


def test_the_quick_way_takes_the_next_packets_of_a_session_that_is_up_and_nothing_else() -> None:
    link = up(SHA1)
    session, number = link.ends[0], link.ends[0].sequence.received
    header = [octets for _, who, octets in link.sent if who == 1][-1][:24]
    good = [SHA1.sign(header, (number + step) % WRAP) for step in (1, 9, 10)]  # 3 * Detect Mult is 9
    wrong = bytearray(good[0])
    wrong[-1] ^= 1
    changes = session.changes
    assert session.receive(bytes(wrong), link.now) is Refusal.AUTH_DIGEST
    assert session.receive(good[2], link.now) is Refusal.AUTH_SEQUENCE
    assert [session.receive(octets, link.now + 0.1) for octets in good[:2]] == [None, None]
    assert session.receive(good[0], link.now) is Refusal.AUTH_SEQUENCE
    assert (session.changes, session.heard_at) == (changes, link.now + 0.1)


def test_the_reserved_octet_is_ignored_and_changes_nothing() -> None:
    link = up(SHA1)
    session = link.ends[0]
    header = [octets for _, who, octets in link.sent if who == 1][-1][:24]
    signed = header + b"\x05\x1c\x03\x07" + (session.sequence.received + 1).to_bytes(4, "big")
    changes = session.changes
    assert session.receive(signed + sha1(signed + SHA1.key).digest(), link.now) is None
    assert session.changes == changes


@pytest.mark.parametrize(("kind", "key"), [
    (SimplePassword, b""), (SimplePassword, b"x" * 17), (MeticulousSha1, b""), (MeticulousSha1, b"x" * 21),
])
def test_a_key_that_no_packet_can_carry_is_an_error(kind: type[SimplePassword | MeticulousSha1], key: bytes) -> None:
    with pytest.raises(ValueError, match="octets"):
        kind(1, key)
