"""Graceful restart (RFC 4724), each row of docs/graceful-restart.md: what is kept, until when, what goes at once."""
from __future__ import annotations

from ipaddress import ip_address

import pytest
import simparts
from corescript import N2, N3, Script, node, snapshot, with_session

from calicopy.bgp import PathAttributes, encode_end_of_rib
from calicopy.bgp.capabilities import GracefulRestart
from calicopy.bgp.encode import encode_update
from calicopy.bgp.session import SessionOptions
from calicopy.bgp.update import NlriBatch, Update
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.peering.graceful import ABSENT_S, DEFERRAL_S
from calicopy.net import Family, Prefix
from calicopy.policy import AdvertiseScope
from calicopy.seam import speaker as sp

OURS, THEIRS, MORE, OTHERS = "10.244.0.0/26", "10.244.1.0/26", "10.244.1.64/26", "10.244.2.0/26"
SIX = "fd00:10::/122"
V4, V6 = Family.IPV4, Family.IPV6
BROKEN = sp.PeerDown(N2, "connection reset")
BOTH = GracefulRestart(120, ((V4, True), (V6, True)))
HOLD_EXPIRED = b"\x04\x00"


def settled(**fields: object) -> Script:
    """Two peers in sync that have announced a block each; `fields` change the session with n2."""
    script = Script(with_session(node(), **fields), snapshot(OURS)).boot().up(N2).up(N3)
    script.hear(N2, THEIRS).hear(N3, OTHERS).end_of_rib(N2, N3)
    assert script.routes == {OURS, THEIRS, OTHERS}
    script.done.clear()
    return script


def restarting(time_s: int, *, peer: str = N2, families: tuple[tuple[Family, bool], ...] = ((V4, True),)) -> Script:
    """n2 (or `peer`) said this restart time; both have announced a block."""
    script = Script(node(), snapshot(OURS)).boot()
    for one, block in ((N2, THEIRS), (N3, OTHERS)):
        restart = GracefulRestart(time_s if one == peer else 120, families)
        script.up(one, restart=restart).hear(one, block).end_of_rib(one)
    return script


def dual() -> Script:
    """A session of both families with n2, a prefix in each."""
    script = Script(with_session(node(), families=(V4, V6)), snapshot(OURS)).boot()
    return speak(up_dual(script))


def up_dual(script: Script, restart: GracefulRestart | None = BOTH, families: tuple[Family, ...] = (V4, V6)) -> Script:
    """The session is (again) up, with these families and this capability."""
    ours = simparts.open_body(64512, script.node.router_id, families=(V4, V6), restart=BOTH)
    parts = {"restart": restart} if restart is not None else {"graceful_restart": None}
    return script.tell(sp.PeerUp(N2, ours, simparts.open_body(64512, N2, families=families, **parts)))


def speak(script: Script) -> Script:
    """n2 announces a prefix of each family, and no End-of-RIB."""
    attributes = PathAttributes(local_pref=100)
    batch = NlriBatch(V6, [Prefix.parse(SIX).packed], None, ip_address("fd00::2"))
    options = SessionOptions(ibgp=True, families=frozenset({V4, V6}))
    six = encode_update(Update(attributes=attributes, announced=(batch,)), options)
    return script.hear(N2, THEIRS).tell(sp.UpdatesReceived(N2, (six,)))


def heard(script: Script) -> dict[Family, list[str]]:
    """What of n2 is in the RIB."""
    return {
        family: [str(Prefix(family, packed)) for packed in script.core.rib.prefixes(family, peer=N2)]
        for family in (V4, V6)
    }


# -- the peer restarts, or is gone


def test_the_restart_time_is_that_of_each_peer() -> None:
    script = restarting(20)
    script.tell(BROKEN, sp.PeerDown(N3, "connection reset")).wait(19.0)
    assert script.routes == {OURS, THEIRS, OTHERS}
    assert script.wait(2.0).routes == {OURS, OTHERS}
    assert script.wait(98.0).routes == {OURS, OTHERS}
    assert script.wait(2.0).routes == {OURS}


