"""The topology file: what is read, what is inherited, what is refused and with which place."""
from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from calicopy.config import load_file
from calicopy.lab.reader import TopologyError
from calicopy.lab.topology import Bind, Endpoint, Kind, Topology, parse

REPOSITORY = Path(__file__).parents[3]
TOPOLOGIES = sorted((REPOSITORY / "containerlab").glob("*/*.clab.yml"))


def read(text: str) -> Topology:
    return parse(dedent(text), file="lab.clab.yml")


def refusal(text: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def with_node(keys: str) -> str:
    return "name: x\ntopology:\n  nodes:\n    n1:\n      kind: linux\n" + indent(dedent(keys).strip("\n"), " " * 6)


def test_a_node_is_read_with_all_that_it_says() -> None:
    node = read(with_node("""
        image: calicopy-node:latest
        entrypoint: /bin/run --flag
        cmd: "calicopy node --config '/etc/a b.yaml'"
        exec: [ip link set eth1 up, echo "two words"]
        env: {A: 1, B: yes, C: "x y"}
        sysctls: {net.ipv4.ip_forward: 1}
        binds: ["c.yaml:/etc/calicopy/c.yaml:ro", "/srv:/srv"]
        cap-add: [NET_ADMIN]
        privileged: false
        startup-delay: 3
        mgmt-ipv4: 172.20.20.9
        labels: {role: node}
    """)).nodes[0]
    assert node.argv == ("/bin/run", "--flag", "calicopy", "node", "--config", "/etc/a b.yaml")
    assert node.exec == (("ip", "link", "set", "eth1", "up"), ("echo", "two words"))
    assert node.env == {"A": "1", "B": "yes", "C": "x y"}
    assert node.sysctls == {"net.ipv4.ip_forward": "1"}
    assert node.binds == (Bind("c.yaml", "/etc/calicopy/c.yaml", True), Bind("/srv", "/srv", False))
    assert (node.privileged, node.startup_delay_s, str(node.mgmt_ipv4), node.hostname) == (
        False, 3, "172.20.20.9", "n1")


def test_a_node_inherits_from_defaults_kind_and_group_the_more_specific_winning() -> None:
    topology = read("""
        name: x
        topology:
          defaults: {kind: linux, cmd: from defaults, env: {A: d, B: d, C: d, D: d}, exec: [d], binds: ["d:/x", "d:/d"]}
          kinds: {linux: {cmd: from kind, env: {B: k, C: k, D: k}, exec: [k], privileged: false}}
          groups: {g: {cmd: from group, env: {C: g, D: g}, exec: [g], binds: ["g:/x:ro"]}}
          nodes:
            n1: {group: g, env: {D: n}, exec: [n]}
            n2:
    """)
    n1, n2 = topology.nodes
    assert (n1.argv, n2.argv) == (("from", "group"), ("from", "kind"))
    assert n1.env == {"A": "d", "B": "k", "C": "g", "D": "n"}
    assert n1.exec == (("d",), ("k",), ("g",), ("n",))
    assert n1.binds == (Bind("g", "/x", True), Bind("d", "/d", False))
    assert not n1.privileged
    assert not n2.privileged


def test_a_node_is_privileged_unless_told_otherwise_as_in_containerlab() -> None:
    assert read(with_node("image: x")).nodes[0].privileged


@pytest.mark.parametrize(("prefix", "container"), [
    (None, "clab-x-n1"), ('""', "n1"), ("__lab-name", "x-n1"), ("own", "own-x-n1")])
def test_containers_are_named_as_containerlab_names_them(prefix: str | None, container: str) -> None:
    text = with_node("image: x") + (f"\nprefix: {prefix}\n" if prefix is not None else "")
    assert read(text).container("n1") == container


def test_a_link_joins_nodes_and_a_bridge_that_lives_in_a_node() -> None:
    topology = read("""
        name: x
        topology:
          nodes:
            n1: {kind: linux}
            sw: {kind: linux}
            br0|sw: {kind: bridge, network-mode: "container:sw"}
          links:
            - endpoints: ["n1:eth1", "br0|sw:n1"]
            - {endpoints: ["n1:eth2", "sw:eth1"], mtu: 1500}
    """)
    assert topology.nodes[2].kind is Kind.BRIDGE
    assert topology.nodes[2].network_of == "sw"
    assert [(link.ends, link.mtu) for link in topology.links] == [
        ((Endpoint("n1", "eth1"), Endpoint("br0|sw", "n1")), 9500),
        ((Endpoint("n1", "eth2"), Endpoint("sw", "eth1")), 1500)]


@pytest.mark.parametrize(("keys", "expected"), [
    ("foo: 1", "lab.clab.yml:6: topology.nodes.n1.foo: unknown key"),
    ("image: x\nCmd: x", "lab.clab.yml:7: topology.nodes.n1.Cmd: unknown key"),
    ("stages: {}", "lab.clab.yml:6: topology.nodes.n1.stages: containerlab knows this key, but `calicopy lab` cannot"),
    ("image: a\nimage: b", "lab.clab.yml:7: topology.nodes.n1.image: the key is given twice, first in line 6"),
    ("privileged: no", "lab.clab.yml:6: topology.nodes.n1.privileged: 'no': true or false is expected"),
    ('privileged: "true"', "lab.clab.yml:6: topology.nodes.n1.privileged: true or false is expected here, not"),
    ("exec: ip link", "lab.clab.yml:6: topology.nodes.n1.exec: a list is expected here"),
    ("exec:\n  - a\n  - [b]", "lab.clab.yml:8: topology.nodes.n1.exec[1]: text is expected here, not a list"),
    ("env: [A]", "lab.clab.yml:6: topology.nodes.n1.env: a mapping is expected here"),
    ("env: {A: }", "lab.clab.yml:6: topology.nodes.n1.env.A: text is expected here, not nothing"),
    ("env: {A: $HOME}", "lab.clab.yml:6: topology.nodes.n1.env.A: '$HOME': containerlab replaces"),
    ("cmd: 'a \"b'", "lab.clab.yml:6: topology.nodes.n1.cmd: 'a \"b' is no command"),
    ("binds: [a]", "lab.clab.yml:6: topology.nodes.n1.binds[0]: 'a': HOST-PATH:/CONTAINER-PATH[:ro] is expected"),
    ("binds: ['a:/b:rx']", "lab.clab.yml:6: topology.nodes.n1.binds[0]: 'a:/b:rx': HOST-PATH"),
    ("binds: ['a:/']", "lab.clab.yml:6: topology.nodes.n1.binds[0]: 'a:/': HOST-PATH"),
    ("sysctls: {vm.swappiness: 1}", "lab.clab.yml:6: topology.nodes.n1.sysctls: vm.swappiness: not a setting"),
    ("startup-delay: soon", "lab.clab.yml:6: topology.nodes.n1.startup-delay: 'soon': a number is expected"),
    ("network-mode: host", "lab.clab.yml:6: topology.nodes.n1.network-mode: 'host': `container:NODE`, `none`"),
    ("network-mode: container:n9", "lab.clab.yml:5: topology.nodes.n1: network-mode container:n9: it must name"),
    ("mgmt-ipv4: 172.20.20", "lab.clab.yml:6: topology.nodes.n1.mgmt-ipv4: an address is expected here"),
    ("<<: {image: x}", "lab.clab.yml:6: topology.nodes.n1.<<: `<<` is not supported"),
])
def test_a_wrong_key_of_a_node_is_refused_with_its_line_and_path(keys: str, expected: str) -> None:
    (problem,) = refusal(with_node(keys))
    assert problem.startswith(expected)


@pytest.mark.parametrize(("text", "expected"), [
    ("", "lab.clab.yml:1: the file is empty"),
    ("name: x\ntopology: [", "lab.clab.yml:2: not valid YAML"),
    ("name: x\n", "lab.clab.yml:1: `name` and `topology` are expected"),
    ("name: x/y\ntopology: {nodes: {}}", "lab.clab.yml:1: name: 'x/y': a name of letters"),
    ("name: x\ntopology: {}", "lab.clab.yml:2: topology: `nodes` is expected here"),
    ("name: x\nfoo: 1\ntopology: {nodes: {}}", "lab.clab.yml:2: foo: unknown key"),
    ("name: x\ntopology: {nodes: {}, edges: []}", "lab.clab.yml:2: topology.edges: unknown key"),
    ("name: x\ntopology: {nodes: {n1: }}", "lab.clab.yml:2: topology.nodes.n1: the node has no `kind`"),
    ("name: x\ntopology: {nodes: {n1: {kind: srl}}}", "lab.clab.yml:2: topology.nodes.n1.kind: kind 'srl'"),
    ("name: x\ntopology: {nodes: {../n: {kind: linux}}}", "lab.clab.yml:2: topology.nodes.../n: '../n' is no name"),
    ("name: x\nmgmt: {ipv4-subnet: 10.0.0.1/8}\ntopology: {nodes: {}}", "lab.clab.yml:2: mgmt.ipv4-subnet: an IPv4"),
    ("- " * 3000, "lab.clab.yml:1: nested too deeply"),
])
def test_a_wrong_file_is_refused_with_its_line(text: str, expected: str) -> None:
    (problem,) = refusal(text)
    assert problem.startswith(expected)


@pytest.mark.parametrize(("link", "expected"), [
    ('endpoints: ["n1:eth2", "n3:eth1"]', "topology.links[1].endpoints[1]: 'n3:eth1': no node 'n3'"),
    ('endpoints: ["n1:eth1", "n2:eth2"]', "topology.links[1].endpoints[0]: 'n1:eth1': the interface is already"),
    ('endpoints: ["n1:eth0", "n2:eth2"]', "topology.links[1].endpoints[0]: 'n1:eth0': eth0 is taken"),
    ('endpoints: ["n1:eth2"]', "topology.links[1].endpoints: two endpoints are expected here"),
    ('endpoints: ["n1", "n2:eth2"]', "topology.links[1].endpoints[0]: 'n1': NODE:INTERFACE is expected here"),
    ('endpoints: ["n1:abcdefghijklmnop", "n2:eth2"]', "topology.links[1].endpoints[0]: 'n1:abcdefghijklmnop': NODE"),
    ('endpoint: ["n1:eth2", "n2:eth2"]', "topology.links[1].endpoint: unknown key"),
    ("type: veth", "topology.links[1].type: only the short form of a link is supported"),
])
def test_a_wrong_link_is_refused_with_its_line_and_path(link: str, expected: str) -> None:
    text = ("name: x\ntopology:\n  nodes: {n1: {kind: linux}, n2: {kind: linux}}\n  links:\n"
            f'    - endpoints: ["n1:eth1", "n2:eth1"]\n    - {link}\n')
    assert refusal(text)[0].startswith(f"lab.clab.yml:6: {expected}")


def test_every_problem_of_a_file_is_told_at_once_in_its_order() -> None:
    problems = refusal("name: x\ntopology:\n  nodes:\n    n1: {kind: linux, foo: 1}\n    n2: {kind: x}\n  links: {}\n")
    assert [problem.split(":")[1] for problem in problems] == ["4", "5", "6"]


def test_a_bridge_in_a_nodes_network_carries_the_nodes_name() -> None:
    (problem,) = refusal('name: x\ntopology:\n  nodes:\n    sw: {kind: linux}\n    br0|other:\n      kind: bridge\n'
                         '      network-mode: "container:sw"\n')
    assert problem.endswith("a bridge in the network of sw is named BRIDGE|sw")


def test_there_are_topologies_in_the_repository() -> None:
    assert [path.name for path in TOPOLOGIES] == [
        "dual-stack.clab.yml", "ipip-cross-subnet.clab.yml", "mesh.clab.yml", "reflectors.clab.yml",
        "route-reflector.clab.yml", "tor-ebgp.clab.yml", "udp.clab.yml", "vxlan.clab.yml"]


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.parent.name)
def test_a_topology_of_the_repository_asks_for_no_privilege_and_agrees_with_its_cluster_file(path: Path) -> None:
    topology = parse(path.read_text(), file=str(path))
    assert topology.name == path.parent.name
    assert (path.parent / "README.md").is_file()
    loaded = load_file(path.parent / "cluster.yaml")
    assert loaded.config is not None
    assert not loaded.warnings
    agents = [node for node in topology.nodes if node.argv[0] == "calicopy"]
    assert [node.name for node in agents] == [node.name for node in loaded.config.nodes]
    for node in topology.nodes:
        assert not node.privileged
        assert node.cap_add == ("NET_ADMIN", "SYS_ADMIN")
        assert node.sysctls["net.ipv4.nexthop_compat_mode"] == "0"
    for agent, entry in zip(agents, loaded.config.nodes, strict=True):
        for interface in entry.interfaces:
            assert ("ip", "address", "add", str(interface), "dev", "eth1") in agent.exec
