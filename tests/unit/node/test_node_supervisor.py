"""The supervisor, as a real process with real children."""
from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calicopy.node import Service, Supervisor, main, node_services, process_identity

PROGRAM = """
import sys
from calicopy.node import Service, Supervisor
run_dir, agent, other, needed = sys.argv[1:]
python = sys.executable
services = [
    Service("speaker", (python, "-c", other, "speaker")),
    *(
        Service(name, (python, "-c", other, name), needs=f"{run_dir}/{needed}")
        for name in ("udp", "bfd") if needed
    ),
    Service("agent", (python, "-c", agent, "agent")),
]
sys.exit(Supervisor(run_dir, services, stop_timeout=1.0).run())
"""
SLEEPER = "import time; time.sleep(600)"
REPORTER = """
import os, signal, time
def hup(*_): open(os.environ["REPORT"], "a").write("hup\\n")
signal.signal(signal.SIGHUP, hup)
open(os.environ["REPORT"], "a").write("ready\\n")
while True: time.sleep(600)
"""
TALKER = """
import os, signal, sys, time
def say(what): open(os.environ["REPORT"], "a").write(f"{sys.argv[1]} {what}\\n")
def term(*_):
    say("told")
    time.sleep(0.05)
    say("ended")
    sys.exit()
signal.signal(signal.SIGTERM, term)
say("ready")
while True: time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ignores_sigterm(pid: int) -> bool:
    """Whether the process has come so far (SigIgn of proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("SigIgn:"))
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


