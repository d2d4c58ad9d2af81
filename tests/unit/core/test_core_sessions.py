"""Sessions that come, break and come back; agents that restart: what is kept, learnt again, swept, and when."""
from __future__ import annotations

import simnet
import simparts
from corescript import N2, N3, Script, attributes, fresh, node, snapshot

from calicopy.bgp.capabilities import GracefulRestart
from calicopy.bgp.refresh import RefreshKind
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.peering.peer import Phase
from calicopy.net import Family, Prefix
from calicopy.seam import speaker as sp

OURS, THEIRS, MORE = "10.244.0.0/26", "10.244.1.0/26", "10.244.1.64/26"
V4 = Family.IPV4
CEASE = sp.NotificationSeen(N2, False, b"\x06\x02")


def settled(**parts: object) -> Script:
    """Two peers in sync; n2 has announced a block."""
    script = Script(node(**parts), snapshot(OURS)).boot().up(N2, enhanced_refresh=True).up(N3)
    script.hear(N2, THEIRS).end_of_rib(N2, N3)
    assert script.routes == {OURS, THEIRS}
    script.done.clear()
    return script


def marker(kind: RefreshKind) -> sp.RefreshReceived:
    return sp.RefreshReceived(N2, bytes((0, 1, kind.value, 1)))


def gone(*prefixes: str) -> sp.WithdrawGroup:
    return sp.WithdrawGroup(family=V4, prefixes=prefixes)


def restarted(**capabilities: object) -> Script:
    """A new agent, whose node holds routes, and whose sessions run."""
    script = Script(node(), snapshot(OURS), kernel=(OURS, THEIRS, MORE)).boot()
    return script.attach(N2, N3, **capabilities)


# -- a session breaks


def test_routes_of_a_broken_session_are_kept_for_the_restart_time_of_the_peer() -> None:
    script = settled().tell(sp.PeerDown(N2, "connection reset")).wait(119.0)
    assert THEIRS in script.routes
    assert THEIRS not in script.wait(2.0).routes


def test_a_notification_removes_the_routes_of_its_session_at_once() -> None:
    script = settled().tell(CEASE, sp.PeerDown(N2, "closed"))
    assert script.routes == {OURS}
    assert "administrative shutdown" in script.core.peers[N2].failure.lower()


def test_routes_of_a_peer_without_graceful_restart_go_with_its_session() -> None:
    script = Script(node(), snapshot(OURS)).boot()
    script.up(N2, graceful_restart=None).hear(N2, THEIRS)
    assert THEIRS in script.routes
    script.tell(sp.PeerDown(N2, "connection reset"))
    assert THEIRS not in script.routes


def test_a_peer_that_comes_back_with_its_routes_never_loses_them() -> None:
    script = settled().tell(sp.PeerDown(N2, "connection reset")).wait(5.0).up(N2)
    script.hear(N2, THEIRS).end_of_rib(N2).wait(200.0)
    assert not [batch for write in script.seen(do.WriteRoutes) for batch in write.batches]


def test_what_a_peer_does_not_announce_again_is_removed_at_its_end_of_rib() -> None:
    script = settled().hear(N2, MORE).tell(sp.PeerDown(N2, "connection reset")).up(N2).hear(N2, THEIRS)
    assert MORE in script.routes
    assert script.end_of_rib(N2).routes == {OURS, THEIRS}


def test_a_peer_that_lost_its_forwarding_state_is_flushed_at_once() -> None:
    script = settled().tell(sp.PeerDown(N2, "connection reset"))
    script.up(N2, restart=GracefulRestart(120, ((V4, False),)))
    assert script.routes == {OURS}


def test_a_peer_that_comes_back_without_graceful_restart_is_flushed_at_once() -> None:
    script = settled().tell(sp.PeerDown(N2, "connection reset")).up(N2, graceful_restart=None)
    assert script.routes == {OURS}


def test_a_new_session_is_told_everything_again_and_then_end_of_rib() -> None:
    script = settled().tell(sp.PeerDown(N2, "connection reset"))
    script.done.clear()
    script.up(N2)
    assert [type(one) for one in script.done if not isinstance(one, do.Log)] == [do.Advertise, do.SendEndOfRib]


# -- the speaker


def test_a_new_exabgp_is_told_all_again_while_the_routes_of_the_peers_stay() -> None:
    script = settled().tell(sp.SpeakerDetached("gone"), sp.SpeakerAttached("two", 2, ()))
    assert script.routes == {OURS, THEIRS}
    script.done.clear()
    script.up(N2)
    (advertise,) = script.seen(do.Advertise)
    assert [group.prefixes for group in advertise.announce] == [(OURS,)]
    assert script.seen(do.SendEndOfRib)
    script.hear(N2, THEIRS).end_of_rib(N2)
    assert script.routes == {OURS, THEIRS}


