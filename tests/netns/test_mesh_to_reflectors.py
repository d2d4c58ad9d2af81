"""Four nodes go from a mesh to two reflectors and back, one by one in any order, under a ping flood of all pairs."""
from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import faults
import labs
import pytest
from floods import Floods

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

NODES = ("n1", "n2", "n3", "n4")
REFLECTORS = ("n2", "n3")
LINGER_S = 15  # longer than the file takes to all nodes, on a busy machine too


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


@pytest.fixture(scope="module")
def pods(lab: labs.TestLab) -> dict[str, str]:
    """The address of a pod on each node."""
    return {name: lab.pod(name, "pod") for name in NODES}


def roll_out(lab: labs.TestLab, text: str, *, seed: int, applied: Callable[[str], None]) -> None:
    """The file reaches the nodes one after the other, with `calicopy apply`; `applied` is called after each."""
    order = list(NODES)
    random.Random(seed).shuffle(order)
    for name in order:
        (lab.topology.parent / name / "new.yaml").write_text(text)
        done = lab.try_run(name, "calicopy", "apply", "-f", "/etc/calicopy/new.yaml")
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        applied(name)


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
        lingering = []

        def look(name: str, reflectors: bool = reflectors, lingering: list[str] = lingering) -> None:
            if reflectors and name == "n1":  # at once: it lingers from here on
                lingering.append(faults.peers(lab, "n1")["n4"]["lingering"])

        roll_out(lab, cluster(reflectors=reflectors), seed=seed + reflectors, applied=look)
        assert [text[:11] for text in lingering] == ["lingering: "] * reflectors
        labs.wait_until(
            lambda reflectors=reflectors: settled(lab, reflectors=reflectors),
            within=60,
            what="the sessions are those of the file",
        )
    lost = floods.stop()
    assert {pair: count for pair, count in lost.items() if count} == {}
    for name in NODES:
        assert lab.try_run(name, "calicopy", "status", "--check").returncode == 0
