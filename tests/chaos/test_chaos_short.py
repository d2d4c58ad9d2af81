"""A short run of the chaos suite: what `make chaos` does, with few events."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]
SEED = 4
ROOT = Path(__file__).parents[2]


def test_a_short_series_of_faults_leaves_every_invariant_as_it_was(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.chaos", "--seed", str(SEED), "--events", "4", "--nodes", "5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    found = json.loads((tmp_path / "build" / f"chaos-{SEED}.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert (found["ok"], found["wrong"], len(found["results"])) == (True, [], 4)
