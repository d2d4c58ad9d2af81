"""What an encapsulation costs: throughput (iperf3) and ping between pods on two nodes.

    python -m bench.bench_encap NAME...     # the figures of these, as JSON

Two calicopy nodes on one Ethernet (veth, a bridge; MTU 1500) and a pool for each encapsulation, `mode: always`. A pod
of each pool on both nodes; the encapsulations take turns. `ipip` runs here where the kernel has it, else inside User
Mode Linux, where `none` is measured again beside it: that machine has one CPU and is slow at everything, so only the
ratios mean something. RATIO is that to `none` of the same machine.
"""
from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.fabric import BenchError, Fabric, wait_for
from bench.report import Row, row, say
from bench.routers import OUR_PROTOCOL, Node, cluster

NAMES = ("none", "vxlan", "udp")
POOLS = {"none": "10.1.0.0/16", "ipip": "10.2.0.0/16", "vxlan": "10.3.0.0/16", "udp": "10.4.0.0/16"}
ROUNDS = int(os.environ.get("BENCH_ENCAP_ROUNDS", "3"))
SECONDS = os.environ.get("BENCH_ENCAP_SECONDS", "3")
PINGS = 100
WITHIN_S = 120.0  # inside User Mode Linux nobody is fast
PROJECT = Path(__file__).resolve().parents[1]
UML = PROJECT / "tests" / "uml" / "run.py"
RESULT = "RESULT "

Figures = Mapping[str, Mapping[str, float]]
"""By encapsulation: `tcp` Mbit/s, `pps` packets per second of 64 octets, `ping` milliseconds there and back."""
WHAT = {"tcp": ("TCP between pods (iperf3)", "Mbit/s"), "pps": ("UDP of 64 octets between pods (iperf3)", "packets/s"),
        "ping": ("ping between pods", "ms")}  # fmt: skip


def measure(directory: Path) -> list[Row]:
    """Mbit/s, packets per second, milliseconds."""
    names = list(NAMES)
    guest: Figures = {}
    if _has_ipip():
        names.append("ipip")
    else:
        guest = _in_uml("none", "ipip")
    rows = _rows(between_pods(directory, names), "")
    return rows + _rows(guest, ", in User Mode Linux")


def _rows(figures: Figures, where: str) -> list[Row]:
    rows = []
    for kind, (what, unit) in WHAT.items():
        for name, found in figures.items():
            others = {} if name == "none" else {"none": figures["none"][kind]}
            rows.append(row(f"{what}: {name}{where}", unit, found[kind], others=others))
    return rows


def _has_ipip() -> bool:
    sys.path.insert(0, str(UML.parent))
    from run import host_has_ipip  # the runner of tests/uml: it is a program, and no package

    return bool(host_has_ipip())


def _in_uml(*names: str) -> Figures:
    """The figures of these, from a guest."""
    command = [sys.executable, str(UML), "--timeout", "400", "--", "env", f"BENCH_ENCAP_SECONDS={SECONDS}",
               f"BENCH_ENCAP_ROUNDS={ROUNDS}", sys.executable, "-m", "bench.bench_encap", *names]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    results = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    if not results:
        raise BenchError(f"no figures from User Mode Linux: {(done.stdout + done.stderr)[-2000:]}")
    found: Figures = json.loads(results[0].removeprefix(RESULT))
    return found


def between_pods(directory: Path, names: Sequence[str]) -> Figures:
    """The figures of these encapsulations, by turns; medians."""
    with Fabric(directory, "n1", "n2") as fabric:
        pools = "".join(f"  - {{name: {name}, cidr: {POOLS[name]}, encapsulation: {name}"
                        f"{'' if name == 'none' else ', mode: always'}}}\n" for name in names)  # fmt: skip
        listed: dict[str, tuple[str, list[str]]] = {name: (fabric.address(name), []) for name in fabric.hosts}
        config = re.sub(r"pools: .*\n", f"pools:\n{pools}", cluster(listed))
        nodes = [Node(fabric, name, config) for name in fabric.hosts]
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_established(1, within=WITHIN_S)
        pods = {(node.name, name): _pod(fabric, node, name) for name in names for node in nodes}
        for name in names:
            wait_for(lambda name=name: _ping(fabric, name, pods["n2", name], 1), within=WITHIN_S,
                     what=f"pods of {name} reach each other; {nodes[0].log[-5:]}")  # fmt: skip
        routes = fabric.routes("n1", OUR_PROTOCOL)
        say(f"{routes} routes in the kernel of n1; pods reach each other: {', '.join(names)}")
        taken: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in WHAT} for name in names}
        for turn in range(ROUNDS):
            for name in names if turn % 2 else reversed(names):  # so that none is always the first
                address = pods["n2", name]
                taken[name]["ping"] += _ping(fabric, name, address, PINGS)
                taken[name]["tcp"].append(_iperf(fabric, name, address, "tcp"))
                taken[name]["pps"].append(_iperf(fabric, name, address, "pps"))
        for node in nodes:
            node.stop()
    return {name: {kind: statistics.median(values) for kind, values in kinds.items()} for name, kinds in taken.items()}


def _pod_host(node: str, name: str) -> str:
    return f"{node}x{name}"


def _pod(fabric: Fabric, node: Node, name: str) -> str:
    """A pod of a pool on a node; its address."""
    pod = _pod_host(node.name, name)
    namespace = fabric.add_namespace(pod)
    calicopy = str(Path(sys.executable).with_name("calicopy"))
    words = (calicopy, "workload", "attach", namespace, pod, "--pool", name, "--socket", node.socket, "-o", "json")
    shown = fabric.run(node.name, *words)
    return str(json.loads(shown)["addresses"][0])


def _ping(fabric: Fabric, name: str, address: str, count: int) -> list[float]:
    """Milliseconds of each answer; empty when one is missing."""
    words = ("ping", "-n", "-c", str(count), "-i", "0.01", "-W", "1", address)
    try:
        shown = fabric.run(_pod_host("n1", name), *words)
    except BenchError:
        return []
    return [float(found) for found in re.findall(r"time=([\d.]+) ms", shown)]


def _iperf(fabric: Fabric, name: str, address: str, kind: str) -> float:
    """Mbit/s of TCP, or packets per second of small UDP, as received."""
    words = ("iperf3", "-s", "-1", "--forceflush")
    server = fabric.spawn(_pod_host("n2", name), *words, log=f"iperf-{name}.log")
    log = fabric.directory / f"iperf-{name}.log"
    wait_for(lambda: "listening" in log.read_text(), what="iperf3 listens")
    options = () if kind == "tcp" else ("-u", "-b", "0", "-l", "64")
    shown = fabric.run(_pod_host("n1", name), "iperf3", "-c", address, "-t", SECONDS, "-J", *options)
    fabric.stop(server)
    log.unlink()
    end = json.loads(shown)["end"]
    if kind == "tcp":
        return float(end["sum_received"]["bits_per_second"]) / 1e6
    return float(end["sum"]["packets"] - end["sum"]["lost_packets"]) / float(end["sum"]["seconds"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(RESULT + json.dumps(between_pods(Path(made), sys.argv[1:])), flush=True)
