"""Graceful restart (RFC 4724) with BIRD, in both roles: the rows of docs/graceful-restart.md that need a real peer.

`router` speaks both families and has its routes flushed when its hold timer runs out, `keeper` has them kept.
"""
from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import faults
import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

RESTART_TIME_S, KEEPER_TIME_S = 8, 14
KEPT, DROPPED = "10.244.255.0/26", "10.244.255.64/26"
KEEPERS = "10.244.255.128/26"
SIX = "fd00:10:ffff::/122"

CLUSTER = """
nodes:
  - {name: n1, address: 192.0.2.1/24, address6: "fd00:2::1/64"}
pools:
  - {cidr: 10.244.0.0/16}
  - {cidr: "fd00:10::/32"}
bgp:
  peers:
    - {name: router, address: 192.0.2.9, as: 65009, families: [ipv4, ipv6]}
    - {name: keeper, address: 192.0.2.10, as: 65010, hold_time_s: 3, on_hold_expiry: keep}
"""


def bird(
    *routes: str, number: int = 9, graceful: bool = True, six: bool = True, hold_time_s: int = 9,
    restart_time_s: int = RESTART_TIME_S,
) -> str:  # fmt: skip
    """BIRD's configuration, with static routes to announce."""
    lines = "".join(f"  route {route} blackhole;\n" for route in routes)
    restart = f"graceful restart on; graceful restart time {restart_time_s};" if graceful else "graceful restart off;"
    static6 = f"protocol static six {{ ipv6; route {SIX} blackhole; }}" if six else ""
    channel6 = "ipv6 { import all; export where source = RTS_STATIC; next hop address fd00:2::9; };" if six else ""
    return f"""
router id 192.0.2.{number};
protocol device {{ }}
{static6}
protocol static theirs {{
  ipv4;
{lines}}}
protocol bgp n1 {{
  local 192.0.2.{number} as 650{number:02};
  neighbor 192.0.2.1 as 64512;
  ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};
  {channel6}
  {restart}
  hold time {hold_time_s};
  connect delay time 1;
  error wait time 1, 2;
}}
"""


def keeper_bird() -> str:
    """The configuration of `keeper`."""
    return bird(KEEPERS, number=10, six=False, hold_time_s=3, restart_time_s=KEEPER_TIME_S)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """A node and two routers whose PID 1 is not BIRD."""
    both = ["ip address add 192.0.2.1/24 dev eth1", "ip address add fd00:2::1/64 dev eth1 nodad"]
    topology = labs.one_ethernet(
        f"gr{os.getpid()}",
        {
            "n1": labs.node("192.0.2.1/24", exec=both),
            "r1": labs.router("192.0.2.9/24", "sleep infinity", binds=["r1.conf:/etc/bird.conf:ro"]),
            "r2": labs.router("192.0.2.10/24", "sleep infinity", binds=["r2.conf:/etc/bird.conf:ro"]),
        },
    )
    files = {"cluster.yaml": CLUSTER, "r1.conf": bird(KEPT, DROPPED), "r2.conf": keeper_bird()}
    with labs.running(tmp_path_factory.mktemp("lab"), topology, files=files, mgmt=False) as made:
        yield made


def start(lab: labs.TestLab, config: str, *, recovering: bool = False, node: str = "r1") -> None:
    """Start BIRD; `recovering` makes it say that it restarts and has kept its forwarding state."""
    (lab.topology.parent / f"{node}.conf").write_text(config)
    lab.run(node, "bird", "-c", "/etc/bird.conf", "-s", "/run/bird.ctl", *(["-R"] if recovering else []))


def kill(lab: labs.TestLab, node: str = "r1") -> None:
    """SIGKILL."""
    faults.kill_all(lab, node, words=("bird", "-c", "/etc/bird.conf"))


def birdc(lab: labs.TestLab, *words: str, node: str = "r1") -> str:
    return lab.run(node, "birdc", "-s", "/run/bird.ctl", *words)


