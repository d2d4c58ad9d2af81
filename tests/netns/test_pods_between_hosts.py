"""Pods of different hosts ping each other and send TCP, for each encapsulation and family (ipip: tests/uml).

`pytest -s` prints what came of it.
"""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import labs
import pods
import pytest

pytestmark = [pytest.mark.netns]

TOPOLOGIES = Path(__file__).parents[2] / "containerlab"
CASES = {
    "none": ("mesh", "n1", "n3", (4,)),
    "none, dual stack": ("dual-stack", "n1", "n2", (4, 6)),
    "vxlan": ("vxlan", "a1", "b1", (4, 6)),
    "udp": ("udp", "a1", "b1", (4,)),
    "udp, dual stack": ("vxlan", "a1", "b1", (4, 6)),  # with another word in its cluster file
}


@contextmanager
def copy_of(name: str, directory: Path, encapsulation: str) -> Iterator[labs.TestLab]:
    """A topology of the tree under a name of its own, so that it may run beside the test of the topology itself."""
    shutil.copytree(TOPOLOGIES / name, directory, dirs_exist_ok=True)
    file, cluster = directory / f"{name}.clab.yml", directory / "cluster.yaml"
    file.write_text(file.read_text().replace(f"name: {name}\n", f"name: {name}{os.getpid()}\n", 1))
    cluster.write_text(cluster.read_text().replace("encapsulation: vxlan", f"encapsulation: {encapsulation}"))
    with labs.existing(file) as lab:
        yield lab


@pytest.mark.parametrize("case", CASES)
def test_pods_of_two_hosts_ping_each_other_and_send_tcp(tmp_path: Path, case: str) -> None:
    name, source, target, versions = CASES[case]
    with copy_of(name, tmp_path, case.partition(",")[0]) as lab:
        lab.wait_established(source, target)
        lab.wait_established(target, source)
        pods.attach(lab, source)
        addresses = pods.attach(lab, target)
        for version in versions:
            print(f"{case}, IPv{version}: {pods.compare(lab, source, target, addresses[version])}")
