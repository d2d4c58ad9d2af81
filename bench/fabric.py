"""Namespaces on one switch, the processes in them, and what is seen of their kernels' routes.

Theory of operation: every namespace has the pid of this process in its name, `cb<PID>-NAME`. All that runs in one was
started from here, so closing a fabric ends whatever is left in its namespaces before it deletes them. Fabrics of a
process that is gone (it was killed) are removed by the next one.
"""
from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

NETNS_DIR = Path("/run/netns")
SWITCH = "sw"
SUBNET = "192.0.2"
CLONE_NEWNET = 0x40000000
RTM_NEWROUTE, RTM_DELROUTE, RTA_DST, RTMGRP_IPV4_ROUTE = 24, 25, 1, 0x40
SO_RCVBUFFORCE, ETH_P_IP = 33, 0x0800
ROUTE_BLACKHOLE, TABLE_MAIN = 6, 254
MARKER, BGP_UPDATE = b"\xff" * 16, 2
WATCH_OCTETS = 512 << 20  # what may wait while the CPU is taken: a kilobyte or so a route
POLL_S = 0.005
END_S = 10.0


class BenchError(Exception):
    """A measurement that could not be made; the message says at which step."""


def run(*words: str) -> str:
    """Output of a command. Raises BenchError when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_for(check: Callable[[], object], *, what: str, within: float = 30.0) -> None:
    """Until `check` gives something true. BenchError after `within` seconds."""
    deadline = time.monotonic() + within
    while not check():
        if time.monotonic() > deadline:
            raise BenchError(f"not within {within:g} s: {what}")
        time.sleep(POLL_S)


def _namespace(name: str) -> str:
    return f"cb{os.getpid()}-{name}"


def remove_abandoned() -> None:
    """Remove what a killed run left behind."""
    names = [entry.name for entry in NETNS_DIR.iterdir()] if NETNS_DIR.exists() else []
    for name in names:
        found = re.fullmatch(r"cb(\d+)-\w+", name)
        if found and not Path(f"/proc/{found[1]}").exists():
            _remove(name)


def _remove(namespace: str) -> None:
    """End what runs in a namespace, and delete it."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        left = subprocess.run(("ip", "netns", "pids", namespace), capture_output=True, text=True, check=False).stdout
        if not left.split():
            break
        for pid in left.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(POLL_S)
    subprocess.run(("ip", "netns", "delete", namespace), capture_output=True, check=False)


