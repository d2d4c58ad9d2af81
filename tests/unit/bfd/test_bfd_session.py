"""The state machine of a session (RFC 5880 section 6.8.6), what is sent at once, counters, and what is resumed."""
from __future__ import annotations

import pytest
from bfdlink import half, packet_of, pair, parameters, up_pair

from calicopy.bfd.packet import DEMAND, FINAL, INDEPENDENT, POLL, Diagnostic, Packet, Refusal, State, encode_header
from calicopy.bfd.session import AT_ONCE, Session, your_discriminator

NOW = 1000.0


def said(**changed: int) -> bytes:
    """A packet of a peer that knows us."""
    fields: dict[str, int] = {
        "state": State.UP, "flags": INDEPENDENT, "diagnostic": 0, "detect_mult": 3, "my_discriminator": 0x99,
        "your_discriminator": 0x11, "desired_min_tx_us": 100_000, "required_min_rx_us": 100_000,
    }
    return encode_header(Packet(**{**fields, **changed}))


def session_in(state: State) -> Session:
    """A session in this state, with nothing left to say."""
    session = Session(parameters(), discriminator=0x11, now=NOW, random=half, admin_down=state is State.ADMIN_DOWN)
    if state in (State.INIT, State.UP):
        session.receive(said(state=State.DOWN), NOW)
    if state is State.UP:
        session.receive(said(state=State.INIT), NOW)
        session.receive(said(flags=FINAL | INDEPENDENT), NOW)
    session.poll(NOW)
    assert session.state is state
    assert session.deadline > NOW
    return session


TABLE = {  # section 6.8.6: our state, the one that comes in, the next one
    State.ADMIN_DOWN: [State.ADMIN_DOWN] * 4,
    State.DOWN: [State.DOWN, State.INIT, State.UP, State.DOWN],
    State.INIT: [State.DOWN, State.INIT, State.UP, State.UP],
    State.UP: [State.DOWN, State.DOWN, State.UP, State.UP],
}


@pytest.mark.parametrize(("ours", "theirs", "then"), [
    (ours, theirs, then) for ours, row in TABLE.items() for theirs, then in zip(State, row, strict=True)
])
def test_each_pair_of_states_leads_where_section_6_8_6_says(ours: State, theirs: State, then: State) -> None:
    session = session_in(ours)
    session.receive(said(state=theirs), NOW + 0.01)
    assert session.state is then
    assert session.remote_state is theirs
    if then is not ours:
        assert session.changed_at == NOW + 0.01
        assert packet_of(session.poll(NOW + 0.01)).state is then  # section 6.8.7: said at once
    assert session.deadline > NOW + 0.01


def test_the_session_comes_up_by_a_handshake_of_three() -> None:
    link = pair()
    link.until_up()
    seen = [(who, packet_of(octets).state) for _, who, octets in link.sent]
    assert seen[:2] == [(0, State.DOWN), (1, State.DOWN)]
    assert {State.INIT} <= {state for _, state in seen}
    assert [session.ups for session in link.ends] == [1, 1]
    assert [session.downs for session in link.ends] == [0, 0]


def test_silence_is_down_after_the_detection_time_with_diagnostic_1() -> None:
    link = up_pair()
    link.cut = {0, 1}
    link.run(0.2)
    assert link.up()
    link.run(0.11)
    for session in link.ends:
        assert (session.state, session.diagnostic) == (State.DOWN, Diagnostic.DETECTION_TIME_EXPIRED)
        assert (session.ups, session.downs) == (1, 1)
        assert session.remote_discriminator == 0  # section 6.8.1
    assert packet_of(link.sent[-1][2]).your_discriminator == 0


def test_who_still_hears_is_told_at_once_that_the_other_does_not() -> None:
    link = up_pair()
    link.cut = {1}
    link.run(0.31)
    assert link.ends[0].diagnostic == Diagnostic.DETECTION_TIME_EXPIRED
    assert link.ends[1].diagnostic == Diagnostic.NEIGHBOR_SIGNALED_DOWN
    assert link.ends[1].changed_at - link.ends[0].changed_at < 0.002
    assert [session.downs for session in link.ends] == [1, 1]


def test_the_reason_of_a_failure_is_said_until_the_session_is_up_again() -> None:
    session = session_in(State.UP)
    session.receive(said(state=State.DOWN), NOW)
    session.receive(said(state=State.DOWN), NOW)
    assert (session.state, session.diagnostic) == (State.INIT, Diagnostic.NEIGHBOR_SIGNALED_DOWN)
    assert packet_of(session.packet()).diagnostic == Diagnostic.NEIGHBOR_SIGNALED_DOWN
    session.receive(said(state=State.INIT), NOW)
    assert (session.state, session.diagnostic) == (State.UP, Diagnostic.NONE)


