"""A node that is gone: packets to it are dropped by one message, whatever leads there, before routes are touched."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import simnet
from corescript import N2, N3, Script, attributes, node, snapshot, with_session

from calicopy.config.resolve import NodeConfig
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.fib import NextHopOp
from calicopy.net import Prefix
from calicopy.seam import speaker as sp

OURS = "10.244.0.0/26"
MANY = ["10.244.1.0/26", *map(str, Prefix.parse("10.244.1.0/26").subnets(32))]
ANYCAST = "10.244.2.9/32"


def with_many(*, holding: tuple[type, ...] = ()) -> Script:
    """n1 with so many routes to n2; no more graceful restart than that they go with the session."""
    config = with_session(node(), N3, node=None, trust_owner=True)  # n3 speaks for others too, as a reflector
    script = Script(config, snapshot(OURS)).boot()
    for peer in (N2, N3):
        script.up(peer, graceful_restart=None).end_of_rib(peer)
    script.hear(N2, *MANY)
    assert set(MANY) <= script.routes
    script.held |= set(holding)
    script.done.clear()
    return script


def gateways(script: Script, prefix: str) -> set[str]:
    """Where the kernel sends packets to a prefix; none when it drops them."""
    target = script.kernel[Prefix.parse(prefix).packed]
    assert target is not None
    return set(map(str, script.next_hops.led(target)))


def step(script: Script, *events: ev.CoreEvent) -> list[do.Command]:
    """One call of the core, nothing answered."""
    return script.core.handle(list(events), script.now)


def test_all_packets_to_a_node_that_is_gone_are_dropped_by_one_message_in_the_step_that_hears_of_it() -> None:
    script = with_many()
    commands = step(script, sp.PeerDown(N2, "hold timer expired"))
    (write,) = (command for command in commands if isinstance(command, do.WriteNextHops))
    (change,) = write.changes
    assert (change.op, change.object.is_blackhole) == (NextHopOp.REPLACE, True)
    assert {type(command) for command in commands} <= {do.WriteNextHops, do.Log}
    assert not any(isinstance(command, do.WriteRoutes) for command in commands)
    assert commands[0] is write  # no line of the log holds it up


def test_the_routes_go_afterwards() -> None:
    script = with_many(holding=(do.WriteRoutes,)).tell(sp.PeerDown(N2, "hold timer expired"))
    assert gateways(script, MANY[0]) == set()
    assert set(MANY) <= script.routes
    script = with_many().tell(sp.PeerDown(N2, "hold timer expired"))
    assert not set(MANY) & script.routes


def test_paths_that_are_kept_over_a_lost_session_are_used_on() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3).end_of_rib(N2, N3).hear(N2, *MANY)
    script.tell(sp.PeerDown(N2, "connection reset"))
    assert gateways(script, MANY[0]) == {N2}
    script.held.add(do.WriteRoutes)
    script.done.clear()
    script.wait(121.0)
    assert gateways(script, MANY[0]) == set(), "until their time has run out"


def test_a_next_hop_that_another_peer_still_announces_is_alive() -> None:
    script = with_many(holding=(do.WriteRoutes,))
    body = simnet.update_body([ANYCAST], next_hop=N2, attributes=attributes(2))
    script.tell(sp.UpdatesReceived(N3, (body,))).tell(sp.PeerDown(N2, "hold timer expired"))
    assert gateways(script, MANY[0]) == {N2}


def test_a_peer_that_comes_back_at_once_is_used_at_once() -> None:
    script = with_many(holding=(do.WriteRoutes,)).tell(sp.PeerDown(N2, "connection reset"))
    assert gateways(script, MANY[0]) == set()
    script.up(N2, graceful_restart=None).hear(N2, *MANY)
    assert gateways(script, MANY[0]) == {N2}
    script.held.clear()
    script.core.kernel.want_dump()
    script.wait(31.0)
    assert set(MANY) <= script.routes


def test_another_path_takes_over_when_it_is_there() -> None:
    script = with_many()
    script.hear(N2, ANYCAST).hear(N3, ANYCAST)
    script.tell(sp.PeerDown(N2, "hold timer expired"))
    assert gateways(script, ANYCAST) == {N3}


def test_a_group_loses_the_member_and_no_route_has_to_be_written_for_that() -> None:
    script = Script(node(), snapshot(OURS)).boot()
    for peer in (N2, N3):
        script.up(peer, graceful_restart=None).hear(peer, ANYCAST).end_of_rib(peer)
    assert gateways(script, ANYCAST) == {N2, N3}
    script.held.add(do.WriteRoutes)
    script.done.clear()
    commands = step(script, sp.PeerDown(N3, "hold timer expired"))
    (write,) = (command for command in commands if isinstance(command, do.WriteNextHops))
    assert [bool(change.object.members) for change in write.changes] == [True, False]
    script.tell(*script._answer(write))
    assert gateways(script, ANYCAST) == {N2}


def test_a_session_that_is_stopped_by_its_limit_is_the_same() -> None:
    script = Script(with_session(node(), prefix_limit=50), snapshot(OURS)).boot()
    for peer in (N2, N3):
        script.up(peer, graceful_restart=None).end_of_rib(peer)
    script.hear(N2, *MANY[:50])
    script.held.add(do.WriteRoutes)
    script.hear(N2, *MANY[50:])
    assert script.core.peers[N2].stopped
    assert gateways(script, MANY[0]) == set()


def test_a_node_that_the_cluster_file_drops_is_the_same() -> None:
    script = with_many()
    commands = step(script, ev.ConfigChanged(without(script, N2)))
    (write,) = (command for command in commands if isinstance(command, do.WriteNextHops))
    (change,) = write.changes
    assert (change.op, change.object.is_blackhole) == (NextHopOp.REPLACE, True)
    assert not any(isinstance(command, do.WriteRoutes) for command in commands)
    script.tell(*script._answer(write))
    assert not set(MANY) & script.routes


def test_a_session_that_the_cluster_file_drops_leaves_what_another_peer_brings() -> None:
    script = with_many(holding=(do.WriteRoutes,))
    body = simnet.update_body(MANY, next_hop=N2, attributes=attributes(2))
    script.tell(sp.UpdatesReceived(N3, (body,)))
    config = replace(without(script, N2), nodes=script.core.node.nodes, mesh_linger_s=0.0)
    script.tell(ev.ConfigChanged(config))
    assert N2 not in script.core.peers
    assert gateways(script, MANY[0]) == {N2}


def without(script: Script, peer: str) -> NodeConfig:
    """The cluster file without a node."""
    config = script.core.node
    sessions = tuple(one for one in config.sessions if str(one.address) != peer)
    names = {one.node for one in config.sessions if str(one.address) == peer}
    return replace(config, sessions=sessions, nodes=tuple(one for one in config.nodes if one.name not in names))


def test_a_withdrawal_is_no_failure_of_the_node() -> None:
    script = with_many(holding=(do.WriteRoutes,)).hear_withdrawn(N2, *MANY)
    assert gateways(script, MANY[0]) == {N2}


def test_a_link_that_goes_takes_objects_and_routes_and_all_come_back() -> None:
    script = with_many()
    before = dict(script.kernel)
    script.next_hops.flush(ip_address(N2))
    script.kernel = {packed: target for packed, target in before.items() if target and not target.next_hop_id}
    script.tell(ev.LinksLost(frozenset({2})))
    assert script.kernel == before
    assert gateways(script, MANY[0]) == {N2}
