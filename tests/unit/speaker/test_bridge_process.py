"""The bridge as a real process: we are ExaBGP at its pipes and the agent at its socket."""
from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

BRIDGE = Path(__file__).parents[3] / "calicopy" / "speaker" / "bridge.py"
LOCAL, PEER = "10.0.0.1", "10.0.0.2"


def event(kind: str, content: str, counter: int = 1, peer: str = PEER) -> bytes:
    text = (
        f'{{ "exabgp": "5.0.0", "time": 1.5, "host" : "h", "pid" : 1, "ppid" : 1, "counter": {counter}, '
        f'"type": "{kind}", "neighbor": {{ "address": {{ "local": "{LOCAL}", "peer": "{peer}" }}, '
        f'"asn": {{ "local": 1, "peer": 1 }} , {content} }} }}\n'
    )
    return text.encode()


def packet(category: int, body: str, direction: str = "receive", counter: int = 1) -> bytes:
    kind = {1: "open", 2: "update", 3: "notification"}[category]
    message = f'"message": {{ "category": {category}, "header": "0xff", "body": "0x{body}" }} '
    return event(kind, f'"direction": "{direction}", {message}', counter)


UP = event("state", '"state": "up"')
DOWN = event("state", '"state": "down", "reason": "peer closed"')
SESSION_UP = packet(1, "aa", "send") + packet(1, "bb") + UP


