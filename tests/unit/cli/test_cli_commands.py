"""What each command prints, and how it ends."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import yaml
from memory_agent import peer_view, route_view

from calicopy.core import views
from calicopy.net import Family
from calicopy.seam.speaker import FsmState


def test_peers_are_a_table_with_the_reason_of_each_that_is_down(calicopy):
    done = calicopy("peers")
    assert done.code == 0
    header, first, second = done.lines
    assert header.split() == ["PEER", "ADDRESS", "AS", "TYPE", "STATE", "SINCE", "BFD", "RECEIVED",
                              "ACCEPTED", "ADVERTISED", "INFO"]
    assert first.split()[:5] == ["node2", "192.0.2.2", "64512", "mesh", "Established"]
    assert first.split()[6:] == ["up", "3", "2", "1", "1", "refused"]
    assert second.endswith("-  hold timer expired")
    assert header.index("STATE") == first.index("Established") == second.index("Active")


def test_bfd_is_a_table_of_the_sessions_with_what_follows(calicopy):
    done = calicopy("bfd")
    assert done.code == 0
    header, first, second = done.lines
    assert header.split()[:8] == ["PEER", "ADDRESS", "BFD", "STATE", "SINCE", "THEIRS", "HOP", "INTERVAL"]
    assert first.split()[2:4] == ["up", "up"]
    assert first.split()[6:] == ["multi", "100ms", "300ms", "1", "0", "-"]
    assert second.endswith("BFD: no packet from it for 300 ms")


def test_bfd_as_json_has_the_session_and_yaml_the_same(calicopy):
    items = calicopy("bfd", "-o", "json").json["items"]
    assert [(one["name"], one["bfd"]["effect"]) for one in items] == [("node2", "up"), ("node3", "down")]
    assert items[0]["bfd"]["session"]["dropped"] == {"bad-ttl": 2}
    assert items[1]["bfd"]["session"]["diagnostic"] == "control detection time expired"
    assert yaml.safe_load(calicopy("bfd", "-o", "yaml").out) == {"items": items}


def test_one_peer_is_shown_with_all_of_its_bfd_session(calicopy):
    shown = {line[:19].strip(): line[19:].strip() for line in calicopy("peers", "node3").out.splitlines()}
    assert shown["BFD"] == "down: BFD: no packet from it for 300 ms"
    assert shown["Out of use"].startswith("192.0.2.2, for ")
    assert shown["BFD diagnostic"] == "control detection time expired; theirs: none"
    assert shown["BFD discriminators"] == "17, theirs 4711"
    assert shown["BFD times"] == "a packet every 100 ms, down after 300 ms"
    assert shown["BFD dropped"] == "2 bad-ttl"


def test_peers_as_json_have_the_states_that_operators_know(calicopy):
    items = calicopy("peers", "-o", "json").json["items"]
    assert [(item["name"], item["state"], item["kind"]) for item in items] == [
        ("node2", "Established", "mesh"),
        ("node3", "Active", "mesh"),
    ]
    assert items[0]["last_error_at"] is None
    assert items[0]["state_since"] == "2026-09-21T14:13:22.250Z"
    assert items[0]["families"][0]["rejected_by_reason"] == {"outside-pools": 1}
    assert items[0]["asn"] == 64512


def test_yaml_says_the_same_as_json(calicopy):
    for words in (["peers"], ["status"], ["routes"], ["ipam", "show"], ["ipam", "show", "--blocks"]):
        assert yaml.safe_load(calicopy(*words, "-o", "yaml").out) == calicopy(*words, "-o", "json").json


def test_one_peer_is_shown_in_full(calicopy):
    done = calicopy("peers", "node2")
    assert done.code == 0
    shown = {line[:18].strip(): line[18:].strip() for line in done.out.splitlines()}
    assert shown["Peer"] == "node2 (192.0.2.2), AS 64512, internal"
    assert shown["Role"] == "mesh, hears our own routes"
    assert shown["Graceful restart"] == "on; ours: 120s, ipv4 (state kept); theirs: 120s, ipv4 (state kept)"
    assert shown["ADD-PATH"] == "send ipv4; receive none"
    assert shown["Unknown to us"] == "200 (0xc0ffee), 25/65"
    assert shown["Hold time"] == "9s (ours 90s, theirs 9s), keepalive every 3s"
    assert shown["Last NOTIFICATION"].startswith('6/2 cease: administrative shutdown, "back at 4", sent by the peer')
    assert shown["Import filters"] == "prefer-rack"
    assert "1 refused: outside-pools" in done.out
    assert calicopy("peers", "192.0.2.3", "-o", "json").json["last_error"] == "hold timer expired"


def test_one_peer_as_json_has_all_that_was_negotiated(calicopy):
    found = calicopy("peers", "show", "node2", "-o", "json").json
    assert found["role"] == "mesh"
    assert found["negotiated"]["restart_theirs"]["families"] == [{"family": "ipv4", "forwarding": True}]
    assert found["last_notification"]["communication"] == "back at 4"
    assert found["timers"]["stale_until"] is None
    assert calicopy("peers", "-o", "json", "node3").json["timers"]["stale_until"] is not None


def test_a_session_is_refreshed_both_ways_or_in_one_and_reset(calicopy, agent):
    assert calicopy("peers", "refresh", "node2").out == "node2: its routes are asked for and ours sent again\n"
    assert calicopy("peers", "refresh", "192.0.2.2", "--in").out == "node2: its routes are asked for again\n"
    assert calicopy("peers", "refresh", "node2", "--out", "-o", "json").json["name"] == "node2"
    assert calicopy("peers", "reset", "node2").out == "node2: the session is reset\n"
    assert agent.backend.queries == [
        ("node2", "refresh in=True out=True"),
        ("node2", "refresh in=True out=False"),
        ("node2", "refresh in=False out=True"),
        ("node2", "reset"),
    ]


def test_a_session_that_is_down_is_neither_refreshed_nor_reset(calicopy):
    for words in (["refresh", "node3"], ["reset", "node3"], ["reset", "node9"]):
        done = calicopy("peers", *words)
        assert done.code in (1, 4)
        assert done.err


def test_a_stopped_peer_says_why_in_the_table_and_in_full(calicopy, agent):
    peer = peer_view("node3", "192.0.2.3", state=FsmState.IDLE)
    details = replace(peer.details, stopped="it announced more than 2 prefixes", stop_code="prefix-limit")
    agent.backend.peer_list = [replace(peer, details=details)]
    assert "it announced more than 2 prefixes" in calicopy("peers").out
    assert "Stopped" in calicopy("peers", "node3").out


def test_an_unknown_peer_is_an_error_on_one_line(calicopy):
    done = calicopy("peers", "node9")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[0] == "calicopy: no peer 'node9': the peers of this node are node2, node3"


def test_a_peer_cannot_steer_the_terminal_with_its_own_words(calicopy, agent):
    evil = replace(peer_view("node3", "192.0.2.3", state=FsmState.IDLE), last_error="bye\x1b[2J\nnode2 up\u202e")
    agent.backend.peer_list = [evil]
    for words in (["peers"], ["peers", "node3"], ["status"]):
        out = calicopy(*words).out
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert r"bye\x1b[2J\nnode2 up\u202e" in out
    assert calicopy("peers", "-o", "json").json["items"][0]["last_error"] == evil.last_error


def test_status_shows_the_node_and_its_peers(calicopy):
    done = calicopy("status")
    assert done.code == 0
    assert "node1, AS 64512, router id 192.0.2.1" in done.out
    assert "1 of 2 established" in done.out
    assert "3 of 3 in the kernel, in sync (proto 117 metric 1024)" in done.out
    assert "hold timer expired" in done.out


def test_status_shows_tunnels_ways_and_what_strangers_sent(calicopy, agent):
    lines = calicopy("status").out.splitlines()
    assert "MTU of pods        1480" in lines
    assert "From strangers     dropped: ipip 3, vxlan 0" in lines
    assert "  ENCAPSULATION  DEVICE   ADDRESSES    MTU  POOLS USE IT  STATE" in lines
    assert "  vxlan          calivx0  -           1450  no            up" in lines
    assert "  node2  192.0.2.2  192.0.2.254  eth1    1500  ipip                  1480  -" in lines
    assert "  node3  192.0.2.3  unreachable  -          -  none                     -  -" in lines
    told = calicopy("status", "-o", "json").json
    assert told["tunnels"][0]["stranger_packets"] == 3
    assert told["next_hops"][0]["pools"] == ["pods"]
    agent.backend.tunnels = (replace(agent.backend.tunnels[0], stranger_packets=None, error="no ipip module"),)
    agent.backend.next_hops *= 20
    out = calicopy("status").out
    assert "From strangers     not dropped, not counted" in out
    assert "no ipip module" in out
    assert "and 20 more: -o wide shows all" in out
    assert calicopy("status", "-o", "wide").out.count("node2  192.0.2.2") > 20
    assert calicopy("status", "-o", "json").json["tunnels"][0]["stranger_packets"] is None


def test_status_shows_losses_once_there_are_some(calicopy, agent):
    assert "Losses" not in calicopy("status").out
    agent.backend.counters = {
        "fib.writes_failed": 12, "kernel.events_lost": 1, "ipam.store_failures": 0,
        "udp.out_full": 7, "udp.out_packets": 9,
    }  # fmt: skip
    assert "Packets lost       udp.out_full 7" in calicopy("status").out.splitlines()
    assert "Losses             fib.writes_failed 12, kernel.events_lost 1; each was tried, or read, again" in (
        calicopy("status").out
    )


@pytest.mark.parametrize(("health", "code"), [("OK", 0), ("STARTING", 5), ("DEGRADED", 5)])
def test_status_check_tells_a_script_whether_the_node_is_healthy(calicopy, agent, health, code):
    agent.backend.health = views.Health[health]
    agent.backend.problems = (views.ProblemView("kernel", "tunl0", views.ReasonView("no-module", "no ipip module")),)
    done = calicopy("status", "--check")
    assert done.code == code
    assert "kernel tunl0: no ipip module" in done.out
    assert calicopy("status").code == 0
    assert calicopy("status", "--check", "-o", "json").code == code


def test_status_check_says_on_stderr_why_a_node_is_not_ready_and_what_is_degraded(calicopy, agent):
    silent = views.ProblemView("tunnel", "node2", views.ReasonView("tunnel-silent", "10.244.0.64 does not answer"))
    lost = views.ProblemView("peer", "node3", views.ReasonView("down", "hold timer expired"))
    agent.backend.readiness = views.ReadinessView((silent,), (lost,))
    done = calicopy("status", "--check")
    assert done.code == 5
    assert done.err.splitlines() == [
        "calicopy: the node is not ready",
        "  tunnel node2: 10.244.0.64 does not answer (tunnel-silent)",
        "  degraded: peer node3: hold timer expired (down)",
    ]
    assert "Ready              no: tunnel node2: 10.244.0.64 does not answer" in done.out.splitlines()
    told = calicopy("status", "-o", "json").json
    assert (told["ready"], [one["reason"]["code"] for one in told["reasons"]]) == (False, ["tunnel-silent"])


def test_status_shows_whether_tunnel_addresses_answer(calicopy, agent):
    way, address = agent.backend.next_hops[0], ip_address("10.244.0.64")
    for answer, shown in (((True, 0.0004), "0.4 ms"), ((False, None), "no"), ((None, None), "-")):
        agent.backend.next_hops = (replace(way, answers=(views.TunnelAnswerView(address, *answer),)),)
        assert any(line.endswith(f"1480  {shown}") for line in calicopy("status").out.splitlines())


def test_routes_show_paths_owner_and_kernel(calicopy):
    done = calicopy("routes")
    assert done.lines[1].split()[:5] == ["10.244.0.64/26", "best", "node2", "192.0.2.2", "node2"]
    assert "via 192.0.2.2 dev eth1" in done.lines[1]


def test_a_prefix_is_written_once_and_every_loser_has_its_reason(calicopy, agent):
    route = route_view("10.244.0.64/26")
    lost = replace(
        route.paths[0],
        peer="node3",
        state=views.PathState.LOST,
        reason=views.ReasonView("as-path-length", "longer AS path", "RFC 4271 section 9.1.2.2"),
    )
    agent.backend.route_list = [replace(route, paths=(*route.paths, lost), kernel=None)]
    lines = calicopy("routes").lines
    assert lines[1].startswith("10.244.0.64/26")
    assert lines[2].startswith(" ")
    assert "longer AS path (RFC 4271 section 9.1.2.2)" in lines[2]


@pytest.mark.parametrize(
    ("words", "query", "peer"),
    [
        ([], views.RouteQuery.ALL, ""),
        (["--received", "node2"], views.RouteQuery.RECEIVED, "node2"),
        (["--advertised", "node2"], views.RouteQuery.ADVERTISED, "node2"),
        (["--rejected"], views.RouteQuery.REJECTED, ""),
        (["--installed", "10.244.0.64/26"], views.RouteQuery.INSTALLED, ""),
        (["--peer", "node3"], views.RouteQuery.ALL, "node3"),
    ],
)
def test_each_view_of_routes_is_asked_for(calicopy, agent, words, query, peer):
    assert calicopy("routes", *words).code == 0
    assert agent.backend.queries[-1][:2] == (query, peer)


def test_installed_routes_read_as_ip_route_writes_them(calicopy):
    assert calicopy("routes", "--installed").lines == [
        "10.244.0.64/26 via 192.0.2.2 dev eth1 metric 1024",
        "10.244.0.128/26 via 192.0.2.2 dev eth1 metric 1024",
    ]


def test_no_routes_are_an_empty_list_and_not_an_error(calicopy, agent):
    agent.backend.route_list = []
    done = calicopy("routes")
    assert (done.code, done.out, done.err) == (0, "", "no routes\n")
    assert calicopy("routes", "-o", "json").json == {"items": []}


def test_a_route_that_is_not_there_ends_with_one(calicopy, agent):
    agent.backend.route_list = []
    done = calicopy("routes", "10.9.9.9")
    assert (done.code, done.out, done.err) == (1, "", "calicopy: 10.9.9.9: no such route\n")
    done = calicopy("routes", "10.9.9.9", "-o", "json")
    assert (done.code, done.json) == (1, {"items": []})


def test_ipam_shows_pools_blocks_and_addresses(calicopy):
    assert calicopy("ipam", "show").lines[1].split()[:4] == ["pods", "10.244.0.0/16", "/26", "none"]
    assert [line.split()[0] for line in calicopy("ipam", "show", "--blocks").lines[1:]] == [
        "10.244.0.0/26",
        "10.244.0.64/26",
    ]
    assert calicopy("ipam", "show", "--ip", "10.244.0.9").lines[1].split()[1] == "free"
    assert calicopy("ipam", "show", "--addresses", "-o", "json").json == {"items": []}


def test_an_address_is_assigned_and_released_by_its_handle(calicopy):
    assert calicopy("ipam", "assign", "vm-17").out == "10.244.0.1\n"
    assert calicopy("ipam", "assign", "vm-17", "-o", "json").json["address"] == "10.244.0.1"
    assert calicopy("ipam", "release", "vm-17", "--sequence", "9").code == 4
    assert calicopy("ipam", "release", "vm-17").out == "released 10.244.0.1\n"
    assert calicopy("ipam", "release", "vm-17").out == "vm-17 has no address\n"


def test_a_full_pool_is_an_error_and_a_wrong_address_is_refused(calicopy):
    assert calicopy("ipam", "assign", "vm-17", "--pool", "other").code == 1
    done = calicopy("ipam", "assign", "vm-17", "--address", "10.244.0")
    assert done.code == 4
    assert done.err.startswith("calicopy: address: '10.244.0' is not an address")


def test_a_block_is_released(calicopy):
    assert calicopy("ipam", "release", "--block", "10.244.0.64/26").out == (
        "released 10.244.0.64/26, which was reserved for node2\n"
    )
    assert calicopy("ipam", "release", "--block", "10.244.0.64/26").code == 1


def test_a_workload_is_attached_listed_and_detached(calicopy):
    both = ["10.244.0.1", "fd00:10:244::1"]
    attached = calicopy("workload", "attach", "pod1", "pod1").out
    assert attached == "pod1 attached: 10.244.0.1, fd00:10:244::1 on eth0 (cali0)\n"
    assert "was attached before" in calicopy("workload", "attach", "pod1", "pod1").out
    assert calicopy("workload", "attach", "pod1", "pod1", "-o", "json").json["addresses"] == both
    assert calicopy("workload", "list", "-o", "json").json["items"][0]["netns"] == "pod1"
    assert calicopy("workload", "list").lines[1].split()[:4] == ["pod1", "10.244.0.1,", "fd00:10:244::1", "pod1"]
    assert calicopy("workload", "detach", "pod1").out == "pod1 detached\n"
    done = calicopy("workload", "detach", "pod1")
    assert (done.code, done.out) == (0, "pod1 was not attached\n")


def test_a_workload_may_be_given_one_family_or_certain_addresses(calicopy):
    one = calicopy("workload", "attach", "pod1", "pod1", "--family", "ipv6", "-o", "json")
    assert one.json["addresses"] == ["fd00:10:244::1"]
    words = ("--address", "10.244.0.9", "--address", "fd00:10:244::9", "--pool", "pods")
    named = calicopy("workload", "attach", "pod2", "pod2", *words, "-o", "json")
    assert named.json["addresses"] == ["10.244.0.9", "fd00:10:244::9"]
    assert calicopy("workload", "attach", "pod3", "pod3", "--family", "ipx").code == 2
    assert "'nine' is not an address" in calicopy("workload", "attach", "pod3", "pod3", "--address", "nine").err


@pytest.mark.parametrize(
    "words",
    [
        ["routes", "--received", "node2", "--rejected"],
        ["routes", "--family", "ipx"],
        ["ipam", "release"],
        ["ipam", "release", "vm", "--block", "10.244.0.0/26"],
        ["ipam", "show", "--blocks", "--ip", "10.0.0.1"],
        ["peers", "-o", "xml"],
        ["peers", "--server", "127.0.0.1:1"],
        ["peers", "--cert", "/etc/hostname"],
        ["peers", "--timeout", "0"],
        ["watch", "everything"],
        ["completion", "tcsh"],
        ["nonsense"],
    ],
)
def test_wrong_usage_ends_with_two(calicopy, words):
    done = calicopy(*words)
    assert (done.code, done.out) == (2, "")
    assert "Error" in done.err


def test_options_may_stand_before_the_command(calicopy, agent, tmp_path):
    assert calicopy("-o", "json", "peers").json["items"]
    assert calicopy("--socket", str(tmp_path / "none"), "peers").code == 3
    assert calicopy("--socket", str(tmp_path / "none"), "peers", "--socket", agent.socket).code == 0


def test_the_status_counts_addresses_by_family_where_there_are_two(calicopy, agent):
    assert "Addresses of pods  1 block, 2 assigned, 62 free" in calicopy("status").out
    both = ((Family.IPV4, 1, 63), (Family.IPV6, 2, 62))
    status = agent.backend.status()
    agent.backend.status = lambda: replace(status, ipam=replace(status.ipam, blocks=2, families=both))
    line = next(line for line in calicopy("status").lines if line.startswith("Addresses of pods"))
    assert line.split(None, 3)[3] == "2 blocks, ipv4 1 assigned 63 free, ipv6 2 assigned 62 free"
