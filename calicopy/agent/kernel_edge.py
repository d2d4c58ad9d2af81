"""The kernel as the agent drives it: routes in one ordered task, nexthop objects in another, the rest in a third.

Theory of operation: a dump and the writes around it keep their order, so the FIB can tell what a dump has seen.
Interfaces and next hops are read again when an event says that they may have changed, and told to the core only when
they did, by a task of its own: a link that goes down is not to wait for settings, and next hops over it are asked
about before the others. Writes are begun as they come, and answered in order: while the core takes one answer the
kernel works on the next write. Each is answered, also when the edge fails, since the core waits for it. What is ensured
on links (tunnel, sysctls) is looked at again when a link or a setting of one changes, and all of it whenever the core
asks, which it does from time to time, since not every sysctl sends an event.
"""
from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from calicopy.agent.edges import OrderedTask, Post
from calicopy.agent.udp_edge import UdpEdge
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.fib import NextHopResult, RouteBatch, WriteResult
from calicopy.kernel.events import (
    ForeignRoutesChanged,
    KernelEventsLost,
    LinksChanged,
    NextHopsChanged,
    RoutesChanged,
    UnderlayChanged,
)
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.nft import TABLE, NftSpec
from calicopy.kernel.nft_watch import NftWatch
from calicopy.kernel.sysctl import SysctlSpec
from calicopy.kernel.tunnel import TunnelSpec, TunnelStatus
from calicopy.kernel.vxlan import VxlanSpec
from calicopy.net import Encapsulation, Family, IPAddress, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts
from calicopy.workload import GUARD_TABLE, is_host_interface

log = logging.getLogger(__name__)

Command = TypeVar("Command")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Begun(Generic[Command, Result]):
    """A write that is under way."""

    command: Command
    results: asyncio.Future[list[Result]]


RouteCommand = do.DumpRoutes | ForeignRoutesChanged | _Begun[do.WriteRoutes, WriteResult]
NextHopCommand = NextHopsChanged | _Begun[do.WriteNextHops, NextHopResult]
LookCommand = do.ResolveNextHops | LinksChanged | UnderlayChanged


@dataclass(frozen=True, slots=True)
class _CheckLinks:
    """What is ensured on links may be gone with one."""


HostCommand = do.SetTunnel | do.SetHost | _CheckLinks

RETRY_S = 1.0
FOREIGN_PACE_S = 1.0  # before a look at the routes of others, which reads all of them
FOREIGN_REST = 20  # or this many times as long as the last one took, waiting for writes included
FOREIGN_REST_MOST_S = 10.0
NFT_PACE_S = 0.2  # between two looks at the nft table, whatever changes it
COUNT_AGAIN_S = 1.0  # counters of nft are this old at most; each reading starts a process
COUNT_TIMEOUT_S = 2.0
_PUT_RIGHT = "somebody changed or deleted it, and it is written again"
PROTECTION_S = 5.0  # that a tunnel device waits for the nft table at most


