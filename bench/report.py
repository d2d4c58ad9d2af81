"""Rows of the report, the table, and build/bench.json.

A target is about our own figure or about the ratio, and is a greatest value, or a least one where more is better:
`target=10.0` (no more than 10), `ratio_target=0.8` (no more than 0.8 of BIRD's), with `at_least=True` no less.
"""
from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

RESULT = Path("build/bench.json")
COLUMNS = ("MEASUREMENT", "UNIT", "CALICOPY", "BIRD", "RATIO", "TARGET", "MET")
BIRD = "bird"


@dataclass(frozen=True)
class Row:
    """One measurement. `peers`: what others needed for the same, in the same run. `ratio`: calicopy over the first.

    `benchmark` is the one that it comes from. `target_of` says what the target is about: `value` or `ratio`.
    `at_least`: it is the least value that is good.
    """

    name: str
    unit: str
    calicopy: float
    peers: Mapping[str, float] = field(default_factory=dict)
    ratio: float | None = None
    target: float | None = None
    target_of: str = "value"
    at_least: bool = False
    met: bool | None = None
    benchmark: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row in words."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return (self.name, self.unit, _number(self.calicopy), self.beside, ratio, self.goal, self.verdict)

    @property
    def goal(self) -> str:
        """The target in a few characters, such as `<= 0.8 x`."""
        if self.target is None:
            return ""
        sign, of_ratio = ">=" if self.at_least else "<=", " x" if self.target_of == "ratio" else ""
        return f"{sign} {_number(self.target)}{of_ratio}"

    @property
    def verdict(self) -> str:
        """Whether the target was met; empty without one."""
        return "" if self.met is None else ("yes" if self.met else "NO")

    @property
    def beside(self) -> str:
        """What others needed; BIRD without its name."""
        return ", ".join(_number(value) if name == BIRD else f"{name} {_number(value)}"
                         for name, value in self.peers.items())  # fmt: skip


def row(
    name: str, unit: str, ours: float | Sequence[float], *, bird: float | Sequence[float] | None = None,
    others: Mapping[str, float | Sequence[float]] | None = None, target: float | None = None,
    ratio_target: float | None = None, at_least: bool = False,
) -> Row:
    """A row; of several values the median is taken. The ratio is that to BIRD, without one to the first of `others`."""
    value = _one(ours)
    peers = {} if bird is None else {BIRD: _one(bird)}
    peers |= {other: _one(values) for other, values in (others or {}).items()}
    first = next(iter(peers.values()), 0.0)
    ratio = value / first if first else None
    goal, judged = (target, value) if ratio_target is None else (ratio_target, ratio)
    met = None if goal is None or judged is None else (judged >= goal if at_least else judged <= goal)
    return Row(
        name=name,
        unit=unit,
        calicopy=round(value, 4),
        peers={other: round(figure, 4) for other, figure in peers.items()},
        ratio=None if ratio is None else round(ratio, 2),
        target=goal,
        target_of="value" if ratio_target is None else "ratio",
        at_least=at_least,
        met=met,
    )


def spread(values: Iterable[float]) -> str:
    """The values in order, for the progress lines."""
    return " ".join(f"{value:.3g}" for value in sorted(values))


def say(text: str) -> None:
    """A line of progress."""
    print(f"    {text}", file=sys.stderr, flush=True)


def print_table(rows: Sequence[Row]) -> None:
    """All rows, aligned."""
    lines = [COLUMNS, *(each.cells for each in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for line in lines:
        cells = [text.ljust(width) if column < 2 else text.rjust(width)
                 for column, (text, width) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
        print("  ".join(cells).rstrip())


def write_json(rows: Sequence[Row], path: Path) -> None:
    """The rows as JSON, in place of those of the same benchmarks that an earlier run left there; others stay."""
    groups: dict[str, list[Row]] = {}
    for each in read_json(path) if path.exists() else []:
        groups.setdefault(each.benchmark, []).append(each)
    for name in dict.fromkeys(each.benchmark for each in rows):
        groups[name] = [each for each in rows if each.benchmark == name]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(each) for group in groups.values() for each in group], indent=2) + "\n")


def read_json(path: Path) -> list[Row]:
    """What `write_json` wrote. OSError without a file; rows of another shape count as none."""
    try:
        return [Row(**each) for each in json.loads(path.read_text()) if each.get("benchmark")]
    except (TypeError, ValueError):
        return []


def _one(values: float | Sequence[float]) -> float:
    return float(values) if isinstance(values, (int, float)) else statistics.median(values)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
