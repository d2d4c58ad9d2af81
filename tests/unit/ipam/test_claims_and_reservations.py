"""Blocks: claimed, confirmed, reserved, retired."""
from __future__ import annotations

from ipaddress import ip_address

import pytest

from calicopy.ipam import (
    BlockInUseError,
    BlockRecord,
    BlockSaved,
    BlockState,
    ClaimPendingError,
    CounterSaved,
    Ipam,
    NodeSpec,
    PendingReason,
    PoolExhaustedError,
    PoolSpec,
    ReservationRecord,
    ReservationSaved,
    Snapshot,
    UnknownBlockError,
)
from calicopy.net import Family, Prefix

P = Prefix.parse
POOL = PoolSpec("default", P("10.244.0.0/16"), 26)
SIX = PoolSpec("six", P("fd00:10::/48"), 122)
NODES = [NodeSpec("node1", 1), NodeSpec("node2", 2), NodeSpec("node3", 3)]


def make(
    node: str = "node1",
    *,
    nodes: list[NodeSpec] = NODES,
    pools: list[PoolSpec] | None = None,
    snapshot: Snapshot | None = None,
) -> Ipam:
    return Ipam(node, nodes=nodes, pools=[POOL] if pools is None else pools, snapshot=snapshot)


def commit(ipam: Ipam) -> None:
    ipam.take_changes()
    ipam.committed()


def confirm_all(ipam: Ipam) -> None:
    for claim in ipam.pending():
        ipam.confirm(claim.block)
    commit(ipam)


def see(ipam: Ipam, block: Prefix, router_id: int) -> None:
    ipam.seen([(block.family, block.packed, router_id)])


def test_the_first_claim_is_pending_neither_announced_nor_used() -> None:
    ipam = make()
    (claim,) = ipam.pending()
    assert claim.first
    assert claim.reason is PendingReason.FIRST_CLAIM
    assert not ipam.announcements()
    assert not ipam.blackholes()
    assert not ipam.has_changes
    with pytest.raises(ClaimPendingError, match="is pending"):
        ipam.assign("a")
    assert [view.state for view in ipam.blocks()] == [BlockState.PENDING]


def test_a_confirmed_block_is_announced_once_it_is_on_disk() -> None:
    ipam = make()
    block = ipam.pending()[0].block
    ipam.confirm(block)
    assert not ipam.announcements()
    assert ipam.take_changes() == (BlockSaved(BlockRecord(block, "default", 1)), CounterSaved(1))
    assert not ipam.announcements()
    ipam.committed()
    assert ipam.announcements() == ipam.blackholes() == {block}
    assert not ipam.has_changes
    assert ipam.take_changes() == ()


def test_a_claim_is_confirmed_once() -> None:
    ipam = make()
    block = ipam.pending()[0].block
    ipam.confirm(block)
    with pytest.raises(UnknownBlockError, match="no claim of"):
        ipam.confirm(block)


def test_a_claim_moves_when_its_block_is_seen_at_another_node() -> None:
    ipam = make()
    before = ipam.pending()[0].block
    see(ipam, before, 2)
    (claim,) = ipam.pending()
    assert claim.block != before
    assert claim.first
    assert claim.reason is PendingReason.MOVED
    assert ipam.holders()[Family.IPV4] == {before.packed: 2}


def test_pinned_blocks_are_confirmed_at_once_and_no_first_block_is_claimed() -> None:
    pins = (P("10.244.9.0/26"), P("10.244.9.64/26"))
    nodes = [NodeSpec("node1", 1, pins), NODES[1]]
    ipam = make(nodes=nodes)
    assert not ipam.pending()
    commit(ipam)
    assert ipam.announcements() == set(pins)
    assert all(view.pinned for view in ipam.blocks())
    other = make("node2", nodes=nodes)
    assert other.holders()[Family.IPV4] == {block.packed: 1 for block in pins}


def test_a_pin_to_this_node_ends_the_reservation_for_another() -> None:
    block = P("10.244.9.0/26")
    ipam = make()
    see(ipam, block, 2)
    ipam.configure(nodes=[NodeSpec("node1", 1, (block,)), *NODES[1:]], pools=[POOL])
    assert block in {view.prefix for view in ipam.blocks()}
    assert block.packed not in ipam.holders()[Family.IPV4]


def test_stored_blocks_are_confirmed_at_once() -> None:
    ipam = make()
    confirm_all(ipam)
    again = make(snapshot=ipam.snapshot())
    assert not again.pending()
    assert again.announcements() == ipam.announcements()
    assert not again.has_changes


def test_each_family_gets_its_first_block() -> None:
    ipam = make(pools=[POOL, SIX])
    assert {claim.pool: claim.first for claim in ipam.pending()} == {"default": True, "six": True}
    confirm_all(ipam)
    assert ipam.assign("a").address in ipam.blocks()[0].prefix
    assert ipam.assign("a", family=Family.IPV6).address in ipam.blocks()[1].prefix
    assert len(ipam.held_by("a")) == 2