def test_admin_down_is_said_at_once_and_is_no_failure_of_either_side() -> None:
    link = up_pair()
    link.ends[0].set_admin_down(True, link.now)
    link.run(0.01)
    assert link.ends[1].state is State.DOWN
    assert link.ends[1].diagnostic == Diagnostic.NEIGHBOR_SIGNALED_DOWN
    assert link.ends[1].remote_diagnostic == Diagnostic.ADMINISTRATIVELY_DOWN
    assert [session.downs for session in link.ends] == [0, 0]
    link.run(5.0)
    assert (link.ends[0].state, link.ends[1].state) == (State.ADMIN_DOWN, State.DOWN)
    assert link.ends[1].remote_state is State.ADMIN_DOWN
    link.ends[0].set_admin_down(False, link.now)
    link.until_up()
    assert [session.ups for session in link.ends] == [2, 2]


def test_a_session_that_is_held_down_goes_on_to_say_so_and_answers_no_poll() -> None:
    session = session_in(State.ADMIN_DOWN)
    session.receive(said(flags=POLL), NOW)  # section 6.8.6: discarded before the P bit is looked at
    assert session.deadline > NOW
    assert session.poll(session.deadline) is None  # the detection time: the peer is a stranger again
    assert packet_of(session.poll(session.deadline)).state is State.ADMIN_DOWN


def test_a_runner_that_ends_can_say_so_as_often_as_it_likes() -> None:
    session = session_in(State.UP)
    session.set_admin_down(True, NOW)
    assert [packet_of(session.packet()).diagnostic for _ in range(3)] == [Diagnostic.ADMINISTRATIVELY_DOWN] * 3


def test_a_peer_that_began_anew_with_another_discriminator_is_followed() -> None:
    link = up_pair()
    link.ends[1] = Session(parameters(), discriminator=0x77, now=link.now, random=half)
    link.run(0.05)
    assert link.ends[0].remote_discriminator == 0x77
    assert link.ends[0].downs == 1
    link.until_up()
    assert packet_of(link.ends[0].packet()).your_discriminator == 0x77


def test_another_discriminator_in_a_session_that_stays_up_is_told_at_once_in_what_is_sent() -> None:
    session = session_in(State.UP)
    session.receive(said(my_discriminator=0x55), NOW)
    assert session.state is State.UP
    assert packet_of(session.packet()).your_discriminator == 0x55


def test_a_packet_for_another_session_is_refused() -> None:
    session = session_in(State.UP)
    before = session.save(), session.save_hot(), session.deadline
    assert your_discriminator(said(your_discriminator=0x12)) == 0x12
    assert session.receive(said(your_discriminator=0x12, state=State.DOWN), NOW) is Refusal.UNKNOWN_SESSION
    assert session.dropped[Refusal.UNKNOWN_SESSION] == 1
    assert (session.save(), session.save_hot(), session.deadline) == before


def test_an_empty_datagram_is_refused_in_every_state() -> None:
    for state in State:
        assert session_in(state).receive(b"", NOW) is Refusal.LENGTH


def test_each_poll_of_the_peer_is_answered_at_once_also_when_it_wants_no_packets() -> None:
    session = session_in(State.UP)
    session.receive(said(flags=POLL, required_min_rx_us=0), NOW + 0.01)
    assert session.deadline <= NOW + 0.01
    answer = packet_of(session.poll(NOW + 0.01))
    assert answer.flags & (POLL | FINAL) == FINAL
    while session.deadline < NOW + 0.3:  # and nothing else is said (section 6.8.7)
        assert session.poll(session.deadline) is None


def test_a_peer_in_demand_mode_gets_no_periodic_packets_and_is_still_watched() -> None:
    session = session_in(State.UP)
    session.receive(said(flags=DEMAND), NOW)
    sent = []
    while session.state is State.UP:
        at = session.deadline
        sent.append(session.poll(at))
    assert at == pytest.approx(NOW + 0.3)
    assert sent[:-1] == [None] * (len(sent) - 1)
    assert packet_of(sent[-1]).state is State.DOWN


def test_our_c_bit_is_set_and_the_peers_is_remembered() -> None:
    session = session_in(State.UP)
    assert packet_of(session.packet()).flags & INDEPENDENT
    assert session.remote_independent
    session.receive(said(flags=0), NOW)
    assert not session.remote_independent


def test_the_same_packet_again_changes_only_the_detection_time() -> None:
    session = session_in(State.UP)
    session.receive(said(), NOW)
    changes = session.changes
    for beat in range(1, 20):
        session.receive(said(), NOW + beat * 0.1)
        while session.deadline <= NOW + beat * 0.1:
            session.poll(NOW + beat * 0.1)
    assert session.state is State.UP
    assert session.changes == changes
    assert session.received == 23
    assert session.poll(NOW + 1.9 + 0.299) is not None
    assert session.state is State.UP
    session.poll(NOW + 1.9 + 0.301)
    assert session.state is State.DOWN


