"""What `peers NAME` and `status` say of sessions."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import simparts
from corescript import N2, N3, Script, attributes, node, snapshot, with_session

from calicopy.bgp.capabilities import GracefulRestart
from calicopy.config.resolve import NodeConfig
from calicopy.core import show
from calicopy.core.views import PeerRole, PeerView
from calicopy.net import Family
from calicopy.policy import Filter
from calicopy.seam import speaker as sp

OURS, THEIRS = "10.244.0.0/26", "10.244.1.0/26"
V4, V6 = Family.IPV4, Family.IPV6


def view(script: Script, peer: str = N2) -> PeerView:
    return show.peer_view(script.core, script.core.peers[peer], lambda at: at)


def test_a_session_shows_what_each_side_offered() -> None:
    script = Script(node(), snapshot(OURS)).boot()
    restart = GracefulRestart(20, ((V4, False),), restarting=True, notification=True)
    script.up(N2, restart=restart, unknown=((200, b"\xc0\xff"),), other_families=((25, 65),))
    found = view(script).details.capabilities
    assert found is not None
    assert found.restart_theirs is not None
    assert found.restart_ours is not None
    assert (found.restart_theirs.restart_time_s, found.restart_theirs.families) == (20, ((V4, False),))
    assert (found.restart_theirs.restarting, found.restart_theirs.notification) == (True, True)
    assert (found.restart_ours.restart_time_s, found.restart_ours.notification) == (120, False)
    assert (found.unknown, found.other_families) == (((200, "c0ff"),), ("25/65",))
    assert (found.four_octet_as, found.route_refresh, found.add_path_send) == (True, True, ())


def test_a_session_shows_its_timers() -> None:
    script = Script(with_session(node(), hold_time_s=90), snapshot(OURS)).boot().up(N2).hear(N2, THEIRS)
    timers = view(script).details.timers
    assert (timers.hold_time_configured_s, timers.hold_time_offered_s) == (90, 9)
    assert (timers.hold_time_s, timers.keepalive_s) == (9, 3)
    script.tell(sp.PeerDown(N2, "connection reset"))
    assert view(script).details.timers.stale_until == script.now + 120


def test_a_session_shows_the_words_of_the_notification_that_ended_it() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2)
    script.tell(sp.NotificationSeen(N2, False, b"\x06\x02\x09back at 4"), sp.PeerDown(N2, "closed"))
    shown = view(script)
    last = shown.details.last_notification
    assert last is not None
    assert (last.code, last.subcode, last.communication, last.sent) == (6, 2, "back at 4", False)
    assert 'administrative shutdown, "back at 4" (sent by the peer)' in shown.last_error
    assert (shown.details.notifications_received, shown.details.notifications_sent) == (1, 0)


def test_the_counters_of_one_family_are_not_those_of_the_other() -> None:
    script = Script(with_session(node(), families=(V4, V6)), snapshot(OURS)).boot()
    opens = [simparts.open_body(64512, one, families=(V4, V6)) for one in (script.node.router_id, N2)]
    script.tell(sp.PeerUp(N2, *opens)).hear(N2, THEIRS)
    assert [family.received for family in view(script).families] == [1, 0]


def test_refreshes_are_counted_in_both_directions() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2).end_of_rib(N2)
    script.tell(sp.RefreshReceived(N2, bytes((0, 1, 0, 1))), sp.EventsLost(N2, "a gap"))
    details = view(script).details
    assert (details.refreshes_received, details.refreshes_sent) == (1, 1)


def test_a_session_shows_its_filters_by_name() -> None:
    chain = (Filter("first", ()), Filter("second", ()))
    script = Script(with_session(node(), import_filters=chain), snapshot(OURS)).boot()
    assert view(script).details.import_filters == ("first", "second")


# -- roles, and reflectors of one cluster


def reflectors(ours: str | None, theirs: str | None) -> NodeConfig:
    """n1 and n2 with these cluster ids (None: no reflector); n1's session with n2 is none of the mesh."""
    base = with_session(node(), mesh=False)
    ids = {"n1": ours, "n2": theirs}
    nodes = tuple(
        replace(one, cluster_id=IPv4Address(text) if (text := ids.get(one.name)) is not None else None)
        for one in base.nodes
    )
    return replace(base, nodes=nodes)


def test_a_peer_is_shown_with_its_role() -> None:
    def role(one: NodeConfig) -> PeerRole:
        script = Script(one, snapshot(OURS))
        return show.role(script.core, script.core.peers[N2])

    assert role(node()) is PeerRole.MESH
    assert role(with_session(node(), mesh=False)) is PeerRole.INTERNAL
    assert role(with_session(node(), mesh=False, asn=65009)) is PeerRole.EXTERNAL
    assert role(reflectors("10.0.0.1", None)) is PeerRole.NON_CLIENT
    assert role(with_session(reflectors("10.0.0.1", None), client=True)) is PeerRole.CLIENT
    assert role(reflectors(None, "10.0.0.2")) is PeerRole.REFLECTOR


def reflected(script: Script, cluster: str) -> Script:
    """n2 reflects a block of n3, as a reflector of this cluster."""
    cluster_list = sp.RawAttribute(flags=0x80, code=10, value=IPv4Address(cluster).packed)
    originator = sp.RawAttribute(flags=0x80, code=9, value=IPv4Address(N3).packed)
    parts = (*attributes(3), originator, cluster_list)
    return script.tell(sp.UpdatesReceived(N2, (simparts.update_body([THEIRS], next_hop=N3, attributes=parts),)))


def clashes(script: Script) -> list[str]:
    return [one.reason.message for one in show.problems(script.core) if one.reason.code == "cluster-id-clash"]


def test_two_reflectors_that_refuse_each_other_for_one_cluster_id_are_both_named() -> None:
    script = Script(reflectors("10.0.0.1", "10.0.0.1"), snapshot(OURS)).boot().up(N2)
    assert not clashes(script)
    (text,) = clashes(reflected(script, "10.0.0.1"))
    assert "n1 and n2 both have the cluster id 10.0.0.1" in text


def test_a_loop_through_our_cluster_from_a_reflector_of_another_is_no_clash() -> None:
    script = Script(reflectors("10.0.0.1", "10.0.0.2"), snapshot(OURS)).boot().up(N2)
    assert not clashes(reflected(script, "10.0.0.1"))