def test_nothing_runs_out_while_nobody_can_hear() -> None:
    script = settled().tell(sp.PeerDown(N2, "connection reset"), sp.SpeakerDetached("gone")).wait(300.0)
    assert THEIRS in script.routes


def test_the_bridge_that_comes_back_has_each_table_learnt_again_and_each_peer_told_again() -> None:
    """Whether the session broke meanwhile is not known: End-of-RIB goes out once more."""
    script = settled().tell(sp.SpeakerDetached("gone")).attach(N2, N3, enhanced_refresh=True)
    assert [one.peer for one in script.seen(do.SendRefresh)] == [N2, N3]
    assert [peer for one in script.seen(do.Advertise) for peer in one.peers] == [N2, N3]
    assert [one.peer for one in script.seen(do.SendEndOfRib)] == [N2, N3]
    script.hear(N2, THEIRS).tell(marker(RefreshKind.END))
    assert script.routes == {OURS, THEIRS}


def test_a_bridge_that_forgot_the_opens_of_a_session_we_know_costs_a_refresh_and_no_reset() -> None:
    script = settled().tell(sp.SpeakerDetached("gone")).attach(N2, N3, opens=False)
    assert not script.seen(do.ResetPeer)
    assert [one.peer for one in script.seen(do.SendRefresh)] == [N2, N3]


def test_lost_events_have_the_table_asked_for_again_and_sweep_only_what_is_gone() -> None:
    script = settled().hear(N2, MORE).tell(sp.EventsLost(N2, "a gap"))
    assert script.seen(do.SendRefresh) == [do.SendRefresh(N2, V4)]
    script.tell(marker(RefreshKind.BEGIN)).hear(N2, THEIRS)
    assert script.routes == {OURS, THEIRS, MORE}
    script.tell(marker(RefreshKind.END))
    assert script.routes == {OURS, THEIRS}


def test_what_is_lost_during_a_refresh_makes_another_follow_and_nothing_is_swept_by_the_first() -> None:
    script = settled().tell(sp.EventsLost(N2, "a gap"), sp.EventsLost(N2, "another"))
    assert len(script.take(do.SendRefresh)) == 1
    script.tell(marker(RefreshKind.BEGIN), marker(RefreshKind.END))
    assert script.routes == {OURS, THEIRS}
    assert script.seen(do.SendRefresh) == [do.SendRefresh(N2, V4)]
    script.tell(marker(RefreshKind.BEGIN), marker(RefreshKind.END))
    assert script.routes == {OURS}


def test_lost_events_of_a_peer_without_refresh_reset_it_once() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2, route_refresh=False).hear(N2, THEIRS).end_of_rib(N2)
    script.tell(sp.EventsLost(None, "a gap"), sp.EventsLost(None, "a gap"))
    assert [one.peer for one in script.seen(do.ResetPeer)] == [N2]


def test_announcements_that_nobody_confirmed_go_out_again_with_their_withdrawals() -> None:
    script = settled()
    script.tell(ev.BlockReleased(1, Prefix.parse(OURS)))
    first = script.take(do.Advertise)
    assert [(one.peers, one.withdraw) for one in first if one.withdraw] == [((N2, N3), (gone(OURS),))]
    script.tell(ev.AdvertiseFailed((N2,), V4, "unknown"))
    assert not script.seen(do.Advertise)
    script.wait(1.1)
    announced, withdrawn = script.seen(do.Advertise)
    assert announced.peers == withdrawn.peers == (N2,)
    assert announced.announce
    assert withdrawn.withdraw == (gone(OURS),)
    assert script.seen(do.SendEndOfRib)


def test_end_of_rib_that_may_be_lost_goes_out_again_after_all_announcements() -> None:
    script = settled().tell(ev.AdvertiseFailed((N2,), V4, "unknown")).wait(1.1)
    assert [type(one) for one in script.done] == [do.Advertise, do.SendEndOfRib]


def test_thousands_of_broken_bodies_are_counted_and_said_once_a_second() -> None:
    script = settled()
    body = simparts.update_body([MORE], next_hop=N2, attributes=[
        simnet.sp.RawAttribute(flags=0x40, code=1, value=b"\x09"), *attributes(2)[1:]
    ])  # fmt: skip
    script.tell(sp.UpdatesReceived(N2, (body,) * 500))
    assert len([line for line in script.seen(do.Log) if line.line.code == "malformed-update"]) == 1
    assert script.core.peers[N2].counters.malformed_updates == 500
    assert script.routes == {OURS, THEIRS}


