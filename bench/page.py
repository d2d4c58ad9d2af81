"""docs/performance.md and docs/performance.svg, from build/bench.json.

    python -m bench.page        # the table between the page's two marks, and the plot; `make bench` does it in the end
"""
from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.fabric import BenchError
from bench.plot import draw
from bench.report import RESULT, Row, read_json

PAGE, PLOT = Path("docs/performance.md"), Path("docs/performance.svg")
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
HEADS = ("measured", "unit", "calicopy", "BIRD", "ratio", "target", "met")


def machine() -> str:
    """What the figures were measured on, in general."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    gigabytes = round(int(memory[1]) / 2**20) if memory else 0
    kernel = ".".join(platform.release().split(".")[:2])
    bird = subprocess.run(("bird", "--version"), capture_output=True, text=True, check=False).stderr.strip()
    parts = [f"a virtual machine with {os.cpu_count()} cores and {gigabytes} GB", f"Linux {kernel}",
             f"Python {platform.python_version()}", bird]  # fmt: skip
    return ", ".join(part for part in parts if part)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, under a heading for each benchmark."""
    lines = [f"Measured by `make bench` on {machine()}.", ""]
    for name in dict.fromkeys(row.benchmark for row in rows):
        lines += [f"### {name}", "| " + " | ".join(HEADS) + " |", "|---|---|--:|--:|--:|--:|---|"]
        lines += [f"| {' | '.join(row.cells)} |" for row in rows if row.benchmark == name]
        lines.append("")
    return "\n".join(lines)


def write_page(rows: Sequence[Row]) -> None:
    """Put table and plot into docs/. BenchError when the page has lost its marks."""
    text = PAGE.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{PAGE}: {BEGIN} and {END} must be there")
    PAGE.write_text(f"{head}{BEGIN}\n{table(rows)}{END}{tail}")
    PLOT.write_text(draw(rows))


if __name__ == "__main__":
    try:
        write_page(read_json(RESULT))
    except (BenchError, OSError) as error:
        sys.exit(f"bench.page: {error}")
