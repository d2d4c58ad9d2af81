"""`calicopy doctor`: works without an agent, and without a cluster file."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from calicopy.cli.errors import CliError, ExitCode
from calicopy.cli.options import Output, with_output
from calicopy.cli.output import Column, print_plain, printable, table_lines
from calicopy.cli.paint import Tone, paint
from calicopy.cli.quick import DEFAULT_CONFIG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calicopy.config.resolve import NodeConfig
    from calicopy.doctor import Finding

COLUMNS: tuple[Column[Finding], ...] = (
    Column("CHECK", lambda finding: finding.name),
    Column("VERDICT", lambda finding: finding.verdict.value),
    Column("FOUND", lambda finding: finding.found),
)


@click.command()
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help=f"The cluster file.  [default: {DEFAULT_CONFIG}, where it is there]")
@click.option("--node", "name", metavar="NAME", help="Which node of the file this is.  [default: the hostname]")
@click.option("--all", "everything", is_flag=True, help="Show also what is well.")
@with_output
def doctor(output: Output, config: Path | None, name: str | None, everything: bool) -> None:
    """Check this host: kernel, settings, rights, ports, MTUs, and who else writes routes. Changes nothing.

    Ends with 5 when something fails; a warning is no failure.

    \b
    Examples:
      calicopy doctor
      calicopy doctor --all --config cluster.yaml --node n1
      calicopy doctor -o json | jq '.items[] | select(.verdict == "fail")'
    """
    from calicopy.doctor import Setting, Verdict, examine

    path = config or Path(DEFAULT_CONFIG)
    findings = examine(Setting(_node(path, name) if config is not None or path.exists() else None))
    if output.structured:
        items = [{"name": one.name, "verdict": one.verdict.value, "found": one.found, "advice": one.advice or None}
                 for one in findings]
        print_plain({"items": items}, output)
    else:
        shown = [one for one in findings if everything or one.verdict is not Verdict.OK]
        _print(shown)
    if any(one.verdict is Verdict.FAIL for one in findings):
        click.get_current_context().exit(int(ExitCode.UNHEALTHY))


def _print(findings: Sequence[Finding]) -> None:
    """A table with what to do below each line."""
    if not findings:
        click.echo("all is well: --all shows what was looked at", err=True)
        return
    header, *lines = table_lines(findings, COLUMNS)
    click.echo(header)
    for line, finding in zip(lines, findings, strict=True):
        click.echo(line)
        if finding.advice:
            click.echo(f"    {paint('do:', Tone.HEADER)} {printable(finding.advice)}")


def _node(path: Path, name: str | None) -> NodeConfig:
    """This node of the file. Ends the command when the file is wrong."""
    import socket

    from calicopy.config import load_file
    from calicopy.config.resolve import NodeNotFoundError, find_node, resolve

    result = load_file(str(path))
    if result.config is None:
        raise CliError("the cluster file is refused", code=ExitCode.REFUSED, details=list(map(str, result.errors)))
    try:
        return resolve(result.config, find_node(result.config, node=name, hostname=socket.gethostname()).name)
    except NodeNotFoundError as error:
        raise CliError(str(error), code=ExitCode.REFUSED) from error
