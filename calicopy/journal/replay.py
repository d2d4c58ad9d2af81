"""A journal, played again: the same events at the same times to a core that begins as the recorded one did.

Theory of operation: a result of a write comes back with the very batch that the core gave out, by which it knows it
(`calicopy.fib.in_flight`). So what a journal says about a batch is told about the equal one that this core has given
out and not heard of. Commands are compared step by step, whatever their order among each other in the step: it is
that of sets of text at times, which differs from process to process (PYTHONHASHSEED) and is of no effect.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.core import Core
from calicopy.fib import RouteBatch, WriteResult
from calicopy.journal import lines
from calicopy.journal.codec import CodecError


@dataclass(frozen=True, slots=True)
class Difference:
    """A step (the first is 1) that came to something else: commands that did not come, and those that came instead."""

    step: int
    now: float
    missing: tuple[str, ...]
    instead: tuple[do.Command, ...]


class CoreFailedError(Exception):
    """The core raised (`__cause__`) in a step (the first is 1), `after_s` seconds from the beginning, at `events`."""

    def __init__(self, cause: Exception, *, step: int, after_s: float, events: tuple[ev.CoreEvent, ...]) -> None:
        names = ", ".join(type(event).__name__ for event in events) or "nothing"
        what = f"{type(cause).__name__}: {cause}"
        super().__init__(f"the core failed in step {step}, at {after_s:.3f} s, told {names}: {what}")
        self.events = events


@dataclass(slots=True)
class Outcome:
    """How a replay went. `core` is as it was left; `full`: the journal had no room for the end."""

    core: Core
    began: lines.Begin
    steps: int = 0
    events: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    first_s: float = 0.0
    last_s: float = 0.0
    differences: list[Difference] = field(default_factory=list)
    full: bool = False


def replay(journal: Iterable[lines.Line]) -> Outcome:
    """Run a core on a journal. Raises CodecError when it is none, or of another format, CoreFailedError in a step."""
    rows = iter(journal)
    began = next(rows, None)
    if not isinstance(began, lines.Begin):
        raise CodecError("it has no beginning")
    if began.format != lines.FORMAT:
        raise CodecError(f"its format is {began.format}, this calicopy reads {lines.FORMAT}")
    core = Core(began.node, began.snapshot, now=began.now, began_at=began.began_at, drain=began.drain)
    outcome = Outcome(core, began, first_s=began.now, last_s=began.now)
    writing: list[RouteBatch] = []
    for line in rows:
        match line:
            case lines.Step():
                _step(outcome, line, writing)
            case lines.Full():
                outcome.full = True
            case lines.Begin():
                raise CodecError("it begins twice")
    return outcome


def _step(outcome: Outcome, step: lines.Step, writing: list[RouteBatch]) -> None:
    outcome.steps += 1
    outcome.last_s = step.now
    outcome.events.update(type(event).__name__ for event in step.events)
    events = [_bound(event, writing) for event in step.events]
    try:
        commands = outcome.core.handle(events, step.now)
        outcome.core.deadline(step.now)
    except Exception as error:  # which is what is looked for
        after_s = step.now - outcome.first_s
        raise CoreFailedError(error, step=outcome.steps, after_s=after_s, events=step.events) from error
    outcome.commands.update(type(command).__name__ for command in commands)
    for command in commands:
        if isinstance(command, do.WriteRoutes):
            writing += command.batches
    expected = Counter(step.done)
    came = [(lines.done(command), command) for command in commands]
    missing, extra = expected - Counter(one for one, _ in came), Counter(one for one, _ in came) - expected
    if missing or extra:
        instead = tuple(command for one, command in came if one in extra)
        names = tuple(one.name for one in missing.elements())
        outcome.differences.append(Difference(outcome.steps, step.now, names, instead))


def _bound(event: ev.CoreEvent, writing: list[RouteBatch]) -> ev.CoreEvent:
    """The event, about the batches that this core has given out."""
    if not isinstance(event, ev.RoutesWritten):
        return event
    results: list[WriteResult] = []
    for result in event.results:
        at = next((number for number, batch in enumerate(writing) if batch == result.batch), None)
        if at is None:  # the cores have gone apart, which the commands have shown
            continue
        results.append(replace(result, batch=writing.pop(at)))
    return ev.RoutesWritten(tuple(results))
