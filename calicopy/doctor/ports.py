"""Ports that calicopy listens on, and who has them now."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from calicopy.config.nodeconfig import BGP_PORT
from calicopy.doctor.result import Finding, Setting, fail, ok
from calicopy.net import Encapsulation

BFD = {3784: "BFD", 4784: "BFD between nodes"}
SHOWN = 60  # characters of a process
UNSEEN = "the kernel, or a process that is not to be seen from here"
_LISTEN = "0A"  # TCP_LISTEN of linux/tcp_states.h


def ports(setting: Setting) -> Iterator[Finding]:
    """BGP's, BFD's, and those of the encapsulations. The socket of our VXLAN device is the kernel's: of no process."""
    node = setting.node
    bgp = {session.listen_port for session in node.sessions} if node is not None else set()
    usual = node.cluster.bgp.listen_port if node is not None else BGP_PORT
    wanted = [("tcp", port, "BGP") for port in sorted(bgp or {usual})]
    if node is None or any(session.bfd is not None for session in node.sessions):
        wanted += [("udp", port, purpose) for port, purpose in BFD.items()]
    if setting.node is not None:
        cluster = setting.node.cluster
        settings = cluster.encapsulation
        ways = {Encapsulation.UDP: settings.udp.port, Encapsulation.VXLAN: settings.vxlan.port}
        taken = [way for way in ways if way in cluster.decapsulated]
        wanted += [("udp", ways[way], f"encapsulation {way.value}") for way in taken]
    kernels = set()
    if setting.node is not None and Path("/sys/class/net", setting.node.cluster.encapsulation.vxlan.device).exists():
        kernels = {setting.node.cluster.encapsulation.vxlan.port}
    for protocol, port, purpose in wanted:
        name = f"port {port}/{protocol}"
        holders = holders_of(protocol, port)
        strangers = sorted(who for who in holders if "calicopy" not in who and (who != UNSEEN or port not in kernels))
        if strangers:
            who = ", ".join(one[:SHOWN] for one in strangers)
            yield fail(name, f"taken by {who}", f"end it, or give it another port: {purpose} needs this one")
        else:
            yield ok(name, "calicopy has it" if holders else "free")


def holders_of(protocol: str, port: int) -> set[str]:
    """Who listens on it: command lines, `UNSEEN` where that is not to be seen."""
    inodes = set()
    for name in (protocol, f"{protocol}6"):
        try:
            inodes |= listening(Path(f"/proc/self/net/{name}").read_text(), port, any_state=protocol == "udp")
        except OSError:
            continue
    return {_process_of(inode) for inode in inodes}


def listening(table: str, port: int, *, any_state: bool) -> set[str]:
    """The inodes of sockets that listen on `port`, of a table such as /proc/net/tcp (proc(5))."""
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[1].endswith(f":{port:04X}") and (any_state or fields[3] == _LISTEN):
            found.add(fields[9])
    return found


def _process_of(inode: str) -> str:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) == f"socket:[{inode}]":  # noqa: PTH115 - it is no path
                    words = (process / "cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ").strip()
                    return f"process {process.name}: {words}"
        except OSError:
            continue
    return UNSEEN
