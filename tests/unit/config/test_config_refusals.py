"""What the cluster file may not say: one sentence per case, with the places and words of every error."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from calicopy.config.load import load_text


class Case(NamedTuple):
    sentence: str
    text: str
    expected: list[tuple[str, int, str]]
    """Path, line and a part of the message, of every error in order."""


HEAD = (
    "nodes:\n- {name: n1, address: 192.0.2.1/24}\n- {name: n2, address: 192.0.2.2/24}\npools:\n- cidr: 10.244.0.0/16\n"
)
"""Five good lines; what a case adds begins on line 6, with the pool's other keys or a section."""

YAML = [
    Case("a file without anything", "", [("", 1, "empty")]),
    Case("a file of comments", "# nothing\n", [("", 1, "empty")]),
    Case("a document of nothing", "---\n", [("", 2, "empty")]),
    Case("a list at the top", "- a\n", [("", 1, "found a list, expected the keys of a cluster file")]),
    Case("a text at the top", "hello\n", [("", 1, "found the text 'hello'")]),
    Case(
        "a duplicate key, with both lines",
        HEAD + "bgp:\n  mesh: true\n  mesh: false\n",
        [("bgp.mesh", 8, "twice: already on line 7")],
    ),
    Case("a duplicate section", HEAD + "bgp: {}\nnodes: []\n", [("nodes", 7, "twice: already on line 1")]),
    Case(
        "an anchor and its alias",
        HEAD + "agent:\n  run_dir: &a /x\n  state_dir: *a\n",
        [("agent.run_dir", 7, "anchor &a"), ("agent.state_dir", 8, "alias *a")],
    ),
    Case(
        "an alias bomb",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        [
            ("a", 1, "unknown key"),
            ("a", 1, "anchor"),
            ("b", 2, "unknown key"),
            ("b", 2, "anchor"),
            ("b[0]", 2, "alias"),
            ("b[1]", 2, "alias"),
            ("c", 3, "unknown key"),
            ("c[0]", 3, "alias"),
            ("c[1]", 3, "alias"),
            ("nodes", 1, "at least one"),
        ],
    ),
    Case("a merge key", HEAD + "bgp:\n  <<: {mesh: false}\n", [("bgp", 7, "merge key")]),
    Case(
        "a tag",
        HEAD + "bgp:\n  mesh: !!python/object:os.system x\n",
        [("bgp.mesh", 7, "found the tag !!python/object:os.system")],
    ),
    Case("a second document", HEAD + "---\nnodes: []\n", [("", 6, "second document")]),
    Case("a directive", "%YAML 1.1\n---\n" + HEAD, [("", 1, "directive")]),
    Case("a tab as indentation", HEAD + "bgp:\n\tmesh: true\n", [("", 7, "found a tab, expected spaces")]),
    Case("broken syntax", HEAD + "bgp: [1, 2\n", [("", 7, "not YAML")]),
    Case("a character that cannot be seen", HEAD + "#\x07\n", [("", 6, "U+0007")]),
    Case("a list as a key", HEAD + "[a]: 1\n", [("", 6, "found a list or mapping as a key")]),
    Case("a number as a key", HEAD + "5: 1\n", [("", 6, "found the key 5, expected a text")]),
    Case(
        "`no` as a switch",
        HEAD + "  nat_outgoing: no\n",
        [("pools[0].nat_outgoing", 6, "found no, which YAML 1.1 takes for a switch: write false")],
    ),
    Case("`on` as a switch", HEAD + "bgp:\n  mesh: on\n", [("bgp.mesh", 7, "write true")]),
    Case(
        "`no` as a name",
        "nodes:\n- name: no\n  address: 192.0.2.1/24\n",
        [("nodes[0].name", 2, 'quote it to mean the text, as "no"')],
    ),
    Case(
        "`no` as a label's name",
        "nodes:\n- name: a\n  address: 192.0.2.1/24\n  labels: {no: x}\n",
        [("nodes[0].labels", 4, "found no")],
    ),
    Case(
        "a number of base 60",
        HEAD + "bgp:\n  listen_port: 12:30\n",
        [("bgp.listen_port", 7, "found 12:30, which YAML 1.1 takes for a number of base 60")],
    ),
    Case("an octal number", HEAD + "bgp:\n  listen_port: 0179\n", [("bgp.listen_port", 7, "octal")]),
    Case("a number with `_`", HEAD + "bgp:\n  prefix_limit: 1_000\n", [("bgp.prefix_limit", 7, "only its digits")]),
    Case("a hexadecimal number", HEAD + "bgp:\n  listen_port: 0xb3\n", [("bgp.listen_port", 7, "decimal")]),
    Case(
        "a date as a label",
        "nodes:\n- name: a\n  address: 192.0.2.1/24\n  labels: {since: 2026-01-01}\n",
        [("nodes[0].labels.since", 4, "a date")],
    ),
    Case("nothing after the colon", HEAD + "bgp:\n", [("bgp", 6, "nothing after the colon")]),
    Case("an empty list item", "nodes:\n-\n", [("nodes[0]", 2, "an empty list item")]),
]

