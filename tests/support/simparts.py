"""What the nodes of `simnet` are made of: a disk, nexthop objects, a speaker, and the bodies of their messages."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

from fibs import followed

from calicopy.bgp.capabilities import Capabilities, GracefulRestart, PathMode
from calicopy.bgp.encode import encode_attribute
from calicopy.bgp.nlri import encode_nlri
from calicopy.bgp.open import Open, encode_open
from calicopy.config.resolve import NodeConfig
from calicopy.core import commands as do
from calicopy.fib import (
    NextHopChange,
    NextHopObject,
    NextHopOp,
    NextHopResult,
    RouteTarget,
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
from calicopy.seam import speaker as sp

if TYPE_CHECKING:
    from simnet import Network


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


def group_body(group: sp.AnnounceGroup) -> bytes:
    return update_body(
        group.prefixes, next_hop=group.next_hop, attributes=group.attributes, path_id=group.path_id
    )


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

    def hold(self, number: int) -> set[int]:
        """What the BFD process does to an object; gives the ids that changed."""
        return self._kernel.hold(number)

    def flush(self, gateway: IPAddress) -> None:
        """What a link that goes down takes away, without a word."""
        for number in [one.id for one in self.ours.values() if one.hop is not None and one.hop.gateway == gateway]:
            self._kernel.remove_object(number)

    def hold_all(self, gateway: IPAddress) -> None:
        """What the BFD process does to all objects of a peer that is Down."""
        for number in [one.id for one in self.ours.values() if one.hop is not None and one.hop.gateway == gateway]:
            self.hold(number)

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
