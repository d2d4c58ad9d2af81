"""The network of a lab, made with iproute2: namespaces, the management bridge, links.

Theory of operation: no state and no decisions; each function carries out a part of the plan, in as few `ip` processes
as it takes (`-batch`), and raises LabError with the line that `ip` refused. Both ends of a link are made right in their
namespaces, so nothing passes through the host's.

Every `ip` inherits the lab's lock (`close_fds=False`: everything else of this process is not inheritable), so that one
that outlives a killed `up` is waited for by `down`, and makes nothing after it.

Every interface in a namespace gets an index that no other of the lab has. For a veth whose peer happens to have the
same index in its own namespace, the kernel takes the change of carrier for one that is not urgent
(net/core/link_watch.c), and the link would pass no packet for up to a second.
"""
from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from calicopy.lab.plan import BridgePlan, LinkEnd, LinkPlan, MgmtPlan, NodePlan
from calicopy.lab.state import LabError

NETNS_DIR = Path("/run/netns")
FIRST_INDEX = 101
"""Above those that the kernel itself gives to a new namespace's devices (lo, tunl0, ...)."""


def ip(*args: str) -> str:
    """Run `ip ARGS`, and give back what it prints. Raises LabError with what it says."""
    done = subprocess.run(("ip", *args), capture_output=True, text=True, check=False, close_fds=False)
    if done.returncode != 0:
        raise LabError(f"ip {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def batch(lines: Sequence[str], *, netns: str | None = None) -> None:
    """Run `lines` by one `ip` process, in `netns`. Raises LabError with the line that failed."""
    if not lines:
        return
    where = ("-n", netns) if netns is not None else ()
    done = subprocess.run(("ip", *where, "-batch", "-"), input="\n".join(lines) + "\n", capture_output=True,
                          text=True, check=False, close_fds=False)
    if done.returncode != 0:
        place = f" in {netns}" if netns else ""
        number = done.stderr.rstrip().rpartition(":")[2]  # "Command failed -:3"
        command = lines[int(number) - 1] if number.isdigit() and 0 < int(number) <= len(lines) else "; ".join(lines)
        raise LabError(f"ip {command}{place}: {done.stderr.strip().splitlines()[0]}")


def existing_namespaces(names: Iterable[str]) -> tuple[str, ...]:
    """Which of `names` exist already."""
    return tuple(name for name in names if (NETNS_DIR / name).exists() or (NETNS_DIR / name).is_symlink())


def link_exists(name: str) -> bool:
    """Whether the host has an interface of this name."""
    return Path("/sys/class/net", name).exists()


def is_bridge(name: str) -> bool:
    """Whether the host has a bridge of this name."""
    return Path("/sys/class/net", name, "bridge").is_dir()


def add_namespaces(names: Iterable[str]) -> None:
    """Make the namespaces, with their loopback up."""
    for name in names:
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")


def remove_namespaces(names: Iterable[str]) -> None:
    """Remove those of the namespaces that are there; the first failure does not stop the others."""
    failures: list[str] = []
    for name in existing_namespaces(names):
        try:
            ip("netns", "delete", name)
        except LabError as error:
            failures.append(str(error))
    if failures:
        raise LabError("; ".join(failures))


def remove_host_interfaces(names: Iterable[str]) -> None:
    """Remove those of the host's interfaces that are there."""
    batch([f"link delete {name}" for name in names if link_exists(name)])


def make_mgmt(mgmt: MgmtPlan, nodes: Sequence[NodePlan], *, indexes: Iterator[int]) -> None:
    """The management bridge, and every node's eth0 with its addresses and the default routes."""
    lines = ["link add br0 type bridge", f"address add {mgmt.ipv4} dev br0", f"address add {mgmt.ipv6} dev br0 nodad",
             "link set br0 up"]
    for node in nodes:
        if node.mgmt is None:
            continue
        batch([f"link add name eth0 index {next(indexes)} netns {node.netns} type veth "
               f"peer name {node.mgmt.port} index {next(indexes)} netns {mgmt.netns}"])
        lines += [f"link set {node.mgmt.port} master br0 up"]
    batch(lines, netns=mgmt.netns)
    for node in nodes:
        if node.mgmt is not None:
            batch([f"address add {node.mgmt.ipv4} dev eth0", f"address add {node.mgmt.ipv6} dev eth0 nodad",
                   "link set eth0 up", f"route add default via {mgmt.ipv4.ip}",
                   f"route add default via {mgmt.ipv6.ip}"], netns=node.netns)


def make_bridges(bridges: Iterable[BridgePlan]) -> None:
    """The bridges inside of nodes; those of the host are the user's."""
    for bridge in bridges:
        if bridge.netns is not None:
            batch([f"link add {bridge.name} type bridge", f"link set {bridge.name} up"], netns=bridge.netns)


def make_links(links: Sequence[LinkPlan], *, indexes: Iterator[int]) -> None:
    """The veth pairs, with their ends in bridges where the plan says so, and up."""
    batch([f"link add {_named(link.ends[0], link.mtu, indexes)} type veth "
           f"peer {_named(link.ends[1], link.mtu, indexes)}" for link in links])
    by_netns: dict[str | None, list[str]] = {}
    for end in (end for link in links for end in link.ends):
        master = f" master {end.master}" if end.master else ""
        by_netns.setdefault(end.netns, []).append(f"link set dev {end.interface}{master} up")
    for netns, lines in by_netns.items():
        batch(lines, netns=netns)


def _named(end: LinkEnd, mtu: int, indexes: Iterator[int]) -> str:
    where = f" netns {end.netns} index {next(indexes)}" if end.netns is not None else ""
    return f"name {end.interface} mtu {mtu}{where}"


def addresses(netns: str) -> dict[str, tuple[str, ...]]:
    """The addresses in `netns` by interface, with their lengths; without loopback and link-local ones."""
    found: dict[str, tuple[str, ...]] = {}
    for link in json.loads(ip("-n", netns, "-j", "address", "show")):
        own = tuple(f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info", ())
                    if one.get("scope") == "global")
        if own:
            found[str(link["ifname"])] = own
    return found
