"""The first claim's gate, End-of-RIB, and nothing used before it is on disk: scripts of events in, commands out."""
from __future__ import annotations

import pytest
import simparts
from corescript import N2, N3, Script, attributes, fresh, node, snapshot

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.claims import LIMIT_S, waiting_since
from calicopy.core.requests import StoreFailedError
from calicopy.ipam import ClaimPendingError
from calicopy.net import Family
from calicopy.seam import speaker as sp

FIRST = "10.244.3.0/26"  # what the joint assignment gives n1


def test_a_first_claim_is_confirmed_as_soon_as_every_peer_has_sent_end_of_rib() -> None:
    script = fresh().up(N2).up(N3).end_of_rib(N2)
    assert not script.own
    script.end_of_rib(N3)
    assert script.own == {FIRST}


def test_half_a_second_after_the_last_end_of_rib_is_enough_when_a_peer_is_up() -> None:
    script = fresh().up(N2).wait(0.2).end_of_rib(N2).wait(0.49)
    assert not script.own
    assert script.wait(0.02).own == {FIRST}


def test_a_peer_that_went_down_again_leaves_the_wait_at_two_seconds() -> None:
    script = fresh().up(N2).end_of_rib(N2)
    script.tell(sp.PeerDown(N2, "connection reset")).wait(1.9)
    assert not script.own
    assert script.wait(0.2).own == {FIRST}


def test_without_an_end_of_rib_the_claim_waits_two_seconds() -> None:
    script = fresh().up(N2).wait(1.99)
    assert not script.own
    assert script.wait(0.02).own == {FIRST}


@pytest.mark.parametrize(
    ("took", "left"), [(0.0, 2.0), (0.4, 1.6), (1.0, 1.0), (30.0, 1.0)], ids=["at once", "usual", "slow", "waited"]
)
def test_the_start_of_the_process_counts_but_a_second_is_always_listened(took: float, left: float) -> None:
    assert waiting_since(100.0 - took, 100.0) + LIMIT_S - 100.0 == pytest.approx(left)


def test_without_peers_a_claim_is_confirmed_at_once() -> None:
    assert Script(node(1)).boot().own


def test_a_stored_block_is_announced_before_anybody_was_heard() -> None:
    script = Script(node(), snapshot("10.244.0.0/26")).boot().up(N2)
    assert [command.announce[0].prefixes for command in script.seen(do.Advertise)] == [("10.244.0.0/26",)]


def test_end_of_rib_follows_the_confirmed_blocks_at_once() -> None:
    script = Script(node(), snapshot("10.244.0.0/26")).boot()
    script.take(do.Log)
    script.up(N2)
    assert [type(command) for command in script.done if not isinstance(command, do.Log | do.SetSessions)] == [
        do.Advertise, do.SendEndOfRib
    ]  # fmt: skip


def test_a_pending_claim_holds_no_end_of_rib() -> None:
    script = fresh().up(N2)
    assert script.core.ipam.pending()
    assert script.take(do.SendEndOfRib) == [do.SendEndOfRib(N2, Family.IPV4)]
    script.up(N3).end_of_rib(N2, N3)
    assert [command.peers for command in script.take(do.Advertise)] == [(N2, N3)]


def test_a_claim_that_is_heard_at_another_node_together_with_its_end_of_rib_moves() -> None:
    script = fresh().up(N2).up(N3).end_of_rib(N3)
    script.hear(N2, FIRST).end_of_rib(N2)
    assert len(script.own) == 1
    assert FIRST not in script.own


def test_a_claim_waits_until_all_that_was_heard_before_the_gate_opened_is_decided() -> None:
    """The UPDATE that names the block and the End-of-RIB come in one step."""
    script = fresh().up(N2).up(N3).end_of_rib(N3)
    body = simparts.update_body([FIRST], next_hop=N2, attributes=attributes(2))
    script.tell(sp.UpdatesReceived(N2, (body, b"\0\0\0\0")))
    assert len(script.own) == 1
    assert FIRST not in script.own


