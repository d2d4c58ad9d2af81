"""Another cluster file while the core runs: which sessions come, go at once, linger, are reset or change in place."""
from __future__ import annotations

from typing import Any

import simnet
import simparts
from corescript import N1, N2, N3, Script, attributes, node, planned, snapshot

from calicopy.bgp.capabilities import PathMode
from calicopy.config.resolve import NodeConfig, resolve
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.change import come_up
from calicopy.core.change.plan import needs_restart
from calicopy.core.peering.linger import CHECK_S
from calicopy.core.views import Effect, PlanView, SessionEffect
from calicopy.net import Family
from calicopy.seam import speaker as sp

OURS, THEIRS, MORE = "10.244.0.0/26", "10.244.1.0/26", "10.244.1.64/26"
HOST = "10.244.1.7/32"
N4, TOR = "10.0.0.4", "10.0.0.9"
V4 = Family.IPV4
LINGER_S = 60.0


def bgp(*peers: dict[str, Any], mesh: bool = False, **more: Any) -> NodeConfig:
    """n1 of three nodes, with these peers of its own."""
    return node(bgp={"mesh": mesh, "peers": [{"nodes": ["n1"], **peer} for peer in peers], **more})


def tor(**more: Any) -> dict[str, Any]:
    return {"name": "tor", "address": TOR, "as": 64600, **more}


def meshed() -> Script:
    """Two peers in sync; n2 has announced a block."""
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3)
    script.hear(N2, THEIRS).end_of_rib(N2, N3)
    script.done.clear()
    return script


def given(script: Script, config: NodeConfig) -> Script:
    script.node = config
    return script.tell(ev.ConfigChanged(config))


def wanted(script: Script) -> set[str]:
    """The sessions that the speaker was last asked for."""
    return {spec.peer_address for spec in script.seen(do.SetSessions)[-1].sessions}


def logged(script: Script) -> list[str]:
    return [command.line.code for command in script.seen(do.Log)]


def said(script: Script, peer: str) -> list[str]:
    """What a peer was told: prefixes, with a minus when withdrawn."""
    told: list[str] = []
    for command in script.seen(do.Advertise):
        if peer in getattr(command, "peers", ()) or getattr(command, "peer", "") == peer:
            told += [prefix for group in command.announce for prefix in group.prefixes]
            told += [f"-{prefix}" for prefix in _withdrawn(command)]
    return told


def _withdrawn(command: do.Advertise) -> list[str]:
    """Of either form: packed prefixes, or groups of texts."""
    found = []
    for one in command.withdraw:
        found += [str(simnet.Prefix(command.family, one))] if isinstance(one, bytes) else [*one.prefixes]
    return found


# -- sessions that linger


def test_a_session_with_a_node_that_the_file_drops_stays_with_its_routes() -> None:
    script = given(meshed(), bgp())
    peer = script.core.peers[N2]
    assert peer.is_up
    assert peer.lingering_since == script.now
    assert script.routes == {OURS, THEIRS}
    assert wanted(script) == {N2, N3}
    assert "mesh_linger" in script.core.linger.reason(N2)


def test_it_goes_when_the_linger_time_has_passed_if_it_brings_nothing() -> None:
    script = given(meshed(), bgp()).wait(LINGER_S - 1)
    assert N3 in script.core.peers
    script.wait(1.1)
    assert N3 not in script.core.peers
    assert wanted(script) == {N2}


def test_it_stays_beyond_it_while_there_is_no_other_way_to_what_it_brings() -> None:
    script = given(meshed(), bgp(tor(trust_owner=True, allow_own_as=1))).wait(10 * LINGER_S)
    assert script.core.linger.reason(N2) == f"lingering: no other way to {THEIRS} yet"
    assert script.routes == {OURS, THEIRS}

    script.up(TOR)
    script.tell(sp.UpdatesReceived(TOR, (simparts.update_body([THEIRS], next_hop=N2, attributes=through(64600)),)))
    script.wait(CHECK_S)
    assert N2 not in script.core.peers
    assert script.routes == {OURS, THEIRS}
    assert not any(THEIRS in str(command) for command in script.seen(do.WriteRoutes))


