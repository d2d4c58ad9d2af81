"""`calicopy lab`: topology files of containerlab in Linux namespaces. Shows and starts; `calicopy.lab` does the work.

Exit codes are those of the whole command: 1 for what went wrong, 4 for a file that is refused; `exec` ends with the
code of the command that it ran.
"""
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from calicopy.lab import NodeStatus

P = ParamSpec("P")
R = TypeVar("R")
_FILE_ENDINGS = (".yml", ".yaml")


def _told(command: Callable[P, R]) -> Callable[P, R]:
    """The command with its errors told in one message each, instead of a traceback."""

    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        from calicopy.lab import LabError, TopologyError

        try:
            return command(*args, **kwargs)
        except TopologyError as error:
            _fail(str(error), code=4)
        except LabError as error:
            _fail(f"calicopy: {error}", code=1)

    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    return wrapper


def _fail(message: str, *, code: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


@click.group(name="lab")
def lab() -> None:
    """Run a containerlab topology in network namespaces, without a container engine."""


@lab.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--mgmt/--no-mgmt", default=True, show_default=True,
              help="Give every node eth0 on a management network, with the default route, as containerlab does.")
@click.option("--reconfigure", is_flag=True, help="Take the lab down first, if it is up or half made.")
@_told
def up(file: str, mgmt: bool, reconfigure: bool) -> None:
    """Bring up the lab of FILE (NAME.clab.yml).

    \b
    Examples:
      calicopy lab up containerlab/mesh/mesh.clab.yml
      calicopy lab up --reconfigure mesh.clab.yml
    """
    from calicopy import lab as labs

    made = labs.up(file, mgmt=mgmt, reconfigure=reconfigure)
    for result in made.failures:
        words = " ".join(result.argv)
        click.echo(f"node {result.node}: exec `{words}` ended with {result.code}: {result.output.strip()}", err=True)
    click.echo(f"lab {made.name} is up: {', '.join(node.container for node in made.nodes)}")
    if made.failures:
        sys.exit(1)


@lab.command()
@click.argument("lab_or_file")
@_told
def down(lab_or_file: str) -> None:
    """Take down a lab, named by its topology file or its name, also a half-made one.

    \b
    Example:
      calicopy lab down mesh
    """
    from calicopy import lab as labs

    labs.down(lab_or_file)
    click.echo("removed")


@lab.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--lab", "-t", "lab_name", metavar="LAB|FILE", help="The lab of the node, if several have one so named.")
@click.argument("words", nargs=-1, required=True, metavar="[FILE] NODE [--] CMD...")
@_told
def exec_(lab_name: str | None, words: tuple[str, ...]) -> None:
    """Run CMD inside NODE (its name, or its container's name), and end with its exit code.

    \b
    Examples:
      calicopy lab exec n1 -- calicopy status
      calicopy lab exec -t mesh n1 -- ip route show proto 117
    """
    from calicopy import lab as labs

    rest = list(words)
    if lab_name is None and rest[0].endswith(_FILE_ENDINGS):
        lab_name = rest.pop(0)
    node = rest.pop(0) if rest else None
    if rest and rest[0] == "--":
        rest.pop(0)
    if node is None or not rest:
        raise click.UsageError("NODE and CMD are expected")
    sys.exit(labs.exec_(node, rest, lab=lab_name, capture=False).returncode)


@lab.command()
@click.argument("node")
@click.option("--lab", "-t", "lab_name", metavar="LAB|FILE", help="The lab of the node, if several have one so named.")
@_told
def logs(node: str, lab_name: str | None) -> None:
    """Show what the `cmd` of NODE has written.

    \b
    Example:
      calicopy lab logs n1
    """
    from calicopy import lab as labs

    click.echo(labs.logs(node, lab=lab_name).read_text(errors="replace"), nl=False)


@lab.command(name="list")
@click.argument("lab_or_file", required=False)
@click.option("-o", "--output", type=click.Choice(["table", "wide", "json", "yaml"]),
              help="How to print.  [default: table]")
@_told
def list_(lab_or_file: str | None, output: str | None) -> None:
    """Show the nodes of a lab, or of all labs.

    \b
    Examples:
      calicopy lab list
      calicopy lab list mesh -o json
    """
    from calicopy import lab as labs

    nodes = labs.status(lab_or_file)
    output = output or click.get_current_context().find_root().params.get("output") or "table"
    items = {"items": [asdict(node) for node in nodes]}
    if output == "json":
        click.echo(json.dumps(items, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(json.loads(json.dumps(items)), sort_keys=False), nl=False)
    else:
        click.echo(_table(nodes))


def _table(nodes: tuple[NodeStatus, ...]) -> str:
    rows = [("LAB", "NODE", "CONTAINER", "STATE", "PID", "ADDRESSES")]
    for node in nodes:
        state = node.state if node.exit_code is None else f"{node.state} ({node.exit_code})"
        addresses = ", ".join(f"{name} {' '.join(own)}" for name, own in node.addresses.items())
        rows.append((node.lab, node.name, node.container, state, str(node.pid or "-"), addresses or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]))
                     for row in rows)
