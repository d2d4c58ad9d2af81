"""The mesh that things happen to: nodes on one Ethernet, a pod on each, and things of other programs planted beside."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import labs

from calicopy.node import node_services
from calicopy.v1 import ipam_pb2, ipam_pb2_grpc, node_pb2, node_pb2_grpc

POOL = "10.244.0.0/16"
CONFIG = "/etc/calicopy/cluster.yaml"
JOURNAL = "/var/lib/calicopy/journal"
FOREIGN_PROTOCOL = "99"
POD = "pod"
BFD = any(one.name == "bfd" for one in node_services("/run/calicopy", ()))
CALL_S = 3.0
RUNS = {
    "agent": r"calicopy agent",
    "speaker": r"speaker\.unit",
    "bridge": r"bridge\.py",
    "udp": r"calicopy\.udp",
    "bfd": r"calicopy\.bfd",
    "supervisor": r"calicopy(\.| )node",
}
"""What the command line of each of our processes has in it."""
PLANT = (
    "ip link add foreign0 type veth peer name foreign1", "ip link set foreign0 up", "ip link set foreign1 up",
    "ip address add 203.0.113.1/24 dev foreign0",
    f"ip route add default dev foreign0 metric 5000 proto {FOREIGN_PROTOCOL}",
    f"ip route add 198.51.100.0/24 via 203.0.113.2 proto {FOREIGN_PROTOCOL}",
    f"ip route add 10.244.255.0/24 via 203.0.113.3 proto {FOREIGN_PROTOCOL} metric 77",
    f"ip nexthop add id 77 via 203.0.113.2 dev foreign0 protocol {FOREIGN_PROTOCOL}",
    "nft add table inet theirs",
    "nft 'add chain inet theirs seen { type filter hook forward priority 10 ; policy accept ; }'",
    "nft add rule inet theirs seen ip daddr 198.51.100.7 drop",
    "nft add table inet leaks",
    "nft add counter inet leaks pods",
    "nft 'add chain inet leaks out { type filter hook postrouting priority 300 ; }'",
    f"nft 'add rule inet leaks out oifname foreign0 ip daddr {POOL} ip daddr != 10.244.255.0/24 counter name pods'",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the cluster file says just now."""

    encapsulation: str = "none"
    hold_time_s: int = 9
    relax: bool = False
    bfd_ms: int = 100
    """Interval of BFD."""

    def text(self, addresses: Mapping[str, str]) -> str:
        """The cluster file."""
        nodes = "".join(f"  - {{name: {name}, address: {address}/24}}\n" for name, address in addresses.items())
        return (
            f"nodes:\n{nodes}pools:\n  - {{name: pods, cidr: {POOL}, encapsulation: {self.encapsulation}}}\n"
            "encapsulation: {decapsulate: [vxlan, udp]}\n"
            f"bgp:\n  hold_time_s: {self.hold_time_s}\n  multipath_relax: {str(self.relax).lower()}\n"
            f"  bfd: {{enabled: {str(BFD).lower()}, interval: {self.bfd_ms}ms}}\n"
            f"agent: {{socket_group: nogroup, journal: {JOURNAL}}}\n"
        )


