"""An address behind two nodes: both are used, through the tunnel where there is one."""
from __future__ import annotations

from pathlib import Path

import ecmp
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.mark.parametrize("encapsulation", ["none", "vxlan"])
def test_flows_to_an_address_behind_two_nodes_go_to_both_and_none_goes_bare(tmp_path: Path, encapsulation: str) -> None:
    with ecmp.ecmp_lab(tmp_path, encapsulation) as lab:
        ecmp.check(lab, encapsulation)
