"""The topology file (`NAME.clab.yml` of containerlab): text in, frozen dataclasses or every problem at once out.

Theory of operation: pure. It owns the file's vocabulary: what is known is read, what containerlab knows and a namespace
lab cannot honour is refused with that reason, everything else is refused as unknown; so a file that runs here stays
valid for the real tool. Inheritance is containerlab's: defaults, then kind, then group, then the node; single values
are replaced by the more specific, maps merged by key, lists joined, binds merged by their place in the container.
"""
from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import MappingProxyType
from typing import TypeVar

from calicopy.lab.reader import Reader, Spot, TopologyError


class Kind(Enum):
    """The kinds of nodes that need no vendor's image."""

    LINUX = "linux"
    BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the host (`source` as written, perhaps relative to the file) seen at `target`."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A node with everything it inherits. `network_of` names the node whose network it shares."""

    name: str
    kind: Kind
    line: int
    hostname: str
    image: str = ""
    argv: tuple[str, ...] = ()
    exec: tuple[tuple[str, ...], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    cap_add: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    privileged: bool = True
    startup_delay_s: int = 0
    network_of: str | None = None
    no_network: bool = False
    mgmt_ipv4: IPv4Address | None = None
    mgmt_ipv6: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a link: a node's name and the interface's name there."""

    node: str
    interface: str


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair; `mtu` in octets (containerlab's default is 9500)."""

    ends: tuple[Endpoint, Endpoint]
    mtu: int
    line: int


@dataclass(frozen=True, slots=True)
class Mgmt:
    """The management network, on which every node's eth0 is, with the default route."""

    ipv4: IPv4Network
    ipv6: IPv6Network


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole file; nodes and links in its order."""

    name: str
    prefix: str
    file: str
    mgmt: Mgmt
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]

    def container(self, node: str) -> str:
        """The container's name as containerlab makes it: `clab-LAB-NODE` unless `prefix` says otherwise."""
        if self.prefix == "":
            return node
        return f"{self.name}-{node}" if self.prefix == "__lab-name" else f"{self.prefix}-{self.name}-{node}"


_Address = TypeVar("_Address", IPv4Address, IPv6Address)
DEFAULT_LINK_MTU = 9500
DEFAULT_MGMT = Mgmt(IPv4Network("172.20.20.0/24"), IPv6Network("3fff:172:20:20::/64"))
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}"
_INTERFACE = re.compile(r"[^/:\s]{1,15}")
_TOP_KEYS = ("name", "prefix", "mgmt", "topology")
_MGMT_IGNORED = ("network", "bridge", "ipv4-gw", "ipv6-gw", "ipv4-range", "ipv6-range", "mtu", "external-access",
                 "skip-when-unused", "driver-opts")
_SINGLE = ("kind", "group", "image", "hostname", "entrypoint", "cmd", "network-mode", "mgmt-ipv4", "mgmt-ipv6")
_LISTS = ("exec", "binds", "cap-add")
_MAPS = ("env", "sysctls", "labels")
_IGNORED = ("image-pull-policy", "restart-policy", "auto-remove", "position", "ports", "devices", "cpu", "cpu-set",
            "memory", "shm-size", "healthcheck", "aliases", "security-opts", "cgroupns-mode", "cgroup-parent")
"""Accepted, and without effect in namespaces: there is no image to pull, and every device of the host is visible."""
_NODE_KEYS = (*_SINGLE, *_LISTS, *_MAPS, *_IGNORED, "privileged", "startup-delay")
_FOREIGN: Mapping[str, str] = MappingProxyType(dict.fromkeys(
    ("type", "startup-config", "enforce-startup-config", "suppress-startup-config", "config", "license", "volumes",
     "pid-mode", "tmpfs", "env-files", "user", "runtime", "extras", "stages", "dns", "certificate", "credentials",
     "components"), "containerlab knows this key, but `calicopy lab` cannot do what it says"))
_SYSCTL = r"net\.[^\s=]+|kernel\.(msg|sem|shm)[a-z_]*|fs\.mqueue\.[a-z_]+"


