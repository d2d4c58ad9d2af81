"""Attaching, detaching and inspecting in real namespaces."""
from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calicopy.workload import WorkloadError, attach, detach, host_interface_name, inspect

if TYPE_CHECKING:
    from conftest import Host

pytestmark = pytest.mark.netns


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def first_round_trip_ms(source: str | None, target: object) -> float:
    """The round trip of the very first packet; fails when there is no answer within a second."""
    inside = ("ip", "netns", "exec", source) if source else ()
    out = run(*inside, "ping", "-n", "-c", "1", "-W", "1", str(target))
    found = re.search(r"time=([0-9.]+) ms", out)
    assert found, out
    return float(found[1])


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(WorkloadError) as caught:
        call()
    assert str(caught.value)
    return caught.value.code


def test_the_host_interface_has_a_name_that_is_stable_and_fits() -> None:
    names = {host_interface_name(f"workload-{number}") for number in range(1000)}
    assert len(names) == 1000
    assert all(re.fullmatch(r"cali[0-9a-f]{11}", name) for name in names)
    assert host_interface_name("web") == "cali042d9853dcb"


def test_a_pod_gets_its_address_the_calico_way(host: Host) -> None:
    pod = host.pod()
    spec, done = host.attached(pod)
    assert done.host_interface == spec.host_interface
    assert done.mac == spec.mac
    assert "10.9.0.1/32" in run("ip", "-n", pod, "-br", "address", "show", "eth0")
    assert run("ip", "-n", pod, "-br", "link", "show", "lo").split()[1] == "UNKNOWN"
    ways = [line.strip() for line in run("ip", "-n", pod, "route").splitlines()]
    assert ways == [
        "default via 169.254.1.1 dev eth0 proto static onlink",
        "169.254.1.1 dev eth0 proto static scope link",
    ]
    assert "lladdr ee:ee:ee:ee:ee:ee PERMANENT" in run("ip", "-n", pod, "neigh", "show", "169.254.1.1")
    link = run("ip", "-d", "link", "show", spec.host_interface)
    for piece in ("link/ether ee:ee:ee:ee:ee:ee", "group 2254", "mtu 1400", f"alias calicopy workload {pod}"):
        assert piece in link
    assert "lladdr 02:00:00:00:00:01 PERMANENT" in run("ip", "neigh", "show", "10.9.0.1")
    settings = Path(f"/proc/sys/net/ipv4/conf/{spec.host_interface}")
    values = {name: (settings / name).read_text().strip() for name in ("forwarding", "proxy_arp", "rp_filter")}
    assert values == {"forwarding": "1", "proxy_arp": "1", "rp_filter": "1"}
    assert Path(f"/proc/sys/net/ipv4/neigh/{spec.host_interface}/proxy_delay").read_text().strip() == "0"
    assert inspect(spec).problem == ""


def test_the_first_ping_is_answered_at_once_without_a_default_route(host: Host) -> None:
    assert run("ip", "route", "show", "default") == ""
    firsts = []
    for _ in range(3):
        one, other = host.pod(), host.pod()
        (_, _), (spec, _) = host.attached(one), host.attached(other)
        firsts.append(first_round_trip_ms(one, spec.addresses[0]))
        firsts.append(first_round_trip_ms(one, "192.0.2.1"))
        third = host.pod()
        firsts.append(first_round_trip_ms(None, host.attached(third)[0].addresses[0]))
    # What is promised is 5 ms. A single one may be late on a busy machine, but never by the 800 ms of proxy_delay.
    assert statistics.median(firsts) < 5, firsts
    assert max(firsts) < 200, firsts


def test_attaching_takes_milliseconds(host: Host) -> None:
    attach(host.spec(host.pod()))  # the first installs the anti-spoofing rule
    took = []
    for _ in range(5):
        spec = host.spec(host.pod())
        start = time.perf_counter()
        attach(spec)
        took.append((time.perf_counter() - start) * 1000)
    assert statistics.median(took) < 50, took


def test_attaching_again_changes_nothing_and_loses_no_packet(host: Host) -> None:
    pod = host.pod()
    spec, done = host.attached(pod)
    flood = subprocess.Popen(
        ["ping", "-n", "-i", "0.01", "-c", "50", "-W", "1", str(spec.addresses[0])], stdout=subprocess.PIPE, text=True
    )
    try:
        for _ in range(20):
            assert attach(spec) == done
        out, _ = flood.communicate(timeout=20)
    finally:
        flood.kill()
        flood.wait()
    assert " 0% packet loss" in out


