"""Pings between all pods of a lab, and how many of them got no answer."""
from __future__ import annotations

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
        """End them: how many packets each lost."""
        for node in {one for one, _ in self.reports}:
            faults.end_pings(self.lab, node)
        return {pair: faults.lost_of(report) for pair, report in self.reports.items()}
