"""Attaching and detaching workloads: the addresses, then the record, then the interface, then the host route.

Theory of operation: each step is durable before the next begins, and each can be done again. An attach that was cut
short by a kill is completed by the next call with the same name; what it left of addresses without a record is freed at
start. The record names all addresses of the workload, one of each family, and is written when it has them all.

At start all recorded workloads are looked at before their host routes are told, and before any call: the set is told
whole or not at all, since the FIB sweeps what is not in it. A workload that cannot be looked at keeps the host route
that it has. Calls for one name run one after the other.
"""
from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from calicopy.agent.wishes import Wish, family_of
from calicopy.api.backend import AddressWishes, RefusalKind, RefusedError
from calicopy.core.views import WorkloadView
from calicopy.ipam import AddressRecord
from calicopy.net import IPAddress, Prefix
from calicopy.store import StoreChange, WorkloadRecord, WorkloadRemoved, WorkloadSaved
from calicopy.workload import (
    AttachSpec,
    Inspection,
    WorkloadError,
    attach,
    detach,
    ensure_guard,
    host_interface_name,
    inspect,
    least_mtu,
    set_mtu,
)

log = logging.getLogger(__name__)

HANDLE_PREFIX = "workload:"
_KINDS = {
    "bad-spec": RefusalKind.INVALID,
    "not-a-netns": RefusalKind.INVALID,
    "netns-is-host": RefusalKind.INVALID,
    "netns-not-found": RefusalKind.NOT_FOUND,
    "interface-exists": RefusalKind.CONFLICT,
    "foreign-interface": RefusalKind.CONFLICT,
    "default-route-exists": RefusalKind.CONFLICT,
}  # what is not listed is the machine's refusal


@dataclass(slots=True)
class _Live:
    record: WorkloadRecord
    ifindex: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadPorts:
    """What attaching needs of the rest of the agent. `routes_changed` is told the whole set of host routes."""

    work_out: Callable[[AddressWishes, Sequence[IPAddress]], list[Wish]]
    assign: Callable[[str, Wish], Awaitable[AddressRecord]]
    release: Callable[[str], Awaitable[Sequence[AddressRecord]]]
    commit: Callable[[Sequence[StoreChange]], Awaitable[None]]
    routes_changed: Callable[[dict[Prefix, int]], None]
    route_installed: Callable[[Prefix], Awaitable[None]]
    mtu: Callable[[], int]
    changed: Callable[[WorkloadView, bool], None]