def theirs(lab: labs.TestLab) -> set[str]:
    """Routes of the routers in the kernel of n1."""
    return {KEPT, DROPPED, KEEPERS} & set(lab.kernel_routes("n1"))


def peer(lab: labs.TestLab, name: str = "router") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.run("n1", "calicopy", "peers", name, "-o", "json"))
    return found


def received(lab: labs.TestLab) -> dict[str, int]:
    """How many paths of `router` n1 has, per family."""
    return {family["family"]: family["received"] for family in peer(lab)["families"]}


def wait_lost(lab: labs.TestLab, name: str = "router", *, within: float = 20.0) -> None:
    labs.wait_until(lambda: name not in lab.established("n1"), within=within, what=f"the session with {name} is lost")


@contextmanager
def watched(lab: labs.TestLab, path: Path, *prefixes: str) -> Iterator[None]:
    """Nothing happens to these routes in the kernel of n1 meanwhile."""
    watching = lab.spawn("n1", "ip", "monitor", "route", output=path)
    labs.wait_until(lambda: lab.pids("n1", "ip", "monitor", "route"), what="the monitor runs")
    yield
    watching.terminate()
    watching.wait(timeout=10)
    lines = path.read_text().splitlines()
    assert [line for line in lines if any(prefix in line for prefix in prefixes)] == []


@pytest.fixture
def both(lab: labs.TestLab) -> Iterator[labs.TestLab]:
    """`router` runs with graceful restart, and n1 has both its routes."""
    kill(lab)
    start(lab, bird(KEPT, DROPPED))
    lab.wait_established("n1", "router")
    labs.wait_until(lambda: theirs(lab) >= {KEPT, DROPPED}, what="both routes are there")
    labs.wait_until(lambda: received(lab)["ipv6"] == 1, what="its IPv6 route is there")
    labs.wait_until(
        lambda: all(family["in_sync"] for family in peer(lab)["families"]), within=30, what="all of it is there"
    )
    yield lab
    kill(lab)


