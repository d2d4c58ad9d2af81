"""Drain and undrain against BIRD: what it hears, what survives a kill, what the kernel keeps."""
from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import faults
import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timeout(240)]

CLUSTER = """
nodes:
  - {name: n1, address: 192.0.2.1/24}
  - {name: n2, address: 192.0.2.2/24}
pools:
  - {cidr: 10.244.0.0/16, name: pods}
bgp:
  peers:
    - {name: inside, address: 192.0.2.9, as: 64512, nodes: [n1]}
    - {name: outside, address: 192.0.2.10, as: 65010, nodes: [n1]}
"""
BIRD = """
router id {address};
log "/run/bird.log" all;
protocol device {{}}
protocol bgp n1 {{
  local {address} as {asn}; neighbor 192.0.2.1 as 64512; graceful restart on; debug {{ routes }};
  ipv4 {{ import all; export none; }};
}}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[labs.TestLab]:
    nodes = {
        "n1": labs.node("192.0.2.1/24", cmd="sleep infinity"),
        "n2": labs.node("192.0.2.2/24"),
        "inside": labs.router("192.0.2.9/24", "bird -f -c /etc/bird.conf -s /run/bird.ctl",
                              binds=["inside.conf:/etc/bird.conf:ro"]),
        "outside": labs.router("192.0.2.10/24", "bird -f -c /etc/bird.conf -s /run/bird.ctl",
                               binds=["outside.conf:/etc/bird.conf:ro"]),
    }  # fmt: skip
    files = {
        "cluster.yaml": CLUSTER,
        "inside.conf": BIRD.format(address="192.0.2.9", asn=64512),
        "outside.conf": BIRD.format(address="192.0.2.10", asn=65010),
    }
    with labs.running(tmp_path, labs.one_ethernet(f"dr{os.getpid()}", nodes), files=files) as up:
        up.calicopy = ("n1", "n2")
        yield up


def start(lab: labs.TestLab, *options: str) -> str:
    """`calicopy node` below PID 1 of n1; returns its block, when BIRD has it."""
    words = " ".join(("calicopy node --config /etc/calicopy/cluster.yaml", *options))
    lab.run("n1", "sh", "-c", f"{words} >>/proc/1/fd/1 2>&1 </dev/null &")
    lab.wait_established("n1", "n2", "inside", "outside", within=60)
    block = lab.block_of("n1")
    for router in ("inside", "outside"):
        labs.wait_until(lambda router=router: at_bird(lab, router, block), what=f"{router} has the block")
    return block


def at_bird(lab: labs.TestLab, router: str, block: str) -> str:
    """What BIRD has of a block; empty for nothing."""
    done = lab.try_run(router, "birdc", "-s", "/run/bird.ctl", "show", "route", block, "all")
    return str(done.stdout) if block in str(done.stdout) else ""


def test_bird_sees_a_last_resort_then_nothing_and_everything_again(lab: labs.TestLab, tmp_path: Path) -> None:
    block = start(lab)
    labs.wait_until(lambda: block in lab.kernel_routes("n2"), what="n2 has the block")
    before = lab.kernel_routes("n1")

    drained = lab.spawn("n1", "calicopy", "drain", output=tmp_path / "drain")
    inside = labs.wait_until(
        lambda: (text := at_bird(lab, "inside", block)) and "(65535,0)" in text and text, what="65535:0 at inside"
    )
    assert re.search(r"BGP.local_pref: 0\b", inside)
    assert "BGP.large_community: (64512, 1," in inside
    outside = labs.wait_until(lambda: at_bird(lab, "outside", block), what="outside has it still")
    assert "(65535,0)" in outside
    for router in ("inside", "outside"):
        labs.wait_until(lambda router=router: not at_bird(lab, router, block), what=f"{router} has it no more")
    labs.wait_until(lambda: block not in lab.kernel_routes("n2"), what="n2 has it no more")
    assert drained.wait(20) == 0
    print((tmp_path / "drain").read_text())
    assert [line.partition(":")[0] for line in (tmp_path / "drain").read_text().splitlines()] == [
        "recorded", "announced", "no-alternative", "drained",
    ]  # fmt: skip
    assert lab.kernel_routes("n1") == before
    assert lab.status("n1")["health"] == "drained"
    lab.run("n1", "ip", "netns", "add", "late")
    refused = lab.try_run("n1", "calicopy", "workload", "attach", "late", "late")
    assert (refused.returncode, "this node is drained since" in refused.stderr) == (4, True)

    faults.restart_agent(lab, "n1")
    lab.wait_established("n1", "n2", "inside", "outside")
    assert lab.status("n1")["drain"]["phase"] == "drained"
    labs.wait_until(lambda: lab.status("n1")["fib"]["in_sync"], what="n1 is in sync")
    assert not at_bird(lab, "inside", block)
    assert block not in lab.kernel_routes("n2")
    log = lab.run("inside", "cat", "/run/bird.log")
    assert len(re.findall(f"added .*{block}", log)) == 2
    assert len(re.findall(f"removed .*{block}", log)) == 1

    assert lab.cli("n1", "undrain") == {"was_drained": True}
    labs.wait_until(lambda: "(65535,0)" not in at_bird(lab, "inside", block) != "", what="inside has it again")
    labs.wait_until(lambda: block in lab.kernel_routes("n2"), what="n2 has it again")
    lab.wait_healthy("n1")
    lab.run("n1", "calicopy", "workload", "attach", "late", "late")


def test_a_node_with_workloads_is_drained_by_force_alone(lab: labs.TestLab) -> None:
    block, address = start(lab), lab.pod("n1", "web")
    refused = lab.try_run("n1", "calicopy", "drain")
    assert refused.returncode == 4
    assert f"1 address is in use here: {address} (workload:web)" in refused.stderr
    assert lab.status("n1")["drain"] is None
    result = json.loads(lab.run("n1", "calicopy", "drain", "--force", "--wait", "0s", "-o", "json"))
    assert result["drain"]["without_alternative"] == [block]
    labs.wait_until(lambda: not at_bird(lab, "inside", block), what="it is withdrawn")


def test_a_drain_goes_on_without_its_caller_and_over_a_kill_of_the_agent(lab: labs.TestLab, tmp_path: Path) -> None:
    block = start(lab)
    drained = lab.spawn("n1", "calicopy", "drain", output=tmp_path / "drain")
    labs.wait_until(lambda: "(65535,0)" in at_bird(lab, "inside", block), what="65535:0 at inside")
    lab.kill("n1", "calicopy drain")
    assert drained.wait(20) != 0
    faults.restart_agent(lab, "n1")
    labs.wait_until(lambda: lab.status("n1")["drain"]["phase"] == "drained", what="the drain is over")
    labs.wait_until(lambda: not at_bird(lab, "inside", block), what="it is withdrawn")
    removed = re.findall(f"removed .*{block}", lab.run("inside", "cat", "/run/bird.log"))
    assert len(removed) == 1


def test_an_agent_that_drains_before_its_end_withdraws_and_comes_back_in_service(lab: labs.TestLab) -> None:
    block = start(lab, "--drain")
    routes = lab.kernel_routes("n1")
    lab.kill("n1", "calicopy node --config", number=signal.SIGTERM)
    labs.wait_until(lambda: "(65535,0)" in at_bird(lab, "inside", block), what="65535:0 at inside")
    labs.wait_until(lambda: not at_bird(lab, "inside", block), what="it is withdrawn")
    labs.wait_until(lambda: not lab.pids("n1", "calicopy"), what="everything has ended")
    assert lab.kernel_routes("n1") == routes

    assert start(lab, "--drain") == block
    assert lab.status("n1")["drain"] is None


def test_a_second_signal_ends_it_at_once(lab: labs.TestLab) -> None:
    block = start(lab, "--drain")
    lab.kill("n1", "calicopy node --config", number=signal.SIGTERM)
    labs.wait_until(lambda: "(65535,0)" in at_bird(lab, "inside", block), what="65535:0 at inside")
    lab.kill("n1", "calicopy node --config", number=signal.SIGTERM)
    labs.wait_until(lambda: not lab.pids("n1", "calicopy"), what="everything has ended")
    assert at_bird(lab, "inside", block)  # kept by graceful restart: nothing was withdrawn
