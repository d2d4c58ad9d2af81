"""What the kernel says, to the parts of the core that it concerns: routes, interfaces, next hops, the tunnels."""
from __future__ import annotations

from typing import TYPE_CHECKING

from calicopy.core import events as ev
from calicopy.core.host import loopback_problems
from calicopy.net import Prefix

if TYPE_CHECKING:
    from calicopy.core.core import Core

KERNEL_EVENTS = (
    ev.RoutesWritten, ev.NextHopsWritten, ev.NextHopsChanged,
    ev.KernelDumped, ev.KernelDumpFailed, ev.RoutesChanged, ev.ForeignRoutesRead, ev.KernelEventsLost,
    ev.InterfacesChanged, ev.LinksLost, ev.NextHopsResolved, ev.TunnelSet,
    ev.TunnelsAnswered,
)  # fmt: skip


def kernel_said(core: Core, event: ev.KernelSaid, now: float) -> None:
    """Take one event of the kernel's."""
    match event:
        case ev.RoutesWritten():
            _written(core, event, now)
        case ev.NextHopsWritten():
            core.kernel.next_hops_written(event, now)
        case ev.NextHopsChanged():
            if any(one is not None and one.held for one in event.changes.values()):
                core.bfd.look_over(now)
            _drifted(core, [f"next hop object {number}" for number in core.fib.next_hops_changed(event.changes)])
        case ev.KernelDumped():
            if not core.kernel.dumped:
                core.host.had_routes = any(event.dump.routes.values())
            core.bfd.look_over(now)
            core.kernel.dump_came(event, now, next_in_s=core.node.cluster.agent.resync_interval_s)
        case ev.KernelDumpFailed():
            core.kernel.dump_failed(event.error, now)
        case ev.RoutesChanged():
            for family, changes in event.changes.items():
                drifted = core.fib.kernel_changed(family, changes)
                _drifted(core, [str(Prefix(family, packed)) for packed in drifted])
        case ev.ForeignRoutesRead():
            core.host.foreign = event.routes
        case ev.KernelEventsLost():
            core.counters["kernel.events_lost"] += 1
            core.kernel.want_dump()
        case ev.InterfacesChanged():
            core.host.interfaces_changed(event.interfaces)
            host_checked(core, ev.HostChecked("loopback", loopback_problems(event.interfaces)))
            core.fib.set_interfaces({interface.ifindex: interface for interface in event.interfaces})
        case ev.LinksLost():
            core.fib.interfaces_lost(event.ifindexes)
            if event.ifindexes:
                core.kernel.dump_is_old()
        case ev.NextHopsResolved():
            core.rib.set_next_hops(event.facts)
            core.fib.set_next_hops(event.facts)
            core.host.next_hops_resolved(event.facts)
        case ev.TunnelSet():
            _tunnel_set(core, event)
            core.fib.set_tunnels(core.host.tunnels.ifindexes)
        case ev.TunnelsAnswered():
            core.host.probes.answered(event)


def host_checked(core: Core, event: ev.HostChecked) -> None:
    """Take what is wrong with a part of the host, and what of it was put right."""
    core.host_log.checked(event.component, core.host.problems.get(event.component, {}), event.problems)
    core.host.problems[event.component] = dict(event.problems)
    for subject, message in event.put_right.items():
        core.host_log.put_right(event.component, subject, message)


def _drifted(core: Core, names: list[str]) -> None:
    if names:
        core.counters["fib.drift_seen"] += len(names)
        core.host_log.drifted(names)


def _tunnel_set(core: Core, event: ev.TunnelSet) -> None:
    tunnels = core.host.tunnels
    troubles, before = tunnels.problems(), tunnels.states.get(event.encapsulation)
    tunnels.tunnel_set(event)
    core.host_log.checked("tunnel", troubles, tunnels.problems())
    if before is not None and None not in (before.ifindex, event.ifindex) and before.ifindex != event.ifindex:
        core.host_log.put_right("tunnel", tunnels.device(event.encapsulation), "the device was gone, and is made anew")


def _written(core: Core, event: ev.RoutesWritten, now: float) -> None:
    core.kernel.written(event, now)
    if core.note_touched:
        for result in event.results:
            core.touched += ((result.batch.family, packed) for packed in result.batch.prefixes)
