"""A workload cannot send from an address that is not its own: shown with real packets."""
from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calicopy.workload import WorkloadError, attach, inspect
from calicopy.workload.guard import ensure_guard, is_guarded

if TYPE_CHECKING:
    from conftest import Host

pytestmark = pytest.mark.netns

PORT = 7777
FORGE = r"""
import socket, struct, sys
source, target, port, mark = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].encode()
udp = struct.pack("!HHHH", port, port, 8 + len(mark), 0) + mark
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                   socket.inet_aton(source), socket.inet_aton(target))
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    raw.sendto(head + udp, (target, 0))
"""


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def forge(pod: str, source: str, target: str, mark: str) -> None:
    """A UDP packet out of `pod` with a source address of our choice."""
    run("ip", "netns", "exec", pod, sys.executable, "-c", FORGE, source, target, str(PORT), mark)


@contextmanager
def listener(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, PORT))
        sock.settimeout(5)
        yield sock


def heard_until(sock: socket.socket, last: bytes) -> list[bytes]:
    """What arrives up to a packet that is sent last: what is not there by then was dropped, not late."""
    heard = []
    while True:
        heard.append(sock.recv(100))
        if heard[-1] == last:
            return heard


def loosen() -> None:
    """A host that has loosened rp_filter for all, and has a default route, over which every source is reachable."""
    Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("2")
    run("ip", "route", "add", "default", "via", "192.0.2.254", "dev", "up0", "onlink")


@pytest.mark.parametrize("rp_filter", [0, 1, 2])
def test_a_forged_source_never_arrives_whatever_the_host_has_set_for_all(host: Host, rp_filter: int) -> None:
    loosen()
    Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text(str(rp_filter))
    pod, neighbor = host.pod(), host.pod()
    host.attached(pod)
    host.attached(neighbor)
    with listener("192.0.2.1") as sock:
        for source in ("10.9.0.2", "10.9.0.3", "192.0.2.1", "192.0.2.7", "8.8.8.8", "169.254.1.1", "127.0.0.1"):
            forge(pod, source, "192.0.2.1", f"forged {source}")
        forge(pod, "10.9.0.1", "192.0.2.1", "own")
        assert heard_until(sock, b"own") == [b"own"]


def test_a_forged_source_does_not_reach_another_pod(host: Host) -> None:
    loosen()
    pod, victim = host.pod(), host.pod()
    host.attached(pod)
    host.attached(victim)
    run("ip", "netns", "exec", victim, "nft", "add table inet seen; add chain inet seen in "
        "{ type filter hook input priority 0; }; add rule inet seen in udp dport 7777 counter")
    for source in ("8.8.8.8", "10.9.0.9", "192.0.2.1"):
        forge(pod, source, "10.9.0.2", "forged")
    forge(pod, "10.9.0.1", "10.9.0.2", "own")
    assert "packets 1 " in run("ip", "netns", "exec", victim, "nft", "list", "table", "inet", "seen")


def test_the_rule_stops_it_where_rp_filter_does_not_and_looking_puts_it_back(host: Host) -> None:
    loosen()
    pod = host.pod()
    spec, _ = host.attached(pod)
    # An address on the interface is what makes `all.rp_filter = 2` loose on it.
    run("ip", "address", "add", "198.51.100.1/32", "dev", spec.host_interface)
    with listener("192.0.2.1") as sock:
        run("nft", "flush", "ruleset")  # as a reload of a firewall does
        assert not is_guarded()
        forge(pod, "8.8.8.8", "192.0.2.1", "forged")
        assert heard_until(sock, b"forged") == [b"forged"]
        assert "198.51.100.1, expected none" in inspect(spec).problem
        assert is_guarded()
        forge(pod, "8.8.8.8", "192.0.2.1", "forged")
        forge(pod, "10.9.0.1", "192.0.2.1", "own")
        assert heard_until(sock, b"own") == [b"own"]
    assert "counter packets 1 " in run("nft", "list", "table", "inet", "calicopy-workloads")


def test_the_rules_are_put_back_once_and_that_is_said(host: Host) -> None:
    host.attached(host.pod())
    assert not ensure_guard(ipv4_only=False)
    run("nft", "flush", "chain", "inet", "calicopy-workloads", "spoofed")
    assert ensure_guard(ipv4_only=False)
    assert is_guarded()
    assert not ensure_guard(ipv4_only=False)


def test_other_tables_and_other_interfaces_are_left_alone(host: Host) -> None:
    run("nft", "add table inet theirs; add chain inet theirs mine { type filter hook input priority 0; }")
    before = run("nft", "list", "table", "inet", "theirs")
    host.attached(host.pod())
    assert run("nft", "list", "table", "inet", "theirs") == before
    loosen()
    other = host.pod()
    run("ip", "link", "add", "cali00000000000", "type", "veth", "peer", "eth0", "netns", other)
    run("ip", "link", "set", "cali00000000000", "up")
    run("ip", "address", "add", "198.51.100.1/24", "dev", "cali00000000000")
    for command in ("link set eth0 up", "address add 198.51.100.2/24 dev eth0", "route add default via 198.51.100.1"):
        run("ip", "-n", other, *command.split())
    with listener("192.0.2.1") as sock:
        forge(other, "8.8.8.8", "192.0.2.1", "theirs")
        assert heard_until(sock, b"theirs") == [b"theirs"]


def test_without_nft_rp_filter_holds_for_ipv4_and_ipv6_is_refused(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loosen()
    pod = host.pod()
    four, other = host.spec(pod), host.spec(host.pod())
    six = replace(other, addresses=(*other.addresses, IPv6Address("fd00:9::3")))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        attach(four)
        assert inspect(four).problem == ""
        with pytest.raises(WorkloadError) as refused:
            attach(six)
        assert refused.value.code == "nft-missing"
    assert not is_guarded()
    run("ip", "route", "replace", "10.9.0.1", "dev", four.host_interface, "scope", "link")
    with listener("192.0.2.1") as sock:
        forge(pod, "8.8.8.8", "192.0.2.1", "forged")
        forge(pod, "10.9.0.1", "192.0.2.1", "own")
        assert heard_until(sock, b"own") == [b"own"]
    attach(six)
    assert is_guarded()
    assert inspect(six).problem == ""


def test_a_forged_ipv6_source_is_dropped_as_well(host: Host) -> None:
    pod = host.pod()
    spec = replace(host.spec(pod), addresses=(*host.spec(pod).addresses, IPv6Address("fd00:9::1")))
    attach(spec)
    run("ip", "-6", "route", "replace", "fd00:9::1", "dev", spec.host_interface)
    run("ip", "-6", "address", "add", "fd00:8::1/64", "dev", "up0", "nodad")
    run("ip", "-6", "route", "add", "default", "dev", "up0")
    run("ip", "-n", pod, "-6", "address", "add", "fd00:9::666/128", "dev", "eth0", "nodad")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("fd00:8::1", PORT))
        sock.settimeout(5)
        send = (
            "import socket,sys; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); "
            f"s.bind((sys.argv[1], 0)); s.sendto(sys.argv[2].encode(), ('fd00:8::1', {PORT}))"
        )
        for source, mark in (("fd00:9::666", "forged"), ("fd00:9::1", "own")):
            run("ip", "netns", "exec", pod, sys.executable, "-c", send, source, mark)
        assert heard_until(sock, b"own") == [b"own"]