def through(asn: int) -> tuple[sp.RawAttribute, ...]:
    """The attributes of n2's block as an external peer passes it on."""
    value = bytes((2, 2)) + asn.to_bytes(4, "big") + (64512).to_bytes(4, "big")
    path = sp.RawAttribute(flags=0x40, code=2, value=value)
    return tuple(path if one.code == 2 else one for one in attributes(2) if one.code != 5)


def test_it_goes_at_once_when_the_peer_closes_it_with_a_notification() -> None:
    script = given(meshed(), bgp())
    script.tell(sp.NotificationSeen(N2, False, b"\x06\x03"), sp.PeerDown(N2, "closed"))
    assert N2 not in script.core.peers
    assert wanted(script) == {N3}


def test_its_routes_are_kept_when_it_breaks_without_one() -> None:
    script = given(meshed(), bgp()).tell(sp.PeerDown(N2, "reset")).wait(100.0)
    assert script.routes == {OURS, THEIRS}
    assert N2 in wanted(script)
    script.wait(30.0)
    assert script.routes == {OURS}
    assert N2 not in script.core.peers


def test_a_file_that_has_it_again_ends_the_lingering() -> None:
    script = given(given(meshed(), bgp()), node()).wait(10 * LINGER_S)
    assert script.core.peers[N2].lingering_since is None
    assert script.core.peers[N2].counters.sessions_established == 1
    assert wanted(script) == {N2, N3}


def test_nothing_lingers_when_the_linger_time_is_none() -> None:
    script = given(meshed(), bgp(mesh_linger="0s"))
    assert script.core.peers == {}
    assert script.routes == {OURS}


def test_a_node_that_left_the_file_goes_at_once() -> None:
    script = given(meshed(), resolve(simnet.config(["n1"]), "n1"))
    assert script.core.peers == {}
    assert script.routes == {OURS}


def test_a_reflector_that_is_none_any_more_goes_on_reflecting_for_the_linger_time() -> None:
    nodes = [{"name": f"n{number}", "address": f"10.0.0.{number}/24"} for number in (1, 2, 3)]
    nodes[0] |= {"route_reflector": True, "labels": {"role": "reflector"}}
    selected = {"mesh": False, "peers": [{"name": "rr", "peer_selector": {"role": "reflector"}}]}
    script = Script(node(nodes=nodes, bgp=selected), snapshot(OURS)).boot().up(N2).up(N3)
    script.hear(N2, THEIRS).end_of_rib(N2, N3)
    assert THEIRS in said(script, N3)
    script.done.clear()

    given(script, node()).wait(LINGER_S - 1)
    assert f"-{THEIRS}" not in said(script, N3)
    assert "reflects as before" in script.core.linger.reason(N3)
    script.wait(2.0)
    assert f"-{THEIRS}" in said(script, N3)
    assert script.core.linger.reason(N3) == ""
    assert script.core.peers[N3].counters.sessions_established == 1


# -- others


def test_a_peer_that_is_no_node_goes_at_once_and_is_told_first_that_all_of_ours_is_gone() -> None:
    script = Script(bgp(tor()), snapshot(OURS)).boot().up(TOR)
    script.hear(TOR, THEIRS, number=9).end_of_rib(TOR)
    assert said(script, TOR) == [OURS]
    script.done.clear()
    given(script, bgp())
    assert said(script, TOR) == [f"-{OURS}"]
    kinds = [type(command) for command in script.done if isinstance(command, do.Advertise | do.SetSessions)]
    assert kinds == [do.Advertise, do.SetSessions]
    assert wanted(script) == set()


def test_a_session_that_was_removed_and_is_added_again_before_the_speaker_knew_begins_anew() -> None:
    script = Script(bgp(tor()), snapshot(OURS)).boot().up(TOR)
    given(script, bgp())
    script.done.clear()
    given(script, bgp(tor()))
    assert [command.peer for command in script.seen(do.ResetPeer)] == [TOR]

    script.tell(ev.SessionsSet("", script.core.wanted.serial))
    given(script, bgp())
    script.tell(ev.SessionsSet("", script.core.wanted.serial))
    script.done.clear()
    given(script, bgp(tor()))
    assert script.seen(do.ResetPeer) == []


