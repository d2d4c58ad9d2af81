"""Pods of different hosts ping each other and send TCP, for each encapsulation and family (ipip: tests/uml).

`pytest -s` prints what came of it.
"""
from __future__ import annotations

from pathlib import Path

import labs
import pods
import pytest

pytestmark = [pytest.mark.netns]

CASES = {
    "none": ("mesh", "n1", "n3", (4,)),
    "none, dual stack": ("dual-stack", "n1", "n2", (4, 6)),
    "vxlan": ("vxlan", "a1", "b1", (4, 6)),
    "udp": ("udp", "a1", "b1", (4,)),
    "udp, dual stack": ("vxlan", "a1", "b1", (4, 6)),  # with another word in its cluster file
}


@pytest.mark.parametrize("case", CASES)
def test_pods_of_two_hosts_ping_each_other_and_send_tcp(tmp_path: Path, case: str) -> None:
    name, source, target, versions = CASES[case]
    cluster = tmp_path / "cluster.yaml"
    file = labs.copy_of(name, tmp_path)
    cluster.write_text(cluster.read_text().replace("encapsulation: vxlan", f"encapsulation: {case.partition(',')[0]}"))
    with labs.existing(file) as lab:
        lab.wait_established(source, target)
        lab.wait_established(target, source)
        pods.attach(lab, source)
        addresses = pods.attach(lab, target)
        for version in versions:
            print(f"{case}, IPv{version}: {pods.compare(lab, source, target, addresses[version])}")
