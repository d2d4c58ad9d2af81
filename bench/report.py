"""Rows of the report, the table, and build/bench.json."""
from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

COLUMNS = ("MEASUREMENT", "UNIT", "CALICOPY", "BIRD", "RATIO", "TARGET", "MET")


@dataclass(frozen=True)
class Row:
    """One measurement. `peers`: what others needed for the same, in the same run. `ratio`: calicopy over BIRD."""

    name: str
    unit: str
    calicopy: float
    peers: Mapping[str, float] = field(default_factory=dict)
    ratio: float | None = None
    target: float | None = None
    met: bool | None = None


def row(
    name: str, unit: str, ours: float | Sequence[float], *, bird: float | Sequence[float] | None = None,
    target: float | None = None,
) -> Row:
    """A row; of several values the median is taken. The target is a greatest value."""
    value = _one(ours)
    other = None if bird is None else _one(bird)
    return Row(
        name=name,
        unit=unit,
        calicopy=round(value, 4),
        peers={} if other is None else {"bird": round(other, 4)},
        ratio=None if not other else round(value / other, 2),
        target=target,
        met=None if target is None else value <= target,
    )  # fmt: skip


def spread(values: Iterable[float]) -> str:
    """The values in order, for the progress lines."""
    return " ".join(f"{value:.3g}" for value in sorted(values))


def say(text: str) -> None:
    """A line of progress."""
    print(f"    {text}", file=sys.stderr, flush=True)


def print_table(rows: Sequence[Row]) -> None:
    """All rows, aligned."""
    lines = [COLUMNS, *(_cells(each) for each in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for line in lines:
        cells = [text.ljust(width) if column < 2 else text.rjust(width)
                 for column, (text, width) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
        print("  ".join(cells).rstrip())


def write_json(rows: Sequence[Row], path: Path) -> None:
    """The list of rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(each) for each in rows], indent=2) + "\n")


def _one(values: float | Sequence[float]) -> float:
    return float(values) if isinstance(values, (int, float)) else statistics.median(values)


def _cells(each: Row) -> tuple[str, ...]:
    bird = each.peers.get("bird")
    return (
        each.name,
        each.unit,
        _number(each.calicopy),
        "" if bird is None else _number(bird),
        "" if each.ratio is None else f"{each.ratio:.2f}",
        "" if each.target is None else _number(each.target),
        "" if each.met is None else ("yes" if each.met else "NO"),
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
