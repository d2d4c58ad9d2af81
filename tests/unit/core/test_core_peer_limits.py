"""Sessions that are given up for a while: prefix limits with their actions, peers that break theirs again and again."""
from __future__ import annotations

import pytest
import simparts
from corescript import N2, N3, Script, attributes, node, snapshot, with_session

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core import show
from calicopy.core.peering.limits import FORGET_S, HOLD_LIMIT_S, HOLD_S
from calicopy.net import Family, Prefix, pack
from calicopy.policy import LimitAction
from calicopy.seam import speaker as sp

OURS, THEIRS, OTHERS = "10.244.0.0/26", "10.244.1.0/26", "10.244.2.0/26"
MORE = ("10.244.1.64/26", "10.244.1.128/26")
UNREADABLE = sp.UpdatesReceived(N2, (b"\0",))
GONE = sp.PeerDown(N2, "closing connection")


def limited(action: LimitAction, **fields: object) -> Script:
    """Both peers in sync; n2 may announce two prefixes, and has announced one."""
    one = with_session(node(), prefix_limit=2, prefix_limit_action=action, **fields)
    script = Script(one, snapshot(OURS)).boot().up(N2).up(N3)
    script.hear(N2, THEIRS).hear(N3, OTHERS).end_of_rib(N2, N3)
    script.done.clear()
    return script


def wanted(script: Script) -> set[str]:
    """The peers of the last set of sessions."""
    return {one.peer_address for one in script.seen(do.SetSessions)[-1].sessions}


def broken(script: Script, times: int = 1) -> Script:
    """So many sessions end by a message that cannot be read."""
    for _ in range(times):
        script.up(N2).tell(UNREADABLE, GONE).wait(1.0)
    return script


def problem(script: Script) -> dict[str, str]:
    """What `status` says of peers: code to sentence."""
    return {one.reason.code: one.reason.message for one in show.problems(script.core) if one.component == "peer"}


# -- prefix limits


def test_a_limit_that_is_kept_does_nothing() -> None:
    script = limited(LimitAction.STOP).hear(N2, MORE[0])
    assert not script.seen(do.SetSessions)
    assert MORE[0] in script.routes


def test_one_prefix_too_many_stops_the_session_and_takes_its_routes() -> None:
    script = limited(LimitAction.STOP).hear(N2, *MORE)
    assert wanted(script) == {N3}
    assert script.routes == {OURS, OTHERS}
    assert "more than 2 prefixes" in script.core.peers[N2].stopped
    assert "peers reset" in problem(script)["prefix-limit"]


def test_a_peer_that_is_stopped_is_told_first_that_our_routes_are_gone() -> None:
    """Its session ends without a NOTIFICATION: under graceful restart it would keep them."""
    script = limited(LimitAction.STOP).hear(N2, *MORE)
    order = [type(one) for one in script.done if isinstance(one, do.Advertise | do.SetSessions)]
    assert order == [do.Advertise, do.SetSessions]
    (told,) = script.seen(do.Advertise)
    assert (told.peers, told.announce) == ((N2,), ())
    assert [OURS in gone.prefixes for gone in told.withdraw] == [True]


def test_a_stopped_peer_stays_stopped_until_somebody_resets_it() -> None:
    script = limited(LimitAction.STOP).hear(N2, *MORE).wait(3600.0)
    assert wanted(script) == {N3}
    script.tell(ev.PeerResetRequested(N2))
    assert wanted(script) == {N2, N3}
    assert not script.core.peers[N2].stopped
    assert THEIRS in script.up(N2).hear(N2, THEIRS).end_of_rib(N2).routes


@pytest.mark.parametrize("error", ["", "disk full"])
def test_a_session_that_the_speaker_may_never_have_ended_begins_anew_when_it_is_wanted_again(error: str) -> None:
    script = limited(LimitAction.STOP).hear(N2, *MORE)
    script.tell(ev.SessionsSet(error, script.core.wanted.serial, unchanged=bool(error)))
    script.tell(ev.PeerResetRequested(N2))
    assert [one.peer for one in script.seen(do.ResetPeer)] == ([N2] if error else [])
    assert wanted(script) == {N2, N3}


