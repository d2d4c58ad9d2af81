"""A network of cores in memory: each node has a core, a speaker that outlives it, a kernel, a disk; time is simulated.

The speakers exchange UPDATE bodies as on the wire. Nothing here decides: commands are carried out, and answered.
"""
from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address

from fibs import followed

from calicopy.bgp import RefreshKind, encode_end_of_rib
from calicopy.bgp.capabilities import Capabilities, GracefulRestart, PathMode
from calicopy.bgp.encode import encode_attribute
from calicopy.bgp.nlri import encode_nlri
from calicopy.bgp.open import Open, encode_open
from calicopy.config.model import ClusterConfig
from calicopy.config.resolve import NodeConfig, resolve
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.core import Core
from calicopy.fib import (
    KernelDump,
    NextHopChange,
    NextHopObject,
    NextHopOp,
    NextHopResult,
    RouteOp,
    RouteTarget,
    WriteResult,
)
from calicopy.ipam import (
    AddressFreed,
    AddressRecord,
    AddressRemoved,
    AddressSaved,
    BlockRecord,
    BlockRemoved,
    BlockSaved,
    Change,
    CounterSaved,
    ReservationRemoved,
    ReservationSaved,
    Snapshot,
)
from calicopy.kernel.fake import FakeKernel
from calicopy.net import Family, IPAddress, Packed, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.net.nexthop import NextHopFacts
from calicopy.seam import speaker as sp

ETH = 2
TUNNEL = 9
WIRE_S = 0.001


@dataclass
class Disk:
    """What a node has stored; `fails` makes every commit fail."""

    blocks: dict[Prefix, object] = field(default_factory=dict)
    addresses: dict[IPAddress, object] = field(default_factory=dict)
    reservations: dict[Prefix, object] = field(default_factory=dict)
    counter: int = 0
    fails: bool = False

    def commit(self, changes: Iterable[Change]) -> None:
        for change in changes:
            match change:
                case BlockSaved(record):
                    self.blocks[record.prefix] = record
                case BlockRemoved(prefix):
                    self.blocks.pop(prefix, None)
                case AddressSaved(record) | AddressFreed(record):
                    self.addresses[record.address] = record
                case AddressRemoved(address):
                    self.addresses.pop(address, None)
                case ReservationSaved(record):
                    self.reservations[record.prefix] = record
                case ReservationRemoved(prefix):
                    self.reservations.pop(prefix, None)
                case CounterSaved(value):
                    self.counter = value

    def snapshot(self) -> Snapshot:
        return Snapshot(
            tuple(self.blocks.values()), tuple(self.addresses.values()), tuple(self.reservations.values()), self.counter
        )


def config(names: Iterable[str], **parts: object) -> ClusterConfig:
    """A cluster of nodes 10.0.0.1/24, 10.0.0.2/24 ... in this order; `parts` are further sections of the file."""
    nodes = [{"name": name, "address": f"10.0.0.{number}/24"} for number, name in enumerate(names, 1)]
    pools = [{"cidr": "10.244.0.0/22", "block_size": 26}]
    return ClusterConfig.model_validate({"nodes": nodes, "pools": pools, **parts})


def stored_block(block: str, *, used: str = "") -> list[Change]:
    """What makes a disk hold a block, with an address of it in use by `pod` if `used` lies in it."""
    prefix = Prefix.parse(block)
    changes: list[Change] = [BlockSaved(BlockRecord(prefix, "10.244.0.0/22", 1)), CounterSaved(2)]
    if used and ip_address(used) in prefix:
        changes.append(AddressSaved(AddressRecord(ip_address(used), prefix, "pod", 2)))
    return changes


def open_body(asn: int, router_id: object, *, restart: GracefulRestart | None = None, **capabilities: object) -> bytes:
    """An OPEN of IPv4 unicast with route refresh, graceful restart with the F bit, and whatever is said otherwise."""
    if restart is None:
        restart = GracefulRestart(120, ((Family.IPV4, True),))
    known: dict[str, object] = {
        "families": (Family.IPV4,), "route_refresh": True, "asn4": asn, "graceful_restart": restart, **capabilities
    }  # fmt: skip
    return encode_open(Open(asn, 9, IPv4Address(str(router_id)), Capabilities(**known)))


