"""The agent's process on a host without peers: starting, ending, being told, restarting, and what it lacks."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import labs
import pytest

from calicopy.ipam import AddressRecord, AddressSaved, BlockRecord, BlockSaved, CounterSaved
from calicopy.net import Prefix
from calicopy.store import Store

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

NUMBERS = count()
CALICOPY = (sys.executable, "-m", "calicopy")
BLOCK = "10.77.0.0/26"
READY = "in the kernel, in sync"


@dataclass
class Machine:
    """A host in a network namespace: `eth1` is its fabric, and a pod may be made beside it."""

    name: str
    directory: Path
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def write(self, *, node: str = "address: 192.0.2.1/24, ", extra: str = "") -> Path:
        """The cluster file."""
        path = self.directory / "cluster.yaml"
        path.write_text(
            f"nodes:\n  - {{name: n1, {node}blocks: [{BLOCK}]}}\npools:\n  - cidr: 10.77.0.0/16\n"
            f"agent: {{state_dir: {self.state}, run_dir: {self.directory}/run, resync_interval_s: 5}}\n{extra}"
        )
        return path

    def start(self, *before: str) -> subprocess.Popen[bytes]:
        """The agent, by way of the command `before`."""
        command = ("ip", "netns", "exec", self.name, *before, *CALICOPY, "agent", "--node", "n1")
        with (self.directory / "log").open("ab") as log:
            agent = subprocess.Popen((*command, "--config", str(self.directory / "cluster.yaml")), stderr=log)
        self.agents.append(agent)
        return agent

    def ip(self, *words: str) -> str:
        return run("ip", "-n", self.name, *words)

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        socket = self.directory / "run" / "calicopy.sock"
        command = (*CALICOPY, *words, "--socket", str(socket))
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    def json(self, *words: str) -> Any:
        done = self.cli(*words, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_status(self, wanted: str, *, within: float = 20) -> str:
        """Until the status is there and holds the text; the status."""
        return str(labs.wait_until(lambda: self._status_with(wanted), within=within, what=f"status with {wanted!r}"))

    def _status_with(self, wanted: str) -> str:
        text = self.cli("status").stdout
        return text if text and wanted in text else ""

    def pod(self) -> str:
        name = f"{self.name}p{len(self.pods)}"
        run("ip", "netns", "add", name)
        self.pods.append(name)
        return name


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    host = Machine(f"ap{os.getpid()}n{next(NUMBERS)}", tmp_path)
    run("ip", "netns", "add", host.name)
    try:
        host.ip("link", "set", "lo", "up")
        host.ip("link", "add", "eth1", "type", "veth", "peer", "name", "far1")
        host.ip("link", "set", "eth1", "up")
        host.ip("link", "set", "far1", "up")
        host.ip("address", "add", "192.0.2.1/24", "dev", "eth1")
        host.write()
        yield host
    finally:
        for agent in host.agents:
            with suppress(ProcessLookupError):
                agent.kill()
            agent.wait()
        for name in (*host.pods, host.name):
            subprocess.run(("ip", "netns", "delete", name), check=False)


def test_a_wrong_file_ends_it_with_4_and_every_error_named(machine: Machine) -> None:
    machine.write(node="adress: 192.0.2.1/24, ", extra="bgp: {hold_time_s: 1}\n")
    assert machine.start().wait(20) == 4
    assert "cluster.yaml:2:" in machine.log
    assert "unknown key 'adress'" in machine.log
    assert "bgp.hold_time_s" in machine.log


def test_a_second_agent_ends_with_1_and_names_the_first(machine: Machine) -> None:
    first = machine.start()
    machine.wait_status(READY)
    assert machine.start().wait(20) == 1
    assert str(first.pid) in machine.log
    assert "agent.lock" in machine.log
    assert machine.cli("status").returncode == 0


def test_a_hundred_hangups_do_not_end_it(machine: Machine) -> None:
    agent = machine.start()
    labs.wait_until(lambda: machine.state.exists(), what="the agent runs")
    for _ in range(100):
        agent.send_signal(signal.SIGHUP)
    machine.wait_status(READY)
    agent.send_signal(signal.SIGHUP)
    labs.wait_until(lambda: "SIGHUP" in machine.log, what="the log tells of it")
    agent.terminate()
    assert agent.wait(20) == 0


@pytest.mark.parametrize("node", ["address: 192.0.2.1/24, ", "address_detection: {method: interface, value: eth1}, "])
def test_an_address_that_comes_late_is_waited_for(machine: Machine, node: str) -> None:
    machine.ip("address", "delete", "192.0.2.1/24", "dev", "eth1")
    machine.write(node=node)
    agent = machine.start()
    labs.wait_until(lambda: machine.state.exists(), what="the agent runs")
    with pytest.raises(subprocess.TimeoutExpired):
        agent.wait(2)
    machine.ip("address", "add", "192.0.2.1/24", "dev", "eth1")
    machine.wait_status(READY)
    assert machine.json("status")["router_id"] == "192.0.2.1"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_restart_touches_no_route_of_a_workload(machine: Machine, number: signal.Signals) -> None:
    agent = machine.start()
    machine.wait_status(READY)
    pods = [machine.pod() for _ in range(5)]
    for pod in pods:
        assert machine.cli("workload", "attach", pod, pod).returncode == 0
    before = machine.ip("route", "show", "proto", "117")
    assert before.count("dev cali") == len(pods)
    with (machine.directory / "monitor").open("wb") as log:
        monitor = subprocess.Popen(("ip", "-n", machine.name, "monitor", "route"), stdout=log)
    machine.agents.append(monitor)
    agent.send_signal(number)
    agent.wait(20)
    machine.start()
    machine.wait_status(READY)
    labs.wait_until(lambda: len((machine.json("workload", "list") or {}).get("items", ())) == 5, what="all are known")
    # An attach before everything was looked at must not leave out the others either.
    late = machine.pod()
    assert machine.cli("workload", "attach", late, late).returncode == 0
    machine.ip("route", "add", "198.51.100.0/24", "dev", "eth1")  # once this is seen, all before it was
    labs.wait_until(lambda: "198.51.100.0/24" in (machine.directory / "monitor").read_text(), what="the last route")
    seen = [line for line in (machine.directory / "monitor").read_text().splitlines() if "proto 117" in line]
    assert [line for line in seen if "Deleted" in line] == []
    assert len(seen) == 1, seen
    assert set(before.splitlines()) <= set(machine.ip("route", "show", "proto", "117").splitlines())


def test_an_address_without_its_workload_is_freed_at_start(machine: Machine) -> None:
    block = Prefix.parse(BLOCK)
    with Store(machine.state) as store:
        record = AddressRecord(block.address_at(3), block, "workload:cut-short", 2, None, ())
        kept = AddressRecord(block.address_at(4), block, "somebody", 3, None, ())
        saved = BlockSaved(BlockRecord(block, "10.77.0.0/16", 1))
        store.commit([saved, AddressSaved(record), AddressSaved(kept), CounterSaved(3)])
    machine.start()
    machine.wait_status(READY)
    labs.wait_until(
        lambda: "cut-short" not in machine.cli("ipam", "show", "--ip", str(record.address)).stdout,
        what="the address is freed",
    )
    assert "somebody" in machine.cli("ipam", "show", "--ip", str(kept.address)).stdout
    assert machine.json("status")["ipam"]["assigned"] == 1


def test_calls_for_one_name_at_once_make_one_workload(machine: Machine) -> None:
    machine.start()
    machine.wait_status(READY)
    pod = machine.pod()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: machine.json("workload", "attach", pod, "one"), range(4)))
    assert all(answers)
    assert len({tuple(answer["addresses"]) for answer in answers}) == 1
    assert len(machine.json("workload", "list")["items"]) == 1


def test_a_full_disk_refuses_an_attach_which_works_when_there_is_room(machine: Machine) -> None:
    machine.state.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(machine.state))
    try:
        agent = machine.start()
        machine.wait_status(READY)
        ballast = machine.state / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        pods = [machine.pod() for _ in range(8)]
        refused = next(done for pod in pods if (done := machine.cli("workload", "attach", pod, pod)).returncode)
        assert "no space left" in refused.stderr
        ballast.unlink()
        for pod in pods:
            assert machine.cli("workload", "attach", pod, pod).returncode == 0
        agent.terminate()
        assert agent.wait(20) == 0
    finally:
        for agent in machine.agents:
            agent.kill()
            agent.wait()
        run("umount", str(machine.state))


def test_without_cap_net_admin_it_runs_and_the_status_says_so(machine: Machine) -> None:
    drop = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--ambient-caps=-net_admin")
    agent = machine.start(*drop)
    machine.wait_status("CAP_NET_ADMIN")
    assert machine.cli("status", "--check").returncode == 5
    pod = machine.pod()
    refused = machine.cli("workload", "attach", pod, pod)
    assert refused.returncode == 1
    assert "CAP_NET_ADMIN" in refused.stderr or "not permitted" in refused.stderr
    assert agent.poll() is None


def test_forwarding_that_somebody_takes_away_comes_back(machine: Machine) -> None:
    machine.start()
    machine.wait_status(READY)

    def held() -> str:
        names = ("net.ipv4.conf.eth1.forwarding", "net.ipv4.conf.eth1.rp_filter")
        return run("ip", "netns", "exec", machine.name, "sysctl", "-n", *names)

    labs.wait_until(lambda: held() == "1\n2\n", what="set at start")
    run("ip", "netns", "exec", machine.name, "sysctl", "-w", "net.ipv4.ip_forward=0", "net.ipv4.conf.eth1.rp_filter=1")
    labs.wait_until(lambda: held() == "1\n2\n", what="set again")


def test_forwarding_that_cannot_be_set_is_named(machine: Machine) -> None:
    run("ip", "netns", "exec", machine.name, "sysctl", "-w", "net.ipv4.ip_forward=0")
    script = 'mount -o bind,ro /proc/sys /proc/sys && exec setpriv --bounding-set=-net_admin "$@"'
    machine.start("unshare", "-m", "sh", "-c", script, "sh")
    machine.wait_status("ip_forward")
