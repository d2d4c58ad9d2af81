"""From a session of the cluster file to the one that the speaker holds."""

from __future__ import annotations

from calicopy.config.load import load_text
from calicopy.config.resolve import resolve
from calicopy.core.peering.session_spec import session_spec
from calicopy.net import Family
from calicopy.seam.speaker import SessionSpec

TEXT = """
nodes: [{name: n1, address: 192.0.2.1/24}, {name: n2, address: 192.0.2.2/24}]
pools: [{cidr: 10.244.0.0/16}]
bgp: {mesh: MESH, peers: [{name: tor, address: 192.0.2.9, as: 65000, nodes: [n1], KEYS}]}
"""


def spec_of(keys: str = "port: 179", *, mesh: str = "false", without_state: bool = False) -> SessionSpec:
    result = load_text(TEXT.replace("KEYS", keys).replace("MESH", mesh), filename="f")
    node = resolve(result.require(), "n1")
    return session_spec(node.sessions[0], node, restarted_without_state=without_state)


def test_every_value_of_the_session_is_said() -> None:
    keys = (
        "local_as: 65001, families: [ipv6, ipv4], hold_time_s: 30, keepalive_s: 5, passive: true, listen_port: 1791, "
    )
    keys += "port: 1790, password_file: /k, multihop: 3, add_path: true, graceful_restart_time_s: 0"
    assert spec_of(keys, without_state=True) == SessionSpec(
        name="tor",
        peer_address="192.0.2.9",
        local_address="192.0.2.1",
        local_as=65001,
        peer_as=65000,
        router_id="192.0.2.1",
        families=(Family.IPV6, Family.IPV4),
        hold_time_s=30,
        keepalive_s=5,
        passive=True,
        listen_port=1791,
        peer_port=1790,
        md5_password_file="/k",
        outgoing_ttl=3,
        incoming_ttl=None,
        graceful_restart_time_s=0,
        restarted_without_state=True,
        add_path_send=(Family.IPV6, Family.IPV4),
        add_path_receive=(Family.IPV6, Family.IPV4),
    )


def test_a_neighbour_of_another_as_gets_ttl_1_and_nodes_the_systems() -> None:
    assert (spec_of().outgoing_ttl, spec_of().incoming_ttl) == (1, None)
    assert (spec_of(mesh="true").name, spec_of(mesh="true").outgoing_ttl) == ("n2", None)


def test_ttl_security_counts_hops_down_from_255() -> None:
    for hops, least in ((1, 255), (3, 253)):
        spec = spec_of(f"ttl_security: {hops}")
        assert (spec.outgoing_ttl, spec.incoming_ttl) == (255, least)


def test_nodes_offer_add_path_and_others_do_not() -> None:
    assert spec_of().add_path_send == ()
    assert spec_of(mesh="true").add_path_receive == (Family.IPV4,)