def test_a_restart_time_of_0_keeps_nothing() -> None:
    assert restarting(0).tell(BROKEN).routes == {OURS, OTHERS}


def test_a_peer_that_names_no_family_keeps_nothing() -> None:
    """It only says that it knows End-of-RIB (RFC 4724 section 3)."""
    assert restarting(120, families=()).tell(BROKEN).routes == {OURS, OTHERS}


def test_what_is_stale_already_goes_when_the_session_is_lost_again() -> None:
    script = settled().hear(N2, MORE).tell(BROKEN).up(N2).hear(N2, MORE).tell(BROKEN)
    assert script.routes == {OURS, MORE, OTHERS}
    assert script.core.rib.counters(N2).stale == 1


def test_what_was_heard_again_stays_when_a_refresh_of_it_is_cut_by_another_loss() -> None:
    script = settled().hear(N2, MORE).tell(BROKEN).up(N2).hear(N2, THEIRS)
    script.tell(sp.EventsLost(N2, "a gap"), BROKEN)
    assert script.routes == {OURS, THEIRS, OTHERS}


def test_a_second_loss_starts_the_restart_timer_anew() -> None:
    script = settled().tell(BROKEN).wait(100.0).up(N2).hear(N2, THEIRS).tell(BROKEN).wait(100.0)
    assert THEIRS in script.routes
    assert THEIRS not in script.wait(21.0).routes


def test_the_restart_timer_stops_when_the_session_is_back() -> None:
    script = restarting(20).tell(BROKEN).wait(19.0).up(N2, restart=GracefulRestart(20, ((V4, True),))).wait(10.0)
    assert THEIRS in script.routes


def test_end_of_rib_that_never_comes_is_waited_for_the_restart_time_of_the_peer() -> None:
    script = restarting(20).hear(N2, MORE).tell(BROKEN)
    script.up(N2, restart=GracefulRestart(20, ((V4, True),))).hear(N2, THEIRS).wait(19.0)
    assert MORE in script.routes
    assert script.wait(2.0).routes == {OURS, THEIRS, OTHERS}
    assert script.core.peers[N2].in_sync


def test_end_of_rib_of_one_family_ends_the_wait_for_that_family_alone() -> None:
    script = up_dual(dual().tell(BROKEN)).tell(sp.UpdatesReceived(N2, (encode_end_of_rib(V6),)))
    assert heard(script) == {V4: [THEIRS], V6: []}
    script.wait(119.0)
    assert heard(script)[V4] == [THEIRS]
    assert heard(script.wait(2.0))[V4] == []


# -- the OPEN of the session that is back


def test_the_f_bit_counts_for_each_family() -> None:
    script = up_dual(dual().tell(BROKEN), GracefulRestart(120, ((V4, True), (V6, False)), restarting=True))
    assert heard(script) == {V4: [THEIRS], V6: []}


def test_a_family_that_the_new_capability_does_not_name_is_flushed() -> None:
    script = up_dual(dual().tell(BROKEN), GracefulRestart(120, ((V6, True),)))
    assert heard(script) == {V4: [], V6: [SIX]}


def test_a_family_that_the_new_session_does_not_carry_is_flushed() -> None:
    script = up_dual(dual().tell(BROKEN), families=(V4,))
    assert heard(script) == {V4: [THEIRS], V6: []}


def test_without_the_capability_in_the_new_open_all_families_are_flushed() -> None:
    script = up_dual(dual().tell(BROKEN), None)
    assert heard(script) == {V4: [], V6: []}


def test_a_family_without_the_capability_goes_with_its_session_the_other_stays() -> None:
    script = Script(with_session(node(), families=(V4, V6)), snapshot(OURS)).boot()
    speak(up_dual(script, GracefulRestart(120, ((V4, True),)))).tell(BROKEN)
    assert heard(script) == {V4: [THEIRS], V6: []}


# -- NOTIFICATION, hold timer


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "received"])
def test_a_notification_of_either_side_flushes(sent: bool) -> None:
    script = settled().tell(sp.NotificationSeen(N2, sent, b"\x06\x04"), sp.PeerDown(N2, "closed"))
    assert script.routes == {OURS, OTHERS}