@dataclass
class Mesh:
    """A running mesh."""

    lab: labs.TestLab
    addresses: dict[str, str]
    wanted: Wanted = Wanted()
    pids: dict[str, int] = field(default_factory=dict)
    pods: dict[str, str] = field(default_factory=dict)
    planted: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the lab."""
        return self.lab.topology.name.partition(".")[0]

    @property
    def nodes(self) -> list[str]:
        """Names, in order."""
        return list(self.addresses)

    def port(self, node: str) -> str:
        """The port of the switch that a node is at."""
        return f"eth{self.nodes.index(node) + 1}"

    def root(self, node: str, path: str) -> Path:
        """A path of a node, as this machine reaches it."""
        return Path(f"/proc/{self.pids[node]}/root{path}")

    def run(self, node: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `words` inside a node (or `sw`). AssertionError when it fails, unless `check` is off."""
        line = ("nsenter", "-t", str(self.pids[node]), "-m", "-u", "-i", "-n", "-p", "--", *words)
        done = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=90)
        assert not check or done.returncode == 0, f"{node}: {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def cli(self, node: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A `calicopy` command inside a node."""
        return self.run(node, sys.executable, "-m", "calicopy", *words, check=check)

    def start(self, node: str) -> None:
        """The supervisor, as a service manager starts it."""
        line = f"{sys.executable} -m calicopy node --config {CONFIG} >>/proc/1/fd/1 2>&1 </dev/null &"
        self.run(node, "sh", "-c", line)

    def processes(self, node: str, *kinds: str) -> list[int]:
        """Pids (of this machine) of our processes of these kinds (default: all) in a node."""
        inside = Path(f"/proc/{self.pids[node]}/ns/pid").stat().st_ino
        patterns = [re.compile(RUNS[kind]) for kind in kinds or RUNS]
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if any(one.search(line) for one in patterns) and (entry / "ns/pid").stat().st_ino == inside:
                        found.append(int(entry.name))
        return found

    def signal(self, node: str, *kinds: str, number: int = signal.SIGKILL) -> list[int]:
        """Send a signal to our processes of these kinds; their pids."""
        pids = self.processes(node, *kinds)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def ensure_supervisor(self, node: str) -> None:
        """A service manager's part."""
        if not self.processes(node, "supervisor"):
            self.start(node)

    @contextmanager
    def channel(self, node: str) -> Iterator[grpc.Channel]:
        """To a node's agent."""
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.insecure_channel(f"unix:{self.root(node, '/run/calicopy/calicopy.sock')}", options=options) as one:
            yield one

    def status(self, node: str) -> Any:
        """The NodeStatus of a node. grpc.RpcError while its agent does not answer."""
        with self.channel(node) as channel:
            return node_pb2_grpc.NodeServiceStub(channel).GetStatus(
                node_pb2.GetStatusRequest(), timeout=CALL_S).status  # fmt: skip

    def ipam(self, node: str) -> tuple[set[str], dict[str, str]]:
        """Confirmed own blocks of a node, and its assigned addresses with their handles."""
        with self.channel(node) as channel:
            stub = ipam_pb2_grpc.IpamServiceStub(channel)
            blocks = stub.ListBlocks(ipam_pb2.ListBlocksRequest(), timeout=CALL_S).blocks
            addresses = stub.ListAddresses(ipam_pb2.ListAddressesRequest(), timeout=CALL_S).addresses
        own = {one.cidr for one in blocks if one.node == node and one.state == ipam_pb2.BLOCK_STATE_CONFIRMED}
        return own, {one.address: one.handle for one in addresses if one.node == node and one.state == "assigned"}

    def kernel(self, node: str) -> dict[str, dict[str, Any]]:
        """Our routes in the kernel of a node by destination, read by `ip`, with what their objects lead to."""
        routes = json.loads(self.run(node, "ip", "-4", "-j", "route", "show", "proto", "117").stdout)
        objects = {one["id"]: one for one in json.loads(self.run(node, "ip", "-j", "nexthop", "show").stdout or "[]")}
        return {one["dst"]: labs.led(one, objects) for one in routes}

    def foreign(self, node: str) -> str:
        """All that was planted, as the kernel has it."""
        shown = (
            f"ip -4 route show proto {FOREIGN_PROTOCOL}", f"ip nexthop show protocol {FOREIGN_PROTOCOL}",
            "nft list table inet theirs", "nft list chain inet leaks out",
        )  # fmt: skip
        return "".join(self.run(node, "sh", "-c", "; ".join(shown)).stdout)

    def leaked(self, node: str) -> int:
        """How many packets for pods left by the default route, so far."""
        shown = self.run(node, "nft", "-j", "list", "counter", "inet", "leaks", "pods").stdout
        return int(json.loads(shown)["nftables"][1]["counter"]["packets"])

    def apply(self, wanted: Wanted) -> list[str]:
        """Have all nodes take another file, one after the other; what went wrong."""
        self.wanted = wanted
        wrong = []
        for node in self.nodes:
            (self.lab.topology.parent / node / "new.yaml").write_text(wanted.text(self.addresses))
            done = self.cli(node, "apply", "-f", "/etc/calicopy/new.yaml", check=False)
            if done.returncode:
                wrong.append(f"{node}: apply ended with {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}")
        return wrong

    def keep(self, directory: Path) -> None:
        """Copy journals and logs of all nodes."""
        directory.mkdir(parents=True, exist_ok=True)
        for node in self.nodes:
            for name in ("journal", "journal.1"):
                with suppress(OSError):
                    shutil.copy(self.root(node, JOURNAL).with_name(name), directory / f"{node}.{name}")
            with suppress(OSError):
                shutil.copy(labs.labs.logs(node, lab=self.lab.topology), directory / f"{node}.log")


@contextmanager
def running(directory: Path, count: int, *, tell: Callable[[str], None]) -> Iterator[Mesh]:
    """A mesh of so many nodes, in sync, with a pod on each; taken down whatever happens."""
    addresses = {f"n{number}": f"192.0.2.{number}" for number in range(1, count + 1)}
    wanted = Wanted()
    plan = {}
    for name, address in addresses.items():
        plan[name] = labs.node_with_files(directory, name, f"{address}/24", wanted.text(addresses))
        plan[name]["cmd"] = "sleep infinity"  # PID 1 is none of ours, so that all of ours can die
    topology = labs.one_ethernet(f"chaos{os.getpid()}", plan)
    with labs.running(directory, topology, files={}, mgmt=False) as lab:
        mesh = Mesh(lab, addresses, wanted)
        mesh.pids = {one.name: one.pid for one in labs.labs.status(lab.topology) if one.pid is not None}
        lab.calicopy = tuple(addresses)
        for name in addresses:
            mesh.run(name, "sh", "-ec", "\n".join(PLANT))
            mesh.planted[name] = mesh.foreign(name)
            mesh.start(name)
        tell(f"{count} nodes start")
        within = 60 + 10 * count
        for name in addresses:
            labs.wait_until(lambda name=name: healthy(mesh, name), within=within, what=f"{name} is healthy")
            mesh.run(name, "ip", "netns", "add", POD)
            done = mesh.cli(name, "workload", "attach", POD, POD, "-o", "json")
            mesh.pods[name] = json.loads(done.stdout)["addresses"][0]
        yield mesh


def healthy(mesh: Mesh, node: str) -> bool:
    """Whether a node's agent answers and calls nothing wrong, with a session to each other node."""
    try:
        status = mesh.status(node)
    except grpc.RpcError:
        return False
    return bool(status.health == node_pb2.HEALTH_OK and status.peers.established == len(mesh.nodes) - 1)




def runs(pid: int) -> bool:
    """Whether there is such a process, other than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
