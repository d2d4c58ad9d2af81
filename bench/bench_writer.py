"""The writer alone: 100,000 routes to 64 nexthop objects, beside the raw kernel limit and `ip -batch`.

All three write the same routes into a namespace of their own, by turns: the writer with the FIB's batches; a loop that
does nothing but send netlink messages made before, 1,000 a send, no acknowledgement asked for; and `ip -batch` with a
file written before, the time of the whole process. Nobody listens to route events.

Figures are routes per second of CPU time: the kernel works within the call that sends, so on a machine that does
nothing else this is the time on the clock, and on any other it is still the same.
"""
from __future__ import annotations

import gc
import os
import resource
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.fabric import BenchError, Fabric, run
from bench.report import Row, row, say, spread
from calicopy.agent import GC_THRESHOLD
from calicopy.fib.types import DEFAULT_METRIC, DEFAULT_PROTOCOL, RouteBatch, RouteOp, object_target
from calicopy.kernel.encode import Identity, encode, template_of
from calicopy.kernel.netlink import NetlinkSocket
from calicopy.kernel.writer import RouteWriter
from calicopy.net import Family, Prefix, pack

COUNT = int(os.environ.get("BENCH_WRITER", "100000"))
ROUNDS = ("raw", "writer", "raw", "writer", "raw", "writer", "ip") * 3
OBJECTS = 64
FIRST_ID = 1000
PER_SEND = 1000
LIMIT_TARGET, BATCH_TARGET = 0.9, 3.0
IDENTITY = Identity(DEFAULT_PROTOCOL, DEFAULT_METRIC)


def batches_of(op: RouteOp, count: int) -> list[RouteBatch]:
    """The FIB's batches for so many blocks, spread over the objects."""
    prefixes = [pack((10 << 24) + (number << 6), 26, Family.IPV4) for number in range(count)]
    parts = [prefixes[part::OBJECTS] for part in range(OBJECTS)]
    return [
        RouteBatch(op, Family.IPV4, None if op is RouteOp.DELETE else object_target(FIRST_ID + number), part)
        for number, part in enumerate(parts)
    ]


def make_objects(gateway: str) -> None:
    """The nexthop objects, in the namespace of the caller; those that are there go, and their routes with them."""
    subprocess.run(("ip", "nexthop", "flush", "proto", str(DEFAULT_PROTOCOL)), capture_output=True, check=False)
    for number in range(FIRST_ID, FIRST_ID + OBJECTS):
        run("ip", "nexthop", "add", "id", str(number), "via", gateway, "dev", "eth1",
                 "proto", str(DEFAULT_PROTOCOL))  # fmt: skip


def with_the_writer(batches: list[RouteBatch]) -> float:
    """Seconds."""
    socket = NetlinkSocket()
    began = time.thread_time()
    results = RouteWriter(socket, IDENTITY).write(batches)
    taken = time.thread_time() - began
    socket.close()
    failed = sum(len(result.failures) + len(result.foreign) for result in results)
    if failed:
        raise BenchError(f"{failed} routes were not written")
    return taken


def raw(batches: list[RouteBatch]) -> float:
    """Seconds, for the messages of the batches alone."""
    prefixes = [(template_of(batch, IDENTITY), packed) for batch in batches for packed in batch.prefixes]
    messages = [encode(template, [packed], sequence=1) for template, packed in prefixes]
    sends = [b"".join(messages[start : start + PER_SEND]) for start in range(0, len(messages), PER_SEND)]
    socket = NetlinkSocket()
    send = socket.send
    began = time.thread_time()
    for data in sends:
        send(data)
    taken = time.thread_time() - began
    socket.close()
    return taken


def ip_batch(batches: list[RouteBatch], file: Path) -> float:
    """Seconds."""
    lines = []
    for batch in batches:
        for packed in batch.prefixes:
            key = f"{Prefix(batch.family, packed)} proto {IDENTITY.protocol} metric {IDENTITY.metric}"
            verb = "del" if batch.target is None else "add"
            lines.append(f"route {verb} {key}" + (f" nhid {batch.target.next_hop_id}" if batch.target else ""))
    file.write_text("\n".join(lines) + "\n")
    began = _of_children()
    run("ip", "-batch", str(file))
    return _of_children() - began


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(directory: Path) -> list[Row]:
    """Routes per second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 100)  # as the agent has it
    methods: dict[str, Callable[[list[RouteBatch]], float]] = {
        "raw": raw, "writer": with_the_writer, "ip": lambda batches: ip_batch(batches, directory / "batch"),
    }  # fmt: skip
    rates: dict[tuple[str, RouteOp], list[float]] = {}
    with Fabric(directory, "n1", "n2") as fabric:
        for name in ROUNDS:
            fabric.inside("n1", lambda: make_objects(fabric.address("n2")))
            for op in (RouteOp.ADD, RouteOp.DELETE):
                work = partial(methods[name], batches_of(op, COUNT))
                rates.setdefault((name, op), []).append(COUNT / fabric.inside("n1", work))
                wanted = COUNT if op is RouteOp.ADD else 0
                if (there := fabric.routes("n1", DEFAULT_PROTOCOL)) != wanted:
                    raise BenchError(f"{name}: {there} routes are there, not {wanted}")
    for (name, op), values in rates.items():
        say(f"{name} {op.value}: {spread(values)} routes/s")
    rows = []
    for op, what in ((RouteOp.ADD, "added"), (RouteOp.DELETE, "deleted")):
        ours, limit, batch = (rates[name, op] for name in ("writer", "raw", "ip"))
        targets = op is RouteOp.ADD
        rows += [
            row(f"the writer alone: {COUNT:,} routes {what}, beside the raw kernel limit", "routes/s", ours,
                others={"raw": limit}, ratio_target=LIMIT_TARGET if targets else None, at_least=True),
            row(f"the writer alone: {COUNT:,} routes {what}, beside ip -batch", "routes/s", ours,
                others={"ip -batch": batch}, ratio_target=BATCH_TARGET if targets else None, at_least=True),
        ]  # fmt: skip
    return rows
