"""Reading YAML strictly: every value is asked for by its type, every "no" names file, line and path.

Theory of operation: the text is *composed* (a tree of nodes with line marks), never constructed, so that a scalar's own
text is kept (`1` stays `1`, no YAML 1.1 surprise), and every problem can be told with its line. A `Reader` collects the
problems; its methods give None (or an empty container) for what is wrong, so that one run finds all of them.
"""
from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import yaml


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `line` counts from 1, `path` is such as `topology.nodes.n1.binds[0]`."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}: {where}{self.message}"


class TopologyError(ValueError):
    """A topology file that is refused; `problems` in the order of the file."""

    def __init__(self, problems: Collection[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Spot:
    """A value with its place."""

    node: yaml.Node
    path: str

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1


@dataclass(slots=True)
class Reader:
    """Asks a composed YAML tree for typed values, and collects what is wrong with it."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def root(self, text: str) -> Spot | None:
        """The document in `text`; None if it is no YAML, is empty, or holds several documents."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._note(mark.line + 1 if mark else 1, "", f"not valid YAML: {error.problem or error.context}")
            return None
        except RecursionError:
            self._note(1, "", "nested too deeply")
            return None
        except yaml.YAMLError as error:
            self._note(1, "", f"not valid YAML: {error}")
            return None
        if node is None:
            self._note(1, "", "the file is empty")
            return None
        return Spot(node, "")

    def refuse(self, spot: Spot, message: str) -> None:
        """Note that the value at `spot` is wrong."""
        self._note(spot.line, spot.path, message)

    def mapping(self, spot: Spot) -> dict[str, Spot]:
        """The entries of a mapping by key; wrong keys and duplicates are refused."""
        if not isinstance(spot.node, yaml.MappingNode):
            self.refuse(spot, f"a mapping is expected here, not {_kind(spot.node)}")
            return {}
        entries: dict[str, Spot] = {}
        for key, value in spot.node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            path = f"{spot.path}.{name}" if spot.path else name
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith((":null", ":merge")):
                what = "`<<` is not supported, use defaults, kinds or groups" if name == "<<" else "a key must be text"
                self.refuse(Spot(key, path), what)
            elif name in entries:
                self.refuse(Spot(key, path), f"the key is given twice, first in line {entries[name].line}")
            else:
                entries[name] = Spot(value, path)
        return entries

    def keys(self, spot: Spot, *, known: Collection[str], foreign: Mapping[str, str] | None = None) -> dict[str, Spot]:
        """As `mapping`, but a key outside `known` is refused; `foreign` gives a reason for some of them."""
        entries = self.mapping(spot)
        for name in [name for name in entries if name not in known]:
            reason = (foreign or {}).get(name, f"unknown key; known here: {', '.join(sorted(known))}")
            self._note(self._key_line(spot, name), entries.pop(name).path, reason)
        return entries

    def text(self, spot: Spot, *, pattern: str | None = None, expected: str = "text") -> str | None:
        """A scalar's own text. `pattern` must match the whole of it; `expected` says what was expected."""
        if not isinstance(spot.node, yaml.ScalarNode) or spot.node.tag.endswith(":null"):
            self.refuse(spot, f"{expected} is expected here, not {_kind(spot.node)}")
            return None
        value = str(spot.node.value)
        if "$" in value:
            self.refuse(spot, f"{value!r}: containerlab replaces `$NAME` in the file by its environment; leave `$` out")
            return None
        if pattern is not None and re.fullmatch(pattern, value) is None:
            self.refuse(spot, f"{value!r}: {expected} is expected here")
            return None
        return value

    def boolean(self, spot: Spot) -> bool | None:
        """`true` or `false`, and none of the other words of YAML 1.1."""
        value = self.text(spot, pattern="true|false", expected="true or false")
        if value is not None and not spot.node.tag.endswith(":bool"):
            self.refuse(spot, f"true or false is expected here, not the text {value!r}")
            return None
        return None if value is None else value == "true"

    def integer(self, spot: Spot, *, low: int, high: int) -> int | None:
        """A decimal number from `low` to `high`."""
        value = self.text(spot, pattern="0|[1-9][0-9]{0,8}", expected="a number")
        if value is None:
            return None
        if not low <= int(value) <= high:
            self.refuse(spot, f"{value}: a number from {low} to {high} is expected here")
            return None
        return int(value)

    def items(self, spot: Spot) -> list[Spot]:
        """The elements of a list."""
        if not isinstance(spot.node, yaml.SequenceNode):
            self.refuse(spot, f"a list is expected here, not {_kind(spot.node)}")
            return []
        return [Spot(node, f"{spot.path}[{index}]") for index, node in enumerate(spot.node.value)]

    def texts(self, spot: Spot) -> tuple[str, ...]:
        """A list of texts."""
        found = [self.text(item) for item in self.items(spot)]
        return tuple(value for value in found if value is not None)

    def text_map(self, spot: Spot) -> dict[str, str]:
        """A mapping of texts to texts."""
        found = {name: self.text(value) for name, value in self.mapping(spot).items()}
        return {name: value for name, value in found.items() if value is not None}

    def _key_line(self, spot: Spot, name: str) -> int:
        for key, _ in spot.node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == name:
                return int(key.start_mark.line) + 1
        return spot.line

    def _note(self, line: int, path: str, message: str) -> None:
        self.problems.append(Problem(self.file, line, path, message))


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if node.tag.endswith(":null") else f"{node.value!r}"
