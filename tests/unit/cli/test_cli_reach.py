"""Finding the agent: sockets, rights, TCP with mutual TLS, and what is said when it cannot be reached."""
from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_agent import peer_view

from calicopy.core.views import ChangeView


def start(*words: str, socket_path: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "CALICOPY_SOCKET": socket_path}
    command = [sys.executable, "-m", "calicopy", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_no_socket_is_told_with_what_to_do(bare, tmp_path):
    done = bare("peers")
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines()[:2] == [
        "calicopy: no agent is running here",
        f"  {tmp_path}/none.sock: there is no such socket",
    ]


def test_the_socket_of_a_dead_agent_is_told(bare, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "none.sock"))
    done = bare("status")
    assert done.code == 3
    assert "nobody listens there any more" in done.err


def test_an_agent_that_does_not_answer_is_waited_for_as_long_as_asked(bare, tmp_path):
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "none.sock"))
        deaf.listen(8)
        done = bare("peers", "--timeout", "0.3")
    assert done.code == 3
    assert "no answer within 0.3 s" in done.err


def test_a_path_that_is_no_socket_is_told(bare, tmp_path):
    (tmp_path / "none.sock").write_text("")
    done = bare("peers")
    assert done.code == 3
    assert "none.sock" in done.err


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter."""
    made = Path(tempfile.mkdtemp(prefix="calicopy-cli-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_reading_falls_back_to_the_read_only_socket(calicopy, agent, open_directory):
    for name in ("calicopy.sock", "calicopy-ro.sock"):
        os.link(Path(agent.settings.run_dir) / name, open_directory / name)
    (open_directory / "calicopy.sock").chmod(0o600)
    (open_directory / "calicopy-ro.sock").chmod(0o666)
    place = ["--socket", str(open_directory / "calicopy.sock")]
    assert calicopy("workload", "list", *place).code == 0  # loads what the commands below need, as root
    assert calicopy("peers", *place).code == 0
    os.seteuid(65534)
    try:
        reading, changing = calicopy("peers", *place), calicopy("workload", "detach", "pod1", *place)
    finally:
        os.seteuid(0)
    assert reading.code == 0
    assert "node2" in reading.out
    assert changing.code == 3
    assert changing.err.startswith("calicopy: permission denied:")


def test_a_change_on_the_read_only_socket_is_refused(calicopy, agent):
    done = calicopy("workload", "attach", "pod1", "pod1", "--socket", agent.settings.read_only_socket_path)
    assert done.code == 4
    assert "read-only socket" in done.err


def test_the_api_over_tcp_is_reached_with_a_client_certificate(tls_agent, tls_files, bare):
    address = str(tls_agent.settings.api.listen)
    words = ["--server", address, "--ca", str(tls_files.ca)]
    done = bare("peers", *words, "--cert", str(tls_files.client[0]), "--key", str(tls_files.client[1]))
    assert done.code == 0
    assert "node2" in done.out
    stranger = bare("peers", *words, "--cert", str(tls_files.stranger[0]), "--key", str(tls_files.stranger[1]))
    assert stranger.code == 3
    assert address in stranger.err


def test_watch_prints_changes_until_interrupted(agent):
    with start("watch", "peers", socket_path=agent.socket) as watching:
        seen = []
        while "in sync" not in (line := watching.stdout.readline()):
            seen.append(line)
        agent.do(lambda: agent.backend.publish(ChangeView(peer_view("node4", "192.0.2.4"))))
        changed = watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 0
        assert watching.stderr.read() == ""
    assert [line.split()[1:4] for line in seen] == [["peer", "node2", "Established"], ["peer", "node3", "Active"]]
    assert "node4 Established" in changed


def test_watch_ends_with_an_error_when_the_agent_stops(agent):
    with start("watch", "--changes-only", "-o", "json", socket_path=agent.socket) as watching:
        agent.wait_watched()
        agent.do(lambda: agent.backend.publish(ChangeView(peer_view("node4", "192.0.2.4"))))
        assert '"name": "node4"' in watching.stdout.readline()
        agent.stop()
        assert watching.wait(10) == 3
        assert "the agent stops" in watching.stderr.read()


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback(agent):
    with start("watch", "-o", "json", socket_path=agent.socket) as watching:
        watching.stdout.readline()
        watching.stdout.close()
        agent.wait_watched()
        agent.do(lambda: agent.backend.publish(*[ChangeView(peer_view("node4", "192.0.2.4"))] * 50))
        watching.wait(10)
        assert "Traceback" not in watching.stderr.read()
