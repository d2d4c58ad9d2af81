"""What must hold for every file, every order of events, every failure of the disk and every restart."""
from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from calicopy.ipam import (
    AddressFreed,
    AddressRecord,
    AddressRemoved,
    AddressSaved,
    BlockRecord,
    BlockRemoved,
    BlockSaved,
    BlockState,
    Change,
    CounterSaved,
    Ipam,
    IpamError,
    NodeSpec,
    PoolSpec,
    ReservationRemoved,
    ReservationSaved,
    Snapshot,
)
from calicopy.ipam.assignment import first_blocks
from calicopy.net import Family, IPAddress, Prefix

P = Prefix.parse
NAMES = st.one_of(
    st.sampled_from([f"node{number}" for number in range(1, 40)]),
    st.text("abcdefgh-0123456789", min_size=1, max_size=8),
)
POOLS = st.sampled_from(
    [
        PoolSpec("tight", P("10.0.0.0/24"), 26),
        PoolSpec("small", P("10.0.0.0/22"), 26),
        PoolSpec("wide", P("10.244.0.0/16"), 26),
        PoolSpec("six", P("fd00::/112"), 122),
    ]
)


def node_list(names: list[str]) -> list[NodeSpec]:
    return [NodeSpec(name, number + 1) for number, name in enumerate(names)]


@given(names=st.lists(NAMES, unique=True, max_size=30), pool=POOLS)
def test_nodes_of_one_file_never_share_a_first_block_and_all_are_served_while_blocks_last(
    names: list[str], pool: PoolSpec
) -> None:
    dealt = first_blocks(node_list(names), pool)
    assert len(set(dealt.values())) == len(dealt) == min(len(names), pool.blocks)
    assert all(0 <= index < pool.blocks for index in dealt.values())


@given(names=st.lists(NAMES, unique=True, max_size=30), newcomer=NAMES, pool=POOLS)
def test_a_node_appended_to_the_file_moves_nobody(names: list[str], newcomer: str, pool: PoolSpec) -> None:
    before = first_blocks(node_list(names), pool)
    after = first_blocks(node_list([*names, *({newcomer} - set(names))]), pool)
    assert {name: after[name] for name in before} == before


@given(
    numbers=st.lists(st.integers(0, 63), unique=True, min_size=1, max_size=40),
    place=st.integers(0, 40),
    stem=st.text("abc.-", max_size=5),
    data=st.data(),
)
def test_a_node_of_a_numbered_series_moves_nobody_anywhere_in_the_file(
    numbers: list[int], place: int, stem: str, data: st.DataObject
) -> None:
    pool = PoolSpec("p", P("10.0.0.0/20"), 26)
    newcomer = data.draw(st.sampled_from(sorted(set(range(64)) - set(numbers))))
    names = [f"{stem}{number}" for number in numbers]
    before = first_blocks(node_list(names), pool)
    after = first_blocks(node_list([*names[:place], f"{stem}{newcomer}", *names[place:]]), pool)
    assert {name: after[name] for name in names} == before


@given(names=st.lists(NAMES, unique=True, min_size=2, max_size=12), place=st.integers(0, 11), pool=POOLS)
def test_a_node_inserted_anywhere_moves_nobody_whose_block_is_stored(
    names: list[str], place: int, pool: PoolSpec
) -> None:
    newcomer = names.pop(min(place, len(names) - 1))
    stored = {}
    for name in names:
        ipam = Ipam(name, nodes=node_list(names), pools=[pool])
        for claim in ipam.pending():
            ipam.confirm(claim.block)
        stored[name] = ipam.snapshot()
    nodes = [NodeSpec(name, number + 1) for number, name in enumerate([*names[:place], newcomer, *names[place:]])]
    for name, snapshot in stored.items():
        ipam = Ipam(name, nodes=nodes, pools=[pool], snapshot=snapshot)
        if snapshot.blocks:
            assert ipam.snapshot() == snapshot
            assert not ipam.pending()
    late = Ipam(newcomer, nodes=nodes, pools=[pool])
    late.seen(
        (block.prefix.family, block.prefix.packed, next(node.router_id for node in nodes if node.name == name))
        for name, snapshot in stored.items()
        for block in snapshot.blocks
    )
    taken = {block.prefix for snapshot in stored.values() for block in snapshot.blocks}
    assert not taken & {claim.block for claim in late.pending()}


