"""The lab of one column: calicopy on n1, n2 and n3, the daemon on r1, x1 and x2 feed two paths of one prefix."""
from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.interop import router
from tests.interop.router import Daemon, Router
from tests.support import labs

CLUSTER_AS = 64512
ADDRESSES = {"n1": "192.0.2.1", "n2": "192.0.2.2", "n3": "192.0.2.3"}
ADDRESSES6 = {"n1": "2001:db8::1", "n2": "2001:db8::2", "n3": "2001:db8::3"}
FEEDERS = {"x1": "192.0.2.21", "x2": "192.0.2.22"}
IPV4 = ADDRESSES | FEEDERS
IPV6 = ADDRESSES6 | {router.NODE: router.ADDRESS6}
SHARED = "10.244.253.7/32"
"""The prefix of both feeders."""
OWN = ("10.244.255.0/26", "10.244.255.64/26")
OWN6 = ("fd00:10:244::ff00/122",)
"""The prefixes of the daemon."""
POOLS = ("10.244.0.0/16", "fd00:10:244::/112")
WITHIN_S = 30.0

FEEDER = """
router id {address};
protocol device {{ scan time 1; }}
protocol static shared {{ ipv4; route {prefix} blackhole; }}
template bgp feed {{
  disabled;
  local {address} as {asn};
  direct;
  hold time 9; connect delay time 1; connect retry time 2; error wait time 1, 2;
  ipv4 {{ import none; export all; next hop self; }};
}}
protocol bgp r1 from feed {{ neighbor {router} as {asn}; }}
protocol bgp n1 from feed {{ neighbor {node} as {asn}; }}
"""


@dataclass
class Scene:
    """The lab and the daemon in it."""

    lab: labs.TestLab
    daemon: Daemon
    directory: Path

    def write(self, cluster: Mapping[str, Any]) -> None:
        """Another cluster file, in place: the nodes see it through their bind mounts."""
        (self.directory / "cluster.yaml").write_text(yaml.safe_dump(dict(cluster), sort_keys=False))

    def restart_agents(self, *nodes: str) -> None:
        """Let the agents of these nodes read their file again; sessions that do not change stay up."""
        before = {node: self.lab.pids(node, "calicopy", "agent") for node in nodes}
        for node in nodes:
            self.lab.kill(node, "calicopy", "agent")
        for node in nodes:
            labs.wait_until(
                lambda node=node: (now := self.lab.pids(node, "calicopy", "agent")) and not set(now) & set(before[node])
                and self.lab.status(node),
                within=WITHIN_S, what=f"the agent of {node} runs again",
            )  # fmt: skip

    def peer(self, node: str, name: str) -> dict[str, Any]:
        """A peer of a node, or nothing while the agent does not answer."""
        done = self.lab.try_run(node, "calicopy", "peers", name, "-o", "json")
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def established(self, node: str, name: str) -> bool:
        """Whether calicopy calls the session Established."""
        return name in self.lab.established(node)

    def session(self, node: str, name: str) -> None:
        """Until both sides call the session Established."""
        labs.wait_until(lambda: self.established(node, name), within=WITHIN_S, what=f"{node}: {name} Established")
        address = ADDRESSES6[node] if name.endswith("6") else ADDRESSES[node]
        labs.wait_until(lambda: self.daemon.established(address), within=WITHIN_S,
                        what=f"{self.daemon.title} calls its session with {address} Established")  # fmt: skip

    def received(self, node: str, peer: str, prefix: str) -> list[dict[str, Any]]:
        """The paths of a prefix that a peer announced to a node, before policy."""
        done = self.lab.try_run(node, "calicopy", "routes", prefix, "--received", peer, "-o", "json")
        items = json.loads(done.stdout)["items"] if done.returncode == 0 else []
        return [path for item in items if item["prefix"] == prefix for path in item.get("paths", [])]

    def heard(self, node: str, peer: str, prefix: str) -> dict[str, Any]:
        """The only path of a prefix that a peer announced to a node, as soon as it is there."""
        what = f"{node} hears {prefix} from {peer}"
        (path,) = labs.wait_until(lambda: self.received(node, peer, prefix), what=what)
        return path

    def kernel(self, node: str, prefix: str) -> set[str]:
        """The next hops of our kernel route to a prefix; empty without one."""
        family = "-6" if ":" in prefix else "-4"
        shown = json.loads(self.lab.run(node, "ip", family, "-j", "route", "show", prefix, "proto", "117") or "[]")
        objects = {one["id"]: one for one in json.loads(self.lab.run(node, "ip", "-j", "nexthop", "show") or "[]")}
        routes = [labs.led(route, objects) for route in shown]
        hops = [hop for route in routes for hop in route.get("nexthops", [route])]
        return {hop["gateway"] for hop in hops if "gateway" in hop}

    def block(self, node: str, *, family: str = "ipv4") -> str:
        """A node's block, once it is confirmed."""

        def confirmed() -> str:
            done = self.lab.try_run(node, "calicopy", "ipam", "show", "--blocks", "-o", "json")
            for one in json.loads(done.stdout)["items"] if done.returncode == 0 else []:
                if one["node"] == node and one["state"] == "confirmed" and (":" in one["cidr"]) == (family == "ipv6"):
                    return str(one["cidr"])
            return ""

        return str(labs.wait_until(confirmed, within=WITHIN_S, what=f"{node} has an {family} block"))

    def monitor(self, node: str) -> Path:
        """What `ip monitor route` says of a node from now on."""
        output = self.directory / f"routes-of-{node}"
        self.lab.spawn(node, "ip", "monitor", "route", output=output)
        labs.wait_until(lambda: self.lab.pids(node, "ip", "monitor"), what="ip monitor runs")
        return output

    def counter(self, node: str, name: str) -> int:
        """A TcpExt counter of a node's kernel."""
        lines = self.lab.run(node, "cat", "/proc/net/netstat").splitlines()
        names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
        return int(dict(zip(names, values, strict=True))[name])

    def feed(self, *to: str) -> None:
        """Let both feeders have a session with these, of r1 and n1, and with no other."""
        for feeder in FEEDERS:
            for session in (router.NODE, "n1"):
                word = "enable" if session in to else "disable"
                self.lab.run(feeder, "birdc", "-s", "/run/bird.ctl", word, session)

    def announced(self, prefix: str) -> router.Seen:
        """The daemon's only path of a prefix, as soon as it has it."""
        paths = labs.wait_until(lambda: self.daemon.paths(prefix), what=f"{self.daemon.title} has {prefix}")
        return paths[0]

    def installed(self, node: str, prefix: str, *gateways: str) -> None:
        """Until the kernel of a node has the prefix by these next hops."""
        labs.wait_until(lambda: self.kernel(node, prefix) == set(gateways),
                        what=f"the kernel of {node} has {prefix} via {', '.join(gateways) or 'nothing'}")  # fmt: skip


