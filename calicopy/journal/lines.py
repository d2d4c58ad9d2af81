"""The lines of a journal: JSON, one value a line.

The first is a `Begin`, each other one a `Step` of the core, until one that says `Full` or the text ends, also in the
middle of a line (the process was killed). Times are monotonic seconds.
"""
from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from calicopy.config.nodeconfig import NodeConfig
from calicopy.core.commands import Command
from calicopy.core.drain_state import DrainRecord
from calicopy.core.events import CoreEvent
from calicopy.ipam import Snapshot
from calicopy.journal.codec import CodecError, Json, decode_any, encode

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Begin:
    """What the core was made from, and by which calicopy. `format`: of the lines that follow."""

    format: int
    version: str
    node: NodeConfig
    snapshot: Snapshot
    now: float
    began_at: float
    drain: DrainRecord | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A command that came of a step: the name of its class, and the CRC-32 of its JSON."""

    name: str
    digest: int


@dataclass(frozen=True, slots=True)
class Step:
    """One call of `Core.handle`."""

    now: float
    events: tuple[CoreEvent, ...] = field(default=())
    done: tuple[Done, ...] = ()


@dataclass(frozen=True, slots=True)
class Full:
    """The journal was as long as it may become: what followed is not in it."""

    octets: int


Line = Begin | Step | Full


def done(command: Command) -> Done:
    """What a journal keeps of a command."""
    return Done(type(command).__name__, zlib.crc32(text(encode(Command, command)).encode()))


def write(line: Line) -> bytes:
    """The line, with its end."""
    return text(encode(Line, line)).encode() + b"\n"


def read(rows: Iterable[bytes]) -> Iterator[Line]:
    """The lines of a journal. One without an end is the last, and left out. Raises CodecError, with the line's number.
    """
    for number, row in enumerate(rows, 1):
        if not row.endswith(b"\n"):
            return
        try:
            data: Json = json.loads(row)
            line = decode_any(Line, data)
        except ValueError as error:  # CodecError too
            raise CodecError(f"line {number}: {error}") from error
        assert isinstance(line, Line)
        if (number == 1) is not isinstance(line, Begin):
            raise CodecError(f"line {number}: {'no' if number == 1 else 'another'} beginning of a journal")
        yield line


def text(data: Json) -> str:
    """JSON without a blank."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)