def update_body(
    prefixes: Iterable[str], *, next_hop: str = "", attributes: Iterable[sp.RawAttribute] = (),
    withdraw: Iterable[Packed] = (), path_id: int = 0,
) -> bytes:  # fmt: skip
    """One UPDATE of IPv4 unicast; with ADD-PATH where `path_id` is not 0."""
    parts = {one.code: encode_attribute(one.flags, one.code, one.value) for one in attributes}
    if next_hop:
        parts[3] = encode_attribute(0x40, 3, ip_address(next_hop).packed)
    encoded = b"".join(parts[code] for code in sorted(parts))
    unreachable, reachable = list(withdraw), [Prefix.parse(prefix).packed for prefix in prefixes]
    gone = encode_nlri(unreachable, [path_id] * len(unreachable) if path_id else None)
    nlri = encode_nlri(reachable, [path_id] * len(reachable) if path_id else None)
    return len(gone).to_bytes(2, "big") + gone + len(encoded).to_bytes(2, "big") + encoded + nlri


class NextHopObjects:
    """The nexthop objects of one host's kernel. `changes` has everything that was written."""

    def __init__(self) -> None:
        self._kernel = FakeKernel()
        self.changes: list[NextHopChange] = []

    @property
    def ours(self) -> dict[int, NextHopObject]:
        return self._kernel.our_objects()

    def write(
        self, command: do.WriteNextHops, routes: Mapping[Packed, RouteTarget | None]
    ) -> tuple[NextHopResult, ...]:
        """Carry it out; no object is deleted that a route leads to."""
        for change in command.changes:
            if change.op is NextHopOp.DELETE:
                assert not [one for one in routes.values() if one is not None and one.next_hop_id == change.object.id]
        self.changes += command.changes
        return tuple(self._kernel.write_next_hops_now(command.changes))

    def check(self, target: RouteTarget) -> None:
        """The kernel takes no route to an object that is not there."""
        assert not target.next_hop_id or target.next_hop_id in self.ours

    def flush(self, gateway: IPAddress) -> None:
        """What a link that goes down takes away, without a word."""
        for number in [one.id for one in self.ours.values() if one.hop is not None and one.hop.gateway == gateway]:
            self._kernel.remove_object(number)

    def led(self, target: RouteTarget) -> set[IPAddress | None]:
        """The gateways that packets go to; none when they are dropped."""
        return {hop.gateway for hop in followed(self._kernel, target).hops}


class Speaker:
    """What ExaBGP and its bridge do for one node: sessions, and what was announced on each."""

    def __init__(self, net: Network, node: NodeConfig) -> None:
        self.net = net
        self.node = node
        self.instance = 0
        self.specs: dict[str, sp.SessionSpec] = {}  # as the agent set them
        self.up: set[str] = set()
        self.held: dict[str, int] = {}  # how many sessions this process has had with each peer
        self.out: dict[str, dict[tuple[int, str], sp.AnnounceGroup]] = {}
        self.alive = True
        self.withdrawn: list[str] = []
        self.resets: list[str] = []

    def open_of(self, peer: str) -> bytes:
        spec = self.specs[peer]
        assert spec.add_path_send == spec.add_path_receive
        modes = tuple((family, PathMode.BOTH) for family in spec.add_path_send)
        restart = GracefulRestart(120, ((Family.IPV4, True),), restarting=self.held.get(peer) == 1)
        return open_body(spec.local_as, spec.router_id, restart=restart, add_path=modes, enhanced_refresh=True)

    def set_sessions(self, me: str, specs: Iterable[sp.SessionSpec]) -> None:
        """The whole set, as ExaBGP takes a reload: what goes or changes is closed without a NOTIFICATION."""
        before = self.specs
        self.specs = {spec.peer_address: replace(spec, restarted_without_state=False) for spec in specs}
        for peer, spec in before.items():
            if peer in self.up and self.specs.get(peer) != spec:
                self.net.end_session(me, peer, "removed" if peer not in self.specs else "changed")
            if peer not in self.specs:
                self.out.pop(peer, None)