@contextmanager
def running(daemon: type[Daemon], directory: Path, *, cluster: Mapping[str, Any], first: Router) -> Iterator[Scene]:
    """The lab, with `cluster` as the nodes' file and the daemon running as `first`; gone at the end."""
    files = {"cluster.yaml": yaml.safe_dump(dict(cluster), sort_keys=False), "key": "not the key",
             "router.conf": "", "router.log": ""}  # fmt: skip
    files |= {f"{name}.conf": _feeder(address) for name, address in FEEDERS.items()}
    directory.mkdir(parents=True, exist_ok=True)
    with labs.running(directory, topology(f"im{daemon.name}{os.getpid()}"), files=files, mgmt=False) as lab:
        scene = Scene(lab, daemon(lab, directory), directory)
        scene.daemon.prepare()
        scene.daemon.start(first)
        yield scene


def topology(name: str) -> dict[str, Any]:
    """All nodes on one switch. The daemon, and calicopy on n3, are started later: their nodes sleep."""
    binds = ["cluster.yaml:/etc/calicopy/cluster.yaml:ro", "key:/etc/calicopy/key:ro"]
    nodes: dict[str, dict[str, Any]] = {
        node: labs.node("", binds=binds, exec=_addresses(f"{ADDRESSES[node]}/24", f"{ADDRESSES6[node]}/64"))
        for node in ADDRESSES
    }
    nodes["n3"]["cmd"] = "sleep infinity"
    nodes["r1"] = labs.router("", "sleep infinity", binds=[f"router.conf:{router.CONFIG}", f"router.log:{router.LOG}"],
                              exec=_addresses(f"{router.ROUTER_ID}/24", f"{router.ADDRESS6}/64"))  # fmt: skip
    for feeder, address in FEEDERS.items():
        nodes[feeder] = labs.router(f"{address}/24", "bird -f -c /etc/feeder.conf -s /run/bird.ctl",
                                    binds=[f"{feeder}.conf:/etc/feeder.conf:ro"])  # fmt: skip
    return labs.one_ethernet(name, nodes)


def _addresses(*addresses: str) -> list[str]:
    return [f"ip address add {each} dev eth1{' nodad' if ':' in each else ''}" for each in addresses]


def _feeder(address: str) -> str:
    return FEEDER.format(address=address, prefix=SHARED, asn=CLUSTER_AS, router=router.ROUTER_ID, node=ADDRESSES["n1"])


def nodes_of(names: Sequence[str]) -> list[dict[str, Any]]:
    """Entries of the cluster file: for calicopy's nodes, and for others whose addresses are believed as next hops.

    The daemon has its IPv6 address alone there: by the one of its IPv4 sessions it would be trusted as a node.
    """
    return [
        {"name": name}
        | ({"address": f"{IPV4[name]}/24"} if name in IPV4 else {"router_id": "192.0.2.250"})
        | ({"address6": f"{IPV6[name]}/64"} if name in IPV6 else {})
        for name in names
    ]


def holds_until(condition: Any, *, until: Any, within: float, what: str) -> None:
    """`condition` holds at every look, until `until` does. AssertionError when it does not, or after `within` s."""
    deadline = time.monotonic() + within
    while True:
        done = until()
        assert condition(), f"not all the time: {what}"
        if done:
            return
        assert time.monotonic() < deadline, f"not within {within} s: the end of: {what}"
        time.sleep(labs.POLL_S)
