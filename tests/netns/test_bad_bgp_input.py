"""Peers that send what they must not, octet by octet, to a real node: what is refused, what it costs, whom it touches.

`outside` is an external peer, `inside` an internal one whose owners are believed; `small` may announce ten prefixes.
n2 is another node: whatever the raw peers do, its session stays.
"""
from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import faults
import labs
import pytest
import rawbgp
from rawbgp import Session, Space, attribute, body, packed, update

from calicopy.bgp import decode_update
from calicopy.net import Family, Prefix

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

N1, N2 = "192.0.2.1", "192.0.2.2"
OUTSIDE, INSIDE, SMALL, LARGE = (f"192.0.2.{number}" for number in (9, 10, 11, 12))
GOOD, OTHER = "10.244.255.0/26", "10.244.255.64/26"
LIMIT = 10
FLAPS_A_SECOND = 1000
FLAP_S = float(os.environ.get("CALICOPY_FLAP_SECONDS", "60"))

CLUSTER = f"""
nodes:
  - {{name: n1, address: {N1}/24}}
  - {{name: n2, address: {N2}/24}}
pools:
  - {{cidr: 10.244.0.0/16}}
bgp:
  hold_time_s: 9
  peers:
    - {{name: outside, address: {OUTSIDE}, as: 65009, passive: true, nodes: [n1]}}
    - {{name: inside, address: {INSIDE}, as: 64512, passive: true, nodes: [n1], trust_owner: true}}
    - {{name: small, address: {SMALL}, as: 65011, passive: true, nodes: [n1], prefix_limit: {LIMIT}}}
    - {{name: large, address: {LARGE}, as: 65012, passive: true, nodes: [n1], prefix_limit: {LIMIT},
       prefix_limit_action: restart, prefix_limit_restart_s: 5}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    addresses = [f"ip address add {one}/24 dev eth1" for one in (OUTSIDE, INSIDE, SMALL, LARGE)]
    topology = labs.one_ethernet(
        f"bad{os.getpid()}",
        {
            "n1": labs.node(f"{N1}/24"),
            "n2": labs.node(f"{N2}/24"),
            "raw": labs.router(f"{OUTSIDE}/24", "sleep infinity", exec=addresses),
        },
    )
    with labs.running(tmp_path_factory.mktemp("lab"), topology, files={"cluster.yaml": CLUSTER}, mgmt=False) as made:
        made.wait_established("n1", "n2", within=60)
        yield made


@pytest.fixture
def space(lab: labs.TestLab) -> Iterator[Space]:
    """The raw node; afterwards n1 and n2 must have had one session all the time."""
    before = peer(lab, "n2")["sessions_lost"]
    with rawbgp.inside(lab, "raw") as made:
        yield made
    after = peer(lab, "n2")
    assert (after["state"], after["sessions_lost"]) == ("Established", before)


@pytest.fixture
def outside(space: Space) -> Session:
    return space.session(N1, source=OUTSIDE, asn=65009)


@pytest.fixture
def inside(space: Space) -> Session:
    return space.session(N1, source=INSIDE, asn=64512)


def peer(lab: labs.TestLab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.run("n1", "calicopy", "peers", name, "-o", "json"))
    return found


def reasons(lab: labs.TestLab, name: str) -> dict[str, str]:
    """Prefix to the code of why it is refused, of what one peer announced; `used` where it is not."""
    found = {}
    for route in lab.cli("n1", "routes", "--received", name)["items"]:
        for path in route["paths"]:
            found[route["prefix"]] = path["reason"]["code"] if path["state"] == "rejected" else "used"
    return found


def in_kernel(lab: labs.TestLab, *prefixes: str) -> set[str]:
    return set(prefixes) & set(lab.kernel_routes("n1"))


def wait_kernel(lab: labs.TestLab, prefix: str, *, there: bool = True, within: float = 10.0) -> None:
    word = "there" if there else "gone"
    labs.wait_until(lambda: bool(in_kernel(lab, prefix)) is there, within=within, what=f"{prefix} is {word}")


def good(*prefixes: str) -> bytes:
    """What `outside` may announce."""
    return update(*prefixes, next_hop=OUTSIDE, path=(65009,))


# -- hijack tries, loops


def test_what_an_outsider_must_not_announce_is_refused_by_name_and_never_reaches_the_kernel(
    lab: labs.TestLab, outside: Session
) -> None:
    ours, theirs = lab.block_of("n1"), lab.block_of("n2")
    before = lab.kernel_routes("n1")
    ours_host = f"{IPv4Address(Prefix.parse(ours).first + 5)}/32"
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("0.0.0.0/0", "outside-pools", {}),
        ("11.0.0.0/26", "outside-pools", {}),
        ("10.244.200.0/25", "wrong-length", {}),
        ("10.244.0.0/16", "wrong-length", {}),
        (ours, "ours", {}),
        (f"{ours.partition('/')[0]}/28", "ours", {}),
        (ours_host, "ours", {}),
        (theirs, "held-elsewhere", {}),
        ("10.244.201.0/26", "next-hop-self", {"next_hop": N1}),
        ("10.244.202.0/26", "next-hop-foreign", {"next_hop": "192.0.2.77"}),
        ("10.244.203.0/26", "next-hop-martian", {"next_hop": "127.0.0.1"}),
        ("10.244.204.0/26", "", {"next_hop": "224.0.0.5"}),  # no host's address: RFC 7606 has it treated as withdraw
        ("10.244.205.0/26", "as-loop", {"path": (65009, 64512)}),
    ]
    for prefix, _, parts in cases:
        outside.update(update(prefix, **{"next_hop": OUTSIDE, "path": (65009,), **parts}))
    outside.update(good(GOOD))
    wait_kernel(lab, GOOD)
    assert reasons(lab, "outside") == {GOOD: "used", **{prefix: reason for prefix, reason, _ in cases if reason}}
    assert lab.kernel_routes("n1").keys() - {GOOD} == before.keys()
    assert outside.is_up


def test_the_owner_that_an_outsider_names_is_not_believed(lab: labs.TestLab, outside: Session) -> None:
    theirs = lab.block_of("n2")
    outside.update(update(theirs, next_hop=OUTSIDE, path=(65009,), more=rawbgp.owner(N2)), good(GOOD))
    wait_kernel(lab, GOOD)
    assert reasons(lab, "outside")[theirs] == "held-elsewhere"
    assert lab.kernel_routes("n1")[theirs]["gateway"] == N2


def test_loops_and_owners_that_cannot_be_are_refused_from_an_internal_peer(lab: labs.TestLab, inside: Session) -> None:
    local_pref = attribute(5, (100).to_bytes(4, "big"))
    originator, cluster = (attribute(code, IPv4Address(N1).packed, flags=0x80) for code in (9, 10))
    cases = {
        "10.244.210.0/26": ("originator-loop", originator),
        "10.244.211.0/26": ("cluster-loop", cluster),
        "10.244.212.0/26": ("owner-unknown", rawbgp.owner("10.9.9.9")),
        "10.244.213.0/26": ("ours", rawbgp.owner(N1)),
    }
    for prefix, (_, more) in cases.items():
        inside.update(update(prefix, next_hop=INSIDE, more=local_pref + more))
    inside.update(update(GOOD, next_hop=INSIDE, more=local_pref))
    wait_kernel(lab, GOOD)
    expected = {prefix: reason for prefix, (reason, _) in cases.items()}
    assert reasons(lab, "inside") == {GOOD: "used", **expected}
    assert not in_kernel(lab, *cases)


# -- RFC 7606

ORIGIN, PATH, HOP = attribute(1, b"\0"), rawbgp.as_path(65009), attribute(3, IPv4Address(OUTSIDE).packed)
WITHDRAWN = {
    "bad ORIGIN": attribute(1, b"\x09") + PATH + HOP,
    "ORIGIN of two octets": attribute(1, b"\0\0") + PATH + HOP,
    "bad flags": attribute(1, b"\0", flags=0xC0) + PATH + HOP,
    "bad AS_PATH": ORIGIN + attribute(2, b"\x02\x05\0\0") + HOP,
    "no AS_PATH": ORIGIN + HOP,
    "NEXT_HOP of three octets": ORIGIN + PATH + attribute(3, b"\1\2\3"),
    "MED of three octets": ORIGIN + PATH + HOP + attribute(4, b"\0\0\1", flags=0x80),
    "attributes that run over": ORIGIN + PATH + HOP + bytes((0xC0, 8, 200, 1, 2)),
    "large communities of 11 octets": ORIGIN + PATH + HOP + attribute(32, b"\0" * 11, flags=0xC0),
}
DISCARDED = {
    "ATOMIC_AGGREGATE with a value": ORIGIN + PATH + HOP + attribute(6, b"\1"),
    "AGGREGATOR of three octets": ORIGIN + PATH + HOP + attribute(7, b"\1\2\3", flags=0xC0),
    "duplicate attributes": ORIGIN + PATH + HOP + attribute(1, b"\2"),
}


def test_malformed_attributes_cost_the_prefix_or_the_attribute_and_never_the_session(
    lab: labs.TestLab, outside: Session
) -> None:
    """RFC 7606 sections 3 and 7: treat-as-withdraw, attribute discard."""
    for name, attributes in WITHDRAWN.items():
        outside.update(good(GOOD))
        wait_kernel(lab, GOOD)
        outside.update(body(attributes, nlri=packed([GOOD])))
        labs.wait_until(lambda: not in_kernel(lab, GOOD), within=10, what=f"{name}: treated as withdraw")
        assert outside.is_up, name
    for name, attributes in DISCARDED.items():
        before = peer(lab, "outside")["malformed_updates"]
        outside.update(body(attributes, nlri=packed([OTHER])))
        labs.wait_until(lambda: in_kernel(lab, OTHER), within=10, what=f"{name}: the rest is taken")
        assert peer(lab, "outside")["malformed_updates"] == before + 1, name
        outside.update(body(withdrawn=packed([OTHER])))
        wait_kernel(lab, OTHER, there=False)
    assert outside.is_up
    assert peer(lab, "outside")["malformed_updates"] >= len(WITHDRAWN) + len(DISCARDED)


def test_a_peer_that_breaks_its_session_again_and_again_is_held_down_with_the_reason(
    lab: labs.TestLab, space: Space
) -> None:
    for _ in range(3):
        session = space.session(N1, source=OUTSIDE, asn=65009)
        session.update(body(ORIGIN + PATH + HOP, nlri=bytes((33, 10, 244, 0, 0, 0))))  # a prefix of 33 bits
        labs.wait_until(lambda peer=session.peer: peer.closed, within=10, what="the session is ended")
    labs.wait_until(lambda: peer(lab, "outside")["stop_code"] == "held-down", within=10, what="it is held down")
    faults.wait_problem(lab, "n1", "held down for 30 s")
    refused = space.dial(N1, source=OUTSIDE, asn=65009)
    if refused is not None:
        labs.wait_until(lambda: refused.peer.closed, what="it is refused")
        assert not refused.peer.established
    lab.run("n1", "calicopy", "peers", "reset", "outside")
    assert space.session(N1, source=OUTSIDE, asn=65009).is_up


# -- limits


def blocks(count: int, *, first: int = 0) -> list[str]:
    """So many blocks inside the pool, then outside of it."""
    start = int(IPv4Address("10.244.128.0"))
    return [f"{IPv4Address(start + 64 * number)}/26" for number in range(first, first + count)]


def withdrawn(session: Session) -> set[str]:
    """Prefixes that the node has taken back on this session."""
    options = session.peer.negotiated.receive
    updates = [decode_update(one, options) for one in session.peer.bodies(2)]
    return {
        str(Prefix(batch.family, one)) for found in updates for batch in found.withdrawn for one in batch.prefixes
    }


def test_one_prefix_too_many_stops_that_peer_until_it_is_reset(lab: labs.TestLab, space: Space) -> None:
    session = space.session(N1, source=SMALL, asn=65011)
    mine = lab.block_of("n1")
    session.update(update(*blocks(LIMIT), next_hop=SMALL, path=(65011,)))
    wait_kernel(lab, blocks(LIMIT)[-1])
    assert session.is_up
    session.update(update(*blocks(1, first=LIMIT), next_hop=SMALL, path=(65011,)))
    labs.wait_until(lambda: session.peer.closed, within=15, what="the session is ended")
    assert mine in withdrawn(session), "told before it ended, so that it keeps nothing as stale"
    assert not in_kernel(lab, *blocks(LIMIT))
    shown = peer(lab, "small")
    assert (shown["stop_code"], shown["timers"]["stopped_until"]) == ("prefix-limit", None)
    faults.wait_problem(lab, "n1", "more than 10 prefixes")
    lab.run("n1", "calicopy", "peers", "reset", "small")
    again = space.session(N1, source=SMALL, asn=65011)
    again.update(update(*blocks(1), next_hop=SMALL, path=(65011,)))
    wait_kernel(lab, blocks(1)[0])


def rss(lab: labs.TestLab) -> int:
    """Resident memory of the agent of n1, KiB."""
    (pid,) = lab.pids("n1", "calicopy", "agent")
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_a_hundred_thousand_prefixes_too_many_cost_no_memory_and_the_peer_comes_back_by_itself(
    lab: labs.TestLab, space: Space
) -> None:
    before = rss(lab)
    session = space.session(N1, source=LARGE, asn=65012)
    many = blocks(100_000 + LIMIT)
    session.update(
        *(update(*many[at : at + 700], next_hop=LARGE, path=(65012,)) for at in range(0, len(many), 700))
    )
    labs.wait_until(lambda: peer(lab, "large")["stop_code"] == "prefix-limit", within=30, what="it is stopped")
    assert peer(lab, "large")["families"][0]["received"] == 0
    labs.wait_until(lambda: not peer(lab, "large")["stop_code"], within=20, what="it is wanted again")
    assert rss(lab) - before < 40 * 1024
    assert space.session(N1, source=LARGE, asn=65012).is_up


# -- OPENs


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"asn": 65010}, (2, 2)),
        ({"router_id": N1}, (2, 3)),
        ({"hold_time_s": 1}, (2, 6)),
        ({"hold_time_s": 2}, (2, 6)),
    ],
    ids=["wrong AS", "our router id", "hold time 1", "hold time 2"],
)
def test_an_open_that_cannot_be_is_refused_by_its_notification_and_said(
    lab: labs.TestLab, space: Space, wrong: dict[str, Any], code: tuple[int, int]
) -> None:
    """RFC 4271 section 6.2."""
    source, asn = (INSIDE, 64512) if "router_id" in wrong else (OUTSIDE, 65009)
    session = labs.wait_until(
        lambda: space.dial(N1, source=source, **{"asn": asn, **wrong}), what="the connection is taken"
    )
    labs.wait_until(lambda: session.notification is not None, what="it is refused")
    assert (session.notification.code, session.notification.subcode) == code
    name = "inside" if "router_id" in wrong else "outside"
    labs.wait_until(lambda: (peer(lab, name)["last_notification"] or {}).get("code") == 2, what="it is shown")
    assert peer(lab, name)["state"] != "Established"


# -- withdrawals, two peers, flaps


def test_the_withdrawal_of_what_was_never_announced_does_nothing(lab: labs.TestLab, outside: Session) -> None:
    outside.update(body(withdrawn=packed([OTHER, lab.block_of("n2"), lab.block_of("n1")])), good(GOOD))
    wait_kernel(lab, GOOD)
    assert in_kernel(lab, lab.block_of("n2"))
    assert outside.is_up


def test_a_prefix_from_two_peers_outlives_the_withdrawal_of_one(
    lab: labs.TestLab, space: Space, outside: Session, tmp_path: Path
) -> None:
    small = space.session(N1, source=SMALL, asn=65011)
    outside.update(good(GOOD))
    small.update(update(GOOD, next_hop=SMALL, path=(65011, 65099)))
    labs.wait_until(lambda: len(lab.cli("n1", "routes", GOOD)["items"][0]["paths"]) == 2, what="both are here")
    assert lab.kernel_routes("n1")[GOOD]["gateway"] == OUTSIDE
    watching = lab.spawn("n1", "ip", "monitor", "route", output=tmp_path / "monitor")
    labs.wait_until(lambda: lab.pids("n1", "ip", "monitor", "route"), what="the monitor runs")
    outside.update(body(withdrawn=packed([GOOD])))
    labs.wait_until(lambda: lab.kernel_routes("n1")[GOOD]["gateway"] == SMALL, what="the other is used")
    watching.terminate()
    watching.wait(timeout=10)
    assert "Deleted " + GOOD not in (tmp_path / "monitor").read_text()


def test_a_thousand_flaps_a_second_cost_no_session_and_few_writes(lab: labs.TestLab, outside: Session) -> None:
    there, gone = good(GOOD), body(withdrawn=packed([GOOD]))
    before = lab.status("n1")["counters"]
    began = time.monotonic()
    flaps = 0
    while (passed := time.monotonic() - began) < FLAP_S:
        due = int(passed * FLAPS_A_SECOND) - flaps
        if due > 0:
            outside.update(*(there, gone) * due)
            flaps += due
        time.sleep(0.01)  # the pace of the flaps, not a wait for anything
    outside.update(there)
    wait_kernel(lab, GOOD, within=15)
    assert flaps > 0.9 * FLAP_S * FLAPS_A_SECOND
    after = lab.status("n1")["counters"]
    written = after["fib.routes_written"] - before["fib.routes_written"]
    print(f"{flaps} flaps, {written} writes")
    assert written < flaps / 2, f"{written} writes for {flaps} flaps"
    assert outside.is_up
    assert after.get("speaker.events_lost", 0) == before.get("speaker.events_lost", 0)


def test_a_hold_timer_that_is_not_fed_ends_the_session_and_is_named(lab: labs.TestLab, space: Space) -> None:
    """The raw peer offers 3 s and says nothing more."""
    session = space.session(N1, source=OUTSIDE, asn=65009, hold_time_s=3)
    session.peer.opened = 0  # no keepalives any more
    labs.wait_until(lambda: session.peer.closed, within=10, what="the session is ended")
    assert session.notification is not None
    assert session.notification.code == 4
    assert "hold timer expired (sent by us)" in peer(lab, "outside")["last_error"]


def test_a_family_that_was_not_negotiated_ends_that_session_alone(lab: labs.TestLab, outside: Session) -> None:
    """::/0 in MP_REACH_NLRI on a session of IPv4 alone (RFC 4760 section 7); so does ExaBGP, before we are asked."""
    reach = bytes((0, Family.IPV6, 1, 16)) + bytes(15) + b"\1" + b"\0" + b"\0"
    outside.update(body(ORIGIN + PATH + attribute(14, reach, flags=0x80)))
    labs.wait_until(lambda: outside.notification is not None, what="it is refused")
    assert outside.notification is not None
    assert (outside.notification.code, outside.notification.subcode) == (3, 9)
    assert "optional attribute error" in peer(lab, "outside")["last_error"]
