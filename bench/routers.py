"""The routers that are measured: calicopy nodes, and BIRD beside them."""
from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent

import grpc

from bench.fabric import BenchError, Fabric, wait_for
from bench.timed_agent import MARK
from calicopy.bfd.process import STATE_FILE
from calicopy.bfd.process.state import read_states
from calicopy.seam.bfd import SessionState
from calicopy.v1 import ipam_pb2_grpc, peer_pb2, peer_pb2_grpc

OUR_PROTOCOL, BIRD_PROTOCOL = 117, 12  # of routes in the kernel
AS = 64512
AGENT_UP = "agent is up"
POOL = "10.0.0.0/8"


def blocks(count: int, *, first: int = 0, length: int = 26) -> list[str]:
    """`count` blocks of the pool, of this prefix length."""
    numbers = ((10 << 24) + (number << (32 - length)) for number in range(first, first + count))
    return [f"{socket.inet_ntoa(number.to_bytes(4, 'big'))}/{length}" for number in numbers]


class Node:
    """`calicopy node` in a host: supervisor, ExaBGP, its bridge, and the agent."""

    def __init__(self, fabric: Fabric, name: str, config: str, *, settings: str = "") -> None:
        """`settings`: further lines of the section `agent`."""
        self.fabric = fabric
        self.name = name
        self.directory = fabric.directory / name
        self.directory.mkdir(exist_ok=True)
        self.run_dir = self.directory / "run"
        self.config = self.directory / "cluster.yaml"
        agent = f"agent:\n  state_dir: {self.directory}/state\n  run_dir: {self.run_dir}\n{settings}"
        self.config.write_text(config + agent)
        self.socket = str(self.run_dir / "calicopy.sock")
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.up = 0.0
        self.log: list[tuple[float, str]] = []  # when each line was seen, and the line

    def start(self) -> None:
        """Start it; `started` and `up` are monotonic seconds."""
        calicopy = str(Path(sys.executable).with_name("calicopy"))
        self._start(calicopy, "node", "--run-dir", str(self.run_dir), "--config", str(self.config), "--node", self.name)

    def _start(self, *words: str) -> None:
        self.up, self.log = 0.0, []
        self.started = time.monotonic()
        self.process = self.fabric.spawn(self.name, *words)
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                now = time.monotonic()
                if not self.up and AGENT_UP.encode() in line:
                    self.up = now
                self.log.append((now, line.decode(errors="replace").rstrip()))

    def start_again(self) -> None:
        """Start it once more after its supervisor was killed: it takes over what runs."""
        if self.process is not None:
            self.process.wait()
            self.stop()
        self.start()

    def stop(self) -> None:
        """End it and wait for that."""
        if self.process is not None:
            self.fabric.stop(self.process)
            self.process = None

    def wait_up(self) -> float:
        """When the agent's start-up was done: its API is served, and it says so."""
        self.wait_for(lambda: self.up, what=f"{self.name}: agent is up")
        return self.up

    def wait_for(self, check: object, *, what: str, within: float = 30.0) -> None:
        """As `fabric.wait_for`, with the node's log in the error."""
        assert callable(check)
        try:
            wait_for(check, what=what, within=within)
        except BenchError as error:
            raise BenchError(f"{error}\n" + "\n".join(line for _, line in self.log[-20:])) from error

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """A channel to its API."""
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            yield channel

    @contextmanager
    def ipam(self) -> Iterator[ipam_pb2_grpc.IpamServiceStub]:
        """Its IPAM service."""
        with self.channel() as channel:
            yield ipam_pb2_grpc.IpamServiceStub(channel)

    def wait_established(self, count: int, *, within: float = 60.0) -> None:
        """Until so many peers are Established and have sent their End-of-RIB."""
        self.wait_up()
        with self.channel() as channel:
            stub = peer_pb2_grpc.PeerServiceStub(channel)

            def established() -> bool:
                try:
                    peers = stub.ListPeers(peer_pb2.ListPeersRequest(), timeout=10).peers
                except grpc.RpcError:  # the agent was killed, and is not back yet
                    return False
                return sum(peer.state == peer_pb2.SESSION_STATE_ESTABLISHED for peer in peers) >= count

            self.wait_for(established, what=f"{self.name}: {count} peers Established", within=within)

    def wait_bfd(self, count: int, *, within: float = 60.0) -> None:
        """Until so many BFD sessions are up."""

        def up() -> bool:
            states = read_states(str(self.run_dir / STATE_FILE)).values()
            return sum(each.state == SessionState.UP for each in states) >= count

        self.wait_for(up, what=f"{self.name}: {count} BFD sessions up", within=within)

    def processes(self) -> dict[str, int]:
        """Pids of its parts."""
        parts = {"agent": ("calicopy", "agent"), "bridge": ("bridge",), "exabgp": ("calicopy", "speaker"),
                 "supervisor": ("calicopy", "node")}  # fmt: skip
        found: dict[str, int] = {}
        for part, words in parts.items():
            pids = [pid for pid in self.fabric.pids(self.name, *words) if pid not in found.values()]
            if not pids:
                raise BenchError(f"{self.name}: no process {words}")
            found[part] = pids[0]
        return found