class KernelEdge:
    """Routes, interfaces, next hops, tunnel, sysctls, nft."""

    def __init__(self, kernel: Kernel, pools: tuple[Prefix, ...], post: Post, *, udp: UdpEdge) -> None:
        self._kernel = kernel
        self._pools = pools
        self._udp = udp
        self._post = post
        self._foreign_due = self._foreign_found = False
        self._foreign_took_s = 0.0
        self._wanted: frozenset[IPAddress] = frozenset()
        self._facts: dict[IPAddress, NextHopFacts] = {}
        self._interfaces: dict[int, InterfaceFacts] = {}
        self._tunnels: dict[Encapsulation, do.SetTunnel] = {}
        self._lacking: set[Encapsulation] = set()  # no link brings a module: tried again only when asked for again
        self._host: do.SetHost | None = None
        self.routes: OrderedTask[RouteCommand] = OrderedTask("kernel routes", self._do_routes)
        self.next_hops: OrderedTask[NextHopCommand] = OrderedTask("kernel next hops", self._do_next_hops)
        self.looks: OrderedTask[LookCommand] = OrderedTask("kernel looks", self._do_look)
        self.host: OrderedTask[HostCommand] = OrderedTask("kernel", self._do_host)
        self.nft: OrderedTask[do.SetHost] = OrderedTask("kernel nft", self._do_nft)
        self._nft_written: NftSpec | None = None
        self._vxlan_written: tuple[VxlanSpec, int | None] | None = None
        self.counters: Counter[str] = Counter()
        self._counting: asyncio.Task[None] | None = None
        self._counted_at = -COUNT_AGAIN_S

    def set_pools(self, pools: tuple[Prefix, ...]) -> None:
        """The pools of another cluster file: for the next look at the tunnel."""
        if pools != self._pools:
            self._look_at_foreign()
        self._pools = pools

    def put_routes(self, command: do.DumpRoutes | do.WriteRoutes) -> None:
        """Write or read routes, after all that was put before."""
        if isinstance(command, do.WriteRoutes):
            self.routes.put(_Begun(command, self._kernel.begin_write(command.batches)))
        else:
            self.routes.put(command)

    def put_next_hops(self, command: do.WriteNextHops) -> asyncio.Future[list[NextHopResult]]:
        """Write nexthop objects, after all that was put before. A failover waits for it: done when they are written."""
        results = self._kernel.begin_next_hops(command.changes)
        self.next_hops.put(_Begun(command, results))
        return results

    async def listen(self) -> None:
        """Post the kernel's events, until cancelled."""
        self.looks.put(LinksChanged())
        self._look_at_foreign()
        async for event in self._kernel.events():
            match event:
                case RoutesChanged():
                    self._post(ev.RoutesChanged(event.changes))
                case NextHopsChanged():
                    self.next_hops.put(event)
                case KernelEventsLost():
                    self._post(ev.KernelEventsLost())
                    self.looks.put(LinksChanged())
                    self._look_at_foreign()
                case LinksChanged():
                    self.looks.put(event)
                    if event.lost and self._foreign_found:  # theirs go without a word there too
                        self._look_at_foreign()
                case ForeignRoutesChanged():
                    self._look_at_foreign()
                case UnderlayChanged():
                    self.looks.put(event)

    def _look_at_foreign(self) -> None:
        """Soon: what happens until then is seen too."""
        if not self._foreign_due:
            self._foreign_due = True
            wait_s = max(FOREIGN_PACE_S, min(FOREIGN_REST * self._foreign_took_s, FOREIGN_REST_MOST_S))
            asyncio.get_running_loop().call_later(wait_s, self.routes.put, ForeignRoutesChanged())

    async def _read_foreign(self) -> None:
        self._foreign_due = False
        began = time.monotonic()
        try:
            found = await self._kernel.preferred_foreign(self._pools)
            self._foreign_found, self._foreign_took_s = any(found.values()), time.monotonic() - began
            self._post(ev.ForeignRoutesRead(found))
        except OSError as error:
            log.warning("routes of others were not read: %s; trying again", reason_of(error))
            self._look_at_foreign()

    async def _do_routes(self, command: RouteCommand) -> None:
        match command:
            case _Begun():
                try:
                    results = await command.results
                except OSError as error:  # what of it the kernel took is not known: all of it is tried again
                    log.error("routes were not written: %s", reason_of(error))
                    results = [_failed(batch, error.errno or errno.EIO) for batch in command.command.batches]
                self._post(ev.RoutesWritten(tuple(results)))
            case do.DumpRoutes():
                try:
                    self._post(ev.KernelDumped(await self._kernel.dump()))
                except OSError as error:
                    self._post(ev.KernelDumpFailed(reason_of(error)))
            case ForeignRoutesChanged():
                await self._read_foreign()

    async def _do_next_hops(self, command: NextHopCommand) -> None:
        match command:
            case _Begun():
                try:
                    results = await command.results
                except OSError as error:
                    log.error("next hops were not written: %s", reason_of(error))
                    results = [NextHopResult(change, error.errno or errno.EIO) for change in command.command.changes]
                self._post(ev.NextHopsWritten(tuple(results)))
            case NextHopsChanged():
                try:
                    self._post(ev.NextHopsChanged(await self._kernel.read_next_hops(command.ids)))
                except OSError as error:
                    log.warning("next hops were not read: %s; reading everything", reason_of(error))
                    self._post(ev.KernelEventsLost())

    async def _do_look(self, command: LookCommand) -> None:
        try:
            await self._look(command)
        except OSError as error:  # a dump that was overrun or interrupted, for one: everything is read again
            self._try_again(command, error)
            lost = command.lost if isinstance(command, LinksChanged) else frozenset[int]()
            asyncio.get_running_loop().call_later(RETRY_S, self.looks.put, LinksChanged(lost))

    async def _look(self, command: LookCommand) -> None:
        match command:
            case do.ResolveNextHops():
                self._wanted = command.addresses
                await self._resolve(self._wanted)
            case LinksChanged(lost):
                await self._read_interfaces()
                over = {address for address, facts in self._facts.items() if facts.ifindex in lost}
                first = self._wanted & over
                if first:
                    await self._resolve(first)
                self._post(ev.LinksLost(lost))  # what has no way any more is not written again
                await self._resolve(self._wanted - first)
                self.host.put(_CheckLinks())
            case UnderlayChanged():
                await self._resolve(self._wanted)

    async def _do_host(self, command: HostCommand) -> None:
        try:
            await self._carry_out(command)
        except OSError as error:
            self._try_again(command, error)
            asyncio.get_running_loop().call_later(RETRY_S, self.looks.put, LinksChanged())

    def _try_again(self, command: LookCommand | HostCommand, error: OSError) -> None:
        self.counters["kernel.retries"] += 1
        log.warning("%s: %s; trying again", type(command).__name__.lstrip("_"), reason_of(error))

    async def _carry_out(self, command: HostCommand) -> None:
        match command:
            case _CheckLinks():
                await self._check_links()
            case do.SetTunnel():
                self._tunnels[command.encapsulation] = command
                self._lacking.discard(command.encapsulation)
                await self._wait_for_protection(command.device)
                await self._check_links()  # the new device has settings too
            case do.SetHost():
                self._host = command
                taken = {guard.encapsulation for guard in command.guarded}
                self._tunnels = {one: wanted for one, wanted in self._tunnels.items() if one in taken}
                await self._check_links()  # before nft: what is not taken any more is not guarded any more
                self.nft.put(command)
                await self._check_permission()

    async def _read_interfaces(self) -> None:
        interfaces = await self._kernel.interfaces()
        if interfaces != self._interfaces:
            self._interfaces = dict(interfaces)
            self._post(ev.InterfacesChanged(tuple(interfaces.values())))

    async def _resolve(self, addresses: frozenset[IPAddress]) -> None:
        facts = await self._kernel.resolve(addresses)
        changed = {address: one for address, one in facts.items() if self._facts.get(address) != one}
        self._facts = {address: one for address, one in (self._facts | facts).items() if address in self._wanted}
        if changed:
            self._post(ev.NextHopsResolved(changed))

    async def _check_links(self) -> None:
        """What is ensured on links may be gone with one. Ensuring reads first, so it costs little."""
        for encapsulation, wanted in self._tunnels.items():
            if encapsulation not in self._lacking:
                await self._set_tunnel(wanted)
        if self._host is None:
            return
        await self._retire_tunnels(self._host.unused)
        tunnels = tuple(wanted.device for wanted in self._tunnels.values())
        ipv6 = any(pool.family is Family.IPV6 for pool in self._pools)
        workloads = tuple(one.name for one in self._interfaces.values() if is_host_interface(one.name))
        spec = SysctlSpec(underlay=self._host.underlay, tunnels=tunnels, workloads=workloads, ipv6=ipv6)
        found = await self._kernel.ensure_sysctls(spec)
        problems = [problem.as_problem() for problem in found]
        self._post(ev.HostChecked("sysctl", {one.object: one.message for one in problems if one.severe}))

    async def _wait_for_protection(self, device: str) -> None:
        """A device that is not up yet must not take packets before it is said who may send them."""
        if not any(link.name == device and link.up for link in self._interfaces.values()):
            with suppress(TimeoutError):  # the status says what keeps nft
                await asyncio.wait_for(self.nft.finish(), PROTECTION_S)

    async def _retire_tunnels(self, devices: tuple[str, ...]) -> None:
        there = {link.name for link in self._interfaces.values()}
        problems: dict[str, str] = {}
        for device in devices:
            if device in there:
                found = await self._kernel.retire_tunnel(TunnelSpec(0, pools=self._pools, device=device))
                problems |= {one.object: f"it takes packets from anybody: {one.message}" for one in found}
        self._post(ev.HostChecked("unused", problems))

    async def _set_tunnel(self, command: do.SetTunnel) -> None:
        spec = TunnelSpec(command.mtu, command.addresses, self._pools, command.device)
        match command.encapsulation:
            case Encapsulation.IPIP:
                status = await self._kernel.ensure_tunnel(spec)
            case Encapsulation.VXLAN if command.local is not None:
                vxlan = VxlanSpec(spec, command.vni, command.port, command.local, command.ends)
                status = await self._kernel.ensure_vxlan(vxlan)
                self._tell_entries(vxlan, status)
            case Encapsulation.UDP:
                missing = await asyncio.to_thread(self._udp.prepare, command)
                if missing:
                    self._post(ev.TunnelSet(command.encapsulation, None, missing))
                    return
                status = await self._kernel.ensure_tun(spec)
            case _:
                return
        if status.unsupported:
            self._lacking.add(command.encapsulation)
        error = "; ".join(problem.message for problem in status.problems)
        self._post(ev.TunnelSet(command.encapsulation, status.ifindex if status.up else None, error))

    def _tell_entries(self, spec: VxlanSpec, status: TunnelStatus) -> None:
        """Entries that were not as they were written before, on the same device, are what somebody else changed."""
        before, self._vxlan_written = self._vxlan_written, (spec, status.ifindex)
        if status.entries_changed and before == self._vxlan_written:
            what = f"{status.entries_changed} of its neighbor and forwarding entries"
            text = f"somebody else, or the kernel, changed {what}, and they are as before"
            self._post(ev.HostChecked("tunnel", {}, {status.device: text}))

    async def _do_nft(self, command: do.SetHost) -> None:
        """It waits for a process, so nothing else waits for it; and no link takes it away."""
        spec = NftSpec(command.nat_pools, command.nat_exempt, command.guarded, command.senders)
        before = self._kernel.nft_replaced
        found = await self._kernel.ensure_nft(spec)
        again = self._kernel.nft_replaced > before and spec == self._nft_written
        self._nft_written = spec
        self.counters["nft.replaced"] = self._kernel.nft_replaced
        put_right = {f"inet {TABLE}": _PUT_RIGHT} if again else {}
        self._post(ev.HostChecked("nft", {one.object: one.message for one in found}, put_right))

    async def watch_nft(self, restore_guard: Callable[[], Awaitable[bool]]) -> None:
        """Look at our nft tables when somebody changed them, until cancelled; without CAP_NET_ADMIN at times alone.
        `restore_guard` brings back the one of the workloads, and says whether it had to.
        """
        try:
            watch = NftWatch((TABLE, GUARD_TABLE))
        except OSError as error:
            log.warning("changes of nft are not seen: %s", reason_of(error))
            await asyncio.Event().wait()
            return
        try:
            async for changed in watch.changes():
                if TABLE in changed and self._host is not None:
                    self.nft.put(self._host)
                if GUARD_TABLE in changed and await restore_guard():
                    self._post(ev.HostChecked("workload nft", {}, {f"inet {GUARD_TABLE}": _PUT_RIGHT}))
                await asyncio.sleep(NFT_PACE_S)
        finally:
            watch.close()

    async def count_packets(self) -> None:
        """Bring the nft table's part of `counters` up to date; as last read when that takes too long."""
        if self._counting is None or self._counting.done():
            if time.monotonic() - self._counted_at < COUNT_AGAIN_S:
                return
            self._counting = asyncio.create_task(self._count())
        await asyncio.wait((self._counting,), timeout=COUNT_TIMEOUT_S)

    async def _count(self) -> None:
        try:
            counted = await self._kernel.nft_counters()
        except OSError as error:
            log.warning("packets were not counted: %s", reason_of(error))
            return
        for name, one in counted.items():
            self.counters[f"nft.{name}"] = one.packets
        self._counted_at = time.monotonic()

    async def _check_permission(self) -> None:
        denied = await self._kernel.permission_problem()
        self._post(ev.HostChecked("kernel", {denied.object: denied.message} if denied is not None else {}))


def _failed(batch: RouteBatch, code: int) -> WriteResult:
    return WriteResult(batch, [(packed, code) for packed in batch.prefixes], [])


def reason_of(error: OSError) -> str:
    """The errno's name and words, such as `EPERM: Operation not permitted`."""
    name = errno.errorcode.get(error.errno or 0, "error")
    return f"{name}: {error.strerror or error}"
