"""Printing: proto messages as JSON or YAML, and aligned tables.

Theory of operation: JSON and YAML have every field, also empty ones, under its name in the proto; enums are words,
times RFC 3339, objects that are not there null. Text that came from elsewhere (a peer's own words, a name) cannot
steer the terminal: what cannot be printed is shown escaped.
"""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import click

from calicopy.cli.options import Output
from calicopy.cli.paint import Tone, paint, tone_of

if TYPE_CHECKING:
    from google._upb._message import FieldDescriptor as UpbField
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from calicopy.v1.types_pb2 import TunnelAnswer

Plain: TypeAlias = bool | int | float | str | Sequence["Plain"] | Mapping[str, "Plain"] | None
Row = TypeVar("Row")
STATE_WORDS = {  # as operators know them from every BGP speaker
    "idle": "Idle",
    "connect": "Connect",
    "active": "Active",
    "open-sent": "OpenSent",
    "open-confirm": "OpenConfirm",
    "established": "Established",
}


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column: its header, the cell of a row, and whether only `-o wide` shows it. Numbers go to the right.

    On a terminal a cell has the colour of the state that it begins with, or that of `tone`.
    """

    header: str
    cell: Callable[[Row], object]
    wide: bool = False
    tone: Tone | None = None


def plain(message: Message) -> dict[str, Plain]:
    """A message as JSON knows it."""
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def _value(message: Message, field: FieldDescriptor | UpbField) -> Plain:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {str(key): value[key] for key in sorted(value)}
    if field.is_repeated:
        return [_single(each, field) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(value, field)


def _single(value: object, field: FieldDescriptor | UpbField) -> Plain:
    if field.enum_type is not None:
        assert isinstance(value, int)
        return enum_word(field.enum_type, value)
    if field.message_type is None:
        assert isinstance(value, bool | int | float | str)
        return value
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return when(value)  # type: ignore[arg-type]  # its type is known by its name
    return plain(value)  # type: ignore[arg-type]  # as above


def enum_word(descriptor: object, number: int) -> str:
    """`PATH_STATE_BEST` as `best`; session states as BGP writes them; empty for unspecified."""
    from google.protobuf.descriptor import EnumDescriptor

    assert isinstance(descriptor, EnumDescriptor)
    if number not in descriptor.values_by_number:
        return str(number)
    prefix = "".join(f"_{char}" if char.isupper() else char.upper() for char in descriptor.name)[1:] + "_"
    word = descriptor.values_by_number[number].name.removeprefix(prefix).lower().replace("_", "-")
    if word == "unspecified":
        return ""
    return STATE_WORDS.get(word, word) if descriptor.name == "SessionState" else word


def word(message: Message, name: str) -> str:
    """The word of an enum field of `message`."""
    return enum_word(message.DESCRIPTOR.fields_by_name[name].enum_type, getattr(message, name))


def when(stamp: Timestamp) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(stamp.seconds + stamp.nanos / 1e9, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(stamp: Timestamp) -> str:
    """How long ago: `12s`, `3m12s`, `2h05m`, `3d04h`; `-` when unset."""
    if not stamp.seconds:
        return "-"
    return duration(max(0, int(time.time() - stamp.seconds)))


def duration(seconds: int) -> str:
    """Whole seconds in two units at most."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02}h"
    if hours:
        return f"{hours}h{minute:02}m"
    return f"{minutes}m{second:02}s" if minutes else f"{second}s"


def answer_text(answer: TunnelAnswer) -> str:
    """Whether a tunnel address answers: the round-trip time, `no`, or `-` while it is not known."""
    if not answer.HasField("answers"):
        return "-"
    if not answer.answers:
        return "no"
    return f"{answer.round_trip_ms:.1f} ms" if answer.HasField("round_trip_ms") else "yes"


def print_plain(value: Plain, output: Output) -> None:
    """One value as JSON or YAML."""
    if output is Output.JSON:
        click.echo(json.dumps(value, indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, width=120), nl=False)


def print_message(message: Message, output: Output) -> None:
    """One object."""
    print_plain(plain(message), output)


def print_items(messages: Iterable[Message], output: Output) -> None:
    """A list: `{"items": [...]}`."""
    print_plain({"items": [plain(message) for message in messages]}, output)


def print_table(rows: Iterable[Row], columns: Sequence[Column[Row]], output: Output, *, empty: str) -> None:
    """A table with a header; the sentence `empty` on stderr when there are no rows."""
    lines = table_lines(rows, columns, wide=output is Output.WIDE)
    if len(lines) == 1:
        click.echo(empty, err=True)
        return
    click.echo("\n".join(lines))


def table_lines(rows: Iterable[Row], columns: Sequence[Column[Row]], *, wide: bool = False) -> list[str]:
    """The lines of a table, the header first."""
    shown = [column for column in columns if wide or not column.wide]
    values = [[column.cell(row) for column in shown] for row in rows]
    cells = [[printable(value) for value in row] for row in values]
    headers = [column.header for column in shown]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    right = [_numeric([row[index] for row in values]) for index in range(len(shown))]

    def line(row: Sequence[str], tones: Sequence[Tone | None]) -> str:
        return "  ".join(_pad(*each) for each in zip(row, tones, widths, right, strict=True)).rstrip()

    tones = [column.tone for column in shown]
    return [line(headers, [Tone.HEADER] * len(shown)), *(line(row, tones) for row in cells)]


def _numeric(values: Sequence[object]) -> bool:
    """Whether a column has numbers, beside nothing else than places where there is none."""
    numbers = [isinstance(value, int) and not isinstance(value, bool) for value in values]
    return any(numbers) and all(number or value == "-" for number, value in zip(numbers, values, strict=True))


def _pad(cell: str, tone: Tone | None, width: int, right: bool) -> str:
    painted = paint(cell, tone_of(cell) if tone is None or cell == "-" else tone)
    spaces = " " * (width - len(cell))
    return spaces + painted if right else painted + spaces


def printable(value: object) -> str:
    """A value as a cell: `-` for nothing, yes and no, and nothing that a terminal would obey."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "-" if value is None else str(value)
    if not text:
        return "-"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Name and value, one pair a line, aligned."""
    rows = [(name, printable(value)) for name, value in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        click.echo(f"{paint(name.ljust(width), Tone.HEADER)}  {paint(value, tone_of(value))}")
