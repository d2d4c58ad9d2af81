"""When sessions are asked."""
from __future__ import annotations

from calicopy.bfd.process.wheel import SLOTS, STEP_S, Timed, Wheel

INFINITY = float("inf")


def test_what_is_put_is_given_once_when_it_is_due_and_not_before() -> None:
    wheel, one, other = Wheel(10.0), Timed(), Timed()
    wheel.put(one, 10.05)
    wheel.put(other, -INFINITY)
    assert [*wheel.due(10.001)] == [other]
    assert 10.05 <= wheel.next_due() <= 10.05 + 2 * STEP_S
    assert [*wheel.due(10.049)] == []
    assert [*wheel.due(10.052)] == [one]
    assert [*wheel.due(11.0)] == []


def test_the_last_word_on_when_it_is_due_counts() -> None:
    wheel, one = Wheel(10.0), Timed()
    wheel.put(one, 10.5)
    wheel.put(one, 10.1)
    assert [*wheel.due(10.2)] == [one]
    wheel.put(one, 10.3)
    wheel.put(one, 10.8)
    assert [*wheel.due(10.7)] == []
    assert [*wheel.due(10.9)] == [one]


def test_what_is_due_later_than_the_wheel_reaches_is_given_early_but_never_late() -> None:
    wheel, one = Wheel(10.0), Timed()
    wheel.put(one, INFINITY)
    assert wheel.next_due() <= 10.0 + SLOTS * STEP_S
    assert [*wheel.due(10.0 + SLOTS * STEP_S)] == [one]


def test_after_a_long_stop_all_that_is_due_is_given() -> None:
    wheel, timed = Wheel(10.0), [Timed() for _ in range(50)]
    for place, one in enumerate(timed):
        wheel.put(one, 10.0 + place * 0.02)
    assert {*wheel.due(100.0)} == {*timed}


def test_what_is_put_for_now_while_the_due_ones_are_given_comes_in_the_next_round() -> None:
    wheel, one = Wheel(10.0), Timed()
    wheel.put(one, 10.01)
    rounds = 0
    for found in wheel.due(10.02):
        rounds += 1
        wheel.put(found, 10.0)
    assert rounds == 1
    assert [*wheel.due(10.03)] == [one]
