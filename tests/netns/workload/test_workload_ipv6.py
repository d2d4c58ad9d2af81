"""Workloads with IPv6, alone or beside IPv4, in real namespaces."""
from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from advertising import advertise
from labs import wait_until

from calicopy.workload import Attached, AttachSpec, attach, inspect

if TYPE_CHECKING:
    from conftest import Host

pytestmark = pytest.mark.netns
CONF = Path("/proc/sys/net/ipv6/conf")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def six_alone(host: Host, pod: str) -> AttachSpec:
    spec = host.spec(pod)
    return replace(spec, addresses=(IPv6Address(f"fd00:9::{host.pods.index(pod) + 1}"),))


def attached(spec: AttachSpec) -> Attached:
    """Attach, and write the host route that the FIB would."""
    done = attach(spec)
    run("ip", "-6", "route", "replace", str(spec.addresses[-1]), "dev", spec.host_interface, "proto", "117")
    return done


def test_a_pod_with_ipv6_alone_gets_its_address_the_calico_way(host: Host) -> None:
    pod = host.pod()
    spec = six_alone(host, pod)
    attached(spec)
    (address,) = run("ip", "-n", pod, "-6", "-o", "address", "show", "dev", "eth0", "scope", "global").splitlines()
    assert "inet6 fd00:9::1/128" in address
    assert "tentative" not in address
    assert run("ip", "-n", pod, "-4", "address", "show", "dev", "eth0") == ""
    default = run("ip", "-n", pod, "-6", "route", "show", "default")
    assert default.startswith("default via fe80::ecee:eeff:feee:eeee dev eth0 proto static metric 1024 onlink")
    neighbor = run("ip", "-n", pod, "neigh", "show", "fe80::ecee:eeff:feee:eeee")
    assert "lladdr ee:ee:ee:ee:ee:ee PERMANENT" in neighbor
    assert "lladdr 02:00:00:00:00:01 PERMANENT" in run("ip", "neigh", "show", "fd00:9::1")
    assert "inet6 fe80::ecee:eeff:feee:eeee/64" in run("ip", "address", "show", spec.host_interface)
    assert (CONF / spec.host_interface / "accept_ra").read_text() == "0\n"
    assert inspect(spec).problem == ""


def test_pods_with_ipv6_alone_reach_each_other_and_the_host_at_once(host: Host) -> None:
    (CONF / "all/forwarding").write_text("1")
    run("ip", "address", "add", "fd00:8::1/64", "dev", "up0", "nodad")
    one, other = host.pod(), host.pod()
    for pod in (one, other):
        attached(six_alone(host, pod))
    for target in ("fd00:9::2", "fd00:8::1"):
        assert " 0% packet loss" in run("ip", "netns", "exec", one, "ping", "-n", "-c", "1", "-W", "1", target)


def test_ipv6_that_is_off_in_new_namespaces_is_switched_on_for_the_workload_alone(host: Host) -> None:
    pod = host.pod()
    (CONF / "default/disable_ipv6").write_text("1")
    run("ip", "netns", "exec", pod, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    spec = six_alone(host, pod)
    attached(spec)
    assert inspect(spec).problem == ""
    assert " 0% packet loss" in run("ping", "-n", "-c", "1", "-W", "1", "-I", spec.host_interface, "fd00:9::1")
    assert run("ip", "netns", "exec", pod, "cat", str(CONF / "all/disable_ipv6")) == "1\n"


def test_a_pod_cannot_make_itself_the_router_of_its_host(host: Host) -> None:
    pod = host.pod()
    spec = six_alone(host, pod)
    attached(spec)
    (CONF / spec.host_interface / "accept_ra").write_text("2")  # as a host has it that wants them on every interface

    def counted() -> bool:
        advertise(pod, "eth0")
        return "counter packets 0" not in run("nft", "list", "table", "inet", "calicopy-workloads").splitlines()[4]

    wait_until(counted, within=10, what="an advertisement is counted")
    assert run("ip", "-6", "route", "show", "default") == ""
    run("nft", "delete", "table", "inet", "calicopy-workloads")
    wait_until(lambda: (advertise(pod, "eth0"), run("ip", "-6", "route", "show", "default"))[1],
               within=10, what="without the rule the host believes it")


def test_a_lost_address_of_either_family_is_told_and_put_back(host: Host) -> None:
    pod = host.pod()
    spec = host.spec(pod)
    spec = replace(spec, addresses=(*spec.addresses, IPv6Address("fd00:9::1")))
    attached(spec)
    for family, address in (("-4", "10.9.0.1/32"), ("-6", "fd00:9::1/128")):
        run("ip", "-n", pod, family, "address", "delete", address, "dev", "eth0")
        assert address.partition("/")[0] in inspect(spec).problem
        attach(spec)
        assert inspect(spec).problem == ""
    # An interface that goes down loses its IPv6 addresses, and the routes of both families.
    run("ip", "-n", pod, "link", "set", "eth0", "down")
    run("ip", "-n", pod, "link", "set", "eth0", "up")
    assert "fd00:9::1" in inspect(spec).problem
    attach(spec)
    assert inspect(spec).problem == ""