class TimedNode(Node):
    """The same without a supervisor, and with an agent that says when what happened: see `timed_agent`."""

    def start(self) -> None:
        """Start both."""
        self.run_dir.mkdir(exist_ok=True)
        calicopy = str(Path(sys.executable).with_name("calicopy"))
        words = ("speaker", "--config", str(self.run_dir / "exabgp.conf"))
        self.speaker = self.fabric.spawn(self.name, calicopy, *words, log=f"{self.name}.speaker.log")
        self._start(sys.executable, "-m", "bench.timed_agent", str(self.config), self.name)

    def stop(self) -> None:
        """End both."""
        super().stop()
        self.fabric.stop(self.speaker)

    def marks(self, name: str) -> list[float]:
        """The moments of a name, as `time.time`."""
        lines = [line.split() for _, line in list(self.log) if line.startswith(f"{MARK} {name} ")]
        return [float(words[2]) for words in lines]


def cluster(
    nodes: Mapping[str, tuple[str, Sequence[str]]], *, peers: Mapping[str, str] | None = None, mesh: bool = True,
    pool: str = POOL, block_size: int = 26,
) -> str:
    """A cluster file: nodes as name -> (address, pinned blocks), peers as name -> address."""
    lines = [f"cluster: {{name: bench, as: {AS}}}", "nodes:"]
    for name, (address, pinned) in nodes.items():
        held = f", blocks: [{', '.join(pinned)}]" if pinned else ""
        lines.append(f"  - {{name: {name}, address: {address}/24{held}}}")
    lines.append(f"pools: [{{name: pods, cidr: {pool}, block_size: {block_size}}}]")
    lines += ["bgp:", f"  mesh: {str(mesh).lower()}"]
    if peers:
        lines.append("  peers:")
        lines += [f"    - {{name: {name}, address: {address}, as: {AS}, prefix_limit: 1000000}}"
                  for name, address in peers.items()]
    return "\n".join(lines) + "\n"


