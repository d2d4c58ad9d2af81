"""What has to be there before the core can begin: a valid file, this node in it, and the node's address.

Theory of operation: an agent that exits because something is not there yet never recovers in a container lab. A file
that is wrong ends it with every error named; an address that is missing is waited for.
"""
from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_interface
from pathlib import Path

from calicopy.agent.config_files import ConfigFiles
from calicopy.config import load_file
from calicopy.config.detect import AddressFact, Detection, choose_address
from calicopy.config.fields import DetectionMethod
from calicopy.config.load import load_bytes
from calicopy.config.model import AddressDetection, ClusterConfig
from calicopy.config.resolve import NodeConfig, find_node, resolve
from calicopy.kernel.kernel import KernelPort
from calicopy.net import Family
from calicopy.notify import notify

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 1.0
DEFAULT = IPv4Address("203.0.113.1")  # TEST-NET-3 (RFC 5737): only the default route leads there


@dataclass(frozen=True, slots=True)
class Startup:
    """What the agent begins with. `own`: the text is that of its own file, not the last good one kept beside."""

    config: ClusterConfig
    text: bytes
    own: bool


def read_startup(path: Path) -> Startup:
    """The cluster file at `path`; the last good text instead, when the agent died during a change, or when that file
    did not come up and is still the same (docs/changes.md). Raises ClusterFileError naming every error with its place.
    """
    result = load_file(str(path))
    for warning in result.warnings:
        log.warning("%s", warning)
    config = result.require()
    text = path.read_bytes()
    files = ConfigFiles(path, Path(config.agent.state_dir))
    note, good = files.distrusted(text), files.running()
    if note is None or good is None:
        files.end()
        return Startup(config, text, own=True)
    kept = load_bytes(good, filename=f"the last good configuration of {path}")
    if kept.config is None:
        log.error("%s", "; ".join(map(str, kept.errors)))
        return Startup(config, text, own=True)
    log.warning("%s did not come up (%s): the last good configuration runs instead", path, note.by)
    return Startup(kept.config, good, own=False)


def this_node(config: ClusterConfig, node: str | None) -> str:
    """The name of this node. Raises NodeNotFoundError."""
    return find_node(config, node=node, hostname=socket.gethostname()).name


async def wait_for_address(config: ClusterConfig, name: str, kernel: KernelPort) -> NodeConfig:
    """The node's configuration, once its address is known: given in the file, or detected."""
    said = ""
    while True:
        node = resolve(config, name)
        if node.ready or node.detection is None:
            return node
        try:
            found = await _detect(node.detection, config, kernel)
        except OSError as error:  # a dump that was interrupted, for one
            found = Detection(None, f"the kernel's interfaces cannot be read: {error.strerror or error}")
        address = found.address
        if address is not None and address.version == 4:
            log.info("node address %s: %s", address, found.reason)
            return resolve(config, name, address=address)
        if found.reason != said:
            said = found.reason
            log.warning("waiting for the node's address: %s", said)
            notify(f"STATUS=waiting for the node's address: {said}")
        await asyncio.sleep(LOOK_AGAIN_S)


async def _detect(rule: AddressDetection, config: ClusterConfig, kernel: KernelPort) -> Detection:
    target = rule.target if rule.method is DetectionMethod.CAN_REACH else DEFAULT
    ways = await kernel.resolve([target])
    way = ways[target]
    facts = [
        AddressFact(
            interface=interface.name,
            address=ip_interface(f"{address}/{length}"),
            default_route=way.reachable and interface.ifindex == way.ifindex,
            reaches_target=way.source == address,
        )
        for interface in (await kernel.interfaces()).values()
        for address, length in interface.addresses
    ]
    return choose_address(rule, facts, Family.IPV4, exclude=[pool.cidr for pool in config.pools])
