"""The runner itself, in the namespaces that it makes on the host; each test beside this one shows it with a guest."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns
RUN = [sys.executable, str(Path(__file__).resolve().parent / "run.py"), "--where", "host"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_exit_code_of_the_command_comes_back() -> None:
    assert run("--", "sh", "-c", "exit 7").returncode == 7


def test_the_command_sees_no_network_and_no_namespaces_but_its_own() -> None:
    ended = run("--", "sh", "-c", "ls /run/netns; ip -o link show up")
    assert [line.split(": ")[1] for line in ended.stdout.splitlines()[1:]] == ["lo"]


def test_a_command_that_takes_too_long_is_ended_with_all_it_started() -> None:
    mark = f"3600.{time.monotonic_ns()}"
    ended = run("--timeout", "1", "--", "sh", "-c", f"setsid sleep {mark} & exec sleep {mark}")
    assert ended.returncode == 124
    assert "out of time after 1 s" in ended.stderr
    deadline = time.monotonic() + 5
    while mark in (left := "".join(commands())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert mark not in left


def commands() -> list[str]:
    """The command lines of all processes."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # ended meanwhile
            continue
    return [command for command in found if "run.py" not in command]
