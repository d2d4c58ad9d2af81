"""What must hold of several nodes together, whatever starts, dies and comes back in whatever order."""
from __future__ import annotations

import simnet
import simparts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calicopy.net import Prefix

NAMES = ["n1", "n2", "n3", "n4"]
CALM_S = 12.0  # longer than any of the cores' limits but for the restart time

DEATHS = ["restart", "kill_speaker", "bridge", "lose", "stop"]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from([*DEATHS, "start", "kill", "cut", "assign", "disk"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.floats(0.0, 1.5),
    ),
    max_size=14,
)


def act(net: simnet.Network, action: str, one: int, other: int) -> None:
    """Do one of the things that happen to a cluster."""
    host, peer = net[NAMES[one]], net[NAMES[other]]
    match action:
        case "start" if host.core is None:
            host.start()
        case "restart":
            host.kill()
            host.start()
        case "kill":
            host.kill()
        case "kill_speaker" if host.speaker.alive:
            host.kill_speaker()
        case "cut" if one != other:
            net.end_session(host.address, peer.address, "cut")
        case "assign" if host.core is not None:
            host.assign(f"pod{other}")
        case "bridge" if host.speaker.alive and host.core is not None:
            host.lose_bridge(knows_opens=other % 2 == 0)
        case "lose" if one != other:
            net.lose(host.address, peer.address)
        case "stop":
            host.stop(0.5 + other)
        case "disk":
            host.disk.fails = not host.disk.fails


def die(net: simnet.Network, deaths: list[tuple[str, int, float]]) -> None:
    """The deaths, one after the other; sessions end again only when those that ended before have brought their routes.

    Sessions that are lost twice before their End-of-RIB lose their routes: RFC 4724 section 4.2 asks for it.
    """
    ended: set[int] = set()
    for action, one, pause in deaths:
        if action in ("kill_speaker", "bridge"):
            stopped = max((net[NAMES[each]].stopped_until - net.now for each in ended), default=0.0)
            if one in ended or stopped > 0:
                net.run(max(stopped, 0.0) + 1.0)
            ended.add(one)
        act(net, action, one, (one + 1) % 4)
        net.run(pause)


def settle(net: simnet.Network) -> None:
    """All run, undisturbed, until nothing is left to do."""
    for host in net.hosts.values():
        host.disk.fails = False
        if host.core is None:
            host.start()
    net.run(CALM_S)


def check_converged(net: simnet.Network) -> None:
    """Everybody has a block of its own, and a route to everybody's."""
    blocks = [block for host in net.hosts.values() for block in host.own]
    assert len(blocks) == len(set(blocks)) >= len(NAMES)
    for host in net.hosts.values():
        assert host.core is not None
        assert host.own
        assert {str(Prefix.parse(block)) for block in blocks} == {
            str(Prefix(family, packed)) for family in (Prefix.parse(blocks[0]).family,) for packed in host.kernel
        }
        assert not host.core.ipam.block_conflicts()


@settings(max_examples=25)
@given(actions=ACTIONS)
@example(actions=[("restart", 1, 0, 0.0), ("kill_speaker", 1, 0, 0.0), ("stop", 1, 1, 1.25), ("stop", 1, 0, 0.0)])
def test_nodes_of_one_file_converge_without_colliding_whatever_happens(
    actions: list[tuple[str, int, int, float]],
) -> None:
    net = simnet.Network(simnet.config(NAMES))
    confirmed: dict[str, str] = {}
    for action, one, other, pause in actions:
        act(net, action, one, other)
        net.run(pause)
        for host in net.hosts.values():
            for block in host.own:
                assert confirmed.setdefault(block, host.node.name) == host.node.name
    settle(net)
    check_converged(net)


@settings(max_examples=25)
@given(actions=ACTIONS)
def test_a_network_that_was_left_alone_is_at_rest(actions: list[tuple[str, int, int, float]]) -> None:
    net = simnet.Network(simnet.config(NAMES))
    for action, one, other, pause in actions:
        act(net, action, one, other)
        net.run(pause)
    settle(net)
    net.run(120.0)
    for host in net.hosts.values():
        assert host.core is not None
        assert not host.core.handle([], net.now)
        deadline = host.core.deadline(net.now)
        assert deadline is not None
        assert deadline > net.now


@settings(max_examples=25)
@example(deaths=[("stop", 1, 0.0), ("kill_speaker", 1, 1.0), ("restart", 0, 0.0)])  # who is asked knows nothing yet
@given(
    deaths=st.lists(st.tuples(st.sampled_from(DEATHS), st.integers(0, 3), st.floats(0.0, 3.0)), max_size=6)
)
def test_no_death_of_agent_or_speaker_deletes_or_withdraws_a_route(deaths: list[tuple[str, int, float]]) -> None:
    net = simnet.Network(simnet.config(NAMES))
    for host in net.hosts.values():
        host.start()
    net.run(CALM_S)
    die(net, deaths)
    settle(net)
    check_converged(net)
    assert not any(host.deleted or host.speaker.withdrawn for host in net.hosts.values())


def reflected() -> simnet.ClusterConfig:
    """The same nodes, where the first two reflect to the others and there is no mesh."""
    file = simnet.config(NAMES).model_dump(exclude_unset=True)
    for number, node in enumerate(file["nodes"]):
        node["labels"] = {"role": "rr" if number < 2 else "node"}
        node["route_reflector"] = number < 2
    file["bgp"] = {"mesh": False, "peers": [{"name": "reflectors", "peer_selector": {"role": "rr"}}]}
    return simnet.ClusterConfig.model_validate(file)


@settings(max_examples=25)
@example(deaths=[("restart", 0, 0.0), ("restart", 1, 0.0), ("kill_speaker", 2, 0.0)])  # who knew, and who had it
@given(
    deaths=st.lists(st.tuples(st.sampled_from(DEATHS), st.integers(0, 3), st.floats(0.0, 3.0)), max_size=6)
)
def test_no_death_at_reflectors_or_clients_loses_a_route(deaths: list[tuple[str, int, float]]) -> None:
    net = simnet.Network(reflected())
    for host in net.hosts.values():
        host.start()
    net.run(CALM_S)
    check_converged(net)
    die(net, deaths)
    settle(net)
    check_converged(net)
    assert not any(host.deleted for host in net.hosts.values())


@settings(max_examples=25)
@given(
    first=st.permutations(NAMES), second=st.permutations(NAMES), order=st.permutations(NAMES),
    pause=st.floats(0.0, 3.0), used=st.booleans(),
)  # fmt: skip
def test_nodes_with_files_that_differ_end_without_two_owners(
    first: list[str], second: list[str], order: list[str], pause: float, used: bool
) -> None:
    """The names are dealt to the addresses in another order in one file, so first blocks may collide."""
    net = simnet.Network(simnet.config(NAMES))
    for host, blocks in zip(net.hosts.values(), (first, second, first, second), strict=True):
        number = blocks.index(host.node.name)
        host.disk.commit(simparts.stored_block(f"10.244.0.{64 * (number % 4)}/26", used="10.244.0.1" if used else ""))
    for name in order:
        net[name].start()
        net.run(pause)
    settle(net)
    owners: dict[str, list[str]] = {}
    for host in net.hosts.values():
        assert host.core is not None
        for prefix in host.core.ipam.announcements():
            owners.setdefault(str(prefix), []).append(host.node.name)
    doubled = {prefix: names for prefix, names in owners.items() if len(names) > 1}
    assert all(prefix.endswith("/32") for prefix in doubled), doubled