class Disk:
    """What a store does, in memory: applies changes one by one."""

    def __init__(self) -> None:
        self.blocks: dict[Prefix, BlockRecord] = {}
        self.addresses: dict[IPAddress, AddressRecord] = {}
        self.reservations: dict[Prefix, ReservationSaved] = {}
        self.counter = 0

    def apply(self, change: Change) -> None:
        match change:
            case BlockSaved(record):
                self.blocks[record.prefix] = record
            case BlockRemoved(prefix):
                del self.blocks[prefix]
            case AddressSaved(record) | AddressFreed(record):
                self.addresses[record.address] = record
            case AddressRemoved(address):
                del self.addresses[address]
            case ReservationSaved(reservation):
                self.reservations[reservation.prefix] = change
            case ReservationRemoved(prefix):
                del self.reservations[prefix]
            case CounterSaved(value):
                self.counter = value

    def load(self) -> Snapshot:
        return Snapshot(
            tuple(sorted(self.blocks.values(), key=lambda record: record.prefix)),
            tuple(sorted(self.addresses.values(), key=lambda record: (record.address.version, int(record.address)))),
            tuple(self.reservations[prefix].record for prefix in sorted(self.reservations)),
            self.counter,
        )


POOL = PoolSpec("default", P("10.0.0.0/26"), 29)
SIX = PoolSpec("six", P("fd00::/122"), 126)
EVERYBODY = [NodeSpec("me", 5), NodeSpec("low", 1), NodeSpec("high", 9), NodeSpec("far", 7)]
BLOCKS = [*POOL.cidr.subnets(29), *SIX.cidr.subnets(126)]
HANDLES = st.sampled_from([f"h{number}" for number in range(24)])
OTHERS = st.sampled_from([1, 7, 9, 77])


