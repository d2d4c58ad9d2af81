"""Every cell of the interop matrix, a test per daemon; and the page that shows them. `make interop` is the same as a
command."""
from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop import matrix, report
from tests.interop.cells import Outcome
from tests.interop.router import Daemon

PAGE = Path(__file__).resolve().parents[2] / "docs" / "interop.md"


@pytest.mark.netns
@pytest.mark.interop
@pytest.mark.timeout(300)
@pytest.mark.parametrize("daemon", matrix.DAEMONS, ids=lambda daemon: daemon.name)
def test_no_cell_of_a_daemon_fails(daemon: type[Daemon], tmp_path: Path) -> None:
    column = matrix.run(daemon, tmp_path, tell=lambda cell: print(report.cell_line(cell)))
    failed = [report.cell_line(cell) for cell in column.cells if cell.outcome is Outcome.FAILED]
    assert not failed, "\n".join([*failed, f"logs: {tmp_path}"])


def test_the_page_shows_the_cells_that_are_run() -> None:
    absent, ok = Outcome.ABSENT.value, Outcome.OK.value
    expected = {
        row.value: tuple(absent if row in daemon.absent else ok for daemon in matrix.DAEMONS) for row in matrix.ROWS
    }
    assert report.outcomes(PAGE.read_text()) == expected


def test_every_cell_that_is_not_applicable_has_its_source_on_the_page() -> None:
    shown = PAGE.read_text()
    for daemon in matrix.DAEMONS:
        for source in daemon.absent.values():
            assert f"{daemon.title}: {source}" in shown
