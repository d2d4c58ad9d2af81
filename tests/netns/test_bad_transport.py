"""Connections that must not become sessions: wrong keys, distant packets; and two that are opened at once."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import labs
import pytest
import rawbgp
from rawbgp import Space

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

N1 = "192.0.2.1"
KEYED, PLAIN, NEAR, NEXT, BIRD, UNKNOWN = (f"192.0.2.{number}" for number in (9, 10, 11, 12, 13, 99))
KEY = "right key"
TIMES = 20

CLUSTER = f"""
nodes:
  - {{name: n1, address: {N1}/24}}
pools:
  - {{cidr: 10.244.0.0/16}}
bgp:
  peers:
    - {{name: keyed, address: {KEYED}, as: 65009, password_file: /etc/calicopy/key}}
    - {{name: plain, address: {PLAIN}, as: 65010}}
    - {{name: near, address: {NEAR}, as: 65011, passive: true, ttl_security: 1}}
    - {{name: next, address: {NEXT}, as: 65012, ttl_security: 2}}
    - {{name: bird, address: {BIRD}, as: 65013}}
"""
BIRD_CONF = f"""
router id {BIRD};
protocol device {{ }}
protocol static {{ ipv4; route 10.244.255.0/26 blackhole; }}
protocol bgp n1 {{
  local {BIRD} as 65013;
  neighbor {N1} as 64512;
  ipv4 {{ import all; export all; next hop self; }};
  graceful restart on;
  connect delay time 1;
  error wait time 1, 2;
}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    addresses = [f"ip address add {one}/24 dev eth1" for one in (KEYED, PLAIN, NEAR, NEXT, UNKNOWN)]
    binds = ["cluster.yaml:/etc/calicopy/cluster.yaml:ro", "key:/etc/calicopy/key:ro"]
    bird = "bird -f -c /etc/bird.conf -s /run/bird.ctl"
    topology = labs.one_ethernet(
        f"tr{os.getpid()}",
        {
            "n1": labs.node(f"{N1}/24", binds=binds),
            "raw": labs.router(f"{KEYED}/24", "sleep infinity", exec=addresses),
            "r1": labs.router(f"{BIRD}/24", bird, binds=["bird.conf:/etc/bird.conf:ro"]),
        },
    )
    files = {"cluster.yaml": CLUSTER, "key": f"{KEY}\n", "bird.conf": BIRD_CONF}
    with labs.running(tmp_path_factory.mktemp("lab"), topology, files=files, mgmt=False) as made:
        made.wait_established("n1", "bird", within=60)
        yield made


@pytest.fixture
def space(lab: labs.TestLab) -> Iterator[Space]:
    with rawbgp.inside(lab, "raw") as made:
        yield made


def peer(lab: labs.TestLab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.run("n1", "calicopy", "peers", name, "-o", "json"))
    return found


def comes_up(space: Space, source: str, asn: int, **parts: Any) -> bool:
    """Whether one attempt becomes a session."""
    session = space.dial(N1, source=source, asn=asn, **parts)
    if session is None:
        return False
    labs.wait_until(lambda: session.is_up or session.peer.closed, within=10, what="it is up or refused")
    return session.is_up


# -- TCP MD5 (RFC 2385)


@pytest.mark.parametrize("key", [b"wrong key", b""], ids=["wrong", "none"])
def test_a_key_that_differs_or_is_missing_never_gets_a_connection_and_status_says_so(
    lab: labs.TestLab, space: Space, key: bytes
) -> None:
    assert not comes_up(space, KEYED, 65009, key=key)
    assert peer(lab, "keyed")["state"] != "Established"
    faults.wait_problem(lab, "n1", "a TCP MD5 key that differs from the peer's looks like this")


def test_a_key_on_the_side_of_the_peer_alone_never_gets_a_connection(lab: labs.TestLab, space: Space) -> None:
    assert not comes_up(space, PLAIN, 65010, key=KEY.encode())
    assert comes_up(space, PLAIN, 65010)


def test_the_right_key_gets_a_session(lab: labs.TestLab, space: Space) -> None:
    assert comes_up(space, KEYED, 65009, key=KEY.encode())


# -- TTL security (RFC 5082)


@pytest.mark.parametrize(
    ("source", "asn", "ttl", "taken"),
    [(NEAR, 65011, 64, False), (NEAR, 65011, 254, False), (NEAR, 65011, 255, True),
     (NEXT, 65012, 64, False), (NEXT, 65012, 253, False), (NEXT, 65012, 254, True)],
)  # fmt: skip
def test_a_packet_that_came_from_too_far_gets_no_session(
    lab: labs.TestLab, space: Space, source: str, asn: int, ttl: int, taken: bool
) -> None:
    assert comes_up(space, source, asn, ttl=ttl) is taken


def test_the_ttl_security_of_one_peer_is_not_asked_of_another(lab: labs.TestLab, space: Space) -> None:
    assert comes_up(space, PLAIN, 65010, ttl=64)


# -- connections that nobody wants


def test_a_stranger_at_port_179_gets_no_word_and_no_session(lab: labs.TestLab, space: Space) -> None:
    session = space.dial(N1, source=UNKNOWN, asn=65099)
    if session is not None:
        labs.wait_until(lambda: session.peer.closed, what="it is closed")
        assert session.peer.peer is None
    assert UNKNOWN not in lab.run("n1", "calicopy", "peers")


def test_two_hundred_connections_that_say_nothing_keep_nobody_out(lab: labs.TestLab, space: Space) -> None:
    before = peer(lab, "bird")["sessions_lost"]
    silent = [space.connect(N1, source=source) for source in (UNKNOWN, PLAIN) for _ in range(100)]
    assert sum(one is not None for one in silent) > 50
    assert space.session(N1, source=KEYED, asn=65009, key=KEY.encode()).is_up
    for one in silent:
        if one is not None:
            one.close()
    assert space.session(N1, source=PLAIN, asn=65010, within=60).is_up
    assert peer(lab, "bird")["sessions_lost"] == before


# -- collisions (RFC 4271 section 6.8)


def connections(lab: labs.TestLab) -> int:
    """TCP connections between n1 and BIRD that stand."""
    lines = lab.run("n1", "ss", "-Htn", "state", "established", "dst", BIRD).splitlines()
    return sum(":179" in line for line in lines)


def test_both_sides_that_open_at_once_end_with_one_session_each_of_twenty_times(
    lab: labs.TestLab, tmp_path: Path
) -> None:
    for turn in range(TIMES):
        before = peer(lab, "bird")["sessions_established"]
        asking = lab.spawn("r1", "birdc", "-s", "/run/bird.ctl", "restart", "n1", output=tmp_path / f"bird{turn}")
        lab.try_run("n1", "calicopy", "peers", "reset", "bird")  # BIRD may have been the quicker one
        asking.wait(timeout=10)
        labs.wait_until(
            lambda before=before: (now := peer(lab, "bird"))["sessions_established"] > before
            and now["state"] == "Established",
            what=f"turn {turn}: the session is back",
        )
        labs.wait_until(lambda: connections(lab) == 1, within=10, what=f"turn {turn}: one connection")
    shown = lab.run("r1", "birdc", "-s", "/run/bird.ctl", "show", "protocols", "n1")
    assert "Established" in shown
    assert "10.244.255.0/26" in lab.kernel_routes("n1")