def test_a_second_pool_of_the_family_is_claimed_on_demand() -> None:
    second = PoolSpec("second", P("10.245.0.0/16"), 26)
    ipam = make(pools=[POOL, second])
    confirm_all(ipam)
    assert [view.pool for view in ipam.blocks()] == ["default"]
    with pytest.raises(ClaimPendingError):
        ipam.assign("a", pool="second")
    confirm_all(ipam)
    assert ipam.assign("a", pool="second").address in second.cidr


def test_a_further_block_is_claimed_when_the_last_one_fills() -> None:
    ipam = make()
    confirm_all(ipam)
    for number in range(63):
        ipam.assign(f"h{number}")
    assert not ipam.pending()
    ipam.assign("h63")
    (claim,) = ipam.pending()
    assert not claim.first
    assert claim.reason is PendingReason.FURTHER_CLAIM
    with pytest.raises(ClaimPendingError):
        ipam.assign("h64")
    ipam.confirm(claim.block)
    assert ipam.assign("h64").block == claim.block


def test_further_claims_of_different_nodes_differ_and_leave_first_blocks_alone() -> None:
    pool = PoolSpec("p", P("10.0.0.0/22"), 28)
    firsts = {Ipam(node.name, nodes=NODES, pools=[pool]).pending()[0].block for node in NODES}
    chosen: set[Prefix] = set()
    for node in NODES:
        ipam = Ipam(node.name, nodes=NODES, pools=[pool])
        confirm_all(ipam)
        for number in range(16 * 5):
            ipam.assign(f"h{number}")
            confirm_all(ipam)
        further = {view.prefix for view in ipam.blocks()} - firsts
        assert len(further) == 5
        assert not further & chosen
        chosen |= further


def test_an_exhausted_pool_is_refused_with_the_counts() -> None:
    pool = PoolSpec("tiny", P("10.0.0.0/29"), 31)
    nodes = [NodeSpec("node1", 1), NodeSpec("node2", 2), NodeSpec("node3", 3, (P("10.0.0.0/31"),))]
    ipam = Ipam("node1", nodes=nodes, pools=[pool])
    confirm_all(ipam)
    free = {P(f"10.0.0.{number}/31") for number in (2, 4, 6)} - {ipam.blocks()[0].prefix}
    first_of_2 = Ipam("node2", nodes=nodes, pools=[pool]).pending()[0].block
    (spare,) = free - {first_of_2}
    see(ipam, spare, 3)
    ipam.assign("a")
    ipam.assign("b")
    assert not ipam.pending()
    with pytest.raises(PoolExhaustedError) as refusal:
        ipam.assign("c")
    (use,) = refusal.value.pools
    assert (use.blocks, use.own, use.pinned_elsewhere, use.reserved_elsewhere, use.first_elsewhere) == (4, 1, 1, 1, 1)
    assert use.claimable == 0
    assert "tiny (10.0.0.0/29): 4 blocks, 1 ours, 1 pinned to other nodes, 1 reserved" in str(refusal.value)
    ipam.release_block(spare)
    assert ipam.pending()[0].block == spare


def test_no_pool_for_this_node_is_named_as_such() -> None:
    ipam = make(pools=[PoolSpec("default", POOL.cidr, 26, frozenset({"node2"}))])
    assert not ipam.pending()
    with pytest.raises(PoolExhaustedError, match="no pool selects this node"):
        ipam.assign("a")


def test_a_block_seen_once_stays_reserved_until_it_is_released() -> None:
    block = P("10.244.7.0/26")
    ipam = make()
    see(ipam, block, 2)
    assert ReservationSaved(ReservationRecord(block, "node2")) in ipam.take_changes()
    ipam.committed()
    again = make(snapshot=ipam.snapshot())
    assert again.reservations() == (ReservationRecord(block, "node2"),)
    again.release_block(block)
    assert again.reservations() == ()
    with pytest.raises(UnknownBlockError, match="neither a block of this node nor reserved"):
        again.release_block(block)


def test_reservations_end_when_their_node_leaves_the_file_and_follow_its_router_id() -> None:
    block = P("10.244.7.0/26")
    ipam = make()
    see(ipam, block, 2)
    ipam.configure(nodes=[NODES[0], NodeSpec("node2", 22)], pools=[POOL])
    assert ipam.holders()[Family.IPV4] == {block.packed: 22}
    ipam.configure(nodes=[NODES[0]], pools=[POOL])
    assert ipam.holders()[Family.IPV4] == {}


@pytest.mark.parametrize(
    ("text", "router_id"),
    [("10.244.7.0/26", 99), ("10.244.7.0/26", 1), ("10.9.0.0/26", 2), ("10.244.7.0/27", 2), ("10.244.7.1/32", 2)],
    ids=["no node of the file", "this node", "outside the pools", "another length", "a host route"],
)
def test_what_is_no_block_of_another_node_reserves_nothing(text: str, router_id: int) -> None:
    ipam = make()
    see(ipam, P(text), router_id)
    assert ipam.reservations() == ()


def test_two_others_with_one_block_are_told_apart_by_the_rule_in_any_order() -> None:
    block = P("10.244.7.0/26")
    for order in ((2, 3), (3, 2), (2, 3, 2, 3)):
        ipam = make()
        for router_id in order:
            see(ipam, block, router_id)
        assert ipam.reservations() == (ReservationRecord(block, "node2"),)


