"""Two BFD processes in two namespaces: up, down, killed, lied to. No agent anywhere."""
from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import labs
import pytest
from bfdhosts import (
    ALONE,
    DETECTION_S,
    DOWN,
    FOREIGN,
    GROUP,
    INTERVAL_S,
    LINK_LOCAL,
    NEXT_HOP,
    OTHER,
    UP,
    Host,
    both_up,
    counted,
    cut,
    run,
)

from calicopy.bfd.process.settings import SessionSetting, Table, format_ack, parse_state
from calicopy.bfd.process.state import read_states
from calicopy.node import BFD_STABLE_S

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    directory = tmp_path_factory.mktemp("bfd")
    a, b = Host(directory / "a", 1), Host(directory / "b", 2)
    try:
        run("ip", "link", "add", "eth0", "netns", a.name, "type", "veth", "peer", "name", "eth0", "netns", b.name)
        for host in (a, b):
            host.ip(f"addr add {host.local}/24 dev eth0")
            host.ip(f"addr add {host.local6}/64 dev eth0 nodad")
            host.ip("link set eth0 up")
        b.ip("addr add 192.168.9.66/24 dev eth0")
        yield a, b
    finally:
        for host in (a, b):
            host.end(signal.SIGKILL)
            run("ip", "netns", "del", host.name)


@pytest.fixture
def pair(hosts: tuple[Host, Host]) -> Iterator[tuple[Host, Host]]:
    yield hosts
    for host in hosts:
        host.end(signal.SIGKILL)
        host.nft("flush ruleset")
        host.ip("nexthop flush")
        for file in host.directory.iterdir():
            file.unlink()


def test_a_cut_in_silence_takes_the_next_hops_out_of_use_until_it_is_acknowledged(pair: tuple[Host, Host]) -> None:
    a, b = pair
    for number, via in ((NEXT_HOP, a.peer), (OTHER, "192.168.9.77"), (LINK_LOCAL, a.peer6)):
        a.ip(f"nexthop add id {number} via {via} dev eth0 proto 117")
    a.ip(f"nexthop add id {FOREIGN} via {a.peer} dev eth0 proto 4")
    a.ip(f"nexthop add id {GROUP} group {NEXT_HOP}/{OTHER},7 proto 117")
    a.ip(f"nexthop add id {ALONE} group {NEXT_HOP} proto 117")
    objects = {NEXT_HOP: (4, a.peer), OTHER: (4, "192.168.9.77"), LINK_LOCAL: (6, a.peer6), FOREIGN: (4, a.peer)}
    table = Table(objects=objects, groups={GROUP: (4, (NEXT_HOP, OTHER)), ALONE: (4, (NEXT_HOP,))})
    a.write("bfd.table", table.as_text())
    a.want(SessionSetting(a.peer, a.local, next_hops=(a.peer, a.peer6)))
    b.want(b.setting())
    a.start()
    b.start()
    assert a.reaches(UP).detection_time_us == 300_000

    with a.attached() as stream:
        cut(b)
        cut(a)
        began = time.monotonic()
        for line in stream:
            if line.startswith("state ") and parse_state(line).state == DOWN:
                break
        took = time.monotonic() - began
    assert took < DETECTION_S + 0.15, f"{took:.3f} s"
    held = a.objects()
    for number in (NEXT_HOP, LINK_LOCAL):
        assert "blackhole" in held[number]
        assert held[number]["protocol"] == "118"
    assert held[OTHER]["protocol"] == "117"
    assert held[FOREIGN]["gateway"] == a.peer
    assert held[GROUP]["group"] == [{"id": OTHER, "weight": 7}]
    assert held[ALONE]["group"] == [{"id": NEXT_HOP}]

    # Put back by somebody: held again when the table is looked at; and after the session is Up again.
    a.ip(f"nexthop replace id {NEXT_HOP} via {a.peer} dev eth0 proto 117")
    a.say("poke\n")
    labs.wait_until(lambda: "blackhole" in a.objects()[NEXT_HOP], what="held again")
    for host in pair:
        host.nft("flush ruleset")
    again = a.reaches(UP)
    assert (again.ups, again.downs, again.holding) == (2, 1, True)
    assert "blackhole" in a.objects()[NEXT_HOP]

    a.say(format_ack(a.peer, 1))
    labs.wait_until(lambda: not a.reaches(UP).holding, what="not held any more")
    a.ip(f"nexthop replace id {NEXT_HOP} via {a.peer} dev eth0 proto 117")
    a.say("poke\n")
    assert a.state() is not None
    assert a.objects()[NEXT_HOP]["gateway"] == a.peer


