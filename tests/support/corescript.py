"""One core and a script: events in, commands out."""
from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import simnet

from calicopy.config.resolve import NodeConfig, resolve
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.change.plan import plan
from calicopy.core.core import Core
from calicopy.core.drain_state import DrainRecord
from calicopy.core.views import PlanView
from calicopy.fib import Hop, KernelDump, RouteKind, RouteTarget, WriteResult
from calicopy.ipam import Snapshot
from calicopy.net import Encapsulation, Family, Packed, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts
from calicopy.seam import speaker as sp

C = TypeVar("C")
TUNNELS = {Encapsulation.IPIP: 9, Encapsulation.VXLAN: 10, Encapsulation.UDP: 11}
N1, N2, N3 = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def owner(number: int) -> sp.RawAttribute:
    """The large community that names node `number` as the owner."""
    value = (64512).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes((10, 0, 0, number))
    return sp.RawAttribute(flags=0xC0, code=32, value=value)


def attributes(number: int) -> tuple[sp.RawAttribute, ...]:
    """What an internal peer announces with its blocks."""
    values = {1: b"\0", 2: b"", 5: (100).to_bytes(4, "big")}
    return (*(sp.RawAttribute(flags=0x40, code=code, value=value) for code, value in values.items()), owner(number))


def planned(core: Core, config: NodeConfig) -> PlanView:
    """What `plan` comes to, all its slices one after the other."""
    steps = plan(core, config)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            view: PlanView = done.value
            return view