VALUES = [
    Case(
        "an unknown section, and the one that was meant",
        HEAD + "bpg: {}\n",
        [("bpg", 6, "unknown key 'bpg' (did you mean 'bgp'?)")],
    ),
    Case(
        "an unknown key of a node, without echoes",
        "nodes:\n- name: a\n  adress6: 2001:db8::1/64\n",
        [("nodes[0].adress6", 3, "did you mean 'address6'?")],
    ),
    Case(
        "our word for `as`",
        HEAD + "cluster: {asn: 64512}\n",
        [("cluster.asn", 6, "unknown key 'asn' (did you mean 'as'?)")],
    ),
    Case("a missing name", "nodes:\n- address: 192.0.2.1/24\n", [("nodes[0].name", 2, "the key is missing")]),
    Case("no nodes", "pools: []\n", [("nodes", 1, "at least one")]),
    Case(
        "a number as a name",
        "nodes:\n- {name: 1, address: 192.0.2.1/24}\n",
        [("nodes[0].name", 2, "found the number 1, expected a name")],
    ),
    Case(
        "a name with a space",
        "nodes:\n- {name: a b, address: 192.0.2.1/24}\n",
        [("nodes[0].name", 2, "expected a name")],
    ),
    Case(
        "an address without prefix length",
        "nodes:\n- {name: a, address: 192.0.2.1}\n",
        [("nodes[0].address", 2, "the prefix length is missing")],
    ),
    Case(
        "IPv4 where IPv6 belongs",
        "nodes:\n- {name: a, address6: 192.0.2.1/24}\n",
        [("nodes[0].address6", 2, "the other family goes under `address`")],
    ),
    Case(
        "IPv6 where IPv4 belongs",
        "nodes:\n- {name: a, address: '2001:db8::1/64'}\n",
        [("nodes[0].address", 2, "the other family goes under `address6`")],
    ),
    Case(
        "a network as an address",
        "nodes:\n- {name: a, address: 192.0.2.0/24}\n",
        [("nodes[0].address", 2, "network or broadcast")],
    ),
    Case(
        "loopback as an address",
        "nodes:\n- {name: a, address: 127.0.0.1/8}\n",
        [("nodes[0].address", 2, "over the network")],
    ),
    Case(
        "link-local as a node's IPv6 address",
        "nodes:\n- {name: a, router_id: 1.1.1.1, address6: 'fe80::1/64'}\n",
        [("nodes[0].address6", 2, "link-local")],
    ),
    Case(
        "router id 0.0.0.0",
        "nodes:\n- {name: a, router_id: 0.0.0.0, address: 192.0.2.1/24}\n",
        [("nodes[0].router_id", 2, "other than 0.0.0.0")],
    ),
    Case("a node as a text", "nodes:\n- n1\n", [("nodes[0]", 2, "found the text 'n1', expected a mapping")]),
    Case("nodes as a mapping", "nodes:\n  n1: {address: 192.0.2.1/24}\n", [("nodes", 1, "expected a list")]),
    Case(
        "a number as a label",
        "nodes:\n- {name: a, address: 192.0.2.1/24, labels: {rack: 1}}\n",
        [("nodes[0].labels.rack", 2, "quote numbers")],
    ),
    Case("an AS number in quotes", HEAD + "cluster: {as: '64512'}\n", [("cluster.as", 6, "without quotes")]),
    Case("AS 0", HEAD + "cluster: {as: 0}\n", [("cluster.as", 6, "an AS number")]),
    Case("AS_TRANS", HEAD + "cluster: {as: 23456}\n", [("cluster.as", 6, "reserved")]),
    Case(
        "an AS number of more than 32 bits", HEAD + "cluster: {as: 99999999999}\n", [("cluster.as", 6, "an AS number")]
    ),
    Case(
        "a pool with host bits",
        "nodes:\n- {name: a, address: 192.0.2.1/24}\npools:\n- cidr: 10.244.0.1/16\n",
        [("pools[0].cidr", 4, "bits are set after the prefix length")],
    ),
    Case(
        "a pool without length",
        "nodes:\n- {name: a, address: 192.0.2.1/24}\npools:\n- cidr: 10.244.0.0\n",
        [("pools[0].cidr", 4, "prefix length is missing")],
    ),
    Case(
        "an encapsulation that there is not",
        HEAD + "  encapsulation: gre\n",
        [("pools[0].encapsulation", 6, "one of none, ipip, vxlan, udp")],
    ),
    Case(
        "decapsulate of what is no encapsulation",
        HEAD + "encapsulation:\n  decapsulate: [none, gre]\n",
        [
            ("encapsulation.decapsulate[0]", 7, "found the text 'none', expected one of ipip, vxlan, udp"),
            ("encapsulation.decapsulate[1]", 7, "found the text 'gre', expected one of ipip, vxlan, udp"),
        ],
    ),
    Case(
        "one encapsulation twice in decapsulate",
        HEAD + "encapsulation:\n  decapsulate: [vxlan, ipip, ipip]\n",
        [("encapsulation.decapsulate[2]", 7, "ipip is there twice (encapsulation.decapsulate[1], line 7)")],
    ),
    Case(
        "tunnel devices with names that stand for all devices in sysctls",
        HEAD + "encapsulation:\n  vxlan: {device: all}\n  udp: {device: default}\n",
        [
            ("encapsulation.vxlan.device", 7, "found 'all', which is another interface's name"),
            ("encapsulation.udp.device", 8, "found 'default', which is another interface's name"),
        ],
    ),
    Case(
        "tunnel devices with a name and a port that are taken",
        HEAD + "encapsulation:\n  vxlan: {device: tunl0, port: 8285}\n  udp: {device: cali0123456789a}\n",
        [
            ("encapsulation.vxlan.device", 7, "found 'tunl0', which is another interface's name"),
            ("encapsulation.udp.port", 8, "found 8285, expected another port than that of vxlan"),
            ("encapsulation.udp.device", 8, "found 'cali0123456789a', which is another interface's name"),
        ],
    ),
    Case(
        "a VNI of more than 24 bits",
        HEAD + "encapsulation:\n  vxlan: {vni: 16777216}\n",
        [("encapsulation.vxlan.vni", 7, "16777215")],
    ),
    Case("an unknown mode", HEAD + "  mode: sometimes\n", [("pools[0].mode", 6, "one of always, cross-subnet")]),
    Case(
        "a text as a switch",
        HEAD + "  nat_outgoing: 'true'\n",
        [("pools[0].nat_outgoing", 6, "expected true or false")],
    ),
    Case(
        "a number as a switch", HEAD + "  nat_outgoing: 1\n", [("pools[0].nat_outgoing", 6, "expected true or false")]
    ),
    Case(
        "a fraction as a whole number",
        HEAD + "  block_size: 26.5\n",
        [("pools[0].block_size", 6, "expected a whole number")],
    ),
    Case(
        "a switch as a whole number",
        HEAD + "  block_size: true\n",
        [("pools[0].block_size", 6, "expected a whole number")],
    ),
    Case("hold time 2", HEAD + "bgp: {hold_time_s: 2}\n", [("bgp.hold_time_s", 6, "0 (no keepalives), or 3 to 65535")]),
    Case(
        "graceful restart time of 13 bits",
        HEAD + "bgp: {graceful_restart_time_s: 4096}\n",
        [("bgp.graceful_restart_time_s", 6, "expected 4095 or less")],
    ),
    Case("port 0", HEAD + "bgp: {listen_port: 0}\n", [("bgp.listen_port", 6, "expected 1 or more")]),
    Case(
        "a password in the file, which the message does not repeat",
        HEAD + "bgp:\n  mesh_password: hunter2\n",
        [("bgp.mesh_password", 7, "its path under `mesh_password_file`")],
    ),
    Case(
        "a password in place of its file",
        HEAD + "bgp:\n  mesh_password_file: hunter2\n",
        [("bgp.mesh_password_file", 7, "absolute path of a file")],
    ),
    Case(
        "BIRD's route protocol number",
        HEAD + "agent: {route_protocol: 12}\n",
        [("agent.route_protocol", 6, "no other program uses")],
    ),
    Case(
        "Calico's route protocol number",
        HEAD + "agent: {route_protocol: 80}\n",
        [("agent.route_protocol", 6, "no other program uses")],
    ),
    Case(
        "an API without a client CA",
        HEAD + "agent:\n  api:\n    listen: 0.0.0.0:7443\n    cert_file: /a\n    key_file: /b\n",
        [("agent.api.client_ca_file", 7, "the key is missing in agent.api")],
    ),
    Case(
        "an API address without a port",
        HEAD + "agent:\n  api: {listen: 0.0.0.0, cert_file: /a, key_file: /b, client_ca_file: /c}\n",
        [("agent.api.listen", 7, "ADDRESS:PORT")],
    ),
    Case("an unknown log level", HEAD + "agent: {log_level: loud}\n", [("agent.log_level", 6, "one of debug, info")]),
    Case(
        "an empty list of families",
        HEAD + "bgp:\n  peers:\n  - {address: 192.0.2.9, as: 1, families: []}\n",
        [("bgp.peers[0].families", 8, "a list of 1 or more")],
    ),
    Case(
        "a peer without AS",
        HEAD + "bgp:\n  peers:\n  - {address: 192.0.2.9}\n",
        [("bgp.peers[0].as", 8, "the key is missing")],
    ),
    Case(
        "a peer address with a length",
        HEAD + "bgp:\n  peers:\n  - {address: 192.0.2.9/24, as: 1}\n",
        [("bgp.peers[0].address", 8, "without a prefix length")],
    ),
    Case(
        "a peer's multicast address",
        HEAD + "bgp:\n  peers:\n  - {address: 224.0.0.1, as: 1}\n",
        [("bgp.peers[0].address", 8, "one host")],
    ),
]


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