@pytest.fixture
def keeper(lab: labs.TestLab) -> Iterator[labs.TestLab]:
    """`keeper` runs, and n1 has its route."""
    kill(lab, "r2")
    start(lab, keeper_bird(), node="r2")
    lab.wait_established("n1", "keeper")
    labs.wait_until(lambda: KEEPERS in theirs(lab), what="its route is there")
    yield lab
    for pid in lab.pids("r2", "bird", "-c"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    kill(lab, "r2")


# -- the peer restarts: we help


def test_the_routes_of_a_peer_that_restarts_gracefully_stay_and_what_it_dropped_goes(
    both: labs.TestLab, tmp_path: Path
) -> None:
    with watched(both, tmp_path / "monitor", KEPT):
        kill(both)
        wait_lost(both)
        assert theirs(both) >= {KEPT, DROPPED}
        start(both, bird(KEPT), recovering=True)
        both.wait_established("n1", "router")
        labs.wait_until(lambda: DROPPED not in theirs(both), what="the dropped route goes at the end of the table")
    restart = peer(both)["negotiated"]["restart_theirs"]
    assert (restart["restarting"], restart["restart_time_s"]) == (True, RESTART_TIME_S)
    assert all(family["forwarding"] for family in restart["families"])


def test_the_routes_of_a_peer_that_stays_away_go_at_its_restart_time(both: labs.TestLab) -> None:
    kill(both)
    began = time.monotonic()
    wait_lost(both)
    assert theirs(both) >= {KEPT, DROPPED}
    assert peer(both)["timers"]["stale_until"]
    labs.wait_until(lambda: not theirs(both) & {KEPT, DROPPED}, within=RESTART_TIME_S + 15, what="the routes go")
    assert time.monotonic() - began > RESTART_TIME_S - 1
    assert peer(both)["last_error"]


def test_each_peer_has_its_own_restart_time(both: labs.TestLab, keeper: labs.TestLab) -> None:
    kill(both)
    kill(keeper, "r2")
    began = time.monotonic()
    labs.wait_until(lambda: theirs(both) == {KEEPERS}, within=RESTART_TIME_S + 5, what="those of one go first")
    assert time.monotonic() - began < KEEPER_TIME_S - 1
    labs.wait_until(lambda: not theirs(both), within=KEEPER_TIME_S + 5, what="those of the other")
    assert time.monotonic() - began > KEEPER_TIME_S - 1


@pytest.mark.parametrize("graceful", [True, False], ids=["without-forwarding-state", "without-graceful-restart"])
def test_the_routes_that_a_peer_no_longer_has_are_gone_as_soon_as_it_is_back(
    both: labs.TestLab, graceful: bool
) -> None:
    kill(both)
    wait_lost(both)
    start(both, bird(KEPT, graceful=graceful))
    both.wait_established("n1", "router")
    labs.wait_until(
        lambda: theirs(both) & {KEPT, DROPPED} == {KEPT}, within=RESTART_TIME_S - 3, what="only what it announces"
    )


def test_the_family_that_a_peer_comes_back_without_goes_and_the_other_stays(
    both: labs.TestLab, tmp_path: Path
) -> None:
    with watched(both, tmp_path / "monitor", KEPT):
        kill(both)
        wait_lost(both)
        assert received(both) == {"ipv4": 2, "ipv6": 1}
        start(both, bird(KEPT, DROPPED, six=False), recovering=True)
        both.wait_established("n1", "router")
        labs.wait_until(lambda: received(both) == {"ipv4": 2, "ipv6": 0}, what="the family goes", within=3)


def test_the_routes_of_a_peer_without_graceful_restart_go_with_its_session(both: labs.TestLab) -> None:
    kill(both)
    start(both, bird(KEPT, DROPPED, graceful=False))
    both.wait_established("n1", "router")
    labs.wait_until(lambda: theirs(both) >= {KEPT, DROPPED}, what="both routes are there")
    kill(both)
    labs.wait_until(lambda: not theirs(both) & {KEPT, DROPPED}, within=RESTART_TIME_S - 3, what="the routes go")


def test_a_notification_flushes_and_its_words_are_shown(both: labs.TestLab) -> None:
    birdc(both, "disable", "n1", '"back at 4"')
    labs.wait_until(lambda: not theirs(both) & {KEPT, DROPPED}, within=RESTART_TIME_S - 3, what="the routes go")
    last = peer(both)["last_notification"]
    assert (last["code"], last["subcode"], last["communication"]) == (6, 2, "back at 4")
    assert not last["sent_by_us"]
    birdc(both, "enable", "n1")
    labs.wait_until(lambda: theirs(both) >= {KEPT, DROPPED}, what="they are back")


def freeze(lab: labs.TestLab, node: str) -> None:
    """BIRD says nothing more, and its connections stay open."""
    (pid,) = lab.pids(node, "bird", "-c")
    os.kill(pid, signal.SIGSTOP)


def test_a_peer_that_falls_silent_is_flushed_when_its_hold_timer_runs_out(both: labs.TestLab) -> None:
    freeze(both, "r1")
    wait_lost(both)
    labs.wait_until(lambda: not theirs(both) & {KEPT, DROPPED}, within=3, what="the routes go")
    assert "hold timer expired" in peer(both)["last_error"]


def test_a_peer_that_falls_silent_keeps_its_routes_where_hold_expiry_is_to_keep_them(keeper: labs.TestLab) -> None:
    freeze(keeper, "r2")
    began = time.monotonic()
    wait_lost(keeper, "keeper")
    assert KEEPERS in theirs(keeper)
    shown = peer(keeper, "keeper")
    assert "hold timer expired" in shown["last_error"]
    assert shown["families"][0]["stale"] == 1
    labs.wait_until(lambda: KEEPERS not in theirs(keeper), within=KEEPER_TIME_S + 10, what="it goes at last")
    assert time.monotonic() - began > KEEPER_TIME_S - 1


# -- we restart: the peer helps


def ours(lab: labs.TestLab) -> str:
    """What `router` has of us."""
    return birdc(lab, "show", "route", "protocol", "n1", "all")


def test_exabgp_killed_costs_no_route_on_either_side_though_the_peer_claims_no_forwarding_state(
    both: labs.TestLab, tmp_path: Path
) -> None:
    """BIRD sets the F bit only while it restarts itself; it did not, so what we have of it stays."""
    block = both.block_of("n1")
    labs.wait_until(lambda: block in ours(both), what="the peer has our block")
    with watched(both, tmp_path / "monitor", KEPT, DROPPED):
        before = peer(both)["sessions_established"]
        both.kill("n1", "calicopy.speaker.unit")
        seen_without = 0
        deadline = time.monotonic() + 30
        while peer(both)["sessions_established"] == before or "router" not in both.established("n1"):
            seen_without += block not in ours(both)
            assert time.monotonic() < deadline, "the session never came back"
        labs.wait_until(lambda: peer(both)["families"][0]["in_sync"], what="all of it is there again")
        assert not seen_without
    labs.wait_until(lambda: block in ours(both), what="the peer has our block")
    theirs_said = peer(both)["negotiated"]["restart_theirs"]
    assert not any(family["forwarding"] for family in theirs_said["families"])
    said = peer(both)["negotiated"]["restart_ours"]
    assert said["restarting"]
    assert all(family["forwarding"] for family in said["families"])


def test_a_session_that_is_reset_by_hand_costs_no_route_on_either_side(both: labs.TestLab, tmp_path: Path) -> None:
    block = both.block_of("n1")
    labs.wait_until(lambda: block in ours(both), what="the peer has our block")
    with watched(both, tmp_path / "monitor", KEPT, DROPPED):
        before = peer(both)["sessions_established"]
        both.run("n1", "calicopy", "peers", "reset", "router")
        labs.wait_until(lambda: peer(both)["sessions_established"] > before, what="the session is back")
        labs.wait_until(lambda: peer(both)["families"][0]["in_sync"], what="all of it is there again")
    labs.wait_until(lambda: block in ours(both), what="the peer has our block")


# -- the other family


def test_routes_of_ipv6_over_a_session_of_ipv4_are_used_although_the_peer_is_no_node(both: labs.TestLab) -> None:
    """Its next hop is an address that the session does not tell, in the subnet that both ends share."""
    labs.wait_until(
        lambda: both.kernel_routes("n1", ipv6=True).get(SIX, {}).get("gateway") == "fd00:2::9",
        what="the kernel has the route",
    )


# -- route refresh, both ways (RFC 2918)


def test_a_refresh_of_what_the_peer_sends_keeps_what_it_sends_again(both: labs.TestLab, tmp_path: Path) -> None:
    with watched(both, tmp_path / "monitor", KEPT, DROPPED):
        before = peer(both)
        both.run("n1", "calicopy", "peers", "refresh", "router", "--in")
        labs.wait_until(
            lambda: (now := peer(both))["updates_received"] > before["updates_received"]
            and all(family["in_sync"] for family in now["families"]),
            what="the table came again",
        )
        assert peer(both)["refreshes_sent"] == before["refreshes_sent"] + 2
        assert peer(both)["sessions_established"] == before["sessions_established"]


def test_a_refresh_of_what_we_send_is_heard_by_the_peer(both: labs.TestLab) -> None:
    labs.wait_until(lambda: both.block_of("n1") in ours(both), what="the peer has our block")

    def updates() -> int:
        """Import updates that BIRD counted on its IPv4 channel."""
        shown = birdc(both, "show", "protocols", "all", "n1")
        return int(shown.partition("Import updates:")[2].split()[0])

    before = updates()
    both.run("n1", "calicopy", "peers", "refresh", "router", "--out")
    labs.wait_until(lambda: updates() > before, what="BIRD has heard it again")
