"""What the fault tests share: nodes whose supervisor can die without them, floods of pings, route monitors, the API."""
from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import labs

from calicopy import lab as runner
from calicopy.bfd.process.settings import StateLine
from calicopy.bfd.process.state import read_states
from calicopy.seam.bfd import SessionState

ALL = ("calicopy",)  # every process of ours has it in its command line: supervisor, agent, ExaBGP, bridge, BFD
BFD = ("calicopy.bfd",)


def init_pid(lab: labs.TestLab, node: str) -> int:
    """PID 1 of a node, as this machine sees it."""
    (status,) = (one for one in runner.status(lab.topology) if one.name == node)
    assert status.pid is not None
    return status.pid


def inside(lab: labs.TestLab, node: str, path: str) -> Path:
    """A path of a node, as this machine reaches it."""
    return Path(f"/proc/{init_pid(lab, node)}/root{path}")


def start_supervisor(lab: labs.TestLab, node: str) -> None:
    """`calicopy node` below PID 1, its output into the node's log."""
    lab.run(node, "sh", "-c", "calicopy node --config /etc/calicopy/cluster.yaml >>/proc/1/fd/1 2>&1 </dev/null &")


def kill_all(lab: labs.TestLab, node: str, *, words: Sequence[str] = ALL, but: Sequence[str] = ()) -> None:
    """SIGKILL every process of a node whose command line has `words`, until none is left but those that have `but`."""
    spared = set(lab.pids(node, *but)) if but else set()

    def none_left() -> bool:
        left = set(lab.pids(node, *words)) - spared
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    labs.wait_until(none_left, what=f"no process of {node} has {words}")


@contextmanager
def api(lab: labs.TestLab, node: str, *, name: str = "calicopy.sock", alone: bool = False) -> Iterator[grpc.Channel]:
    """A channel to a node's agent; `alone` gives it a connection that it shares with no other channel."""
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.lookahead_bytes", 1024)) if alone else ()
    with grpc.insecure_channel(f"unix:{inside(lab, node, '/run/calicopy') / name}", options=options) as channel:
        yield channel


def end_pings(lab: labs.TestLab, node: str) -> None:
    """The floods of a node end, and say what they counted."""
    namespace = Path(f"/proc/{init_pid(lab, node)}/ns/pid").stat().st_ino
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            flood = (entry / "cmdline").read_bytes().startswith(b"ping\0-i")
            if flood and (entry / "ns" / "pid").stat().st_ino == namespace:
                os.kill(int(entry.name), signal.SIGINT)


def lost_of(report: Path) -> int:
    """How many packets a ping that is being ended lost. The last one may be on its way when it is ended."""
    labs.wait_until(lambda: "packets transmitted" in report.read_text(), what=f"{report.name}: what ping counted")
    return max(0, labs.lost(report.read_text()) - 1)


@dataclass
class Flood:
    """Pings from pods, one every 10 ms, and what the monitors of some nodes saw of routes and nexthops meanwhile."""

    lab: labs.TestLab
    directory: Path
    monitored: Sequence[str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reports: dict[str, Path] = field(default_factory=dict)

    def start(self, node: str, address: str) -> None:
        """Ping from the pod `pod` of `node`; returns when answers come. Once for each node."""
        for each in () if self.processes else self.monitored:
            output = self.directory / f"monitor-{each}"
            self.processes.append(self.lab.spawn(each, "ip", "monitor", "route", "nexthop", output=output))
        ping = ("ping", "-i", "0.01", address)
        report = self.reports[node] = self.directory / f"ping-{node}"
        self.lab.spawn(node, "ip", "netns", "exec", "pod", *ping, output=report)
        labs.wait_until(lambda: report.exists() and report.read_text().count("bytes from") > 20, what="the flood runs")

    def stop(self) -> tuple[int, list[str]]:
        """End it: the number of lost packets, and the changes of routes and nexthops that were seen, of ours or
        deletions.
        """
        for node in self.reports:
            end_pings(self.lab, node)
        lost = sum(lost_of(report) for report in self.reports.values())
        for process in self.processes:
            process.terminate()
            process.wait(timeout=10)
        seen = [
            f"{each}: {line}"
            for each in self.monitored
            for line in (self.directory / f"monitor-{each}").read_text().splitlines()
            if "proto 117" in line or "proto 118" in line or "Deleted" in line
        ]
        return lost, seen


def peers(lab: labs.TestLab, node: str) -> dict[str, Any]:
    """The peers of a node by name."""
    return {one["name"]: one for one in lab.cli(node, "peers")["items"]}


def bfd(lab: labs.TestLab, node: str) -> dict[str, StateLine]:
    """The BFD sessions of a node by address of the peer, as its BFD process has them."""
    return read_states(str(inside(lab, node, "/run/calicopy/bfd.state")))


def downs(lab: labs.TestLab, *nodes: str) -> dict[str, dict[str, int]]:
    """How often BFD was Down after it was Up, of each node with each of its peers, once all of it is up."""

    def counted() -> dict[str, dict[str, int]] | None:
        found = {node: bfd(lab, node) for node in nodes}
        if any(session.state != SessionState.UP for sessions in found.values() for session in sessions.values()):
            return None
        return {node: {peer: each.downs for peer, each in sessions.items()} for node, sessions in found.items()}

    result: dict[str, dict[str, int]] = labs.wait_until(counted, what="BFD is up")
    return result


def blocks(lab: labs.TestLab, node: str) -> set[tuple[str, str, str]]:
    """(block, node, state) of each block, own and reserved, as a node sees it."""
    items = lab.cli(node, "ipam", "show", "--blocks")["items"]
    return {(one["cidr"], one["node"], one["state"]) for one in items}


def of_node(lab: labs.TestLab, node: str, *, owner: str, within: str) -> list[str]:
    """The blocks of `owner` whose text begins with `within`, as a node sees it."""
    return sorted(block for block, holder, _ in blocks(lab, node) if holder == owner and block.startswith(within))


def restart_agent(lab: labs.TestLab, node: str) -> None:
    """Kill the agent and wait until the next one answers."""
    lab.restart(node, "calicopy", "agent")
    labs.wait_until(lambda: lab.status(node), what=f"the agent of {node} answers", within=60)


def wait_problem(lab: labs.TestLab, node: str, *words: str, there: bool = True) -> None:
    """Until the status of a node calls something wrong that has all the words, in any case, in its line; or, with
    `there=False`, until it answers and calls nothing wrong that has. One look is not enough: on a busy machine an agent
    may not answer in time."""

    def as_expected() -> bool:
        status = lab.status(node)
        if status is None:
            return False
        lines = [
            f"{one['component']} {one['object']}: {one['reason']['message']}".lower() for one in status["problems"]
        ]
        return any(all(word.lower() in line for word in words) for line in lines) == there

    labs.wait_until(as_expected, what=f"the status of {node} says{'' if there else ' no more'}: {' '.join(words)}")