class Host:
    """One node. `core` is None while no agent runs."""

    def __init__(self, net: Network, node: NodeConfig) -> None:
        self.net = net
        self.node = node
        self.speaker = Speaker(net, node)
        self.disk = Disk()
        self.kernel: dict[Packed, RouteTarget] = {}
        self.next_hops = NextHopObjects()
        self.core: Core | None = None
        self.life = 0
        self.replies: dict[int, do.Reply] = {}
        self.logs: list[str] = []
        self.deleted: list[Packed] = []
        self.commands = 0
        self.deaf = False  # nothing of the speaker comes through
        self.stopped_until = 0.0
        self._waiting: list[tuple[int, ev.CoreEvent]] = []
        self._requests = itertools.count(1)

    @property
    def address(self) -> str:
        return str(self.node.addresses[0])

    # -- the agent's life

    def start(self) -> None:
        """An agent starts, on the disk, kernel and speaker that there are."""
        self.life += 1
        self.core = Core(self.node, self.disk.snapshot(), now=self.net.now)
        address = self.node.addresses[0]
        self.tell(ev.InterfacesChanged((InterfaceFacts(ETH, "eth0", True, True, 1500, ((address, 24),)),)))
        self.tell(ev.WorkloadsChanged({}))
        self.attach()

    def lose_bridge(self, *, knows_opens: bool) -> None:
        """The bridge dies and is back soon; what came meanwhile is lost."""
        self.deaf = True
        self.tell(sp.SpeakerDetached("gone"))

        def again() -> None:
            self.deaf = False
            if self.core is not None:
                self.attach(knows_opens=knows_opens)

        self.net.later(0.15, again)

    def stop(self, seconds: float) -> None:
        """The agent is stopped (SIGSTOP); what happens meanwhile waits for it."""
        self.stopped_until = max(self.stopped_until, self.net.now + seconds)

    def attach(self, *, knows_opens: bool = True) -> None:
        """The agent attaches to the bridge."""
        speaker = self.speaker
        if not speaker.alive or self.deaf:
            return
        snapshots = tuple(
            sp.PeerSnapshot(
                peer=key, state=sp.FsmState.ESTABLISHED,
                local_open=speaker.open_of(key) if knows_opens else None,
                peer_open=self.net.at(key).speaker.open_of(self.address) if knows_opens else None,
            )
            for key in sorted(speaker.up)
        )  # fmt: skip
        self.tell(sp.SpeakerAttached(f"{self.node.name}-{speaker.instance}", 1, snapshots))
        if snapshots:
            before = {
                key: {Family.IPV4: tuple((number, Prefix.parse(p).packed) for number, p in speaker.out.get(key, ()))}
                for key in speaker.up
            }
            self.tell(ev.AnnouncedBefore(before))

    def kill(self) -> None:
        """The agent dies, without a word."""
        self.core = None
        self.life += 1

    def kill_speaker(self) -> None:
        """ExaBGP dies, and starts again soon."""
        for key in sorted(self.speaker.up):
            self.net.end_session(self.address, key, "connection reset", silent=self)
        self.speaker.out.clear()
        self.speaker.held.clear()
        self.speaker.instance += 1
        self.speaker.alive = False
        self.tell(sp.SpeakerDetached("gone"))

        def again() -> None:
            self.speaker.alive = True
            if self.core is not None:
                self.attach()
            self.net.later(0.1, self.net.dial)

        self.net.later(0.2, again)

    def assign(self, handle: str) -> int:
        """Ask for an address; gives the number of the request."""
        number = next(self._requests)
        self.tell(ev.AddressRequested(number, handle, Family.IPV4))
        return number

    def reconfigure(self, file: ClusterConfig) -> None:
        """Another cluster file reaches the node, whose agent takes it while it runs, or at its next start."""
        self.node = resolve(file, self.node.name)
        self.tell(ev.ConfigChanged(self.node))

    # -- the loop

    def tell(self, *events: ev.CoreEvent) -> None:
        """Tell the core of this life, when it runs; what comes while it is stopped waits, in order."""
        life = self.life

        def arrive(event: ev.CoreEvent) -> None:
            if self.net.now >= self.stopped_until and not self._waiting:
                self._hear(life, event)
                return
            if not self._waiting:
                self.net.later(self.stopped_until - self.net.now, self._go_on)
            self._waiting.append((life, event))

        for event in events:
            self.net.later(0.0, lambda event=event: arrive(event))

    def _go_on(self) -> None:
        """Read what has waited, unless it was stopped anew meanwhile."""
        if self.net.now < self.stopped_until:
            self.net.later(self.stopped_until - self.net.now, self._go_on)
            return
        waiting, self._waiting = self._waiting, []
        for life, event in waiting:
            self._hear(life, event)

    def _hear(self, life: int, event: ev.CoreEvent) -> None:
        if life == self.life:
            self._step(event)

    def hear(self, event: ev.CoreEvent) -> None:
        """The speaker says something, if anybody listens."""
        if not self.deaf:
            self.tell(event)

    def _step(self, event: ev.CoreEvent) -> None:
        if self.core is None:
            return
        for command in self.core.handle([event], self.net.now):
            self.commands += 1
            self._carry_out(command)

    def _carry_out(self, command: do.Command) -> None:
        match command:
            case do.SetSessions():
                self.net.later(0.01, lambda: self._set_sessions(command))
            case do.Log():
                self.logs.append(f"{command.line.code}: {command.line.message}")
            case do.Reply():
                self.replies[command.request] = command
            case do.Persist():
                if self.disk.fails:
                    self.tell(ev.PersistFailed(command.token, "disk full"))
                else:
                    self.disk.commit(command.changes)
                    self.tell(ev.Persisted(command.token))
            case do.ResolveNextHops():
                facts = {
                    address: NextHopFacts(address, True, on_link=True, ifindex=ETH) for address in command.addresses
                }
                self.tell(ev.NextHopsResolved(facts))
            case do.SetTunnel():
                self.tell(ev.TunnelSet(command.encapsulation, TUNNEL))
            case do.DumpRoutes():
                self.tell(ev.KernelDumped(KernelDump({Family.IPV4: dict(self.kernel)}, next_hops=self.next_hops.ours)))
            case do.WriteNextHops():
                self.tell(ev.NextHopsWritten(self.next_hops.write(command, self.kernel)))
            case do.WriteRoutes():
                self._write(command)
            case _:
                if self.speaker.alive and not self.deaf:
                    self._speak(command)
                elif isinstance(command, do.Advertise):
                    self.tell(ev.AdvertiseFailed(command.peers, command.family, "unknown"))
                elif isinstance(command, do.SendEndOfRib):
                    self.tell(ev.AdvertiseFailed((command.peer,), command.family, "unknown"))

    def _set_sessions(self, command: do.SetSessions) -> None:
        self.speaker.set_sessions(self.address, command.sessions)
        self.net.dial()
        self.tell(ev.SessionsSet("", command.serial))

    def _write(self, command: do.WriteRoutes) -> None:
        for batch in command.batches:
            for packed in batch.prefixes:
                if batch.op is RouteOp.DELETE:
                    del self.kernel[packed]
                    self.deleted.append(packed)
                else:
                    assert batch.target is not None
                    self.next_hops.check(batch.target)
                    self.kernel[packed] = batch.target
        self.tell(ev.RoutesWritten(tuple(WriteResult(batch) for batch in command.batches)))

    def _speak(self, command: do.Command) -> None:
        speaker = self.speaker
        match command:
            case do.Advertise():
                for peer in command.peers:
                    self._advertise(peer, command)
            case do.SendEndOfRib() if command.peer in speaker.up:
                self._send(command.peer, encode_end_of_rib(command.family))
            case do.SendRefresh() if command.peer in speaker.up:
                key = command.peer
                self.net.later(WIRE_S, lambda: self.net.at(key).send_again(self.address))
            case do.ResetPeer():
                speaker.resets.append(command.peer)
                self.net.end_session(self.address, command.peer, "reset by us")

    def _advertise(self, peer: str, command: do.Advertise) -> None:
        speaker = self.speaker
        out = speaker.out.setdefault(peer, {})
        for group in command.announce:
            one = {(group.path_id, prefix): replace(group, prefixes=(prefix,)) for prefix in group.prefixes}
            out.update(one)
        for gone in command.withdraw:
            speaker.withdrawn += [prefix for prefix in gone.prefixes if out.pop((gone.path_id, prefix), None)]
        if peer in speaker.up:
            for group in command.announce:
                self._send(peer, _body(group))
            for gone in command.withdraw:
                withdrawn = [Prefix.parse(prefix).packed for prefix in gone.prefixes]
                self._send(peer, update_body((), withdraw=withdrawn, path_id=gone.path_id))

    def send_all(self, peer: str) -> None:
        """All that was announced to a peer, again."""
        for group in self.speaker.out.get(peer, {}).values():
            self._send(peer, _body(group))

    def send_again(self, peer: str) -> None:
        """What was asked for, between its marks (RFC 7313); no End-of-RIB, which is the agent's to say."""
        self._mark(peer, RefreshKind.BEGIN)
        self.send_all(peer)
        self._mark(peer, RefreshKind.END)

    def _mark(self, peer: str, kind: RefreshKind) -> None:
        body = Family.IPV4.to_bytes(2, "big") + bytes((kind.value, 1))
        self.net.deliver(self.address, peer, sp.RefreshReceived(self.address, body))

    def _send(self, peer: str, body: bytes) -> None:
        self.net.deliver(self.address, peer, sp.UpdatesReceived(self.address, (body,)))

    @property
    def own(self) -> set[str]:
        """The blocks that are on this node's disk."""
        return set(map(str, self.disk.blocks))