class Script:
    """Drives the core of n1. What the host answers (kernel, disk) is answered at once unless it is held back."""

    def __init__(
        self,
        node: NodeConfig,
        snapshot: Snapshot | None = None,
        *,
        kernel: tuple[str, ...] = (),
        drain: DrainRecord | None = None,
    ) -> None:
        self.now = 1000.0
        self.core = Core(node, snapshot or Snapshot(), now=self.now, drain=drain)
        self.node = node
        self.kernel: dict[Packed, RouteTarget | None] = {
            Prefix.parse(prefix).packed: RouteTarget(RouteKind.UNICAST, (Hop(None, 7),))
            for prefix in kernel
        }
        self.next_hops = simnet.NextHopObjects()
        self.held: set[type] = set()  # kinds of commands that are not answered
        self.done: list[do.Command] = []

    def tell(self, *events: ev.CoreEvent) -> Script:
        """Tell it these, and answer what it asks until it is quiet; all commands since the last `take` are kept."""
        waiting = list(events)
        for _ in range(200):
            commands = self.core.handle(waiting, self.now)
            waiting = [answer for command in commands for answer in self._answer(command)]
            self.done += commands
            deadline = self.core.deadline(self.now)
            if not waiting and (deadline is None or deadline > self.now):
                return self
        raise AssertionError("the core never comes to rest")

    def wait(self, seconds: float) -> Script:
        """Let time pass, calling the core when it wants to be called."""
        end = self.now + seconds
        while (deadline := self.core.deadline(self.now)) is not None and deadline <= end:
            self.now = max(deadline, self.now + 1e-6)
            self.tell(ev.Ticked())
        self.now = max(end, self.now)
        return self.tell(ev.Ticked())

    def take(self, kind: type[C]) -> list[C]:
        """The commands of this kind so far; all commands are forgotten."""
        found = [command for command in self.done if isinstance(command, kind)]
        self.done.clear()
        return found

    def seen(self, kind: type[C]) -> list[C]:
        """The commands of this kind so far; nothing is forgotten."""
        return [command for command in self.done if isinstance(command, kind)]

    def _answer(self, command: do.Command) -> list[ev.CoreEvent]:
        if type(command) in self.held:
            return []
        match command:
            case do.DumpRoutes():
                routes = {Family.IPV4: dict(self.kernel)}
                return [ev.KernelDumped(KernelDump(routes, next_hops=self.next_hops.ours))]
            case do.WriteNextHops():
                return [ev.NextHopsWritten(self.next_hops.write(command, self.kernel))]
            case do.WriteRoutes():
                for batch in command.batches:
                    for packed in batch.prefixes:
                        self.kernel.pop(packed, None)
                        if batch.target is not None:
                            self.next_hops.check(batch.target)
                            self.kernel[packed] = batch.target
                return [ev.RoutesWritten(tuple(WriteResult(batch) for batch in command.batches))]
            case do.ResolveNextHops():
                return [ev.NextHopsResolved({one: NextHopFacts(one, True, on_link=True, ifindex=2)
                                             for one in command.addresses})]
            case do.Persist():
                return [ev.Persisted(command.token)]
            case do.SetTunnel():
                return [ev.TunnelSet(command.encapsulation, TUNNELS[command.encapsulation])]
        return []

    # -- events

    def boot(self) -> Script:
        """The host is looked at, the speaker attached, workloads told; no session yet."""
        address = self.node.addresses[0]
        return self.tell(
            ev.InterfacesChanged((InterfaceFacts(2, "eth0", True, True, 1500, ((address, 24),)),)),
            ev.WorkloadsChanged({}),
            sp.SpeakerAttached("one", 1, ()),
        )

    def up(self, peer: str, **capabilities: object) -> Script:
        """A session is Established."""
        return self.tell(sp.PeerUp(peer, self.our_open, self.open_of(peer, **capabilities)))

    @property
    def our_open(self) -> bytes:
        return simnet.open_body(self.node.asn, self.node.router_id, enhanced_refresh=True)

    def open_of(self, peer: str, **capabilities: object) -> bytes:
        asn = next(one.asn for one in self.node.sessions if str(one.address) == peer)
        return simnet.open_body(asn, peer, **capabilities)

    def hear(self, peer: str, *prefixes: str, number: int | None = None) -> Script:
        """The peer announces prefixes, as their owner unless `number` is another node's."""
        number = int(peer.rpartition(".")[2]) if number is None else number
        body = simnet.update_body(prefixes, next_hop=peer, attributes=attributes(number))
        return self.tell(sp.UpdatesReceived(peer, (body,)))

    def hear_withdrawn(self, peer: str, *prefixes: str) -> Script:
        body = simnet.update_body((), withdraw=[Prefix.parse(prefix).packed for prefix in prefixes])
        return self.tell(sp.UpdatesReceived(peer, (body,)))

    def end_of_rib(self, *peers: str) -> Script:
        for peer in peers:
            self.tell(sp.UpdatesReceived(peer, (b"\0\0\0\0",)))
        return self

    def attach(self, *peers: str, instance: str = "one", opens: bool = True, **capabilities: object) -> Script:
        """Attach to an ExaBGP whose sessions with `peers` run."""
        return self.tell(sp.SpeakerAttached(instance, 1, tuple(
            sp.PeerSnapshot(
                peer=peer, state=sp.FsmState.ESTABLISHED,
                local_open=self.our_open if opens else None,
                peer_open=self.open_of(peer, **capabilities) if opens else None,
            )
            for peer in peers
        )))  # fmt: skip

    # -- state

    @property
    def routes(self) -> set[str]:
        """What the kernel holds."""
        return {str(Prefix(Family.IPV4, packed)) for packed in self.kernel}

    @property
    def own(self) -> set[str]:
        """What is announced."""
        return set(map(str, self.core.ipam.announcements()))


def snapshot(*blocks: str, used: str = "") -> Snapshot:
    """A disk that holds these blocks."""
    disk = simnet.Disk()
    for block in blocks:
        disk.commit(simnet.stored_block(block, used=used))
    return disk.snapshot()


def node(count: int = 3, **parts: object) -> NodeConfig:
    """n1 of a cluster of so many nodes."""
    return resolve(simnet.config([f"n{number}" for number in range(1, count + 1)], **parts), "n1")


def with_session(base: NodeConfig, peer: str = N2, **fields: object) -> NodeConfig:
    """The same node, its session with `peer` changed."""
    sessions = tuple(
        replace(one, **fields) if str(one.address) == peer else one  # type: ignore[arg-type]  # a test's own
        for one in base.sessions
    )
    return replace(base, sessions=sessions)


def fresh() -> Script:
    """A node that never ran, with two peers."""
    return Script(node()).boot()
