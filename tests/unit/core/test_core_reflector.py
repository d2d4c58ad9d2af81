"""Route reflectors among nodes: what clients learn by them, what becomes of it when parts die, filters at run time."""
from __future__ import annotations

import simnet

from calicopy.config.model import ClusterConfig
from calicopy.core.drain_state import DrainPhase
from calicopy.core.show import routes as routes_of
from calicopy.core.views import PathState, RouteQuery
from calicopy.net import Family, Packed, Prefix

V4 = Family.IPV4


def cluster(clients: int, reflectors: int = 1, **bgp: object) -> ClusterConfig:
    """Reflectors rr1 ... at 10.0.0.1 ..., then clients n1 ..., which peer with the reflectors alone."""
    nodes: list[dict[str, object]] = [
        {"name": f"rr{number}", "address": f"10.0.0.{number}/24", "route_reflector": True, "labels": {"role": "rr"}}
        for number in range(1, reflectors + 1)
    ]
    nodes += [
        {"name": f"n{number}", "address": f"10.0.0.{reflectors + number}/24", "labels": {"role": "node"}}
        for number in range(1, clients + 1)
    ]
    peers: list[dict[str, object]] = [{"name": "reflectors", "peer_selector": {"role": "rr"}}]
    return ClusterConfig.model_validate({
        "nodes": nodes, "pools": [{"cidr": "10.244.0.0/22", "block_size": 26}],
        "bgp": {"mesh": False, "peers": peers, **bgp},
    })  # fmt: skip


def run(file: ClusterConfig, seconds: float = 12.0) -> simnet.Network:
    net = simnet.Network(file)
    for host in net.hosts.values():
        host.start()
    net.run(seconds)
    return net


def routes(host: simnet.Host) -> set[str]:
    return {str(Prefix(V4, packed)) for packed in host.kernel}


def blocks(net: simnet.Network) -> set[str]:
    return {block for host in net.hosts.values() for block in host.own}


def test_clients_of_a_reflector_reach_each_others_blocks() -> None:
    net = run(cluster(3))
    assert len(blocks(net)) == 4
    for host in net.hosts.values():
        assert routes(host) == blocks(net)
    target = net["n1"].kernel[packed(next(iter(net["n2"].own)))]
    assert set(map(str, net["n1"].next_hops.led(target))) == {net["n2"].address}  # the next hop is left alone


def packed(text: str) -> Packed:
    return Prefix.parse(text).packed


def test_a_route_that_its_node_no_longer_announces_goes_everywhere() -> None:
    net = run(cluster(3))
    block = next(iter(net["n2"].own))
    assert net["n2"].core is not None
    net["n2"].core.exports.drain = DrainPhase.DRAINED
    net["n2"].tell(simnet.ev.Ticked())
    net.run(1.0)
    assert block not in routes(net["n1"]) | routes(net["n3"]) | routes(net["rr1"])


def test_two_reflectors_and_one_of_them_dead_leave_every_route_in_place() -> None:
    net = run(cluster(3, reflectors=2))
    everything = blocks(net)
    for host in net.hosts.values():
        assert routes(host) == everything
    net["rr1"].kill_speaker()
    net["rr1"].kill()
    net.run(10.0)
    assert all(routes(host) == everything for host in net.hosts.values() if host.core is not None)
    assert not any(host.deleted for host in net.hosts.values())


def test_an_agent_of_a_reflector_that_restarts_withdraws_nothing() -> None:
    net = run(cluster(4))
    reflector = net["rr1"]
    reflector.kill()
    net.run(2.0)
    reflector.start()
    net.run(10.0)
    assert not reflector.speaker.withdrawn
    assert not any(host.deleted for host in net.hosts.values())


def test_an_agent_of_a_reflector_that_restarts_withdraws_what_went_meanwhile() -> None:
    net = run(cluster(3))
    block = next(iter(net["n2"].own))
    net["rr1"].kill()
    net["n2"].speaker.out.clear()  # withdrawn while nobody listened
    net.run(1.0)
    net["rr1"].start()
    net.run(10.0)
    assert block in net["rr1"].speaker.withdrawn
    assert block not in routes(net["n1"])


def test_path_ids_are_there_where_add_path_was_negotiated_and_only_there() -> None:
    for add_path in (True, False):
        net = run(cluster(2, peers=[{"name": "reflectors", "peer_selector": {"role": "rr"}, "add_path": add_path}]))
        assert all(routes(host) == blocks(net) for host in net.hosts.values())
        held = [path_id for host in net.hosts.values() for out in host.speaker.out.values() for path_id, _ in out]
        assert held
        assert all(bool(path_id) is add_path for path_id in held)


def test_what_a_client_was_told_is_shown_as_it_was_told() -> None:
    net = run(cluster(2))
    core = net["rr1"].core
    assert core is not None
    client, block = core.peers[net["n1"].address], Prefix.parse(next(iter(net["n2"].own)))
    pages = routes_of(core, RouteQuery.ADVERTISED, peer=client, family=V4, within=block)
    ((shown,),) = [view.paths for page in pages for view in page]
    assert (shown.state, shown.owner, str(shown.next_hop)) == (PathState.BEST, "n2", net["n2"].address)
    assert (shown.originator_id, shown.cluster_list) == (net["n2"].address, (net["rr1"].address,))
    assert shown.path_id > 1


def test_another_export_filter_is_applied_while_the_sessions_run() -> None:
    file = cluster(3)
    net = run(file)
    victim = next(iter(net["n2"].own))
    strict = {
        "filters": [{"name": "strict", "rules": [{"match": {"prefix": [{"equal": victim}]}, "action": "reject"}]}],
        "export": ["strict"],
    }
    changed = cluster(3, **strict)
    ups = {host.address: set(host.speaker.up) for host in net.hosts.values()}
    net["rr1"].reconfigure(changed)
    net.run(2.0)
    assert {host.address: set(host.speaker.up) for host in net.hosts.values()} == ups
    assert victim in routes(net["rr1"])
    assert victim not in routes(net["n1"])
    net["rr1"].reconfigure(file)
    net.run(2.0)
    assert victim in routes(net["n1"])


def test_another_import_filter_is_applied_while_the_sessions_run() -> None:
    file = cluster(2)
    net = run(file)
    victim = next(iter(net["n2"].own))
    strict = {
        "filters": [{"name": "strict", "rules": [{"match": {"prefix": [{"equal": victim}]}, "action": "reject"}]}],
        "import": ["strict"],
    }
    net["rr1"].reconfigure(cluster(2, **strict))
    net.run(2.0)
    assert victim not in routes(net["rr1"])
    assert victim not in routes(net["n1"])  # what is refused is not reflected
    net["rr1"].reconfigure(file)
    net.run(2.0)
    assert victim in routes(net["n1"])