@pytest.mark.parametrize("authenticated", [False, True])
def test_a_killed_process_is_back_before_the_peer_notices(pair: tuple[Host, Host], authenticated: bool) -> None:
    a, b = pair
    # Half a second: this test is no supervisor, and waits for a processor like anybody else.
    both_up(pair, lambda host: {"detect_mult": 5, **(host.secret() if authenticated else {})})
    before = a.reaches(UP)
    for _ in range(3):
        a.end(signal.SIGKILL)
        assert read_states(f"{a.directory}/bfd.state")[a.peer].local_discriminator == before.local_discriminator
        a.start()
        sent = before.sent
        labs.wait_until(lambda: a.reaches(UP).received > sent, what="packets again")  # noqa: B023
    after = a.reaches(UP)
    assert (after.local_discriminator, after.ups, after.downs) == (before.local_discriminator, 1, 0)
    seen = b.reaches(UP)
    assert (seen.ups, seen.downs, seen.dropped) == (1, 0, {})


SUPERVISE = """
import sys
from calicopy.node import Supervisor, node_services
services = [one for one in node_services(sys.argv[1], ()) if one.name == "bfd"]
sys.exit(Supervisor(sys.argv[1], services).run())
"""


def longest_silence(ear: socket.socket, source: str) -> float:
    """Seconds between two BFD packets from there, of those that came since this was asked last."""
    times = []
    with contextlib.suppress(BlockingIOError):
        while True:
            octets, ancillary, _, _ = ear.recvmsg(256, 64)
            if octets[12:16] == socket.inet_aton(source) and octets[22:24] == (4784).to_bytes(2, "big"):
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                times.append(seconds + nanoseconds * 1e-9)
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def test_under_its_supervisor_a_killed_process_is_back_within_three_intervals(pair: tuple[Host, Host]) -> None:
    a, b = pair
    for host in pair:
        host.want(host.setting(**host.secret()))
    command = ["ip", "netns", "exec", a.name, sys.executable, "-c", SUPERVISE, str(a.directory)]
    a.process = subprocess.Popen(command)
    b.start()
    seen = []
    try:
        with a.ear() as at_a, b.ear() as at_b:
            while len(seen) < 8:  # a machine that stands still for so long proves nothing
                before = a.reaches(UP), b.reaches(UP)
                pid = a.pid()
                longest_silence(at_a, b.local), longest_silence(at_b, a.local)
                labs.wait_until(lambda: b.state().received > before[1].received + 2, what="packets")  # noqa: B023
                os.kill(pid, signal.SIGKILL)
                labs.wait_until(lambda: a.pid() not in (0, pid), what="another process")  # noqa: B023
                after = a.reaches(UP)
                labs.wait_until(lambda: a.reaches(UP).received > after.received + 5, what="packets")  # noqa: B023
                seen.append((longest_silence(at_b, a.local), longest_silence(at_a, b.local)))
                if seen[-1][0] < DETECTION_S and seen[-1][1] < INTERVAL_S * 1.5:
                    after = a.reaches(UP), b.reaches(UP)
                    assert [one.downs for one in after] == [one.downs for one in before]
                    assert after[0].local_discriminator == before[0].local_discriminator
                    return
                until = time.monotonic() + BFD_STABLE_S
                labs.wait_until(lambda: time.monotonic() > until, what="a start without delay")  # noqa: B023
        pytest.fail(f"always away for the detection time or more: {seen}")
    finally:
        a.end()


