"""A link of a route reflector goes down: until those who heard the routes over it from there have them withdrawn.

The routes are those of an eBGP peer at the other end of the link, a BIRD; another BIRD, on another link, hears them
from the node that is measured. The clock starts before the link is set down, and stops when that BIRD has none of them.

Where the other end is set down, so that the link loses its carrier, the clock starts when the kernel tells of it: it
tells of carrier once a second at most, in all namespaces together (`linkwatch`). With nothing but two namespaces, a
veth, and a socket that listens, it told 3 to 950 ms after the cut. How late it was is said beside.
"""
from __future__ import annotations

import os
import socket
import struct
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from bench.fabric import Fabric, wait_for
from bench.report import Row, row, say, spread
from bench.routers import AS, POOL, Bird, Node, blocks

RUNS = int(os.environ.get("BENCH_LINK_RUNS", "3"))
COUNTS = (1, 1_000)
OTHER_AS = 64999
SUBNET = "198.51.100"
TARGET_MS = 50.0
BACK_S = 60.0
SETTLE_S = 2.5  # longer than the kernel may keep what it has to tell of carrier
RTMGRP_LINK, RTM_NEWLINK, IFF_LOWER_UP = 1, 16, 0x10000  # linux/rtnetlink.h, linux/if.h


def measure(directory: Path) -> list[Row]:
    """Milliseconds."""
    rows = []
    for count in COUNTS:
        with Fabric(directory, "middle", "client", "tor") as fabric:
            _, there = fabric.connect("middle", "tor", SUBNET)
            middle = fabric.address("middle")
            _lead_back(fabric)
            tor = Bird(fabric, "tor", [middle], address=there, statics={"st": blocks(count, first=64)}, kernel=False,
                       enabled=True, local_as=OTHER_AS, further="multihop;")  # fmt: skip
            client = Bird(fabric, "client", [middle], kernel=False)
            tor.start()
            client.start()
            node = Node(fabric, "middle", _config(fabric, there))
            node.start()
            ours = {end: _rounds(fabric, client, count, end) for end in ("middle", "tor")}
            node.stop()
            bird = Bird(fabric, "middle", [client.address, there], foreign={there: OTHER_AS}, reflector=True)
            bird.start()
            theirs = {end: _rounds(fabric, client, count, end) for end in ("middle", "tor")}
            bird.stop()
        for end, how in (("middle", "set down"), ("tor", "without carrier")):
            say(f"{count:,} routes, link {how}: calicopy {spread(ours[end])} ms, BIRD {spread(theirs[end])} ms")
            what = f"a link {how}, {count:,} route{'s' * (count > 1)} over it: until the peers have them withdrawn"
            rows.append(row(what, "ms", ours[end], bird=theirs[end], target=TARGET_MS))
    return rows


def _config(fabric: Fabric, there: str) -> str:
    address, client = fabric.address("middle"), fabric.address("client")
    return (
        f"cluster: {{name: bench, as: {AS}}}\n"
        f"nodes: [{{name: middle, address: {address}/24, route_reflector: true, blocks: [{blocks(1)[0]}]}}]\n"
        f"pools: [{{name: pods, cidr: {POOL}, block_size: 26}}]\n"
        "bgp:\n  mesh: false\n  peers:\n"
        f"    - {{name: client, address: {client}, as: {AS}, route_reflector_client: true}}\n"
        f"    - {{name: tor, address: {there}, as: {OTHER_AS}, prefix_limit: 100000}}\n"
    )


def _lead_back(fabric: Fabric) -> None:
    """The route of the peer to the node, which goes with its link."""
    fabric.run("tor", "ip", "route", "replace", fabric.address("middle"), "via", f"{SUBNET}.1")


def _rounds(fabric: Fabric, client: Bird, count: int, end: str) -> list[float]:
    taken = []
    for _ in range(RUNS):
        wait_for(lambda: _held(client) >= count, what=f"{count} routes at the client", within=BACK_S)
        time.sleep(SETTLE_S)
        began = _cut(fabric, end)
        wait_for(lambda: not _held(client), what="the routes are withdrawn", within=BACK_S)
        taken.append((time.monotonic() - began) * 1e3)
        fabric.run(end, "ip", "link", "set", "eth2", "up")
        _lead_back(fabric)
    return taken


def _cut(fabric: Fabric, end: str) -> float:
    """Set the link down at one end; when the node could know it, in monotonic seconds."""
    index = int(fabric.run("middle", "cat", "/sys/class/net/eth2/ifindex"))
    known: list[float] = []
    with closing(fabric.open_socket("middle", socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)) as told:
        told.bind((0, RTMGRP_LINK))
        told.settimeout(BACK_S)
        listener = threading.Thread(target=_listen, args=(told, index, known))
        listener.start()
        began = time.monotonic()
        fabric.run(end, "ip", "link", "set", "eth2", "down")
        listener.join()
    if end == "middle" or not known:
        return began
    say(f"the kernel tells of the carrier {(known[0] - began) * 1e3:.0f} ms after the cut")
    return known[0]


def _listen(told: socket.socket, index: int, known: list[float]) -> None:
    with suppress(PermissionError):  # else a busy machine wakes this thread later than those that it measures
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    with suppress(TimeoutError):
        while not _is_loss(told.recv(65536), index):
            pass
        known.append(time.monotonic())


def _is_loss(message: bytes, index: int) -> bool:
    kind, of, flags = struct.unpack_from("=4xH14xiI", message)
    return bool(kind == RTM_NEWLINK and of == index and not flags & IFF_LOWER_UP)


def _held(client: Bird) -> int:
    """How many routes of the measurement the BIRD has."""
    answer = client.tell(f"show route where net ~ [ {POOL}{{26,26}} ] && net.ip >= 10.0.16.0 count")
    return int(answer.split("-", 1)[-1].split(" of ")[0])
