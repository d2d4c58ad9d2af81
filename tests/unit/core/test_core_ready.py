"""Whether the node is ready, why not, and what it learns of the tunnel addresses of others."""
from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
import simparts
from corescript import N2, N3, Script, attributes, node, snapshot, with_session

from calicopy.config.model import ClusterConfig
from calicopy.config.resolve import resolve
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core import show
from calicopy.core.ready import readiness
from calicopy.core.views import ReadinessView
from calicopy.net import Family, Prefix
from calicopy.policy import LimitAction
from calicopy.seam import speaker as sp

OURS, THEIRS, OTHERS = "10.244.0.0/26", "10.244.1.0/26", "10.244.2.0/26"
VXLAN = [{"cidr": "10.244.0.0/22", "encapsulation": "vxlan"}]


def verdict(script: Script) -> ReadinessView:
    return readiness(script.core, tuple(show.problems(script.core)))


def reasons(script: Script) -> list[tuple[str, str]]:
    return [(one.reason.code, one.object) for one in verdict(script).reasons]


def degraded(script: Script) -> list[tuple[str, str]]:
    return [(one.reason.code, one.object) for one in verdict(script).degraded]


def running() -> Script:
    script = Script(node(pools=VXLAN), snapshot(OURS)).boot().up(N2).up(N3)
    for peer, block, place in ((N2, THEIRS, 5), (N3, OTHERS, 0)):
        hear_tunnel(script, peer, block, place)
    return script.end_of_rib(N2, N3)


def hear_tunnel(script: Script, peer: str, block: str, *places: int) -> None:
    """The peer announces its block, with its tunnel addresses."""
    number = int(peer.rpartition(".")[2])
    *plain, owner = attributes(number)
    named = b"".join(struct.pack("!III", 64512, 2, place) for place in places)
    large = sp.RawAttribute(flags=0xC0, code=32, value=owner.value + named)
    body = simparts.update_body([block], next_hop=peer, attributes=(*plain, large))
    script.tell(sp.UpdatesReceived(peer, (body,)))


def answers(script: Script, **said: bool) -> None:
    known = {"n2": ip_address("10.244.1.5"), "n3": ip_address("10.244.2.0")}
    script.tell(ev.TunnelsAnswered({known[name]: answer for name, answer in said.items()}))


def test_a_node_is_not_ready_before_everything_is_known_and_says_who_is_waited_for() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3).end_of_rib(N2)
    (reason,) = verdict(script).reasons
    assert reason.reason.code == "not-in-sync"
    assert "from n3" in reason.reason.message
    script.end_of_rib(N3)
    assert verdict(script).ready


def test_one_dead_node_is_no_reason_and_most_of_them_are() -> None:
    script = running()
    assert verdict(script) == ReadinessView()
    script.tell(sp.PeerDown(N2, "hold timer expired")).wait(200)
    assert reasons(script) == []
    assert degraded(script) == [("down", "n2")]
    script.tell(sp.PeerDown(N3, "hold timer expired")).wait(200)
    assert reasons(script) == [("down", "n2"), ("down", "n3")]


def test_sessions_whose_routes_are_kept_are_no_reason_yet() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3).end_of_rib(N2, N3)
    script.tell(sp.PeerDown(N2, "gone")).tell(sp.PeerDown(N3, "gone"))
    assert reasons(script) == []
    assert degraded(script) == [("down", "n2"), ("down", "n3")]
    script.wait(200)
    assert reasons(script) == [("down", "n2"), ("down", "n3")]


def test_a_session_that_a_limit_stopped_is_not_one_that_should_be_up() -> None:
    script = running()
    script.core.peers[N2].stopped, script.core.peers[N2].stop_code = "too many prefixes", "prefix-limit"
    assert reasons(script) == []
    assert degraded(script) == [("prefix-limit", "n2")]


def test_the_only_peer_that_is_lost_beyond_a_limit_that_only_warns_is_a_reason() -> None:
    pair = with_session(node(2), prefix_limit=1, prefix_limit_action=LimitAction.WARN)
    script = Script(pair, snapshot(OURS)).boot().up(N2).hear(N2, THEIRS, OTHERS).end_of_rib(N2)
    assert (reasons(script), degraded(script)) == ([], [("prefix-limit", "n2")])
    script.tell(sp.PeerDown(N2, "hold timer expired")).wait(200)
    assert reasons(script) == [("down", "n2")]


def test_a_disk_that_takes_nothing_makes_the_node_not_ready_until_it_takes_something_unasked() -> None:
    script = running()
    script.held.add(do.Persist)
    script.done.clear()
    script.tell(ev.AddressRequested(7, "pod", Family.IPV4))
    for attempt in range(1, 4):
        persists = script.seen(do.Persist)
        assert len(persists) == attempt
        script.tell(ev.PersistFailed(persists[-1].token, "disk full"))
        assert reasons(script) == [("store-failed", "store")]
        script.wait(1.1)
    assert [one.line.code for one in script.seen(do.Log)].count("store-failed") == 1, "it is said once"
    script.tell(ev.Persisted(script.take(do.Persist)[-1].token))
    assert verdict(script) == ReadinessView()
    assert not script.wait(5.0).seen(do.Persist), "a disk that is well is left alone"


