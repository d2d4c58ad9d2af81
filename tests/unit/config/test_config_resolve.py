"""What one node needs of the file, and which address is its own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_interface

import pytest

from calicopy.config.detect import AddressFact, choose_address
from calicopy.config.load import load_text
from calicopy.config.model import AddressDetection, ClusterConfig
from calicopy.config.resolve import NodeNotFoundError, find_node, resolve
from calicopy.net import Family, Prefix

TEXT = """
nodes:
- {name: n1, address: 192.0.2.1/24, labels: {rack: a}, blocks: [10.244.1.0/26]}
- {name: n2, address: 192.0.2.2/24, address6: "2001:db8::2/64", labels: {rack: b}, as: 65002}
- {name: n3, address: 192.0.2.3/24, address6: "2001:db8::3/64", router_id: 1.1.1.1, labels: {rack: b}}
- {name: n4, router_id: 4.4.4.4, address_detection: {method: interface, value: eth1}}
pools:
- {cidr: 10.244.0.0/16}
- {cidr: 10.245.0.0/16, node_selector: {rack: b}}
bgp:
  hold_time_s: 30
  mesh_password_file: /mesh
  peers:
  - {name: tor, address: 192.0.2.254, as: 65100, node_selector: {rack: a}, hold_time_s: 9, port: 1179}
  - {address: 192.0.2.253, as: 64512, nodes: [n2], prefix_limit: 10, families: [ipv4, ipv6]}
