"""GoBGP as a column of the matrix: its prefixes are given to it once it runs, since its file cannot have any."""
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
    RESTART_S,
    ROUTER_ID,
    STANDARD,
    Daemon,
    Neighbor,
    Router,
    Seen,
    output,
)


class GoBgp(Daemon):
    """gobgpd, steered by gobgp."""

    name = "gobgp"
    title = "GoBGP"
    program = "/usr/bin/gobgpd"
    processes = (("gobgpd",),)
    absent: ClassVar[Mapping[Row, str]] = {
        Row.REFRESH_OUT: "GoBGP 3.10 never sends a ROUTE-REFRESH: `softresetin` goes through its own Adj-RIB-In "
        "(pkg/server/server.go, softResetIn, v3.10.0)",
    }

    @classmethod
    def version(cls) -> str:
        return output(cls.program, "--version").removeprefix("gobgpd version ")

    def command(self, *, recovering: bool) -> str:
        return f"gobgpd -t toml -f {CONFIG} {'-r' if recovering else ''}"

    def text(self, router: Router) -> str:
        lines = ["[global.config]", f"as = {router.asn}", f'router-id = "{ROUTER_ID}"']
        for each in router.neighbors:
            lines += _session(each)
        return "\n".join(lines) + "\n"

    def load(self, router: Router) -> None:
        super().load(router)
        for prefix in router.prefixes:
            hop = ADDRESS6 if ":" in prefix else ROUTER_ID
            self.tell("gobgp", "global", "rib", "add", "-a", _family(prefix), prefix, "nexthop", hop,
                      "community", STANDARD, "large-community", LARGE)  # fmt: skip

    def established(self, address: str) -> bool:
        return bool(self._neighbor(address).get("state", {}).get("session_state") == 6)

    def paths(self, prefix: str) -> list[Seen]:
        shown = self.ask("gobgp", "global", "rib", "-a", _family(prefix), prefix, "-j")
        try:
            found = json.loads(shown)
        except ValueError:
            return []
        return [_seen(path) for paths in found.values() for path in paths] if isinstance(found, dict) else []

    def withdraw(self, prefix: str) -> None:
        self.tell("gobgp", "global", "rib", "del", "-a", _family(prefix), prefix)

    def updates(self, address: str) -> int:
        messages = self._neighbor(address).get("state", {}).get("messages", {}).get("received", {})
        return int(messages.get("update", 0))

    def refresh(self, neighbor: Neighbor) -> None:
        raise NotImplementedError(self.absent[Row.REFRESH_OUT])

    def _neighbor(self, address: str) -> dict[str, Any]:
        shown = self.ask("gobgp", "neighbor", address, "-j")
        found: dict[str, Any] = json.loads(shown) if shown.startswith("{") else {}
        return found


def _family(prefix: str) -> str:
    return "ipv6" if ":" in prefix else "ipv4"


def _session(neighbor: Neighbor) -> list[str]:
    lines = ["[[neighbors]]", "[neighbors.config]", f'neighbor-address = "{neighbor.address}"']
    lines += [f"peer-as = {neighbor.asn}"]
    lines += [f'auth-password = "{neighbor.password}"'] if neighbor.password else []
    lines += ["[neighbors.transport.config]", f'local-address = "{neighbor.local}"']
    lines += ["[neighbors.timers.config]", f"hold-time = {HOLD_S}", "connect-retry = 5"]
    lines += ["idle-hold-time-after-reset = 1"]
    lines += ["[neighbors.graceful-restart.config]", "enabled = true", f"restart-time = {RESTART_S}"]
    if neighbor.client:
        lines += ["[neighbors.route-reflector.config]", "route-reflector-client = true"]
        lines += [f'route-reflector-cluster-id = "{ROUTER_ID}"']
    if neighbor.near:
        lines += ["[neighbors.ttl-security.config]", "enabled = true", "ttl-min = 255"]
    if neighbor.add_path:
        lines += ["[neighbors.add-paths.config]", "send-max = 8", "receive = true"]
    for family in neighbor.families:
        lines += ["[[neighbors.afi-safis]]", "[neighbors.afi-safis.config]", f'afi-safi-name = "{family}-unicast"']
        lines += ["[neighbors.afi-safis.mp-graceful-restart.config]", "enabled = true"]
    return lines


def _seen(path: dict[str, Any]) -> Seen:
    by_type = {each["type"]: each for each in path["attrs"]}
    reach = by_type.get(3) or by_type.get(14) or {}
    return Seen(
        next_hop=reach.get("nexthop", ""),
        as_path=tuple(n for part in by_type.get(2, {}).get("as_paths") or [] for n in part["asns"]),
        communities=frozenset(f"{n >> 16}:{n & 0xFFFF}" for n in by_type.get(8, {}).get("communities", [])),
        large=frozenset(
            f"{each['ASN']}:{each['LocalData1']}:{each['LocalData2']}" for each in by_type.get(32, {}).get("value", [])
        ),
        originator=by_type.get(9, {}).get("value", ""),
        clusters=tuple(by_type.get(10, {}).get("value", [])),
    )
