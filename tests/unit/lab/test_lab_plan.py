"""What a topology comes to: names, addresses, binds, links."""
from __future__ import annotations

from textwrap import dedent

import pytest

from calicopy.lab.plan import IDLE, LinkEnd, Plan, PlanError, make_plan
from calicopy.lab.topology import parse

TEXT = """
name: x
mgmt: {ipv4-subnet: 10.9.0.0/29}
topology:
  defaults: {kind: linux}
  nodes:
    n1: {cmd: run, binds: ["c.yaml:/etc/c.yaml:ro", "../up/__clabNodeName__:/up", "/abs:/abs"], env: {PATH: /only}}
    n2: {mgmt-ipv4: 10.9.0.2}
    side: {network-mode: "container:n1"}
    sw:
    br0|sw: {kind: bridge, network-mode: "container:sw"}
    br-host: {kind: bridge}
  links:
    - endpoints: ["n1:eth1", "br0|sw:n1"]
    - endpoints: ["side:eth2", "br-host:p1"]
"""


def plan(text: str = TEXT, *, mgmt: bool = True) -> Plan:
    return make_plan(parse(dedent(text), file="/labs/x/x.clab.yml"), bin_dirs=("/venv/bin",), mgmt=mgmt)


def test_each_node_with_a_network_of_its_own_has_a_namespace_of_the_containers_name() -> None:
    assert plan().namespaces == ("clab-x-n1", "clab-x-n2", "clab-x-sw", "clab-x-.mgmt")
    assert [(node.name, node.netns) for node in plan().nodes] == [
        ("n1", "clab-x-n1"), ("n2", "clab-x-n2"), ("side", "clab-x-n1"), ("sw", "clab-x-sw")]


def test_management_addresses_are_those_asked_for_and_else_the_next_free_ones() -> None:
    given = {node.name: str(node.mgmt.ipv4) for node in plan().nodes if node.mgmt}
    assert given == {"n1": "10.9.0.3/29", "n2": "10.9.0.2/29", "sw": "10.9.0.4/29"}
    gateway = plan().mgmt
    assert gateway is not None
    assert str(gateway.ipv4) == "10.9.0.1/29"


def test_without_management_there_is_no_eth0() -> None:
    without = plan(mgmt=False)
    assert without.mgmt is None
    assert all(node.mgmt is None for node in without.nodes)
    assert without.namespaces == ("clab-x-n1", "clab-x-n2", "clab-x-sw")


def test_a_bind_is_relative_to_the_topology_file() -> None:
    assert [(bind.source, bind.target) for bind in plan().nodes[0].binds] == [
        ("/labs/x/c.yaml", "/etc/c.yaml"), ("/labs/up/n1", "/up"), ("/abs", "/abs")]


def test_a_node_finds_the_given_programs_first_unless_it_sets_path_itself() -> None:
    n1, n2, *_ = plan().nodes
    assert n1.env["PATH"] == "/only"
    assert n2.env["PATH"].startswith("/venv/bin:/usr/local/sbin:")


def test_a_node_without_cmd_idles() -> None:
    assert plan().nodes[1].argv == IDLE


def test_link_ends_go_to_the_namespace_and_the_bridge_that_the_node_stands_for() -> None:
    assert [link.ends for link in plan().links] == [
        (LinkEnd("clab-x-n1", "eth1", None), LinkEnd("clab-x-sw", "n1", "br0")),
        (LinkEnd("clab-x-n1", "eth2", None), LinkEnd(None, "p1", "br-host"))]
    assert plan().host_interfaces == ("p1",)


@pytest.mark.parametrize(("change", "expected"), [
    (("10.9.0.2}", "10.9.0.1}"), "/labs/x/x.clab.yml:8: topology.nodes.n2: 10.9.0.1 is not free"),
    (("10.9.0.2}", "10.8.0.2}"), "/labs/x/x.clab.yml:8: topology.nodes.n2: 10.8.0.2 is not free"),
    (("/29", "/30"), "the management network 10.9.0.0/30 is too small for 3 nodes"),
])
def test_management_addresses_that_do_not_work_out_are_refused(change: tuple[str, str], expected: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan(TEXT.replace(*change))
    assert expected in str(caught.value)
