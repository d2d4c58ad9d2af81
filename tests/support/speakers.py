"""A whole speaker for a test: unit, ExaBGP, bridge, client and control; alone, or in a namespace beside BIRD's."""
from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

from calicopy.bgp import RawAttribute
from calicopy.net import Family
from calicopy.seam.speaker import (
    AnnounceGroup,
    CommandResult,
    SessionSpec,
    SpeakerEvent,
    UpdatesReceived,
    WithdrawGroup,
)
from calicopy.speaker.client import SpeakerClient
from calicopy.speaker.control import Applied, SpeakerControl
from calicopy.speaker.launcher import ENVFILE, SETTINGS

NUMBERS = count()
OWNER = RawAttribute(0xC0, 32, bytes.fromhex("0000fc00000000010a090001"))
SPEC = SessionSpec(
    name="bird", peer_address="10.9.0.2", local_address="10.9.0.1", local_as=64512, peer_as=64512, router_id="10.9.0.1",
    hold_time_s=9,
)  # fmt: skip
ROUTES = 1000
BIRD = """
router id 10.9.0.2;
log "{log}" all;
protocol device {{}}
protocol static st {{ ipv4; {routes} }}
protocol bgp n1 {{
  local 10.9.0.2 as 64512; neighbor 10.9.0.1 as 64512;
  hold time 9; graceful restart on; passive on; enable extended messages; debug {{ states, events }};
  ipv4 {{ import all; export all; next hop self; }};
}}
"""


def run(*words: str) -> str:
    return subprocess.run(words, check=True, text=True, capture_output=True, timeout=20).stdout


async def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


class Host:
    """Where a speaker runs: its files and processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = str(directory / "s.sock")
        self.config = directory / "exabgp.conf"
        self.processes: list[subprocess.Popen[bytes]] = []

    def spawn(
        self, *words: str, namespace: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        inside = ("ip", "netns", "exec", namespace) if namespace else ()
        process = subprocess.Popen([*inside, *words], env={**os.environ, **(env or {})})
        self.processes.append(process)
        return process

    def start_speaker(self) -> subprocess.Popen[bytes]:
        return self.spawn(sys.executable, "-m", "calicopy.speaker.unit", "--config", str(self.config))

    def start_plain_exabgp(self) -> subprocess.Popen[bytes]:
        """ExaBGP as it is, without the launcher; the file must be there."""
        words = (sys.executable, "-m", "exabgp", "server", str(self.config))
        return self.spawn(*words, env={**SETTINGS, "EXABGP_ENVFILE": str(ENVFILE)})

    def tear_down(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Pair(Host):
    """A namespace for the speaker and one with BIRD."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        number = next(NUMBERS)
        self.ours, self.theirs = f"spo{os.getpid()}-{number}", f"spt{os.getpid()}-{number}"

    def set_up(self) -> None:
        for name in (self.ours, self.theirs):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "link", "add", "e0", "netns", self.ours, "type", "veth", "peer", "name", "e0", "netns", self.theirs)
        for name, host in ((self.ours, 1), (self.theirs, 2)):
            self._address(name, host)
        routes = "".join(f"route 10.{100 + i // 256}.{i % 256}.0/24 blackhole;" for i in range(ROUTES))
        config = self.directory / "bird.conf"
        config.write_text(BIRD.format(log=self.directory / "bird.log", routes=routes))
        self.start_bird()

    @staticmethod
    def _address(name: str, host: int) -> None:
        run("ip", "-n", name, "addr", "add", f"10.9.0.{host}/24", "dev", "e0")
        run("ip", "-n", name, "addr", "add", f"fd00:9::{host}/64", "dev", "e0", "nodad")
        run("ip", "-n", name, "link", "set", "e0", "up")

    def start_bird(self) -> None:
        config, control = self.directory / "bird.conf", self.directory / "bird.ctl"
        (self.directory / "bird.log").unlink(missing_ok=True)
        self.spawn("bird", "-f", "-c", str(config), "-s", str(control), namespace=self.theirs)

    def start_speaker(self) -> subprocess.Popen[bytes]:
        words = (sys.executable, "-m", "calicopy.speaker.unit", "--config", str(self.config))
        return self.spawn(*words, namespace=self.ours)

    def birdc(self, *words: str) -> str:
        return run("birdc", "-s", str(self.directory / "bird.ctl"), *words)

    def reconfigure_bird(self, text: str) -> None:
        """Another configuration for the BIRD that runs."""
        (self.directory / "bird.conf").write_text(text)
        assert "Reconfig" in self.birdc("configure")

    def routes_at_bird(self, protocol: str = "n1") -> int:
        """Routes that BIRD has from us."""
        lines = [line for line in self.birdc("show", "protocols", "all", protocol).splitlines() if "Routes:" in line]
        return int(lines[0].split()[1]) if lines else 0

    def silence_bird(self) -> None:
        """Nothing goes in or out at the peer's host any more, though the link is up."""
        run("ip", "netns", "exec", self.theirs, "nft", "add table inet silence")
        for hook in ("input", "output"):
            chain = f"add chain inet silence {hook} {{ type filter hook {hook} priority 0; policy drop; }}"
            run("ip", "netns", "exec", self.theirs, "nft", chain)

    def lose_bird(self) -> None:
        """The peer's host is gone without a word, and comes back as one that knows nothing: BIRD is not started yet."""
        bird = self.processes[0]
        run("ip", "-n", self.theirs, "link", "set", "e0", "down")
        bird.kill()
        bird.wait()
        again = f"spt{os.getpid()}-{next(NUMBERS)}"
        run("ip", "netns", "add", again)
        run("ip", "-n", again, "link", "set", "lo", "up")
        run("ip", "-n", self.theirs, "link", "set", "e0", "netns", again)
        run("ip", "netns", "del", self.theirs)
        self.theirs = again
        self._address(again, 2)

    def log(self) -> str:
        log = self.directory / "bird.log"
        return log.read_text() if log.exists() else ""

    def flaps(self, protocol: str = "n1") -> int:
        return self.log().count(f"{protocol}: BGP session closed")

    def tear_down(self) -> None:
        super().tear_down()
        for name in (self.ours, self.theirs):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


