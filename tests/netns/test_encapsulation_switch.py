"""A pool is switched from one encapsulation to another on a running cluster, node after node, under a ping flood."""
from __future__ import annotations

from pathlib import Path

import pytest
import switching

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

MOST_LOST = 100  # a second, at 10 ms
STEPS = ("vxlan", "udp", "none")


def test_from_none_through_others_and_back_without_losing_a_second(tmp_path: Path) -> None:
    with switching.running(tmp_path, (4, 6)) as lab:
        lab.wait_healthy(*switching.NODES, within=60)
        lost = switching.losses(lab, STEPS, tmp_path, versions=(4, 6))
        print(f"lost: {lost or 'nothing'}")
        assert max(lost.values(), default=0) <= MOST_LOST, lost
        lab.wait_healthy(*switching.NODES)