def test_a_peer_to_be_restarted_is_wanted_again_when_its_time_has_passed() -> None:
    script = limited(LimitAction.RESTART, prefix_limit_restart_s=60).hear(N2, *MORE).wait(59.0)
    assert wanted(script) == {N3}
    assert wanted(script.wait(2.0)) == {N2, N3}
    script.up(N2).hear(N2, THEIRS, *MORE)
    assert wanted(script) == {N3}


def test_a_peer_to_be_warned_of_keeps_its_session_and_what_fits() -> None:
    script = limited(LimitAction.WARN).hear(N2, *MORE)
    assert not script.seen(do.SetSessions)
    assert script.routes == {OURS, OTHERS, THEIRS, MORE[0]}
    assert "not stored" in problem(script)["prefix-limit"]


def test_a_session_that_is_lost_beyond_a_limit_that_only_warns_is_down_and_says_why() -> None:
    script = limited(LimitAction.WARN).hear(N2, *MORE).tell(GONE)
    assert problem(script) == {"down": f"{N2}: closing connection"}
    shown = show.peer_view(script.core, script.core.peers[N2], float)
    assert shown.last_error == "closing connection"


def test_a_limit_that_only_warns_and_is_passed_in_the_step_that_ends_the_session_hides_nothing() -> None:
    body = simparts.update_body(MORE, next_hop=N2, attributes=attributes(2))
    script = limited(LimitAction.WARN).tell(sp.UpdatesReceived(N2, (body,)), GONE)
    assert "prefix-limit" in {one.line.code for one in script.seen(do.Log)}
    assert list(problem(script)) == ["down"]
    assert not script.core.peers[N2].over_limit


def test_a_peer_that_the_limit_stopped_goes_on_to_say_so_when_its_session_has_ended() -> None:
    script = limited(LimitAction.STOP).hear(N2, *MORE).tell(GONE)
    assert list(problem(script)) == ["prefix-limit"]


def test_a_limit_that_is_raised_while_the_session_runs_asks_for_what_did_not_fit() -> None:
    script = limited(LimitAction.WARN).hear(N2, *MORE)
    assert MORE[1] not in script.routes
    raised = with_session(node(), prefix_limit=10, prefix_limit_action=LimitAction.WARN)
    script.tell(ev.ConfigChanged(raised))
    assert [one.peer for one in script.seen(do.SendRefresh)] == [N2]
    script.hear(N2, THEIRS, *MORE).wait(2.0)
    assert script.routes == {OURS, THEIRS, *MORE, OTHERS}
    assert "prefix-limit" not in problem(script)


def test_a_limit_that_is_lowered_below_what_is_stored_is_passed_at_once() -> None:
    script = limited(LimitAction.STOP).hear(N2, MORE[0])
    script.tell(ev.ConfigChanged(with_session(node(), prefix_limit=1)))
    assert wanted(script) == {N3}
    assert script.routes == {OURS, OTHERS}


def test_another_action_counts_for_a_limit_that_is_passed_already() -> None:
    script = limited(LimitAction.WARN).hear(N2, *MORE)
    script.tell(ev.ConfigChanged(with_session(node(), prefix_limit=2, prefix_limit_action=LimitAction.STOP)))
    script.hear(N2, THEIRS, *MORE)
    assert wanted(script) == {N3}


def test_what_a_stopped_peer_still_says_is_passed_over() -> None:
    script = limited(LimitAction.STOP).hear(N2, *MORE).hear(N2, THEIRS).tell(GONE).up(N2).hear(N2, THEIRS)
    assert script.routes == {OURS, OTHERS}
    assert "more than 2" in script.core.peers[N2].stopped


def test_a_speaker_that_starts_anew_is_not_asked_for_a_stopped_peer() -> None:
    script = limited(LimitAction.STOP).hear(N2, *MORE)
    script.tell(sp.SpeakerDetached("gone")).attach(N2, N3)
    assert wanted(script) == {N3}
    assert not script.core.peers[N2].is_up


def test_a_hundred_thousand_prefixes_too_many_are_not_stored_and_others_are_untouched() -> None:
    script = limited(LimitAction.STOP)
    packed = (pack((11 << 24) + (number << 8), 24, Family.IPV4) for number in range(100_000))
    prefixes = [str(Prefix(Family.IPV4, one)) for one in packed]
    for first in range(0, len(prefixes), 800):
        body = simparts.update_body(prefixes[first : first + 800], next_hop=N2, attributes=attributes(2))
        script.tell(sp.UpdatesReceived(N2, (body,)))
        assert script.core.rib.counters(N2).received <= 2
    assert wanted(script) == {N3}
    assert script.routes == {OURS, OTHERS}
    assert script.core.peers[N3].in_sync


