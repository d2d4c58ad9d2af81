"""A network namespace around each test, and a kernel edge in it."""
from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from calicopy.kernel.kernel import Kernel

_LIBC = ctypes.CDLL(None, use_errno=True)


def _enter(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.setns(descriptor, 0x40000000):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


@dataclass
class Namespace:
    """The namespace that the test runs in: va (192.168.0.1/24, up) with its peer vb, up, whose far end is nobody."""

    name: str

    def ip(self, command: str) -> str:
        """Run `ip COMMAND` in here; its output."""
        done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ip {command}: {done.stderr}"
        return done.stdout

    def index(self, device: str) -> int:
        return socket.if_nametoindex(device)

    def leads(self, address: str) -> str:
        """The gateway that a packet to the address takes now; "" without one."""
        done = subprocess.run(["ip", "-j", "route", "get", address], capture_output=True, text=True, check=False)
        return "" if done.returncode else str(json.loads(done.stdout)[0].get("gateway", ""))

    def sysctl(self, name: str, value: int) -> None:
        (Path("/proc/sys/net") / name).write_text(f"{value}\n")

    def routes(self, selector: str = "proto 117") -> list[str]:
        return [line.strip() for line in self.ip(f"route show {selector}").splitlines()]


@pytest.fixture
def netns() -> Iterator[Namespace]:
    own = f"/proc/{os.getpid()}/task/{os.getpid()}/ns/net"
    home = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
    name = f"ck{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        _enter(f"/run/netns/{name}")
        space = Namespace(name)
        space.ip("link set lo up")
        space.ip("link add va type veth peer name vb")
        space.ip("address add 192.168.0.1/24 dev va")
        space.ip("link set va up")
        space.ip("link set vb up")
        yield space
    finally:
        _LIBC.setns(home, 0x40000000)
        os.close(home)
        subprocess.run(["ip", "netns", "delete", name], check=True)
        assert not Path(f"/run/netns/{name}").exists()


@pytest.fixture
async def kernel(netns: Namespace) -> AsyncIterator[Kernel]:
    edge = Kernel()
    await edge.open()
    try:
        yield edge
    finally:
        await edge.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], object]:
    async def wait(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 (the condition is the kernel's, which sets no Event)
                await asyncio.sleep(0.01)

    return wait
