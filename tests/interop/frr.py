"""FRR as a column of the matrix: zebra stays, bgpd is what crashes."""
from __future__ import annotations

import json
from typing import Any

from tests.interop.router import (
    CONFIG,
    HOLD_S,
    LARGE,
    RESTART_S,
    ROUTER_ID,
    STANDARD,
    Daemon,
    Neighbor,
    Router,
    Seen,
    output,
)

NAMES = {"ipv4": "ipv4 unicast", "ipv6": "ipv6 unicast"}


class Frr(Daemon):
    """FRR's bgpd with its zebra."""

    name = "frr"
    title = "FRR"
    program = "/usr/lib/frr/bgpd"
    processes = (("/usr/lib/frr/bgpd",),)
    before = (
        ("install", "-d", "-o", "frr", "-g", "frr", "/run/frr"),
        ("/usr/lib/frr/zebra", "-d", "-A", "127.0.0.1", "-f", "/dev/null"),
    )

    @classmethod
    def version(cls) -> str:
        return output(cls.program, "--version").removeprefix("bgpd version ")

    def command(self, *, recovering: bool) -> str:
        return f"/usr/lib/frr/bgpd -A 127.0.0.1 -f {CONFIG} --log stdout"

    def text(self, router: Router) -> str:
        # The route map comes first: one that is defined later than it is used takes effect 5 s later.
        lines = ["route-map ours permit 10", f" set community {STANDARD}", f" set large-community {LARGE}"]
        lines += [f"router bgp {router.asn}", f" bgp router-id {ROUTER_ID}", f" bgp cluster-id {ROUTER_ID}"]
        lines += [" no bgp ebgp-requires-policy", " no bgp network import-check", " no bgp default ipv4-unicast"]
        lines += [" bgp graceful-restart", " bgp graceful-restart preserve-fw-state"]
        lines += [f" bgp graceful-restart restart-time {RESTART_S}", f" timers bgp {HOLD_S // 3} {HOLD_S}"]
        for each in router.neighbors:
            lines += _session(each)
        for family in ("ipv4", "ipv6"):
            lines += [f" address-family {NAMES[family]}"]
            lines += [f"  network {prefix} route-map ours" for prefix in router.of_family(family)]
            lines += [line for each in router.neighbors if family in each.families for line in _family(each)]
            lines += [" exit-address-family"]
        return "\n".join(lines) + "\n"

    def established(self, address: str) -> bool:
        return bool(self._neighbor(address).get("bgpState") == "Established")

    def paths(self, prefix: str) -> list[Seen]:
        family = NAMES["ipv6" if ":" in prefix else "ipv4"]
        shown = self.ask("vtysh", "-c", f"show bgp {family} {prefix} json")
        return [_seen(each) for each in (json.loads(shown) if shown else {}).get("paths", [])]

    def withdraw(self, prefix: str) -> None:
        assert self.running is not None
        family = NAMES["ipv6" if ":" in prefix else "ipv4"]
        words = ("configure terminal", f"router bgp {self.running.asn}", f"address-family {family}",
                 f"no network {prefix}")  # fmt: skip
        self.tell("vtysh", *(part for word in words for part in ("-c", word)))

    def updates(self, address: str) -> int:
        return int(self._neighbor(address).get("messageStats", {}).get("updatesRecv", 0))

    def refresh(self, neighbor: Neighbor) -> None:
        self.tell("vtysh", "-c", f"clear bgp {NAMES[neighbor.families[0]]} {neighbor.address} soft in")

    def _neighbor(self, address: str) -> dict[str, Any]:
        shown = self.ask("vtysh", "-c", f"show bgp neighbors {address} json")
        found: dict[str, Any] = (json.loads(shown) if shown else {}).get(address, {})
        return found


def _session(neighbor: Neighbor) -> list[str]:
    head = f" neighbor {neighbor.address}"
    lines = [f"{head} remote-as {neighbor.asn}", f"{head} update-source {neighbor.local}", f"{head} timers connect 1"]
    lines += [f"{head} password {neighbor.password}"] if neighbor.password else []
    lines += [f"{head} ttl-security hops 1"] if neighbor.near else []
    return lines


def _family(neighbor: Neighbor) -> list[str]:
    head = f"  neighbor {neighbor.address}"
    lines = [f"{head} activate"]
    lines += [f"{head} route-reflector-client"] if neighbor.client else []
    lines += [f"{head} addpath-tx-all-paths"] if neighbor.add_path else []
    return lines


def _seen(path: dict[str, Any]) -> Seen:
    hops = [hop["ip"] for hop in path.get("nexthops", []) if hop.get("scope") != "link-local"]
    return Seen(
        next_hop=hops[0] if hops else "",
        as_path=tuple(int(each) for each in path.get("aspath", {}).get("string", "").split() if each.isdigit()),
        communities=frozenset(path.get("community", {}).get("list", [])),
        large=frozenset(path.get("largeCommunity", {}).get("list", [])),
        originator=path.get("originatorId", ""),
        clusters=tuple(path.get("clusterList", {}).get("list", [])),
    )
