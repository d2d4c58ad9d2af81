"""`Ipam`: the one object that the core talks to."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from calicopy.ipam import addresses, claims, conflicts, views
from calicopy.ipam.cluster import Cluster
from calicopy.ipam.errors import BlockInUseError, UnknownBlockError
from calicopy.ipam.ledger import Ledger
from calicopy.ipam.model import (
    AddressConflict,
    AddressLookup,
    BlockConflict,
    BlockState,
    BlockView,
    NodeSpec,
    PendingClaim,
    PoolSpec,
    PoolUse,
)
from calicopy.ipam.records import AddressRecord, Change, CounterSaved, ReservationRecord, Snapshot
from calicopy.ipam.state import State
from calicopy.net import Family, IPAddress, Packed, Prefix


class Ipam:
    """The blocks and addresses of one node.

    Every call that changes something leaves changes to persist. The caller takes them (`take_changes`), has the store
    commit them, says so (`committed`, or `roll_back` when it failed) and only then uses a result or answers a request.
    `announcements` and `blackholes` show committed state only, so they may be asked at any time.
    """

    def __init__(
        self, node: str, *, nodes: Sequence[NodeSpec], pools: Sequence[PoolSpec], snapshot: Snapshot | None = None
    ) -> None:
        """Start from the file and what was stored. Raises ValueError when `node` is not among `nodes`."""
        self._state = State(Cluster(node, nodes, pools), Ledger(snapshot or Snapshot()))
        self._handed: dict[Family, dict[Packed, int]] = {family: {} for family in Family}
        self._all_holders_changed = True
        self._settle(departed=True)

    def __repr__(self) -> str:
        held = ", ".join(f"{view.prefix} {view.state.value} {view.used}/{view.size}" for view in self.blocks())
        return f"<Ipam {self._state.cluster.me.name}: {held or 'no blocks'}>"

    # -- the file -----------------------------------------------------------------------------------------------

    def configure(self, *, nodes: Sequence[NodeSpec], pools: Sequence[PoolSpec]) -> None:
        """The cluster file changed. Reservations of nodes that left it end. ValueError when this node is not in it."""
        before = self._state.cluster
        after = self._state.cluster = Cluster(before.me.name, nodes, pools)
        for family in Family:  # what counts as another node's may have changed
            self._state.set_remote(family, self._state.remote[family])
        self._touch_holders(before, after)
        self._settle(departed=not before.by_name.keys() <= after.by_name.keys())

    def _touch_holders(self, before: Cluster, after: Cluster) -> None:
        """Note the blocks whose holder may be another one: those of 100,000 are not looked at for nothing."""
        kept = before.by_name.keys() & after.by_name.keys()
        if any(before.by_name[name].router_id != after.by_name[name].router_id for name in kept):
            self._all_holders_changed = True
        pins = {(block, node.name) for block, node in before.pins.items()}
        pins ^= {(block, node.name) for block, node in after.pins.items()}
        self._state.ledger.touched_reservations.update((block.family, block.packed) for block, _ in pins)

    def _settle(self, *, departed: bool = False) -> None:
        if departed:
            conflicts.drop_departed(self._state)
        conflicts.settle_blocks(self._state)
        claims.settle_pending(self._state)
        claims.settle_wanted(self._state)

    # -- what other nodes announce ------------------------------------------------------------------------------

    def seen(self, announced: Iterable[tuple[Family, Packed, int]]) -> None:
        """Blocks heard from the peers, as (family, block, router id of the owner), accepted by the import policy or
        refused as held elsewhere: reserved for their owners, or a conflict when they are ours."""
        if conflicts.observe(self._state, announced):
            self._settle()

    def conflict(self, block: Prefix, router_id: int) -> None:
        """Another node of the file announces a block of ours. The same as `seen` with one block."""
        self.seen([(block.family, block.packed, router_id)])

    def conflict_over(self, block: Prefix, router_id: int) -> None:
        """The node no longer announces the block that it had in conflict with ours. What we lost stays lost."""
        node = self._state.cluster.by_router_id.get(router_id)
        if node is not None:
            conflicts.forget_rival(self._state, block, node.name)
            self._settle()

    def remote_host_routes(self, family: Family, routes: Mapping[Packed, int]) -> None:
        """The whole set of host prefixes that other nodes announce (inside own blocks is enough) -> router id."""
        self._state.set_remote(family, dict(routes))
        self._settle()

    # -- claims -------------------------------------------------------------------------------------------------

    def pending(self) -> tuple[PendingClaim, ...]:
        """The claims that wait for `confirm`, oldest first."""
        return tuple(self._state.pending.values())

    def confirm(self, block: Prefix) -> None:
        """The claim holds: the block is ours. UnknownBlockError when no claim of it is pending (it may have moved)."""
        waiting = self._state.pending.get(block)
        if waiting is None:
            raise UnknownBlockError(f"no claim of {block} is pending")
        claims.save(self._state, block, waiting.pool)
        self._settle()

    def release_block(self, block: Prefix) -> None:
        """Free a block: one reserved for another node, or an own one without addresses in use.

        Raises BlockInUseError when addresses are in use or the file pins it, UnknownBlockError when it is neither.
        """
        ledger, cluster = self._state.ledger, self._state.cluster
        if (pinned := cluster.pins.get(block)) is not None:
            raise BlockInUseError(f"{block} is pinned to {pinned.name} by the cluster file")
        if block in ledger.blocks:
            if used := len(ledger.use(block).used):
                raise BlockInUseError(f"{block} has {used} address{'' if used == 1 else 'es'} in use")
            ledger.remove_block(block)
        elif block.packed in ledger.reservations[block.family]:
            ledger.put_reservation(block.family, block.packed, None)
        else:
            raise UnknownBlockError(f"{block} is neither a block of this node nor reserved for another")
        self._settle()

    # -- addresses ----------------------------------------------------------------------------------------------

    def assign(
        self,
        handle: str,
        *,
        family: Family | None = None,
        pool: str | None = None,
        address: IPAddress | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> AddressRecord:
        """An address for the handle: the one it holds in the family already, the one asked for, or the next free.

        Without family, pool and address it is an IPv4 one. Attributes, when given, replace those of a held address.
        Raises ClaimPendingError (try again when the claim is confirmed), PoolExhaustedError, UnknownPoolError,
        HandleMismatchError, AddressInUseError, AddressNotOursError, AddressHeldElsewhereError; then no address has
        changed hands.
        """
        asked = addresses.wish(self._state, family=family, pool=pool, address=address)
        kept = addresses.sorted_attributes(attributes or {})
        held = addresses.held_by(self._state, handle, asked)
        if held is not None:
            if attributes is not None and held.attributes != kept:
                held = replace(held, attributes=kept)
                self._state.ledger.put_address(held.address, held)
            return held
        record = addresses.take(self._state, handle, asked, kept)
        claims.settle_wanted(self._state)
        return record

    def release(
        self, handle: str, *, sequence: int | None = None, family: Family | None = None
    ) -> tuple[AddressRecord, ...]:
        """Free what the handle holds (only in `family`, only with that `sequence`, when given); what was freed.

        A handle that holds nothing, or holds a newer assignment than `sequence`, is left alone: ().
        """
        released = tuple(
            record
            for record in tuple(self._state.ledger.handles.get(handle, {}).values())
            if sequence in (None, record.sequence) and family in (None, record.block.family)
        )
        for record in released:
            addresses.give_back(self._state, record)
        if released:
            self._settle()
        return released

    # -- persistence --------------------------------------------------------------------------------------------

    @property
    def has_changes(self) -> bool:
        """Whether there is something to persist that is not in flight."""
        return self._state.ledger.changed

    @property
    def in_flight(self) -> bool:
        """Whether changes were taken and neither `committed` nor `roll_back` was called since."""
        return self._state.ledger.in_flight

    def take_changes(self) -> tuple[Change, ...]:
        """The changes to commit in one transaction; () when there are none, and then nothing is in flight.

        RuntimeError while the batch before is in flight: one at a time.
        """
        return self._state.ledger.take_changes()

    def same_again(self) -> Change:
        """A change that changes nothing: whether the disk takes it says whether it can be written again."""
        return CounterSaved(self._state.ledger.counter)

    def committed(self) -> None:
        """The changes taken last are on disk."""
        self._state.ledger.committed()

    def roll_back(self) -> None:
        """The changes taken last are not on disk: they, and all made since, are undone.

        What was learned (reservations, the file, conflicts) stands and is offered again by the next `take_changes`;
        confirmed claims are pending again. Every request answered from undone changes must be refused.
        """
        self._state.ledger.roll_back()
        self._settle(departed=True)

    def snapshot(self, *, reservations: bool = True) -> Snapshot:
        """All that is to be on disk, as `Store.load` gives it; on demand without what is reserved for other nodes."""
        return self._state.ledger.snapshot(reservations=reservations)

    # -- what others act on -------------------------------------------------------------------------------------

    def announcements(self) -> frozenset[Prefix]:
        """The whole set to announce: own confirmed blocks, and the used addresses of lost ones as host prefixes."""
        prefixes: set[Prefix] = set()
        for block, record in self._state.ledger.durable_blocks().items():
            if self._state.block_state(record) is BlockState.LOST:
                prefixes.update(Prefix.host(address) for address in self._state.ledger.durable_used(block))
            else:
                prefixes.add(block)
        return frozenset(prefixes)

    def blackholes(self) -> frozenset[Prefix]:
        """The whole set of blocks whose unused addresses are to be dropped on this host."""
        blocks = self._state.ledger.durable_blocks().items()
        return frozenset(block for block, record in blocks if record.rival is None)

    def holders(self) -> dict[Family, dict[Packed, int]]:
        """Per family, the blocks that only one other node may announce (pinned or reserved) -> its router id."""
        return views.holders(self._state)

    def take_holder_changes(self) -> dict[Family, dict[Packed, int | None]]:
        """What changed in `holders` since the last call (the first tells all); None: no longer held."""
        touched = self._state.ledger.touched_reservations
        changes: dict[Family, dict[Packed, int | None]] = {family: {} for family in Family}
        if self._all_holders_changed:
            current = self.holders()
            for family, handed in self._handed.items():
                touched.update((family, block) for block in {*handed, *current[family]})
        for family, block in touched:
            holder = views.holder(self._state, family, block)
            if holder != self._handed[family].get(block):
                changes[family][block] = holder
                if holder is None:
                    del self._handed[family][block]
                else:
                    self._handed[family][block] = holder
        touched.clear()
        self._all_holders_changed = False
        return {family: blocks for family, blocks in changes.items() if blocks}

    # -- views --------------------------------------------------------------------------------------------------

    def blocks(self) -> tuple[BlockView, ...]:
        """The blocks of this node, pending ones too, in order."""
        return views.blocks(self._state)

    def reservations(self) -> tuple[ReservationRecord, ...]:
        """The blocks reserved for or pinned to other nodes, in order."""
        return views.reservations(self._state)

    def addresses(self) -> tuple[AddressRecord, ...]:
        """The addresses in use, in order."""
        used = (record for record in self._state.ledger.addresses.values() if record.in_use)
        return tuple(sorted(used, key=lambda record: (record.address.version, int(record.address))))

    def held_by(self, handle: str) -> tuple[AddressRecord, ...]:
        """What the handle holds, IPv4 first."""
        held = self._state.ledger.handles.get(handle, {})
        return tuple(held[family] for family in sorted(held))

    def lookup(self, address: IPAddress) -> AddressLookup:
        """What is known of one address."""
        return views.lookup(self._state, address)

    def block_conflicts(self) -> tuple[BlockConflict, ...]:
        """Own blocks that another node owns too."""
        return conflicts.block_conflicts(self._state)

    def address_conflicts(self) -> tuple[AddressConflict, ...]:
        """Addresses used here that another node announces one by one."""
        return conflicts.address_conflicts(self._state)

    def pools(self) -> tuple[PoolUse, ...]:
        """How the blocks of each pool of the file are spoken for."""
        return tuple(claims.pool_use(self._state, pool) for pool in self._state.cluster.pools)
