"""`calicopy replay`: an agent's journal, played again on a core; works without an agent."""
from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from calicopy.cli.errors import CliError, ExitCode
from calicopy.cli.options import Output, with_output
from calicopy.cli.output import Plain, print_plain

if TYPE_CHECKING:
    from calicopy.journal.replay import Difference, Outcome

SHOWN_DIFFERENCES = 10
SHOWN_CHARACTERS = 300


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
@with_output
def replay(output: Output, file: str) -> None:
    """Play FILE, the journal of an agent (`agent.journal` in the cluster file), on a core, and say what came of it.

    Exits with 1 when the core came to other commands than the agent's did, or failed: then with the traceback, and the
    step that it failed in.

    \b
    Examples:
      calicopy replay /var/lib/calicopy/journal
      calicopy replay journal -o json | jq .differences
    """
    from calicopy.journal import lines
    from calicopy.journal.codec import CodecError
    from calicopy.journal.replay import CoreFailedError
    from calicopy.journal.replay import replay as play

    try:
        with Path(file).open("rb") as rows:
            outcome = play(lines.read(rows))
    except CodecError as error:
        raise CliError(f"{file} is no journal: {error}", code=ExitCode.REFUSED) from error
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}") from error
    except CoreFailedError as error:
        click.echo("".join(traceback.format_exception(error.__cause__)), err=True, nl=False)
        events = [repr(event)[:SHOWN_CHARACTERS] for event in error.events]
        raise CliError(f"{file}: {error}", details=events) from error
    if output.structured:
        print_plain(_plain(outcome), output)
    else:
        _print(outcome)
    if outcome.differences:
        click.get_current_context().exit(ExitCode.ERROR)


def _print(outcome: Outcome) -> None:
    took_s = outcome.last_s - outcome.first_s
    cut = ", cut off where the journal was full" if outcome.full else ""
    of = f"node {outcome.began.node.name}, calicopy {outcome.began.version}"
    click.echo(f"{of}: {outcome.steps} steps in {took_s:.1f} s{cut}")
    click.echo("told: " + (", ".join(f"{count} {name}" for name, count in outcome.events.most_common()) or "nothing"))
    click.echo("did: " + (", ".join(f"{count} {name}" for name, count in outcome.commands.most_common()) or "nothing"))
    for name, state in _state(outcome).items():
        click.echo(f"{name}: {', '.join(state) or 'none'}")
    if not outcome.differences:
        click.echo("the commands are the same")
        return
    click.echo(f"{len(outcome.differences)} steps came to other commands:")
    for one in outcome.differences[:SHOWN_DIFFERENCES]:
        click.echo(f"  step {one.step}, at {one.now - outcome.first_s:.3f} s")
        click.echo("".join(f"    did not come: {name}\n" for name in one.missing), nl=False)
        click.echo("".join(f"    came: {text}\n" for text in _instead(one)), nl=False)


def _state(outcome: Outcome) -> dict[str, list[str]]:
    """The state at the end, for people."""
    core = outcome.core
    fib = core.fib.counts()
    return {
        "peers": [f"{one.configured.name} {'up' if one.is_up else 'down'}" for one in core.peers.values()],
        "announced": sorted(map(str, core.ipam.announcements())),
        "kernel": [f"{fib.installed} routes, {fib.desired} desired", "in sync" if fib.in_sync else "not in sync"],
        "wrong with the host": [text for part in core.host.problems.values() for text in part.values()],
    }


def _plain(outcome: Outcome) -> Plain:
    return {
        "node": outcome.began.node.name,
        "version": outcome.began.version,
        "steps": outcome.steps,
        "seconds": outcome.last_s - outcome.first_s,
        "full": outcome.full,
        "events": dict(outcome.events),
        "commands": dict(outcome.commands),
        "state": _state(outcome),
        "differences": [
            {"step": one.step, "at": one.now - outcome.first_s, "missing": one.missing, "instead": _instead(one)}
            for one in outcome.differences
        ],
    }


def _instead(one: Difference) -> list[str]:
    return [repr(command)[:SHOWN_CHARACTERS] for command in one.instead]
