"""The tables of IPAM, with a journal between memory and disk.

Theory of operation: every change goes through `put_*`, which keeps the indexes right and notes, once per key, what
the key held before. `take_changes` turns the notes into changes for one transaction; then either `committed` drops
them or `roll_back` puts back what was before, here and in whatever was noted meanwhile: an assignment that is not on
disk never happened. Reservations are facts learned from others, not results handed out, so they stay in memory and
are offered again with the next batch. One batch is in flight at a time.

The durable view (`durable_blocks`, `durable_used`) is the state on disk: what leaves this host is made from it.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from calicopy.ipam.records import (
    AddressFreed,
    AddressRecord,
    AddressRemoved,
    AddressSaved,
    BlockRecord,
    BlockRemoved,
    BlockSaved,
    Change,
    CounterSaved,
    ReservationRecord,
    ReservationRemoved,
    ReservationSaved,
    Snapshot,
)
from calicopy.net import Family, IPAddress, Packed, Prefix


@dataclass(slots=True)
class BlockUse:
    """The addresses of one block, by ordinal. Fresh ones (never given out) go first, then the longest free."""

    used: dict[int, AddressRecord] = field(default_factory=dict)
    freed: dict[int, AddressRecord] = field(default_factory=dict)

    def put(self, ordinal: int, record: AddressRecord | None) -> None:
        """Set what is known of an ordinal."""
        self.used.pop(ordinal, None)
        self.freed.pop(ordinal, None)
        if record is not None:
            (self.used if record.in_use else self.freed)[ordinal] = record

    def fresh(self, size: int) -> Iterator[int]:
        """Ordinals that were never given out, lowest first."""
        return (ordinal for ordinal in range(size) if ordinal not in self.used and ordinal not in self.freed)


@dataclass(slots=True)
class _Notes:
    """What the keys that changed held before."""

    blocks: dict[Prefix, BlockRecord | None] = field(default_factory=dict)
    addresses: dict[IPAddress, AddressRecord | None] = field(default_factory=dict)
    reservations: dict[tuple[Family, Packed], str | None] = field(default_factory=dict)
    counter: int | None = None

    def __bool__(self) -> bool:
        return bool(self.blocks or self.addresses or self.reservations or self.counter is not None)

    def overlay(self, older: _Notes) -> None:
        """Add the notes of an older batch, which win."""
        self.blocks |= older.blocks
        self.addresses |= older.addresses
        self.reservations |= older.reservations
        self.counter = self.counter if older.counter is None else older.counter


class Ledger:
    """Blocks, addresses and reservations of one node, as in memory and as on disk."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.blocks: dict[Prefix, BlockRecord] = {}
        self.addresses: dict[IPAddress, AddressRecord] = {}
        self.reservations: dict[Family, dict[Packed, str]] = {family: {} for family in Family}
        self.handles: dict[str, dict[Family, AddressRecord]] = {}
        self.touched_reservations: set[tuple[Family, Packed]] = set()
        """Keys that changed since the owner of this set last cleared it."""
        self.counter = 0
        self._use: dict[Prefix, BlockUse] = {}
        self._open = _Notes()
        self._in_flight: _Notes | None = None
        for block in snapshot.blocks:
            self.put_block(block.prefix, block)
        for address in snapshot.addresses:
            self.put_address(address.address, address)
        for reservation in snapshot.reservations:
            self.put_reservation(reservation.prefix.family, reservation.prefix.packed, reservation.node)
        self.counter = snapshot.counter
        self._open = _Notes()

    # -- changing -----------------------------------------------------------------------------------------------

    def tick(self) -> int:
        """The next ordinal."""
        if self._open.counter is None:
            self._open.counter = self.counter
        self.counter += 1
        return self.counter

    def put_block(self, prefix: Prefix, record: BlockRecord | None) -> None:
        """Write or (None) forget a block."""
        self._open.blocks.setdefault(prefix, self.blocks.get(prefix))
        if record is None:
            self.blocks.pop(prefix, None)
        else:
            self.blocks[prefix] = record

    def put_address(self, address: IPAddress, record: AddressRecord | None) -> None:
        """Write or (None) forget an address."""
        before = self.addresses.get(address)
        self._open.addresses.setdefault(address, before)
        if before is not None:
            self._drop_from_indexes(before)
        if record is None:
            self.addresses.pop(address, None)
            return
        self.addresses[address] = record
        self.use(record.block).put(record.block.ordinal(address), record)
        if record.handle is not None:
            self.handles.setdefault(record.handle, {})[record.block.family] = record

    def _drop_from_indexes(self, record: AddressRecord) -> None:
        use = self.use(record.block)
        use.put(record.block.ordinal(record.address), None)
        if not use.used and not use.freed:
            del self._use[record.block]
        family = record.block.family
        if record.handle is not None and self.handles.get(record.handle, {}).get(family) == record:
            del self.handles[record.handle][family]
            if not self.handles[record.handle]:
                del self.handles[record.handle]

    def put_reservation(self, family: Family, block: Packed, node: str | None) -> None:
        """Reserve the block for the node, or (None) for nobody."""
        key = (family, block)
        table = self.reservations[family]
        self._open.reservations.setdefault(key, table.get(block))
        self.touched_reservations.add(key)
        if node is None:
            table.pop(block, None)
        else:
            table[block] = node

    def use(self, block: Prefix) -> BlockUse:
        """The addresses of a block."""
        return self._use.setdefault(block, BlockUse())

    def remove_block(self, block: Prefix) -> None:
        """Forget a block with all that is known of its addresses, none of which may be in use."""
        use = self._use.get(block, BlockUse())
        assert not use.used, f"{block} has addresses in use"
        for record in list(use.freed.values()):
            self.put_address(record.address, None)
        self.put_block(block, None)

    # -- between memory and disk --------------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether there is something to commit that is not in flight."""
        return bool(self._open)

    @property
    def in_flight(self) -> bool:
        """Whether a batch was taken and neither committed nor rolled back."""
        return self._in_flight is not None

    def take_changes(self) -> tuple[Change, ...]:
        """The net changes since the last call, for one transaction. RuntimeError while a batch is in flight."""
        if self._in_flight is not None:
            raise RuntimeError("the batch taken before is neither committed nor rolled back")
        notes, self._open = self._open, _Notes()
        changes = tuple(self._net(notes))
        if changes:
            self._in_flight = notes
        return changes

    def _net(self, notes: _Notes) -> Iterator[Change]:
        for prefix, block in notes.blocks.items():
            if (now := self.blocks.get(prefix)) != block:
                yield BlockRemoved(prefix) if now is None else BlockSaved(now)
        for address, before in notes.addresses.items():
            record = self.addresses.get(address)
            if record == before:
                continue
            if record is None:
                yield AddressRemoved(address)
            else:
                yield AddressSaved(record) if record.in_use else AddressFreed(record)
        for (family, packed), holder in notes.reservations.items():
            if (node := self.reservations[family].get(packed)) != holder:
                prefix = Prefix(family, packed)
                yield ReservationRemoved(prefix) if node is None else ReservationSaved(ReservationRecord(prefix, node))
        if notes.counter is not None and notes.counter != self.counter:
            yield CounterSaved(self.counter)

    def committed(self) -> None:
        """The batch in flight is on disk."""
        self._in_flight = None

    def roll_back(self) -> None:
        """The batch in flight is not on disk: put back what was before it, and all that came since."""
        notes, self._open = self._open, _Notes()
        if self._in_flight is not None:
            notes.overlay(self._in_flight)
            self._in_flight = None
        for prefix, block in notes.blocks.items():
            self.put_block(prefix, block)
        for address in notes.addresses:  # two passes, so that no handle is seen at two addresses
            self.put_address(address, None)
        for address, record in notes.addresses.items():
            if record is not None:
                self.put_address(address, record)
        if notes.counter is not None:
            self.counter = notes.counter
        self._open = _Notes(reservations=notes.reservations)

    # -- reading ------------------------------------------------------------------------------------------------

    def _notes(self) -> Iterable[_Notes]:
        return (self._open,) if self._in_flight is None else (self._open, self._in_flight)

    def durable_blocks(self) -> dict[Prefix, BlockRecord]:
        """The blocks that are on disk."""
        blocks = dict(self.blocks)
        for notes in self._notes():
            for prefix, record in notes.blocks.items():
                if record is None:
                    blocks.pop(prefix, None)
                else:
                    blocks[prefix] = record
        return blocks

    def durable_used(self, block: Prefix) -> frozenset[IPAddress]:
        """The addresses of a block that are in use on disk."""
        use = self._use.get(block)
        used = {record.address for record in use.used.values()} if use else set()
        for notes in self._notes():
            for address, record in notes.addresses.items():
                if address in block:
                    (used.add if record is not None and record.in_use else used.discard)(address)
        return frozenset(used)

    def snapshot(self, *, reservations: bool = True) -> Snapshot:
        """All tables, as a store that applied every change would load them."""
        return Snapshot(
            blocks=tuple(sorted(self.blocks.values(), key=lambda record: record.prefix)),
            addresses=tuple(
                sorted(self.addresses.values(), key=lambda record: (record.address.version, int(record.address)))
            ),
            reservations=tuple(
                ReservationRecord(Prefix(family, packed), node)
                for family, table in (sorted(self.reservations.items()) if reservations else ())
                for packed, node in sorted(table.items(), key=lambda item: Prefix(family, item[0]))
            ),
            counter=self.counter,
        )