def test_a_change_of_one_peer_leaves_the_others_alone() -> None:
    script = Script(bgp(tor(), mesh=True), snapshot(OURS)).boot().up(N2).up(TOR)
    before = script.core.peers[N2]
    script.done.clear()
    given(script, bgp(tor(hold_time_s=30, prefix_limit=7), mesh=True))
    assert script.core.peers[N2] is before
    assert script.core.peers[TOR].configured.prefix_limit == 7
    assert said(script, N2) == []
    (spec,) = (spec for spec in script.seen(do.SetSessions)[-1].sessions if spec.peer_address == TOR)
    assert spec.hold_time_s == 30


def test_pinning_a_block_to_another_node_is_believed_at_once() -> None:
    script = meshed().hear(N3, MORE)
    assert MORE in script.routes
    nodes = [
        {"name": f"n{number}", "address": f"10.0.0.{number}/24", **({"blocks": [MORE]} if number == 2 else {})}
        for number in (1, 2, 3)
    ]
    given(script, node(nodes=nodes))
    assert MORE not in script.routes


# -- coming up


def test_a_change_has_come_up_when_the_speaker_took_it_and_what_was_up_is_up() -> None:
    script = meshed()
    config = bgp(tor(), mesh=True)
    before = come_up.picture(script.core, config)
    given(script, config)
    assert [line.partition(":")[0] for line in come_up.missing(script.core, before)] == [
        "the speaker has not taken the sessions yet", "session with tor",
    ]  # fmt: skip
    script.tell(ev.SessionsSet("", script.core.wanted.serial)).up(TOR).end_of_rib(TOR)
    assert come_up.missing(script.core, before) == ()
    script.tell(sp.PeerDown(N2, "reset"))
    assert come_up.missing(script.core, before) == ("session with n2: reset",)


def test_a_new_session_with_a_node_is_not_waited_for() -> None:
    script = Script(bgp(), snapshot(OURS)).boot()
    config = node()
    before = come_up.picture(script.core, config)
    given(script, config).tell(ev.SessionsSet("", script.core.wanted.serial))
    assert come_up.missing(script.core, before) == ()


def test_what_the_speaker_refuses_is_known_at_once_and_what_it_refused_before_does_not_count() -> None:
    script = meshed().tell(ev.SessionsSet("no key file", 1))
    config = bgp(tor(), mesh=True)
    before = come_up.picture(script.core, config)
    given(script, config).tell(ev.SessionsSet("no key file", script.core.wanted.serial))
    assert come_up.refused(script.core, before) == ""
    script.tell(ev.SessionsSet("bad neighbor", script.core.wanted.serial))
    assert come_up.refused(script.core, before) == "bad neighbor"


# -- plan


def test_a_plan_of_what_runs_is_empty() -> None:
    script = meshed()
    assert planned(script.core, node()).empty
    assert planned(script.core, script.node) == PlanView()


def test_a_plan_says_which_sessions_come_linger_and_go_and_what_that_takes_out() -> None:
    script = Script(bgp(tor(trust_owner=True, allow_own_as=1), mesh=True), snapshot(OURS)).boot().up(N2).up(TOR)
    body = simparts.update_body([MORE], next_hop=TOR, attributes=through(64600))
    script.hear(N2, THEIRS).tell(sp.UpdatesReceived(TOR, (body,))).end_of_rib(N2, TOR)
    assert script.routes == {OURS, THEIRS, MORE}
    view = planned(script.core, bgp({"address": "10.0.0.8", "as": 64601}))
    effects = {session.name: session.effect for session in view.sessions}
    assert effects == {
        "10.0.0.8": SessionEffect.ADDED, "tor": SessionEffect.REMOVED,
        "n2": SessionEffect.LINGERING, "n3": SessionEffect.REMOVED,  # never was up
    }  # fmt: skip
    assert [(str(route.prefix), route.effect, route.why) for route in view.routes] == [
        (MORE, Effect.REMOVED, "no session brings it any more")
    ]
    announced = {(peer, one.effect) for one in view.announcements for peer in one.peers}
    assert {("10.0.0.8", Effect.ADDED), ("tor", Effect.REMOVED)} <= announced
    assert "n2" not in {peer for peer, _ in announced}
    assert view.notes == ("what 10.0.0.8 will bring is not known before the sessions are up",)


