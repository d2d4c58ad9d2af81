"""YAML text to a tree in which everything knows its place, strictly.

Theory of operation: the tree is built from PyYAML's *events* (libyaml's when it is there), so depth and size are
bounded by us and nothing of YAML's conveniences gets in unseen. Text without quotes is read as YAML 1.2 would:
`true`, `false`, `null`, decimal numbers, else text. What YAML 1.1 readers take for something else (`no`, `12:30`,
`010`, `1_000`) is refused with the way to write what was meant; so are aliases, anchors, tags, merge keys, second
documents and duplicate keys. Mistakes of content are collected and the reading goes on; a mistake of syntax ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from calicopy.config.errors import ConfigError, Path, format_path

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 16
TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
MAX_ERRORS = 500
"""More mistakes than this are counted, not listed."""

Scalar: TypeAlias = str | int | float | bool | None
Place: TypeAlias = tuple[int, int]
"""Line and column, from 1."""

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_EMPTY = frozenset(
    {"", "~", *(form for word in ("true", "false", "null") for form in (word, word.title(), word.upper()))}
)
_TRAPS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"yes|Yes|YES|on|On|ON"), "a switch", "write true"),
    (re.compile(r"no|No|NO|off|Off|OFF"), "a switch", "write false"),
    (re.compile(r"[-+]?0[0-9_]+"), "an octal number", "write the number without a leading 0"),
    (re.compile(r"0[xob][0-9a-fA-F_]+"), "a number that is not decimal", "write it in decimal"),
    (re.compile(r"[-+]?[0-9]+_[0-9_]*"), "a number", "write only its digits"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "a number of base 60", "write it in decimal"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"), "a date", "write another text"),
    (re.compile(r"="), "a default", "write another text"),
)
"""What YAML 1.1 takes for something else than YAML 1.2: the pattern, what for, and how to write that."""
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True)
class Tree:
    """A value of the file: a scalar, a list or a mapping, with the place where it begins."""

    value: Scalar | list[Tree] | dict[str, Tree]
    place: Place
    key_place: Place | None = None
    """The place of its key, when it is in a mapping."""

    @property
    def best_place(self) -> Place:
        """Where an error about it points: a scalar itself, else the key that it stands under, else its beginning."""
        if isinstance(self.value, list | dict) and self.key_place is not None:
            return self.key_place
        return self.place

    def find(self, path: Path) -> tuple[Tree, bool]:
        """The value at `path` and True, or its nearest ancestor that is there and False."""
        tree = self
        for step in path:
            inner: Tree | None = None
            if isinstance(tree.value, dict) and isinstance(step, str):
                inner = tree.value.get(step)
            elif isinstance(tree.value, list) and isinstance(step, int) and step < len(tree.value):
                inner = tree.value[step]
            if inner is None:
                return tree, False
            tree = inner
        return tree, True


class _StopError(Exception):
    """The reading cannot go on; the reason is noted."""


@dataclass(slots=True)
class Reading:
    """What reading gave: the tree (None when the syntax is broken), the errors, and the paths whose values are
    unfit."""

    filename: str
    tree: Tree | None = None
    errors: list[ConfigError] = field(default_factory=list)
    bad: set[Path] = field(default_factory=set)

    def note(self, place: Place, path: Path, message: str) -> None:
        """One more error."""
        self.errors.append(ConfigError(self.filename, place[0], place[1], format_path(path), message))
        if len(self.errors) > MAX_ERRORS:
            raise _StopError


def read_yaml(text: str, *, filename: str) -> Reading:
    """`text` as a tree. Never raises: every mistake is in the result's `errors`, and then the tree may lack parts."""
    reading = Reading(filename)
    text = text.removeprefix("\ufeff")
    try:
        _check_text(reading, text)
        reading.tree = _Builder(reading, text).document()
    except _StopError:
        reading.tree = None
    except yaml.YAMLError as error:
        reading.tree = None
        _note_syntax(reading, text, error)
    return reading


