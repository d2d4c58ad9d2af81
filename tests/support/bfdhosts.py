"""Two BFD processes in two namespaces, without an agent: what is asked of them, and what they say."""
from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import labs

from calicopy.bfd.process.realtime import schedule
from calicopy.bfd.process.settings import SessionSetting, StateLine, format_sessions, parse_state

DOWN, UP = 1, 3
NEXT_HOP, LINK_LOCAL, GROUP, ALONE = 0x0CA10001, 0x0CA10002, 0x0CA10003, 0x0CA10004
OTHER, FOREIGN = 0x0CA10005, 0x0CA10006
DETECTION_S, INTERVAL_S = 0.3, 0.1
ETH_P_IP, SO_TIMESTAMPNS = 0x0800, 35
LIBC = ctypes.CDLL(None, use_errno=True)


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class Host:
    """A namespace with a BFD process. The other one is `peer`."""

    def __init__(self, directory: Path, number: int) -> None:
        self.name = f"bfdp{os.getpid() % 10000}{'ab'[number - 1]}"
        self.local, self.peer = f"192.168.9.{number}", f"192.168.9.{3 - number}"
        self.local6, self.peer6 = f"fd09::{number}", f"fd09::{3 - number}"
        self.directory = directory
        self.key = directory / "key"
        self.process: subprocess.Popen[bytes] | None = None
        self.errors: int | None = None  # where it writes what is wrong
        directory.mkdir()
        run("ip", "netns", "add", self.name)
        self.ip("link set lo up")

    def ip(self, command: str) -> str:
        return run("ip", "-n", self.name, *command.split())

    def nft(self, rules: str) -> None:
        run("ip", "netns", "exec", self.name, "nft", "-f", "-", stdin=rules)

    def setting(self, peer: str = "", local: str = "", **other: Any) -> SessionSetting:
        peer = peer or self.peer
        return SessionSetting(peer, local or self.local, next_hops=(peer,), **other)

    def secret(self, key: str = "a key", mode: int = 0o600) -> dict[str, Any]:
        self.key.write_text(f"{key}\n")
        self.key.chmod(mode)
        return {"auth_type": "meticulous-sha1", "auth_key_id": 3, "auth_key_file": str(self.key)}

    def want(self, *settings: SessionSetting) -> None:
        self.write("bfd.sessions", format_sessions(settings))

    def write(self, name: str, text: str) -> None:
        beside = self.directory / f"{name}.new"
        beside.write_text(text)
        beside.rename(self.directory / name)
        if self.process is not None:
            self.say("poke\n")

    def start(self) -> None:
        command = ["ip", "netns", "exec", self.name, sys.executable, "-m", "calicopy.bfd.process.unit"]
        command += ["--run-dir", str(self.directory)]
        # As `calicopy node` starts it.
        self.process = subprocess.Popen(command, stderr=self.errors, preexec_fn=schedule)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(number)
            self.process.wait(5.0)
            self.process = None

    @contextlib.contextmanager
    def attached(self) -> Iterator[Any]:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5.0)
            client.connect(str(self.directory / "bfd.sock"))
            with client.makefile("rw") as stream:
                yield stream

    def lines(self) -> list[str]:
        found: list[str] = []
        with contextlib.suppress(OSError), self.attached() as stream:
            for line in stream:
                if line == "end\n":
                    return found
                found.append(line.rstrip("\n"))
        return []

    def say(self, text: str) -> None:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), self.attached() as stream:
            stream.write(text)
            stream.flush()

    def state(self, peer: str = "") -> StateLine | None:
        states = [parse_state(line) for line in self.lines() if line.startswith("state ")]
        return next((one for one in states if one.peer == (peer or self.peer)), None)

    def reaches(self, state: int, *, peer: str = "", within: float = 10.0) -> StateLine:
        def reached() -> StateLine | None:
            found = self.state(peer)
            return found if found is not None and found.state == state else None

        found = labs.wait_until(reached, within=within, what=f"{self.name} in state {state}")
        assert isinstance(found, StateLine)
        return found

    def pid(self) -> int:
        return next((int(line.split()[1]) for line in self.lines() if line.startswith("process ")), 0)

    def problem(self) -> str:
        return next((line[8:] for line in self.lines() if line.startswith("problem ")), "?")

    def objects(self) -> dict[int, dict[str, Any]]:
        return {one["id"]: one for one in json.loads(self.ip("-j -N nexthop show"))}

    def flood_source(self, source: str) -> socket.socket:
        """A UDP socket in this namespace that sends from `source`."""
        made = self.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.bind((source, 0))
        return made

    def ear(self) -> socket.socket:
        """What comes in to this namespace, with the time at which the kernel had it."""
        made = self.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)))
        made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        made.setblocking(False)
        return made

    def inside(self, make: Callable[[], socket.socket]) -> socket.socket:
        """A socket of this namespace."""
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            LIBC.setns(there, 0)
            return make()
        finally:
            LIBC.setns(own, 0)
            os.close(own)
            os.close(there)


def both_up(pair: tuple[Host, Host], make: Callable[[Host], dict[str, Any]] = lambda _: {}) -> None:
    for host in pair:
        host.want(host.setting(**make(host)))
        host.start()
    for host in pair:
        host.reaches(UP)


CUT = """table inet cut {
  chain c {
    type filter hook input priority 0
    udp dport {3784, 4784} drop
  }
}
"""


def cut(host: Host) -> None:
    """No BFD packet reaches the host any more."""
    host.nft(CUT)


def counted(host: Host, name: str) -> int:
    state = host.state()
    return state.dropped.get(name, 0) if state is not None else 0
