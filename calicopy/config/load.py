"""The cluster file from disk to `ClusterConfig`, or every error at once.

Theory of operation, in four steps, each of which goes on after its errors: (1) YAML to a tree with places
(`yamltree`); (2) keys that no model knows are noted and left out; (3) the models judge the values; what they refuse
is noted and left out, and they judge again, until a configuration stands (every section has defaults, so one always
does); (4) the checks between parts run on that, and problems that rest on anything left out are dropped, since they
may be echoes. A result has a config only when no step noted an error, and then nothing was left out."""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from calicopy.config.errors import ClusterFileError, ConfigError, Path, format_path
from calicopy.config.fields import found
from calicopy.config.model import DEFER_CHECKS, ClusterConfig
from calicopy.config.problems import did_you_mean
from calicopy.config.yamltree import MAX_BYTES, MAX_ERRORS, Place, Reading, Tree, read_yaml

Plain: typing.TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"

_ROUNDS = 12
"""How often refused values are left out and the rest is judged again; each round goes up one level at least."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What loading gave: a whole config and no errors, or no config and every error. Both in order of place."""

    config: ClusterConfig | None
    errors: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]

    def require(self) -> ClusterConfig:
        """The config. Raises ClusterFileError."""
        if self.config is None:
            raise ClusterFileError(self.errors)
        return self.config


def load_file(path: str) -> LoadResult:
    """The file at `path`. A file that cannot be read is an error in the result, not an exception."""
    try:
        with FilePath(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return _failed(path, f"cannot be read: {error.strerror}")
    return load_bytes(data, filename=path)


def load_bytes(data: bytes, *, filename: str) -> LoadResult:
    """The octets of a file, UTF-8."""
    if len(data) > MAX_BYTES:
        return _failed(filename, f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB, expected a cluster file")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8")) + 1
        return _failed(filename, f"found the octet 0x{data[error.start]:02x}, expected UTF-8 text", (line, column))
    return load_text(text, filename=filename)


def load_text(text: str, *, filename: str) -> LoadResult:
    """The text of a cluster file; `filename` is for messages only. Never raises."""
    reading = read_yaml(text, filename=filename)
    loader = _Loader(reading)
    config = loader.run()
    errors, warnings = tuple(sorted(set(reading.errors))), tuple(sorted(set(loader.warnings)))
    if errors:
        return LoadResult(None, _bounded(errors), warnings)
    return LoadResult(config, (), warnings)


def _failed(filename: str, message: str, place: Place = (1, 1)) -> LoadResult:
    return LoadResult(None, (ConfigError(filename, place[0], place[1], "", message),), ())


def _bounded(errors: tuple[ConfigError, ...]) -> tuple[ConfigError, ...]:
    if len(errors) <= MAX_ERRORS:
        return errors
    last = errors[MAX_ERRORS]
    more = ConfigError(
        last.filename, last.line, last.column, "", f"more than {MAX_ERRORS} errors: the rest is not shown"
    )
    return (*errors[:MAX_ERRORS], more)


