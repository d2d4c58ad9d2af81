"""Four nodes go from a mesh to two reflectors and back, one by one in any order, under a ping flood of all pairs."""
from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import faults
import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

NODES = ("n1", "n2", "n3", "n4")
REFLECTORS = ("n2", "n3")
LINGER_S = 10  # longer than the file takes to all nodes


def cluster(*, reflectors: bool) -> str:
    """The cluster file."""
    role = ", route_reflector: true, labels: {role: reflector}"
    nodes = "".join(
        f"  - {{name: {name}, address: 192.0.2.{name[1]}/24{role if reflectors and name in REFLECTORS else ''}}}\n"
        for name in NODES
    )
    peers = "  peers:\n    - {name: reflectors, peer_selector: {role: reflector}}\n" if reflectors else ""
    return (
        f"nodes:\n{nodes}pools:\n  - {{cidr: 10.244.0.0/16}}\n"
        f"bgp:\n  mesh: {'false' if reflectors else 'true'}\n  mesh_linger: {LINGER_S}s\n{peers}"
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """Four nodes in a mesh, each with a directory of its own for its file."""
    directory = tmp_path_factory.mktemp("lab")
    mesh = cluster(reflectors=False)
    plan = {name: labs.node_with_files(directory, name, f"192.0.2.{name[1]}/24", mesh) for name in NODES}
    with labs.running(directory, labs.one_ethernet(f"mr{os.getpid()}", plan), files={}, mgmt=False) as made:
        made.wait_healthy(*NODES, within=60)
        yield made


class Floods:
    """A ping every 10 ms from each pod to each other one."""

    def __init__(self, lab: labs.TestLab, pods: dict[str, str], directory: Path) -> None:
        self.lab = lab
        self.reports = {(one, other): directory / f"{one}-{other}" for one, other in permutations(pods, 2)}
        for (one, other), report in self.reports.items():
            ping = ("ping", "-i", "0.01", pods[other])
            lab.spawn(one, "ip", "netns", "exec", "pod", *ping, output=report)
        for pair, report in self.reports.items():
            labs.wait_until(lambda report=report: self.answers(report) > 20, what=f"the flood of {pair} runs")

    @staticmethod
    def answers(report: Path) -> int:
        return report.read_text().count("bytes from") if report.exists() else 0

    def stop(self) -> dict[tuple[str, str], int]:
        """End them: how many packets each lost. The last one may be on its way when ping is ended."""
        for node in {one for one, _ in self.reports}:
            namespace = Path(f"/proc/{faults.init_pid(self.lab, node)}/ns/pid").stat().st_ino
            for entry in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    ping = (entry / "cmdline").read_bytes().startswith(b"ping\0-i")
                    if ping and (entry / "ns" / "pid").stat().st_ino == namespace:
                        os.kill(int(entry.name), signal.SIGINT)
        lost = {}
        for pair, report in self.reports.items():
            found = labs.wait_until(
                lambda report=report: re.search(r"(\d+) packets transmitted, (\d+) received", report.read_text()),
                what=f"the report of {pair}",
            )
            lost[pair] = max(0, int(found[1]) - int(found[2]) - 1)
        return lost


@pytest.fixture(scope="module")
def pods(lab: labs.TestLab) -> dict[str, str]:
    """The address of a pod on each node."""
    return {name: lab.pod(name, "pod") for name in NODES}


def roll_out(lab: labs.TestLab, text: str, *, seed: int) -> None:
    """The file reaches the nodes one after the other, with `calicopy apply`."""
    order = list(NODES)
    random.Random(seed).shuffle(order)
    for name in order:
        (lab.topology.parent / name / "new.yaml").write_text(text)
        done = lab.try_run(name, "calicopy", "apply", "-f", "/etc/calicopy/new.yaml")
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


def sessions(lab: labs.TestLab, node: str) -> set[str]:
    return {name for name, peer in faults.peers(lab, node).items() if peer["state"] == "Established"}


def settled(lab: labs.TestLab, *, reflectors: bool) -> bool:
    """Whether the sessions are those of the file, and no others."""
    for name in NODES:
        others = set(NODES) if not reflectors or name in REFLECTORS else set(REFLECTORS)
        found = faults.peers(lab, name)
        if set(found) != others - {name} or sessions(lab, name) != others - {name}:
            return False
        if any(peer["lingering"] for peer in found.values()):
            return False
    return True


@pytest.mark.parametrize("seed", [1, 2])
def test_from_mesh_to_reflectors_and_back_without_losing_a_packet(
    lab: labs.TestLab, pods: dict[str, str], tmp_path: Path, seed: int
) -> None:
    floods = Floods(lab, pods, tmp_path)
    for reflectors in (True, False):
        roll_out(lab, cluster(reflectors=reflectors), seed=seed + reflectors)
        if reflectors:
            lingering = faults.peers(lab, "n1")["n4"]["lingering"]
            assert lingering.startswith("lingering: "), lingering
        labs.wait_until(
            lambda reflectors=reflectors: settled(lab, reflectors=reflectors),
            within=60,
            what="the sessions are those of the file",
        )
    lost = floods.stop()
    assert {pair: count for pair, count in lost.items() if count} == {}
    for name in NODES:
        assert lab.try_run(name, "calicopy", "status", "--check").returncode == 0