@dataclass(slots=True)
class _Definition:
    """The keys of a node, a kind, a group or the defaults, as written."""

    spot: Spot
    single: dict[str, tuple[str, Spot]] = field(default_factory=dict)
    lists: dict[str, tuple[tuple[str, Spot], ...]] = field(default_factory=dict)
    maps: dict[str, dict[str, str]] = field(default_factory=dict)
    privileged: bool | None = None
    startup_delay_s: int | None = None


def parse(text: str, *, file: str) -> Topology:
    """The topology in `text`; `file` is only the name used in messages.

    Raises TopologyError with every problem of the file.
    """
    reader = Reader(file)
    root = reader.root(text)
    topology = None if root is None else _topology(reader, root)
    if topology is None or reader.problems:
        raise TopologyError(reader.problems)
    return topology


def _topology(reader: Reader, root: Spot) -> Topology | None:
    top = reader.keys(root, known=_TOP_KEYS, foreign={"settings": _FOREIGN["certificate"]})
    if "name" not in top or "topology" not in top:
        reader.refuse(root, "`name` and `topology` are expected at the top of the file")
        return None
    name = reader.text(top["name"], pattern=_NAME, expected="a name of letters, digits, `_`, `.` and `-`")
    prefix: str | None = "clab"
    if "prefix" in top:
        prefix = reader.text(top["prefix"], pattern=f"|{_NAME}|__lab-name", expected="a name, `__lab-name`, or nothing")
    mgmt = _mgmt(reader, top["mgmt"]) if "mgmt" in top else DEFAULT_MGMT
    body = reader.keys(top["topology"], known=("defaults", "kinds", "groups", "nodes", "links"))
    nodes = _nodes(reader, body) if "nodes" in body else ()
    if "nodes" not in body:
        reader.refuse(top["topology"], "`nodes` is expected here")
    links = _links(reader, body["links"], {node.name: node for node in nodes}) if "links" in body else ()
    if name is None or prefix is None:
        return None
    return Topology(name, prefix, reader.file, mgmt, nodes, links)


def _mgmt(reader: Reader, spot: Spot) -> Mgmt:
    keys = reader.keys(spot, known=("ipv4-subnet", "ipv6-subnet", *_MGMT_IGNORED))
    ipv4, ipv6 = DEFAULT_MGMT.ipv4, DEFAULT_MGMT.ipv6
    try:
        if "ipv4-subnet" in keys:
            ipv4 = IPv4Network(reader.text(keys["ipv4-subnet"]) or "")
    except ValueError as error:
        reader.refuse(keys["ipv4-subnet"], f"an IPv4 subnet is expected here: {error}")
    try:
        if "ipv6-subnet" in keys:
            ipv6 = IPv6Network(reader.text(keys["ipv6-subnet"]) or "")
    except ValueError as error:
        reader.refuse(keys["ipv6-subnet"], f"an IPv6 subnet is expected here: {error}")
    return Mgmt(ipv4, ipv6)


def _definition(reader: Reader, spot: Spot) -> _Definition:
    found = _Definition(spot)
    if spot.node.tag.endswith(":null"):
        return found
    keys = reader.keys(spot, known=_NODE_KEYS, foreign=_FOREIGN)
    for key, value in keys.items():
        if key in _SINGLE:
            text = reader.text(value)
            if text is not None:
                found.single[key] = (text, value)
        elif key in _LISTS:
            texts = [(reader.text(item), item) for item in reader.items(value)]
            found.lists[key] = tuple((text, item) for text, item in texts if text is not None)
        elif key in _MAPS:
            found.maps[key] = reader.text_map(value)
    if "sysctls" in keys:
        for name in found.maps["sysctls"]:
            if re.fullmatch(_SYSCTL, name) is None:
                reader.refuse(keys["sysctls"], f"{name}: not a setting of a namespace, it would change the host")
    if "privileged" in keys:
        found.privileged = reader.boolean(keys["privileged"])
    if "startup-delay" in keys:
        found.startup_delay_s = reader.integer(keys["startup-delay"], low=0, high=3600)
    return found