@dataclass(slots=True)
class _Loader:
    """Steps 2 to 4 over one reading."""

    reading: Reading
    warnings: list[ConfigError] = field(default_factory=list)
    left_out: set[Path] = field(default_factory=set)
    origin: dict[Path, Path] = field(default_factory=dict)
    """List items move up when others are left out: path in what is judged -> path in the file, where they differ."""

    def run(self) -> ClusterConfig | None:
        """The config when all is well; everything that is wrong is in `reading.errors`."""
        tree = self.reading.tree
        if tree is None:
            return None
        if not isinstance(tree.value, dict):
            if not self.reading.errors:
                self.reading.note(
                    tree.place, (), f"found {_found(tree)}, expected the keys of a cluster file (nodes, pools, ...)"
                )
            return None
        self.left_out = set(self.reading.bad)
        self._unknown_keys(tree, ClusterConfig, ())
        config = self._judge(tree)
        if config is None:
            return None
        self._check(config, tree)
        return config

    def _note(self, path: Path, message: str, *, place: Place | None = None, warning: bool = False) -> None:
        tree = self.reading.tree
        assert tree is not None
        if place is None:
            place = tree.find(path)[0].best_place
        error = ConfigError(self.reading.filename, place[0], place[1], format_path(path), message)
        (self.warnings if warning else self.reading.errors).append(error)

    def _unknown_keys(self, tree: Tree, model: type[BaseModel], path: Path) -> None:
        known = fields_of(model)
        assert isinstance(tree.value, dict)
        for key, inner in tree.value.items():
            at = (*path, key)
            if key not in known:
                many = len(self.reading.errors) > MAX_ERRORS
                self._note(at, "unknown key" if many else _unknown(key, list(known)), place=inner.key_place)
                self.left_out.add(at)
                continue
            nested, listed = known[key]
            if nested is None:
                continue
            if isinstance(inner.value, dict) and not listed:
                self._unknown_keys(inner, nested, at)
            elif isinstance(inner.value, list) and listed:
                for index, item in enumerate(inner.value):
                    if isinstance(item.value, dict):
                        self._unknown_keys(item, nested, (*at, index))

    def _plain(self, tree: Tree, path: Path, judged: Path) -> Plain:
        """The tree without what is left out, as plain values; fills `origin`."""
        if isinstance(tree.value, dict):
            return {
                key: self._plain(inner, (*path, key), (*judged, key))
                for key, inner in tree.value.items()
                if (*path, key) not in self.left_out
            }
        if isinstance(tree.value, list):
            items: list[Plain] = []
            for index, item in enumerate(tree.value):
                if (*path, index) not in self.left_out:
                    self.origin[(*judged, len(items))] = (*path, index)
                    items.append(self._plain(item, (*path, index), (*judged, len(items))))
            return items
        return tree.value

    def _in_file(self, judged: Path) -> Path:
        """The path in the file of a path in what is judged."""
        for length in range(len(judged), 0, -1):
            if judged[:length] in self.origin:
                return self.origin[judged[:length]] + judged[length:]
        return judged

    def _judge(self, tree: Tree) -> ClusterConfig | None:
        for _ in range(_ROUNDS):
            self.origin.clear()
            try:
                return ClusterConfig.model_validate(self._plain(tree, (), ()), context=DEFER_CHECKS)
            except ValidationError as refusal:
                details = refusal.errors(include_url=False, include_context=True)
                for error in details:
                    self._refused(error, tree)
        return None

    def _refused(self, error: ErrorDetails, tree: Tree) -> None:
        """Note one refusal of a model, and leave the value out (or, for a missing key, the part that lacks it)."""
        path = self._in_file(tuple(step for step in error["loc"] if step != "[key]"))
        if error["type"] == "missing":
            parent = path[:-1]
            if path not in self.left_out:
                place = tree.find(parent)[0].best_place
                self._note(path, f"the key is missing in {_part(parent)}, expected {path[-1]}: ...", place=place)
            self.left_out.add(parent if parent else path)
            return
        value, there = tree.find(path)
        if error["type"] != "too_short" or not self._touched(path, 99):  # else it is short of what is refused already
            self._note(path, _message(error, value if there else None))
        self.left_out.add(path)

    def _check(self, config: ClusterConfig, tree: Tree) -> None:
        if len(self.left_out) > MAX_ERRORS:
            return  # there is enough to read already, and echoes would be looked for among thousands
        for problem in config.problems():
            path = self._in_file(problem.path)
            related = [self._in_file(each) for each in problem.related]
            other = self._in_file(problem.other) if problem.other is not None else None
            depth = 99 if problem.warning else 1  # a warning can wait until nothing below is left out
            grounds = [each for each in (*related, other) if each is not None]
            if self._touched(path, 99) or any(self._touched(each, depth) for each in grounds):
                continue
            line = tree.find(other)[0].best_place[0] if other is not None else None
            self._note(path, dataclasses.replace(problem, other=other).text(line), warning=problem.warning)

    def _touched(self, path: Path, depth: int) -> bool:
        """Whether a value at or above `path` was left out, or one at most `depth` levels below."""
        above = any(path[:length] in self.left_out for length in range(1, len(path) + 1))
        return above or any(out[: len(path)] == path and len(out) <= len(path) + depth for out in self.left_out)


@functools.cache
def fields_of(model: type[BaseModel]) -> dict[str, tuple[type[BaseModel] | None, bool]]:
    """The keys of a model as the file writes them, each with the model below it (None for plain values), and whether
    there is a list of such."""
    known: dict[str, tuple[type[BaseModel] | None, bool]] = {}
    for name, info in model.model_fields.items():
        alias = info.validation_alias
        listed = any(typing.get_origin(each) is tuple for each in (info.annotation, *typing.get_args(info.annotation)))
        known[alias if isinstance(alias, str) else name] = _model_in(info.annotation), listed
    return known


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in typing.get_args(annotation) if (model := _model_in(inner)) is not None), None)


def _unknown(key: str, known: list[str]) -> str:
    if key in ("password", "md5", "secret", "mesh_password"):
        wanted = next((name for name in known if name.endswith("password_file")), None)
        if wanted is not None:
            return f"passwords are not written in this file: put it in a file of its own, and its path under `{wanted}`"
    shown = key if len(key) <= 64 else key[:61] + "..."
    return f"unknown key {shown!r}{did_you_mean(key, known) or ', expected one of ' + ', '.join(known)}"


def _part(path: Path) -> str:
    return format_path(path) or "the file"


def _found(tree: Tree) -> str:
    if isinstance(tree.value, list | dict):
        return "a list" if isinstance(tree.value, list) else "a mapping (keys and values)"
    return found(tree.value)


def _message(error: ErrorDetails, value: Tree | None) -> str:
    """The words for a refusal by pydantic itself, in the form of our own: what was found, what was expected."""
    if error["type"] == "refused":
        return error["msg"]
    seen = _found(value) if value is not None else "nothing"
    limits = error.get("ctx", {})
    match error["type"]:
        case "int_type" | "int_from_float" | "int_parsing":
            plain = value is not None and isinstance(value.value, str) and value.value.isdecimal()
            expected = "a whole number" + (" (without quotes)" if plain else "")
        case "bool_type":
            expected = "true or false"
        case "string_type":
            number = value is not None and isinstance(value.value, int | float)
            expected = "a text" + (" (quote it)" if number else "")
        case "tuple_type" | "list_type":
            expected = "a list (lines that begin with `- `)"
        case "model_type" | "model_attributes_type" | "mapping_type" | "dict_type":
            expected = "a mapping (lines of `key: value`)"
        case "greater_than_equal":
            expected = f"{limits.get('ge')} or more"
        case "less_than_equal":
            expected = f"{limits.get('le')} or less"
        case "too_long":
            expected = f"a list of {limits.get('max_length')} at most"
        case "too_short":
            expected = f"a list of {limits.get('min_length')} or more"
        case _:
            expected = error["msg"]
    return f"found {seen}, expected {expected}"
