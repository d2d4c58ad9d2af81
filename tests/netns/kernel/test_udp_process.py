"""`calicopy udp` as a process: what it waits for, what it says, and what it takes over while it runs."""
from __future__ import annotations

import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calicopy.udp import SETTINGS_FILE, STATUS_FILE
from calicopy.udp.settings import Settings, parse_status
from calicopy.unit import write_whole

pytestmark = pytest.mark.netns

DEVICE = "caliudp0"


def within(check: Callable[[], Any], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, what
        select.select([], [], [], 0.02)


class Forwarder:
    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        line = [sys.executable, "-m", "calicopy.udp.unit", "--run-dir", str(run_dir)]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)

    def ask(self, *, address: str = "192.168.0.1", port: int = 8285, nodes: tuple[str, ...] = ("192.168.0.2",)) -> None:
        settings = Settings(DEVICE, port, addresses=(address,), nodes={node: node for node in nodes})
        write_whole(str(self.run_dir / SETTINGS_FILE), settings.as_text())

    def says(self) -> str | None:
        """The error in its status, once there is one that is not older than this process."""
        try:
            status = parse_status((self.run_dir / STATUS_FILE).read_text())
        except FileNotFoundError:
            return None
        return status.error if status.pid == self.process.pid else None


@pytest.fixture
def forwarder(netns, tmp_path: Path) -> Iterator[Forwarder]:
    made = Forwarder(tmp_path)
    yield made
    made.process.kill()
    made.process.communicate()


def listening(port: int) -> bool:
    return any(line.split()[1].endswith(f":{port:04X}") for line in Path("/proc/self/net/udp").read_text().splitlines())


def carrier(netns) -> bool:
    return "LOWER_UP" in netns.ip(f"link show {DEVICE}")


def test_it_waits_for_its_settings_and_lets_go_when_they_are_taken_away(netns, forwarder: Forwarder) -> None:
    within(lambda: (forwarder.says() or "").startswith("waiting for"), "it waits")
    forwarder.ask()
    within(lambda: forwarder.says() == "", "it runs")
    netns.ip(f"link set {DEVICE} up")
    assert listening(8285)
    within(lambda: carrier(netns), "it holds the device")
    (forwarder.run_dir / SETTINGS_FILE).unlink()
    within(lambda: not listening(8285) and not carrier(netns), "it lets go")
    assert DEVICE in netns.ip("link show")


def test_another_port_is_opened_and_junk_changes_nothing(netns, forwarder: Forwarder) -> None:
    forwarder.ask()
    within(lambda: listening(8285), "it listens")
    write_whole(str(forwarder.run_dir / SETTINGS_FILE), "junk")
    forwarder.ask(nodes=("192.168.0.2", "192.168.0.3"))
    assert listening(8285)
    forwarder.ask(port=9000)
    within(lambda: listening(9000) and not listening(8285), "it listens on the other port")


def test_an_address_that_is_not_there_yet_is_said_and_waited_for(netns, forwarder: Forwarder) -> None:
    forwarder.ask(address="192.168.0.77")
    said = "cannot listen on 192.168.0.77 port 8285: Cannot assign requested address"
    within(lambda: forwarder.says() == said, "it says so")
    netns.ip("address add 192.168.0.77/24 dev va")
    within(lambda: forwarder.says() == "" and listening(8285), "it runs")


def test_a_device_that_is_deleted_is_made_again(netns, forwarder: Forwarder) -> None:
    forwarder.ask()
    within(lambda: forwarder.says() == "", "it runs")
    before = netns.index(DEVICE)
    netns.ip(f"link del {DEVICE}")
    within(lambda: DEVICE in netns.ip("link show") and netns.index(DEVICE) != before, "it is there again")


def test_sigterm_ends_it_and_leaves_the_device(netns, forwarder: Forwarder) -> None:
    forwarder.ask()
    within(lambda: forwarder.says() == "", "it runs")
    forwarder.process.send_signal(signal.SIGHUP)  # means nothing to it
    forwarder.process.terminate()
    assert forwarder.process.wait(5) == 0
    assert DEVICE in netns.ip("link show")
