"""Whatever octets come, BFD does not raise; and what it refuses changes nothing but its counter."""
from __future__ import annotations

from bfdlink import pair
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calicopy.bfd.auth import Authentication, MeticulousSha1, SimplePassword
from calicopy.bfd.packet import Packet, Refusal, decode

KEYS = st.sampled_from([None, SimplePassword(1, b"word"), MeticulousSha1(2, b"key")])
PATCHES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4)


@settings(max_examples=150, deadline=None)
@given(octets=st.binary(max_size=80))
@example(octets=b"")
def test_any_octets_are_a_packet_or_a_reason(octets: bytes) -> None:
    assert isinstance(decode(octets), Packet | Refusal)


@settings(max_examples=150, deadline=None)
@given(auth=KEYS, patches=PATCHES, cut=st.integers(0, 60), tail=st.binary(max_size=4), up=st.booleans())
def test_a_broken_packet_never_raises_and_a_refused_one_changes_nothing(
    auth: Authentication | None, patches: list[tuple[int, int]], cut: int, tail: bytes, up: bool,
) -> None:
    link = pair(auth=(auth, auth))
    if up:
        link.until_up()
    octets = bytearray(link.ends[1].packet()[:cut] + tail)
    for place, value in patches:
        if place < len(octets):
            octets[place] = value
    session = link.ends[0]
    before = session.save(), session.save_hot(), session.deadline
    dropped = list(session.dropped)
    refusal = session.receive(bytes(octets), link.now)
    if refusal is not None:
        assert (session.save(), session.save_hot(), session.deadline) == before
        dropped[refusal] += 1
        assert session.dropped == dropped
    while session.deadline <= link.now:
        session.poll(link.now)
