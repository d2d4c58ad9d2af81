"""containerlab/route-reflector: no mesh; BIRD reflects the blocks from node to node."""
from __future__ import annotations

import json
from pathlib import Path

import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timeout(180)]

TOPOLOGY = Path(__file__).parents[2] / "containerlab" / "route-reflector" / "route-reflector.clab.yml"
NODES = ("n1", "n2", "n3")


def test_blocks_are_learnt_through_the_reflector_with_their_owners_and_pods_ping() -> None:
    with labs.existing(TOPOLOGY) as lab:
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