class Workloads:
    """The workloads of this node, by name."""

    def __init__(self, records: Sequence[WorkloadRecord], ports: WorkloadPorts) -> None:
        self._live = {record.name: _Live(record) for record in records}
        self._ports = ports
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # those that are in use
        self._unseen = set(self._live)
        self._first_look = asyncio.Event()

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    # -- calls --------------------------------------------------------------------------------------------------

    async def attach(
        self, netns: str, name: str, *, interface: str, wishes: AddressWishes
    ) -> tuple[WorkloadView, bool]:
        """Give the namespace an interface; the flag says whether this call made it. Raises RefusedError."""
        await self._first_look.wait()
        async with self._lock(name):
            known = self._live.get(name)
            if known is not None:
                self._check_same(known.record, netns, interface, wishes)
            record = await self._record(netns, name, interface, wishes, known)
            created = known is None or known.ifindex is None
            spec = _spec(record)
            try:
                done = await asyncio.to_thread(attach, spec)
            except WorkloadError as error:
                if known is None:
                    await self._forget(record)
                raise _refused(error, name) from error
            live = self._live[name]
            live.ifindex, live.problem = done.host_ifindex, ""
            if record.mac != done.mac:
                live.record = replace(record, mac=done.mac)
                await self._ports.commit([WorkloadSaved(live.record)])
            self._tell_routes()
            for given in record.addresses:
                await self._ports.route_installed(Prefix.host(given))
            view = _view(live)
            self._ports.changed(view, False)
            return view, created

    async def detach(self, name: str) -> bool:
        """Undo it; False when there was none. Raises RefusedError."""
        await self._first_look.wait()
        async with self._lock(name):
            live = self._live.get(name)
            if live is None:
                await self._ports.release(HANDLE_PREFIX + name)
                return False
            try:
                await asyncio.to_thread(detach, _spec(live.record))
            except WorkloadError as error:
                raise _refused(error, name) from error
            live.ifindex = None
            self._tell_routes()
            await self._forget(live.record)
            self._ports.changed(_view(live), True)
            return True

    def views(self) -> list[WorkloadView]:
        """All workloads, in order of name."""
        return [_view(self._live[name]) for name in sorted(self._live)]

    # -- from time to time --------------------------------------------------------------------------------------

    async def inspect(self) -> None:
        """Look at every recorded workload, and correct its host route. The first look completes what is half made."""
        for name in sorted(self._live):
            async with self._lock(name):
                live = self._live.get(name)
                if live is None:
                    continue
                found = await asyncio.to_thread(inspect, _spec(live.record))
                if found.problem and found.host_ifindex is not None and not self._first_look.is_set():
                    found = await self._complete(live.record, found)
                before = live.ifindex, live.problem
                live.problem = found.problem or self._too_narrow(live.record)
                if found.looked:
                    live.ifindex = found.host_ifindex
                    self._unseen.discard(name)
                if before != (live.ifindex, live.problem):
                    self._ports.changed(_view(live), False)
        self._tell_routes()
        self._first_look.set()

    async def restore_guard(self) -> bool:
        """Bring back the anti-spoofing rules where there are workloads; whether they were gone."""
        with suppress(WorkloadError):  # the next look at the workloads says it
            return bool(self._live) and await asyncio.to_thread(ensure_guard, ipv4_only=False)
        return False

    async def follow_mtu(self, mtu: int) -> None:
        """Bring all workloads to another MTU, in octets; the next look says of which that could not be done."""
        await self._first_look.wait()
        for name in sorted(self._live):
            async with self._lock(name):
                live = self._live.get(name)
                if live is None or live.record.mtu == (wanted := _at_least(mtu, live.record.addresses)):
                    continue
                record = replace(live.record, mtu=wanted)
                try:
                    await self._ports.commit([WorkloadSaved(record)])
                    live.record = record
                    await asyncio.to_thread(set_mtu, _spec(record))
                except (WorkloadError, RefusedError) as error:
                    log.warning("workload %s: its MTU is not brought to %d: %s", name, wanted, error)
                self._ports.changed(_view(live), False)

    def _too_narrow(self, record: WorkloadRecord) -> str:
        """A problem when the ways to the other nodes take less than the workload must have."""
        least = least_mtu(record.addresses)
        if record.mtu > least or self._ports.mtu() >= least:
            return ""
        return f"the way to other nodes takes {self._ports.mtu()} octets, and IPv6 needs {least}"

    async def _complete(self, record: WorkloadRecord, found: Inspection) -> Inspection:
        """Finish an interface that an attach cut short left half made; else its host route could not be written."""
        try:
            await asyncio.to_thread(attach, _spec(record))
        except WorkloadError as error:
            log.warning("workload %s: %s; not put right: %s", record.name, found.problem, error)
            return found
        log.info("workload %s: put right: %s", record.name, found.problem)
        return await asyncio.to_thread(inspect, _spec(record))

    async def free_leftovers(self, handles: Collection[str]) -> None:
        """Free the addresses of workloads without a record: an attach or a detach was killed between the two."""
        for handle in sorted(handles):
            name = handle.removeprefix(HANDLE_PREFIX)
            if name == handle:
                continue
            async with self._lock(name):
                if name in self._live:
                    continue
                try:
                    await self._ports.release(handle)
                except RefusedError as error:
                    log.warning("workload %s: the addresses of an attach cut short were not released: %s", name, error)
                else:
                    log.info("workload %s: released the addresses of an attach cut short", name)

    # -- steps --------------------------------------------------------------------------------------------------

    def _check_same(self, record: WorkloadRecord, netns: str, interface: str, wishes: AddressWishes) -> None:
        held = {family_of(address): address for address in record.addresses}
        families = tuple(sorted(wishes.families)) or tuple(held)
        for what, has, asked in (
            ("namespace", record.netns, netns),
            ("interface", record.interface, interface),
            ("an address of", " and ".join(map(str, held)), " and ".join(map(str, families))),
            *(("address", held.get(family_of(one), "none of its family"), one) for one in wishes.addresses),
        ):
            if has != asked:
                message = f"workload {record.name} is attached with {what} {has}, not {asked}: detach it first"
                raise RefusedError(RefusalKind.CONFLICT, "attached-otherwise", message, subject=record.name)

    async def _record(
        self, netns: str, name: str, interface: str, wishes: AddressWishes, known: _Live | None
    ) -> WorkloadRecord:
        addresses = await self._assign(name, wishes, known)
        if known is not None and addresses == known.record.addresses:
            return known.record
        record = WorkloadRecord(
            name=name,
            netns=netns,
            interface=interface,
            host_interface=host_interface_name(name),
            addresses=addresses,
            mac=_mac(name),
            created_at=time.time(),
            mtu=_at_least(self._ports.mtu(), addresses),
        )
        await self._ports.commit([WorkloadSaved(record)])
        self._live[name] = _Live(record)
        return record

    async def _assign(self, name: str, wishes: AddressWishes, known: _Live | None) -> tuple[IPAddress, ...]:
        """All the addresses or, for a workload that is new, none."""
        handle = HANDLE_PREFIX + name
        wanted = self._ports.work_out(wishes, () if known is None else known.record.addresses)
        try:
            return tuple([(await self._ports.assign(handle, wish)).address for wish in wanted])
        except RefusedError:
            if known is None:
                with suppress(RefusedError):  # then it is freed at the next start
                    await self._ports.release(handle)
            raise

    async def _forget(self, record: WorkloadRecord) -> None:
        await self._ports.commit([WorkloadRemoved(record.name)])
        self._live.pop(record.name, None)
        self._unseen.discard(record.name)
        await self._ports.release(HANDLE_PREFIX + record.name)

    def _tell_routes(self) -> None:
        if self._unseen:
            return
        routes = {
            Prefix.host(address): live.ifindex
            for live in self._live.values()
            if live.ifindex is not None
            for address in live.record.addresses
        }
        self._ports.routes_changed(routes)


def _at_least(mtu: int, addresses: Sequence[IPAddress]) -> int:
    """What the ways to the other nodes take, but never less than IPv6 has to have."""
    return max(mtu, least_mtu(addresses))


def _refused(error: WorkloadError, name: str) -> RefusedError:
    return RefusedError(_KINDS.get(error.code, RefusalKind.FAILED), error.code, str(error), subject=name)


def _mac(name: str) -> str:
    """A locally administered unicast address that stays the same for a name (IEEE 802-2014 section 8.4.4)."""
    digest = hashlib.blake2b(name.encode(), digest_size=5).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest))


def _spec(record: WorkloadRecord) -> AttachSpec:
    return AttachSpec(
        name=record.name,
        netns=record.netns,
        interface=record.interface,
        host_interface=record.host_interface,
        addresses=record.addresses,
        mtu=record.mtu,
        mac=record.mac,
    )


def _view(live: _Live) -> WorkloadView:
    record = live.record
    return WorkloadView(
        name=record.name,
        netns=record.netns,
        interface=record.interface,
        host_interface=record.host_interface,
        addresses=record.addresses,
        mac=record.mac,
        mtu=record.mtu,
        attached_at=record.created_at,
        problem=live.problem,
    )
