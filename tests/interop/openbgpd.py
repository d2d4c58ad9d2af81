"""OpenBGPD (the portable one) as a column of the matrix."""
from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.interop.cells import Row
from tests.interop.router import (
    ADDRESS6,
    CONFIG,
    HOLD_S,
    LARGE,
    NODE,
    ROUTER_ID,
    STANDARD,
    Daemon,
    Neighbor,
    Router,
    Seen,
    output,
)

SOCKET = "/run/bgpd.sock"
BGPCTL = ("bgpctl", "-s", SOCKET)


class OpenBgpd(Daemon):
    """Three processes: the parent, the session engine and the RDE."""

    name = "openbgpd"
    title = "OpenBGPD"
    program = "/usr/sbin/bgpctl"
    processes = (("bgpd",),)
    before = (("install", "-d", "-o", "_openbgpd", "-g", "_openbgpd", "/run/openbgpd"),)
    absent: ClassVar[Mapping[Row, str]] = {
        Row.REFRESH_IN: "OpenBGPD 7.7 drops every ROUTE-REFRESH of a negotiated family (rde.c, "
        "`if (peer->capa.mp[rr.aid])`; put right in 7.8): calicopy resets the session instead",
        Row.HELPER: "OpenBGPD 7.7 keeps no state over a restart and says so: `announce restart`, \"Currently only the "
        'End-of-RIB marker is supported" (bgpd.conf(5))',
    }

    @classmethod
    def version(cls) -> str:
        return output(cls.program, "-V").removeprefix("OpenBGPD ")

    def command(self, *, recovering: bool) -> str:
        return f"/usr/sbin/bgpd -d -f {CONFIG}"

    def text(self, router: Router) -> str:
        lines = [f"AS {router.asn}", f"router-id {ROUTER_ID}", f'socket "{SOCKET}"', "fib-update no"]
        lines += [f"holdtime {HOLD_S}", "connect-retry 1"]
        own = f"community {STANDARD} large-community {LARGE}"
        lines += [f"network {prefix} set {{ {own} }}" for prefix in router.of_family("ipv4")]
        # Over an IPv4 session it takes ::1 as its own address if it is not told.
        lines += [f"network {prefix} set {{ {own} nexthop {ADDRESS6} }}" for prefix in router.of_family("ipv6")]
        for each in router.neighbors:
            lines += _session(each)
        return "\n".join([*lines, "allow from any", "allow to any"]) + "\n"

    def start(self, router: Router, *, recovering: bool = False) -> None:
        self.lab.run(NODE, "chmod", "600", CONFIG)  # it refuses keys that others can read
        super().start(router, recovering=recovering)

    def established(self, address: str) -> bool:
        return bool(self._neighbor(address).get("state") == "Established")

    def paths(self, prefix: str) -> list[Seen]:
        shown = self.ask(*BGPCTL, "-j", "show", "rib", "detail", prefix)
        return [_seen(each) for each in (json.loads(shown) if shown else {}).get("rib", [])]

    def withdraw(self, prefix: str) -> None:
        self.tell(*BGPCTL, "network", "delete", prefix)

    def updates(self, address: str) -> int:
        stats = self._neighbor(address).get("stats", {})
        return int(stats.get("message", {}).get("received", {}).get("updates", 0))

    def refresh(self, neighbor: Neighbor) -> None:
        self.tell(*BGPCTL, "neighbor", neighbor.address, "refresh")

    def _neighbor(self, address: str) -> dict[str, Any]:
        shown = self.ask(*BGPCTL, "-j", "show", "neighbor", address)
        found: list[dict[str, Any]] = (json.loads(shown) if shown else {}).get("neighbors", [])
        return found[0] if found else {}


def _session(neighbor: Neighbor) -> list[str]:
    lines = [f"neighbor {neighbor.address} {{", f"  remote-as {neighbor.asn}", f"  local-address {neighbor.local}"]
    lines += [f'  descr "{neighbor.name}"']
    for family, word in (("ipv4", "IPv4"), ("ipv6", "IPv6")):
        lines.append(f"  announce {word} {'unicast' if family in neighbor.families else 'none'}")
    if neighbor.add_path:
        lines += ["  announce add-path recv yes", "  announce add-path send all"]
    lines += [f"  route-reflector {ROUTER_ID}"] if neighbor.client else []
    lines += [f"  tcp md5sig password {neighbor.password}"] if neighbor.password else []
    lines += ["  ttl-security yes"] if neighbor.near else []
    return [*lines, "}"]


def _seen(path: dict[str, Any]) -> Seen:
    attributes = {each["type"]: each for each in path.get("attributes", [])}
    return Seen(
        next_hop=path.get("exit_nexthop", ""),
        as_path=tuple(int(each) for each in path.get("aspath", "").split()),
        communities=frozenset(path.get("communities", [])),
        large=frozenset(path.get("large_communities", [])),
        originator=attributes.get("Originator Id", {}).get("originator", ""),
        clusters=tuple(attributes.get("Cluster Id List", {}).get("cluster_list", [])),
    )
