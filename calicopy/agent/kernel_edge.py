"""The kernel as the agent drives it: routes in one ordered task, everything else in another.

Theory of operation: a dump and the writes around it keep their order, so the FIB can tell what a dump has seen. Interfaces
and next hops are read again when an event says that they may have changed, and told to the core only when they did.
"""
from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from typing import Protocol

from calicopy.agent.edges import OrderedTask, Post
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.kernel.events import KernelEventsLost, LinksChanged, RoutesChanged, UnderlayChanged
from calicopy.kernel.kernel import Kernel
from calicopy.kernel.nat import NatSpec
from calicopy.kernel.sysctl import SysctlSpec
from calicopy.kernel.tunnel import IPIP_DEVICE, TunnelSpec
from calicopy.net import IPAddress, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts

log = logging.getLogger(__name__)

RouteCommand = do.DumpRoutes | do.WriteRoutes
HostCommand = do.ResolveNextHops | do.SetTunnel | do.SetHost | LinksChanged | UnderlayChanged


class KernelPort(Protocol):
    """What finding the node's address needs of the kernel."""

    async def interfaces(self) -> Mapping[int, InterfaceFacts]:
        """All interfaces."""

    async def resolve(self, addresses: list[IPAddress]) -> Mapping[IPAddress, NextHopFacts]:
        """How the addresses are reached."""


class KernelEdge:
    """Routes, interfaces, next hops, tunnel, sysctls, nft."""

    def __init__(self, kernel: Kernel, pools: tuple[Prefix, ...], post: Post) -> None:
        self._kernel = kernel
        self._pools = pools
        self._post = post
        self._wanted: frozenset[IPAddress] = frozenset()
        self._facts: dict[IPAddress, NextHopFacts] = {}
        self._interfaces: dict[int, InterfaceFacts] = {}
        self._tunnel: do.SetTunnel | None = None
        self._host: do.SetHost | None = None
        self.routes: OrderedTask[RouteCommand] = OrderedTask("kernel routes", self._do_routes)
        self.host: OrderedTask[HostCommand] = OrderedTask("kernel", self._do_host)

    async def listen(self) -> None:
        """Post the kernel's events, until cancelled."""
        self.host.put(LinksChanged())
        async for event in self._kernel.events():
            match event:
                case RoutesChanged():
                    self._post(ev.RoutesChanged(event.changes))
                case KernelEventsLost():
                    self._post(ev.KernelEventsLost())
                    self.host.put(LinksChanged())
                case LinksChanged():
                    self.host.put(event)
                case UnderlayChanged():
                    self.host.put(event)

    async def _do_routes(self, command: RouteCommand) -> None:
        match command:
            case do.WriteRoutes():
                self._post(ev.RoutesWritten(tuple(await self._kernel.write(command.batches))))
            case do.DumpRoutes():
                try:
                    self._post(ev.KernelDumped(await self._kernel.dump()))
                except OSError as error:
                    self._post(ev.KernelDumpFailed(reason_of(error)))

    async def _do_host(self, command: HostCommand) -> None:
        match command:
            case do.ResolveNextHops():
                self._wanted = command.addresses
                await self._resolve()
            case LinksChanged():
                await self._read_interfaces()
                self._post(ev.LinksLost(command.lost))
                await self._resolve()
                await self._again()
            case UnderlayChanged():
                await self._resolve()
            case do.SetTunnel():
                self._tunnel = command
                await self._set_tunnel(command)
            case do.SetHost():
                self._host = command
                await self._set_host(command)

    async def _read_interfaces(self) -> None:
        interfaces = await self._kernel.interfaces()
        if interfaces != self._interfaces:
            self._interfaces = dict(interfaces)
            self._post(ev.InterfacesChanged(tuple(interfaces.values())))

    async def _resolve(self) -> None:
        facts = await self._kernel.resolve(self._wanted)
        changed = {address: one for address, one in facts.items() if self._facts.get(address) != one}
        self._facts = facts
        if changed:
            self._post(ev.NextHopsResolved(changed))

    async def _again(self) -> None:
        """A link changed: what was ensured on it may be gone. Ensuring reads first, so it costs little."""
        if self._tunnel is not None:
            await self._set_tunnel(self._tunnel)
        if self._host is not None:
            await self._set_host(self._host)

    async def _set_tunnel(self, command: do.SetTunnel) -> None:
        spec = TunnelSpec(command.address, command.mtu, self._pools)
        status = await self._kernel.ensure_tunnel(spec)
        error = "; ".join(problem.message for problem in status.problems)
        self._post(ev.TunnelSet(status.ifindex if status.up else None, error))

    async def _set_host(self, command: do.SetHost) -> None:
        tunnel = IPIP_DEVICE if self._tunnel is not None else None
        found = await self._kernel.ensure_sysctls(SysctlSpec(underlay=command.underlay, tunnel=tunnel))
        problems = [problem.as_problem() for problem in found]
        self._post(ev.HostChecked("sysctl", {one.object: one.message for one in problems if one.severe}))
        nat = await self._kernel.ensure_nat(NatSpec(command.nat_pools, command.all_pools))
        self._post(ev.HostChecked("nat", {one.object: one.message for one in nat}))
        denied = await self._kernel.permission_problem()
        self._post(ev.HostChecked("kernel", {denied.object: denied.message} if denied is not None else {}))


def reason_of(error: OSError) -> str:
    """The errno's name and words, such as `EPERM: Operation not permitted`."""
    name = errno.errorcode.get(error.errno or 0, "error")
    return f"{name}: {error.strerror or error}"
