"""What a change of the file does to the sessions of a node."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address

import pytest

from calicopy.config.diff import IN_PLACE_FIELDS, RESET_FIELDS, diff_sessions, file_key
from calicopy.config.load import load_text
from calicopy.config.nodeconfig import BfdConfig, NodeConfig, SessionConfig
from calicopy.config.resolve import resolve
from calicopy.core.peering.session_spec import session_spec
from calicopy.net import Family
from calicopy.policy import AdvertiseScope, Filter, LimitAction, NextHopMode
from calicopy.seam.bfd import HopMode

BASE = """
nodes:
- {name: n1, address: 192.0.2.1/24}
- {name: n2, address: 192.0.2.2/24}
- {name: rr, address: 192.0.2.3/24, route_reflector: true, labels: {role: rr}}
pools: [{cidr: 10.244.0.0/16}]
"""
PEER = "  peers:\n  - {{name: tor, address: 192.0.2.9, as: 65000{}}}\n"


def node(bgp: str, name: str = "n1", *, base: str = BASE) -> NodeConfig:
    result = load_text(base + bgp, filename="f")
    assert result.errors == (), [str(error) for error in result.errors]
    return resolve(result.require(), name)


def tor(keys: str = "", bgp: str = "") -> NodeConfig:
    return node("bgp:\n  mesh: false\n" + bgp + PEER.format(keys))


TOR = IPv4Address("192.0.2.9")


def test_the_same_file_changes_nothing() -> None:
    assert not diff_sessions(tor(), tor())


def test_peers_come_and_go_by_address() -> None:
    changes = diff_sessions(tor(), node("bgp: {}\n"))
    assert list(changes.added) == [IPv4Address("192.0.2.2"), IPv4Address("192.0.2.3")]
    assert list(changes.removed) == [TOR]
    assert not changes.reset
    assert not changes.changed
    moved = diff_sessions(tor(), node("bgp:\n  mesh: false\n" + PEER.format("").replace(".9", ".8")))
    assert (list(moved.added), list(moved.removed)) == ([IPv4Address("192.0.2.8")], [TOR])


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        (", hold_time_s: 30", "hold_time_s"),
        (", password_file: /k", "password_file"),
        (", ttl_security: 1", "least_ttl"),
        (", multihop: 4", "ttl"),
        (", local_as: 65009", "local_asn"),
        (", port: 1179", "port"),
        (", listen_port: 1179", "listen_port"),
        (", passive: true", "passive"),
        (", add_path: true", "add_path"),
        (", families: [ipv4, ipv6]", "families"),
        (", graceful_restart_time_s: 0", "graceful_restart_time_s"),
    ],
)
def test_what_the_session_is_made_of_resets_it(keys: str, field: str) -> None:
    changes = diff_sessions(tor(), tor(keys))
    assert list(changes.reset) == [TOR]
    assert changes.reset[TOR].resets == (field,)
    assert (changes.reset[TOR].old.asn, getattr(changes.reset[TOR].new, field)) != (0, None)
    assert not changes.changed


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        (", allow_own_as: 1", "allow_own_as"),
        (", next_hops: [192.0.2.8]", "next_hops"),
        (", keepalive_s: 2", "keepalive_s"),
        (", trust_owner: true", "trust_owner"),
        (", advertise: all", "advertise"),
        (", prefix_limit: 5", "prefix_limit"),
        (", prefix_limit_action: warn", "prefix_limit_action"),
        (", prefix_limit_action: restart, prefix_limit_restart_s: 5", "prefix_limit_restart_s"),
        (", on_hold_expiry: keep", "flush_on_hold_expiry"),
        (", import: [f]", "import_filters"),
        (", export: [f]", "export_filters"),
        (", bfd: true", "bfd"),
    ],
)
def test_what_is_judged_by_the_routes_changes_in_place(keys: str, field: str) -> None:
    filters = "  filters: [{name: f, default: reject}]\n"
    changes = diff_sessions(tor("", filters), tor(keys, filters))
    assert list(changes.changed) == [TOR]
    assert changes.changed[TOR].resets == ()
    assert field in changes.changed[TOR].in_place
    assert not changes.reset


def test_a_rule_of_a_global_filter_changes_every_session_in_place() -> None:
    text = "bgp: {{import: [f], filters: [{{name: f, rules: [{{match: {{length: {}}}, action: reject}}]}}]}}\n"
    changes = diff_sessions(node(text.format(32)), node(text.format(31)))
    assert [change.in_place for change in changes.changed.values()] == [("import_filters",)] * 2


def test_from_the_mesh_to_reflectors_the_sessions_with_them_stay() -> None:
    by_reflector = "bgp: {mesh: false, peers: [{peer_selector: {role: rr}}]}\n"
    changes = diff_sessions(node("bgp: {}\n"), node(by_reflector))
    assert not changes.reset
    assert list(changes.removed) == [IPv4Address("192.0.2.2")]
    assert list(changes.changed) == [IPv4Address("192.0.2.3")]
    there = diff_sessions(node("bgp: {}\n", "rr"), node(by_reflector, "rr"))
    assert [change.in_place for change in there.changed.values()] == [("mesh", "client", "advertise")] * 2


def test_another_router_id_resets_every_session() -> None:
    base = BASE.replace("{name: n1,", "{name: n1, router_id: 9.9.9.9,")
    changes = diff_sessions(node("bgp: {}\n"), node("bgp: {}\n", base=base))
    assert all("router_id" in change.resets for change in changes.reset.values())
    assert len(changes.reset) == 2


def test_every_field_is_known_to_reset_or_not() -> None:
    assert {*RESET_FIELDS, *IN_PLACE_FIELDS, "address"} == {field.name for field in dataclasses.fields(SessionConfig)}
    assert (file_key("asn"), file_key("hold_time_s")) == ("as", "hold_time_s")


OTHER: dict[str, object] = {
    "name": "x",
    "local_address": IPv4Address("192.0.2.77"),
    "asn": 1,
    "local_asn": 2,
    "families": (Family.IPV6,),
    "hold_time_s": 77,
    "keepalive_s": 7,
    "graceful_restart_time_s": 7,
    "password_file": "/x",
    "ttl": 7,
    "least_ttl": 254,
    "port": 7,
    "listen_port": 7,
    "passive": True,
    "add_path": True,
    "node": "x",
    "mesh": True,
    "client": True,
    "advertise": AdvertiseScope.ALL,
    "next_hop": NextHopMode.KEEP,
    "allow_own_as": 3,
    "next_hops": (IPv4Address("192.0.2.8"),),
    "trust_owner": True,
    "prefix_limit": 7,
    "prefix_limit_action": LimitAction.WARN,
    "prefix_limit_restart_s": 7,
    "flush_on_hold_expiry": False,
    "import_filters": (Filter("f"),),
    "export_filters": (Filter("f"),),
    "bfd": BfdConfig(hop=HopMode.AUTO, interval_s=1.0, multiplier=3, min_ttl=1),
}


@pytest.mark.parametrize("field", [*RESET_FIELDS, *IN_PLACE_FIELDS])
def test_a_field_resets_exactly_when_the_speaker_sees_it(field: str) -> None:
    mine = tor()
    (session,) = mine.sessions
    other = dataclasses.replace(session, **{field: OTHER[field]})
    specs = [
        dataclasses.replace(session_spec(each, mine, restarted_without_state=False), name="", keepalive_s=None)
        for each in (session, other)
    ]
    assert (specs[0] != specs[1]) == (field in RESET_FIELDS)
