"""A new cluster file reaches the nodes one by one, in any order: nobody loses a route that it had."""
from __future__ import annotations

from typing import Any

import simnet
from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.config.model import ClusterConfig
from calicopy.net import Prefix
from calicopy.seam import speaker as sp

NAMES = ["n1", "n2", "n3", "n4"]
CALM_S = 12.0
LINGER_S = 60.0


def file(reflectors: tuple[str, ...] = (), **bgp: Any) -> ClusterConfig:
    """The four nodes as a mesh, or as clients of these reflectors."""
    nodes = [
        {
            "name": name,
            "address": f"10.0.0.{number}/24",
            **({"route_reflector": True, "labels": {"role": "reflector"}} if name in reflectors else {}),
        }
        for number, name in enumerate(NAMES, 1)
    ]
    if reflectors:
        bgp |= {"mesh": False, "peers": [{"name": "reflectors", "peer_selector": {"role": "reflector"}}]}
    return simnet.config(NAMES, nodes=nodes, bgp=bgp)


MESH, ONE, TWO, OTHERS = file(), file(("n1",)), file(("n1", "n2")), file(("n3", "n4"))
FILES = {"mesh": MESH, "one": ONE, "two": TWO, "others": OTHERS}


def check_all_reach_all(net: simnet.Network) -> None:
    """Everybody has a block, and a route to everybody's; nobody ever deleted a route, or was told that one is gone."""
    blocks = {block for host in net.hosts.values() for block in host.own}
    assert len(blocks) == len(NAMES)
    for host in net.hosts.values():
        assert host.core is not None
        assert {str(Prefix(Prefix.parse(min(blocks)).family, packed)) for packed in host.kernel} == blocks
        assert host.deleted == []


def sessions(net: simnet.Network) -> dict[str, set[str]]:
    """Who has a session with whom, by name."""
    return {
        host.node.name: {net.at(peer).node.name for peer in host.speaker.up} for host in net.hosts.values()
    }


def wanted(config: ClusterConfig) -> dict[str, set[str]]:
    """Who should, by this file."""
    reflectors = {node.name for node in config.nodes if node.route_reflector}
    everybody = set(NAMES)
    if not reflectors:
        return {name: everybody - {name} for name in NAMES}
    return {name: (everybody if name in reflectors else reflectors) - {name} for name in NAMES}


@settings(max_examples=15)
@given(
    kinds=st.lists(st.sampled_from(sorted(FILES)), min_size=2, max_size=3),
    orders=st.lists(st.permutations(NAMES), min_size=3, max_size=3),
    pause=st.sampled_from([0.0, 0.01, 0.5, 5.0]),
)
def test_between_mesh_and_reflectors_and_back_nobody_loses_a_route(
    kinds: list[str], orders: list[list[str]], pause: float
) -> None:
    net = simnet.Network(FILES[kinds[0]])
    for host in net.hosts.values():
        host.start()
    net.run(CALM_S)
    for kind, order in zip(kinds[1:], orders, strict=False):
        for name in order:
            net[name].reconfigure(FILES[kind])
            net.run(pause)
            check_all_reach_all(net)
        net.run(2 * LINGER_S + CALM_S)
        check_all_reach_all(net)
        assert sessions(net) == wanted(FILES[kind])
        for host in net.hosts.values():
            assert host.core is not None
            assert all(peer.lingering_since is None and peer.later is None for peer in host.core.peers.values())


def test_a_node_that_dies_while_its_session_lingers_is_not_kept_for_ever() -> None:
    net = simnet.Network(MESH)
    for host in net.hosts.values():
        host.start()
    net.run(CALM_S)
    for name in NAMES:
        net[name].reconfigure(TWO)
    net.run(CALM_S)
    dead = net["n4"]
    dead.kill()
    dead.speaker.alive = False
    for host in net.hosts.values():
        if host is not dead:
            net.end_session(dead.address, host.address, "no answer", silent=dead)
    net.run(200.0)
    for host in net.hosts.values():
        if host is not dead:
            assert not any(str(Prefix(Prefix.parse("10.0.0.0/8").family, packed)) in dead.own for packed in host.kernel)
            assert host.core is not None
            assert dead.address not in host.core.peers or host.node.name in ("n1", "n2")
            state = [peer.state for key, peer in host.core.peers.items() if key == dead.address]
            assert sp.FsmState.ESTABLISHED not in state
