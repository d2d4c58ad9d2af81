"""The models of the parts of the cluster file.

Theory of operation: every model is frozen and knows all its keys; defaults live here and nowhere else. A model judges
its own values one by one; what must hold between values is judged in `checks`, so that each error has the place of
the value that is to blame. `asn` is written `as` in the file. The string below a field is its description in the JSON
schema (`schema` puts it there: pydantic would read the source at each start of the agent for it). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from calicopy.config.fields import (
    AsNumber,
    DetectionMethod,
    DeviceName,
    EncapsulationField,
    FilePath,
    GroupName,
    LabelKey,
    LabelValue,
    ListenField,
    LogLevel,
    LogLevelField,
    MethodField,
    ModeField,
    Name,
    NodeAddress4,
    NodeAddress6,
    Port,
    PrefixField,
    RouteProtocol,
    RouterId,
    Switch,
    Text,
    TunnelField,
)
from calicopy.net import Encapsulation, EncapsulationMode, Family, IPAddress, Prefix
from calicopy.net.tunnel import IPIP_DEVICE

DEFAULT_BLOCK_LENGTH = {Family.IPV4: 26, Family.IPV6: 122}
"""Block length in bits when a pool names none: 64 addresses a block."""

Labels = Mapping[LabelKey, LabelValue]
Selector = Mapping[LabelKey, LabelValue]


def selects(selector: Mapping[str, str] | None, labels: Mapping[str, str]) -> bool:
    """Whether a node with `labels` is selected: it carries every label of the selector. None selects every node."""
    return selector is None or all(labels.get(key) == value for key, value in selector.items())


class Section(BaseModel):
    """What all parts have in common: frozen, no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class ClusterSection(Section):
    """The cluster as a whole."""

    name: Name = "calicopy"
    """A name for people; shown in status."""
    asn: AsNumber = Field(default=64512, validation_alias="as", serialization_alias="as")
    """The AS number of the cluster, and of every node that names no other. It is also the first part of the large
    community that carries a block's owner."""


class AddressDetection(Section):
    """How a node finds its address when the file leaves it out. There is no "first found"."""

    method: MethodField = DetectionMethod.DEFAULT_ROUTE
    """`cidr` (the address inside a prefix), `interface` (the address of a named interface), `can-reach` (the source
    address of the route towards a target), or `default-route` (the address of the interface of the default route)."""
    value: Text | None = None
    """The prefix, interface name or target address; none for `default-route`."""

    @property
    def prefix(self) -> Prefix:
        """The prefix of method `cidr`. ValueError for another method or text."""
        return Prefix.parse(self.value or "")

    @property
    def target(self) -> IPAddress:
        """The target of method `can-reach`. ValueError for another method or text."""
        return ip_address(self.value or "")


class NodeEntry(Section):
    """One node of the cluster."""

    name: Name
    """The node's name. A node finds itself by `--node`, else by its hostname."""
    address: NodeAddress4 | None = None
    """IPv4 address with the prefix length of its subnet. Left out, the node detects it."""
    address6: NodeAddress6 | None = None
    """IPv6 address with the prefix length of its subnet."""
    router_id: RouterId | None = None
    """BGP identifier, unique in the cluster. Default: the IPv4 address."""
    asn: AsNumber | None = Field(default=None, validation_alias="as", serialization_alias="as")
    """AS number of this node, if not the cluster's."""
    labels: Labels = Field(default_factory=dict)
    """Labels that selectors of pools and peers refer to."""
    blocks: tuple[PrefixField, ...] = ()
    """Pinned blocks: this node owns them from the start, and no other node ever does."""
    address_detection: AddressDetection | None = None
    """How this node finds its address, if not as the cluster's `address_detection` says."""
    route_reflector: Switch = False
    """Whether it is a route reflector (RFC 4456): the nodes that `bgp.peers` connects it with are its clients."""
    cluster_id: RouterId | None = None
    """Its cluster id as a route reflector. Default: the router id."""

    @property
    def effective_router_id(self) -> IPv4Address | None:
        """`router_id`, else the IPv4 address; None while neither is known."""
        if self.router_id is not None:
            return self.router_id
        return self.address.ip if self.address is not None else None

    @property
    def effective_cluster_id(self) -> IPv4Address | None:
        """The cluster id of a route reflector, given or by default; None for others and while not known."""
        return (self.cluster_id or self.effective_router_id) if self.route_reflector else None

    @property
    def interfaces(self) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """The node's addresses with their prefix lengths, IPv4 first."""
        return tuple(address for address in (self.address, self.address6) if address is not None)

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The node's addresses, IPv4 first."""
        return tuple(interface.ip for interface in self.interfaces)


