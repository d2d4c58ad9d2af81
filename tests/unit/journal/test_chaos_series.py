"""The series of the chaos suite: out of the seed alone."""
from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "chaos"))

import happenings

NODES = ["n1", "n2", "n3", "n4", "n5", "n6"]


def test_a_seed_is_the_same_series_always_and_another_one_another() -> None:
    one = list(happenings.series(1, 50, NODES))
    assert one == list(happenings.series(1, 50, NODES))
    assert one != list(happenings.series(2, 50, NODES))


def test_every_kind_of_fault_turns_up_and_has_somebody_to_happen_to() -> None:
    found = list(happenings.series(1, 600, NODES))
    assert {one.kind for one in found} == set(happenings.DO)
    assert all(one.victims and set(one.victims) <= set(NODES) for one in found)
