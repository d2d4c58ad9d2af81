"""One column of the matrix: three stages in one lab, a cell after the other, and a failing one stops no other."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from tests.interop import scene as scenes
from tests.interop import stage_client, stage_external, stage_member
from tests.interop.bird import Bird
from tests.interop.cells import Cell, Column, Outcome, Row
from tests.interop.frr import Frr
from tests.interop.gobgp import GoBgp
from tests.interop.openbgpd import OpenBgpd
from tests.interop.router import Daemon
from tests.interop.scene import Scene
from tests.support import labs

DAEMONS: tuple[type[Daemon], ...] = (Bird, Frr, GoBgp, OpenBgpd)
STAGES: tuple[ModuleType, ...] = (stage_member, stage_client, stage_external)
ROWS: tuple[Row, ...] = tuple(row for stage in STAGES for row, _ in stage.CHECKS)


def run(daemon: type[Daemon], directory: Path, *, tell: Callable[[Cell], None]) -> Column:
    """All cells of a daemon; `tell` hears of each as it is known. Logs stay in `directory`."""
    cells: list[Cell] = []
    version = ""

    def add(cell: Cell) -> None:
        cells.append(cell)
        tell(cell)

    if daemon.installed():
        version = daemon.version()
        try:
            first = stage_member
            with scenes.running(daemon, directory, cluster=first.CLUSTER, first=first.ROUTER) as scene:
                for stage in STAGES:
                    for cell in _stage(scene, stage):
                        add(cell)
                keep_logs(scene)
        except (AssertionError, OSError, labs.labs.LabError) as error:  # the lab itself
            _rest(daemon, f"the lab failed: {error}", cells, add)
    _rest(daemon, f"{daemon.program} is not installed", cells, add)
    return Column(daemon.name, daemon.title, version, tuple(cells))


def _rest(daemon: type[Daemon], reason: str, cells: list[Cell], add: Callable[[Cell], None]) -> None:
    known = {cell.row for cell in cells}
    for row in ROWS:
        if row not in known:
            add(Cell(daemon.name, row, Outcome.FAILED, reason))


def _stage(scene: Scene, stage: ModuleType) -> Iterator[Cell]:
    began = time.monotonic()
    broken = attempt(scene, stage.prepare)
    for row, check in stage.CHECKS:
        absent = scene.daemon.absent.get(row)
        if absent is not None:
            yield Cell(scene.daemon.name, row, Outcome.ABSENT, absent)
            continue
        reason = f"not prepared: {broken}" if broken else attempt(scene, check)
        outcome = Outcome.FAILED if reason else Outcome.OK
        yield Cell(scene.daemon.name, row, outcome, reason, round(time.monotonic() - began, 1))
        began = time.monotonic()


def attempt(scene: Scene, check: Callable[[Scene], None]) -> str:
    """Why a check failed; empty when it did not. Whatever goes wrong in it is this cell's failure, and no other's."""
    try:
        check(scene)
    except Exception as error:
        return f"{type(error).__name__}: {error}".removeprefix("AssertionError: ")
    return ""


def keep_logs(scene: Scene) -> None:
    """The nodes' logs beside the daemon's and the configurations."""
    for node in ("n1", "n2", "n3"):
        source = labs.labs.logs(node, lab=scene.lab.topology)
        (scene.directory / f"{node}.log").write_bytes(source.read_bytes())