def _nodes(reader: Reader, body: Mapping[str, Spot]) -> tuple[Node, ...]:
    defaults = [_definition(reader, body["defaults"])] if "defaults" in body else []
    named: dict[str, dict[str, _Definition]] = {"kinds": {}, "groups": {}}
    for section, definitions in named.items():
        if section in body:
            for name, spot in reader.mapping(body[section]).items():
                definitions[name] = _definition(reader, spot)
    nodes: list[Node] = []
    spots = reader.mapping(body["nodes"])
    for name, spot in spots.items():
        own = _definition(reader, spot)
        group = _group(reader, own, defaults, named["groups"])
        kind = _kind(reader, own, group + defaults)
        if kind is None:
            continue
        by_kind = [named["kinds"][kind.value]] if kind.value in named["kinds"] else []
        node = _node(reader, name, kind, [*defaults, *by_kind, *group, own])
        if node is not None:
            nodes.append(node)
    _check_networks(reader, nodes, spots)
    return tuple(nodes)


def _group(reader: Reader, own: _Definition, defaults: list[_Definition],
           groups: Mapping[str, _Definition]) -> list[_Definition]:
    for definition in (own, *defaults):
        if "group" in definition.single:
            name, spot = definition.single["group"]
            if name in groups:
                return [groups[name]]
            if groups:
                reader.refuse(spot, f"no group {name!r} under topology.groups")
            return []
    return []


def _kind(reader: Reader, own: _Definition, inherited: list[_Definition]) -> Kind | None:
    for definition in (own, *inherited):
        if "kind" in definition.single:
            name, spot = definition.single["kind"]
            if name in (kind.value for kind in Kind):
                return Kind(name)
            reader.refuse(spot, f"kind {name!r}: `calicopy lab` runs the kinds linux and bridge")
            return None
    reader.refuse(own.spot, "the node has no `kind`, and neither has its group or the defaults")
    return None


def _node(reader: Reader, name: str, kind: Kind, chain: list[_Definition]) -> Node | None:
    """One node out of its definitions, the least specific first."""
    own = chain[-1]
    single = {key: value for definition in chain for key, value in definition.single.items()}
    maps = {key: {k: v for definition in chain for k, v in definition.maps.get(key, {}).items()} for key in _MAPS}
    lists = {key: [value for definition in chain for value in definition.lists.get(key, ())] for key in _LISTS}
    privileged = [definition.privileged for definition in chain if definition.privileged is not None]
    delays = [definition.startup_delay_s for definition in chain if definition.startup_delay_s is not None]
    pattern = _NAME if kind is Kind.LINUX else rf"[^/:\s|]{{1,15}}(\|{_NAME})?"
    if re.fullmatch(pattern, name) is None:
        reader.refuse(own.spot, f"{name!r} is no name for a node of kind {kind.value}")
        return None
    binds = [bind for text, spot in lists["binds"] if (bind := _bind(reader, text, spot)) is not None]
    command = [part for key in ("entrypoint", "cmd") if key in single for part in _words(reader, *single[key])]
    network_of, no_network = _network_mode(reader, single.get("network-mode"))
    return Node(
        name=name, kind=kind, line=own.spot.line, hostname=single["hostname"][0] if "hostname" in single else name,
        image=single["image"][0] if "image" in single else "", argv=tuple(command),
        exec=tuple(words for text, spot in lists["exec"] if (words := _words(reader, text, spot))),
        env=maps["env"], sysctls=maps["sysctls"], labels=maps["labels"],
        binds=tuple({bind.target: bind for bind in binds}.values()),
        cap_add=tuple(dict.fromkeys(text for text, _ in lists["cap-add"])),
        privileged=privileged[-1] if privileged else True, startup_delay_s=delays[-1] if delays else 0,
        network_of=network_of, no_network=no_network,
        mgmt_ipv4=_address(reader, IPv4Address, single.get("mgmt-ipv4")),
        mgmt_ipv6=_address(reader, IPv6Address, single.get("mgmt-ipv6")),
    )


def _address(reader: Reader, make: Callable[[str], _Address], value: tuple[str, Spot] | None) -> _Address | None:
    if value is None:
        return None
    try:
        return make(value[0])
    except ValueError as error:
        reader.refuse(value[1], f"an address is expected here: {error}")
        return None


