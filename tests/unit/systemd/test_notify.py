"""What the service manager is told, heard on a real socket."""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calicopy.agent.service import ServiceManager
from calicopy.core import events as ev
from calicopy.notify import notify, watchdog_every


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that a service manager listens on."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listening


def said(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def silent(manager: socket.socket) -> bool:
    manager.setblocking(False)
    try:
        manager.recv(1)
    except BlockingIOError:
        return True
    return False


def test_lines_go_out_in_one_message(manager):
    assert notify("READY=1", "STATUS=well")
    assert said(manager) == ["READY=1", "STATUS=well"]


def test_a_name_in_the_abstract_namespace_is_reached(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0calicopy-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@calicopy-test-{os.getpid()}")
        assert notify("READY=1")
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize("place", ["", "relative", "/nowhere/at/all", "vsock:2:1"])
def test_nobody_to_tell_is_no_error(monkeypatch, place):
    monkeypatch.setenv("NOTIFY_SOCKET", place)
    assert not notify("READY=1")


def test_a_manager_that_does_not_read_holds_nobody_up(manager):
    while notify("WATCHDOG=1"):
        pass


@pytest.mark.parametrize(
    ("time_us", "of", "every"),
    [("60000000", "", 15.0), ("60000000", "1", None), ("0", "", None), ("soon", "", None), (None, "", None)],
)
def test_signs_of_life_are_due_four_times_within_the_watchdog_time_of_this_process(monkeypatch, time_us, of, every):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.setenv("WATCHDOG_PID", of)
    if time_us is not None:
        monkeypatch.setenv("WATCHDOG_USEC", time_us)
    assert watchdog_every() == every


class Node:
    name = "n1"


class Drainer:
    class phase:  # noqa: N801 - stands for an enum's member
        value = "active"


class Kernel:
    dumped = False


class PartOfCore:
    """What the service manager's side reads of the core."""

    def __init__(self) -> None:
        self.kernel, self.node, self.drainer = Kernel(), Node(), Drainer()
        self.peers: dict[str, object] = {}


def test_the_agent_is_ready_when_it_serves_and_knows_the_kernel_and_then_lives_by_its_steps(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "40000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    core, posted, changing = PartOfCore(), [], [False]
    told = ServiceManager(core, posted.append, changing=lambda: changing[0])
    assert said(manager) == ["STATUS=starting: reading the kernel's routes"]
    told.stepped(100.0)
    assert said(manager) == ["WATCHDOG=1"]
    told.serving()
    assert posted == [ev.Ticked()]
    told.stepped(100.1)
    core.kernel.dumped = True
    told.stepped(100.2)
    assert said(manager) == ["READY=1", "STATUS=node n1, active: 0 of 0 peers established"]
    told.stepped(104.0)
    told.stepped(105.3)
    assert said(manager) == ["WATCHDOG=1"]
    told.reloading()
    assert said(manager)[0] == "RELOADING=1"
    changing[0] = True
    told.stepped(106.0)
    changing[0] = False
    told.stepped(107.0)
    assert said(manager) == ["READY=1"]
    told.stopping()
    assert said(manager)[0] == "STOPPING=1"
    assert silent(manager)


@pytest.mark.parametrize(
    ("module", "option", "status"),
    [
        ("calicopy.udp.unit", "--run-dir", "STATUS=waiting for {}/udp.settings"),
        ("calicopy.speaker.unit", "--config", "STATUS=waiting for {}"),
        ("calicopy.bfd.process.unit", "--run-dir", "STATUS=waiting for {}/bfd.sessions"),
    ],
)
def test_each_process_is_ready_before_the_agent_has_written_a_word_and_ends_at_sigterm(
    manager, tmp_path, module, option, status
):
    place = tmp_path / "run"
    if option == "--run-dir":
        place.mkdir()
    with subprocess.Popen([sys.executable, "-m", module, option, str(place)], stderr=subprocess.DEVNULL) as process:
        try:
            heard: list[str] = []
            while not {"READY=1", status.format(place)} <= set(heard):
                heard += said(manager)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) in (0, -signal.SIGTERM)
        finally:
            process.kill()
