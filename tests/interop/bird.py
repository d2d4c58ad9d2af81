"""BIRD as a column of the matrix."""
from __future__ import annotations

import re

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

CONTROL = "/run/bird.ctl"
BIRDC = ("birdc", "-s", CONTROL)


class Bird(Daemon):
    """BIRD 2; one static protocol per prefix, so that each can be taken away alone."""

    name = "bird"
    title = "BIRD"
    program = "/usr/sbin/bird"
    processes = (("bird", "-f"),)

    @classmethod
    def version(cls) -> str:
        return output(cls.program, "--version").removeprefix("BIRD version ")

    def command(self, *, recovering: bool) -> str:
        return f"bird -f -c {CONFIG} -s {CONTROL} {'-R' if recovering else ''}"

    def text(self, router: Router) -> str:
        lines = [f"router id {ROUTER_ID};", "log stderr all;", "protocol device { scan time 1; }"]
        lines += [_static(number, prefix) for number, prefix in enumerate(router.prefixes)]
        lines += [_session(each, router.asn) for each in router.neighbors]
        return "\n".join(lines)

    def established(self, address: str) -> bool:
        return "Established" in self.ask(*BIRDC, "show", "protocols", self._name(address))

    def paths(self, prefix: str) -> list[Seen]:
        shown = self.ask(*BIRDC, "show", "route", prefix, "all")
        blocks = re.split(r"\n(?=\S*\s+(?:unicast|blackhole|unreachable) \[)", "\n" + shown)
        return [_seen(block) for block in blocks if "BGP.next_hop" in block]

    def withdraw(self, prefix: str) -> None:
        assert self.running is not None
        self.tell(*BIRDC, "disable", f"own{self.running.prefixes.index(prefix)}")

    def updates(self, address: str) -> int:
        shown = self.ask(*BIRDC, "show", "protocols", "all", self._name(address))
        return sum(int(found) for found in re.findall(r"Import updates:\s+(\d+)", shown))

    def refresh(self, neighbor: Neighbor) -> None:
        self.tell(*BIRDC, "reload", "in", neighbor.name)

    def _name(self, address: str) -> str:
        assert self.running is not None
        return next(each.name for each in self.running.neighbors if each.address == address)


def _static(number: int, prefix: str) -> str:
    family = "ipv6" if ":" in prefix else "ipv4"
    standard, large = STANDARD.replace(":", ","), LARGE.replace(":", ",")
    return f"""protocol static own{number} {{
  {family};
  route {prefix} blackhole {{ bgp_community.add(({standard})); bgp_large_community.add(({large})); }};
}}"""


def _session(neighbor: Neighbor, asn: int) -> str:
    options = [
        f"local {neighbor.local} as {asn};",
        f"neighbor {neighbor.address} as {neighbor.asn};",
        f"hold time {HOLD_S}; connect delay time 1; connect retry time 2; error wait time 1, 2;",
        f"graceful restart on; graceful restart time {RESTART_S};",
        "direct;",
    ]
    options += [f"rr client; rr cluster id {ROUTER_ID};"] if neighbor.client else []
    options += [f'password "{neighbor.password}";'] if neighbor.password else []
    options += ["ttl security on;"] if neighbor.near else []
    for family in neighbor.families:
        own = f"next hop address {ADDRESS6};" if family == "ipv6" and ":" not in neighbor.local else ""
        several = "add paths on;" if neighbor.add_path else ""
        export = "export where source = RTS_STATIC || source = RTS_BGP;"
        options.append(f"{family} {{ import all; gateway direct; {export} {own} {several} }};")
    return f"protocol bgp {neighbor.name} {{\n  " + "\n  ".join(options) + "\n}"


def _seen(block: str) -> Seen:
    def value(name: str) -> str:
        found = re.search(rf"BGP\.{name}: (.*)", block)
        return found[1].strip() if found else ""

    return Seen(
        next_hop=value("next_hop").split()[0],
        as_path=tuple(int(each) for each in value("as_path").split()),
        communities=frozenset(re.sub(r"[() ]", "", each).replace(",", ":") for each in _tuples(value("community"))),
        large=frozenset(re.sub(r"[() ]", "", each).replace(",", ":") for each in _tuples(value("large_community"))),
        originator=value("originator_id"),
        clusters=tuple(value("cluster_list").split()),
    )


def _tuples(text: str) -> list[str]:
    return re.findall(r"\([^)]*\)", text)
