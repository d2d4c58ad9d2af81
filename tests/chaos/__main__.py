"""Chaos: a mesh of nodes in namespaces, traffic between all pods, and a series of faults out of a seed (docs/chaos.md).

    python -m tests.chaos [--seed 1] [--events 50] [--nodes 6]
"""
from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]  # as pytest has it for what tests share

import happenings  # noqa: E402
import invariants  # noqa: E402
import mesh as meshes  # noqa: E402
from traffic import Loss, Traffic  # noqa: E402

BUILD = Path("build")
SETTLE_S = 60.0
WORST = 10


@dataclass
class Result:
    """What came of one happening. Times are seconds, gaps milliseconds."""

    number: int
    happening: happenings.Happening
    settled_s: float
    lost: int
    longest_ms: float
    others_lost: int
    leaked: int
    stalled_ms: int
    """How long this machine did nothing at all: what was lost is not held against calicopy then."""
    worst: list[str] = field(default_factory=list)
    """The longest gaps: the flow, when it began (seconds after the happening), packets, and how long it was."""
    wrong: list[str] = field(default_factory=list)

    def line(self, of: int) -> str:
        """For people."""
        loss = f"{self.lost} lost, longest gap {self.longest_ms:.0f} ms" if self.lost else "nothing lost"
        state = "BROKEN" if self.wrong else f"THE MACHINE STOOD STILL {self.stalled_ms} ms" if self.stalled_ms else "ok"
        leak = f", {self.leaked} by the default route" if self.leaked else ""
        return f"[{self.number}/{of}] {self.happening}: {loss}{leak}; settled in {self.settled_s:.1f} s; {state}"


def judge(one: happenings.Happening, losses: list[Loss], *, lossless: bool) -> tuple[int, list[str]]:
    """How much others than the victims lost, and what of all losses may not be."""
    others = [loss for loss in losses if not set(loss.flow) & set(one.victims)]
    wrong = []
    for name, those in (("flows of others", others), ("a happening that costs nothing", losses if lossless else [])):
        if those:
            worst = max(those, key=lambda loss: loss.gap_s)
            flows = len({loss.flow for loss in those})
            wrong.append(f"{name}: {sum(loss.packets for loss in those)} packets of {flows} flows lost, at worst "
                         f"{'>'.join(worst.flow)} for {worst.gap_s * 1000:.0f} ms")  # fmt: skip
    return sum(loss.packets for loss in others), wrong


def step(mesh: meshes.Mesh, traffic: Traffic, number: int, one: happenings.Happening) -> Result:
    """One happening, until the mesh has settled."""
    began = time.monotonic()
    seen, stalls = len(traffic.losses), len(traffic.stalls)
    before = {node: mesh.leaked(node) for node in mesh.nodes}
    free = happenings.lossless(one, mesh.wanted.encapsulation)
    wrong = happenings.happen(mesh, one)
    free = free and happenings.lossless(one, mesh.wanted.encapsulation)
    unsettled, took = invariants.settle(mesh, traffic, within=SETTLE_S)
    losses = [loss for loss in traffic.losses[seen:] if loss.packets > 0]
    others, lost = judge(one, losses, lossless=free)
    leaks = {node: mesh.leaked(node) - before[node] for node in mesh.nodes if node not in one.victims}
    stalled = max(traffic.stalls[stalls:], default=0.0)
    wrong += unsettled
    if not stalled:
        wrong += lost
    if not stalled and not happenings.withdraws(one):
        wrong += [f"{node}: {count} packets left by the default route" for node, count in leaks.items() if count]
    worst = [
        f"{'>'.join(loss.flow)} at {loss.at - began:.2f} s: {loss.packets} packets, {loss.gap_s * 1000:.0f} ms"
        for loss in sorted(losses, key=lambda loss: -loss.gap_s)[:WORST]
    ]
    longest = max((loss.gap_s for loss in losses), default=0.0)
    return Result(number, one, round(took, 2), sum(loss.packets for loss in losses), round(longest * 1000, 1), others,
                  sum(leaks.values()), round(stalled * 1000), worst, wrong)  # fmt: skip


