"""Addresses: given out by handle, taken back, and never twice."""
from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from calicopy.ipam import (
    TUNNEL_HANDLES,
    AddressFreed,
    AddressInUseError,
    AddressNotOursError,
    AddressSaved,
    ClaimPendingError,
    CounterSaved,
    HandleMismatchError,
    Ipam,
    NodeSpec,
    PoolSpec,
    UnknownPoolError,
)
from calicopy.net import Encapsulation, Family, Prefix

P = Prefix.parse
BLOCK = P("10.244.5.0/29")
POOLS = [
    PoolSpec("default", P("10.244.0.0/16"), 29),
    PoolSpec("six", P("fd00::/48"), 125),
    PoolSpec("theirs", P("10.1.0.0/16"), 29, frozenset({"node2"})),
]
NODES = [NodeSpec("node1", 1, (BLOCK, P("fd00::/125"))), NodeSpec("node2", 2)]


@pytest.fixture
def ipam() -> Ipam:
    ipam = Ipam("node1", nodes=NODES, pools=POOLS)
    ipam.take_changes()
    ipam.committed()
    return ipam


def commit(ipam: Ipam) -> None:
    ipam.take_changes()
    ipam.committed()


def test_every_address_of_a_block_is_given_out_lowest_first(ipam: Ipam) -> None:
    assert [ipam.assign(f"h{number}").address for number in range(8)] == [BLOCK.address_at(n) for n in range(8)]


def test_a_handle_gets_the_address_that_it_holds(ipam: Ipam) -> None:
    first = ipam.assign("a", attributes={"netns": "/run/netns/a", "b": "c"})
    commit(ipam)
    assert ipam.assign("a") == first
    assert ipam.assign("a", address=first.address, pool="default", family=Family.IPV4) == first
    assert not ipam.has_changes
    assert first.attributes == (("b", "c"), ("netns", "/run/netns/a"))


def test_new_attributes_of_a_held_address_are_kept(ipam: Ipam) -> None:
    first = ipam.assign("a", attributes={"netns": "old"})
    again = ipam.assign("a", attributes={"netns": "new"})
    assert (again.address, again.sequence, again.attributes) == (first.address, first.sequence, (("netns", "new"),))
    assert ipam.lookup(first.address).record == again


def test_a_handle_that_asks_for_another_address_than_it_holds_is_refused(ipam: Ipam) -> None:
    held = ipam.assign("a")
    with pytest.raises(HandleMismatchError, match=f"a holds {held.address}, not 10.244.5.3"):
        ipam.assign("a", address=ip_address("10.244.5.3"))


def test_a_given_address_is_used_when_it_is_free(ipam: Ipam) -> None:
    wanted = ip_address("10.244.5.6")
    assert ipam.assign("a", address=wanted).address == wanted
    with pytest.raises(AddressInUseError, match=r"10\.244\.5\.6 is in use by a"):
        ipam.assign("b", address=wanted)
    with pytest.raises(AddressNotOursError, match=r"10\.244\.6\.1 is in no block"):
        ipam.assign("b", address=ip_address("10.244.6.1"))
    assert ipam.held_by("b") == ()


def test_a_given_address_of_a_pending_block_has_to_wait() -> None:
    ipam = Ipam("node2", nodes=NODES, pools=POOLS[:1])
    with pytest.raises(ClaimPendingError):
        ipam.assign("a", address=ipam.pending()[0].block.address_at(1))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"pool": "none"}, "no pool is named none: expected one of default, six, theirs"),
        ({"pool": "theirs"}, "pool theirs does not select this node"),
        ({"pool": "six", "family": Family.IPV4}, "not of one family"),
        ({"pool": "default", "address": ip_address("fd00::1")}, "fd00::1 is not in pool default"),
        ({"address": ip_address("fd00::1"), "family": Family.IPV4}, "not of one family"),
    ],
)
def test_a_wish_that_contradicts_itself_or_the_file_is_refused(
    ipam: Ipam, asked: dict[str, object], message: str
) -> None:
    with pytest.raises(UnknownPoolError, match=message):
        ipam.assign("a", **asked)  # type: ignore[arg-type]  # the cases mix the types of three keywords


def test_the_family_follows_from_the_pool_or_the_address(ipam: Ipam) -> None:
    assert ipam.assign("a", pool="six").address == ip_address("fd00::")
    assert ipam.assign("b", address=ip_address("fd00::7")).address == ip_address("fd00::7")
    assert ipam.assign("a").address == ip_address("10.244.5.0")


def test_release_is_idempotent_and_reports_what_it_freed(ipam: Ipam) -> None:
    four, six = ipam.assign("a"), ipam.assign("a", family=Family.IPV6)
    assert ipam.release("a", family=Family.IPV6) == (six,)
    assert ipam.release("a") == (four,)
    commit(ipam)
    assert ipam.release("a") == ()
    assert not ipam.has_changes