def test_a_plan_says_that_a_lower_limit_stops_a_session_and_what_goes_with_it() -> None:
    script = meshed().hear(N2, MORE)
    lower = node(bgp={"prefix_limit": 1})
    view = planned(script.core, lower)
    notes = {one.name: one.note for one in view.sessions}
    assert notes == {"n2": "is stopped: it has sent more prefixes than its limit", "n3": ""}
    assert {(str(one.prefix), one.effect) for one in view.routes} == {(THEIRS, Effect.REMOVED), (MORE, Effect.REMOVED)}
    assert given(script, lower).routes == {OURS}


def test_a_plan_says_that_a_session_is_stopped_whose_surplus_was_not_stored_so_far() -> None:
    script = Script(node(bgp={"prefix_limit": 1, "prefix_limit_action": "warn"}), snapshot(OURS)).boot().up(N2)
    script.hear(N2, THEIRS).hear(N2, MORE).end_of_rib(N2)
    view = planned(script.core, node(bgp={"prefix_limit": 1}))
    notes = {one.name: one.note for one in view.sessions}
    assert notes == {"n2": "is stopped: it has sent more prefixes than its limit", "n3": ""}
    assert [(str(one.prefix), one.effect) for one in view.routes] == [(THEIRS, Effect.REMOVED)]


def test_a_plan_says_which_field_resets_a_session_and_which_does_not() -> None:
    script = Script(bgp(tor()), snapshot(OURS)).boot()
    view = planned(script.core, bgp(tor(hold_time_s=30, prefix_limit=7)))
    (session,) = view.sessions
    assert session.effect is SessionEffect.RESET
    assert [(field.name, field.before, field.after, field.resets) for field in session.fields] == [
        ("hold_time_s", "9", "30", True), ("prefix_limit", "250000", "7", False),
    ]  # fmt: skip
    (session,) = planned(script.core, bgp(tor(prefix_limit=7))).sessions
    assert session.effect is SessionEffect.CHANGED


def test_a_plan_shows_routes_that_get_another_encapsulation_or_are_refused() -> None:
    script = meshed()
    pools = [{"cidr": "10.244.0.0/22", "block_size": 26, "encapsulation": "ipip"}]
    (route,) = planned(script.core, node(pools=pools)).routes
    assert route.effect is Effect.CHANGED
    assert (route.before, route.after) == (f"via {N2} dev eth0", f"via {N2} dev tunl0 onlink")
    pools = [{"cidr": "10.244.0.0/24", "block_size": 26}]
    (route,) = planned(script.core, node(pools=pools)).routes
    assert (route.effect, route.why) == (Effect.REMOVED, "the prefix lies in no pool")
    reject = {"filters": [{"name": "none", "default": "reject"}], "mesh_import": ["none"]}
    (route,) = planned(script.core, node(bgp=reject)).routes
    assert route.why == "a filter of the cluster file refuses it: filter none, its default"


def test_a_plan_shows_announcements_with_other_attributes_once_for_all_who_hear_them() -> None:
    script = meshed()
    marked = {"communities": [{"prefix": "10.244.0.0/16", "communities": ["64512:100"]}]}
    (change,) = planned(script.core, node(bgp=marked)).announcements
    assert (change.peers, change.effect, change.prefixes) == (
        ("n2", "n3"), Effect.CHANGED, (simnet.Prefix.parse(OURS),),
    )  # fmt: skip
    assert change.before == "next hop 10.0.0.1, local-pref 100, communities 64512:1:167772161"
    assert change.after == "next hop 10.0.0.1, local-pref 100, communities 64512:100 64512:1:167772161"
    given(script, node(bgp=marked))
    assert said(script, N2) == [OURS]
    assert script.core.peers[N2].counters.sessions_established == 1