def test_the_n_bit_of_a_peer_changes_nothing_since_we_do_not_offer_it() -> None:
    """RFC 8538 section 4 needs it in both OPENs."""
    script = settled().tell(BROKEN)
    script.up(N2, restart=GracefulRestart(120, ((V4, True),), notification=True)).hear(N2, THEIRS).end_of_rib(N2)
    script.tell(sp.NotificationSeen(N2, False, b"\x06\x04"), sp.PeerDown(N2, "closed"))
    assert script.routes == {OURS, OTHERS}


@pytest.mark.parametrize("sent", [True, False], ids=["ours", "theirs"])
def test_hold_expiry_flushes_or_keeps_as_configured(sent: bool) -> None:
    expired = sp.NotificationSeen(N2, sent, HOLD_EXPIRED), sp.PeerDown(N2, "closed")
    assert settled(flush_on_hold_expiry=True).tell(*expired).routes == {OURS, OTHERS}
    script = settled(flush_on_hold_expiry=False).tell(*expired)
    assert script.routes == {OURS, THEIRS, OTHERS}
    assert script.wait(119.0).routes == {OURS, THEIRS, OTHERS}
    assert script.wait(2.0).routes == {OURS, OTHERS}


def test_a_notification_on_another_connection_of_the_peer_does_not_flush_when_the_session_breaks_later() -> None:
    """A second connection is refused by a NOTIFICATION (collision); the session that there is goes on."""
    script = settled().tell(sp.NotificationSeen(N2, True, b"\x06\x07")).hear(N2, MORE).tell(BROKEN)
    assert {THEIRS, MORE} <= script.routes


# -- we restart


def test_our_restart_keeps_the_routes_of_a_peer_that_did_not_restart_whatever_its_f_bit_says() -> None:
    """BIRD sets it only while it restarts itself."""
    script = settled().hear(N2, MORE).tell(sp.SpeakerDetached("gone"), sp.SpeakerAttached("two", 2, ()))
    script.up(N2, restart=GracefulRestart(120, ((V4, False),))).hear(N2, THEIRS)
    assert {THEIRS, MORE} <= script.routes
    assert script.end_of_rib(N2).routes == {OURS, THEIRS, OTHERS}


def test_our_restart_keeps_the_routes_of_a_peer_without_graceful_restart_until_its_table_is_here() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2, graceful_restart=None).hear(N2, THEIRS, MORE).wait(2.0)
    script.tell(sp.SpeakerDetached("gone"), sp.SpeakerAttached("two", 2, ()))
    script.up(N2, graceful_restart=None).hear(N2, THEIRS)
    assert {THEIRS, MORE} <= script.routes
    assert script.wait(1.1).routes == {OURS, THEIRS}


def test_after_our_restart_a_peer_that_restarted_as_well_is_judged_by_its_f_bit() -> None:
    script = settled().tell(sp.SpeakerDetached("gone"), sp.SpeakerAttached("two", 2, ()))
    script.up(N2, restart=GracefulRestart(120, ((V4, False),), restarting=True))
    assert script.routes == {OURS, OTHERS}


def test_our_restart_keeps_routes_for_the_time_that_we_offered() -> None:
    script = settled(graceful_restart_time_s=30).tell(sp.SpeakerDetached("gone"), sp.SpeakerAttached("two", 2, ()))
    assert THEIRS in script.wait(29.0).routes
    assert script.wait(2.0).routes == {OURS, OTHERS}


def test_a_session_that_we_reset_is_our_restart() -> None:
    script = settled()
    script.core.sessions.reset(N2, "asked for")
    script.tell(BROKEN).up(N2, restart=GracefulRestart(120, ((V4, False),)))
    assert THEIRS in script.routes


def test_a_session_that_other_settings_reset_is_our_restart() -> None:
    script = settled().tell(ev.ConfigChanged(with_session(node(), hold_time_s=30)))
    script.tell(BROKEN).up(N2, restart=GracefulRestart(120, ((V4, False),)))
    assert THEIRS in script.routes
    script.tell(BROKEN).up(N2, restart=GracefulRestart(120, ((V4, False),)))
    assert THEIRS not in script.routes


