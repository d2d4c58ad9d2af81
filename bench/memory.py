"""Memory and CPU time of processes, from /proc."""
from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

KB_IN_MB = 1024


@dataclass(frozen=True)
class Memory:
    """MB of some processes: resident, and the same with shared pages divided among those who share them."""

    rss: float
    pss: float


def memory(pids: Iterable[int]) -> Memory:
    """Of all the processes together (proc(5), smaps_rollup)."""
    rss = pss = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        rss += _field(text, "Rss")
        pss += _field(text, "Pss")
    return Memory(rss / KB_IN_MB, pss / KB_IN_MB)


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of all threads of the processes (proc(5), schedstat: nanoseconds)."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # a thread that has just ended
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) if found else 0
