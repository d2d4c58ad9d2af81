"""Colours: on a terminal alone."""
from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

ESCAPE = "\x1b["
COMMANDS = (["peers"], ["status"], ["routes"], ["ipam", "show", "--blocks"], ["peers", "node3"])


def on_a_terminal(socket: str, words: list[str], **environment: str) -> str:
    """What `calicopy WORDS` writes to a pseudo-terminal."""
    leader, follower = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [sys.executable, "-m", "calicopy", *words],
        stdout=follower,
        env={**kept, "TERM": "xterm", "CALICOPY_SOCKET": socket, **environment},
    )
    os.close(follower)
    written = b""
    try:
        while part := os.read(leader, 65536):
            written += part
    except OSError:  # EIO: the command has ended
        pass
    os.close(leader)
    assert process.wait(20) == 0
    return written.decode().replace("\r\n", "\n")


def test_a_terminal_gets_green_red_and_dim(agent):
    out = on_a_terminal(agent.socket, ["peers"])
    assert "\x1b[32mEstablished\x1b[0m" in out
    assert "\x1b[31mActive\x1b[0m" in out
    assert "\x1b[2mhold timer expired\x1b[0m" in out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_colours_change_nothing_but_the_colour(agent, calicopy, words):
    painted = on_a_terminal(agent.socket, words)
    assert ESCAPE in painted
    plain = calicopy(*words).out
    assert ESCAPE not in plain
    assert [line.split() for line in _without_escapes(painted).splitlines()] == [
        line.split() for line in plain.splitlines()
    ]


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colours_gets_none(agent, environment):
    assert ESCAPE not in on_a_terminal(agent.socket, ["peers"], **environment)


def _without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
