"""Two owners of one block: one rule, both sides."""
from __future__ import annotations

from ipaddress import ip_address

import pytest

from calicopy.ipam import (
    AddressHeldElsewhereError,
    AddressRecord,
    BlockRecord,
    BlockState,
    ConflictRule,
    Ipam,
    NodeSpec,
    PoolSpec,
    ReservationRecord,
    Snapshot,
)
from calicopy.net import Family, Prefix

P = Prefix.parse
POOL = PoolSpec("default", P("10.244.0.0/16"), 26)
BLOCK = P("10.244.5.0/26")
NODES = [NodeSpec("low", 1), NodeSpec("high", 2), NodeSpec("other", 3)]


def owner(name: str, *handles: str, nodes: list[NodeSpec] = NODES) -> Ipam:
    """A node that stored BLOCK as its own, with an address for each handle."""
    held = tuple(
        AddressRecord(BLOCK.address_at(number), BLOCK, handle, number + 2) for number, handle in enumerate(handles)
    )
    snapshot = Snapshot(blocks=(BlockRecord(BLOCK, "default", 1),), addresses=held, counter=len(handles) + 2)
    return Ipam(name, nodes=nodes, pools=[POOL], snapshot=snapshot)


def commit(ipam: Ipam) -> None:
    ipam.take_changes()
    ipam.committed()


def test_the_lower_router_id_keeps_the_block() -> None:
    ipam = owner("low", "a")
    ipam.conflict(BLOCK, 2)
    commit(ipam)
    assert ipam.announcements() == {BLOCK}
    (conflict,) = ipam.block_conflicts()
    assert (conflict.rival, conflict.won, conflict.rule) == ("high", True, ConflictRule.ROUTER_ID)
    assert str(conflict) == "block 10.244.5.0/26 is also announced by high: kept, the lower router id wins"
    assert ipam.reservations() == ()
    ipam.conflict_over(BLOCK, 2)
    assert ipam.block_conflicts() == ()


def test_a_loser_without_addresses_gives_the_block_up_and_claims_another() -> None:
    ipam = owner("high")
    ipam.conflict(BLOCK, 1)
    commit(ipam)
    assert ipam.announcements() == ipam.blackholes() == set()
    assert ipam.reservations() == (ReservationRecord(BLOCK, "low"),)
    assert ipam.pending()[0].block != BLOCK
    assert ipam.block_conflicts() == ()


def test_a_loser_with_addresses_announces_them_one_by_one_until_the_last_is_released() -> None:
    ipam = owner("high", "a", "b")
    ipam.conflict(BLOCK, 1)
    commit(ipam)
    assert ipam.announcements() == {P("10.244.5.0/32"), P("10.244.5.1/32")}
    assert ipam.blackholes() == set()
    assert ipam.holders()[Family.IPV4] == {BLOCK.packed: 1}
    (conflict,) = ipam.block_conflicts()
    assert (conflict.won, conflict.in_use) == (False, 2)
    ipam.confirm(ipam.pending()[0].block)
    assert ipam.assign("c").block != BLOCK
    assert ipam.assign("a").address == BLOCK.address_at(0)
    ipam.release("a")
    commit(ipam)
    assert P("10.244.5.0/32") not in ipam.announcements()
    assert P("10.244.5.1/32") in ipam.announcements()
    ipam.release("b")
    commit(ipam)
    assert BLOCK not in {view.prefix for view in ipam.blocks()}
    assert ipam.reservations() == (ReservationRecord(BLOCK, "low"),)


def test_a_lost_block_is_still_lost_after_a_restart() -> None:
    ipam = owner("high", "a")
    ipam.conflict(BLOCK, 1)
    commit(ipam)
    again = Ipam("high", nodes=NODES, pools=[POOL], snapshot=ipam.snapshot())
    assert again.announcements() == {P("10.244.5.0/32")}
    assert again.blocks()[0].state in (BlockState.LOST, BlockState.PENDING)
    assert again.block_conflicts() == ipam.block_conflicts()


def test_a_released_address_of_a_lost_block_is_announced_until_that_is_on_disk() -> None:
    ipam = owner("high", "a")
    ipam.conflict(BLOCK, 1)
    commit(ipam)
    ipam.release("a")
    assert ipam.announcements() == {P("10.244.5.0/32")}
    commit(ipam)
    assert ipam.announcements() == set()


def test_a_lost_block_comes_back_when_the_router_ids_turn() -> None:
    ipam = owner("high", "a")
    ipam.conflict(BLOCK, 1)
    ipam.configure(nodes=[NodeSpec("low", 9), *NODES[1:]], pools=[POOL])
    commit(ipam)
    assert BLOCK in ipam.announcements()
    assert ipam.block_conflicts()[0].won
    assert ipam.holders()[Family.IPV4] == {}


