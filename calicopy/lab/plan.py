"""What a topology comes to in namespaces: names, addresses, mounts and links, all decided before anything is made.

Theory of operation: pure. `make_plan` turns a Topology into a Plan that `run` carries out step by step; two plans of
one file are equal. Each linux node has a network namespace with the container's name (or that of the node whose
network it shares); a bridge lives in a node's namespace (`br0|sw`) or on the host. The management network is a bridge
in a namespace of its own, so that the host keeps its addresses, routes and interfaces as they are.
"""
from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from calicopy.lab.topology import Bind, Kind, Node, Topology

BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IDLE = ("sleep", "infinity")
"""The process of a node without `cmd`."""


class PlanError(ValueError):
    """A topology that cannot be laid out, such as more nodes than management addresses."""


@dataclass(frozen=True, slots=True)
class MgmtAddress:
    """A node's eth0, and its far end in the management namespace."""

    ipv4: IPv4Interface
    ipv6: IPv6Interface
    port: str


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A linux node: one process tree with namespaces of its own. `binds` have absolute sources."""

    name: str
    container: str
    netns: str
    owns_netns: bool
    hostname: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    sysctls: Mapping[str, str]
    binds: tuple[Bind, ...]
    privileged: bool
    startup_delay_s: int
    exec: tuple[tuple[str, ...], ...]
    hosts: str
    mgmt: MgmtAddress | None


@dataclass(frozen=True, slots=True)
class BridgePlan:
    """A bridge `name`; `netns` None is the host, where it must exist already."""

    name: str
    netns: str | None


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """An interface in `netns` (None: the host), perhaps a port of the bridge `master`."""

    netns: str | None
    interface: str
    master: str | None


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """A veth pair, both ends up."""

    ends: tuple[LinkEnd, LinkEnd]
    mtu: int


@dataclass(frozen=True, slots=True)
class MgmtPlan:
    """The management bridge's namespace, and the gateway's addresses on it."""

    netns: str
    ipv4: IPv4Interface
    ipv6: IPv6Interface


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a lab consists of."""

    lab: str
    file: str
    nodes: tuple[NodePlan, ...]
    bridges: tuple[BridgePlan, ...]
    links: tuple[LinkPlan, ...]
    mgmt: MgmtPlan | None

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The names of all network namespaces to make."""
        own = tuple(node.netns for node in self.nodes if node.owns_netns)
        return own + ((self.mgmt.netns,) if self.mgmt else ())

    @property
    def host_interfaces(self) -> tuple[str, ...]:
        """The link ends that are made in the host's own namespace."""
        return tuple(end.interface for link in self.links for end in link.ends if end.netns is None)


def make_plan(topology: Topology, *, bin_dirs: tuple[str, ...] = (), mgmt: bool = True) -> Plan:
    """The plan of a topology. `bin_dirs` come first on every node's PATH; `mgmt` False leaves eth0 out.

    Raises PlanError.
    """
    linux = [node for node in topology.nodes if node.kind is Kind.LINUX]
    addresses = _mgmt_addresses(topology, linux) if mgmt else {}
    known = {node.name: node for node in topology.nodes}
    nodes = tuple(_node(topology, node, bin_dirs=bin_dirs, addresses=addresses) for node in linux)
    links = tuple(
        LinkPlan((_end(topology, known[link.ends[0].node], link.ends[0].interface),
                  _end(topology, known[link.ends[1].node], link.ends[1].interface)), link.mtu)
        for link in topology.links)
    bridges = tuple(BridgePlan(node.name.partition("|")[0], _netns(topology, node))
                    for node in topology.nodes if node.kind is Kind.BRIDGE)
    gateway = topology.mgmt
    return Plan(
        lab=topology.name, file=topology.file, nodes=nodes, bridges=bridges, links=links,
        mgmt=MgmtPlan(f"{topology.container('')}.mgmt", IPv4Interface((gateway.ipv4[1], gateway.ipv4.prefixlen)),
                      IPv6Interface((gateway.ipv6[1], gateway.ipv6.prefixlen))) if addresses else None)


