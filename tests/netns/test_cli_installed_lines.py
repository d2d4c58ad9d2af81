"""`calicopy routes --installed` beside `ip route`: the same lines for the same routes."""
from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from calicopy.cli.routes import kernel_line

pytestmark = pytest.mark.netns
NAME = f"cali-lines-{os.getpid()}"
ROUTES = [  # prefix, and the text as the agent shows it
    ("10.244.0.0/26", "blackhole"),
    ("10.244.0.5/32", "dev d0 scope link"),
    ("10.244.1.0/26", "via 192.0.2.2 dev d0"),
    ("10.244.2.0/26", "via 192.0.2.9 dev d0 onlink"),
    ("10.244.3.0/26", "nexthop via 192.0.2.2 dev d0 nexthop via 192.0.2.3 dev d0"),
    ("10.244.4.0/26", "nexthop via 192.0.2.2 dev d0 weight 2 nexthop via 192.0.2.9 dev d0 onlink"),
]


def ip(*words: str) -> str:
    done = subprocess.run(["ip", "-n", NAME, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def namespace() -> Iterator[None]:
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    try:
        ip("link", "add", "d0", "type", "veth", "peer", "name", "d1")
        ip("link", "set", "d1", "up")
        ip("address", "add", "192.0.2.1/24", "dev", "d0")
        ip("link", "set", "d0", "up")
        yield
    finally:
        subprocess.run(["ip", "netns", "delete", NAME], check=True)


@pytest.mark.usefixtures("namespace")
def test_every_kind_of_route_reads_as_iproute2_writes_it() -> None:
    for prefix, text in ROUTES:
        words = text.split()
        kind = [words.pop(0)] if words[0] == "blackhole" else []
        ip("route", "add", *kind, prefix, "proto", "117", "metric", "1024", *words)
    ours = "\n".join(kernel_line(prefix, text, metric=1024) for prefix, text in ROUTES)
    kernel = ip("route", "show", "proto", "117")
    assert [line.rstrip() for line in ours.splitlines()] == [line.rstrip() for line in kernel.splitlines()]