@pytest.mark.parametrize("case", [*YAML, *VALUES, *TOGETHER], ids=lambda case: case.sentence)
def test_the_file_is_refused_for(case: Case) -> None:
    result = load_text(case.text, filename="f.yaml")
    assert result.config is None
    got = [(error.path, error.line) for error in result.errors]
    assert got == [(path, line) for path, line, _ in sorted(case.expected, key=lambda each: each[1])] or sorted(
        got
    ) == sorted((path, line) for path, line, _ in case.expected), [str(error) for error in result.errors]
    for path, line, part in case.expected:
        assert any(part in error.message for error in result.errors if (error.path, error.line) == (path, line)), [
            str(error) for error in result.errors
        ]


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


def test_a_secret_is_not_repeated_in_any_message() -> None:
    text = HEAD + "bgp:\n  mesh_password: hunter2\n  peers:\n  - {address: 192.0.2.9, as: 1, password: hunter2}\n"
    text += "  - {address: 192.0.2.8, as: 1, password_file: hunter2}\n"
    result = load_text(text, filename="f")
    assert len(result.errors) == 3
    assert not any("hunter2" in str(error) for error in result.errors)


def test_places_survive_when_items_before_are_refused() -> None:
    text = (
        NODES("nam: x", A, "name: b, address: 192.0.2.1/24") + "pools: [{}, {cidr: 10.0.0.0/16}, {cidr: 10.0.0.0/17}]\n"
    )
    errors = {error.path: error for error in load_text(text, filename="f").errors}
    assert errors["nodes[2].address"].line == 4
    assert "(nodes[1].address, line 3)" in errors["nodes[2].address"].message
    assert "(pools[1].cidr, line 5)" in errors["pools[2].cidr"].message