def test_a_pinned_block_seen_at_the_wrong_node_stays_with_its_owner() -> None:
    block = P("10.244.7.0/26")
    ipam = make(nodes=[NODES[0], NODES[1], NodeSpec("node3", 3, (block,))])
    see(ipam, block, 2)
    assert ipam.holders()[Family.IPV4] == {block.packed: 3}


def test_holder_changes_tell_all_first_and_then_only_what_changed() -> None:
    ipam = make(nodes=[NODES[0], NodeSpec("node2", 2, (P("10.244.1.0/26"),)), NODES[2]])
    assert ipam.take_holder_changes() == {Family.IPV4: {P("10.244.1.0/26").packed: 2}}
    assert ipam.take_holder_changes() == {}
    see(ipam, P("10.244.2.0/26"), 3)
    assert ipam.take_holder_changes() == {Family.IPV4: {P("10.244.2.0/26").packed: 3}}
    ipam.configure(nodes=[NODES[0], NodeSpec("node2", 2)], pools=[POOL])
    gone = {P("10.244.1.0/26").packed: None, P("10.244.2.0/26").packed: None}
    assert ipam.take_holder_changes() == {Family.IPV4: gone}


def test_an_empty_block_of_a_pool_that_is_gone_is_given_up() -> None:
    ipam = make()
    confirm_all(ipam)
    ipam.configure(nodes=NODES, pools=[PoolSpec("new", P("10.99.0.0/16"), 26)])
    commit(ipam)
    assert ipam.announcements() == set()
    assert [claim.pool for claim in ipam.pending()] == ["new"]


def test_a_block_in_use_of_a_pool_that_is_gone_is_held_until_its_last_address_is_released() -> None:
    ipam = make()
    confirm_all(ipam)
    held = ipam.assign("a")
    ipam.configure(nodes=NODES, pools=[PoolSpec("new", P("10.99.0.0/16"), 26)])
    confirm_all(ipam)
    assert held.block in ipam.announcements()
    assert ipam.assign("a") == held
    assert ipam.assign("b").address in P("10.99.0.0/16")
    assert {view.prefix: view.state for view in ipam.blocks()}[held.block] is BlockState.RETIRING
    ipam.release("a")
    commit(ipam)
    assert held.block not in ipam.announcements()


def test_blocks_of_another_size_retire_and_are_never_overlapped() -> None:
    ipam = make()
    confirm_all(ipam)
    held = ipam.assign("a")
    ipam.configure(nodes=NODES, pools=[PoolSpec("default", POOL.cidr, 28)])
    (claim,) = ipam.pending()
    assert claim.block.length == 28
    assert not claim.block.overlaps(held.block)


def test_a_used_or_pinned_block_is_not_released_by_hand_an_empty_one_is() -> None:
    ipam = make(nodes=[NODES[0], NodeSpec("node2", 2, (P("10.244.1.0/26"),))])
    confirm_all(ipam)
    held = ipam.assign("a")
    with pytest.raises(BlockInUseError, match="1 address in use"):
        ipam.release_block(held.block)
    with pytest.raises(BlockInUseError, match="pinned to node2"):
        ipam.release_block(P("10.244.1.0/26"))
    ipam.release("a")
    ipam.release_block(held.block)
    commit(ipam)
    assert not ipam.announcements()
    assert ipam.snapshot().addresses == ()


def test_lookup_tells_pool_block_holder_and_assignment() -> None:
    ipam = make()
    confirm_all(ipam)
    held = ipam.assign("a", attributes={"netns": "/run/netns/blue"})
    see(ipam, P("10.244.7.0/26"), 2)
    mine, theirs = ipam.lookup(held.address), ipam.lookup(ip_address("10.244.7.9"))
    assert (mine.pool, mine.block, mine.node, mine.record) == ("default", held.block, "node1", held)
    assert (theirs.block, theirs.node, theirs.router_id, theirs.record) == (P("10.244.7.0/26"), "node2", 2, None)
    outside = ipam.lookup(ip_address("192.0.2.1"))
    assert (outside.pool, outside.block, outside.node) == (None, None, None)


def test_a_node_that_is_not_in_the_file_is_refused() -> None:
    with pytest.raises(ValueError, match="'nobody' is not in the cluster file"):
        make("nobody")


def test_its_repr_is_made_for_people() -> None:
    ipam = make()
    assert repr(ipam) == "<Ipam node1: 10.244.14.128/26 pending 0/64>"


def test_a_pin_of_another_block_size_holds_what_it_overlaps() -> None:
    nodes = [NodeSpec("n1", 1, ()), NodeSpec("n2", 2, (Prefix.parse("10.244.0.0/25"),)), NodeSpec("n3", 3, ())]
    ipam = Ipam("n1", nodes=nodes, pools=[PoolSpec("p", Prefix.parse("10.244.0.0/24"), 26, None)])
    block = Prefix.parse("10.244.0.64/26")
    ipam.seen([(block.family, block.packed, 3)])
    assert block not in {one.prefix for one in ipam.reservations()}