class Fabric:
    """Hosts on one switch: the n-th has 192.0.2.n/24. A context: what is in it goes with it."""

    def __init__(self, directory: Path, *hosts: str) -> None:
        self.directory = directory
        self.hosts = hosts
        self._namespaces: list[str] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Fabric:
        try:
            self._make()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._close()

    def _make(self) -> None:
        for name in (SWITCH, *self.hosts):
            run("ip", "netns", "add", _namespace(name))
            run("ip", "-n", _namespace(name), "link", "set", "lo", "up")
        switch = _namespace(SWITCH)
        run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "br0", "up")
        for number, name in enumerate(self.hosts, 1):
            port = f"p{number}"
            run("ip", "link", "add", "eth1", "netns", _namespace(name),
                "type", "veth", "peer", "name", port, "netns", switch)  # fmt: skip
            run("ip", "-n", switch, "link", "set", port, "master", "br0", "up")
            run("ip", "-n", _namespace(name), "address", "add", f"{SUBNET}.{number}/24", "dev", "eth1")
            run("ip", "-n", _namespace(name), "link", "set", "eth1", "up")

    def _close(self) -> None:
        """Also when interrupted a second time: what matters is last tried in any case."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
        for name in (*self._namespaces, *self.hosts, SWITCH):
            _remove(_namespace(name))
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def address(self, host: str) -> str:
        """Its address on the switch."""
        return f"{SUBNET}.{self.hosts.index(host) + 1}"

    def connect(self, one: str, other: str, subnet: str) -> tuple[str, str]:
        """A cable between two hosts beside the switch, `eth2` at both ends; their addresses on it."""
        run("ip", "link", "add", "eth2", "netns", _namespace(one),
            "type", "veth", "peer", "name", "eth2", "netns", _namespace(other))  # fmt: skip
        ends = (f"{subnet}.1", f"{subnet}.2")
        for host, address in zip((one, other), ends, strict=True):
            run("ip", "-n", _namespace(host), "address", "add", f"{address}/24", "dev", "eth2")
            run("ip", "-n", _namespace(host), "link", "set", "eth2", "up")
        return ends

    def add_address(self, host: str, address: str) -> None:
        """One more address on the switch."""
        run("ip", "-n", _namespace(host), "address", "add", f"{address}/24", "dev", "eth1")

    def add_namespace(self, name: str) -> str:
        """A namespace more, connected to nothing, which is named like a host; what it is called outside."""
        self._namespaces.append(name)
        run("ip", "netns", "add", _namespace(name))
        run("ip", "-n", _namespace(name), "link", "set", "lo", "up")
        return _namespace(name)

    def run(self, host: str, *words: str) -> str:
        """Output of a command in a host. Raises BenchError when it fails."""
        return run("ip", "netns", "exec", _namespace(host), *words)

    def set_cable(self, host: str, *, up: bool) -> None:
        """Pull the cable of a host at the switch, or put it back: the host's interface loses its carrier."""
        port = f"p{self.hosts.index(host) + 1}"
        run("ip", "-n", _namespace(SWITCH), "link", "set", port, "up" if up else "down")

    def set_reached(self, host: str, *, reached: bool) -> None:
        """Cut a host off in silence, or bring it back: its port leaves the switch, and its interface keeps its carrier.
        """
        port = f"p{self.hosts.index(host) + 1}"
        run("ip", "-n", _namespace(SWITCH), "link", "set", port, *(("master", "br0") if reached else ("nomaster",)))

    def keep_neighbor(self, host: str, other: str) -> None:
        """Have the host know the other's link-layer address whatever becomes of it."""
        mac = self.run(other, "cat", "/sys/class/net/eth1/address").strip()
        self.run(host, "ip", "neigh", "replace", self.address(other), "lladdr", mac, "dev", "eth1", "nud", "permanent")

    def cut_from(self, host: str) -> None:
        """Drop what a host sends, at the switch; what it is sent arrives."""
        hook = f"type filter hook ingress device p{self.hosts.index(host) + 1} priority 0; policy drop;"
        run("ip", "netns", "exec", _namespace(SWITCH), "nft", f"table netdev cut {{\nchain cut {{ {hook} }}\n}}")

    def join_again(self) -> None:
        """No longer drop anything."""
        run("ip", "netns", "exec", _namespace(SWITCH), "nft", "delete table netdev cut")

    def spawn(self, host: str, *words: str, log: str = "") -> subprocess.Popen[bytes]:
        """Start a process in a host. Its output goes into `log`; with none, stderr is a pipe."""
        command = ("ip", "netns", "exec", _namespace(host), *words)
        if log:
            with (self.directory / log).open("ab") as file:
                process = subprocess.Popen(command, stdout=file, stderr=file)
        else:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End it, and wait for that."""
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._processes.remove(process)

    def pids(self, host: str, *words: str) -> list[int]:
        """Processes of a host whose command line has all the words."""
        found = []
        for pid in map(int, run("ip", "netns", "pids", _namespace(host)).split()):
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                if all(word in line for word in words):
                    found.append(pid)
        return found

    def flush_routes(self, host: str, protocol: int) -> None:
        """Remove the routes of a protocol."""
        run("ip", "-n", _namespace(host), "route", "flush", "proto", str(protocol))

    def routes(self, host: str, protocol: int) -> int:
        """How many routes of a protocol there are."""
        shown = run("ip", "-n", _namespace(host), "route", "show", "proto", str(protocol))
        return len(shown.splitlines())

    def inside(self, host: str, work: Callable[[], T]) -> T:
        """Do `work` in the namespace of a host, in a thread of its own; processes that it starts are there too."""
        made: list[T] = []
        failed: list[Exception] = []

        def enter() -> None:
            try:
                with (NETNS_DIR / _namespace(host)).open("rb") as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                made.append(work())
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return made[0]

    def open_socket(self, host: str, family: int, kind: int, protocol: int) -> socket.socket:
        """A socket that belongs to the namespace of a host."""
        return self.inside(host, lambda: socket.socket(family, kind, protocol))


class RouteWatch:
    """Every change of a host's main routing table by one protocol, with the time it was seen (monotonic seconds).

    The messages are only kept as they come; they are read when asked for, so that watching takes little of the CPU
    that is being measured.
    """

    def __init__(self, fabric: Fabric, host: str, protocol: int) -> None:
        self._protocol = protocol
        self._raw: list[tuple[float, bytes]] = []
        self._socket = fabric.open_socket(host, socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, WATCH_OCTETS)
        self._socket.bind((0, RTMGRP_IPV4_ROUTE))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        receive, keep, clock = self._socket.recv, self._raw.append, time.monotonic
        with suppress(OSError):
            while data := receive(65536):
                keep((clock(), data))

    def close(self) -> None:
        """End watching."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def clear(self) -> None:
        """Forget what was seen."""
        self._raw.clear()

    @property
    def count(self) -> int:
        """Messages seen, of whatever protocol."""
        return len(self._raw)

    def added(self) -> dict[str, float]:
        """When each route (`10.0.0.0/26`, blackholes as `blackhole 10.0.0.0/26`) was first seen added."""
        found: dict[str, float] = {}
        for at, kind, text in self._events():
            if kind == RTM_NEWROUTE:
                found.setdefault(text, at)
        return found

    def removed(self) -> dict[str, float]:
        """When each route was last seen removed."""
        return {text: at for at, kind, text in self._events() if kind == RTM_DELROUTE}

    def wait_added(self, *routes: str, within: float = 30.0) -> float:
        """When the last of the routes was there."""
        wait_for(lambda: set(routes) <= self.added().keys(), what=f"routes {routes}", within=within)
        added = self.added()
        return max(added[route] for route in routes)

    def _events(self) -> Iterator[tuple[float, int, str]]:
        for at, data in list(self._raw):
            offset = 0
            while offset + 28 <= len(data):
                length, kind = struct.unpack_from("=IH", data, offset)
                bits, table, protocol, route_type = struct.unpack_from("=xBxxBBxB", data, offset + 16)
                if table == TABLE_MAIN and protocol == self._protocol and kind in (RTM_NEWROUTE, RTM_DELROUTE):
                    text = f"{_destination(data[offset + 28 : offset + length])}/{bits}"
                    yield at, kind, f"blackhole {text}" if route_type == ROUTE_BLACKHOLE else text
                offset += (length + 3) & ~3


