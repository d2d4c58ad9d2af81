"""What the daemon of a column is asked to be, in words that are the same for all of them, and what it is asked."""
from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tests.interop.cells import Row
from tests.support import labs

NODE = "r1"
ROUTER_ID = "192.0.2.9"
ADDRESS6 = "2001:db8::9"
CONFIG = "/etc/router.conf"
LOG = "/var/log/router.log"
HOLD_S = 9
RESTART_S = 60
STANDARD, LARGE = "64512:500", "64512:5:6"
"""The communities that every prefix of the daemon carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """A session that the daemon holds. `near` is TTL security (RFC 5082); `families` are `ipv4`, `ipv6`."""

    name: str
    address: str
    asn: int
    local: str = ROUTER_ID
    families: tuple[str, ...] = ("ipv4",)
    client: bool = False
    add_path: bool = False
    password: str = ""
    near: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """The daemon's configuration: its AS, its sessions, and the prefixes that it announces from the start."""

    asn: int
    neighbors: tuple[Neighbor, ...]
    prefixes: tuple[str, ...]

    def of_family(self, family: str) -> tuple[str, ...]:
        """Its prefixes of one family."""
        return tuple(each for each in self.prefixes if (":" in each) == (family == "ipv6"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One path in the daemon's table; what it does not have, or the daemon does not show, is empty."""

    next_hop: str
    as_path: tuple[int, ...] = ()
    communities: frozenset[str] = frozenset()
    large: frozenset[str] = frozenset()
    originator: str = ""
    clusters: tuple[str, ...] = ()


@dataclass
class Daemon(ABC):
    """One BGP daemon inside node r1 of a lab."""

    lab: labs.TestLab
    directory: Path
    running: Router | None = field(default=None, init=False)

    name: ClassVar[str]
    title: ClassVar[str]
    program: ClassVar[str]
    processes: ClassVar[Sequence[Sequence[str]]]
    """Words in the command lines of its processes, those that a crash of it takes away."""
    before: ClassVar[Sequence[Sequence[str]]] = ()
    """Commands that have to be run in its node before its first start."""
    absent: ClassVar[Mapping[Row, str]] = {}
    """What it cannot do, each with the source."""

    @classmethod
    def installed(cls) -> bool:
        """Whether this machine has it."""
        return Path(cls.program).exists()

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """What it says of itself. Only where it is installed."""

    @abstractmethod
    def text(self, router: Router) -> str:
        """The configuration file."""

    @abstractmethod
    def command(self, *, recovering: bool) -> str:
        """The shell command that runs it in the foreground; `recovering` after a crash."""

    def prepare(self) -> None:
        """Run `before`."""
        for words in self.before:
            self.lab.run(NODE, *words)

    def load(self, router: Router) -> None:
        """Give it what its configuration file cannot say."""
        self.running = router

    def start(self, router: Router, *, recovering: bool = False) -> None:
        """Run it with this configuration; `recovering` says that it comes back with its forwarding state."""
        (self.directory / "router.conf").write_text(self.text(router))
        line = self.command(recovering=recovering)
        self.lab.run(NODE, "sh", "-c", f"{line} >>{LOG} 2>&1 </dev/null &")
        self.load(router)

    def crash(self) -> None:
        """SIGKILL, until none of it is left."""
        for words in self.processes:
            labs.wait_until(lambda words=words: not self._killed(words), what=f"{self.name} is gone")

    def _killed(self, words: Sequence[str]) -> bool:
        if not self.lab.pids(NODE, *words):
            return False
        with suppress(AssertionError, ProcessLookupError):  # it ended meanwhile
            self.lab.kill(NODE, *words)
        return True

    def restart(self, router: Router) -> None:
        """Another configuration, by a restart without grace."""
        self.crash()
        self.start(router)

    @abstractmethod
    def established(self, address: str) -> bool:
        """Whether it calls the session with that address Established."""

    @abstractmethod
    def paths(self, prefix: str) -> list[Seen]:
        """Its paths of a prefix; none while it does not answer."""

    @abstractmethod
    def withdraw(self, prefix: str) -> None:
        """Stop announcing one of its prefixes."""

    @abstractmethod
    def updates(self, address: str) -> int:
        """How many UPDATEs (or prefixes in them) it got in the session with that address."""

    @abstractmethod
    def refresh(self, neighbor: Neighbor) -> None:
        """Send that neighbor a ROUTE-REFRESH."""

    def ask(self, *words: str) -> str:
        """The output of its control program; empty while that fails."""
        done = self.lab.try_run(NODE, *words)
        return str(done.stdout) if done.returncode == 0 else ""

    def tell(self, *words: str) -> str:
        """Run its control program as soon as it is there to be told."""
        done: list[subprocess.CompletedProcess[str]] = []

        def told() -> bool:
            done[:] = [self.lab.try_run(NODE, *words)]
            return done[0].returncode == 0

        labs.wait_until(told, what=f"{' '.join(words)} is taken")
        return str(done[0].stdout)


def output(*words: str) -> str:
    """The first line that a program prints, of stdout or stderr."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""
