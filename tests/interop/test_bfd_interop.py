"""BFD of ours beside BIRD's and FRR's, as each side's own command shows it: no BGP, two namespaces and a wire.

Each scene has a session of a single hop and one of several; BIRD's also with authentication. What happens to them is
told in one test per scene, since a lab is what costs here.
"""
from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from calicopy.bfd.packet import Diagnostic, State
from calicopy.bfd.process import SESSIONS_FILE, SOCKET_FILE
from calicopy.bfd.process.settings import AUTO, MULTI, SINGLE, SessionSetting, StateLine, format_sessions, parse_state
from tests.support import labs

OURS, DIRECT, ROUTED = "10.9.0.1", "10.9.0.2", "10.9.0.3"
PASSWORD, KEY = "word", "a key of SHA1"
DETECTION_S = 0.3
LATE_S = 0.15  # what a busy machine may add
Auth = dict[str, tuple[str, int, str]]
"""By peer: the type, the key's number, the key."""

pytestmark = [pytest.mark.netns, pytest.mark.interop]


class Theirs(ABC):
    """The daemon on the other end, in namespace `netns`; its files are in `directory`."""

    def __init__(self, netns: str, directory: Path) -> None:
        self.netns, self.directory = netns, directory
        self.running: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def start(self) -> None:
        """Have it running."""

    @abstractmethod
    def shown(self) -> dict[str, bool]:
        """Its sessions, by its own address: whether it says that they are up."""

    def kill(self) -> None:
        """As a crash would."""
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()

    def spawn(self, *words: str) -> None:
        with (self.directory / "theirs.log").open("ab") as log:
            command = ["ip", "netns", "exec", self.netns, *words]
            self.running.append(subprocess.Popen(command, stdout=log, stderr=log))

    def ask(self, *words: str) -> str:
        return subprocess.run(["ip", "netns", "exec", self.netns, *words], capture_output=True, text=True).stdout


class Bird(Theirs):
    """BIRD with nothing but BFD."""

    single_auth = multi_auth = ""

    def start(self) -> None:
        config = self.directory / "bird.conf"
        timers = "interval 100 ms; multiplier 3;"
        config.write_text(f"""
            router id 192.0.2.9; log stderr all; protocol device {{ }}
            protocol bfd {{
              interface "wire" {{ {timers} {self.single_auth} }};
              multihop {{ {timers} {self.multi_auth} }};
              neighbor {OURS} dev "wire" local {DIRECT};
              neighbor {OURS} local {ROUTED} multihop on;
            }}""")
        self.spawn("bird", "-f", "-c", str(config), "-s", f"{self.directory}/bird.ctl")

    def shown(self) -> dict[str, bool]:
        lines = self.ask("birdc", "-s", f"{self.directory}/bird.ctl", "show", "bfd", "sessions").splitlines()
        rows = [line.split() for line in lines if line.startswith(OURS)]
        return {DIRECT if row[1] == "wire" else ROUTED: row[2] == "Up" for row in rows}


class BirdWithKeys(Bird):
    """BIRD with a password on the wire, and SHA1 over several hops."""

    single_auth = f'authentication simple; password "{PASSWORD}" {{ id 7; }};'
    multi_auth = f'authentication meticulous keyed sha1; password "{KEY}" {{ id 8; }};'


class BirdWithTheOtherKeys(Bird):
    """The other way round."""

    single_auth = f'authentication meticulous keyed sha1; password "{KEY}" {{ id 8; }};'
    multi_auth = f'authentication simple; password "{PASSWORD}" {{ id 7; }};'


class Frr(Theirs):
    """FRR's bfdd, and the zebra that tells it of the interface."""

    def start(self) -> None:
        for name in ("zebra.pid", "bfdd.pid", "zserv.api"):  # of those that were killed
            (self.directory / name).unlink(missing_ok=True)
        config, sockets = self.directory / "bfdd.conf", ["--vty_socket", str(self.directory)]
        sockets += ["-z", f"{self.directory}/zserv.api", "-A", "127.0.0.1", "--log", "stdout"]
        timers = "\n  transmit-interval 100\n  receive-interval 100\n  detect-multiplier 3\n !\n"
        config.write_text(
            f"bfd\n peer {OURS} local-address {DIRECT} interface wire{timers}"
            f" peer {OURS} multihop local-address {ROUTED}{timers}!\n",
        )
        self.spawn("/usr/lib/frr/zebra", *sockets, "-f", "/dev/null", "-i", f"{self.directory}/zebra.pid")
        labs.wait_until((self.directory / "zserv.api").exists, what="zebra")
        control = f"unix:{self.directory}/bfdd.sock"
        self.spawn(
            "/usr/lib/frr/bfdd", *sockets, "-f", str(config), "-i", f"{self.directory}/bfdd.pid", "--bfdctl", control,
        )

    def shown(self) -> dict[str, bool]:
        return {local: peer["status"] == "up" for local, peer in self.peers().items()}

    def peers(self) -> dict[str, dict[str, str]]:
        """What it says of its sessions, by its own address."""
        text = self.ask("vtysh", "--vty_socket", str(self.directory), "-c", "show bfd peers json")
        with suppress(json.JSONDecodeError):
            return {peer["local"]: peer for peer in json.loads(text)}
        return {}

    def shut(self, shut: bool) -> None:
        """Hold its sessions in AdminDown, or let them go."""
        for peer in (f"{OURS} local-address {DIRECT} interface wire", f"{OURS} multihop local-address {ROUTED}"):
            words = ("configure terminal", "bfd", f"peer {peer}", "shutdown" if shut else "no shutdown")
            self.ask("vtysh", "--vty_socket", str(self.directory), *(part for word in words for part in ("-c", word)))


