"""The FIB's own work and the kernel writer, for 10,000 (or N) routes, beside `ip -batch`, in a namespace of its own.

    bench/bench_fib.py [N]

Prints a table: seconds for each step, and routes per second. Needs root and iproute2.
"""
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeVar

from calicopy.fib import Fib, FibPool, KernelDump, RouteBatch, RouteOp, WriteResult
from calicopy.kernel.dump import dump_all
from calicopy.kernel.encode import Identity
from calicopy.kernel.links import interfaces
from calicopy.kernel.netlink import NetlinkSocket
from calicopy.kernel.writer import RouteWriter
from calicopy.net import Family, Prefix, pack
from calicopy.net.nexthop import NextHopFacts

T = TypeVar("T")
GATEWAY = IPv4Address("192.168.0.2")


@dataclass(frozen=True)
class Path:
    """The one path of every prefix."""

    next_hop: IPv4Address = GATEWAY
    owner: int | None = None


@dataclass(frozen=True, eq=False)
class Selection:
    """The one selection of every prefix."""

    paths: tuple[Path, ...] = (Path(),)


def timed(name: str, count: int, work: Callable[[], T]) -> T:
    """Run `work`, print what it took."""
    started = time.perf_counter()
    result = work()
    taken = time.perf_counter() - started
    print(f"{name:34} {taken * 1000:9.1f} ms {count / taken / 1000:9.0f}k routes/s", flush=True)
    return result


def main() -> int:
    """Enter a new namespace, run the steps."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    if os.environ.get("BENCH_FIB_INSIDE") != "1":
        command = ["unshare", "--net", sys.executable, *sys.argv]
        return subprocess.run(command, env={**os.environ, "BENCH_FIB_INSIDE": "1"}, check=False).returncode
    for line in ("link add va type veth peer name vb", "address add 192.168.0.1/24 dev va", "link set va up",
                 "link set vb up"):
        subprocess.run(["ip", *line.split()], check=True)
    socket = NetlinkSocket()
    device = next(link for link in interfaces(socket).values() if link.name == "va")
    prefixes = [pack((10 << 24) + (number << 6), 26, Family.IPV4) for number in range(count)]
    fib = Fib()
    fib.set_pools([FibPool(Prefix.parse("10.0.0.0/8"))])
    fib.set_next_hops({GATEWAY: NextHopFacts(GATEWAY, True, True, device.ifindex)})
    fib.kernel_state(KernelDump({}))
    selection = Selection()
    changes = [(selection, prefixes)]
    writer = RouteWriter(socket, Identity(117, 1024))
    timed("decisions to desired", count, lambda: fib.apply_decisions(Family.IPV4, changes))
    batches = timed("delta", count, lambda: fib.delta(count, 0.0))
    results: list[WriteResult] = timed("kernel: add", count, lambda: writer.write(batches))
    timed("results", count, lambda: fib.written(results, 0.0))
    dump = timed("kernel: dump", count, lambda: dump_all(socket, Identity(117, 1024)))
    timed("drift check", count, lambda: fib.kernel_state(dump))
    assert fib.in_sync
    deletes = [RouteBatch(RouteOp.DELETE, Family.IPV4, None, prefixes)]
    timed("kernel: delete", count, lambda: writer.write(deletes))
    script = "".join(f"route add {Prefix(Family.IPV4, packed)} via {GATEWAY} dev va\n" for packed in prefixes)
    timed("ip -batch: add", count, lambda: subprocess.run(["ip", "-batch", "-"], input=script, text=True, check=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
