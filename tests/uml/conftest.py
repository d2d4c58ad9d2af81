"""The fixture that runs a program of `inside/` where the kernel has `ipip`: on the host, else in User Mode Linux."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture
def run_with_ipip() -> Callable[..., tuple[int, str]]:
    """`code, output = run_with_ipip("name.py", "argument", ..., timeout_s=150)` runs tests/uml/inside/name.py."""

    def run(program: str, *arguments: str, timeout_s: float = 150.0) -> tuple[int, str]:
        command = [sys.executable, str(HERE / "run.py"), "--timeout", str(timeout_s), "--"]
        command += ["env", f"PYTHONPATH={HERE.parent / 'support'}"]  # what tests share
        command += [sys.executable, str(HERE / "inside" / program), *arguments]
        lines: list[str] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    print(line, end="")  # shown by pytest -s at once, and in the report of a failure
                    lines.append(line)
            finally:
                process.terminate()  # when a test's own timeout strikes; a run.py that has ended takes no notice
        return process.returncode, "".join(lines)

    return run
