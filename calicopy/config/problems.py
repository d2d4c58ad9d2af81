"""What checks find: problems by path, and the two shapes most of them have. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from calicopy.config.errors import Path, format_path


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not fit together in a configuration, by path; `load` adds file and line."""

    path: Path
    message: str
    related: tuple[Path, ...] = ()
    """The other values that the judgement rests on. When one of them is in error itself, this problem is not reported,
    since it may be an echo."""
    warning: bool = False
    other: Path | None = None
    """The value that this one clashes with; named after the message, with its line. It counts as related."""

    def text(self, line: int | None = None) -> str:
        """The message; with the clashing value's path, and its `line` when known."""
        if self.other is None:
            return self.message
        where = f"{format_path(self.other)}, line {line}" if line is not None else format_path(self.other)
        return f"{self.message} ({where})"


class FirstUse:
    """Finds the second use of what may be used once."""

    def __init__(self, message: str) -> None:
        """`message` has a placeholder for the value."""
        self._message = message
        self._first: dict[Hashable, Path] = {}

    def use(self, value: Hashable, path: Path) -> Iterator[Problem]:
        """Yields a problem when `value` was used before."""
        first = self._first.setdefault(value, path)
        if first != path:
            yield Problem(path, self._message.format(value), other=first)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint such as ` (did you mean 'cidr'?)`, or the empty text."""
    close = difflib.get_close_matches(word[:64], known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def matches_nothing(path: Path, selector: Mapping[str, str]) -> Problem:
    """The warning for a selector that selects no node."""
    text = ", ".join(f"{key}={value}" for key, value in selector.items())
    return Problem(path, f"no node of this file has the labels {text}", warning=True)


def few(names: Sequence[str]) -> str:
    """The first five names, and that there are more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