class Agent:
    """A client that writes down all events."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.events: list[SpeakerEvent] = []
        self.client = SpeakerClient(host.socket)
        self.control = SpeakerControl(self.client, config_path=str(host.config))
        self.client.start()
        self.task = asyncio.get_running_loop().create_task(self._collect())

    async def _collect(self) -> None:
        async for batch in self.client.batches():
            self.events += batch

    async def close(self) -> None:
        await self.client.close()
        await self.task

    def of(self, kind: type[SpeakerEvent]) -> list[SpeakerEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def bodies(self) -> list[bytes]:
        return [body for event in self.events if isinstance(event, UpdatesReceived) for body in event.bodies]

    def prefixes(self) -> set[bytes]:
        """The NLRI in all UPDATEs: BIRD's are /24s without path ids."""
        found = set()
        for body in self.bodies():
            withdrawn = int.from_bytes(body[:2], "big")
            start = 4 + withdrawn + int.from_bytes(body[2 + withdrawn : 4 + withdrawn], "big")
            found |= {body[at : at + 4] for at in range(start, len(body), 4)}
        return found

    async def announce(self, *prefixes: str) -> CommandResult:
        group = AnnounceGroup(family=Family.IPV4, next_hop="10.9.0.1", attributes=(OWNER,), prefixes=prefixes)
        result = await self.client.announce(["10.9.0.2"], [group])
        eor = await self.client.end_of_rib("10.9.0.2", Family.IPV4)
        return result if result is not CommandResult.DONE else eor

    async def withdraw(self, *prefixes: str) -> CommandResult:
        return await self.client.withdraw(["10.9.0.2"], [WithdrawGroup(family=Family.IPV4, prefixes=prefixes)])

    async def started(self) -> None:
        """Configure, start, and wait for the session and all of BIRD's routes."""
        self.host.start_speaker()
        assert await self.control.apply([SPEC]) is Applied.WRITTEN
        await eventually(lambda: len(self.prefixes()) == ROUTES)