def _words(reader: Reader, text: str, spot: Spot) -> tuple[str, ...]:
    """A command's words; there is no shell, as in containerlab."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        reader.refuse(spot, f"{text!r} is no command: {error}")
        return ()


def _bind(reader: Reader, text: str, spot: Spot) -> Bind | None:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    options = set(filter(None, mode.split(",")))
    if not source or not target.startswith("/") or target == "/" or not options <= {"ro", "rw", "z", "Z"}:
        reader.refuse(spot, f"{text!r}: HOST-PATH:/CONTAINER-PATH[:ro] is expected here")
        return None
    return Bind(source, target, "ro" in options)


def _network_mode(reader: Reader, value: tuple[str, Spot] | None) -> tuple[str | None, bool]:
    if value is None or value[0] == "bridge":
        return None, False
    text, spot = value
    if text == "none":
        return None, True
    if text.startswith("container:"):
        return text.removeprefix("container:"), False
    reader.refuse(spot, f"{text!r}: `container:NODE`, `none` or `bridge` is expected here (`host` would be the host)")
    return None, False


def _check_networks(reader: Reader, nodes: list[Node], spots: Mapping[str, Spot]) -> None:
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        if node.network_of is None:
            continue
        spot = spots[node.name]
        owner = by_name.get(node.network_of)
        if owner is None or owner.kind is not Kind.LINUX or owner.network_of is not None:
            reader.refuse(spot, f"network-mode container:{node.network_of}: it must name a linux node of this file "
                                "that has a network of its own")
        if node.kind is Kind.BRIDGE and node.name.partition("|")[2] != node.network_of:
            reader.refuse(spot, f"a bridge in the network of {node.network_of} is named BRIDGE|{node.network_of}")


def _links(reader: Reader, spot: Spot, nodes: Mapping[str, Node]) -> tuple[Link, ...]:
    used: dict[tuple[str, str], int] = {}
    links: list[Link] = []
    for item in reader.items(spot):
        keys = reader.keys(item, known=("endpoints", "mtu", "labels", "vars"),
                           foreign={"type": "only the short form of a link is supported: endpoints: [A:IF, B:IF]"})
        mtu = reader.integer(keys["mtu"], low=68, high=65535) if "mtu" in keys else DEFAULT_LINK_MTU
        if "endpoints" not in keys:
            reader.refuse(item, "`endpoints` is expected here")
            continue
        ends = [_endpoint(reader, end, nodes, used) for end in reader.items(keys["endpoints"])]
        match ends:
            case [Endpoint() as a, Endpoint() as b]:
                links.append(Link((a, b), mtu or DEFAULT_LINK_MTU, item.line))
            case [_, _]:
                pass  # the wrong one has been told
            case _:
                reader.refuse(keys["endpoints"], "two endpoints are expected here, each NODE:INTERFACE")
    return tuple(links)


def _endpoint(reader: Reader, spot: Spot, nodes: Mapping[str, Node],
              used: dict[tuple[str, str], int]) -> Endpoint | None:
    text = reader.text(spot)
    if text is None:
        return None
    name, _, interface = text.partition(":")
    if name not in nodes:
        reader.refuse(spot, f"{text!r}: no node {name!r} under topology.nodes")
        return None
    if _INTERFACE.fullmatch(interface) is None or interface in (".", ".."):
        reader.refuse(spot, f"{text!r}: NODE:INTERFACE is expected here, the interface's name of 1 to 15 characters")
        return None
    node = nodes[name]
    if interface == "lo" or (interface == "eth0" and node.kind is Kind.LINUX and not node.no_network):
        reader.refuse(spot, f"{text!r}: {interface} is taken (eth0 is on the management network)")
        return None
    place = (_namespace(node), interface)
    if place in used:
        reader.refuse(spot, f"{text!r}: the interface is already an end of the link in line {used[place]}")
        return None
    used[place] = spot.line
    return Endpoint(name, interface)


def _namespace(node: Node) -> str:
    """Whose network namespace the node's interfaces are in; "" is the host's."""
    return node.network_of or (node.name if node.kind is Kind.LINUX else "")
