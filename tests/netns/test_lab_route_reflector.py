"""The reflector of containerlab/route-reflector, with BIRD in the nodes' place: what any client of it gets."""
from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calicopy import lab as labs

pytestmark = [pytest.mark.netns, pytest.mark.interop]
SOURCE = Path(__file__).parents[2] / "containerlab" / "route-reflector"
NAME = f"rr{os.getpid()}"
NODE = """
log stderr all;
router id {address};
protocol device {{}}
protocol static {{
  ipv4;
  route {block} blackhole {{ bgp_large_community.add((64512, 1, {identifier})); }};
  route 10.9.0.0/24 blackhole;
}}
protocol bgp reflector {{
  local {address} as 64512;
  neighbor 192.0.2.254 as 64512;
  direct;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import all; export all; }};
}}
"""


def wait_for(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.1)


def birdc(node: str, *words: str) -> str:
    return labs.exec_(node, ("birdc", "-s", "/run/bird.ctl", *words), lab=NAME, timeout_s=20).stdout


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[None]:
    shutil.copytree(SOURCE, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "route-reflector.clab.yml"
    text = path.read_text().replace("name: route-reflector", f"name: {NAME}")
    text = text.replace("cmd: calicopy node --config /etc/calicopy/cluster.yaml",
                        "cmd: bird -f -c /etc/bird/node.conf -s /run/bird.ctl")
    for number in (1, 2, 3):
        (tmp_path / f"n{number}.conf").write_text(NODE.format(
            address=f"192.0.2.{number}", block=f"10.244.{number}.0/26", identifier=0xC0000200 + number))
        text = text.replace(f"    n{number}:\n      group: node\n",
                            f"    n{number}:\n      group: node\n      binds: [n{number}.conf:/etc/bird/node.conf]\n")
    path.write_text(text)
    try:
        assert labs.up(path).failures == ()
        yield
    finally:
        labs.down(NAME)


def test_every_node_gets_the_blocks_of_the_others_with_next_hop_and_owner_unchanged(lab: None) -> None:
    wait_for(lambda: all(f"10.244.{other}.0/26" in birdc(f"n{number}", "show", "route")
                         for number in (1, 2, 3) for other in (1, 2, 3)))
    shown = birdc("n1", "show", "route", "all", "10.244.2.0/26")
    assert "BGP.next_hop: 192.0.2.2" in shown
    assert "BGP.large_community: (64512, 1, 3221225986)" in shown
    assert "BGP.originator_id: 192.0.2.2" in shown
    assert "BGP.cluster_list: 192.0.2.254" in shown


def test_the_reflector_takes_prefixes_of_pods_only(lab: None) -> None:
    wait_for(lambda: "10.244.3.0/26" in birdc("rr", "show", "route"))
    assert "10.9.0.0/24" not in birdc("rr", "show", "route")
    assert "Established" in birdc("rr", "show", "protocols")
    assert labs.exec_("rr", ("ip", "route", "show", "proto", "bird"), lab=NAME).stdout == ""
