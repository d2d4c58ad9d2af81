"""What a line or a value of the cluster file may not say: one sentence per case, with the place of every error."""
from __future__ import annotations

import pytest
from refusedfiles import HEAD, Case, assert_refused

from calicopy.config.load import load_text

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


@pytest.mark.parametrize("case", [*YAML, *VALUES], ids=lambda case: case.sentence)
def test_the_file_is_refused_for(case: Case) -> None:
    assert_refused(case)


def test_a_secret_is_not_repeated_in_any_message() -> None:
    text = HEAD + "bgp:\n  mesh_password: hunter2\n  peers:\n  - {address: 192.0.2.9, as: 1, password: hunter2}\n"
    text += "  - {address: 192.0.2.8, as: 1, password_file: hunter2}\n"
    result = load_text(text, filename="f")
    assert len(result.errors) == 3
    assert not any("hunter2" in str(error) for error in result.errors)
