"""Pings between all pods of a lab, and how many of them got no answer."""
from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import faults
import labs


class Floods:
    """A ping every `interval_s` from each pod to each other one."""

    def __init__(
        self, lab: labs.TestLab, pods: dict[str, str], directory: Path, *, interval_s: float = 0.01, within: float = 20
    ) -> None:
        self.lab = lab
        self.reports = {(one, other): directory / f"{one}-{other}" for one, other in permutations(pods, 2)}
        for (one, other), report in self.reports.items():
            ping = ("ping", "-i", str(interval_s), pods[other])
            lab.spawn(one, "ip", "netns", "exec", "pod", *ping, output=report)
        for pair, report in self.reports.items():
            labs.wait_until(
                lambda report=report: self.answers(report) > 20, within=within, what=f"the flood of {pair} runs"
            )

    @staticmethod
    def answers(report: Path) -> int:
        return report.read_text().count("bytes from") if report.exists() else 0

    def stop(self) -> dict[tuple[str, str], int]:
        """End them: how many packets each lost. The last one may be on its way when ping is ended."""
        for node in {one for one, _ in self.reports}:
            namespace = Path(f"/proc/{faults.init_pid(self.lab, node)}/ns/pid").stat().st_ino
            for entry in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    ping = (entry / "cmdline").read_bytes().startswith(b"ping\0-i")
                    if ping and (entry / "ns" / "pid").stat().st_ino == namespace:
                        os.kill(int(entry.name), signal.SIGINT)
        lost = {}
        for pair, report in self.reports.items():
            found = labs.wait_until(
                lambda report=report: re.search(r"(\d+) packets transmitted, (\d+) received", report.read_text()),
                what=f"the report of {pair}",
            )
            lost[pair] = max(0, int(found[1]) - int(found[2]) - 1)
        return lost