def _body(group: sp.AnnounceGroup) -> bytes:
    return update_body(
        group.prefixes, next_hop=group.next_hop, attributes=group.attributes, path_id=group.path_id
    )


class Network:
    """All hosts, the wire, and the clock."""

    def __init__(self, file: ClusterConfig, *, others: dict[str, ClusterConfig] | None = None) -> None:
        """`others` gives single nodes another file."""
        self.now = 100.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._losing: set[tuple[str, str]] = set()
        self.hosts: dict[str, Host] = {}
        for entry in file.nodes:
            own = (others or {}).get(entry.name, file)
            host = Host(self, resolve(own, entry.name))
            self.hosts[host.address] = host

    def at(self, address: str) -> Host:
        return self.hosts[address]

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.hosts.values() if host.node.name == name)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Do it then; what is due at one time is done in the order in which it was asked for."""
        heapq.heappush(self._due, (self.now + seconds, next(self._number), call))

    def deliver(self, sender: str, receiver: str, heard: sp.UpdatesReceived | sp.RefreshReceived) -> None:
        """A message on a session, if that session still lives when it comes."""
        def arrive() -> None:
            if (sender, receiver) in self._losing:
                self._losing.discard((sender, receiver))
                self.at(receiver).hear(sp.EventsLost(sender, "lost"))
            elif sender in self.at(receiver).speaker.up:
                self.at(receiver).hear(heard)

        self.later(WIRE_S, arrive)

    def lose(self, sender: str, receiver: str) -> None:
        """The next message from one to the other is lost between ExaBGP and the agent."""
        self._losing.add((sender, receiver))

    def dial(self) -> None:
        """Every session that both sides want and that is not up comes up."""
        for one, other in itertools.combinations(sorted(self.hosts), 2):
            ours, theirs = self.at(one).speaker, self.at(other).speaker
            wanted = other in ours.specs and one in theirs.specs and ours.alive and theirs.alive
            if not wanted or other in ours.up:
                continue
            for speaker, peer in ((ours, other), (theirs, one)):
                speaker.up.add(peer)
                speaker.held[peer] = speaker.held.get(peer, 0) + 1
            for me, peer in ((one, other), (other, one)):
                bodies = self.at(me).speaker.open_of(peer), self.at(peer).speaker.open_of(me)
                self.at(me).hear(sp.PeerUp(peer, *bodies))
                self.at(me).send_all(peer)  # ExaBGP holds on to what was announced

    def end_session(self, one: str, other: str, reason: str, *, silent: Host | None = None) -> None:
        """The TCP connection breaks; both dial again."""
        for me, peer in ((one, other), (other, one)):
            host = self.at(me)
            if peer in host.speaker.up:
                host.speaker.up.discard(peer)
                if host is not silent:
                    host.hear(sp.PeerDown(peer, reason))
        self.later(0.3, self.dial)

    def run(self, seconds: float) -> None:
        """Let that much time pass; a core that never comes to rest fails the test."""
        end = self.now + seconds
        steps = 0
        while True:
            steps += 1
            assert steps < 200_000, "the cores never come to rest"
            ticks = [
                (deadline, host)
                for host in self.hosts.values()
                if host.core is not None and self.now >= host.stopped_until
                if (deadline := host.core.deadline(self.now)) is not None
            ]
            tick = min(ticks, key=lambda one: one[0], default=None)
            due = self._due[0][0] if self._due else None
            at = min((time for time in (due, tick[0] if tick else None) if time is not None), default=end)
            if at > end:
                break
            if due is None and tick is None:
                break
            self.now = max(self.now, at)
            if tick is not None and (due is None or tick[0] <= due):
                tick[1]._step(ev.Ticked())
            else:
                heapq.heappop(self._due)[2]()
        self.now = end