BREAKAGES = {
    "the pair alone was made": (),
    "the pod's route is gone": ("ip -n POD route delete default",),
    "the pod's neighbor entry is gone": ("ip -n POD neigh delete 169.254.1.1 dev eth0",),
    "the pod's address is gone": ("ip -n POD address flush dev eth0",),
    "the pod has an older address": ("ip -n POD address flush dev eth0", "ip -n POD address add 10.9.0.99/32 dev eth0"),
    "the pod's end is down": ("ip -n POD link set eth0 down",),
    "the pod's MAC address is another": ("ip -n POD link set eth0 address 02:11:11:11:11:11",),
    "the host's end is down": ("ip link set HOST down",),
    "the host's MAC address is another": ("ip link set HOST address 02:22:22:22:22:22",),
    "the host's neighbor entry is gone": ("ip neigh delete 10.9.0.1 dev HOST",),
    "the host's end was given an address": ("ip address add 198.51.100.1/24 dev HOST",),
    "rp_filter was set loose": ("sysctl -qw net.ipv4.conf.HOST.rp_filter=2",),
    "forwarding was set off": ("sysctl -qw net.ipv4.conf.HOST.forwarding=0",),
    "the pod's interface was renamed": ("ip -n POD link set eth0 down", "ip -n POD link set eth0 name other"),
}


@pytest.mark.parametrize("what", BREAKAGES)
def test_what_is_missing_is_seen_and_completed_by_the_next_attach(host: Host, what: str) -> None:
    pod = host.pod()
    if BREAKAGES[what]:
        spec, _ = host.attached(pod)
        assert inspect(spec).problem == ""
        for command in BREAKAGES[what]:
            run(*command.replace("POD", pod).replace("HOST", spec.host_interface).split())
    else:
        spec = host.spec(pod)
        run("ip", "link", "add", spec.host_interface, "group", "2254", "type", "veth", "peer", "eth0", "netns", pod)
    found = inspect(spec)
    assert found.host_ifindex is not None
    assert found.problem
    host.attached(pod)
    assert inspect(spec).problem == ""
    assert first_round_trip_ms(pod, "192.0.2.1") < 200
    assert "10.9.0.99" not in run("ip", "-n", pod, "address")


KILLED = """
import sys
from ipaddress import IPv4Address
from calicopy.workload import AttachSpec, attach, detach
name, host_interface = sys.argv[1:]
spec = AttachSpec(name=name, netns=name, host_interface=host_interface, addresses=(IPv4Address("10.9.0.1"),), mtu=1400)
attach(spec)
print("ready", flush=True)
while True:
    detach(spec)
    attach(spec)
"""


def test_an_attach_or_detach_cut_short_by_a_kill_is_completed(host: Host) -> None:
    pod = host.pod()
    spec = host.spec(pod)
    for delay_ms in (3, 20, 31, 47, 64):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, pod, spec.host_interface], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(delay_ms / 1000)  # not for luck: whatever state the kill leaves must do
            child.kill()
        host.attached(pod)
        assert inspect(spec).problem == ""
        assert first_round_trip_ms(pod, "192.0.2.1") < 200


READ_ONLY = """
set -e
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
if echo 1 2>/dev/null >/proc/sys/net/ipv4/conf/all/rp_filter; then exit 9; fi
exec "$@"
"""
ATTACH_ONCE = KILLED.partition("print(")[0]


def test_attaching_works_where_proc_sys_is_read_only(host: Host) -> None:
    pod = host.pod()
    spec = host.spec(pod)
    child = (sys.executable, "-c", ATTACH_ONCE, pod, spec.host_interface)
    run("unshare", "--mount", "--propagation", "private", "sh", "-c", READ_ONLY, "sh", *child)
    assert inspect(replace(spec, mac="")).problem == ""
    host.attached(pod)
    assert first_round_trip_ms(pod, "192.0.2.1") < 200


def test_a_namespace_made_anew_under_the_same_name_is_attached_anew(host: Host) -> None:
    pod = host.pod()
    spec, _ = host.attached(pod)
    with Path(f"/run/netns/{pod}").open() as kept:  # the old namespace lives on, as with a process in it
        run("ip", "netns", "delete", pod)
        run("ip", "netns", "add", pod)
        assert "other end" in inspect(spec).problem
        host.attached(pod)
        assert kept.fileno() >= 0
    assert inspect(spec).problem == ""
    assert first_round_trip_ms(None, spec.addresses[0]) < 200


def test_detaching_removes_both_ends_and_may_be_done_twice(host: Host) -> None:
    pod = host.pod()
    spec, _ = host.attached(pod)
    detach(spec)
    assert "eth0" not in run("ip", "-n", pod, "link")
    assert spec.host_interface not in run("ip", "link")
    assert inspect(spec).host_ifindex is None
    assert "missing" in inspect(spec).problem
    detach(spec)


def test_detaching_works_when_the_namespace_is_gone(host: Host) -> None:
    pod = host.pod()
    spec, _ = host.attached(pod)
    host.remove(pod)
    assert inspect(spec).problem
    detach(spec)
    assert inspect(spec).host_ifindex is None


def test_a_namespace_may_be_named_by_a_path_of_a_process(host: Host) -> None:
    pod = host.pod()
    sleeper = subprocess.Popen(["ip", "netns", "exec", pod, "sleep", "60"])
    try:
        path, own = f"/proc/{sleeper.pid}/ns/net", Path("/proc/thread-self/ns/net").stat().st_ino
        deadline = time.monotonic() + 5
        while Path(path).stat().st_ino == own and time.monotonic() < deadline:
            time.sleep(0.01)
        spec = replace(host.spec(pod), netns=path)
        attach(spec)
        assert inspect(spec).problem == ""
    finally:
        sleeper.kill()
        sleeper.wait()
    assert code_of(lambda: attach(spec)) == "netns-not-found"
    detach(spec)


