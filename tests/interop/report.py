"""The matrix as a table, as JSON, and as the part of docs/interop.md that is written by `make interop`."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.interop.cells import MEANINGS, Cell, Column, Outcome
from tests.interop.matrix import ROWS

BEGIN, END = "<!-- written by `make interop` -->", "<!-- end -->"


def cell_line(cell: Cell) -> str:
    """A cell as it is told while the matrix runs."""
    took = f" {cell.seconds:5.1f} s" if cell.outcome is not Outcome.ABSENT else "        "
    note = f"  {cell.note.splitlines()[0]}" if cell.note else ""
    return f"{cell.daemon:9} {cell.row.value:36} {cell.outcome.value:4}{took}{note}"


def table(columns: Sequence[Column]) -> str:
    """For a terminal."""
    lines = [f"{'':36}" + "".join(f" {column.title:9}" for column in columns).rstrip()]
    lines += [
        f"{row.value:36}" + "".join(f" {column.cell(row).outcome.value:9}" for column in columns).rstrip()
        for row in ROWS
    ]
    return "\n".join(lines)


def document(columns: Sequence[Column]) -> str:
    """In Markdown, with what each row means, and the sources and reasons below it."""
    notes: list[str] = []
    lines = ["| | " + " | ".join(f"{column.title} {column.version}" for column in columns) + " | what is shown |"]
    lines += ["|---|" + "---|" * (len(columns) + 1)]
    for row in ROWS:
        words = []
        for column in columns:
            cell = column.cell(row)
            words.append(cell.outcome.value)
            if cell.note:
                notes.append(f"{column.title}: {cell.note.splitlines()[0]}")
                words[-1] += f" ({len(notes)})"
        lines.append(f"| {row.value} | {' | '.join(words)} | {MEANINGS[row]} |")
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]).strip()


def rewrite(path: Path, columns: Sequence[Column]) -> bool:
    """Put the table into the page; whether that changed it. ValueError when the page has no place for it."""
    text = path.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: expected {BEGIN} and {END}")
    new = f"{head}{BEGIN}\n{document(columns)}\n{END}{tail}"
    path.write_text(new)
    return new != text


def outcomes(page: str) -> dict[str, tuple[str, ...]]:
    """The cells that a page shows: row title to the words of its columns."""
    part = page.partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:2] == "| "]
    return {row[0]: tuple(cell.partition(" (")[0] for cell in row[1:-1]) for row in rows[1:]}


def write_json(path: Path, columns: Sequence[Column]) -> None:
    """Everything, for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = {
        "daemons": {column.daemon: {"title": column.title, "version": column.version} for column in columns},
        "rows": {row.value: MEANINGS[row] for row in ROWS},
        "cells": [
            {"daemon": cell.daemon, "row": cell.row.value, "outcome": cell.outcome.value, "note": cell.note,
             "seconds": cell.seconds}
            for column in columns for cell in column.cells
        ],
    }  # fmt: skip
    path.write_text(json.dumps(shown, indent=2) + "\n")
