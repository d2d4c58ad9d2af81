"""The FIB and the real kernel, joined as the agent joins them, in the smallest form: for tests in a namespace."""
from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

from fibs import Path, Selection

from calicopy.fib import Fib, FibPool, UnprogrammedReason
from calicopy.kernel.events import (
    KernelEvent,
    KernelEventsLost,
    LinksChanged,
    NextHopsChanged,
    RoutesChanged,
    UnderlayChanged,
)
from calicopy.kernel.kernel import Kernel
from calicopy.net import Family, IPAddress, Prefix

POOL = FibPool(Prefix.parse("10.0.0.0/8"))
GATEWAY = IPv4Address("192.168.0.2")


class FibLoop:
    """What the agent does with the FIB and the kernel."""

    def __init__(self, kernel: Kernel, *pools: FibPool) -> None:
        self.kernel, self.fib = kernel, Fib()
        self.selection = Selection((Path(GATEWAY),))
        self.pools = pools or (POOL,)
        self.wanted: set[IPAddress] = {GATEWAY}
        self.seen: list[KernelEvent] = []
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Read what is there."""
        self.fib.set_pools(self.pools)
        await self.look()
        await self.read()

    async def look(self) -> None:
        """At interfaces and next hops."""
        self.fib.set_interfaces(await self.kernel.interfaces())
        self.fib.set_next_hops(await self.kernel.resolve(self.wanted))

    async def read(self) -> None:
        """At routes and objects."""
        self.fib.dump_begins()
        self.fib.kernel_state(await self.kernel.dump())

    def learn(self, prefixes: list[bytes], selection: Selection | None = None, family: Family = Family.IPV4) -> None:
        """These lead to the gateway, or where `selection` says."""
        self.fib.apply_decisions(family, [(selection or self.selection, prefixes)])
        self._wake.set()

    def lose(self, prefixes: list[bytes], family: Family = Family.IPV4) -> None:
        """These are withdrawn."""
        self.fib.apply_decisions(family, [(None, prefixes)])
        self._wake.set()

    async def write(self) -> None:
        """All that can be written now."""
        while await self._write_next_hops() or await self._write_routes():
            pass

    async def _write_next_hops(self) -> bool:
        changes = self.fib.next_hop_delta(time.monotonic())
        self.fib.next_hops_written(await self.kernel.write_next_hops(changes), time.monotonic())
        return bool(changes)

    async def _write_routes(self) -> bool:
        batches = self.fib.delta(5000, time.monotonic())
        self.fib.written(await self.kernel.write(batches), time.monotonic())
        return bool(batches)

    async def read_events(self) -> None:
        """What the kernel edge and the core do on events."""
        async for event in self.kernel.events():
            self.seen.append(event)
            match event:
                case LinksChanged(lost):
                    await self.look()
                    self.fib.interfaces_lost(lost)
                case RoutesChanged(changes):
                    for family, routes in changes.items():
                        self.fib.kernel_changed(family, routes)
                case NextHopsChanged(ids):
                    self.fib.next_hops_changed(await self.kernel.read_next_hops(ids))
                case UnderlayChanged():
                    await self.look()
                case KernelEventsLost():
                    await self.look()
                    await self.read()
            self._wake.set()

    async def run(self) -> None:
        """Write whenever there is something to write."""
        while True:
            await self.write()
            now = time.monotonic()
            times = (self.fib.next_deadline(now), self.fib.next_hop_deadline(now))
            due = min((one for one in times if one is not None), default=None)
            pause = None if due is None else max(0.0, due - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):  # not wait_for: Python 3.11's may swallow the cancellation
                    await self._wake.wait()
            self._wake.clear()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[FibLoop]:
        """Read events and write, until the end of the block."""
        tasks = [asyncio.create_task(self.read_events()), asyncio.create_task(self.run())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def reason(self, prefix: str) -> UnprogrammedReason | None:
        """Why this prefix is not in the kernel."""
        status = self.fib.status(Prefix.parse(prefix))
        assert status is not None
        return None if status.reason is None else status.reason.reason
