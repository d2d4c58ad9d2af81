"""What values of the cluster file may not say together, and many errors of one file: each is named with its place."""
from __future__ import annotations

import pytest
from refusedfiles import Case, assert_refused

from calicopy.config.load import load_text


def NODES(*lines: str) -> str:
    return "nodes:\n" + "".join(f"- {{{line}}}\n" for line in lines)


A, B = "name: a, address: 192.0.2.1/24", "name: b, address: 192.0.2.2/24"
POOL = "pools:\n- cidr: 10.244.0.0/16\n"

TOGETHER = [
    Case(
        "two nodes with one name",
        NODES(A, "name: a, address: 192.0.2.2/24"),
        [("nodes[1].name", 3, "two nodes have the name 'a' (nodes[0].name, line 2)")],
    ),
    Case(
        "two nodes with one address",
        NODES(A, "name: b, address: 192.0.2.1/24"),
        [("nodes[1].address", 3, "two nodes have the address 192.0.2.1 (nodes[0].address, line 2)")],
    ),
    Case(
        "two nodes with one address and other lengths",
        NODES(A, "name: b, address: 192.0.2.1/25"),
        [("nodes[1].address", 3, "two nodes have the address")],
    ),
    Case(
        "two nodes with one IPv6 address",
        NODES(A + ", address6: '2001:db8::1/64'", B + ", address6: '2001:db8:0::1/64'"),
        [("nodes[1].address6", 3, "2001:db8::1")],
    ),
    Case(
        "two nodes with one router id",
        NODES(A + ", router_id: 1.1.1.1", B + ", router_id: 1.1.1.1"),
        [("nodes[1].router_id", 3, "two nodes have the router id 1.1.1.1 (nodes[0].router_id")],
    ),
    Case(
        "a router id that is another node's default",
        NODES(A, B + ", router_id: 192.0.2.1"),
        [("nodes[1].router_id", 3, "(nodes[0].address, line 2)")],
    ),
    Case(
        "an address that is another node's router id",
        NODES(A + ", router_id: 192.0.2.2", B),
        [("nodes[1].address", 3, "router id 192.0.2.2 (nodes[0].router_id, line 2)")],
    ),
    Case(
        "only IPv6, and no router id",
        NODES("name: a, address6: '2001:db8::1/64'"),
        [("nodes[0]", 2, "needs a `router_id`")],
    ),
    Case(
        "overlapping pools",
        NODES(A) + POOL + "- cidr: 10.244.128.0/17\n",
        [("pools[1].cidr", 5, "pool 10.244.128.0/17 overlaps pool 10.244.0.0/16 (pools[0].cidr, line 4)")],
    ),
    Case(
        "the same pool twice",
        NODES(A) + POOL + "- cidr: 10.244.0.0/16\n",
        [("pools[1].cidr", 5, "overlaps"), ("pools[1].cidr", 5, "two pools have the name")],
    ),
    Case(
        "two pools with one name",
        NODES(A) + "pools:\n- {name: p, cidr: 10.1.0.0/16}\n- {name: p, cidr: 10.2.0.0/16}\n",
        [("pools[1].name", 5, "'p' (pools[0].name, line 4)")],
    ),
    Case(
        "a block larger than its pool",
        NODES(A) + "pools:\n- cidr: 10.244.0.0/24\n  block_size: 23\n",
        [("pools[0].block_size", 5, "a block of /23 is larger than its pool 10.244.0.0/24")],
    ),
    Case(
        "a pool smaller than the default block",
        NODES(A) + "pools:\n- cidr: 10.244.0.0/28\n",
        [("pools[0].cidr", 4, "a block of /26 (the default) is larger")],
    ),
    Case(
        "a block size out of range",
        NODES(A) + POOL + "  block_size: 8\n",
        [("pools[0].block_size", 5, "from 20 to 32 for ipv4")],
    ),
    Case(
        "an IPv4 block size for IPv6",
        NODES(A) + "pools:\n- cidr: fd00::/64\n  block_size: 26\n",
        [("pools[0].block_size", 5, "from 116 to 128 for ipv6")],
    ),
    Case(
        "loopback as a pool",
        NODES(A) + "pools:\n- cidr: 127.16.0.0/12\n",
        [("pools[0].cidr", 4, "127.0.0.0/8 is reserved")],
    ),
    Case(
        "everything as a pool",
        NODES(A) + "pools:\n- cidr: 0.0.0.0/0\n",
        [("nodes[0].address", 2, "outside of all pools"), ("pools[0].cidr", 4, "reserved")],
    ),
    Case(
        "ipip for IPv6",
        NODES(A) + "pools:\n- cidr: fd00::/64\n  encapsulation: ipip\n",
        [("pools[0].encapsulation", 5, "ipip carries IPv4 only")],
    ),
    Case(
        "a node inside a pool",
        NODES("name: a, address: 10.244.0.5/24") + POOL,
        [("nodes[0].address", 2, "(pools[0].cidr, line 4)")],
    ),
    Case(
        "a pinned block outside of every pool",
        NODES(A + ", blocks: [10.9.0.0/26]") + POOL,
        [("nodes[0].blocks[0]", 2, "the block 10.9.0.0/26 lies in no pool")],
    ),
    Case(
        "a pinned block of another length",
        NODES(A + ", blocks: [10.244.0.0/26, 10.244.1.0/24]") + POOL,
        [("nodes[0].blocks[1]", 2, "expected one of the pool's block size, /26")],
    ),
    Case(
        "a block pinned twice",
        NODES(A + ", blocks: [10.244.0.0/26]", B + ", blocks: [10.244.0.0/26]") + POOL,
        [("nodes[1].blocks[0]", 3, "the block 10.244.0.0/26 is pinned twice (nodes[0].blocks[0], line 2)")],
    ),
    Case(
        "a block pinned to a node that its pool does not select",
        NODES(A + ", blocks: [10.244.0.0/26]") + POOL + "  node_selector: {rack: x}\n",
        [("nodes[0].blocks[0]", 2, "does not select")],
    ),
    Case(
        "a peer that is the node itself",
        NODES(A) + "bgp:\n  peers:\n  - {address: 192.0.2.1, as: 64512}\n",
        [("bgp.peers[0].address", 5, "that of node 'a', which holds this session itself (nodes[0].address, line 2)")],
    ),
    Case(
        "a peer that is in the mesh already",
        NODES(A, B) + "bgp:\n  peers:\n  - {address: 192.0.2.1, as: 64512, nodes: [b]}\n",
        [("bgp.peers[0].address", 6, "a peer by the mesh already")],
    ),
    Case(
        "one peer address twice",
        NODES(A) + "bgp:\n  peers:\n  - {address: 192.0.2.9, as: 1}\n  - {address: 192.0.2.9, as: 2}\n",
        [
            (
                "bgp.peers[1].address",
                6,
                "two peers have the address 192.0.2.9, and a node holds both (bgp.peers[0].address, line 5)",
            )
        ],
    ),
    Case(
        "one peer name twice",
        NODES(A)
        + "bgp:\n  peers:\n  - {name: x, address: 192.0.2.8, as: 1}\n  - {name: x, address: 192.0.2.9, as: 2}\n",
        [("bgp.peers[1].name", 6, "two peers have the name 'x'")],
    ),
    Case(
        "a peer with a node's name",
        NODES(A) + "bgp:\n  peers:\n  - {name: a, address: 192.0.2.8, as: 1}\n",
        [("bgp.peers[0].name", 5, "the name of a node (nodes[0].name, line 2)")],
    ),
    Case(
        "a peer of an unknown node",
        NODES("name: left, address: 192.0.2.1/24") + "bgp:\n  peers:\n  - {address: 192.0.2.8, as: 1, nodes: [lift]}\n",
        [("bgp.peers[0].nodes[0]", 5, "no node has the name 'lift' (did you mean 'left'?)")],
    ),
    Case(
        "nodes and a selector for one peer",
        NODES(A) + "bgp:\n  peers:\n  - {address: 192.0.2.8, as: 1, nodes: [a], node_selector: {x: z}}\n",
        [("bgp.peers[0].node_selector", 5, "either `nodes` or `node_selector`")],
    ),
    Case(
        "detection without a value",
        NODES("name: a") + "address_detection: {method: cidr}\n",
        [("address_detection", 3, "method cidr needs a `value`")],
    ),
    Case(
        "detection by a prefix that is none",
        NODES("name: a") + "address_detection: {method: cidr, value: eth1}\n",
        [("address_detection.value", 3, "expected a prefix")],
    ),
    Case(
        "detection by a target that is no address",
        NODES("name: a, address_detection: {method: can-reach, value: x}"),
        [("nodes[0].address_detection.value", 2, "expected an IP address")],
    ),
    Case(
        "detection by an interface name that is too long",
        NODES("name: a") + "address_detection: {method: interface, value: abcdefghijklmnop}\n",
        [("address_detection.value", 3, "name of an interface")],
    ),
    Case(
        "a value for detection by the default route",
        NODES("name: a") + "address_detection: {value: eth0}\n",
        [("address_detection.value", 3, "takes no value")],
    ),
    Case(
        "a socket path that no socket can have",
        NODES(A) + f"agent: {{socket: /{'x' * 110}}}\n",
        [("agent.socket", 3, "107 bytes")],
    ),
    Case(
        "state in the run directory",
        NODES(A) + "agent: {state_dir: /x, run_dir: /x}\n",
        [("agent.run_dir", 3, "same as `state_dir`")],
    ),
]