def test_what_went_down_is_held_also_by_the_next_process(pair: tuple[Host, Host]) -> None:
    a, b = pair
    a.ip(f"nexthop add id {NEXT_HOP} via {a.peer} dev eth0 proto 117")
    a.write("bfd.table", Table(objects={NEXT_HOP: (4, a.peer)}).as_text())
    both_up(pair)
    a.end(signal.SIGKILL)
    b.end(signal.SIGKILL)
    time.sleep(DETECTION_S)  # not a wait for something: the detection time has to pass while nobody looks
    a.start()
    assert a.reaches(DOWN).holding
    labs.wait_until(lambda: "blackhole" in a.objects()[NEXT_HOP], what="held")


def test_a_stopped_process_takes_nobody_for_dead_and_one_that_is_ended_says_so(pair: tuple[Host, Host]) -> None:
    a, b = pair
    both_up(pair, lambda _: {"detect_mult": 20})
    assert a.process is not None
    a.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)  # less than the peer's detection time
    a.process.send_signal(signal.SIGCONT)
    received = a.reaches(UP).received
    labs.wait_until(lambda: a.reaches(UP).received > received, what="packets")
    assert (a.reaches(UP).downs, b.reaches(UP).downs) == (0, 0)
    a.end()
    down = b.reaches(DOWN)
    assert (down.remote_state, down.remote_diagnostic, down.downs, down.holding) == (0, 7, 0, False)
    a.start()
    assert b.reaches(UP).downs == 0


def test_one_that_ends_in_silence_is_dead_to_its_peer(pair: tuple[Host, Host]) -> None:
    a, b = pair
    both_up(pair)
    a.end(signal.SIGUSR1)
    down = b.reaches(DOWN)
    assert (down.diagnostic, down.downs, down.holding) == (1, 1, True)


def test_a_machine_that_stands_still_takes_down_no_session_between_its_nodes(pair: tuple[Host, Host]) -> None:
    both_up(pair, lambda _: {"tx_us": 200_000, "rx_us": 200_000})
    processes = [host.process for host in pair if host.process is not None]
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for process in processes:
            process.send_signal(number)
        time.sleep(1.2 if number is signal.SIGSTOP else 0.0)  # twice the detection time
    for host in pair:
        received = host.reaches(UP).received
        labs.wait_until(lambda host=host, before=received: host.reaches(UP).received > before + 3, what="packets")
        assert host.reaches(UP).downs == 0
    cut(pair[0])
    assert pair[0].reaches(DOWN).holding


def test_a_path_that_is_cut_one_way_is_down_at_both_ends(pair: tuple[Host, Host]) -> None:
    a, b = pair
    both_up(pair)
    cut(b)
    assert (b.reaches(DOWN).diagnostic, a.reaches(DOWN).diagnostic) == (1, 3)


def test_a_session_over_ipv6_by_single_hop_comes_up_and_auto_follows_the_peer(pair: tuple[Host, Host]) -> None:
    a, b = pair
    a.want(a.setting(hop="auto"), a.setting(a.peer6, a.local6, hop="single"))
    b.want(b.setting(hop="multi"), b.setting(b.peer6, b.local6, hop="single"))
    a.start()
    b.start()
    assert a.reaches(UP).hop == "multi"
    assert a.reaches(UP, peer=a.peer6).hop == "single"
    b.want(b.setting(hop="single"))
    labs.wait_until(lambda: (found := a.state()) and (found.state, found.hop) == (UP, "single"), what="single hop")


def test_a_session_of_link_local_addresses_outlives_its_device(pair: tuple[Host, Host]) -> None:
    a, b = pair
    names = {host: host.local.replace("192.168.9.", "fe80::") + "%eth9" for host in pair}

    def make() -> None:
        run("ip", "link", "add", "eth9", "netns", a.name, "type", "veth", "peer", "name", "eth9", "netns", b.name)
        for host in pair:
            host.ip("link set eth9 addrgenmode none")
            host.ip(f"addr add {names[host].partition('%')[0]}/64 dev eth9 nodad")
            host.ip("link set eth9 up")

    make()
    try:
        for host, other in ((a, b), (b, a)):
            host.want(host.setting(names[other], names[host], hop="single"))
            host.start()
        a.reaches(UP, peer=names[b])
        a.ip("link del eth9")
        a.reaches(DOWN, peer=names[b])
        make()
        assert a.reaches(UP, peer=names[b]).ups == 2
    finally:
        a.ip("link del eth9")


