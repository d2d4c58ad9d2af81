"""When tunnel addresses are asked, and what the answers come to."""
from __future__ import annotations

from ipaddress import ip_address

from calicopy.agent.probe_edge import reply_number, request
from calicopy.agent.probing import AGAIN_S, INTERVAL_S, WAIT_S, Prober

A, B = ip_address("10.244.0.0"), ip_address("fd00::1")


def run(prober: Prober, now: float, until: float, *, answers: bool) -> list[float]:
    """Ask as it wants to, and answer or not; when it asked A."""
    asked = []
    while (at := prober.deadline()) is not None and at <= until:
        now = max(now, at)
        for address, number in prober.due(now):
            asked += [now] if address == A else []
            if answers:
                prober.answered(address, number, now + 0.001)
    return asked


def test_one_answer_is_enough_to_know_and_then_it_is_asked_seldom() -> None:
    prober = Prober(seed=1)
    prober.set_targets([A, B], 0.0)
    asked = run(prober, 0.0, 60.0, answers=True)
    assert prober.verdicts() == {A: True, B: True}
    assert 6 <= len(asked) <= 9
    assert abs(prober.round_trips[A] - 0.001) < 1e-9


def test_two_of_three_lost_is_no_answer_and_one_is_not() -> None:
    prober = Prober(seed=1)
    prober.set_targets([A], 0.0)
    run(prober, 0.0, 40.0, answers=True)
    prober.changed = False
    at = prober.deadline() or 0.0
    run(prober, at, at + WAIT_S, answers=False)
    assert prober.verdicts() == {A: True}
    run(prober, at + WAIT_S, at + 2 * (WAIT_S + AGAIN_S), answers=False)
    assert prober.verdicts() == {A: False}
    assert prober.changed
    assert A not in prober.round_trips
    now = at + 2 * (WAIT_S + AGAIN_S)
    run(prober, now, now + 6, answers=True)
    assert prober.verdicts() == {A: True}


def test_an_answer_that_is_late_or_to_another_request_says_nothing() -> None:
    prober = Prober(seed=1)
    prober.set_targets([A], 0.0)
    ((_, number),) = prober.due(0.0)
    prober.answered(A, number + 1, 0.1)
    prober.answered(B, number, 0.1)
    assert prober.verdicts() == {}
    prober.due(WAIT_S)
    prober.answered(A, number, WAIT_S + 0.1)
    assert prober.verdicts() == {}


def test_who_looks_has_all_asked_at_once_but_not_over_and_over() -> None:
    prober = Prober(seed=1)
    prober.set_targets([A], 0.0)
    run(prober, 0.0, 0.5, answers=True)
    prober.hurry(0.5)
    assert (prober.deadline() or 0.0) > INTERVAL_S / 2
    prober.hurry(2.0)
    assert run(prober, 2.0, 2.5, answers=True) == [2.0]
    prober.hurry(2.5)
    assert run(prober, 2.5, 2.9, answers=True) == []


def test_what_is_not_to_be_asked_any_more_is_forgotten() -> None:
    prober = Prober(seed=1)
    prober.set_targets([A, B], 0.0)
    run(prober, 0.0, 1.0, answers=True)
    prober.set_targets([B], 1.0)
    assert prober.verdicts() == {B: True}
    assert run(prober, 1.0, 60.0, answers=True) == []


def test_only_the_reply_to_our_own_request_is_one() -> None:
    word = b"12345678"
    header = bytes([0x45, *bytes(19)])
    reply = bytearray(request(4, 7, 9, word))
    reply[0] = 0
    assert reply_number(4, header + bytes(reply), 7, word) == 9
    assert reply_number(4, header + request(4, 7, 9, word), 7, word) is None
    assert reply_number(4, header + bytes(reply), 8, word) is None
    assert reply_number(4, header + bytes(reply), 7, b"another!") is None
    for length in range(len(header + reply)):
        assert reply_number(4, (header + bytes(reply))[:length], 7, word) is None
    answer6 = bytearray(request(6, 7, 9, word))
    answer6[0] = 129
    assert reply_number(6, bytes(answer6), 7, word) == 9
    assert reply_number(6, b"", 7, word) is None