class PoolEntry(Section):
    """A pool of pod addresses."""

    name: Name | None = None
    """A name for people. Default: the prefix."""
    cidr: PrefixField
    """The pool's prefix."""
    block_size: StrictInt | None = None
    """Prefix length of the blocks that nodes claim: 20 to 32 (default 26) for IPv4, 116 to 128 (default 122) for
    IPv6."""
    encapsulation: EncapsulationField = Encapsulation.NONE
    """`none` (plain routes), `ipip` (through `tunl0`; IPv4 only), `vxlan` or `udp` (a process in user space, slow)."""
    mode: ModeField = EncapsulationMode.ALWAYS
    """When to encapsulate: `always`, or `cross-subnet` (only between nodes in different subnets)."""
    nat_outgoing: Switch = False
    """Whether packets from this pool to addresses outside of all pools leave with the node's address."""
    node_selector: Selector | None = None
    """Only nodes with all these labels claim blocks of this pool. Default: every node."""

    @property
    def block_length(self) -> int:
        """The length of its blocks in bits, given or by default."""
        return DEFAULT_BLOCK_LENGTH[self.cidr.family] if self.block_size is None else self.block_size

    @property
    def label(self) -> str:
        """Its name, else its prefix."""
        return self.name if self.name is not None else str(self.cidr)


class VxlanSection(Section):
    """The VXLAN device; the same on every node."""

    port: Port = 4789
    """UDP port (RFC 7348)."""
    vni: Annotated[StrictInt, Field(ge=1, le=16777215)] = 4096
    """VXLAN network identifier."""
    device: DeviceName = "calivx0"
    """Name of the device, which must be ours alone."""


class UdpSection(Section):
    """The udp encapsulation; the same on every node."""

    port: Port = 8285
    """UDP port."""
    device: DeviceName = "caliudp0"
    """Name of the TUN device, which must be ours alone."""


class EncapsulationSection(Section):
    """The encapsulations of the cluster: what every node takes, and how."""

    decapsulate: tuple[TunnelField, ...] = (Encapsulation.IPIP, Encapsulation.VXLAN)
    """The encapsulations whose packets every node takes at all times, whatever its pools use: `ipip`, `vxlan`, `udp`.
    Those that pools use are always among them. Before a pool is switched to one, it has to be here on every node."""
    vxlan: VxlanSection = Field(default_factory=VxlanSection)
    """Settings of VXLAN."""
    udp: UdpSection = Field(default_factory=UdpSection)
    """Settings of udp."""

    def device(self, encapsulation: Encapsulation) -> str:
        """The name of the tunnel device of an encapsulation; empty for `none`."""
        return {
            Encapsulation.NONE: "",
            Encapsulation.IPIP: IPIP_DEVICE,
            Encapsulation.VXLAN: self.vxlan.device,
            Encapsulation.UDP: self.udp.device,
        }[encapsulation]


class ApiSection(Section):
    """The gRPC API over TCP with mutual TLS, besides the unix sockets. All four keys, or no `api` at all."""

    listen: ListenField
    """Address and port, such as 0.0.0.0:7443."""
    cert_file: FilePath
    """The agent's certificate (PEM); reread when it changes."""
    key_file: FilePath
    """The certificate's private key (PEM)."""
    client_ca_file: FilePath
    """The CA that clients' certificates are checked against (PEM)."""


class AgentSection(Section):
    """The agent process on every node."""

    state_dir: FilePath = "/var/lib/calicopy"
    """Where claims and addresses are kept over restarts."""
    run_dir: FilePath = "/run/calicopy"
    """Where sockets and locks are."""
    socket: FilePath | None = None
    """The read-write socket. Default: calicopy.sock in `run_dir`. The read-only one is beside it, with `-ro` in its
    name."""
    socket_group: GroupName = "calicopy"
    """The group that may use the sockets."""
    log_level: LogLevelField = LogLevel.INFO
    """`debug`, `info`, `warning` or `error`."""
    api: ApiSection | None = None
    """The API over TCP. Default: unix sockets only."""
    readyz_listen: ListenField | None = None
    """Address of this host and port for `/readyz` over HTTP without TLS, such as 127.0.0.1:9099, besides the unix
    socket readyz.sock in `run_dir`. It says whether the node is ready, and why not. Default: the unix socket only."""
    route_protocol: RouteProtocol = 117
    """The protocol number that marks our routes in the kernel; no other program may use it."""
    route_metric: Annotated[StrictInt, Field(ge=1, le=4294967294)] = 1024
    """The metric of our routes, so that they never replace a route of another program."""
    resync_interval_s: Annotated[StrictInt, Field(ge=1, le=3600)] = 30
    """How often the kernel's routes are read back and drift is healed, besides on events; in seconds."""
    journal: FilePath | None = None
    """A file that all is written to that the agent's core is told, for `calicopy replay`. Default: none."""
    journal_limit_mib: Annotated[StrictInt, Field(ge=1, le=4096)] = 64
    """How long the journal may become; it ends there. In MiB."""

    @property
    def socket_path(self) -> str:
        """The read-write socket."""
        return self.socket if self.socket is not None else f"{self.run_dir}/calicopy.sock"

    @property
    def read_only_socket_path(self) -> str:
        """The read-only socket: `-ro` before the ending of the read-write one."""
        stem, dot, ending = self.socket_path.rpartition(".")
        if not dot or "/" in ending:
            return f"{self.socket_path}-ro"
        return f"{stem}-ro.{ending}"


__all__ = [
    "AddressDetection",
    "AgentSection",
    "ApiSection",
    "ClusterSection",
    "EncapsulationSection",
    "IPv6Interface",
    "NodeEntry",
    "PoolEntry",
    "Section",
    "UdpSection",
    "VxlanSection",
    "selects",
]