def test_what_an_agent_before_us_announced_and_we_do_not_is_withdrawn() -> None:
    script = restarted()
    script.done.clear()
    packed = [Prefix.parse(prefix).packed for prefix in (OURS, "10.244.3.64/26")]
    script.tell(ev.AnnouncedBefore({N2: {V4: tuple((0, one) for one in packed)}}))
    assert [(one.peers, one.withdraw) for one in script.seen(do.Advertise)] == [((N2,), (gone("10.244.3.64/26"),))]


# -- the agent restarts


def test_an_agent_that_attaches_to_running_sessions_asks_for_their_tables_and_sweeps_nothing_yet() -> None:
    script = restarted(enhanced_refresh=True)
    assert [one.peer for one in script.seen(do.SendRefresh)] == [N2, N3]
    assert script.routes == {OURS, THEIRS, MORE}
    script.hear(N2, THEIRS).tell(marker(RefreshKind.END))
    assert script.routes == {OURS, THEIRS, MORE}  # n3 is not in sync yet
    script.tell(sp.RefreshReceived(N3, bytes((0, 1, RefreshKind.END.value, 1))))
    assert script.routes == {OURS, THEIRS}


def test_without_enhanced_refresh_a_second_of_silence_is_in_sync() -> None:
    script = restarted().end_of_rib(N3).wait(0.5).hear(N2, THEIRS).wait(0.9)
    assert MORE in script.routes
    assert script.wait(0.2).routes == {OURS, THEIRS}


def test_a_table_that_takes_long_is_not_swept_before_the_peer_falls_silent() -> None:
    for marks in (False, True):
        script = restarted(enhanced_refresh=marks).end_of_rib(N3)
        for _ in range(10):
            script.hear(N2, THEIRS).wait(0.9)
        assert script.core.peers[N2].families[V4].phase is Phase.REFRESHING
        assert MORE in script.routes
        assert script.hear(N2, MORE).wait(1.1).core.peers[N2].in_sync
        assert script.routes >= {THEIRS, MORE}


def test_a_peer_that_never_falls_silent_is_in_sync_after_our_restart_time() -> None:
    script = restarted().hear(N2, THEIRS)
    for _ in range(149):
        script.wait(0.8).hear(N2, THEIRS)
    assert script.core.peers[N2].families[V4].phase is Phase.REFRESHING
    script.wait(0.9)
    assert script.core.peers[N2].families[V4].phase is Phase.IN_SYNC


def test_lost_events_of_a_peer_without_marks_sweep_nothing_that_is_still_to_come() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3).hear(N2, THEIRS, MORE).end_of_rib(N2, N3)
    script.tell(sp.EventsLost(N2, "a gap"))
    for _ in range(8):
        script.wait(0.9).hear(N2, THEIRS)
    assert MORE in script.routes
    assert script.hear(N2, MORE).wait(1.1).routes == {OURS, THEIRS, MORE}
    assert script.core.peers[N2].in_sync


def test_end_of_refresh_that_never_comes_is_waited_for_five_seconds() -> None:
    script = restarted(enhanced_refresh=True).end_of_rib(N3).hear(N2, THEIRS).wait(4.9)
    assert MORE in script.routes
    assert script.wait(0.2).routes == {OURS, THEIRS}


def test_a_peer_without_refresh_is_reset_and_nothing_is_swept_before_it_is_back() -> None:
    script = restarted(route_refresh=False)
    assert [one.peer for one in script.seen(do.ResetPeer)] == [N2, N3]
    script.wait(3.0)
    assert script.routes == {OURS, THEIRS, MORE}
    for peer in (N2, N3):
        script.tell(sp.PeerDown(peer, "teardown")).up(peer, route_refresh=False)
    script.hear(N2, THEIRS).end_of_rib(N2)
    assert MORE in script.routes
    assert script.end_of_rib(N3).routes == {OURS, THEIRS}


def test_a_peer_that_does_not_answer_is_reset_and_nothing_is_swept_before_it_is_back() -> None:
    script = restarted().hear(N2, THEIRS).wait(1.1)
    assert [one.peer for one in script.seen(do.ResetPeer)] == [N3]
    assert script.wait(3.0).routes == {OURS, THEIRS, MORE}
    script.tell(sp.PeerDown(N3, "teardown")).up(N3).hear(N3, MORE)
    assert script.end_of_rib(N3).routes == {OURS, THEIRS, MORE}


