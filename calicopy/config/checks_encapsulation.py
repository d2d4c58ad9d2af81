"""What must hold between the encapsulations and the rest of the cluster file, as `checks` has it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from calicopy.config.errors import Path
from calicopy.config.problems import FirstUse, Problem
from calicopy.config.sections import EncapsulationSection, NodeEntry, PoolEntry
from calicopy.net import Encapsulation, EncapsulationMode, Family
from calicopy.net.tunnel import IPIP_DEVICE, underlay_family

_WORKLOADS = re.compile(r"cali[0-9a-f]{11}")
"""What host interfaces of workloads are called."""


def check_encapsulation(
    section: EncapsulationSection, pools: Sequence[PoolEntry], nodes: Sequence[NodeEntry]
) -> Iterator[Problem]:
    """Every problem of the encapsulations, and of the pools that use them."""
    at: Path = ("encapsulation",)
    twice = FirstUse("{} is there twice")
    for index, one in enumerate(section.decapsulate):
        yield from twice.use(one.value, (*at, "decapsulate", index))
    names = FirstUse("two tunnel devices have the name {!r}")
    for key, device in (("vxlan", section.vxlan.device), ("udp", section.udp.device)):
        path: Path = (*at, key, "device")
        if device in (IPIP_DEVICE, "lo", "all", "default", ".", "..") or _WORKLOADS.fullmatch(device):
            yield Problem(path, f"found {device!r}, which is another interface's name, expected one of its own")
        yield from names.use(device, path)
    if section.vxlan.port == section.udp.port:
        text = f"found {section.udp.port}, expected another port than that of vxlan"
        yield Problem((*at, "udp", "port"), text, other=(*at, "vxlan", "port"))
    for index, pool in enumerate(pools):
        yield from _pool(pool, ("pools", index), nodes)


def _pool(pool: PoolEntry, at: Path, nodes: Sequence[NodeEntry]) -> Iterator[Problem]:
    key: Path = (*at, "encapsulation")
    if pool.encapsulation is Encapsulation.IPIP and pool.cidr.family is Family.IPV6:
        yield Problem(
            key, "ipip carries IPv4 only, and the pool is IPv6: expected none, vxlan or udp", ((*at, "cidr"),)
        )
    if pool.encapsulation is Encapsulation.NONE and pool.mode is EncapsulationMode.CROSS_SUBNET:
        yield Problem((*at, "mode"), "has no effect: encapsulation is none", (key,), warning=True)
    if pool.encapsulation is Encapsulation.NONE:
        return
    over = "address"
    if pool.encapsulation is not Encapsulation.IPIP and _underlay(nodes) is Family.IPV6:
        over = "address6"
    wanted = {over, "address"} if pool.cidr.family is Family.IPV4 else {over}
    for index, node in enumerate(nodes):
        lacking = sorted(name for name in wanted if node.interfaces and getattr(node, name) is None)
        if lacking:
            text = f"no `{lacking[0]}`: pool {pool.label} with encapsulation {pool.encapsulation.value} "
            text += "does not reach this node"
            yield Problem(("nodes", index), text, (key, ("nodes", index, lacking[0])), warning=True)


def _underlay(nodes: Sequence[NodeEntry]) -> Family:
    return underlay_family(node.addresses for node in nodes)
