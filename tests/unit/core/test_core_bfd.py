"""What follows from BFD (RFC 5880, RFC 5882), each row of docs/graceful-restart.md and docs/bfd.md: three cases told
apart, what is out of use and until when, whose session ends, what is kept.
"""
from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import simparts
from bfdscript import BFD_DOWN, BROKEN, DOWN, OURS, SHARED, THEIRS, BfdScript, bfd, settled
from corescript import N2, N3, attributes, node, snapshot, with_session

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.explain.explain import explain
from calicopy.core.peering.bfd import ABSENT_S, REPEAT_S, BfdEffect
from calicopy.core.ready import is_serving, readiness
from calicopy.core.show import problems
from calicopy.fib import NextHopOp
from calicopy.net import Prefix
from calicopy.rib import DecisionStep, PathState
from calicopy.seam import speaker as sp
from calicopy.seam.bfd import SessionState

# -- three cases


def test_a_peer_that_never_was_up_is_not_held_down() -> None:
    script = BfdScript(node(), snapshot(OURS))
    script.boot()
    script.say(bfd(DOWN, ups=0, downs=0, heard=False, holding=False)).up(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert script.way() == {N2}
    assert (script.effect, script.why) == (BfdEffect.IGNORED, "the peer sends none")
    script.wait(60)
    assert script.way() == {N2}
    assert not script.seen(do.ResetPeer)


def test_nothing_waits_for_a_bfd_process_that_is_not_there() -> None:
    script = BfdScript(node(), snapshot(OURS))
    script.boot().up(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert script.way() == {N2}
    script.say(attached=False).wait(60)
    assert script.way() == {N2}
    assert script.effect is BfdEffect.IGNORED


def test_up_and_then_down_drops_packets_by_one_message_in_the_step_that_hears_of_it() -> None:
    script = settled()
    commands = script.core.handle([ev.BfdSeen({N2: bfd(DOWN)}, True)], script.now)
    (write,) = (command for command in commands if isinstance(command, do.WriteNextHops))
    (change,) = write.changes
    assert (change.op, change.object.is_blackhole) == (NextHopOp.REPLACE, True)
    kinds = [type(command) for command in commands]
    assert do.WriteRoutes not in kinds
    assert do.Log not in kinds[: kinds.index(do.WriteNextHops)]


def test_a_down_ends_the_bgp_session_and_keeps_nothing() -> None:
    """RFC 5882 section 4.2, RFC 9384: Cease, BFD Down."""
    script = settled().fall()
    assert script.way() is None
    script.end()
    assert not script.core.rib.received(N2)
    peer = script.core.peers[N2]
    assert (peer.failure, peer.stale_until) == ("BFD: no packet from it for 300 ms", None)


def test_a_down_is_taken_before_what_the_speaker_has_said_so_far() -> None:
    script = settled()
    bodies = tuple(
        simparts.update_body([f"10.244.{part}.0/26"], next_hop=N3, attributes=attributes(3)) for part in range(3, 203)
    )
    flood = [sp.UpdatesReceived(N3, bodies) for _ in range(10)]
    commands = script.core.handle([*flood, ev.BfdSeen({N2: bfd(DOWN)}, True)], script.now)
    assert any(isinstance(command, do.WriteNextHops) for command in commands)


def test_a_down_that_is_over_when_it_is_heard_of_counts() -> None:
    script = settled().say(bfd(ups=2, downs=1, holding=True))
    assert [one.subcode for one in script.seen(do.ResetPeer)] == [BFD_DOWN]
    assert script.way() is None
    script.end().up(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert script.way() == {N2}, "BFD is up already"


@pytest.mark.parametrize("side", ["theirs", "ours"])
def test_what_is_administratively_down_says_nothing(side: str) -> None:
    """RFC 5880 section 6.8.16, RFC 5882 section 3.2: maintenance is no failure."""
    script = settled()
    if side == "theirs":
        script.say(bfd(DOWN, remote_state=SessionState.ADMIN_DOWN, diagnostic=3, downs=0, holding=False))
    else:
        script.say(bfd(SessionState.ADMIN_DOWN, downs=0, diagnostic=7, holding=False))
    assert script.way() == {N2}
    assert script.effect is BfdEffect.IGNORED
    assert "administratively down" in script.why
    assert not script.seen(do.ResetPeer)


def test_while_bfd_is_up_a_hold_timer_that_runs_out_counts_as_ever() -> None:
    script = settled()
    script.tell(sp.NotificationSeen(N2, True, b"\x04\x00"), sp.PeerDown(N2, "hold timer expired"))
    assert script.way() is None
    assert script.effect is BfdEffect.UP


# -- back in use


def test_the_routes_come_back_when_both_are_up_again() -> None:
    script = settled().fall().end()
    script.up(N2).hear(N2, THEIRS).end_of_rib(N2)
    script.say(bfd(DOWN, at=script.now, heard=True, holding=False))
    assert script.way() is None
    (view,) = script.core.rib.lookup(*family_and_packed(THEIRS))
    assert (view.state, view.step) == (PathState.LOSING, DecisionStep.BFD_DOWN)
    (told,) = explain(script.core, Prefix.parse(THEIRS)).paths
    words = "out of use: BFD with n2 went down: no packet from it for 300 ms"
    assert told.why == words
    script.wait(60)
    assert script.way() is None
    script.rise()
    assert script.way() == {N2}
    assert script.effect is BfdEffect.UP


def test_bfd_that_is_up_before_bgp_waits_for_it() -> None:
    script = settled().fall().end().rise()
    assert script.effect is BfdEffect.DOWN
    assert script.core.bfd.out_of_use == {ip_address(N2)}
    script.up(N2)
    assert not script.core.bfd.out_of_use


def test_a_peer_that_came_back_without_bfd_is_not_held_down_for_ever() -> None:
    script = settled().fall(heard=False).end()
    script.say(bfd(DOWN, heard=False, holding=False)).up(N2).hear(N2, THEIRS).end_of_rib(N2)
    script.wait(ABSENT_S - 0.1)
    assert script.way() is None
    script.wait(0.2)
    assert script.way() == {N2}
    assert script.effect is BfdEffect.IGNORED


def test_a_peer_that_goes_administratively_down_after_it_fell_is_in_use_again() -> None:
    script = settled().fall().end()
    script.up(N2).hear(N2, THEIRS).end_of_rib(N2)
    script.say(bfd(DOWN, remote_state=SessionState.ADMIN_DOWN, heard=True, holding=False))
    assert script.way() == {N2}


@pytest.mark.parametrize(("falls", "wait_s"), [(1, 0.0), (2, 1.0), (3, 2.0), (4, 4.0), (9, 30.0)])
def test_who_falls_often_has_to_be_up_for_a_while(falls: int, wait_s: float) -> None:
    script = settled()
    for count in range(1, falls + 1):
        script.fall(ups=count, downs=count)
        script.tell(BROKEN).up(N2)
        script.hear(N2, THEIRS).end_of_rib(N2)
    script.rise(ups=falls + 1, downs=falls)
    if wait_s:
        assert script.effect is BfdEffect.DAMPED
        script.wait(wait_s - 0.1)
        assert script.way() is None
        script.wait(0.2)
    assert script.way() == {N2}


def test_what_fell_long_ago_is_forgotten() -> None:
    script = settled()
    for count in (1, 2, 3):
        script.fall(ups=count, downs=count).tell(BROKEN)
        script.up(N2).hear(N2, THEIRS).end_of_rib(N2)
        script.rise(ups=count + 1, downs=count).wait(61)
    assert script.way() == {N2}
    script.fall(ups=4, downs=4).tell(BROKEN).up(N2)
    script.rise(ups=5, downs=4)
    assert script.effect is BfdEffect.UP


def test_a_session_that_should_end_and_does_not_is_told_again() -> None:
    script = settled().fall()
    assert len(script.take(do.ResetPeer)) == 1
    script.rise().wait(REPEAT_S + 0.1)
    assert len(script.take(do.ResetPeer)) == 1
    assert script.way() is None, "the session that fell does not count as up"


# -- others' paths over it


def test_nobodys_path_over_a_next_hop_that_fell_is_used_and_another_way_wins() -> None:
    config = with_session(node(), N3, node=None, trust_owner=True)
    script = BfdScript(config, snapshot(OURS))
    script.boot()
    script.say(bfd()).up(N2).up(N3).end_of_rib(N2, N3)
    for next_hop in (N2, N3):
        body = simparts.update_body([SHARED], next_hop=next_hop, attributes=attributes(int(next_hop[-1])))
        script.tell(sp.UpdatesReceived(next_hop, (body,)))
    script.tell(sp.UpdatesReceived(N3, (simparts.update_body([THEIRS], next_hop=N2, attributes=attributes(2)),)))
    assert script.way(SHARED) == {N2, N3}
    script.fall()
    assert script.way(SHARED) == {N3}
    assert script.way() is None
    assert script.why == "BFD: no packet from it for 300 ms"
    said = explain(script.core, Prefix.parse(THEIRS), now=script.now + 12).verdict
    assert "out of use: BFD with n2 went down 12 s ago: no packet from it for 300 ms" in said
    found = [one.reason.message for one in problems(script.core) if one.reason.code == "bfd-down"]
    assert found == [f"out of use: {N2}: BFD: no packet from it for 300 ms"]


def test_of_an_address_of_a_node_that_fell_it_is_said_who_held_it_and_what_bfd_says() -> None:
    script = settled().fall().end().wait(10)
    said = explain(script.core, Prefix.parse("10.244.1.7/32"), now=script.now).verdict
    why = "out of use: BFD with n2 went down 10 s ago: no packet from it for 300 ms"
    assert f"its block {THEIRS} is n2's, which does not announce it ({why})" in said


def test_every_address_of_a_node_goes_with_it() -> None:
    script = settled()
    others = tuple(
        replace(one, interfaces=(*one.interfaces, type(one.interfaces[0])("10.9.0.2/24")))
        if one.name == "n2" else one
        for one in script.node.nodes
    )
    script.tell(ev.ConfigChanged(replace(script.node, nodes=others)))
    assert script.seen(do.SetBfdSessions)[-1].sessions[0].next_hops == (ip_address(N2), ip_address("10.9.0.2"))
    script.fall()
    assert script.core.bfd.out_of_use == {ip_address(N2), ip_address("10.9.0.2")}


# -- graceful restart: RFC 5882 section 4.3


def test_a_peer_whose_agent_restarts_is_forwarded_to_while_bfd_is_up() -> None:
    script = settled().tell(BROKEN)
    assert script.core.peers[N2].stale_until is not None
    assert script.way() == {N2}


def test_bfd_that_falls_independently_aborts_a_restart() -> None:
    """RFC 5882 section 4.3.1: the C bit of both."""
    script = settled()
    script.tell(BROKEN)
    script.fall()
    assert script.core.peers[N2].stale_until is None
    assert script.way() is None
    assert not script.core.rib.received(N2)


def test_bfd_that_falls_with_the_control_plane_does_not_abort_its_restart() -> None:
    """RFC 5882 section 4.3.2."""
    script = settled()
    script.tell(BROKEN)
    script.fall(remote_independent=False)
    assert script.core.peers[N2].stale_until is not None
    assert script.way() == {N2}
    assert script.effect is BfdEffect.IGNORED
    assert "C bit" in script.why
    assert script.acknowledged == [{N2: 1}], "the process lets go of what it took out of use"
    script.up(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert script.way() == {N2}


def test_bfd_that_falls_with_the_control_plane_before_bgp_does_counts() -> None:
    """RFC 5882 section 4.3.2.2: nobody can know that it restarts."""
    script = settled().fall(remote_independent=False)
    assert script.way() is None
    script.end()
    assert script.core.peers[N2].stale_until is None


def test_a_restart_of_the_speaker_leaves_bfd_up_and_the_routes() -> None:
    script = settled()
    script.tell(sp.SpeakerDetached("gone"), sp.SpeakerAttached("two", 2, ()))
    assert script.way() == {N2}
    script.up(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert script.way() == {N2}
    assert not script.seen(do.ResetPeer)


# -- what else is seen of it


def test_who_is_out_of_use_does_not_count_as_serving_though_bgp_is_up_or_its_routes_are_kept() -> None:
    script = settled()
    peer = script.core.peers[N2]
    assert is_serving(script.core, peer)
    script.fall()
    assert (peer.is_up, is_serving(script.core, peer)) == (True, False)
    assert readiness(script.core, tuple(problems(script.core))).ready, "one of two"
    script.end().up(N2)
    script.rise().fall(ups=2, downs=2).end().up(N2).hear(N2, THEIRS).end_of_rib(N2)
    script.rise(ups=3, downs=2)
    assert (script.effect, is_serving(script.core, peer)) == (BfdEffect.DAMPED, False)
    script.tell(BROKEN)
    assert (peer.stale_until is not None, is_serving(script.core, peer)) == (True, False)


def test_when_most_peers_are_out_of_use_the_node_is_not_ready() -> None:
    script = settled()
    script.say(bfd(), bfd(peer=N3))
    script.say(bfd(DOWN, at=script.now), bfd(DOWN, at=script.now, peer=N3))
    verdict = readiness(script.core, tuple(problems(script.core)))
    assert [(one.object, one.reason.code) for one in verdict.reasons] == [("n2", "bfd-down"), ("n3", "bfd-down")]


def test_the_log_says_what_bfd_said() -> None:
    script = settled().fall().end()
    script.up(N2)
    script.rise()
    lines = {one.line.code: one.line.message for one in script.seen(do.Log)}
    assert lines["peer-bfd-back"] == "n2 is in use again: its session is up, and BFD is up"
    assert lines["peer-bfd-up"] == "BFD with n2 is up"
    script = settled().fall(diagnostic=3, remote_diagnostic=1)
    lines = {one.line.code: one.line.message for one in script.seen(do.Log)}
    why = "it says that the path is down (control detection time expired)"
    assert lines["peer-bfd-down"] == f"BFD with n2 is down: {why}; out of use: {N2}"


def family_and_packed(prefix: str) -> tuple[object, bytes]:
    parsed = Prefix.parse(prefix)
    return parsed.family, parsed.packed