class OneNode(RuleBasedStateMachine):
    """A node through assignments, releases, conflicts, files, failed commits and kills."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.nodes = list(EVERYBODY)
        self.pools = [POOL, SIX]
        self.sequences: set[int] = set()
        self.start()

    def start(self) -> None:
        self.ipam = Ipam("me", nodes=self.nodes, pools=self.pools, snapshot=self.disk.load())

    @initialize(confirm=st.booleans())
    def first_claims(self, confirm: bool) -> None:
        if confirm:
            self.confirm()
            self.commit()

    @rule()
    def confirm(self) -> None:
        for claim in self.ipam.pending():
            self.ipam.confirm(claim.block)

    @rule(handle=HANDLES, family=st.sampled_from(Family))
    def assign(self, handle: str, family: Family) -> None:
        before = self.ipam.held_by(handle)
        try:
            record = self.ipam.assign(handle, family=family)
        except IpamError:
            return
        if record not in before:
            assert record.sequence not in self.sequences
            state = {view.prefix: view.state for view in self.ipam.blocks()}[record.block]
            assert state is BlockState.CONFIRMED

    @rule(handle=HANDLES)
    def release(self, handle: str) -> None:
        self.ipam.release(handle)
        assert self.ipam.held_by(handle) == ()

    @rule(handle=HANDLES, sequence=st.integers(0, 40))
    def release_late(self, handle: str, sequence: int) -> None:
        newer = [record for record in self.ipam.held_by(handle) if record.sequence != sequence]
        self.ipam.release(handle, sequence=sequence)
        assert list(self.ipam.held_by(handle)) == newer

    @rule(block=st.sampled_from(BLOCKS), router_id=OTHERS)
    def see(self, block: Prefix, router_id: int) -> None:
        self.ipam.seen([(block.family, block.packed, router_id)])

    @rule(numbers=st.sets(st.integers(0, 63), max_size=6), router_id=OTHERS, pool=st.sampled_from([POOL, SIX]))
    def hear_host_routes(self, numbers: set[int], router_id: int, pool: PoolSpec) -> None:
        routes = {Prefix.host(pool.cidr.address_at(number)).packed: router_id for number in numbers}
        self.ipam.remote_host_routes(pool.family, routes)

    @rule(block=st.sampled_from(BLOCKS))
    def release_block(self, block: Prefix) -> None:
        try:
            self.ipam.release_block(block)
        except IpamError:
            return

    @rule(
        present=st.sets(st.sampled_from([1, 2, 3])),
        pins=st.dictionaries(st.sampled_from(BLOCKS), st.sampled_from([0, 1, 2, 3]), max_size=3),
        pools=st.sampled_from([[POOL, SIX], [POOL], [SIX], [PoolSpec("default", POOL.cidr, 30), SIX]]),
    )
    def change_file(self, present: set[int], pins: dict[Prefix, int], pools: list[PoolSpec]) -> None:
        self.pools = pools
        self.nodes = [
            NodeSpec(node.name, node.router_id, tuple(block for block, owner in pins.items() if owner == number))
            for number, node in enumerate(EVERYBODY)
            if number == 0 or number in present
        ]
        self.ipam.configure(nodes=self.nodes, pools=self.pools)

    @rule()
    def commit(self) -> None:
        for change in self.ipam.take_changes():
            self.disk.apply(change)
        self.ipam.committed()
        assert self.disk.load() == self.ipam.snapshot()
        self.sequences |= {record.sequence for record in self.ipam.addresses()}

    @rule(handle=HANDLES, family=st.sampled_from(Family))
    def commit_in_vain(self, handle: str, family: Family) -> None:
        announced = self.ipam.announcements()
        self.ipam.take_changes()
        self.assign(handle, family)
        self.release(handle)
        self.ipam.roll_back()
        assert self.ipam.announcements() == announced
        in_use = {record.address: record for record in self.disk.load().addresses if record.in_use}
        assert {record.address: record for record in self.ipam.addresses()} == in_use

    @rule()
    def kill_before_the_commit(self) -> None:
        self.start()

    @rule()
    def kill_between_commit_and_use(self) -> None:
        for change in self.ipam.take_changes():
            self.disk.apply(change)
        expected = self.ipam.snapshot()
        self.sequences |= {record.sequence for record in self.ipam.addresses()}
        self.start()
        again = self.ipam.take_changes()
        self.ipam.committed()
        for change in again:
            self.disk.apply(change)
        assert {record.address: record for record in self.ipam.addresses()} == {
            record.address: record for record in expected.addresses if record.in_use
        }

    @invariant()
    def no_address_has_two_handles_and_no_handle_two_addresses(self) -> None:
        used = self.ipam.addresses()
        assert len({record.address for record in used}) == len(used)
        assert len({(record.handle, record.block.family) for record in used}) == len(used)
        assert len({record.sequence for record in used}) == len(used)
        for record in used:
            assert record.handle is not None
            assert record in self.ipam.held_by(record.handle)

    @invariant()
    def own_blocks_do_not_overlap_and_hold_all_addresses(self) -> None:
        views = self.ipam.blocks()
        kept = [view.prefix for view in views if view.state is not BlockState.RETIRING]
        same_size = [(one, other) for one in kept for other in kept if one < other and one.length == other.length]
        assert not any(one.overlaps(other) for one, other in same_size)
        by_prefix = {view.prefix: view for view in views}
        for record in self.ipam.addresses():
            assert record.address in record.block
            assert by_prefix[record.block].state is not BlockState.PENDING

    @invariant()
    def what_is_announced_is_on_disk(self) -> None:
        for prefix in self.ipam.announcements():
            if prefix in self.disk.blocks:
                continue
            assert self.disk.addresses[prefix.address].in_use

    @invariant()
    def no_block_is_pending_that_another_node_holds(self) -> None:
        held = self.ipam.holders()
        for claim in self.ipam.pending():
            assert claim.block.packed not in held[claim.block.family]

    @precondition(lambda self: not self.ipam.has_changes)
    @invariant()
    def a_restart_changes_nothing(self) -> None:
        again = Ipam("me", nodes=self.nodes, pools=self.pools, snapshot=self.disk.load())
        assert again.snapshot() == self.ipam.snapshot()
        assert not again.has_changes
        assert again.announcements() == self.ipam.announcements()
        assert again.holders() == self.ipam.holders()


OneNode.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
TestOneNode = OneNode.TestCase


@settings(max_examples=40)
@given(data=st.data(), same_start=st.booleans(), pool=st.sampled_from([POOL, PoolSpec("six", P("fd00::/122"), 125)]))
def test_two_owners_that_hear_each_other_end_with_one_owner(
    data: st.DataObject, same_start: bool, pool: PoolSpec
) -> None:
    """The block that both stored ends at one of them; no address that is in use is lost on the way."""
    block = pool.block_at(0)
    nodes = data.draw(st.permutations([NodeSpec("a", 1), NodeSpec("b", 2), NodeSpec("watcher", 3)]))
    used = {name: data.draw(st.integers(0, 3)) for name in ("a", "b")}
    ipams = {
        name: Ipam(
            name,
            nodes=nodes,
            pools=[pool],
            snapshot=Snapshot(
                (BlockRecord(block, pool.name, 1),),
                tuple(AddressRecord(block.address_at(n), block, f"h{n}", n + 2) for n in range(used[name])),
                counter=10,
            ),
        )
        for name in ("a", "b")
    }
    watcher = Ipam("watcher", nodes=nodes, pools=[pool])
    ids = {node.name: node.router_id for node in nodes}
    for name in data.draw(st.permutations(["a", "b"])):
        watcher.seen([(block.family, block.packed, ids[name])])
    for name, other in data.draw(st.permutations([("a", "b"), ("b", "a")])):
        if same_start or block in ipams[other].announcements():
            ipams[name].conflict(block, ids[other])
        ipams[name].take_changes()
        ipams[name].committed()
    if not same_start:  # the one that went first may have given up before the other heard of it
        ipams["b"].conflict(block, ids["a"])
        ipams["b"].take_changes()
        ipams["b"].committed()
    assert block in ipams["a"].announcements()
    assert ipams["b"].announcements() == {Prefix.host(block.address_at(n)) for n in range(used["b"])}
    assert watcher.holders()[pool.family] == {block.packed: 1}
