"""containerlab/route-reflector: no mesh; BIRD reflects the blocks from node to node. Then the same with BIRD in the
nodes' place: what any client of that reflector gets."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import labs
import pytest

from calicopy import lab as lab_api

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timeout(180)]

NODES = ("n1", "n2", "n3")
NAME = f"route-reflector{os.getpid()}"
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


def test_blocks_are_learnt_through_the_reflector_with_their_owners_and_pods_ping(tmp_path: Path) -> None:
    with labs.existing(labs.copy_of("route-reflector", tmp_path)) as lab:
        lab.wait_healthy(*NODES)
        blocks = {node: lab.block_of(node) for node in NODES}
        for node in NODES:
            (peer,) = lab.cli(node, "peers")["items"]
            assert peer["state"] == "Established"
            labs.wait_until(
                lambda node=node: set(lab.kernel_routes(node)) == set(blocks.values()), what=f"{node} has every block"
            )
            for other in set(NODES) - {node}:
                (route,) = lab.cli(node, "routes", blocks[other])["items"]
                (path,) = route["paths"]
                assert path["owner"] == other
                assert path["originator_id"] == path["next_hop"]

        table = lab.run("rr", "birdc", "-s", "/run/bird.ctl", "show", "route")
        print(table)
        assert all(block in table for block in blocks.values())

        addresses = {node: lab.pod(node, "pod") for node in NODES}
        for node in NODES:
            for other in set(NODES) - {node}:
                lab.run(node, "ip", "netns", "exec", "pod", "ping", "-c", "2", "-i", "0.1", "-W", "1", addresses[other])

        rejected = json.loads(lab.run("n1", "calicopy", "routes", "--rejected", "-o", "json"))["items"]
        assert {path["reason"]["code"] for route in rejected for path in route["paths"]} <= {"originator-loop", "ours"}


def birdc(node: str, *words: str) -> str:
    return lab_api.exec_(node, ("birdc", "-s", "/run/bird.ctl", *words), lab=NAME, timeout_s=20).stdout


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[None]:
    path = labs.copy_of("route-reflector", tmp_path)
    text = path.read_text()
    text = text.replace("cmd: calicopy node --config /etc/calicopy/cluster.yaml",
                        "cmd: bird -f -c /etc/bird/node.conf -s /run/bird.ctl")
    for number in (1, 2, 3):
        (tmp_path / f"n{number}.conf").write_text(NODE.format(
            address=f"192.0.2.{number}", block=f"10.244.{number}.0/26", identifier=0xC0000200 + number))
        text = text.replace(f"    n{number}:\n      group: node\n",
                            f"    n{number}:\n      group: node\n      binds: [n{number}.conf:/etc/bird/node.conf]\n")
    path.write_text(text)
    try:
        assert lab_api.up(path).failures == ()
        yield
    finally:
        lab_api.down(NAME)


def test_every_node_gets_the_blocks_of_the_others_with_next_hop_and_owner_unchanged(clients: None) -> None:
    labs.wait_until(lambda: all(f"10.244.{other}.0/26" in birdc(f"n{number}", "show", "route")
                                for number in (1, 2, 3) for other in (1, 2, 3)), what="every node has every block")
    shown = birdc("n1", "show", "route", "all", "10.244.2.0/26")
    assert "BGP.next_hop: 192.0.2.2" in shown
    assert "BGP.large_community: (64512, 1, 3221225986)" in shown
    assert "BGP.originator_id: 192.0.2.2" in shown
    assert "BGP.cluster_list: 192.0.2.254" in shown


def test_the_reflector_takes_prefixes_of_pods_only(clients: None) -> None:
    labs.wait_until(lambda: "10.244.3.0/26" in birdc("rr", "show", "route"), what="the reflector has a block")
    assert "10.9.0.0/24" not in birdc("rr", "show", "route")
    assert "Established" in birdc("rr", "show", "protocols")
    assert lab_api.exec_("rr", ("ip", "route", "show", "proto", "bird"), lab=NAME).stdout == ""
