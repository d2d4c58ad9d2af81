"""A BIRD peer that is killed, and comes back with graceful restart, without it, or not at all."""
from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import faults
import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

RESTART_TIME_S = 8
KEPT, DROPPED = "10.244.255.0/26", "10.244.255.64/26"

CLUSTER = """
nodes:
  - {name: n1, address: 192.0.2.1/24}
pools:
  - {cidr: 10.244.0.0/16}
bgp:
  peers:
    - {name: router, address: 192.0.2.9, as: 65009}
"""


def bird(*routes: str, graceful: bool = True) -> str:
    """BIRD's configuration, with static routes to announce."""
    lines = "".join(f"  route {route} blackhole;\n" for route in routes)
    restart = f"graceful restart on; graceful restart time {RESTART_TIME_S};" if graceful else "graceful restart off;"
    return f"""
router id 192.0.2.9;
protocol device {{ }}
protocol static theirs {{
  ipv4;
{lines}}}
protocol bgp n1 {{
  local 192.0.2.9 as 65009;
  neighbor 192.0.2.1 as 64512;
  ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};
  {restart}
  hold time 9;
  connect delay time 1;
}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """A node and a router whose PID 1 is not BIRD."""
    topology = labs.one_ethernet(
        f"fr{os.getpid()}",
        {
            "n1": labs.node("192.0.2.1/24"),
            "r1": labs.router("192.0.2.9/24", "sleep infinity", binds=["bird.conf:/etc/bird.conf:ro"]),
        },
    )
    files = {"cluster.yaml": CLUSTER, "bird.conf": bird(KEPT, DROPPED)}
    with labs.running(tmp_path_factory.mktemp("lab"), topology, files=files, mgmt=False) as made:
        yield made


def start(lab: labs.TestLab, config: str, *, recovering: bool = False) -> None:
    """Start BIRD; `recovering` makes it say that it restarts and has kept its forwarding state."""
    (lab.topology.parent / "bird.conf").write_text(config)
    lab.run("r1", "bird", "-c", "/etc/bird.conf", "-s", "/run/bird.ctl", *(["-R"] if recovering else []))


def kill(lab: labs.TestLab) -> None:
    """SIGKILL."""
    faults.kill_all(lab, "r1", words=("bird", "-c", "/etc/bird.conf"))


def theirs(lab: labs.TestLab) -> set[str]:
    """Routes of the router in the kernel of n1."""
    return {KEPT, DROPPED} & set(lab.kernel_routes("n1"))


@pytest.fixture
def both(lab: labs.TestLab) -> Iterator[labs.TestLab]:
    """BIRD runs with graceful restart, and n1 has both its routes."""
    kill(lab)
    start(lab, bird(KEPT, DROPPED))
    lab.wait_established("n1", "router")
    labs.wait_until(lambda: theirs(lab) == {KEPT, DROPPED}, what="both routes are there")
    lab.wait_healthy("n1", within=60)
    yield lab
    kill(lab)


def test_the_routes_of_a_peer_that_restarts_gracefully_stay_and_what_it_dropped_goes(
    both: labs.TestLab, tmp_path: Path
) -> None:
    seen = tmp_path / "monitor"
    watching = both.spawn("n1", "ip", "monitor", "route", output=seen)
    kill(both)
    labs.wait_until(lambda: "router" not in both.established("n1"), what="the session is lost")
    assert theirs(both) == {KEPT, DROPPED}
    start(both, bird(KEPT), recovering=True)
    both.wait_established("n1", "router")
    labs.wait_until(lambda: theirs(both) == {KEPT}, what="the dropped route goes at the end of the table")
    watching.terminate()
    watching.wait(timeout=10)
    changes = [line for line in seen.read_text().splitlines() if KEPT in line]
    assert changes == []


def test_the_routes_of_a_peer_that_stays_away_go_at_its_restart_time(both: labs.TestLab) -> None:
    kill(both)
    began = time.monotonic()
    labs.wait_until(lambda: "router" not in both.established("n1"), what="the session is lost")
    assert theirs(both) == {KEPT, DROPPED}
    labs.wait_until(lambda: not theirs(both), within=RESTART_TIME_S + 15, what="the routes go")
    assert time.monotonic() - began > RESTART_TIME_S - 1
    peer = faults.peers(both, "n1")["router"]
    assert peer["last_error"]


@pytest.mark.parametrize("graceful", [True, False], ids=["without-forwarding-state", "without-graceful-restart"])
def test_the_routes_that_a_peer_no_longer_has_are_gone_as_soon_as_it_is_back(
    both: labs.TestLab, graceful: bool
) -> None:
    kill(both)
    labs.wait_until(lambda: "router" not in both.established("n1"), what="the session is lost")
    start(both, bird(KEPT, graceful=graceful))
    both.wait_established("n1", "router")
    labs.wait_until(lambda: theirs(both) == {KEPT}, within=RESTART_TIME_S - 3, what="only what it announces is there")


def test_the_routes_of_a_peer_without_graceful_restart_go_with_its_session(both: labs.TestLab) -> None:
    kill(both)
    start(both, bird(KEPT, DROPPED, graceful=False))
    both.wait_established("n1", "router")
    labs.wait_until(lambda: theirs(both) == {KEPT, DROPPED}, what="both routes are there")
    kill(both)
    labs.wait_until(lambda: not theirs(both), within=RESTART_TIME_S - 3, what="the routes go")
