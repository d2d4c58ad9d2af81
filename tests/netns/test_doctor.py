"""`calicopy doctor` on a host with faults: each is found, and the rest is well."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

CLUSTER = """\
nodes:
  - {name: n1, address: 192.0.2.1/24}
  - {name: n2, address: 192.0.2.2/24}
pools:
  - {cidr: 10.244.0.0/16}
"""
DROPPING = "table inet fw { chain forward { type filter hook forward priority 0; policy drop; }; }"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Hosts:
    """Two hosts on one wire, the first of which is examined."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "cluster.yaml"
        self.file.write_text(CLUSTER)
        self.a, self.b = f"doca{os.getpid()}", f"docb{os.getpid()}"

    def make(self) -> None:
        for name in (self.a, self.b):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self.a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.b)
        for name, address in ((self.a, "192.0.2.1/24"), (self.b, "192.0.2.2/24")):
            ip("-n", name, "address", "add", address, "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        for setting in ("net.ipv4.ip_forward=1", "net.ipv4.nexthop_compat_mode=0"):
            self.inside("sysctl", "-qw", setting)

    def inside(self, *words: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.a, *words], check=True)

    def examine(self) -> tuple[int, dict[str, dict[str, str]]]:
        """The exit code, and what each check says."""
        command = [sys.executable, "-m", "calicopy", "doctor", "--config", str(self.file), "--node", "n1", "-o", "json"]
        done = subprocess.run(
            ["ip", "netns", "exec", self.a, *command], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.stdout, done.stderr
        return done.returncode, {item["name"]: item for item in json.loads(done.stdout)["items"]}


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    try:
        made.make()
        yield made
    finally:
        for name in (made.a, made.b):
            subprocess.run(["ip", "netns", "delete", name], check=False)


def test_a_host_that_is_well_fails_in_nothing(hosts: Hosts) -> None:
    gone = [f"  - {{name: gone{number}, address: 192.0.2.{number}/24}}\n" for number in range(10, 60)]
    hosts.file.write_text(CLUSTER.replace("nodes:\n", "nodes:\n" + "".join(gone)))  # what waits for their ARP is much
    code, found = hosts.examine()
    assert code == 0, found
    for name in ("lo", "mtu to n2", "address 192.0.2.1", "port 179/tcp", "firewall"):
        assert found[name]["verdict"] == "ok", found[name]


def test_each_fault_of_a_host_is_named_with_what_to_do(hosts: Hosts) -> None:
    hosts.inside("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1")
    hosts.inside("nft", DROPPING)
    hosts.inside("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
    ip("-n", hosts.b, "link", "set", "eth0", "mtu", "1400")  # the far end takes no more, and nobody says so
    hosts.inside("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.2", "proto", "zebra")
    hosts.inside("ip", "link", "set", "lo", "down")
    program = "import socket; s=socket.create_server(('0.0.0.0',179)); print(1, flush=True); s.accept()"
    words = ["ip", "netns", "exec", hosts.a, sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as taker:
        try:
            assert taker.stdout is not None
            taker.stdout.readline()
            code, found = hosts.examine()
        finally:
            taker.kill()
    verdicts = {name: item["verdict"] for name, item in found.items()}
    assert code == 5
    assert {
        "lo": "fail", "port 179/tcp": "fail", "mtu to n2": "fail", "net.ipv4.conf.eth0.rp_filter": "warn",
        "firewall": "warn", "other daemons": "warn", "net.ipv4.icmp_echo_ignore_all": "warn",
    }.items() <= verdicts.items()  # fmt: skip
    assert f"process {taker.pid}" in found["port 179/tcp"]["found"]
    assert "inet fw forward" in found["firewall"]["found"]
    assert found["mtu to n2"]["found"] == "1400 arrive, 1500 do not"
    assert "1 of zebra" in found["other daemons"]["found"]
    assert all(item["advice"] for item in found.values() if item["verdict"] in ("warn", "fail"))