def _node(topology: Topology, node: Node, *, bin_dirs: tuple[str, ...],
          addresses: Mapping[str, MgmtAddress]) -> NodePlan:
    path = ":".join((*bin_dirs, BASE_PATH))
    directory = posixpath.dirname(topology.file)
    binds = tuple(Bind(posixpath.normpath(posixpath.join(directory, _magic(topology, node, bind.source))),
                       bind.target, bind.read_only) for bind in node.binds)
    return NodePlan(
        name=node.name, container=topology.container(node.name), netns=_netns(topology, node) or "",
        owns_netns=node.network_of is None, hostname=node.hostname, argv=node.argv or IDLE,
        env={"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "HOSTNAME": node.hostname, **node.env},
        sysctls=node.sysctls, binds=binds, privileged=node.privileged, startup_delay_s=node.startup_delay_s,
        exec=tuple(tuple(_magic(topology, node, word) for word in words) for words in node.exec),
        hosts="".join(_hosts(topology, node, addresses)), mgmt=addresses.get(node.name))


def _magic(topology: Topology, node: Node, text: str) -> str:
    """containerlab's variables, which it replaces in binds and exec."""
    return text.replace("__clabNodeName__", node.name).replace("__clabLabName__", topology.name)


def _hosts(topology: Topology, node: Node, addresses: Mapping[str, MgmtAddress]) -> Iterator[str]:
    """The lines of the node's /etc/hosts: itself, and (as the engine's name server would say) the other nodes."""
    yield "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    if node.name not in addresses:
        yield f"127.0.1.1\t{node.hostname}\n"
    for name, address in addresses.items():
        yield f"{address.ipv4.ip}\t{name} {topology.container(name)}\n"
        yield f"{address.ipv6.ip}\t{name} {topology.container(name)}\n"


def _netns(topology: Topology, node: Node) -> str | None:
    if node.network_of is not None:
        return topology.container(node.network_of)
    return topology.container(node.name) if node.kind is Kind.LINUX else None


def _end(topology: Topology, node: Node, interface: str) -> LinkEnd:
    master = node.name.partition("|")[0] if node.kind is Kind.BRIDGE else None
    return LinkEnd(_netns(topology, node), interface, master)


def _mgmt_addresses(topology: Topology, linux: list[Node]) -> dict[str, MgmtAddress]:
    """An IPv4 and an IPv6 address for each node with a network of its own: the asked one, else the next free one."""
    ipv4, ipv6 = topology.mgmt.ipv4, topology.mgmt.ipv6
    members = [node for node in linux if node.network_of is None and not node.no_network]
    taken: set[IPv4Address | IPv6Address] = {ipv4[1], ipv6[1]}
    for node in members:
        for asked, subnet in ((node.mgmt_ipv4, ipv4), (node.mgmt_ipv6, ipv6)):
            if asked is None:
                continue
            if asked not in subnet or asked in taken:
                raise PlanError(f"{topology.file}:{node.line}: topology.nodes.{node.name}: {asked} is not free in the "
                                f"management network {subnet}")
            taken.add(asked)
    found: dict[str, MgmtAddress] = {}
    free4, free6 = (address for address in ipv4.hosts() if address not in taken), \
        (address for address in ipv6.hosts() if address not in taken)
    for index, node in enumerate(members):
        own4, own6 = node.mgmt_ipv4 or next(free4, None), node.mgmt_ipv6 or next(free6, None)
        if own4 is None or own6 is None:
            raise PlanError(f"{topology.file}: the management network {ipv4} is too small for {len(members)} nodes")
        found[node.name] = MgmtAddress(IPv4Interface((own4, ipv4.prefixlen)), IPv6Interface((own6, ipv6.prefixlen)),
                                       f"port{index + 1}")
    return found
