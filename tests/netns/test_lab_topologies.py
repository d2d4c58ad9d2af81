"""The topologies of containerlab/ as networks: every node reaches every other one over the fabric, without agents."""
from __future__ import annotations

from pathlib import Path

import pytest
from labs import CONTAINERLAB, copy_of, wait_until

from calicopy import lab as labs
from calicopy.config import load_file

pytestmark = pytest.mark.netns
TOPOLOGIES = sorted(path.parent.name for path in CONTAINERLAB.glob("*/*.clab.yml"))


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_node_reaches_every_other_one_over_the_fabric(topology: str, tmp_path: Path) -> None:
    file = copy_of(topology, tmp_path)
    text = file.read_text()
    file.write_text(text.replace("cmd: calicopy node --config /etc/calicopy/cluster.yaml", "cmd: sleep infinity"))
    cluster = load_file(file.parent / "cluster.yaml").config
    assert cluster is not None
    addresses = [(node.name, interface.ip) for node in cluster.nodes for interface in node.interfaces]
    try:
        assert labs.up(file).failures == ()
        for source, own in addresses:
            config = labs.exec_(source, ["cat", "/etc/calicopy/cluster.yaml"], lab=file).stdout
            assert config == (CONTAINERLAB / topology / "cluster.yaml").read_text()
            for target, address in addresses:
                if target == source or address.version != own.version:
                    continue
                words = ["ping", "-c", "1", "-W", "1", str(address)]
                wait_until(  # where routers are between them, these have to find each other first
                    lambda source=source, words=words: labs.exec_(source, words, lab=file).returncode == 0,
                    what=f"{source} reaches {target}",
                )
                found = labs.exec_(source, ["ip", "route", "get", str(address)], lab=file).stdout
                assert "dev eth1 " in found
                assert f" src {own} " in found
    finally:
        labs.down(file)
