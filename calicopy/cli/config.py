"""`calicopy config`: works without an agent."""
from __future__ import annotations

import click

from calicopy.cli.errors import ExitCode
from calicopy.cli.options import Output, with_output
from calicopy.cli.output import Plain, print_plain, printable


@click.group()
def config() -> None:
    """The cluster file."""


@config.command()
@click.argument("file", type=click.Path())
@with_output
def validate(output: Output, file: str) -> None:
    """Check the cluster file FILE: every error at once, as FILE:LINE:COLUMN: path: what is wrong. Exit code 4.

    \b
    Examples:
      calicopy config validate config/cluster.yaml
      calicopy config validate cluster.yaml -o json
    """
    from calicopy.config import load_file

    result = load_file(file)
    found = [("error", error) for error in result.errors] + [("warning", warning) for warning in result.warnings]
    if output.structured:
        items: list[Plain] = [
            {
                "severity": severity,
                "file": problem.filename,
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "message": problem.message,
            }
            for severity, problem in found
        ]
        print_plain({"items": items}, output)
    else:
        for severity, problem in found:
            click.echo(printable(f"{problem}{' (warning)' if severity == 'warning' else ''}"), err=True)
        if result.config is not None:
            nodes, pools = len(result.config.nodes), len(result.config.pools)
            click.echo(f"{file}: valid: {_count(nodes, 'node')}, {_count(pools, 'pool')}")
    if result.config is None:
        click.get_current_context().exit(int(ExitCode.REFUSED))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@config.command()
def schema() -> None:
    """Print the JSON schema of the cluster file, for editors.

    \b
    Example:
      calicopy config schema > cluster.schema.json
    """
    from calicopy.config.schema import schema_text

    click.echo(schema_text(), nl=False)