class Agent:
    """The agent's end of the socket."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 5
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                assert time.monotonic() < deadline, "the bridge does not listen"
                time.sleep(0.01)
        self.socket.settimeout(5)
        self.buffer = b""

    def line(self) -> bytes:
        while b"\n" not in self.buffer:
            chunk = self.socket.recv(1 << 20)
            if not chunk:
                raise EOFError
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def until(self, start: bytes) -> list[bytes]:
        lines = [self.line()]
        while not lines[-1].startswith(start):
            lines.append(self.line())
        return lines

    def send(self, text: bytes) -> None:
        self.socket.sendall(text)

    def close(self) -> None:
        self.socket.close()


class Rig:
    """A bridge whose parent, and so ExaBGP, is this process."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.path = str(directory / "s.sock")
        command = [sys.executable, "-I", "-S", str(BRIDGE), "--socket", self.path, *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.agents: list[Agent] = []
        self.read = b""

    def feed(self, data: bytes) -> None:
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) or 0 :]

    def command(self, seconds: float = 5.0) -> bytes:
        """The next command line that reaches ExaBGP, without the spaces that keep it awake."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self.read:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "no command came"
            self.read += os.read(self.process.stdout.fileno(), 1 << 16)
        line, self.read = self.read.split(b"\n", 1)
        return line.strip()

    def silent(self, seconds: float = 0.2) -> bool:
        assert self.process.stdout is not None
        return not self.read.strip() and not select.select([self.process.stdout], [], [], seconds)[0]

    def agent(self) -> Agent:
        self.agents.append(Agent(self.path))
        return self.agents[-1]

    def end(self) -> None:
        for agent in self.agents:
            agent.close()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    bridge = Rig(tmp_path, "--config", "cafe")
    yield bridge
    bridge.end()


def test_it_never_blocks_exabgp_when_no_agent_is_there(rig: Rig) -> None:
    line = packet(2, "00" * 2000)
    began = time.monotonic()
    for _ in range(20):
        rig.feed(line * 500)
    assert time.monotonic() - began < 10  # 40 MB through a pipe that holds 1


def test_the_first_agent_gets_all_that_was_said_since_the_start(rig: Rig) -> None:
    rig.feed(SESSION_UP + packet(2, "00000000", counter=4))
    agent = rig.agent()
    lines = agent.until(b"#ready")
    assert [line.split()[0] for line in lines] == [b"#hello", b"#ready"]
    hello = json.loads(lines[0].split(b" ", 1)[1])
    assert hello["config"] == "cafe"
    assert hello["exabgp"] == os.getpid()
    assert hello["bridge"] == rig.process.pid
    assert b'"body": "0x00000000"' in [agent.line() for _ in range(4)][-1]


def test_a_later_agent_gets_the_last_state_and_both_opens_of_each_peer(rig: Rig) -> None:
    rig.feed(SESSION_UP)
    first = rig.agent()
    first.until(b"#ready")
    first.close()
    rig.feed(event("state", '"state": "down", "reason": "gone"', peer="10.0.0.9"))
    second = rig.agent()
    peers = {peer["peer"]: peer for peer in (json.loads(line[6:]) for line in second.until(b"#ready")[1:-1])}
    assert peers[PEER]["state"] == "ESTABLISHED"
    assert (peers[PEER]["local_open"], peers[PEER]["peer_open"]) == ("aa", "bb")
    assert peers["10.0.0.9"] == {"peer": "10.0.0.9", "state": "IDLE", "reason": "gone", "since": 0.0}


def test_a_session_that_went_down_leaves_no_opens_behind(rig: Rig) -> None:
    first = rig.agent()
    first.until(b"#ready")
    rig.feed(SESSION_UP + DOWN)
    for _ in range(4):
        first.line()
    first.close()
    (peer,) = (json.loads(line[6:]) for line in rig.agent().until(b"#ready")[1:-1])
    assert peer["reason"] == "peer closed"
    assert "peer_open" not in peer


def test_a_second_agent_is_refused_and_told_who_holds_the_bridge(rig: Rig) -> None:
    rig.agent().until(b"#ready")
    second = rig.agent()
    assert second.line() == b'#refused {"pid": %d}' % os.getpid()
    with pytest.raises(EOFError):
        second.line()


def test_an_agent_may_take_the_place_of_one_that_died(rig: Rig) -> None:
    for _ in range(5):
        agent = rig.agent()
        agent.until(b"#ready")
        agent.close()


def test_the_socket_is_closed_to_other_users(rig: Rig) -> None:
    rig.agent().until(b"#ready")
    assert Path(rig.path).stat().st_mode & 0o777 == 0o660


def test_commands_go_out_one_at_a_time_and_each_gets_its_answer(rig: Rig) -> None:
    agent = rig.agent()
    agent.until(b"#ready")
    agent.send(b"1 first\n2 second\n3 third\n")
    assert rig.command() == b"first"
    assert rig.silent()
    rig.feed(b"done\n")
    assert rig.command() == b"second"
    rig.feed(b"error\n")
    assert rig.command() == b"third"
    rig.feed(b"exabgp 5.0\ndone\n")
    answers = agent.until(b"#answer 3")
    assert answers == [b"#answer 1 done", b"#answer 2 error", b"#output 3 exabgp 5.0", b"#answer 3 done"]


BULK = b"neighbor 10.0.0.2 announce attributes next-hop 10.0.0.1 origin igp as-path [ ] nlri 10.1.%d.0/24"


def test_short_announcements_follow_each_other_and_their_answers_come_in_their_order(rig: Rig) -> None:
    agent = rig.agent()
    agent.until(b"#ready")
    lines = [BULK % number for number in range(20)]
    agent.send(b"".join(b"%d %s\n" % (number, line) for number, line in enumerate(lines)) + b"20 other\n")
    assert [rig.command() for _ in range(16)] == lines[:16]
    rig.feed(b"done\n" * 3 + b"error\n")
    assert [rig.command() for _ in range(4)] == lines[16:]
    rig.feed(b"done\n" * 16)
    assert rig.command() == b"other"  # of another kind: alone
    rig.feed(b"done\n")
    answers = agent.until(b"#answer 20")
    assert answers == [b"#answer %d %s" % (number, b"error" if number == 3 else b"done") for number in range(21)]


def test_a_time_out_ends_all_announcements_under_way_and_their_late_answers_are_nobodys(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "--answer-timeout", "0.3")
    try:
        agent = rig.agent()
        agent.until(b"#ready")
        agent.send(b"".join(b"%d %s\n" % (number, BULK % number) for number in range(3)) + b"3 next\n")
        assert [rig.command() for _ in range(3)] == [BULK % number for number in range(3)]
        assert agent.until(b"#answer 2") == [b"#answer %d timeout" % number for number in range(3)]
        assert rig.command() == b"show neighbor json"
        rig.feed(b"done\n" * 3 + b"[]\ndone\n")
        assert rig.command() == b"next"
        rig.feed(b"done\n")
        assert agent.line() == b"#answer 3 done"
    finally:
        rig.end()


def test_an_agent_never_gets_an_answer_to_its_predecessors_command_of_the_same_number(rig: Rig) -> None:
    agent = rig.agent()
    agent.until(b"#ready")
    agent.send(b"1 %s\n2 %s\n" % (BULK % 1, BULK % 2))
    assert [rig.command(), rig.command()] == [BULK % 1, BULK % 2]
    agent.close()
    second = rig.agent()
    second.until(b"#ready")
    second.send(b"1 anew\n")
    rig.feed(b"error\nerror\n")
    assert rig.command() == b"anew"
    rig.feed(b"done\n")
    assert second.line() == b"#answer 1 done"


def test_half_a_command_of_an_agent_that_dies_never_reaches_exabgp(rig: Rig) -> None:
    agent = rig.agent()
    agent.until(b"#ready")
    agent.send(b"1 whole\n2 neighbor 10.0.0.2 announce rou")
    assert rig.command() == b"whole"
    agent.close()
    rig.feed(b"done\n")
    assert rig.silent()
    second = rig.agent()
    second.until(b"#ready")
    second.send(b"1 anew\n")
    assert rig.command() == b"anew"


@pytest.mark.parametrize("text", [b"neighbor \xff", b"x" * (1 << 20), b" "], ids=["not ASCII", "over 1 MiB", "empty"])
def test_a_command_that_would_harm_exabgp_is_refused(rig: Rig, text: bytes) -> None:
    agent = rig.agent()
    agent.until(b"#ready")
    agent.send(b"7 " + text + b"\n")
    assert agent.line() == b"#answer 7 error"
    assert rig.silent(0.05)


def test_a_missing_answer_times_out_and_late_ones_are_not_taken_for_others(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "--answer-timeout", "0.3")
    try:
        agent = rig.agent()
        agent.until(b"#ready")
        agent.send(b"1 lost\n2 next\n")
        assert rig.command() == b"lost"
        assert agent.line() == b"#answer 1 timeout"
        assert rig.command() == b"show neighbor json"
        rig.feed(b"done\n")  # of the first, late
        assert rig.silent(0.1)
        rig.feed(b"[]\ndone\n")
        assert rig.command() == b"next"
        rig.feed(b"done\n")
        assert agent.line() == b"#answer 2 done"
    finally:
        rig.end()


def test_late_answers_that_look_like_the_awaited_one_are_all_waited_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "--answer-timeout", "0.4")
    try:
        agent = rig.agent()
        agent.until(b"#ready")
        agent.send(b"1 show neighbor json\n2 next\n")
        assert [rig.command(), rig.command()] == [b"show neighbor json"] * 2  # the agent's, then the bridge's own
        assert agent.line() == b"#answer 1 timeout"
        rig.feed(b"[]\ndone\n")
        assert rig.silent(0.1)
        rig.feed(b"[]\ndone\n")
        assert rig.command() == b"next"
        rig.feed(b"done\n")
        assert agent.line() == b"#answer 2 done"
    finally:
        rig.end()


def test_an_overdue_answer_that_never_comes_holds_nothing_up_for_ever(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "--answer-timeout", "0.3")
    try:
        agent = rig.agent()
        agent.until(b"#ready")
        agent.send(b"1 show neighbor json\n2 next\n")
        assert [rig.command(), rig.command()] == [b"show neighbor json"] * 2
        rig.feed(b"[]\ndone\n")
        assert rig.command() == b"next"
    finally:
        rig.end()


def test_an_agent_is_greeted_by_a_bridge_that_was_killed_though_an_answer_got_lost(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    first.feed(SESSION_UP)
    first.agent().until(b"#ready")
    first.end()
    rig = Rig(tmp_path, "--answer-timeout", "0.3")
    try:
        agent = rig.agent()
        assert [rig.command(), rig.command()] == [b"show neighbor json"] * 2
        rig.feed(b"[]\ndone\n")
        assert agent.until(b"#ready")
    finally:
        rig.end()


def test_a_slow_agent_costs_updates_that_are_counted_but_no_states(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "--backlog-bytes", "1000000")
    try:
        agent = rig.agent()
        agent.until(b"#ready")
        for counter in range(3000):
            rig.feed(packet(2, "00" * 1000, counter=counter))
        rig.feed(DOWN)
        lines = agent.until(b"#lost")
        received = sum(b'"type": "update"' in line for line in lines)
        lost = json.loads(lines[-1][6:])["lines"]
        assert received + lost == 3000
        assert lost > 1000
        if not any(b'"state": "down"' in line for line in lines):
            assert b'"state": "down"' in agent.line()
    finally:
        rig.end()


def test_a_bridge_that_was_killed_knows_the_opens_again(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    first.feed(SESSION_UP)
    agent = first.agent()
    agent.until(b"#ready")
    assert b'"up"' in [agent.line() for _ in range(3)][-1]
    while not (tmp_path / "s.sock.peers").exists():
        time.sleep(0.01)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = Rig(tmp_path)
    try:
        listed = [{"peer": {"address": PEER}, "fsm": "ESTABLISHED", "state": "down", "duration": 0}]
        assert second.command() == b"show neighbor json"
        second.feed(json.dumps(listed).encode() + b"\ndone\n")
        (peer,) = (json.loads(line[6:]) for line in second.agent().until(b"#ready")[1:-1])
        assert (peer["state"], peer["local_open"], peer["peer_open"]) == ("ESTABLISHED", "aa", "bb")
    finally:
        first.end()
        second.end()


def test_a_bridge_that_was_killed_forgets_opens_of_a_session_that_is_newer(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    first.feed(SESSION_UP)
    agent = first.agent()
    agent.until(b"#ready")
    for _ in range(3):
        agent.line()
    while not (tmp_path / "s.sock.peers").exists():
        time.sleep(0.01)
    first.end()
    kept = json.loads((tmp_path / "s.sock.peers").read_text())
    kept["peers"][PEER]["since"] -= 60
    (tmp_path / "s.sock.peers").write_text(json.dumps(kept))
    second = Rig(tmp_path)
    try:
        assert second.command() == b"show neighbor json"
        listed = [{"peer": {"address": PEER}, "fsm": "ESTABLISHED", "state": "up", "duration": 2}]
        second.feed(json.dumps(listed).encode() + b"\ndone\n")
        (peer,) = (json.loads(line[6:]) for line in second.agent().until(b"#ready")[1:-1])
        assert peer["state"] == "ESTABLISHED"
        assert "peer_open" not in peer
    finally:
        second.end()


def test_a_broken_line_is_reported_and_the_next_one_passes(rig: Rig) -> None:
    agent = rig.agent()
    agent.until(b"#ready")
    rig.feed(b'{ "exabgp": \xff\xfe cut\n' + UP)
    assert agent.line().startswith(b"#bad ")
    assert b'"up"' in agent.line()


def test_it_ends_when_exabgp_ends(rig: Rig) -> None:
    assert rig.process.stdin is not None
    rig.process.stdin.close()
    assert rig.process.wait(5) == 0


def test_a_long_command_is_followed_by_spaces_that_keep_exabgp_turning(rig: Rig) -> None:
    agent = rig.agent()
    agent.until(b"#ready")
    agent.send(b"1 " + b"x" * 3000 + b"\n")
    assert rig.command() == b"x" * 3000
    assert rig.process.stdout is not None
    assert set(os.read(rig.process.stdout.fileno(), 4096)) == {ord(" ")}
