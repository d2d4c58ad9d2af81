"""What the agent makes of the forwarder's word."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from calicopy.agent.udp_edge import SILENT_S, UdpEdge
from calicopy.udp import SETTINGS_FILE, STATUS_FILE
from calicopy.udp.settings import Status


@pytest.fixture
def edge(tmp_path: Path) -> UdpEdge:
    made = UdpEdge(tmp_path, lambda event: None)
    made.configure(wanted=True)
    return made


def status(tmp_path: Path, **other: Any) -> None:
    words = {"pid": 7, "said": time.monotonic(), "error": "", "counters": {"in_packets": 3}} | other
    (tmp_path / STATUS_FILE).write_text(Status(**words).as_text())


def long_ago(edge: UdpEdge) -> None:
    edge._wanted_since = time.monotonic() - SILENT_S - 1


def test_a_forwarder_that_has_just_been_asked_for_may_take_its_time(edge: UdpEdge) -> None:
    assert edge._look() == ""


def test_one_that_says_nothing_does_not_run(edge: UdpEdge, tmp_path: Path) -> None:
    long_ago(edge)
    assert "does not run" in edge._look()
    status(tmp_path, said=time.monotonic() - SILENT_S - 1, error="old")
    assert "does not run" in edge._look()


def test_its_error_and_its_counters_are_shown(edge: UdpEdge, tmp_path: Path) -> None:
    status(tmp_path, error="there is no /dev/net/tun")
    assert edge._look() == "there is no /dev/net/tun"
    assert edge.counters == {"udp.in_packets": 3}
    edge.configure(wanted=False)
    assert edge._look() == ""
    assert edge.counters == {}


@pytest.mark.parametrize("text", ["", "{}", "pid 7\n", "pid 7\ntime x\n", "pid 7\ntime 1\ncounter in_packets\n"])
def test_a_status_that_cannot_be_read_is_said(edge: UdpEdge, tmp_path: Path, text: str) -> None:
    (tmp_path / STATUS_FILE).write_text(text)
    assert "cannot be read" in edge._look()


def test_a_file_without_udp_takes_the_settings_away(edge: UdpEdge, tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("{}")
    edge.configure(wanted=False)
    edge.configure(wanted=False)
    assert not (tmp_path / SETTINGS_FILE).exists()
