"""What the status says of the configuration: a change that is under way, and an own file that is not what runs."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from calicopy.agent.config_files import ConfigFiles
from calicopy.core.views import ProblemView, ReasonView, UnderWayView


@dataclass(frozen=True, slots=True)
class Refusal:
    """A text of the own file that SIGHUP refused, and why."""

    text: bytes
    why: str


def clock_text(when: float) -> str:
    """Seconds since the epoch as people read them."""
    return datetime.fromtimestamp(when, UTC).strftime("%H:%M:%S UTC")


def config_problems(
    files: ConfigFiles, running: bytes, change: UnderWayView | None, refusal: Refusal | None
) -> Iterator[ProblemView]:
    """Each with what to do about it. That the own file differs while a change is under way is as it should be."""
    if change is not None:
        yield _problem(change.by, "change-under-way", _under_way(change))
        return
    startup = files.startup()
    if startup is None:
        text = "it cannot be read, and a restart needs it: `calicopy config show --running` prints what runs"
        yield _problem(str(files.own), "startup-unreadable", text)
    elif refusal is not None and startup == refusal.text != running:
        yield _problem(str(files.own), "startup-refused", f"it is not what runs, SIGHUP refused it: {refusal.why}")
    elif startup != running:
        yield _problem(str(files.own), "startup-differs", _differs(files, startup))


def _under_way(change: UnderWayView) -> str:
    text = f"under way until {clock_text(change.until)} at most"
    if change.missing:
        more = f" and {len(change.missing) - 1} more" if len(change.missing) > 1 else ""
        text += f", not up yet: {change.missing[0]}{more}"
    return f"{text}; `calicopy config confirm` keeps it, `calicopy config rollback` ends it"


def _differs(files: ConfigFiles, startup: bytes) -> str:
    note = files.distrusted(startup)
    taken = "a restart would take it"
    if note is not None:
        taken = f"{note.by} did not come up, so that a restart does not take it"
    return (
        f"it is not what runs, and {taken}: `calicopy apply -f {files.own}` makes it run, "
        f"`calicopy config show --running` prints what does"
    )


def _problem(subject: str, code: str, message: str) -> ProblemView:
    return ProblemView("config", subject, ReasonView(code, message))
