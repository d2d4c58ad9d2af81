"""What the agent does when an edge fails: the core gets its answer, and no host route is taken back for it."""
from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import pytest

from calicopy.agent import workloads as module
from calicopy.agent.edges import StoreEdge
from calicopy.agent.kernel_edge import KernelEdge
from calicopy.agent.udp_edge import UdpEdge
from calicopy.agent.workloads import WorkloadPorts, Workloads
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.fib import BLACKHOLE, KernelDump, RouteBatch, RouteOp, WriteResult
from calicopy.kernel.kernel import Kernel
from calicopy.net import Family, Prefix
from calicopy.store import Store, WorkloadRecord
from calicopy.workload import AttachSpec, Inspection

BLOCK = Prefix.parse("10.77.0.0/26")
RECORDS = [
    WorkloadRecord(name, name, "eth0", f"cali{name}", (ip_address(f"10.77.0.{number}"),), "", 0.0, 1500)
    for number, name in enumerate(("one", "two"))
]


def workloads(told: list[dict[Prefix, int]]) -> Workloads:
    ports: dict[str, Any] = dict.fromkeys(WorkloadPorts.__dataclass_fields__)
    ports |= {"routes_changed": told.append, "changed": lambda view, deleted: None}
    return Workloads(RECORDS, WorkloadPorts(**ports))


def test_host_routes_are_told_when_all_were_looked_at_and_stay_when_one_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = {"two"}

    def inspect(spec: AttachSpec) -> Inspection:
        if spec.name in broken:
            return Inspection(None, "too many open files", looked=False)
        return Inspection(7, "")

    monkeypatch.setattr(module, "inspect", inspect)
    told: list[dict[Prefix, int]] = []
    live = workloads(told)
    asyncio.run(live.inspect())
    assert told == []
    broken.clear()
    asyncio.run(live.inspect())
    broken.add("one")
    asyncio.run(live.inspect())
    assert told == [{Prefix.parse("10.77.0.0/32"): 7, Prefix.parse("10.77.0.1/32"): 7}] * 2
    assert [view.problem for view in live.views()] == ["too many open files", ""]
    assert len(live._locks) == 0


def test_a_write_that_fails_as_a_whole_is_answered(tmp_path: Path) -> None:
    class Broken:
        def begin_write(self, batches: Sequence[RouteBatch]) -> asyncio.Future[None]:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(OSError(errno.ENOBUFS, "no buffer space"))
            return failed

    events: list[ev.CoreEvent] = []
    batch = RouteBatch(RouteOp.ADD, Family.IPV4, BLACKHOLE, [BLOCK.packed])

    async def write() -> None:
        udp = UdpEdge(tmp_path, events.append)
        edge = KernelEdge(cast(Kernel, Broken()), (), events.append, udp=udp)
        edge.put_routes(do.WriteRoutes((batch,)))
        running = asyncio.create_task(edge.routes.run())
        await edge.routes.finish()
        running.cancel()

    asyncio.run(write())
    (written,) = events
    assert isinstance(written, ev.RoutesWritten)
    assert [result.failures for result in written.results] == [[(BLOCK.packed, errno.ENOBUFS)]]


def test_a_second_write_is_begun_before_the_first_is_answered_and_a_dump_keeps_its_place(
    tmp_path: Path,
) -> None:
    class Slow:
        def __init__(self) -> None:
            self.begun: list[asyncio.Future[list[WriteResult]]] = []

        def begin_write(self, batches: Sequence[RouteBatch]) -> asyncio.Future[list[WriteResult]]:
            self.begun.append(asyncio.get_running_loop().create_future())
            return self.begun[-1]

        async def dump(self) -> KernelDump:
            return KernelDump({})

    events: list[ev.CoreEvent] = []

    async def write() -> None:
        kernel = Slow()
        udp = UdpEdge(tmp_path, events.append)
        edge = KernelEdge(cast(Kernel, kernel), (), events.append, udp=udp)
        running = asyncio.create_task(edge.routes.run())
        for command in (do.WriteRoutes(()), do.DumpRoutes(), do.WriteRoutes(())):
            edge.put_routes(command)
        first, second = kernel.begun
        second.set_result([])
        await asyncio.sleep(0)
        assert events == []
        first.set_result([])
        await edge.routes.finish()
        running.cancel()

    asyncio.run(write())
    assert [type(event) for event in events] == [ev.RoutesWritten, ev.KernelDumped, ev.RoutesWritten]


def test_a_commit_that_fails_in_a_way_of_its_own_is_answered() -> None:
    class Broken:
        def commit(self, changes: Sequence[object]) -> None:
            raise ValueError("not text")

    events: list[ev.CoreEvent] = []
    edge = StoreEdge(cast(Store, Broken()), events.append)
    asyncio.run(edge._persist(do.Persist(3, ())))
    edge.close()
    assert events == [ev.PersistFailed(3, "not text")]