def _destination(attributes: bytes) -> str:
    offset = 0
    while offset + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, offset)
        if kind == RTA_DST:
            return socket.inet_ntoa(attributes[offset + 4 : offset + 8])
        offset += (max(length, 4) + 3) & ~3
    return "0.0.0.0"


@contextmanager
def watching(fabric: Fabric, host: str, protocol: int) -> Iterator[RouteWatch]:
    """A watch for as long as the context lasts."""
    watch = RouteWatch(fabric, host, protocol)
    try:
        yield watch
    finally:
        watch.close()


class UpdateSniffer:
    """When the first UPDATE with routes arrives at a host (monotonic seconds)."""

    def __init__(self, fabric: Fabric, host: str, *, least: int = 48) -> None:
        self._least = least
        self._address = fabric.address(host)
        self._socket = fabric.open_socket(host, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self._seen = 0.0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        to = socket.inet_aton(self._address)
        with suppress(OSError):
            while data := self._socket.recv(65536):
                at = time.monotonic()
                start = data.find(MARKER)
                if data[16:20] != to or start < 0 or len(data) < start + self._least:
                    continue
                if data[start + 18] == BGP_UPDATE:
                    self._seen = at
                    return

    def result(self, *, within: float = 10.0) -> float:
        """The time, once it has happened."""
        self._thread.join(within)
        self._socket.close()
        if not self._seen:
            raise BenchError("no UPDATE was seen on the wire")
        return self._seen
