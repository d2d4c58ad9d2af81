"""Two BFD sessions over a bad link: whatever happened, they are Up once it is good, and Down once it is cut."""
from __future__ import annotations

import pytest
from bfdlink import Link, pair, parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.bfd.auth import Authentication, MeticulousSha1, SimplePassword
from calicopy.bfd.packet import State
from calicopy.bfd.session import Session

WISHES = st.builds(
    parameters, tx_ms=st.sampled_from([50, 100, 300, 1500]), rx_ms=st.sampled_from([50, 100, 300]),
    mult=st.integers(1, 5),
)
ENDS = st.integers(0, 1)
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0.001, 2.0), ENDS),
    st.tuples(st.just("wish"), WISHES, ENDS),
    st.tuples(st.just("admin"), st.booleans(), ENDS),
    st.tuples(st.just("killed"), st.floats(0.0, 0.5), ENDS),  # and back with what it saved
    st.tuples(st.just("anew"), st.integers(1, 1 << 31), ENDS),  # without
    st.tuples(st.just("cut"), st.sets(ENDS), ENDS),
    st.tuples(st.just("bad"), st.tuples(st.floats(0.0, 0.6), st.floats(0.0, 0.4)), ENDS),
)
KEYS = st.sampled_from([None, SimplePassword(1, b"word"), MeticulousSha1(2, b"key")])


def do(link: Link, step: tuple[str, object, int], auth: Authentication | None) -> None:
    session = link.ends[step[2]]
    match step:
        case ("wait", float(seconds), _):
            link.run(seconds)
        case ("wish", wanted, _):
            session.set_parameters(wanted, auth=auth)
        case ("admin", bool(down), _):
            session.set_admin_down(down, link.now)
        case ("killed", float(away), end):
            hot, saved, wanted = session.save_hot(), session.save(), session.timers.parameters
            link.now += away  # nobody runs: what came meanwhile comes late, which is a bad link again
            link.ends[end] = Session.restored(hot, saved, wanted, random=link.random.random, auth=auth)
        case ("anew", int(discriminator), end):
            wanted = session.timers.parameters
            link.ends[end] = Session(
                wanted, discriminator=discriminator, now=link.now, random=link.random.random, auth=auth,
            )
        case ("cut", set(ends), _):
            link.cut = ends
        case ("bad", (float(loss), float(spread)), _):
            link.loss, link.spread_s = loss, spread


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), wishes=st.tuples(WISHES, WISHES), steps=st.lists(STEPS, max_size=8), auth=KEYS)
def test_two_sessions_are_up_once_the_link_is_good_and_down_within_the_detection_time_once_it_is_cut(
    seed: int, wishes: tuple[object, object], steps: list[tuple[str, object, int]], auth: Authentication | None,
) -> None:
    link = pair(*wishes, seed=seed, auth=(auth, auth))
    for step in steps:
        do(link, step, auth)
    link.cut, link.loss, link.spread_s = set(), 0.0, 0.0
    for session in link.ends:
        session.set_admin_down(False, link.now)
    link.run(1.0)  # what is still under way on the bad link
    link.until_up(within=40.0)
    link.run(10.0)
    assert link.up()
    assert not any(session.timers.polling for session in link.ends)
    for session, other in ((link.ends[0], link.ends[1]), (link.ends[1], link.ends[0])):
        assert session.remote_discriminator == other.local_discriminator
        interval = max(session.timers.parameters.desired_min_tx_us, other.timers.parameters.required_min_rx_us)
        assert session.tx_interval_us() == interval
        assert other.detection_time_us() == interval * session.timers.parameters.detect_mult
    longest = max(session.detection_time_us() for session in link.ends) * 1e-6
    downs = [session.downs for session in link.ends]
    link.cut = {0, 1}
    link.run(longest + 0.01)
    assert [session.state for session in link.ends] == [State.DOWN, State.DOWN]
    assert [session.downs - before for session, before in zip(link.ends, downs, strict=True)] == [1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_a_steady_pair_loses_no_session_in_ten_minutes_at_one_lost_packet_in_a_hundred(seed: int) -> None:
    link = pair(seed=seed)
    link.until_up()
    link.run(3.0)
    link.loss = 0.01
    link.run(600.0)
    assert sum(session.downs for session in link.ends) == 0
