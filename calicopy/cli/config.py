"""`calicopy config`: checking a file works without an agent, the rest is about what runs."""
from __future__ import annotations

import click

from calicopy.cli.apply import ENDING_S, confirm_option, follow
from calicopy.cli.client import call, connect
from calicopy.cli.errors import ExitCode
from calicopy.cli.options import Output, Target, with_output, with_target
from calicopy.cli.output import Plain, plain, print_plain, printable


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


@config.command()
@click.option("--running", "kind", flag_value="running", default="running", help="What runs.  [default]")
@click.option("--startup", "kind", flag_value="startup", help="The agent's own file: what a start would take.")
@with_target
def show(target: Target, kind: str) -> None:
    """Print the text of a configuration; on stderr whether the two differ, and the change that is under way.

    \b
    Examples:
      calicopy config show
      diff <(calicopy config show --running) <(calicopy config show --startup)
    """
    with connect(target) as channel:
        from calicopy.v1 import config_pb2, config_pb2_grpc

        number = config_pb2.CONFIG_KIND_STARTUP if kind == "startup" else config_pb2.CONFIG_KIND_RUNNING
        request = config_pb2.GetConfigRequest(kind=number)
        found = call(config_pb2_grpc.ConfigServiceStub(channel).GetConfig, request, target)
    text = found.text.decode(errors="replace")
    change = plain(found.change) if found.HasField("change") else None
    if target.output.structured:
        shown: dict[str, Plain] = {
            "kind": kind, "filename": found.filename, "same": found.same, "change": change, "text": text
        }  # fmt: skip
        print_plain(shown, target.output)
        return
    click.echo(text, nl=False)
    if not found.same:
        click.echo(f"running and startup ({found.filename}) differ", err=True)
    if change is not None:
        click.echo(f"a change is under way: {printable(found.change.by)}, until {change['until']} at most", err=True)


@config.command()
@with_target
def confirm(target: Target) -> None:
    """End the change that is under way: it holds, whatever has not come up.

    \b
    Example:
      calicopy config confirm
    """
    with connect(target, reading=False) as channel:
        from calicopy.v1 import config_pb2, config_pb2_grpc

        answer = call(config_pb2_grpc.ConfigServiceStub(channel).Confirm, config_pb2.ConfirmRequest(), target)
    follow([answer.progress], target)


@config.command()
@confirm_option
@with_target
def rollback(target: Target, confirm_s: float) -> None:
    """Restore what ran before: end the change that is under way, else apply the configuration before the running one.

    \b
    Example:
      calicopy config rollback
    """
    with connect(target, reading=False) as channel:
        from calicopy.v1 import config_pb2, config_pb2_grpc

        request = config_pb2.RollbackRequest(confirm_s=int(confirm_s))
        answers = config_pb2_grpc.ConfigServiceStub(channel).Rollback(request, timeout=confirm_s + ENDING_S)
        follow((answer.progress for answer in answers), target, wanted=("done", "restored"))