"""


@pytest.fixture
def config() -> ClusterConfig:
    return load_text(TEXT, filename="f").require()


def test_a_node_is_found_by_option_then_by_hostname_then_without_its_domain(config: ClusterConfig) -> None:
    assert find_node(config, node="n2", hostname="n1").name == "n2"
    assert find_node(config, node=None, hostname="n3").name == "n3"
    assert find_node(config, node=None, hostname="n3.example.net").name == "n3"


def test_a_host_that_is_no_node_is_told_which_there_are(config: ClusterConfig) -> None:
    with pytest.raises(
        NodeNotFoundError, match=r"the hostname is 'x1.example.net'.*it has n1, n2, n3, n4; add it, or .*--node"
    ):
        find_node(config, node=None, hostname="x1.example.net")
    with pytest.raises(NodeNotFoundError, match=r"--node is 'n33'.*did you mean 'n3'"):
        find_node(config, node="n33", hostname="n1")


def test_the_mesh_holds_one_session_per_node_and_one_side_dials(config: ClusterConfig) -> None:
    by_name = {node: {each.name: each for each in resolve(config, node).sessions} for node in ("n1", "n2", "n3")}
    assert list(by_name["n1"]) == ["n2", "n3", "tor"]
    for one, other in (("n1", "n2"), ("n1", "n3"), ("n2", "n3")):
        assert by_name[one][other].passive != by_name[other][one].passive
    session = by_name["n3"]["n2"]
    assert (session.asn, session.local_asn, session.ibgp, session.node) == (65002, 64512, False, "n2")
    assert (session.hold_time_s, session.password_file, session.trust_owner) == (30, "/mesh", True)
    assert (session.address, session.local_address) == (IPv4Address("192.0.2.2"), IPv4Address("192.0.2.3"))
    assert session.families == (Family.IPV4, Family.IPV6)
    assert session.passive  # 1.1.1.1 is lower than 192.0.2.2


def test_peers_apply_by_selector_and_by_name_with_defaults_worked_out(config: ClusterConfig) -> None:
    tor = resolve(config, "n1").sessions[-1]
    assert (tor.name, tor.port, tor.hold_time_s, tor.trust_owner, tor.node, tor.prefix_limit) == (
        "tor",
        1179,
        9,
        False,
        None,
        250_000,
    )
    assert tor.families == (Family.IPV4,)
    other = resolve(config, "n2").sessions[-1]
    assert (other.name, other.prefix_limit, other.local_asn, other.hold_time_s) == ("192.0.2.253", 10, 65002, 30)
    assert [each.name for each in resolve(config, "n3").sessions] == ["n1", "n2"]


def test_pools_apply_by_labels_and_pins_are_those_of_all_nodes(config: ClusterConfig) -> None:
    assert [str(pool.cidr) for pool in resolve(config, "n1").pools] == ["10.244.0.0/16"]
    assert [str(pool.cidr) for pool in resolve(config, "n2").pools] == ["10.244.0.0/16", "10.245.0.0/16"]
    assert resolve(config, "n2").pinned == {Prefix.parse("10.244.1.0/26"): "n1"}


def test_a_node_without_address_waits_and_has_its_sessions_once_it_is_detected(config: ClusterConfig) -> None:
    waiting = resolve(config, "n4")
    assert (waiting.ready, waiting.sessions, waiting.address) == (False, (), None)
    assert waiting.detection == AddressDetection.model_validate({"method": "interface", "value": "eth1"})
    found = resolve(config, "n4", address=IPv4Interface("192.0.2.4/24"))
    assert (found.ready, found.router_id) == (True, IPv4Address("4.4.4.4"))
    assert [each.name for each in found.sessions] == ["n1", "n2", "n3"]
    assert found.nodes[3].interfaces == (IPv4Interface("192.0.2.4/24"),)
    assert resolve(config, "n1").unreachable_nodes == ("n4",)


def test_the_router_id_of_a_detected_address_is_that_address() -> None:
    config = load_text("nodes: [{name: a}]\n", filename="f").require()
    assert resolve(config, "a").router_id is None
    assert resolve(config, "a", address=IPv4Interface("10.9.9.9/24")).router_id == IPv4Address("10.9.9.9")
    only6 = resolve(config, "a", address6=IPv6Interface("2001:db8::1/64"))
    assert not only6.ready  # no router id can be made of it


def test_the_files_address_goes_before_a_detected_one(config: ClusterConfig) -> None:
    assert resolve(config, "n1", address=IPv4Interface("10.9.9.9/24")).address == IPv4Interface("192.0.2.1/24")


def test_without_the_mesh_only_configured_peers_remain_and_a_peer_that_is_a_node_is_known_as_one() -> None:
    text = "nodes: [{name: a, address: 10.0.0.1/24}, {name: b, address: 10.0.0.2/24}]\n"
    text += "bgp: {mesh: false, peers: [{name: link, address: 10.0.0.2, as: 64512, nodes: [a]}]}\n"
    config = load_text(text, filename="f").require()
    assert [(each.name, each.node, each.trust_owner) for each in resolve(config, "a").sessions] == [("link", "b", True)]
    assert resolve(config, "b").sessions == ()


def fact(text: str, interface: str, *, default: bool = False, reaches: bool = False) -> AddressFact:
    return AddressFact(interface, ip_interface(text), default_route=default, reaches_target=reaches)


HOST = [
    fact("127.0.0.1/8", "lo"),
    fact("172.20.20.5/24", "eth0", default=True),
    fact("192.0.2.1/24", "eth1", reaches=True),
    fact("192.0.2.65/24", "eth2"),
    fact("10.244.0.1/32", "tunl0"),
    fact("fe80::1/64", "eth1"),
    fact("2001:db8::1/64", "eth1"),
]


@pytest.mark.parametrize(
    ("method", "value", "family", "expected"),
    [
        ("default-route", None, Family.IPV4, "172.20.20.5/24"),
        ("interface", "eth1", Family.IPV4, "192.0.2.1/24"),
        ("interface", "eth1", Family.IPV6, "2001:db8::1/64"),
        ("can-reach", "192.0.2.254", Family.IPV4, "192.0.2.1/24"),
        ("cidr", "192.0.2.0/26", Family.IPV4, "192.0.2.1/24"),
        ("cidr", "10.0.0.0/8", Family.IPV4, None),
        ("interface", "eth9", Family.IPV4, None),
        ("cidr", "192.0.2.0/24", Family.IPV4, None),
        ("default-route", None, Family.IPV6, None),
    ],
)
def test_an_address_is_chosen_by_its_rule_alone(
    method: str, value: str | None, family: Family, expected: str | None
) -> None:
    spec = AddressDetection.model_validate({"method": method, "value": value})
    pools = (Prefix.parse("10.244.0.0/16"),)
    outcomes = {choose_address(spec, facts, family, exclude=pools) for facts in (HOST, HOST[::-1])}
    assert len(outcomes) == 1
    outcome = outcomes.pop()
    assert outcome.address == (ip_interface(expected) if expected else None)


def test_a_rule_that_fits_two_addresses_chooses_none_and_names_both() -> None:
    spec = AddressDetection.model_validate({"method": "cidr", "value": "192.0.2.0/24"})
    outcome = choose_address(spec, HOST, Family.IPV4)
    assert outcome.address is None
    assert outcome.reason == (
        "more than one ipv4 address inside 192.0.2.0/24: 192.0.2.1/24 on eth1, 192.0.2.65/24 on eth2; "
        "narrow the rule down"
    )


def test_no_address_yet_says_what_the_host_has() -> None:
    spec = AddressDetection.model_validate({"method": "interface", "value": "eth1"})
    assert choose_address(spec, HOST[:2], Family.IPV4).reason == (
        "no ipv4 address on interface eth1; this host has 172.20.20.5/24 on eth0"
    )
