"""A host in a network namespace of its own, and pods beside it. The test itself runs inside the host."""
from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest

from calicopy.net import IPAddress
from calicopy.workload import Attached, AttachSpec, attach, host_interface_name

_LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = itertools.count()


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass
class Host:
    """The host: `up0` with 192.0.2.1/24, no default route, and no pods yet."""

    prefix: str
    pods: list[str] = field(default_factory=list)

    def pod(self) -> str:
        """A new, empty namespace; its name."""
        name = f"{self.prefix}p{len(self.pods)}"
        run("ip", "netns", "add", name)
        self.pods.append(name)
        return name

    def remove(self, pod: str) -> None:
        run("ip", "netns", "delete", pod)
        self.pods.remove(pod)

    def spec(self, pod: str, *addresses: str | IPAddress) -> AttachSpec:
        number = self.pods.index(pod) + 1
        return AttachSpec(
            name=pod,
            netns=pod,
            host_interface=host_interface_name(pod),
            addresses=tuple(IPv4Address(str(address)) for address in addresses) or (IPv4Address(f"10.9.0.{number}"),),
            mtu=1400,
            mac=f"02:00:00:00:00:{number:02x}",
        )

    def attached(self, pod: str) -> tuple[AttachSpec, Attached]:
        """Attach a pod, and write the host route that the FIB would."""
        spec = self.spec(pod)
        done = attach(spec)
        route = f"{spec.addresses[0]} dev {done.host_interface} scope link proto 117"
        run("ip", "route", "replace", *route.split())
        return spec, done


def enter(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.setns(descriptor, 0x40000000):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


@pytest.fixture
def host() -> Iterator[Host]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    host = Host(f"cw{os.getpid()}n{next(_NUMBERS)}")
    run("ip", "netns", "add", host.prefix)
    try:
        enter(f"/run/netns/{host.prefix}")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "up0", "type", "bridge")
        run("ip", "address", "add", "192.0.2.1/24", "dev", "up0")
        run("ip", "link", "set", "up0", "up")
        yield host
    finally:
        _LIBC.setns(home, 0x40000000)
        os.close(home)
        for name in (*host.pods, host.prefix):
            subprocess.run(["ip", "netns", "delete", name], check=False)
