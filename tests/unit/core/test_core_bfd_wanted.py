"""Which BFD sessions the core asks for: one for each peer that is watched, as long as the peer is there."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import simnet
from corescript import N2, N3, Script, node, planned, snapshot, with_session

from calicopy.config.resolve import resolve
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.seam.bfd import BfdSpec, HopMode

OURS, THEIRS = "10.244.0.0/26", "10.244.1.0/26"


def last(script: Script) -> dict[str, BfdSpec]:
    """The whole set as told last."""
    return {spec.peer: spec for spec in script.seen(do.SetBfdSessions)[-1].sessions}


def booted(**fields: object) -> Script:
    return Script(with_session(node(), **fields), snapshot(OURS)).boot()


def test_every_node_is_watched_from_the_start_before_any_session_is_up() -> None:
    script = booted()
    assert len(script.seen(do.SetBfdSessions)) == 1
    assert last(script)[N2] == BfdSpec(peer=N2, local="10.0.0.1", hop=HopMode.MULTI, next_hops=(ip_address(N2),))
    assert last(script).keys() == {N2, N3}


def test_nothing_is_told_again_while_it_is_the_same() -> None:
    script = booted()
    script.done.clear()
    script.up(N2).hear(N2, THEIRS).end_of_rib(N2).wait(30)
    assert not script.seen(do.SetBfdSessions)


def test_the_process_is_told_when_there_is_nobody_to_watch() -> None:
    script = Script(resolve(simnet.config(["n1"]), "n1"), snapshot(OURS)).boot()
    assert script.take(do.SetBfdSessions) == [do.SetBfdSessions(())]


def test_the_set_follows_the_cluster_file_and_no_session_is_reset() -> None:
    script = booted()
    script.up(N2).done.clear()
    off = with_session(node(), bfd=None)
    (change,) = planned(script.core, off).sessions
    assert [(one.name, one.before, one.after, one.resets) for one in change.fields] == [
        ("bfd", "100ms x 3, multi hop", "off", False)
    ]
    script.tell(ev.ConfigChanged(off))
    assert last(script).keys() == {N3}
    assert script.core.peers[N2].is_up
    assert not script.seen(do.ResetPeer)
    script.tell(ev.ConfigChanged(node()))
    assert last(script).keys() == {N2, N3}


def test_a_stopped_peer_is_told_that_nobody_watches() -> None:
    """RFC 5880 section 6.8.16: the session ends, and no path failed."""
    script = booted(prefix_limit=1)
    script.up(N2).hear(N2, THEIRS, "10.244.1.64/26")
    assert script.core.peers[N2].stopped or script.core.peers[N2].over_limit
    assert last(script)[N2].admin_down == bool(script.core.peers[N2].stopped)
    script.tell(ev.PeerResetRequested(N2))
    assert not last(script)[N2].admin_down


def test_a_lingering_session_is_watched_until_it_is_dropped() -> None:
    script = booted()
    script.up(N2).up(N3).hear(N2, THEIRS).end_of_rib(N2, N3)
    rest = tuple(one for one in script.node.sessions if str(one.address) != N2)
    script.tell(ev.ConfigChanged(replace(script.node, sessions=rest, mesh_linger_s=5.0)))
    assert script.core.peers[N2].lingering_since is not None
    assert last(script).keys() == {N2, N3}


def test_a_drained_node_is_watched_and_watches() -> None:
    script = booted()
    script.up(N2).done.clear()
    script.tell(ev.DrainRequested(1, force=True, wait_s=1.0, at=0.0)).wait(5)
    assert not script.seen(do.SetBfdSessions)
