"""A lab of calicopy nodes and other routers for one test: written as a topology file, run by `calicopy lab`."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from calicopy import lab as labs

CONTAINERLAB = Path(__file__).parents[2] / "containerlab"
DEVICES = {"none": "eth1", "ipip": "tunl0", "vxlan": "calivx0", "udp": "caliudp0"}
"""What a route of each encapsulation leads to in a lab."""
POLL_S = 0.05


def wait_until(check: Callable[[], Any], *, within: float = 20.0, what: str) -> Any:
    """Poll `check` until it gives something true, and return that. AssertionError after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}; last seen: {found!r}")
        time.sleep(POLL_S)


def lost(report: str) -> int:
    """How many packets of a finished ping got no answer."""
    found = re.search(r"(\d+) packets transmitted, (\d+) received", report)
    assert found, report
    return int(found[1]) - int(found[2])


def load_s(*modules: str) -> float:
    """How many seconds this machine takes, now, to start Python and load modules: what a bound on a start goes with."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {', '.join(modules)}"], check=True)
    return time.monotonic() - began


@dataclass
class TestLab:
    """A running lab. `calicopy` names the nodes that run our agent."""

    __test__ = False

    topology: Path
    calicopy: tuple[str, ...]
    spawned: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def try_run(self, node: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `words` inside a node, whatever comes of it."""
        return labs.exec_(node, list(words), lab=self.topology, capture=True)

    def run(self, node: str, *words: str) -> str:
        """Run `words` inside a node; the output. AssertionError when it fails."""
        done = self.try_run(node, *words)
        assert done.returncode == 0, f"{node}: {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return str(done.stdout)

    def cli(self, node: str, *words: str) -> Any:
        """The JSON of a `calicopy` command inside a node."""
        return json.loads(self.run(node, "calicopy", *words, "-o", "json"))

    def status(self, node: str) -> Any:
        """`calicopy status`, or None while the agent does not answer."""
        done = self.try_run(node, "calicopy", "status", "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def established(self, node: str) -> set[str]:
        """Names of the peers that are Established."""
        done = self.try_run(node, "calicopy", "peers", "-o", "json")
        if done.returncode != 0:
            return set()
        return {peer["name"] for peer in json.loads(done.stdout)["items"] if peer["state"] == "Established"}

    def wait_established(self, node: str, *names: str, within: float = 30.0) -> None:
        """Until the session with each of `names` is up."""
        wait_until(lambda: set(names) <= self.established(node), within=within, what=f"{node}: {names} Established")

    def wait_healthy(self, *nodes: str, within: float = 30.0) -> None:
        """Until `calicopy status --check` is content on each node; what it says otherwise is in the AssertionError."""
        for node in nodes or self.calicopy:
            checked = partial(self.try_run, node, "calicopy", "status", "--check")
            try:
                wait_until(lambda check=checked: check().returncode == 0, within=within, what=f"{node} is healthy")
            except AssertionError as late:
                raise AssertionError(f"{late}\n{checked().stderr}") from None

    def kernel_routes(self, node: str, *, ipv6: bool = False) -> dict[str, dict[str, Any]]:
        """Our routes in the kernel of a node, by destination, with what their nexthop object leads to."""
        ip = ("ip", "-6" if ipv6 else "-4", "-j")
        shown = json.loads(self.run(node, *ip, "route", "show", "proto", "117"))
        objects = {one["id"]: one for one in json.loads(self.run(node, "ip", "-j", "nexthop", "show") or "[]")}
        length = "/128" if ipv6 else "/32"
        return {
            route["dst"] if "/" in route["dst"] else route["dst"] + length: led(route, objects) for route in shown
        }

    def block_of(self, node: str) -> str:
        """The block of a node, once it is confirmed."""

        def confirmed() -> str:
            done = self.try_run(node, "calicopy", "ipam", "show", "--blocks", "-o", "json")
            items = json.loads(done.stdout)["items"] if done.returncode == 0 else []
            return next((one["cidr"] for one in items if one["node"] == node and one["state"] == "confirmed"), "")

        return str(wait_until(confirmed, within=30, what=f"{node} has a block"))

    def attach(self, node: str, name: str) -> list[str]:
        """A pod on a node; its addresses, IPv4 first."""
        self.run(node, "ip", "netns", "add", name)
        return list(self.cli(node, "workload", "attach", name, name)["addresses"])

    def pod(self, node: str, name: str) -> str:
        """A pod on a node; its address, or the first one."""
        return self.attach(node, name)[0]

    def namespace(self, node: str) -> str:
        """The named network namespace of a node."""
        (status,) = (one for one in labs.status(self.topology) if one.name == node)
        return status.container

    def pids(self, node: str, *words: str) -> list[int]:
        """Pids (of this machine) of the processes of a node whose command line has all `words`."""
        (status,) = (one for one in labs.status(self.topology) if one.name == node)
        namespace = Path(f"/proc/{status.pid}/ns/net").stat().st_ino
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                same = (entry / "ns" / "net").stat().st_ino == namespace
            except OSError:
                continue
            if same and line and all(word in line for word in words):
                found.append(int(entry.name))
        return sorted(found)

    def kill(self, node: str, *words: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to the processes of a node whose command line has all `words`; there must be one."""
        pids = self.pids(node, *words)
        assert pids, f"no process of {node} has {words}"
        for pid in pids:
            os.kill(pid, number)

    def wait_others(self, node: str, *words: str, before: Sequence[int]) -> None:
        """Until other processes than those of `before` have all `words` in their command line, and none of those."""
        wait_until(
            lambda: (now := self.pids(node, *words)) and not set(now) & set(before),
            within=30,
            what=f"{words} of {node} runs again",
        )

    def restart(self, node: str, *words: str) -> None:
        """kill -9 what has these words in its command line, and wait until it runs again."""
        before = self.pids(node, *words)
        self.kill(node, *words)
        self.wait_others(node, *words, before=before)

    def spawn(self, node: str, *words: str, output: Path) -> subprocess.Popen[bytes]:
        """Run something in the background inside a node, its output into a file; ended with the lab at the latest."""
        line = [sys.executable, "-m", "calicopy", "lab", "exec", "--lab", str(self.topology), node, "--", *words]
        with output.open("wb") as file:
            process = subprocess.Popen(line, stdout=file, stderr=subprocess.STDOUT)
        self.spawned.append(process)
        return process

    def logs(self) -> str:
        """What the nodes' commands wrote last, for a failure report."""
        texts = []
        for node in self.calicopy:
            try:
                texts.append(f"--- {node}\n" + labs.logs(node, lab=self.topology).read_text(errors="replace")[-6000:])
            except OSError:
                continue
        return "\n".join(texts)


def led(route: dict[str, Any], objects: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """A route as `ip -j route` shows it, as if it had itself what its nexthop object has."""
    found = objects.get(route.get("nhid", 0), {})
    if "blackhole" in found:
        return {**route, "type": "blackhole"}
    if "group" in found:
        return {**route, "nexthops": [_hop(objects[one["id"]]) for one in found["group"]]}
    return {**route, **_hop(found)}


def _hop(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("gateway", "dev", "flags") if key in found}


def node(address: str, *, image: str = "calicopy-node:latest", **more: Any) -> dict[str, Any]:
    """A calicopy node of a topology, with its fabric address on eth1."""
    return {
        "kind": "linux",
        "image": image,
        "cmd": "calicopy node --config /etc/calicopy/cluster.yaml",
        "binds": ["cluster.yaml:/etc/calicopy/cluster.yaml:ro"],
        "exec": [f"ip address add {address} dev eth1"],
        **more,
    }


def node_with_files(directory: Path, name: str, address: str, cluster: str) -> dict[str, Any]:
    """The same, with a directory of its own for its file, which it may write: `NAME/cluster.yaml` in `directory`."""
    (directory / name).mkdir()
    (directory / name / "cluster.yaml").write_text(cluster)
    return node(address, binds=[f"{name}:/etc/calicopy"])


def router(address: str, cmd: str, *, binds: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """A node that runs something else."""
    return {"kind": "linux", "image": "debian:bookworm-slim", "cmd": cmd, "binds": list(binds),
            "exec": [f"ip address add {address} dev eth1"], **more}  # fmt: skip


def one_ethernet(name: str, nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A topology with all nodes on one switch."""
    ports = [f"eth{number}" for number in range(1, len(nodes) + 1)]
    switch = {
        "kind": "linux",
        "image": "debian:bookworm-slim",
        "cmd": "sleep infinity",
        "exec": ["ip link add br0 type bridge", *(f"ip link set {port} master br0" for port in ports),
                 "ip link set br0 up"],
    }  # fmt: skip
    return {
        "name": name,
        "topology": {
            "defaults": {
                "privileged": False,
                "cap-add": ["NET_ADMIN", "SYS_ADMIN"],
                "sysctls": {
                    "net.ipv4.ip_forward": 1,
                    "net.ipv4.nexthop_compat_mode": 0,
                    "net.ipv6.conf.all.forwarding": 1,
                },
            },
            "nodes": {**nodes, "sw": switch},
            "links": [
                {"endpoints": [f"{each}:eth1", f"sw:{port}"]} for each, port in zip(nodes, ports, strict=True)
            ],
        },
    }


@contextmanager
def running(
    directory: Path, topology: Mapping[str, Any], *, files: Mapping[str, str], mgmt: bool = True
) -> Iterator[TestLab]:
    """Bring the lab up, and down again whatever happens. `files` are written beside the topology file."""
    for name, text in files.items():
        (directory / name).write_text(text)
    path = directory / f"{topology['name']}.clab.yml"
    path.write_text(yaml.safe_dump(dict(topology), sort_keys=False))
    ours = tuple(
        name for name, entry in topology["topology"]["nodes"].items() if "calicopy" in str(entry.get("cmd", ""))
    )
    lab = TestLab(path, ours)
    try:
        made = labs.up(path, mgmt=mgmt)
        assert not made.failures, made.failures
        yield lab
    except BaseException:
        print(lab.logs())
        raise
    finally:
        for process in lab.spawned:
            process.kill()
            process.wait()
        with suppress(labs.LabError):  # it never came up
            labs.down(path)


def copy_of(name: str, directory: Path) -> Path:
    """The file of a topology of containerlab/, copied under a name of its own, so that two runs go side by side."""
    shutil.copytree(CONTAINERLAB / name, directory, dirs_exist_ok=True)
    file = directory / f"{name}.clab.yml"
    file.write_text(file.read_text().replace(f"name: {name}\n", f"name: {name}{os.getpid()}\n", 1))
    return file


@contextmanager
def existing(path: Path) -> Iterator[TestLab]:
    """A lab from a topology file, see `copy_of`; up as long as the context lasts."""
    nodes = yaml.safe_load(path.read_text())["topology"]["nodes"]
    lab = TestLab(path, tuple(name for name, entry in nodes.items() if entry.get("group") == "node"))
    try:
        made = labs.up(path)
        assert not made.failures, made.failures
        yield lab
    except BaseException:
        print(lab.logs())
        raise
    finally:
        for process in lab.spawned:
            process.kill()
            process.wait()
        with suppress(labs.LabError):  # it never came up
            labs.down(path)