@pytest.mark.parametrize(
    ("component", "name", "ready"),
    [
        ("sysctl", "net.ipv4.ip_forward", False),
        ("sysctl", "net.ipv6.conf.all.forwarding", False),
        ("sysctl", "net.ipv4.conf.eth0.rp_filter", True),
        ("nft", "inet calicopy", True),
        ("bfd", "process", True),
    ],
)
def test_a_host_that_does_not_forward_is_a_reason_and_other_settings_are_degraded(
    component: str, name: str, ready: bool
) -> None:
    script = running().tell(ev.HostChecked(component, {name: "cannot be set"}))
    assert (reasons(script), degraded(script)) == (
        ([], [("not-set", name)]) if ready else ([("not-set", name)], [])
    )


def test_without_any_reflector_a_client_is_not_ready_and_with_one_of_two_it_is() -> None:
    nodes = [
        {"name": f"n{number}", "address": f"10.0.0.{number}/24", "route_reflector": number > 1, "labels": {"r": "no"}}
        for number in (1, 2, 3)
    ]
    for one in nodes[1:]:
        one["labels"] = {"r": "yes"}
    file = ClusterConfig.model_validate({
        "nodes": nodes, "pools": [{"cidr": "10.244.0.0/22"}],
        "bgp": {"mesh": False, "peers": [{"name": "reflectors", "peer_selector": {"r": "yes"}}]},
    })  # fmt: skip
    script = Script(resolve(file, "n1"), snapshot(OURS)).boot().up(N2).up(N3).end_of_rib(N2, N3)
    assert verdict(script).ready
    script.tell(sp.PeerDown(N2, "gone")).wait(200)
    assert (reasons(script), [code for code, _ in degraded(script)]) == ([], ["down"])
    script.tell(sp.PeerDown(N3, "gone")).wait(200)
    assert [code for code, _ in reasons(script)] == ["down", "down"]


def test_a_detached_speaker_and_a_drain_make_the_node_not_ready() -> None:
    script = running().tell(sp.SpeakerDetached("gone"))
    assert reasons(script)[0] == ("detached", "")
    script = running()
    script.tell(ev.DrainRequested(1, True, 0.0, 0.0))
    assert reasons(script)[0][0] in ("draining", "drained")


def test_a_block_names_our_tunnel_address_and_others_are_asked_from_it() -> None:
    script = running()
    (address,) = script.core.host.tunnels.own_addresses(script.core.ipam)
    told = [one for command in script.seen(do.Advertise) for group in command.announce for one in group.attributes]
    named = {one.value[12:] for one in told if one.code == 32}
    assert struct.pack("!III", 64512, 2, int(address) - Prefix.parse(OURS).first) in named
    assert script.seen(do.ProbeTunnels)[-1].targets == {
        ip_address("10.244.1.5"): address, ip_address("10.244.2.0"): address,
    }  # fmt: skip


def test_a_silent_tunnel_is_degraded_and_most_of_them_are_a_reason() -> None:
    script = running()
    answers(script, n2=True, n3=True)
    assert verdict(script) == ReadinessView()
    answers(script, n2=False, n3=True)
    assert (reasons(script), degraded(script)) == ([], [("tunnel-silent", "n2")])
    assert "or it answers no echo request" in verdict(script).degraded[0].reason.message
    answers(script, n2=False, n3=False)
    assert reasons(script) == [("tunnel-silent", "n2"), ("tunnel-silent", "n3")]


def test_a_tunnel_address_that_is_named_no_more_is_asked_no_more() -> None:
    script = running()
    answers(script, n2=False, n3=True)
    script.hear(N2, THEIRS)
    assert verdict(script) == ReadinessView()
    assert list(script.seen(do.ProbeTunnels)[-1].targets) == [ip_address("10.244.2.0")]
    script.hear_withdrawn(N3, OTHERS)
    assert script.seen(do.ProbeTunnels)[-1].targets == {}


@pytest.mark.parametrize("places", [(64,), (0xFFFFFFFF,)])
def test_a_place_outside_of_the_block_names_nothing(places: tuple[int, ...]) -> None:
    script = running()
    hear_tunnel(script, N2, THEIRS, *places)
    assert list(script.seen(do.ProbeTunnels)[-1].targets) == [ip_address("10.244.2.0")]


def test_without_encapsulation_nothing_is_named_and_nobody_is_asked() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3).hear(N2, THEIRS).end_of_rib(N2, N3)
    hear_tunnel(script, N2, THEIRS, 5)
    assert not any(command.targets for command in script.seen(do.ProbeTunnels))
    assert verdict(script) == ReadinessView()