class Bird:
    """BIRD in a host, and a connection to its control socket that stays open."""

    def __init__(
        self, fabric: Fabric, host: str, neighbors: Sequence[str], *, name: str = "", address: str = "",
        statics: Mapping[str, Sequence[str]] | None = None, kernel: bool = True, passive: bool = False,
        enabled: bool = False, reflector: bool = False, graceful_restart: bool = True, hold_time_s: int = 9,
        bfd: bool = False, local_as: int = AS, foreign: Mapping[str, int] | None = None, further: str = "",
    ) -> None:  # fmt: skip
        """`foreign`: the AS of the neighbors that are not of ours, by address. `further`: options of all sessions."""
        self.fabric, self.host, self.name = fabric, host, name or host
        self.address = address or fabric.address(host)
        directory = fabric.directory / f"bird-{self.name}"
        directory.mkdir(exist_ok=True)
        self.config, self.control = directory / "bird.conf", directory / "bird.ctl"
        self.neighbors = neighbors
        self.process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        parts = [f"router id {self.address};\nprotocol device {{}}\nprotocol direct {{ ipv4; }}\n"]
        if kernel:
            parts.append("protocol kernel { ipv4 { import none; export where source ~ [RTS_STATIC, RTS_BGP]; }; }\n")
        if bfd:
            parts.append("protocol bfd { multihop { interval 100 ms; multiplier 3; }; }\n")
        for title, routes in (statics or {}).items():
            lines = "".join(f"  route {route} blackhole;\n" for route in routes)
            disabled = "" if enabled else "  disabled yes;\n"
            parts.append(f"protocol static {title} {{\n{disabled}  ipv4;\n{lines}}}\n")
        for number, neighbor in enumerate(neighbors, 1):
            remote = (foreign or {}).get(neighbor, AS)
            options = "passive on;" if passive else "connect delay time 1; connect retry time 1; error wait time 1, 2;"
            body = (f"local {self.address} as {local_as}; neighbor {neighbor} as {remote}; strict bind on; {options}\n"
                    f"hold time {hold_time_s}; keepalive time {hold_time_s // 3}; {further}\n"
                    f"graceful restart {'on' if graceful_restart else 'off'}; bfd {'on' if bfd else 'off'};\n"
                    + ("rr client;\n" if reflector and remote == local_as else "")
                    + ("ipv4 { import all; export where source = RTS_BGP; };" if reflector else
                       "ipv4 { import all; export where source = RTS_STATIC; next hop self; };"))  # fmt: skip
            parts.append(f"protocol bgp peer{number} {{\n{indent(body, '  ')}\n}}\n")
        self.config.write_text("".join(parts))
        self.started = 0.0

    def start(self) -> None:
        """Start it; `started` is when that was (monotonic seconds)."""
        self.started = time.monotonic()
        log = str(self.config.with_name("log").relative_to(self.fabric.directory))
        words = ("bird", "-f", "-c", str(self.config), "-s", str(self.control))
        self.process = self.fabric.spawn(self.host, *words, log=log)

    def stop(self) -> None:
        """End it and wait for that."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self.process is not None:
            self.fabric.stop(self.process)
            self.process = None

    def wait_up(self) -> float:
        """When it answers."""
        wait_for(self._answers, what=f"BIRD in {self.host} answers")
        return time.monotonic()

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise BenchError(f"BIRD {self.name} ended: {self.config.with_name('log').read_text()}")
        return self._connect()

    def _connect(self) -> bool:
        if self._connection is not None:
            return True
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        try:
            connection.connect(str(self.control))
            self._connection = connection
            self._answer()
        except OSError:
            connection.close()
            self._connection = None
            return False
        return True

    def tell(self, command: str) -> str:
        """A command of birdc; its answer."""
        self.wait_up()
        assert self._connection is not None
        self._connection.sendall(command.encode() + b"\n")
        return self._answer()

    def _answer(self) -> str:
        """Until a line with a code and no dash after it."""
        assert self._connection is not None
        text = ""
        while True:
            received = self._connection.recv(65536).decode()
            if not received:
                raise ConnectionResetError(f"BIRD {self.name} closed its control socket")
            text += received
            last = text.rstrip("\n").rsplit("\n", 1)[-1]
            if text.endswith("\n") and last[:4].isdigit() and last[4:5] == " ":
                return text

    def wait_established(self, count: int = 0, *, within: float = 60.0) -> None:
        """Until so many (default: all) of its sessions are up."""
        wanted = count or len(self.neighbors)
        wait_for(lambda: self.tell("show protocols").count("Established") >= wanted,
                 what=f"BIRD {self.name}: {wanted} sessions", within=within)  # fmt: skip
