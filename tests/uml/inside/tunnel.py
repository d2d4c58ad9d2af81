"""Two hosts, one wire, a ping through tunl0: what the kernel's IPIP puts on that wire.

The ground that the agents' own IPIP test stands on: it fails when the kernel, the harness or the capture does, without
any of our routes. Prints a line per packet seen; exit code 0 when both directions were seen encapsulated and the ping
lost nothing.
"""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Address

from capture import PROTOCOL_IPIP, Capture

NODES = {"a": "192.0.2.1", "b": "192.0.2.2"}
PODS = {"a": "10.1.0.1", "b": "10.2.0.1"}


def ip(*arguments: str) -> None:
    """Run `ip`; CalledProcessError when it refuses."""
    subprocess.run(["ip", *arguments], check=True)


def build() -> None:
    """Join namespaces a and b by a veth pair, each with a pod address on tunl0 and a route to the other's."""
    for name in NODES:
        ip("netns", "add", name)
    ip("link", "add", "wire", "netns", "a", "type", "veth", "peer", "name", "wire", "netns", "b")
    for name, other in (("a", "b"), ("b", "a")):
        ip("-n", name, "addr", "add", f"{NODES[name]}/24", "dev", "wire")
        ip("-n", name, "addr", "add", f"{PODS[name]}/32", "dev", "tunl0")
        for device in ("lo", "wire", "tunl0"):
            ip("-n", name, "link", "set", device, "up")
        ip("-n", name, "route", "add", f"{PODS[other]}/32", "via", NODES[other], "dev", "tunl0", "onlink")


def main() -> int:
    """Build, ping, look."""
    build()
    capture = Capture(netns="b", device="wire")
    command = ["ip", "netns", "exec", "a", "ping", "-c", "2", "-i", "0.2", "-W", "5", "-I", PODS["a"], PODS["b"]]
    pinged = subprocess.run(command, check=False).returncode
    seen: set[IPv4Address] = set()
    for packet in capture.packets(seconds=5):
        if packet.outer.protocol != PROTOCOL_IPIP or packet.inner is None:
            continue
        print(f"outer {packet.outer}  inner {packet.inner}", flush=True)
        seen.add(packet.outer.source)
        if len(seen) == len(NODES):
            break
    capture.close()
    return 0 if pinged == 0 and len(seen) == len(NODES) else 1


if __name__ == "__main__":
    sys.exit(main())