def test_a_peer_that_had_nothing_to_say_need_not_answer() -> None:
    script = restarted().hear(N2, THEIRS).end_of_rib(N3).wait(1.1)
    script.tell(sp.EventsLost(N3, "a gap")).wait(2.0)
    assert not script.seen(do.ResetPeer)
    script.tell(sp.EventsLost(N2, "a gap")).wait(2.0)
    assert [one.peer for one in script.seen(do.ResetPeer)] == [N2]
    assert THEIRS in script.routes


def test_a_peer_without_graceful_restart_that_does_not_answer_has_nothing() -> None:
    script = restarted(graceful_restart=None).wait(1.1)
    assert not script.seen(do.ResetPeer)
    assert script.routes == {OURS}


def test_a_session_whose_opens_the_bridge_does_not_know_is_reset() -> None:
    script = Script(node(), snapshot(OURS), kernel=(THEIRS,)).boot().attach(N2, N3, opens=False)
    assert [one.peer for one in script.seen(do.ResetPeer)] == [N2, N3]
    assert THEIRS in script.wait(10.0).routes


def test_an_agent_that_was_stopped_listens_again_before_it_calls_anything_gone() -> None:
    """Its timers ran out while it could not read; what was said meanwhile is still to come."""
    script = restarted()
    script.now += 30.0
    script.tell(ev.Ticked())
    assert THEIRS in script.routes
    script.hear(N2, THEIRS).end_of_rib(N3).wait(1.1)
    assert script.routes == {OURS, THEIRS}


# -- refresh by the peer, limits, other ASes


def test_a_refresh_that_the_peer_begins_itself_removes_what_it_leaves_out() -> None:
    script = settled().hear(N2, MORE).tell(marker(RefreshKind.BEGIN)).hear(N2, THEIRS)
    assert script.routes == {OURS, THEIRS, MORE}
    assert script.tell(marker(RefreshKind.END)).routes == {OURS, THEIRS}


def test_a_refresh_that_the_peer_begins_and_never_ends_is_ended_by_time() -> None:
    script = settled().hear(N2, MORE).tell(marker(RefreshKind.BEGIN)).hear(N2, THEIRS).wait(121.0)
    assert script.routes == {OURS, THEIRS}


def test_a_peer_over_its_prefix_limit_keeps_what_fits_and_is_reported_until_it_comes_back_within() -> None:
    script = Script(node(bgp={"prefix_limit": 2, "prefix_limit_action": "warn"}), snapshot(OURS)).boot().up(N2)
    script.hear(N2, THEIRS, MORE, "10.244.2.0/26").end_of_rib(N2)
    assert script.routes == {OURS, THEIRS, MORE}
    assert "more than 2 prefixes" in script.core.peers[N2].over_limit
    script.tell(sp.PeerDown(N2, "closed")).up(N2).hear(N2, THEIRS).end_of_rib(N2)
    assert not script.core.peers[N2].over_limit
    assert script.routes == {OURS, THEIRS}


def test_nodes_of_different_ases_hear_our_as_and_each_others_blocks() -> None:
    net = simnet.Network(ebgp())
    for host in net.hosts.values():
        host.start()
    net.run(3.0)
    for host in net.hosts.values():
        assert len(host.kernel) == 3
        assert len(host.own) == 1
    group = next(iter(net["n1"].speaker.out[N2].values()))
    assert {one.code: one.value for one in group.attributes}[2] == bytes((2, 1)) + (65001).to_bytes(4, "big")
    assert 5 not in {one.code for one in group.attributes}


def ebgp() -> simnet.ClusterConfig:
    nodes = [{"name": f"n{i}", "address": f"10.0.0.{i}/24", "asn": 65000 + i} for i in (1, 2, 3)]
    return simnet.ClusterConfig.model_validate({"nodes": nodes, "pools": [{"cidr": "10.244.0.0/22"}]})


def test_a_body_that_cannot_be_read_resets_the_session_once() -> None:
    script = settled().tell(sp.UpdatesReceived(N2, (b"\0", b"\0")))
    assert [one.peer for one in script.seen(do.ResetPeer)] == [N2]


def test_bodies_of_a_session_that_is_down_are_passed_over() -> None:
    script = fresh()
    body = simparts.update_body([THEIRS], next_hop=N2, attributes=attributes(2))
    assert not script.tell(sp.UpdatesReceived(N2, (body,)), sp.UpdatesReceived("10.9.9.9", (body,))).routes
