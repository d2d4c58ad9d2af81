"""`calicopy apply`, and what ends a change."""
from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from calicopy.cli.client import connect, is_lost
from calicopy.cli.clusterfile import read_new_file
from calicopy.cli.errors import CliError, ExitCode
from calicopy.cli.options import Duration, Target, with_target
from calicopy.cli.output import print_items, printable, word
from calicopy.cli.paint import Tone, paint

if TYPE_CHECKING:
    from calicopy.v1.config_pb2 import ApplyProgress

ENDING_S = 30.0  # to restore, or to write the file
WHAT_NEXT = "`calicopy status` shows it, `calicopy config rollback` takes it back, `calicopy config confirm` keeps it"
LOST = "an agent that runs goes on with it; one that ended comes back on what ran before: see `calicopy config show`"
TONES = {"done": Tone.GOOD, "waiting": Tone.CHANGING, "not-saved": Tone.BAD, "restored": Tone.BAD}
confirm_option = click.option(
    "--confirm",
    "confirm_s",
    type=Duration(least_s=1),
    default="60s",
    show_default=True,
    metavar="DURATION",
    help="How long it may take to come up, unless `calicopy config confirm` says that it holds.",
)


@click.command()
@click.option("-f", "--file", "path", required=True, metavar="NEW", help="The new cluster file.")
@confirm_option
@with_target
def apply(target: Target, path: str, confirm_s: float) -> None:
    """Make the cluster file NEW the running configuration, and the agent's own file when it has come up.

    What ran before is restored (exit code 1) when NEW does not come up in time. Interrupting this command does not
    interrupt the change: `calicopy config rollback` does.

    \b
    Examples:
      calicopy apply -f new.yaml
      calicopy apply -f new.yaml --confirm 2m
    """
    text = read_new_file(path)
    with connect(target, reading=False) as channel:
        from calicopy.v1 import config_pb2, config_pb2_grpc

        request = config_pb2.ApplyRequest(text=text, filename=path, confirm_s=int(confirm_s))
        stub = config_pb2_grpc.ConfigServiceStub(channel)
        answers = stub.Apply(request, timeout=confirm_s + ENDING_S)
        follow((answer.progress for answer in answers), target)


def follow(steps: Iterable[ApplyProgress], target: Target, *, wanted: Sequence[str] = ("done",)) -> None:
    """Print each step as it comes; ends the command with exit code 1 when the outcome is none of `wanted`."""
    import grpc

    seen: list[ApplyProgress] = []
    try:
        for progress in steps:
            seen.append(progress)
            if not target.output.structured:
                _print(progress)
    except KeyboardInterrupt:
        raise CliError("the change goes on", details=(WHAT_NEXT,)) from None
    except grpc.RpcError as error:
        if not seen or not is_lost(error):
            raise
        raise CliError("the connection to the agent broke", code=ExitCode.UNREACHABLE, details=(LOST,)) from error
    if target.output.structured:
        print_items(seen, target.output)
    outcome = word(seen[-1], "stage") if seen else ""
    if outcome not in wanted:
        if not outcome:
            raise CliError("the agent ended the stream")
        click.get_current_context().exit(int(ExitCode.ERROR))


def _print(progress: ApplyProgress) -> None:
    stage = word(progress, "stage")
    bad = stage in ("not-saved", "restored")
    moment = paint(time.strftime("%H:%M:%S"), Tone.ASIDE)
    click.echo(f"{moment}  {paint(stage, TONES.get(stage, Tone.PLAIN))}: {printable(progress.message)}", err=bad)
    for sentence in progress.missing:
        click.echo(f"          {printable(sentence)}", err=bad)
