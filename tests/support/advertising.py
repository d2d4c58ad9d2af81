"""A router that advertises itself (RFC 4861 section 4.2), in octets."""
from __future__ import annotations

import subprocess
import sys

_SAY = """
import socket, struct, sys
interface = socket.if_nametoindex(sys.argv[1])
body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)  # hop limit 64, a default router for 1800 s
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    raw.sendto(body, ("ff02::1", 0, 0, interface))
"""


def advertise(netns: str, interface: str) -> None:
    """A router advertisement out of an interface of a namespace, which must have a link-local address."""
    words = ["ip", "netns", "exec", netns, sys.executable, "-c", _SAY, interface]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
