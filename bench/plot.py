"""The plot of docs/performance.md: SVG by hand, so that equal figures give equal files, readable in light and dark.

Three panels: tables into the kernel, a node that is gone (both beside BIRD, on logarithmic scales), and the throughput
that each encapsulation leaves of plain routing. A panel whose rows are missing stays empty.
"""
from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

from bench.report import Row

WIDTH, HEIGHT, GAP = 1080, 360, 360
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 64, 52
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; font-size: 14px; }
  .small { font-size: 12px; fill: #57606a; }
  .axis { stroke: #8c959f; stroke-width: 1; }
  .grid { stroke: #8c959f; stroke-opacity: .25; stroke-width: 1; }
  .ours { stroke: #0969da; } .bird { stroke: #bc4c00; stroke-dasharray: 6 4; }
  .line { fill: none; stroke-width: 2.5; }
  .dot-ours { fill: #0969da; } .dot-bird { fill: #bc4c00; }
  .bar { fill: #0969da; } .ground { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .small { fill: #9da7b3; } .ground { fill: #0d1117; }
    .ours { stroke: #58a6ff; } .bird { stroke: #f0883e; }
    .dot-ours, .bar { fill: #58a6ff; } .dot-bird { fill: #f0883e; }
  }
"""
Points = Mapping[float, tuple[float, float]]
"""By number of routes: our figure, BIRD's."""


def draw(rows: Sequence[Row]) -> str:
    """The whole plot."""
    received = _points(rows, r"([\d,]+) routes received and in the kernel$")
    gone = _points(rows, r"a node with ([\d,]+) routes? gone: from the end of its connection to the last packet to it$")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="Routes into the kernel, failover, and throughput of each encapsulation">',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
        *_curves(0, "Routes received and in the kernel", "seconds", received),
        *_curves(GAP, "A node is gone: last packet to it", "milliseconds", gone),
        *_bars(2 * GAP, "TCP between pods, of plain routing", _shares(rows)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _points(rows: Sequence[Row], pattern: str) -> Points:
    found = {}
    for row in rows:
        match = re.match(pattern, row.name)
        if match and "bird" in row.peers:
            found[float(match[1].replace(",", ""))] = (row.calicopy, row.peers["bird"])
    return dict(sorted(found.items()))


def _shares(rows: Sequence[Row]) -> Mapping[str, float]:
    """Throughput of each encapsulation over that of none on the same machine."""
    found = {}
    for row in rows:
        match = re.match(r"TCP between pods \(iperf3\): (\w+)(, in User Mode Linux)?$", row.name)
        if match and row.ratio is not None:
            found[match[1] + (" (UML)" if match[2] else "")] = row.ratio
    return found


def _text(x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> str:
    classes = f' class="{kind}"' if kind else ""
    return f'<text{classes} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(kind: str, *ends: float) -> str:
    x1, y1, x2, y2 = ends
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


class _Log:
    """A logarithmic scale over whole decades: figures to places between `start` and `end`."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low = math.floor(math.log10(min(values)))
        self._high = max(math.ceil(math.log10(max(values))), self._low + 1)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def decades(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]


def _curves(left: float, title: str, unit: str, points: Points) -> list[str]:
    x0, x1, y0, y1 = left + LEFT, left + GAP - RIGHT, HEIGHT - BOTTOM, TOP
    parts = [_text(left + 12, 24, title, kind="title"), _text(left + 12, 44, unit, kind="small")]
    if not points:
        return [*parts, _text((x0 + x1) / 2, (y0 + y1) / 2, "not measured", kind="small", anchor="middle")]
    across = _Log(list(points), x0, x1)
    up = _Log([max(value, 1e-3) for pair in points.values() for value in pair], y0, y1)
    for value in up.decades():
        parts.append(_line("grid", x0, up(value), x1, up(value)))
        parts.append(_text(x0 - 6, up(value) + 4, _short(value), anchor="end"))
    parts += [_line("axis", x0, y0, x1, y0), _line("axis", x0, y0, x0, y1)]
    parts += [_text(across(count), y0 + 20, _short(count), anchor="middle") for count in points]
    parts.append(_text((x0 + x1) / 2, y0 + 40, "routes", kind="small", anchor="middle"))
    for index, name in enumerate(("ours", "bird")):
        places = [(across(count), up(max(pair[index], 1e-3))) for count, pair in points.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line {name}" points="{path}"/>')
        parts += [f'<circle class="dot-{name}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in places]
        legend = y1 + 12 + 18 * index
        parts += [_line(f"line {name}", x0 + 12, legend - 4, x0 + 40, legend - 4),
                  _text(x0 + 46, legend, "calicopy" if name == "ours" else "BIRD")]  # fmt: skip
    return parts


def _bars(left: float, title: str, shares: Mapping[str, float]) -> list[str]:
    x0, x1, y0 = left + 92.0, left + GAP - 64.0, TOP + 16.0
    parts = [_text(left + 12, 24, title, kind="title"), _text(left + 12, 44, "none = 100 %", kind="small")]
    for number, (name, share) in enumerate({"none": 1.0, **shares}.items()):
        y, length = y0 + 46 * number, max(min(share, 1.1) * (x1 - x0), 1.0)
        parts += [_text(x0 - 8, y + 19, name, anchor="end"),
                  f'<rect class="bar" x="{x0:.1f}" y="{y:.1f}" width="{length:.1f}" height="28" rx="3"/>',
                  _text(x0 + length + 6, y + 19, f"{share * 100:.0f} %")]  # fmt: skip
    return parts


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