def test_settings_that_change_in_place_make_no_later_loss_ours() -> None:
    script = settled().tell(ev.ConfigChanged(with_session(node(), keepalive_s=2)))
    script.tell(BROKEN).up(N2, restart=GracefulRestart(120, ((V4, False),)))
    assert THEIRS not in script.routes


def test_a_notification_on_another_connection_long_ago_does_not_flush() -> None:
    """A collision, or somebody who dials while the session is up (RFC 4271 section 6.8)."""
    script = settled().tell(sp.NotificationSeen(N2, True, b"\x06\x07")).wait(3600.0)
    assert THEIRS in script.tell(BROKEN).routes


def test_settings_that_the_speaker_refused_make_no_later_loss_ours() -> None:
    """The peer has no graceful restart: what it sent goes with its session, also after a change that was undone."""
    script = Script(node(), snapshot(OURS)).boot().up(N2, graceful_restart=None).hear(N2, THEIRS).wait(3.0)
    for file, error in ((with_session(node(), hold_time_s=30), "bad neighbor"), (node(), "")):
        script.tell(ev.ConfigChanged(file))
        script.tell(ev.SessionsSet(error, script.core.wanted.serial, unchanged=bool(error)))
    assert THEIRS in script.routes
    assert THEIRS not in script.tell(BROKEN).routes


def test_settings_that_change_while_the_session_is_down_make_no_later_loss_ours() -> None:
    script = Script(node(), snapshot(OURS)).boot().tell(ev.ConfigChanged(with_session(node(), hold_time_s=30)))
    script.up(N2, graceful_restart=None).hear(N2, THEIRS).wait(3.0)
    assert THEIRS in script.routes
    assert THEIRS not in script.tell(BROKEN).routes


def test_the_first_session_after_a_boot_without_routes_says_that_no_state_was_kept() -> None:
    script = Script(node(), snapshot(OURS)).boot()
    assert all(one.restarted_without_state for one in script.take(do.SetSessions)[-1].sessions)
    script.up(N2)
    assert not any(one.restarted_without_state for one in script.take(do.SetSessions)[-1].sessions)
    warm = Script(node(), snapshot(OURS), kernel=(OURS, THEIRS)).boot()
    assert not any(one.restarted_without_state for one in warm.take(do.SetSessions)[-1].sessions)


# -- no global gate, and End-of-RIB held back


def test_the_routes_of_one_peer_are_used_while_another_never_comes() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2).hear(N2, THEIRS)
    assert script.routes == {OURS, THEIRS}


def reflector() -> Script:
    """n1 tells n2 all that it learned."""
    return Script(with_session(node(), advertise=AdvertiseScope.ALL), snapshot(OURS)).boot()


def told_end_of_rib(script: Script) -> list[str]:
    return [one.peer for one in script.seen(do.SendEndOfRib)]


def test_end_of_rib_to_a_peer_that_hears_all_waits_for_the_tables_of_those_that_are_up() -> None:
    script = reflector().up(N3).up(N2)
    assert told_end_of_rib(script) == [N3]
    assert told_end_of_rib(script.hear(N3, OTHERS)) == [N3]
    assert told_end_of_rib(script.end_of_rib(N3)) == [N3, N2]


def test_end_of_rib_waits_for_five_seconds_at_most() -> None:
    script = reflector().up(N3).up(N2).wait(DEFERRAL_S - 0.1)
    assert told_end_of_rib(script) == [N3]
    assert told_end_of_rib(script.wait(0.2)) == [N3, N2]


def test_end_of_rib_waits_for_a_peer_that_is_not_up_for_one_second_at_most() -> None:
    script = reflector().up(N2).wait(ABSENT_S - 0.1)
    assert told_end_of_rib(script) == []
    assert told_end_of_rib(script.wait(0.2)) == [N2]


def test_end_of_rib_does_not_wait_for_a_peer_that_has_restarted_itself() -> None:
    script = reflector().up(N3, restart=GracefulRestart(120, ((V4, True),), restarting=True)).up(N2)
    assert told_end_of_rib(script) == [N3, N2]
