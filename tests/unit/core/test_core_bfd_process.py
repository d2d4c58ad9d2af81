"""What the core does with the process that runs BFD: acknowledges, takes over, begins anew, goes on without it."""
from __future__ import annotations

from ipaddress import ip_address

import pytest
from bfdscript import BFD_DOWN, DOWN, OURS, THEIRS, BfdScript, bfd, settled
from corescript import N2, node, snapshot, with_session

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.peering.bfd import ABANDON_S, ABSENT_S, SETTLE_S, BfdEffect


def test_a_down_is_acknowledged_once_the_kernel_has_our_own_write() -> None:
    script = settled()
    script.held.add(do.WriteNextHops)
    script.fall()
    (write,) = script.seen(do.WriteNextHops)
    assert not script.acknowledged
    script.held.clear()
    script.tell(ev.NextHopsWritten(script.next_hops.write(write, script.kernel)))
    assert script.acknowledged == [{N2: 1}]


def test_an_acknowledgement_that_was_not_heard_is_given_again() -> None:
    script = settled().fall()
    script.done.clear()
    script.fall(received=5)
    assert script.acknowledged == [{N2: 1}]


def test_a_new_agent_takes_over_what_the_process_holds() -> None:
    script = BfdScript(node(), snapshot(OURS))
    script.boot()
    script.fall()
    assert script.acknowledged == [{N2: 1}]
    assert script.core.bfd.out_of_use == {ip_address(N2)}
    script.attach(N2)
    assert [(one.peer, one.subcode) for one in script.seen(do.ResetPeer)] == [(N2, BFD_DOWN)], "it ran on meanwhile"
    script.wait(ABSENT_S + 1)
    assert script.core.bfd.out_of_use == {ip_address(N2)}


def test_a_new_agent_lets_go_of_what_is_over() -> None:
    script = BfdScript(node(), snapshot(OURS))
    script.boot()
    script.rise(holding=True).attach(N2)
    assert script.acknowledged == [{N2: 1}]
    assert not script.core.bfd.dead
    assert not script.seen(do.ResetPeer)


def test_a_new_agent_does_not_take_an_old_down_for_a_new_one() -> None:
    script = BfdScript(node(), snapshot(OURS))
    script.boot()
    script.fall(holding=False).attach(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert script.way() == {N2}
    assert not script.seen(do.ResetPeer)


@pytest.mark.parametrize("holding", [True, False])
def test_a_mark_that_an_agent_before_left_does_not_outlive_the_hold(holding: bool) -> None:
    """Seen in a lab: the agent is killed, n2 falls; the new agent has no route to n2, and so no object to write."""
    script = settled()
    script.next_hops.hold(ip_address(N2))
    assert not script.way()
    new = BfdScript(node(), snapshot(OURS))
    new.next_hops, new.kernel = script.next_hops, script.kernel
    new.boot()
    assert not new.way()
    new.fall(holding=holding).say(bfd(DOWN, holding=False)).wait(SETTLE_S + 0.1)
    new.up(N2)
    new.rise().hear(N2, THEIRS).end_of_rib(N2)
    assert new.way() == {N2}


def test_a_process_that_forgot_everything_begins_anew() -> None:
    script = settled().say(bfd(DOWN, ups=0, downs=0, holding=False, heard=False, local_discriminator=7))
    assert script.way() == {N2}
    script.rise(ups=1, downs=0, local_discriminator=7).fall(ups=1, downs=1, local_discriminator=7)
    assert script.way() is None


def test_a_process_that_forgot_everything_and_has_counted_as_far_again_is_not_taken_for_the_one_before() -> None:
    """Else its hold is for ever: nobody acknowledges what nobody takes for news."""
    script = settled().fall().end()
    script.up(N2).hear(N2, THEIRS).end_of_rib(N2)
    script.rise()
    script.done.clear()
    script.fall(local_discriminator=7)
    assert script.way() is None
    assert script.acknowledged == [{N2: 1}]


def test_a_mark_that_was_on_its_way_when_its_down_was_taken_is_let_go_of_soon() -> None:
    script = settled().fall().end()
    script.up(N2).hear(N2, THEIRS).end_of_rib(N2)
    script.rise()
    script.tell(ev.NextHopsChanged(script.next_hops.hold(ip_address(N2))))
    assert script.way() == set()
    script.wait(SETTLE_S + 0.1)
    assert script.way() == {N2}


@pytest.mark.parametrize("attached", [True, False])
def test_a_mark_that_is_seen_before_the_word_of_its_down_stays(attached: bool) -> None:
    script = settled()
    if not attached:
        script.say(bfd(), attached=False).wait(ABANDON_S + 1)
    script.next_hops.hold(ip_address(N2))
    script.tell(ev.KernelEventsLost())
    assert script.way() == set()
    script.wait(1.0)
    assert script.way() == set()
    script.fall()
    assert script.way() is None


def test_a_process_that_is_gone_changes_nothing() -> None:
    script = settled().say(bfd(), attached=False)
    script.wait(ABANDON_S + 1)
    assert script.way() == {N2}
    assert not script.seen(do.ResetPeer)


def test_who_is_out_of_use_when_the_process_goes_comes_back_with_bgp() -> None:
    script = settled().fall().end()
    script.say(bfd(DOWN, heard=True), attached=False).up(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert script.way() is None
    script.wait(ABSENT_S + 0.1)
    assert script.way() == {N2}


def test_what_a_dead_process_left_as_up_brings_nothing_back() -> None:
    script = settled().fall().end()
    script.say(bfd(ups=2, downs=1), attached=False).up(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert script.way() is None


def test_who_is_watched_no_more_is_in_use_again() -> None:
    script = settled().fall().end()
    script.tell(ev.ConfigChanged(with_session(node(), bfd=None)))
    assert not script.core.bfd.dead
    script.up(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert script.way() == {N2}
    assert script.effect is BfdEffect.OFF