@pytest.mark.parametrize("case", TOGETHER, ids=lambda case: case.sentence)
def test_the_file_is_refused_for(case: Case) -> None:
    assert_refused(case)


def test_every_error_of_a_file_is_named_at_once_with_its_place() -> None:
    text = """\
cluster:
  as: 0
nodes:
  - name: n1
    address: 192.0.2.1/24
    colour: blue
  - name: n2
    address: 192.0.2.1/24
    as: x
  - name: n1
    address: 192.0.2.300/24
  - address: 192.0.2.4/24
pools:
  - cidr: 10.244.0.0/16
    nat_outgoing: yes
  - cidr: 10.0.0.0/8
    block_size: 33
  - {cidr: 10.9.0.0/24, block_size: 22}
bgp:
  hold_time_s: 1
  hold_time_s: 9
"""
    result = load_text(text, filename="cluster.yaml")
    assert [(error.line, error.column, error.path) for error in result.errors] == [
        (2, 7, "cluster.as"),
        (6, 5, "nodes[0].colour"),
        (8, 14, "nodes[1].address"),
        (9, 9, "nodes[1].as"),
        (10, 11, "nodes[2].name"),
        (11, 14, "nodes[2].address"),
        (12, 5, "nodes[3].name"),
        (15, 19, "pools[0].nat_outgoing"),
        (16, 11, "pools[1].cidr"),
        (17, 17, "pools[1].block_size"),
        (18, 12, "pools[2].cidr"),
        (18, 37, "pools[2].block_size"),
        (20, 16, "bgp.hold_time_s"),
        (21, 3, "bgp.hold_time_s"),
    ]
    assert str(result.errors[2]) == (
        "cluster.yaml:8:14: nodes[1].address: two nodes have the address 192.0.2.1 (nodes[0].address, line 5)"
    )


def test_places_survive_when_items_before_are_refused() -> None:
    text = (
        NODES("nam: x", A, "name: b, address: 192.0.2.1/24") + "pools: [{}, {cidr: 10.0.0.0/16}, {cidr: 10.0.0.0/17}]\n"
    )
    errors = {error.path: error for error in load_text(text, filename="f").errors}
    assert errors["nodes[2].address"].line == 4
    assert "(nodes[1].address, line 3)" in errors["nodes[2].address"].message
    assert "(pools[1].cidr, line 5)" in errors["pools[2].cidr"].message