def test_a_late_release_does_not_free_the_next_assignment(ipam: Ipam) -> None:
    old = ipam.assign("a")
    ipam.release("a", sequence=old.sequence)
    new = ipam.assign("a", address=old.address)
    assert new.sequence > old.sequence
    assert ipam.release("a", sequence=old.sequence) == ()
    assert ipam.held_by("a") == (new,)
    assert ipam.release("a", sequence=new.sequence) == (new,)


def test_freed_addresses_are_reused_last_and_the_longest_free_first(ipam: Ipam) -> None:
    for number in range(4):
        ipam.assign(f"h{number}")
    ipam.release("h2")
    ipam.release("h0")
    order = [int(ipam.assign(f"n{number}").address) - BLOCK.first for number in range(6)]
    assert order == [4, 5, 6, 7, 2, 0]


def test_the_order_of_reuse_survives_a_restart(ipam: Ipam) -> None:
    for number in range(8):
        ipam.assign(f"h{number}")
    for number in (5, 1, 3):
        ipam.release(f"h{number}")
    again = Ipam("node1", nodes=NODES, pools=POOLS, snapshot=ipam.snapshot())
    assert [int(again.assign(f"n{number}").address) - BLOCK.first for number in range(3)] == [5, 1, 3]


def test_sequences_never_come_again_after_a_restart(ipam: Ipam) -> None:
    last = ipam.assign("a").sequence
    ipam.release("a")
    again = Ipam("node1", nodes=NODES, pools=POOLS, snapshot=ipam.snapshot())
    assert again.assign("a").sequence > last


def test_changes_are_net_and_typed(ipam: Ipam) -> None:
    held = ipam.assign("a")
    assert ipam.take_changes() == (AddressSaved(held), CounterSaved(held.sequence))
    ipam.committed()
    ipam.release("a")
    freed, counter = ipam.take_changes()
    assert isinstance(freed, AddressFreed)
    assert (freed.record.address, freed.record.in_use, freed.record.sequence) == (held.address, False, held.sequence)
    assert counter == CounterSaved(freed.record.freed_at or 0)


def test_one_batch_is_in_flight_at_a_time(ipam: Ipam) -> None:
    ipam.assign("a")
    ipam.take_changes()
    assert ipam.in_flight
    with pytest.raises(RuntimeError, match="neither committed nor rolled back"):
        ipam.take_changes()


def test_a_failed_commit_undoes_assignments_and_releases(ipam: Ipam) -> None:
    ipam.assign("kept")
    commit(ipam)
    before = ipam.snapshot()
    ipam.assign("a")
    ipam.release("kept")
    ipam.take_changes()
    ipam.assign("b")
    ipam.roll_back()
    assert ipam.snapshot() == before
    assert not ipam.has_changes
    assert ipam.held_by("a") == ipam.held_by("b") == ()
    assert ipam.held_by("kept")[0].address == IPv4Address("10.244.5.0")
    assert ipam.assign("c").address == IPv4Address("10.244.5.1")


def test_a_failed_commit_of_a_block_leaves_the_claim_pending() -> None:
    ipam = Ipam("node2", nodes=NODES, pools=POOLS[:1])
    claim = ipam.pending()[0]
    ipam.confirm(claim.block)
    ipam.assign("a")
    ipam.take_changes()
    ipam.roll_back()
    assert ipam.pending() == (claim,)
    assert ipam.announcements() == set()
    with pytest.raises(ClaimPendingError):
        ipam.assign("a")


def test_a_failed_commit_forgets_no_reservation(ipam: Ipam) -> None:
    block = P("10.244.9.0/29")
    ipam.seen([(Family.IPV4, block.packed, 2)])
    changes = ipam.take_changes()
    ipam.roll_back()
    assert ipam.holders()[Family.IPV4] == {block.packed: 2}
    assert ipam.take_changes() == changes


def test_a_pin_is_tried_again_after_a_failed_commit() -> None:
    ipam = Ipam("node1", nodes=NODES, pools=POOLS)
    first = ipam.take_changes()
    ipam.roll_back()
    assert ipam.announcements() == set()
    assert ipam.take_changes() == first
    ipam.committed()
    assert BLOCK in ipam.announcements()


def test_a_block_given_up_in_vain_is_announced_until_the_commit_succeeds(ipam: Ipam) -> None:
    ipam.configure(nodes=[NodeSpec("node1", 7), NODES[1]], pools=POOLS)
    ipam.conflict(BLOCK, 2)
    for _ in range(2):
        changes = ipam.take_changes()
        assert changes
        ipam.seen([(Family.IPV4, P("10.244.9.0/29").packed, 2)])  # life goes on while the commit is under way
        assert BLOCK in ipam.announcements()
        ipam.roll_back()
    ipam.take_changes()
    ipam.committed()
    assert BLOCK not in ipam.announcements()


def test_the_tunnel_address_is_an_address_like_any_other(ipam: Ipam) -> None:
    held = ipam.assign(TUNNEL_HANDLES[Encapsulation.IPIP], pool="default")
    assert held.address in BLOCK
    assert ipam.addresses() == (held,)