def test_a_lost_block_comes_back_when_the_winner_leaves_the_file() -> None:
    ipam = owner("high", "a")
    ipam.conflict(BLOCK, 1)
    ipam.configure(nodes=NODES[1:], pools=[POOL])
    commit(ipam)
    assert BLOCK in ipam.announcements()
    assert ipam.block_conflicts() == ()
    assert ipam.holders()[Family.IPV4] == {}


def test_the_pinned_owner_wins_whatever_the_router_ids_say() -> None:
    nodes = [NODES[0], NodeSpec("high", 2, (BLOCK,))]
    winner, loser = owner("high", "a", nodes=nodes), owner("low", "b", nodes=nodes)
    winner.conflict(BLOCK, 1)
    loser.conflict(BLOCK, 2)
    commit(winner)
    commit(loser)
    assert winner.announcements() == {BLOCK}
    assert winner.block_conflicts()[0].rule is ConflictRule.PINNED
    assert loser.announcements() == {P("10.244.5.0/32")}


def test_a_block_that_the_file_pins_to_another_node_is_lost_without_a_word_from_it() -> None:
    empty, used = owner("low"), owner("low", "a")
    for ipam in (empty, used):
        ipam.configure(nodes=[NODES[0], NodeSpec("high", 2, (BLOCK,))], pools=[POOL])
        commit(ipam)
    assert empty.announcements() == set()
    assert used.announcements() == {P("10.244.5.0/32")}
    assert used.block_conflicts()[0].rule is ConflictRule.PINNED


def test_the_winner_never_gives_out_an_address_that_another_node_announces() -> None:
    ipam = owner("low")
    elsewhere = {P(f"10.244.5.{number}/32").packed: 2 for number in range(0, 64, 2)}
    ipam.remote_host_routes(Family.IPV4, elsewhere)
    assert ipam.blocks()[0].free == 32
    given = [ipam.assign(f"h{number}").address for number in range(32)]
    assert all(int(address) % 2 for address in given)
    assert len(ipam.pending()) == 1, "the block is full, so another is claimed"
    with pytest.raises(AddressHeldElsewhereError, match=r"10\.244\.5\.2 is announced by another node"):
        ipam.assign("x", address=ip_address("10.244.5.2"))
    ipam.remote_host_routes(Family.IPV4, {})
    assert ipam.assign("y").address == ip_address("10.244.5.0")


def test_a_freed_address_that_another_node_announces_is_not_reused() -> None:
    ipam = owner("low", *(f"h{number}" for number in range(64)))
    ipam.release("h7")
    ipam.release("h9")
    ipam.remote_host_routes(Family.IPV4, {P("10.244.5.7/32").packed: 2})
    assert ipam.assign("next").address == ip_address("10.244.5.9")


def test_an_address_used_on_both_sides_is_named() -> None:
    ipam = owner("low", "a", "b")
    ipam.remote_host_routes(Family.IPV4, {P("10.244.5.1/32").packed: 2, P("10.244.9.1/32").packed: 2})
    (conflict,) = ipam.address_conflicts()
    assert (conflict.address, conflict.handle, conflict.rival) == (ip_address("10.244.5.1"), "b", "high")
    assert str(conflict) == "address 10.244.5.1 is used by b here and announced by high too"
    ipam.release("b")
    assert ipam.address_conflicts() == ()


def test_of_three_owners_one_is_left() -> None:
    ipams = {"low": owner("low", "a"), "high": owner("high", "b"), "other": owner("other")}
    for name, ipam in ipams.items():
        for node in NODES:
            if node.name != name:
                ipam.conflict(BLOCK, node.router_id)
        commit(ipam)
    assert [BLOCK in ipam.announcements() for ipam in ipams.values()] == [True, False, False]
    assert all(ipams[name].reservations() == (ReservationRecord(BLOCK, "low"),) for name in ("high", "other"))


def test_a_block_of_another_size_over_ours_is_a_conflict_too() -> None:
    ipam = Ipam(
        "high",
        nodes=NODES,
        pools=[PoolSpec("default", POOL.cidr, 25)],
        snapshot=Snapshot(
            blocks=(BlockRecord(BLOCK, "default", 1),),
            addresses=(AddressRecord(BLOCK.address_at(0), BLOCK, "a", 2),),
            counter=2,
        ),
    )
    ipam.conflict(P("10.244.5.0/25"), 1)
    commit(ipam)
    assert ipam.announcements() == {P("10.244.5.0/32")}
    assert ipam.holders()[Family.IPV4] == {P("10.244.5.0/25").packed: 1}
