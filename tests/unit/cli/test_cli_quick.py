"""Plain calls of `calicopy node` and `calicopy agent`, which load no click."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from calicopy.cli import processes, quick


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--config", "a", "--node=b"], {"config": "a", "node": "b"}),
        (["--config=a=b"], {"config": "a=b"}),
        (["--node", "a", "--node", "b"], {"node": "b"}),
        (["--help"], None),
        (["-h"], None),
        (["--config"], None),
        (["--config="], None),
        (["--config", "--node"], None),
        (["--conf", "a"], None),
        (["--run-dir", "a"], None),
        (["a"], None),
        (["--"], None),
    ],
)
def test_only_known_names_with_values_are_plain(words: list[str], expected: dict[str, str] | None) -> None:
    assert quick.plain_options(words, ("config", "node")) == expected


def test_a_flag_is_plain_without_a_value() -> None:
    assert quick.plain_options(["--drain", "--config", "a"], ("config",), ("drain",)) == {"drain": "", "config": "a"}
    assert quick.plain_options(["--drain=yes"], ("config",), ("drain",)) is None


@pytest.mark.parametrize("command", [processes.agent, processes.node])
def test_click_has_the_same_options_and_defaults(command: object) -> None:
    params = getattr(command, "params")  # noqa: B009 - a click command, typed by its decorator
    known = {"--config", "--node", "--drain", "--readyz-listen"}
    known |= {"--run-dir"} if command is processes.node else set()
    assert {option for param in params for option in param.opts} == known
    assert next(param.default for param in params if param.name == "config") == quick.DEFAULT_CONFIG


@pytest.mark.parametrize(
    "words", [[], ["status"], ["speaker"], ["node", "--help"], ["node", "--config", "/none/none.yaml"], ["agent", "x"],
              ["agent", "--config", "/"]]
)  # fmt: skip
def test_everything_else_is_left_to_click(words: list[str]) -> None:
    assert quick.run(words) is None


def test_a_file_that_names_a_run_directory_is_left_to_click(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("agent: {run_dir: /run/elsewhere}\n")
    assert quick.run(["node", "--config", str(file)]) is None


def test_a_plain_agent_loads_no_click(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("nodes: []\n")
    code = (
        "import sys; from calicopy.cli import quick\n"
        f"code = quick.run(['agent', '--config', {str(file)!r}])\n"
        "assert 'click' not in sys.modules and 'rich' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 4, done.stderr
    assert "cluster.yaml" in done.stderr
