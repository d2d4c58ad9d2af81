"""`calicopy plan`."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

from calicopy.cli.client import call, connect
from calicopy.cli.clusterfile import read_new_file
from calicopy.cli.options import Target, with_target
from calicopy.cli.output import Column, print_message, printable, table_lines, word
from calicopy.cli.paint import Tone, paint

if TYPE_CHECKING:
    from calicopy.v1.config_pb2 import AnnouncementPlan, Plan, RoutePlan

Row = TypeVar("Row")


@click.command()
@click.option("-f", "--file", "path", required=True, metavar="NEW", help="The new cluster file.")
@with_target
def plan(target: Target, path: str) -> None:
    """What the cluster file NEW would change at this node: sessions, announcements, kernel routes. Changes nothing.

    \b
    Examples:
      calicopy plan -f new.yaml
      calicopy plan -f new.yaml -o json | jq '.sessions[] | select(.effect == "reset")'
    """
    text = read_new_file(path)
    with connect(target) as channel:
        from calicopy.v1 import config_pb2, config_pb2_grpc

        request = config_pb2.PlanRequest(text=text, filename=path)
        found = call(config_pb2_grpc.ConfigServiceStub(channel).Plan, request, target).plan
    if target.output.structured:
        print_message(found, target.output)
    else:
        _print(found)


@dataclass(frozen=True, slots=True)
class _Session:
    """One line: a session, or one of its fields."""

    effect: str
    peer: str
    address: str
    field: str = ""
    before: str = ""
    after: str = ""
    note: str = ""


def _sessions(found: Plan) -> Iterator[_Session]:
    for session in found.sessions:
        effect = word(session, "effect")
        if not session.fields:
            yield _Session(effect, session.name, session.address, note=session.note)
        for field in session.fields:
            note = "resets the session" if field.resets else session.note
            yield _Session(effect, session.name, session.address, field.name, field.before, field.after, note)


SESSION_COLUMNS: list[Column[_Session]] = [
    Column("EFFECT", lambda one: one.effect),
    Column("PEER", lambda one: one.peer),
    Column("ADDRESS", lambda one: one.address),
    Column("FIELD", lambda one: one.field),
    Column("BEFORE", lambda one: one.before),
    Column("AFTER", lambda one: one.after),
    Column("NOTE", lambda one: one.note, tone=Tone.ASIDE),
]
ANNOUNCEMENT_COLUMNS: list[Column[AnnouncementPlan]] = [
    Column("EFFECT", lambda one: word(one, "effect")),
    Column("PEERS", lambda one: _few(one.peers)),
    Column("PREFIXES", lambda one: _few(one.prefixes)),
    Column("BEFORE", lambda one: one.before),
    Column("AFTER", lambda one: one.after),
]
ROUTE_COLUMNS: list[Column[RoutePlan]] = [
    Column("EFFECT", lambda one: word(one, "effect")),
    Column("PREFIX", lambda one: one.prefix),
    Column("BEFORE", lambda one: one.before),
    Column("AFTER", lambda one: one.after),
    Column("WHY", lambda one: one.why, tone=Tone.ASIDE),
]
SHOWN = 3


def _few(texts: Sequence[str]) -> str:
    more = len(texts) - SHOWN
    return " ".join(texts[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _print(found: Plan) -> None:
    totals = found.sessions_total, found.announcements_total, found.routes_total
    if not any(totals) and not found.restarts and not found.notes:
        click.echo("no changes")
        return
    parts = [
        _table("Sessions", list(_sessions(found)), SESSION_COLUMNS, totals[0] - len(found.sessions)),
        _table("Announcements", found.announcements, ANNOUNCEMENT_COLUMNS, totals[1] - len(found.announcements)),
        _table("Kernel routes", found.routes, ROUTE_COLUMNS, totals[2] - len(found.routes)),
        _restarts(found),
        [paint(f"Note: {printable(note)}", Tone.ASIDE) for note in found.notes],
    ]
    click.echo("\n\n".join("\n".join(lines) for lines in parts if lines))


def _restarts(found: Plan) -> list[str]:
    if not found.restarts:
        return []
    title = paint("Needs a restart of the agent (apply refuses the file)", Tone.HEADER)
    return [title, *(f"  {paint(printable(restart), Tone.BAD)}" for restart in found.restarts)]


def _table(title: str, rows: Sequence[Row], columns: Sequence[Column[Row]], more: int) -> list[str]:
    if not rows:
        return []
    lines = [paint(title, Tone.HEADER), *(f"  {line}" for line in table_lines(rows, columns))]
    return [*lines, f"  and {more} more"] if more else lines