def _check_text(reading: Reading, text: str) -> None:
    if len(text) > MAX_BYTES:
        reading.note((1, 1), (), f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB, expected a cluster file")
        raise _StopError
    odd = _UNPRINTABLE.search(text)
    if odd:
        line = text.count("\n", 0, odd.start()) + 1
        column = odd.start() - text.rfind("\n", 0, odd.start())
        reading.note((line, column), (), f"found the character U+{ord(odd[0]):04X}, expected printable text")
        raise _StopError


def _note_syntax(reading: Reading, text: str, error: yaml.YAMLError) -> None:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    problem = str(getattr(error, "problem", None) or error)
    lines = text.split("\n")
    line = lines[place[0] - 1] if place[0] <= len(lines) else ""
    blank = line[: len(line) - len(line.lstrip())]
    if "\t" in blank:
        place = (place[0], blank.index("\t") + 1)
        problem = "found a tab, expected spaces for indentation"
    elif "nesting depth" in problem:  # newer PyYAML looks far ahead, and counts before we do
        problem = TOO_DEEP
    else:
        problem = f"not YAML: {problem}"
    reading.errors.append(ConfigError(reading.filename, place[0], place[1], "", problem))


class _Builder:
    """Builds the tree of one document from events."""

    def __init__(self, reading: Reading, text: str) -> None:
        self._reading = reading
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> Tree | None:
        """The first document; a second one is noted."""
        next(self._events)  # StreamStart
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            self._reading.note((1, 1), (), "the file is empty, expected a cluster file")
            raise _StopError
        if getattr(event, "version", None) or getattr(event, "tags", None):
            self._reading.note(_place(event), (), "found a YAML directive (%), expected none")
        tree = self._value(next(self._events), ())
        next(self._events)  # DocumentEnd
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._reading.note(_place(event), (), "found a second document (---), expected one")
        return tree

    def _value(self, event: yaml.Event, path: Path) -> Tree:
        place = _place(event)
        if len(path) > MAX_DEPTH:
            self._reading.note(place, path[:4], TOO_DEEP)
            raise _StopError
        if isinstance(event, yaml.AliasEvent):
            self._unfit(
                place,
                path,
                f"found the alias *{event.anchor}, expected the value itself: aliases are not used in this file",
            )
            return Tree(None, place)
        assert isinstance(event, yaml.NodeEvent)
        if event.anchor is not None:
            self._reading.note(
                place, path, f"found the anchor &{event.anchor}, expected none: aliases are not used in this file"
            )
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            self._unfit(place, path, f"found the tag {tag.replace('tag:yaml.org,2002:', '!!')}, expected none")
        if isinstance(event, yaml.MappingStartEvent):
            return Tree(self._mapping(path), place)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Tree] = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.append(self._value(event, (*path, len(items))))
            return Tree(items, place)
        assert isinstance(event, yaml.ScalarEvent)
        return Tree(self._scalar(event, path, place), place)

    def _mapping(self, path: Path) -> dict[str, Tree]:
        content: dict[str, Tree] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = _place(event)
            key = self._key(event, path, place)
            inner = (*path, key) if key is not None else (*path, "?")
            first = content.get(key) if key is not None else None
            if first is not None and first.key_place is not None:
                self._reading.note(place, inner, f"found the key {key!r} twice: already on line {first.key_place[0]}")
                self._value(next(self._events), inner)
                continue
            tree = self._value(next(self._events), inner)
            tree.key_place = place
            if key is not None:
                content[key] = tree
        return content

    def _key(self, event: yaml.Event, path: Path, place: Place) -> str | None:
        """The text of a key; None (noted) when it cannot be one."""
        if getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None:
            self._reading.note(place, path, "found an alias, anchor or tag at a key, expected a text alone")
        if not isinstance(event, yaml.ScalarEvent):
            if not isinstance(event, yaml.AliasEvent):
                self._value(event, (*path, "?"))
                self._reading.note(place, path, "found a list or mapping as a key, expected a text")
            return None
        key: str = event.value
        if event.implicit[0]:
            if key == "<<":
                self._reading.note(place, path, "found the merge key <<, expected the keys themselves")
                return None
            trap = _trap(key)
            if trap is None and (key in _EMPTY or _INT.fullmatch(key) or _FLOAT.fullmatch(key)):
                trap = f'found the key {key}, expected a text: quote it, as "{key}"'
            if trap is not None:
                self._reading.note(place, path, trap)
                return None
        return key

    def _scalar(self, event: yaml.ScalarEvent, path: Path, place: Place) -> Scalar:
        text: str = event.value
        if not event.implicit[0]:
            return text
        if not text:
            what = (
                "an empty list item, expected a value"
                if path and isinstance(path[-1], int)
                else "nothing after the colon, expected a value"
            )
            self._unfit(
                place, path, f"found {what} (or leave it out)" if path else "the file is empty, expected a cluster file"
            )
            return None
        if _INT.fullmatch(text):
            return int(text) if len(text) <= 24 else float("inf")
        lower = text.lower()
        if text in (lower, lower.capitalize(), text.upper()) and lower in ("true", "false"):
            return lower == "true"
        if text == "~" or lower == "null":
            return None
        trap = _trap(text)
        if trap is not None:
            self._unfit(place, path, trap)
            return None
        return float(lower.replace(".inf", "inf").replace(".nan", "nan")) if _FLOAT.fullmatch(lower) else text

    def _unfit(self, place: Place, path: Path, message: str) -> None:
        self._reading.bad.add(path)
        self._reading.note(place, path, message)


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _trap(text: str) -> str | None:
    """What is said of a text that YAML 1.1 takes for something that it does not look like; None for others."""
    if len(text) > 40:
        return None
    for pattern, meaning, cure in _TRAPS:
        if pattern.fullmatch(text):
            return (
                f'found {text}, which YAML 1.1 takes for {meaning}: {cure}, or quote it to mean the text, as "{text}"'
            )
    return None