def test_a_killed_session_goes_on_with_its_discriminators_timers_and_numbers() -> None:
    link = up_pair()
    old = link.ends[0]
    link.ends[0] = Session.restored(old.save_hot(), old.save(), parameters(), random=half)
    assert link.ends[0].save() == old.save()
    assert link.ends[0].save_hot() == old.save_hot()
    link.run(2.0)
    assert link.up()
    assert [session.downs for session in link.ends] == [0, 0]
    assert link.refused == []


def test_a_session_that_was_away_longer_than_the_detection_time_is_down_at_its_first_poll() -> None:
    old = session_in(State.UP)
    session = Session.restored(old.save_hot(), old.save(), parameters(), random=half)
    assert session.deadline == AT_ONCE
    assert packet_of(session.poll(NOW + 0.31)).state is State.DOWN
    assert (session.ups, session.downs) == (1, 1)


@pytest.mark.parametrize(("back_at", "down_at"), [
    (0.05, 0.3),  # the detection time is what it was
    (0.25, 0.35),  # less than an interval of it is left: nobody could hear what came before
    (0.39, 0.49),
    (0.41, 0.41),  # it was silent for longer than our absence explains
])
def test_a_peer_has_an_interval_to_be_heard_by_a_session_that_is_back(back_at: float, down_at: float) -> None:
    old = session_in(State.UP)
    session = Session.restored(old.save_hot(), old.save(), parameters(), random=half)
    session.listen_again(NOW + back_at)
    if down_at > back_at:
        session.poll(NOW + down_at - 0.001)
        assert session.state is State.UP
    session.poll(NOW + down_at + 0.001)
    assert session.state is State.DOWN


def test_settings_that_are_read_again_take_nothing_of_the_interval_to_be_heard() -> None:
    """The agent pokes each time it attaches, which is just after the process is back."""
    old = session_in(State.UP)
    session = Session.restored(old.save_hot(), old.save(), parameters(), random=half)
    session.listen_again(NOW + 0.27)
    session.set_parameters(parameters(), auth=None)
    session.poll(NOW + 0.36)
    assert session.state is State.UP
    session.set_parameters(parameters(), auth=None)
    session.poll(NOW + 0.38)
    assert session.state is State.DOWN


def test_the_interval_to_be_heard_is_over_with_the_first_packet() -> None:
    session = session_in(State.UP)
    session.listen_again(NOW + 0.29, since=NOW + 0.1)
    session.receive(said(desired_min_tx_us=10_000, required_min_rx_us=10_000, detect_mult=1), NOW + 0.29)
    session.poll(NOW + 0.38)
    assert session.state is State.UP
    session.poll(NOW + 0.391)
    assert session.state is State.DOWN


def test_standing_still_again_within_that_interval_gives_another_one() -> None:
    session = session_in(State.UP)
    session.listen_again(NOW + 0.6, since=NOW + 0.29)
    session.listen_again(NOW + 0.9, since=NOW + 0.65)
    session.poll(NOW + 0.99)
    assert session.state is State.UP
    session.listen_again(NOW + 1.5, since=NOW + 1.01)  # the interval was over by then
    session.poll(NOW + 1.5)
    assert session.state is State.DOWN


def test_a_session_of_another_clock_does_not_stay_up_for_ever() -> None:
    old = session_in(State.UP)
    session = Session.restored(old.save_hot(), old.save(), parameters(), random=half)
    session.listen_again(5.0)
    session.poll(5.31)
    assert session.state is State.DOWN


def test_parameters_that_changed_while_it_was_away_are_polled() -> None:
    link = up_pair()
    old = link.ends[0]
    link.ends[0] = Session.restored(old.save_hot(), old.save(), parameters(tx_ms=200), random=half)
    assert link.ends[0].timers.polling
    link.run(1.0)
    assert link.up()
    assert link.ends[0].tx_interval_us() == 200_000


@pytest.mark.parametrize("cut", [0, 5])
def test_what_is_not_a_saved_session_is_an_error(cut: int) -> None:
    session = session_in(State.UP)
    with pytest.raises(ValueError, match=r"saved|discriminator|State"):
        Session.restored(session.save_hot(), session.save()[:cut], parameters(), random=half)
    with pytest.raises(ValueError, match=r"saved|discriminator|State"):
        Session.restored(session.save_hot(), b"\0" * len(session.save()), parameters(), random=half)
    with pytest.raises(ValueError, match="State"):
        Session.restored(session.save_hot(), b"\xff" * len(session.save()), parameters(), random=half)