class Node:
    """Supervisors over one run directory, all ended at the end."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.started: list[subprocess.Popen[bytes]] = []
        self.services: dict[int, str] = {}  # those at each start, by pid: a test may remove their locks

    def start(self, agent: str = SLEEPER, *, other: str = SLEEPER, needed: str = "") -> subprocess.Popen[bytes]:
        environment = {**os.environ, "REPORT": str(self.run_dir / "report")}
        program = [sys.executable, "-c", PROGRAM, str(self.run_dir), agent, other, needed]
        process = subprocess.Popen(program, env=environment)
        self.started.append(process)
        eventually(lambda: self.is_up(process))
        self.services |= {self.pid(name): (self.run_dir / f"{name}.lock").read_text() for name in ("speaker", "agent")}
        return process

    def is_up(self, process: subprocess.Popen[bytes]) -> bool:
        return self.pid("node") == process.pid and all(self.is_alive(name) for name in ("speaker", "agent"))

    def pid(self, name: str) -> int:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((self.run_dir / f"{name}.lock").read_text().split()[0])
        return 0

    def is_alive(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            return process_identity(self.pid(name)) == (self.run_dir / f"{name}.lock").read_text()
        return False

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
        for name in ("speaker", "udp", "agent"):
            if self.is_alive(name):
                os.kill(self.pid(name), signal.SIGKILL)
        for pid, identity in self.services.items():
            with contextlib.suppress(OSError):
                if process_identity(pid) == identity:
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    run = Node(tmp_path)
    yield run
    run.end()


def test_a_killed_agent_is_started_again_at_once_and_the_speaker_stays(node: Node) -> None:
    node.start()
    speaker, agent = node.pid("speaker"), node.pid("agent")
    os.kill(agent, signal.SIGKILL)
    eventually(lambda: node.pid("agent") != agent and node.is_alive("agent"), 2.0)
    assert node.pid("speaker") == speaker


def test_a_service_that_keeps_ending_is_started_ever_more_slowly(node: Node, tmp_path: Path) -> None:
    counter = "import os; open(os.environ['REPORT'], 'a').write('x')"
    subprocess_environment = {**os.environ, "REPORT": str(tmp_path / "report")}
    program = [sys.executable, "-c", PROGRAM, str(tmp_path), counter, SLEEPER, ""]
    node.started.append(subprocess.Popen(program, env=subprocess_environment))
    eventually(lambda: (tmp_path / "report").exists() and len((tmp_path / "report").read_text()) >= 3)
    began = time.monotonic()
    eventually(lambda: len((tmp_path / "report").read_text()) >= 4)
    assert time.monotonic() - began > 0.5


def test_a_run_directory_that_is_gone_ends_neither_the_supervisor_nor_its_restarts(node: Node) -> None:
    supervisor = node.start()
    agent = node.pid("agent")
    shutil.rmtree(node.run_dir)
    os.kill(agent, signal.SIGKILL)
    eventually(lambda: node.is_alive("agent"))
    assert supervisor.poll() is None
    assert node.pid("agent") != agent


def test_a_lock_that_cannot_be_opened_is_tried_again(node: Node) -> None:
    supervisor = node.start()
    agent, path = node.pid("agent"), node.run_dir / "agent.lock"
    path.unlink()
    path.mkdir()
    os.kill(agent, signal.SIGKILL)
    time.sleep(0.2)  # it has tried in vain by now
    assert supervisor.poll() is None
    path.rmdir()
    eventually(lambda: node.is_alive("agent"))


def test_killing_the_supervisor_leaves_both_running_and_the_next_one_adopts_them(node: Node) -> None:
    first = node.start()
    pids = node.pid("speaker"), node.pid("agent")
    first.kill()
    first.wait()
    node.start()
    assert (node.pid("speaker"), node.pid("agent")) == pids
    os.kill(pids[1], signal.SIGKILL)
    eventually(lambda: node.pid("agent") != pids[1] and node.is_alive("agent"), 3.0)
    assert node.pid("speaker") == pids[0]


def test_a_second_supervisor_refuses_and_names_the_first(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    first = node.start()
    assert main(["--run-dir", str(node.run_dir)]) == 1
    assert str(first.pid) in capsys.readouterr().err


def test_sighup_reaches_the_agent_alone(node: Node, tmp_path: Path) -> None:
    supervisor = node.start(REPORTER)
    report = tmp_path / "report"
    eventually(lambda: report.exists() and "ready" in report.read_text())
    supervisor.send_signal(signal.SIGHUP)
    eventually(lambda: "hup" in report.read_text())
    assert node.is_up(supervisor)


@pytest.mark.parametrize("agent", [SLEEPER, DEAF], ids=["one that obeys", "one that ignores SIGTERM"])
def test_sigterm_ends_both_services_and_then_the_supervisor(node: Node, agent: str) -> None:
    supervisor = node.start(agent)
    eventually(lambda: agent != DEAF or ignores_sigterm(node.pid("agent")))
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 0
    assert not node.is_alive("speaker")
    assert not node.is_alive("agent")


def test_a_service_that_needs_a_file_runs_only_while_it_is_there(node: Node, tmp_path: Path) -> None:
    supervisor = node.start(needed="wanted")
    assert not node.is_alive("udp")
    (tmp_path / "wanted").touch()
    eventually(lambda: node.is_alive("udp"), 2.0)
    first = node.pid("udp")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: node.pid("udp") != first and node.is_alive("udp"), 2.0)
    (tmp_path / "wanted").unlink()
    eventually(lambda: not node.is_alive("udp"), 2.0)
    (tmp_path / "wanted").touch()
    eventually(lambda: node.is_alive("udp"), 5.0)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 0
    assert not node.is_alive("udp")


def test_the_services_are_the_speaker_unit_the_forwarder_and_the_agent_with_its_arguments() -> None:
    speaker, udp, bfd, agent = node_services("/run/x", ["--node", "n1"])
    assert udp.command[1:] == ("-m", "calicopy.udp.unit", "--run-dir", "/run/x")
    assert udp.needs == "/run/x/udp.settings"
    assert bfd.command[1:] == ("-m", "calicopy.bfd.process.unit", "--run-dir", "/run/x")
    assert bfd.needs == "/run/x/bfd.sessions"
    assert bfd.realtime
    assert speaker.command[1:] == ("-m", "calicopy.speaker.unit", "--config", "/run/x/exabgp.conf")
    assert agent.command[1:] == ("-m", "calicopy", "agent", "--node", "n1")


def test_a_stop_ends_the_services_from_the_last_to_the_first_and_the_speaker_last(node: Node) -> None:
    """So BFD says AdminDown, and ExaBGP closes its sessions, only when the agent has left its state."""
    names = [service.name for service in node_services("/run/calicopy", ())]
    assert names[::-1] == ["agent", "bfd", "udp", "speaker"]
    (node.run_dir / "wanted").touch()
    process = node.start(TALKER, other=TALKER, needed="wanted")
    report = node.run_dir / "report"
    eventually(lambda: report.exists() and len(report.read_text().splitlines()) == len(names))
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert report.read_text().splitlines()[len(names):] == [
        f"{name} {what}" for name in reversed(names) for what in ("told", "ended")
    ]


def test_help_and_wrong_usage_have_their_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main(["--run-dir"]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_process_that_cannot_be_watched_does_not_count_as_one_that_runs(tmp_path: Path) -> None:
    """Else nobody would start the service again."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    service = Service("bfd", ("true",))
    with pytest.raises(ProcessLookupError):
        Supervisor(str(tmp_path), [service])._watch(service, ended.pid)
    assert (service.pid, service.descriptor) == (0, -1)