def run(seed: int, events: int, nodes: int, *, stop_early: bool) -> int:
    """The whole run; the exit code."""
    kept = BUILD / f"chaos-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    results: list[Result] = []
    wrong: list[str] = []
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="chaos") as directory, meshes.running(
            Path(directory), nodes, tell=tell
        ) as mesh:
            traffic = Traffic(mesh.pods, {node: mesh.root(node, f"/run/netns/{meshes.POD}") for node in mesh.nodes})
            traffic.begin()
            wrong, took = invariants.settle(mesh, traffic, within=SETTLE_S)
            tell(f"seed {seed}: {nodes} nodes, {nodes * (nodes - 1)} flows, {events} events; settled in {took:.1f} s")
            for number, one in enumerate(happenings.series(seed, events, mesh.nodes), 1):
                if wrong and stop_early:
                    break
                results.append(step(mesh, traffic, number, one))
                tell(results[-1].line(events))
                for text in results[-1].wrong:
                    tell(f"    BROKEN: {text}")
                if results[-1].wrong:
                    mesh.keep(kept / f"event-{number}")
                wrong += results[-1].wrong
            traffic.stop()
            mesh.keep(kept)
            pids = [pid for node in mesh.nodes for pid in mesh.processes(node)]
        wrong += [text for text in invariants.replays(kept) if tell(f"BROKEN: {text}") is None]
        wrong += [f"process {pid} is left" for pid in pids if meshes.runs(pid)]
        wrong += [f"namespace {one.name} is left" for one in Path("/run/netns").glob(f"*{mesh.name}*")]
    finally:
        write(seed, events, nodes, results, wrong)
    summary(results)
    took = f"{len(results)} events in {time.monotonic() - began:.0f} s"
    tell(f"chaos: seed {seed}: {took}, {len(wrong)} invariants fell; "
         f"written to {BUILD}/chaos-{seed}.json")  # fmt: skip
    if not wrong:
        shutil.rmtree(kept, ignore_errors=True)
        return 0
    tell(f"again: make chaos SEED={seed} EVENTS={events} NODES={nodes}")
    tell(f"the journals of the nodes: {kept}/; one again, against the core: calicopy replay {kept}/n1.journal")
    return 1


def summary(results: list[Result]) -> None:
    """Loss by kind."""
    tell(f"{'kind':<14} {'times':>5} {'lost':>7} {'longest gap ms':>15}")
    for kind in sorted({one.happening.kind for one in results}):
        those = [one for one in results if one.happening.kind == kind]
        lost, longest = sum(one.lost for one in those), max(one.longest_ms for one in those)
        tell(f"{kind:<14} {len(those):>5} {lost:>7} {longest:>15.0f}")


def write(seed: int, events: int, nodes: int, results: list[Result], wrong: list[str]) -> None:
    """build/chaos-SEED.json."""
    BUILD.mkdir(exist_ok=True)
    found = {"seed": seed, "events": events, "nodes": nodes, "ok": not wrong and len(results) == events, "wrong": wrong,
             "results": [asdict(one) for one in results]}  # fmt: skip
    (BUILD / f"chaos-{seed}.json").write_text(json.dumps(found, indent=1) + "\n")


def tell(text: str) -> None:
    """At once."""
    print(text, flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=6, choices=range(5, 9))
    parser.add_argument("--stop-early", action="store_true", help="end when the first invariant fell")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        print("chaos: labs need root: they make network namespaces", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(asked.seed, asked.events, asked.nodes, stop_early=asked.stop_early)
    except KeyboardInterrupt:
        tell("chaos: interrupted; the mesh is gone")
        return 130


if __name__ == "__main__":
    sys.exit(main())