class Ours:
    """The process, in namespace `netns`; its run directory is `directory`."""

    def __init__(self, netns: str, directory: Path, *, auto: bool, auth: Auth) -> None:
        self.netns, self.directory = netns, directory
        settings = []
        for peer, hop in ((DIRECT, SINGLE), (ROUTED, MULTI)):
            setting = SessionSetting(peer, OURS, hop=AUTO if auto else hop)
            if peer in auth:
                setting.auth_type, setting.auth_key_id, key = auth[peer]
                file = directory / f"{peer}.key"
                file.touch(0o600)
                file.write_text(key)
                setting.auth_key_file = str(file)
            settings.append(setting)
        (directory / SESSIONS_FILE).write_text(format_sessions(settings))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "calicopy.bfd.process.unit", "--run-dir", str(self.directory)]
        with (self.directory / "ours.log").open("ab") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", self.netns, *command], stdout=log, stderr=log)
        with suppress(PermissionError):  # as `calicopy node` starts it
            os.sched_setscheduler(self.process.pid, os.SCHED_FIFO, os.sched_param(1))

    def stop(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def states(self) -> dict[str, StateLine]:
        """As who attaches is told; empty while nobody listens."""
        text = b""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(2.0)
            try:
                control.connect(str(self.directory / SOCKET_FILE))
                while not re.search(rb"^end$", text, re.MULTILINE):
                    text += control.recv(65536)
            except OSError:
                return {}
        lines = [line for line in text.decode().splitlines() if line.startswith("state ")]
        return {state.peer: state for state in map(parse_state, lines)}

    def shown(self) -> dict[str, bool]:
        return {peer: state.state == State.UP for peer, state in self.states().items()}


class Scene:
    """Two namespaces, joined by a wire that each calls `wire`."""

    def __init__(self, daemon: type[Theirs], directory: Path, *, auto: bool, auth: Auth) -> None:
        self.names = [f"bfdi{os.getpid()}{end}" for end in "ab"]
        self.theirs, self.ours = daemon(self.names[1], directory), Ours(self.names[0], directory, auto=auto, auth=auth)

    def lay(self) -> None:
        for name in self.names:
            ip(f"netns add {name}")
            ip(f"-n {name} link set lo up")
        ip(f"-n {self.names[0]} link add wire type veth peer name wire netns {self.names[1]}")
        for name, addresses in zip(self.names, ([OURS], [DIRECT, ROUTED]), strict=True):
            for address in addresses:
                ip(f"-n {name} address add {address}/24 dev wire")
            ip(f"-n {name} link set wire up")

    def clear(self) -> None:
        with ExitStack() as stack:
            for name in self.names:
                stack.callback(ip, f"netns delete {name}")
            stack.callback(self.theirs.kill)
            stack.callback(self.ours.stop, signal.SIGKILL)

    def cut(self, cut: bool) -> None:
        """What we send is lost without a word."""
        rules = "add table ip cut; add chain ip cut in { type filter hook input priority 0; policy drop; }"
        command = ["ip", "netns", "exec", self.names[1], "nft", rules if cut else "delete table ip cut"]
        subprocess.run(command, check=True)

    def wait(self, up: bool, *sides: Theirs | Ours, within: float = 8.0) -> None:
        for side in sides:
            def said(side: Theirs | Ours = side) -> bool:
                return side.shown() == {DIRECT: up, ROUTED: up}

            labs.wait_until(said, within=within, what=f"{type(side).__name__} says up {up} of both")


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """For files and sockets; FRR's daemons run as their own user, and a socket's path is short."""
    made = Path(f"/run/bfdi{os.getpid()}")
    subprocess.run(["install", "-d", "-o", "frr", "-g", "frr", made], check=True)
    yield made
    for log in made.glob("*.log"):
        (tmp_path / log.name).write_bytes(log.read_bytes())
    subprocess.run(["rm", "-r", made], check=True)


SCENES: Sequence[tuple[type[Theirs], bool, Auth]] = (  # the daemon, whether we find out how far it is, keys
    (Bird, True, {}),
    (BirdWithKeys, False, {DIRECT: ("simple", 7, PASSWORD), ROUTED: ("meticulous-sha1", 8, KEY)}),
    (BirdWithTheOtherKeys, True, {DIRECT: ("meticulous-sha1", 8, KEY), ROUTED: ("simple", 7, PASSWORD)}),
    (Frr, False, {}),
)


@pytest.mark.parametrize(("daemon", "auto", "auth"), SCENES, ids=[daemon.__name__ for daemon, *_ in SCENES])
def test_sessions_are_up_at_both_ends_and_each_end_sees_the_others_death(
    daemon: type[Theirs], auto: bool, auth: Auth, directory: Path,
) -> None:
    scene = Scene(daemon, directory, auto=auto, auth=auth)
    try:
        scene.lay()
        scene.theirs.start()
        scene.ours.start()
        scene.wait(True, scene.theirs, scene.ours)
        assert {peer: state.hop for peer, state in scene.ours.states().items()} == {DIRECT: SINGLE, ROUTED: MULTI}
        ours_killed_and_back_at_once_is_unseen(scene)
        a_silent_cut_is_seen_by_both(scene)
        if daemon is Frr:  # BIRD has no command for it
            admin_down_of_either_side_is_no_failure(scene)
        ours_killed_is_seen_by_them(scene)
        theirs_killed_is_seen_by_us(scene)
    finally:
        scene.clear()


def ours_killed_and_back_at_once_is_unseen(scene: Scene) -> None:
    """Seen only where this machine takes longer than they wait: then it is done again."""
    labs.wait_until(lambda: all(one.tx_interval_us == 100_000 for one in scene.ours.states().values()), what="polls")
    for _ in range(5):
        before = scene.ours.states()
        killed = time.monotonic()
        scene.ours.stop(signal.SIGKILL)
        scene.ours.start()
        labs.wait_until(scene.ours.states, what="the process")
        away_s = time.monotonic() - killed
        time_to_miss_it = killed + 2 * DETECTION_S
        shown = []
        while time.monotonic() < time_to_miss_it:
            shown.append(scene.theirs.shown())
        after = scene.ours.states()
        if away_s < DETECTION_S - 0.1:
            break
        scene.wait(True, scene.theirs, scene.ours)
    else:
        raise AssertionError(f"this machine takes {away_s:.3f} s to start the process")
    assert all(seen == {DIRECT: True, ROUTED: True} for seen in shown), (away_s, shown)
    for peer, state in after.items():
        expected = before[peer].downs, before[peer].local_discriminator, before[peer].dropped
        seen = (state.downs, state.local_discriminator, state.dropped)
        assert seen == expected, (away_s, before[peer].as_text(), state.as_text())


def a_silent_cut_is_seen_by_both(scene: Scene) -> None:
    before = scene.ours.states()
    scene.cut(True)
    scene.wait(False, scene.theirs, scene.ours, within=2.0)
    for peer, state in scene.ours.states().items():
        assert state.downs == before[peer].downs + 1
        assert state.diagnostic == Diagnostic.NEIGHBOR_SIGNALED_DOWN
        assert state.remote_diagnostic == Diagnostic.DETECTION_TIME_EXPIRED
    scene.cut(False)
    scene.wait(True, scene.theirs, scene.ours)


def admin_down_of_either_side_is_no_failure(scene: Scene) -> None:
    before = scene.ours.states()
    assert isinstance(scene.theirs, Frr)
    scene.theirs.shut(True)
    scene.wait(False, scene.ours, within=2.0)
    scene.theirs.shut(False)
    scene.wait(True, scene.theirs, scene.ours)
    scene.ours.stop(signal.SIGTERM)
    scene.wait(False, scene.theirs, within=2.0)
    for peer in scene.theirs.peers().values():
        assert peer["remote-diagnostic"] == "administratively down"
    scene.ours.start()
    scene.wait(True, scene.theirs, scene.ours)
    after = scene.ours.states()
    assert {peer: state.downs for peer, state in after.items()} == {peer: state.downs for peer, state in before.items()}


def ours_killed_is_seen_by_them(scene: Scene) -> None:
    scene.ours.stop(signal.SIGKILL)
    scene.wait(False, scene.theirs, within=2.0)
    scene.ours.start()
    scene.wait(True, scene.theirs, scene.ours)


def theirs_killed_is_seen_by_us(scene: Scene) -> None:
    before = scene.ours.states()
    scene.theirs.kill()
    began = time.monotonic()
    scene.wait(False, scene.ours, within=2.0)
    for peer, state in scene.ours.states().items():
        assert state.changed_at - began < DETECTION_S + LATE_S
        assert (state.downs, state.diagnostic) == (before[peer].downs + 1, Diagnostic.DETECTION_TIME_EXPIRED)
    scene.theirs.start()
    scene.wait(True, scene.theirs, scene.ours)