def test_another_key_and_one_that_others_may_read_keep_a_session_down_and_say_so(pair: tuple[Host, Host]) -> None:
    a, b = pair
    a.want(a.setting(**a.secret("one key")))
    b.want(b.setting(**b.secret("another key")))
    a.start()
    b.start()
    labs.wait_until(lambda: counted(a, "auth-digest") and counted(b, "auth-digest"), what="refused packets")
    assert a.reaches(DOWN).ups == 0
    b.want(b.setting(**b.secret("one key", mode=0o644)))
    labs.wait_until(lambda: "others may read it" in b.problem(), what="the problem")
    assert "one key" not in b.problem()
    b.want(b.setting(**b.secret("one key")))
    assert a.reaches(UP).ups == 1
    assert b.problem() == ""


def test_settings_that_are_not_whole_change_nothing_and_nobody_has_to_read_that(pair: tuple[Host, Host]) -> None:
    a, b = pair
    reader, a.errors = os.pipe()
    os.close(reader)
    both_up(pair)
    os.close(a.errors)
    a.errors = None
    pid = a.pid()
    a.say(f"ack {a.peer} {'9' * 5000}\n")
    assert a.pid() == pid
    a.write("bfd.sessions", "session 192.168.9.2 192.168.9.1 mul")
    labs.wait_until(lambda: "not whole" in a.problem(), what="the problem")
    assert a.reaches(UP).downs == 0
    (a.directory / "bfd.sessions").unlink()  # as the agent does when it wants none
    a.say("poke\n")
    labs.wait_until(lambda: a.state() is None, what="no session")
    assert (b.reaches(DOWN).remote_state, b.reaches(DOWN).downs) == (0, 0)


def test_an_address_that_comes_later_is_taken_then(pair: tuple[Host, Host]) -> None:
    a, b = pair
    a.want(a.setting(local="192.168.9.50"))
    b.want(b.setting("192.168.9.50"))
    a.start()
    b.start()
    labs.wait_until(lambda: "cannot send" in a.problem(), what="the problem")
    a.ip("addr add 192.168.9.50/24 dev eth0")
    try:
        a.reaches(UP)
        assert a.problem() == ""
    finally:
        a.ip("addr del 192.168.9.50/24 dev eth0")


def test_bad_packets_and_a_flood_from_a_stranger_are_counted_and_leave_nothing(pair: tuple[Host, Host]) -> None:
    a, b = pair
    both_up(pair)
    state = a.reaches(UP)
    chance = random.Random(6)
    good = bytes((0x20, 0xC0, 3, 24, 0, 0, 0, 9)) + state.local_discriminator.to_bytes(4, "big") + bytes(12)
    with b.flood_source("192.168.9.66") as stranger, b.flood_source(b.local) as forger:
        forger.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
        for _ in range(500):
            octets = bytearray(good)
            for _ in range(chance.randrange(1, 5)):
                octets[chance.randrange(8)] = chance.randrange(256)
            forger.sendto(bytes(octets), (a.local, 3784))
            forger.sendto(bytes(octets[: chance.randrange(24)]), (a.local, 4784))
            stranger.sendto(bytes(octets), (a.local, chance.choice((3784, 4784))))
        began, count = time.monotonic(), 0
        while time.monotonic() < began + 1.0:
            while count < (time.monotonic() - began) * 10_000:
                stranger.sendto(good[:8] + b"\x01\x02\x03\x04" + good[12:], (a.local, 4784))
                count += 1
    labs.wait_until(lambda: dropped(a).get("unknown-session", 0) > count / 2, what="counted")
    after = a.reaches(UP)
    assert (after.downs, b.reaches(UP).downs) == (0, 0)
    assert after.dropped["address"]
    assert after.dropped["unknown-session"]  # of the other port
    assert after.dropped["length"]
    assert dropped(a)["version"]
    assert sum(line.startswith("state ") for line in a.lines()) == 1


def dropped(host: Host) -> dict[str, int]:
    found = (line.split(" ") for line in host.lines() if line.startswith("drop "))
    return {name: int(count) for _, name, count in found}