# -- hold-down


def test_a_session_that_breaks_three_times_in_a_minute_is_held_down_and_says_why() -> None:
    script = broken(limited(LimitAction.STOP).tell(sp.PeerDown(N2, "reset")), 2)
    assert not script.core.peers[N2].stopped
    broken(script)
    assert wanted(script) == {N3}
    assert "held down for 30 s" in problem(script)["held-down"]
    assert wanted(script.wait(HOLD_S)) == {N2, N3}


def test_the_hold_down_doubles_up_to_five_minutes_and_is_forgotten_after_ten() -> None:
    script = limited(LimitAction.STOP).tell(sp.PeerDown(N2, "reset"))
    held = []
    for _ in range(6):
        until = broken(script, 3).core.peers[N2].stopped_until
        assert until is not None
        held.append(round(until - script.now) + 1)
        script.wait(until - script.now)
    assert held == [30, 60, 120, 240, HOLD_LIMIT_S, HOLD_LIMIT_S]
    broken(script.wait(FORGET_S + 1), 3)
    assert "held down for 30 s" in script.core.peers[N2].stopped


def test_breaks_that_are_more_than_a_minute_apart_hold_nothing_down() -> None:
    script = limited(LimitAction.STOP).tell(sp.PeerDown(N2, "reset"))
    for _ in range(5):
        broken(script).wait(31.0)
    assert not script.core.peers[N2].stopped


def test_a_message_that_the_speaker_itself_refused_counts_too() -> None:
    script = limited(LimitAction.STOP)
    for _ in range(3):
        script.up(N2).tell(sp.NotificationSeen(N2, True, b"\x03\x0a"), GONE)
    assert "invalid network field" in script.core.peers[N2].stopped


def test_a_session_that_is_lost_for_other_reasons_is_never_held_down() -> None:
    script = limited(LimitAction.STOP)
    for _ in range(5):
        script.up(N2).tell(sp.NotificationSeen(N2, False, b"\x06\x04"), GONE).up(N2).tell(GONE)
    assert not script.core.peers[N2].stopped


# -- refresh and reset


def test_a_refresh_of_what_the_peer_sends_costs_no_route_though_it_does_not_answer() -> None:
    """Nothing was lost; a peer may be slow, or ignore it (OpenBGPD before 7.8)."""
    script = limited(LimitAction.STOP).hear(N2, MORE[0]).tell(ev.PeerRefreshRequested(N2, inbound=True))
    assert script.seen(do.SendRefresh) == [do.SendRefresh(N2, Family.IPV4)]
    assert script.wait(10.0).routes == {OURS, THEIRS, MORE[0], OTHERS}
    assert not script.seen(do.ResetPeer)
    assert script.core.peers[N2].in_sync


def test_a_refresh_sweeps_what_does_not_come_where_the_peer_marks_its_table() -> None:
    script = limited(LimitAction.STOP).hear(N2, MORE[0]).tell(ev.PeerRefreshRequested(N2, inbound=True))
    script.tell(sp.RefreshReceived(N2, b"\0\1\1\1")).hear(N2, THEIRS)
    assert MORE[0] in script.routes
    assert script.tell(sp.RefreshReceived(N2, b"\0\1\2\1")).routes == {OURS, THEIRS, OTHERS}


def test_a_refresh_of_what_we_send_has_it_sent_once_more() -> None:
    script = limited(LimitAction.STOP).tell(ev.PeerRefreshRequested(N2, outbound=True))
    assert script.seen(do.ResendRoutes) == [do.ResendRoutes(N2)]
    assert not script.seen(do.SendRefresh)


def test_nothing_is_refreshed_or_reset_where_there_is_no_session() -> None:
    script = Script(node(), snapshot(OURS)).boot()
    script.done.clear()
    script.tell(ev.PeerRefreshRequested(N2, inbound=True, outbound=True), ev.PeerResetRequested(N2))
    assert not script.done


def test_a_reset_ends_a_session_that_is_up() -> None:
    script = limited(LimitAction.STOP).tell(ev.PeerResetRequested(N2))
    assert [one.peer for one in script.seen(do.ResetPeer)] == [N2]
