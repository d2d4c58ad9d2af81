"""Our kernel edge where the kernel has `ipip`: tunl0 made, kept and put right, routes through it, seen on the wire.

Two namespaces joined by a wire, each with the edge's own tunnel and a route that the FIB finds for a pool with
encapsulation ipip; a ping between pod addresses; then the tunnel's faults. Exit code 0 when all of it held.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from ipaddress import IPv4Address

from capture import PROTOCOL_IPIP, Capture, inside
from fibloop import FibLoop
from fibs import Path, Selection

from calicopy.fib import FibPool, UnderlayAddress
from calicopy.kernel.events import KernelEvent
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.sysctl import SysctlSpec
from calicopy.kernel.tunnel import TunnelSpec, TunnelStatus
from calicopy.net import Encapsulation, Prefix

POOL = Prefix.parse("10.0.0.0/8")
NODES = {"a": IPv4Address("192.0.2.1"), "b": IPv4Address("192.0.2.2")}
TUNNELS = {"a": IPv4Address("10.1.0.1"), "b": IPv4Address("10.2.0.1")}
MTU = 1480


def ip(*arguments: str) -> str:
    """Run `ip`; its output."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


async def node(name: str, other: str) -> TunnelStatus:
    """Tunnel, settings and routes of one node, as the agent makes them."""
    with inside(name):
        kernel = Kernel()
        await kernel.open()  # its worker thread begins here, and so lives in this namespace
    try:
        spec = TunnelSpec(MTU, (TUNNELS[name],), (POOL,))
        status = await kernel.ensure_tunnel(spec)
        assert status.problems == (), status
        assert (status.up, status.addresses, status.mtu) == (True, (TUNNELS[name],), MTU), status
        assert await kernel.ensure_sysctls(SysctlSpec(underlay=("wire",), tunnels=("tunl0",))) == []
        loop = FibLoop(kernel, FibPool(POOL, Encapsulation.IPIP))
        loop.wanted = {NODES[other]}
        loop.fib.set_nodes({7: (UnderlayAddress(NODES[other], 24),)})
        loop.fib.set_tunnels({Encapsulation.IPIP: status.ifindex})
        await loop.start()
        block = Prefix.host(TUNNELS[other]).supernet(26)
        loop.learn([block.packed], Selection((Path(NODES[other], 7),)))
        await loop.write()
        assert loop.fib.in_sync, loop.fib.status(block)
        await loop.read()
        assert loop.fib.in_sync, "what the kernel shows is what was written"
        print(f"{name}:", ip("-n", name, "route", "get", str(TUNNELS[other])).strip(), flush=True)
        return status
    finally:
        await kernel.close()


async def quiet(seen: list[KernelEvent]) -> None:
    """Until no event came for a second: the kernel tells of a link's operational state with some delay."""
    async with asyncio.timeout(20):
        count = -1
        while count != len(seen):
            count = len(seen)
            await asyncio.sleep(1.0)


async def faults(name: str) -> None:
    """A tunnel that somebody changed is put right; an address that is not ours stays; nothing wrong: no event."""
    ip("-n", name, "addr", "add", "10.9.9.9/32", "dev", "tunl0")
    ip("-n", name, "addr", "add", "172.31.0.1/32", "dev", "tunl0")
    ip("-n", name, "link", "set", "tunl0", "mtu", "1400", "down")
    with inside(name):
        kernel = Kernel()
        await kernel.open()
    try:
        spec = TunnelSpec(MTU, (TUNNELS[name],), (POOL,))
        status = await kernel.ensure_tunnel(spec)
        assert (status.problems, status.up, status.mtu) == ((), True, MTU), status
        shown = ip("-n", name, "-4", "-o", "addr", "show", "dev", "tunl0")
        assert f"{TUNNELS[name]}/32" in shown, shown
        assert "172.31.0.1/32" in shown, shown
        assert "10.9.9.9" not in shown, shown
        # The edge's own monitor hears changes of links and addresses, whoever makes them.
        seen: list[KernelEvent] = []

        async def listen() -> None:
            async for event in kernel.events():
                seen.append(event)  # noqa: PERF401 (an extend would show nothing before the stream ends)

        listener = asyncio.create_task(listen())
        await quiet(seen)
        assert seen, "the repair itself was heard"
        before = len(seen)
        assert await kernel.ensure_tunnel(spec) == status
        await quiet(seen)
        assert len(seen) == before, f"nothing was to be changed, yet: {seen[before:]}"
        listener.cancel()
        ip("-n", name, "addr", "del", "172.31.0.1/32", "dev", "tunl0")
        assert await kernel.retire_tunnel(spec) == []
        shown = ip("-n", name, "-o", "addr", "show", "dev", "tunl0")
        assert "inet " not in shown, shown
        assert "UP" not in ip("-n", name, "link", "show", "tunl0").splitlines()[0]
        assert (await kernel.ensure_tunnel(spec)).problems == ()
    finally:
        await kernel.close()


def ping() -> bool:
    """Ping from a's pod address to b's; prints each direction as seen on the wire."""
    capture = Capture(netns="b", device="wire")
    command = ["ip", "netns", "exec", "a", "ping", "-c", "2", "-i", "0.2", "-W", "5", "-I", str(TUNNELS["a"])]
    pinged = subprocess.run([*command, str(TUNNELS["b"])], check=False).returncode
    seen: set[IPv4Address] = set()
    for packet in capture.packets(seconds=5):
        if packet.outer.protocol == PROTOCOL_IPIP and packet.inner is not None:
            print(f"outer {packet.outer}  inner {packet.inner}", flush=True)
            seen.add(packet.outer.source)
        if len(seen) == 2:
            break
    capture.close()
    return pinged == 0 and len(seen) == 2


def main() -> int:
    """Build, bring up both nodes, ping, break."""
    for name in NODES:
        ip("netns", "add", name)
    ip("link", "add", "wire", "netns", "a", "type", "veth", "peer", "name", "wire", "netns", "b")
    for name, address in NODES.items():
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "wire")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "set", "wire", "up")
    for name, other in (("a", "b"), ("b", "a")):
        asyncio.run(node(name, other))
    if not ping():
        return 1
    asyncio.run(faults("a"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