def test_a_block_is_announced_only_when_it_is_on_disk() -> None:
    script = fresh()
    script.held.add(do.Persist)
    script.up(N2).up(N3).end_of_rib(N2, N3)
    (persist,) = script.seen(do.Persist)
    assert not script.seen(do.Advertise)
    assert not script.core.fib.desired(Family.IPV4)
    script.tell(ev.Persisted(persist.token))
    assert [command.peers for command in script.seen(do.Advertise)] == [(N2, N3)]
    assert script.routes == {FIRST}


def test_an_address_is_handed_out_only_when_it_is_on_disk() -> None:
    script = Script(node(1)).boot()
    script.held.add(do.Persist)
    script.take(do.Persist)
    script.tell(ev.AddressRequested(7, "pod", Family.IPV4))
    (persist,) = script.seen(do.Persist)
    assert not script.seen(do.Reply)
    script.tell(ev.Persisted(persist.token))
    assert script.take(do.Reply)[0].addresses[0].handle == "pod"


def test_a_request_that_meets_a_pending_claim_is_answered_when_it_is_confirmed() -> None:
    script = fresh().tell(ev.AddressRequested(7, "pod", Family.IPV4))
    assert not script.seen(do.Reply)
    script.up(N2).up(N3).end_of_rib(N2, N3)
    assert str(script.take(do.Reply)[0].addresses[0].address) == "10.244.3.0"


def test_a_parked_request_is_refused_after_a_while_when_the_disk_never_takes_the_block() -> None:
    script = Script(node(1))
    script.held.add(do.Persist)
    script.boot().tell(ev.AddressRequested(7, "pod", Family.IPV4))
    for _ in range(40):
        for persist in script.take(do.Persist):
            script.tell(ev.PersistFailed(persist.token, "disk full"))
        replies = script.seen(do.Reply)
        if replies:
            break
        script.wait(0.1)
    assert isinstance(replies[0].error, StoreFailedError | ClaimPendingError)
    assert not script.own


def test_a_failed_commit_refuses_what_waited_and_is_tried_again_without_haste() -> None:
    script = Script(node(1)).boot()
    script.held.add(do.Persist)
    script.take(do.Persist)
    script.tell(ev.AddressRequested(7, "pod", Family.IPV4), ev.AddressRequested(8, "other", Family.IPV4))
    (persist,) = script.take(do.Persist)
    script.tell(ev.PersistFailed(persist.token, "disk full"))
    assert [(reply.request, type(reply.error)) for reply in script.take(do.Reply)] == [
        (7, StoreFailedError), (8, StoreFailedError)
    ]  # fmt: skip
    assert not script.core.ipam.addresses()
    assert script.core.requests.store_error == "disk full"

    script.held.clear()
    script.tell(ev.AddressRequested(9, "pod", Family.IPV4))
    assert script.take(do.Reply)[0].error is None
    assert not script.core.requests.store_error


def test_a_claim_that_cannot_be_stored_is_tried_once_a_second_and_said_once() -> None:
    script = Script(node(1))
    script.held.add(do.Persist)
    script.boot()
    attempts = 0
    for _ in range(50):
        for persist in script.seen(do.Persist)[attempts:]:
            attempts += 1
            script.tell(ev.PersistFailed(persist.token, "disk full"))
        script.wait(0.1)
    assert 4 <= attempts <= 6
    assert not [line for line in script.seen(do.Log) if line.line.code == "block-confirmed"]


@pytest.mark.parametrize("peers", [1, 3])
def test_a_core_at_rest_asks_for_nothing_and_wakes_seconds_later(peers: int) -> None:
    script = Script(node(peers)).boot()
    for number in range(2, peers + 1):
        script.up(f"10.0.0.{number}").end_of_rib(f"10.0.0.{number}")
    script.wait(6.0)
    script.take(do.Log)
    deadline = script.core.deadline(script.now)
    assert deadline is not None
    assert deadline - script.now > 10.0
    assert not script.core.handle([ev.Ticked()], script.now)