def reflector(nodes_reflect: bool = True, **more: Any) -> NodeConfig:
    """n1 reflects to n2, n3 and n4; or they are a mesh."""
    nodes: list[dict[str, Any]] = [{"name": f"n{n}", "address": f"10.0.0.{n}/24"} for n in (1, 2, 3, 4)]
    if not nodes_reflect:
        return node(nodes=nodes, bgp={"mesh": True, **more})
    nodes[0] |= {"route_reflector": True, "labels": {"role": "rr"}}
    return node(nodes=nodes, bgp={"mesh": False, "peers": [{"name": "rr", "peer_selector": {"role": "rr"}}], **more})


def reflecting(**more: Any) -> Script:
    """An address of n2 is heard by n1, the reflector, from n2 and by n3; n4 hears both paths of it."""
    script = Script(reflector(**more), snapshot(OURS)).boot()
    for peer in (N2, N3, N4):
        opens = (simparts.open_body(64512, router_id, add_path=((V4, PathMode.BOTH),)) for router_id in (N1, peer))
        script.tell(sp.PeerUp(peer, *opens))
    script.end_of_rib(N2, N3, N4)
    by_another = sp.RawAttribute(flags=0x80, code=9, value=bytes((10, 0, 0, 2)))
    for peer, more_attributes in ((N2, ()), (N3, (by_another,))):
        parts = (*attributes(2), *more_attributes)
        body = simparts.update_body([HOST], next_hop=peer, attributes=parts, path_id=1)
        script.tell(sp.UpdatesReceived(peer, (body,)))
    return script


def test_a_plan_shows_the_further_paths_of_a_session_with_add_path() -> None:
    refuse = {"name": "f", "rules": [{"match": {"from": ["n3"]}, "action": "reject"}]}
    script = reflecting()
    assert len(script.core.exports.out.told(N4, V4).routes(simnet.Prefix.parse(HOST).packed)) == 2
    view = planned(script.core, reflector(filters=[refuse], **{"import": ["f"]}))
    assert [(one.effect, one.prefixes) for one in view.announcements if "n4" in one.peers] == [
        (Effect.REMOVED, (simnet.Prefix.parse(HOST),))
    ]
    assert "next hop 10.0.0.3" in view.announcements[0].before


def test_a_plan_does_not_withdraw_what_lingers() -> None:
    script = reflecting()
    config = reflector(nodes_reflect=False)
    view = planned(script.core, config)
    assert not view.announcements
    assert view.notes[-1] == "what is reflected to n2, n3, n4 is withdrawn after 60 s (mesh_linger)"
    script.done.clear()
    assert not any("-" in one for one in said(given(script, config), N4))
    assert planned(script.core, config).empty
    at_once = planned(script.core, reflector(nodes_reflect=False, mesh_linger="0s"))
    assert {(one.effect, one.prefixes) for one in at_once.announcements if "n4" in one.peers} == {
        (Effect.REMOVED, (simnet.Prefix.parse(HOST),))
    }


def test_a_plan_of_what_runs_is_empty_also_while_a_session_lingers() -> None:
    script = given(meshed(), bgp(tor()))
    assert N2 in script.core.peers
    assert planned(script.core, script.node).empty


def test_a_plan_of_what_would_be_is_what_comes_about() -> None:
    """The routes of the plan are the difference of before and after."""
    script = meshed()
    config = node(pools=[{"cidr": "10.244.0.0/22", "block_size": 26, "encapsulation": "ipip"}])
    view = planned(script.core, config)
    before = dict(script.core.fib.desired(Family.IPV4))
    given(script, config).wait(1.0)
    after = dict(script.core.fib.desired(Family.IPV4))
    changed = {packed for packed in {*before, *after} if before.get(packed) != after.get(packed)}
    assert {route.prefix.packed for route in view.routes} == changed


def test_what_needs_a_restart_is_said_with_its_values() -> None:
    nodes = [{"name": f"n{number}", "address": f"10.0.0.{number + 10}/24"} for number in (1, 2, 3)]
    new = node(nodes=nodes, agent={"route_metric": 5, "resync_interval_s": 7})
    assert needs_restart(node(), new) == (
        "agent.route_metric: 1024 becomes 5",
        "address of this node: 10.0.0.1 becomes 10.0.0.11",
        "router_id of this node: 10.0.0.1 becomes 10.0.0.11",
    )