def test_an_interface_that_is_not_ours_is_never_touched(host: Host) -> None:
    pod = host.pod()
    spec = host.spec(pod)
    run("ip", "link", "add", spec.host_interface, "type", "veth", "peer", "name", "else0")
    before = run("ip", "-d", "link", "show", spec.host_interface)
    assert code_of(lambda: attach(spec)) == "foreign-interface"
    detach(spec)
    assert inspect(spec).host_ifindex is None
    assert "not the one" in inspect(spec).problem
    assert run("ip", "-d", "link", "show", spec.host_interface) == before


def test_an_interface_of_the_pod_is_never_taken_over(host: Host) -> None:
    pod = host.pod()
    run("ip", "-n", pod, "link", "add", "eth0", "type", "bridge")
    spec = host.spec(pod)
    assert code_of(lambda: attach(spec)) == "interface-exists"
    assert spec.host_interface not in run("ip", "link")
    attach(replace(spec, interface="pod0"))
    assert "bridge" in run("ip", "-d", "-n", pod, "link", "show", "eth0")


def test_two_workloads_cannot_share_one_interface_of_a_pod(host: Host) -> None:
    pod = host.pod()
    host.attached(pod)
    other = replace(host.spec(pod), name="other", host_interface=host_interface_name("other"))
    assert code_of(lambda: attach(other)) == "interface-exists"


def test_a_failed_attach_leaves_no_interface_behind(host: Host) -> None:
    pod = host.pod()
    run("ip", "-n", pod, "link", "add", "eth1", "type", "bridge")
    run("ip", "-n", pod, "link", "set", "eth1", "up")
    run("ip", "-n", pod, "route", "add", "default", "dev", "eth1")
    spec = host.spec(pod)
    assert code_of(lambda: attach(spec)) == "default-route-exists"
    assert spec.host_interface not in run("ip", "link")
    assert run("ip", "-n", pod, "route").startswith("default dev eth1 scope link")


def test_bad_input_is_refused_by_name_before_anything_is_made(host: Host, tmp_path: Path) -> None:
    pod = host.pod()
    spec = host.spec(pod)
    plain = tmp_path / "plain"
    plain.touch()
    os.mkfifo(tmp_path / "fifo")
    cases = {
        "netns-not-found": [{"netns": "nobody"}, {"netns": "/proc/1/ns/nobody"}],
        "not-a-netns": [{"netns": str(plain)}, {"netns": str(tmp_path / "fifo")}, {"netns": "/proc/self/ns/uts"}],
        "netns-is-host": [{"netns": host.prefix}, {"netns": "/proc/thread-self/ns/net"}],
        "bad-spec": [
            {"netns": ""}, {"netns": ".."}, {"netns": "a/b"}, {"netns": "a\0b"}, {"interface": "a/b"},
            {"interface": "lo"},
            {"interface": "a" * 16}, {"interface": ""}, {"interface": "\N{SNOWMAN}" * 6}, {"interface": "\udc80"},
            {"mtu": 0}, {"mtu": 70000}, {"mac": "01:00:00:00:00:00"}, {"mac": "junk"}, {"addresses": ()},
        ],
    }
    before = run("ip", "-br", "link")
    for code, changes in cases.items():
        for change in changes:
            assert code_of(lambda change=change: attach(replace(spec, **change))) == code, change
            assert inspect(replace(spec, **change)).problem
    assert run("ip", "-br", "link") == before


def test_pods_attached_at_the_same_time_do_not_hinder_each_other(host: Host) -> None:
    specs = [host.spec(host.pod()) for _ in range(8)]
    threads = [threading.Thread(target=attach, args=(spec,)) for spec in specs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [inspect(spec).problem for spec in specs] == [""] * 8


def test_an_ipv6_address_works_beside_an_ipv4_one(host: Host) -> None:
    pod, other = host.pod(), host.pod()
    for number, name in enumerate((pod, other), 1):
        plain = host.spec(name)
        spec = replace(plain, addresses=(*plain.addresses, IPv6Address(f"fd00:9::{number}")))
        attach(spec)
        run("ip", "-6", "route", "replace", f"fd00:9::{number}", "dev", spec.host_interface)
        assert inspect(spec).problem == ""
    run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    assert first_round_trip_ms(pod, "fd00:9::2") < 200
    assert "tentative" not in run("ip", "-n", pod, "address", "show", "scope", "global")


def test_the_addresses_of_a_spec_are_those_of_its_pod(host: Host) -> None:
    pod = host.pod()
    spec, _ = host.attached(pod)
    moved = replace(spec, addresses=(IPv4Address("10.9.0.77"),))
    assert "10.9.0.77" in inspect(moved).problem
    attach(moved)
    assert run("ip", "-n", pod, "-br", "-4", "address", "show", "eth0").split()[2:] == ["10.9.0.77/32"]
