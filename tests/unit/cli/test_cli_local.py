"""What works without an agent: config, version, completion, help; and how little it loads."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from calicopy.cli.main import COMMANDS, cli

CLUSTER = Path(__file__).parents[3] / "config" / "cluster.yaml"
WRONG = """\
cluster: {as: 64512}
nodes:
  - name: node1
    address: 192.0.2.1/24
  - name: node1
    address: 192.0.2.300/24
pools:
  - cidr: 10.244.0.0/16
    block_size: 8
colour: red
"""


def commands(command: click.Command = cli, name: str = "calicopy"):
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            below = command.get_command(context, word)
            assert below is not None
            yield from commands(below, f"{name} {word}")


def test_a_valid_file_is_valid(bare):
    done = bare("config", "validate", str(CLUSTER))
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{CLUSTER}: valid: 3 nodes, 1 pool\n"


def test_every_error_of_a_file_is_named_with_its_place(bare, tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(WRONG)
    done = bare("config", "validate", str(path))
    assert (done.code, done.out) == (4, "")
    places = [line.split(": ")[:2] for line in done.err.splitlines()]
    for line, where in ((6, "nodes[1].address"), (9, "pools[0].block_size"), (10, "colour")):
        assert any(place.startswith(f"{path}:{line}:") and where == found for place, found in places), done.err
    items = bare("config", "validate", str(path), "-o", "json")
    assert items.code == 4
    assert len(items.json["items"]) == len(places)
    assert {item["severity"] for item in items.json["items"]} == {"error"}


def test_a_file_that_is_not_there_is_refused(bare, tmp_path):
    done = bare("config", "validate", str(tmp_path / "none.yaml"))
    assert done.code == 4
    assert "No such file" in done.err


def test_the_schema_is_json(bare):
    assert bare("config", "schema").json["title"] == "calicopy cluster file"


def test_the_version_names_what_it_runs_on(bare):
    assert bare("version").out.startswith("calicopy 0.")
    assert set(bare("version", "-o", "json").json) == {"calicopy", "python", "kernel", "exabgp", "grpcio", "pyroute2"}
    assert bare("--version").out.startswith("calicopy 0.")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_completion_script(bare, shell):
    done = bare("completion", shell)
    assert done.code == 0
    assert "_CALICOPY_COMPLETE" in done.out
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=done.out, text=True, check=False).returncode == 0


def test_the_shell_is_told_the_commands(tmp_path):
    environment = {**os.environ, "_CALICOPY_COMPLETE": "bash_complete", "COMP_WORDS": "calicopy wor", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "calicopy"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "plain,workload\n"


def test_every_command_has_help_with_an_example():
    for name, command in commands():
        if not isinstance(command, click.Group):
            assert command.help, name
            assert "Example" in command.help, name


def test_the_table_of_commands_says_what_the_commands_are():
    assert [name for name, _ in commands() if name.count(" ") == 1] == [f"calicopy {name}" for name in COMMANDS]


@pytest.mark.parametrize("words", [["--help"], ["peers", "--help"], ["peers"], ["node", "--config", "/none"]])
def test_what_a_command_does_not_need_is_not_loaded(words):
    script = (
        "import json, sys; from calicopy.cli.main import run; run(sys.argv[1:]);"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    environment = {**os.environ, "CALICOPY_SOCKET": "/nowhere.sock"}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, env=environment, check=True
    )
    heavy = {"grpc", "google.protobuf", "rich", "yaml", "pydantic", "asyncio", "pyroute2", "exabgp", "calicopy.core"}
    assert not heavy & set(json.loads(done.stdout.splitlines()[-1]))


def test_a_node_whose_file_cannot_be_read_is_refused(bare, tmp_path):
    done = bare("node", "--config", str(tmp_path / "none.yaml"))
    assert done.code == 4
    assert "No such file" in done.err


def test_a_node_whose_run_directory_is_wrong_is_refused_with_the_place(bare, tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("agent:\n  run_dir: relative\n")
    done = bare("node", "--config", str(path))
    assert done.code == 4
    assert f"{path}:2:" in done.err
