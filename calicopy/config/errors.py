"""What is wrong with a cluster file, and where. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""A place in the file's tree: keys, and indexes into lists, from the root."""


def format_path(path: Path) -> str:
    """`("pools", 1, "cidr")` to `pools[1].cidr`; the root is the empty text. A key with other characters than
    letters, digits, `_` and `-` is quoted: `labels["a.b/c"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step and all(char.isalnum() or char in "_-" for char in step):
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


@dataclass(frozen=True, slots=True, order=True)
class ConfigError:
    """One thing that is wrong (or, in a list of warnings, doubtful): where, what was found, what was expected."""

    filename: str
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    path: str
    """As `pools[1].cidr`; empty for the file as a whole."""
    message: str

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        return f"{self.filename}:{self.line}:{self.column}: {path}{self.message}"


class ClusterFileError(ValueError):
    """A cluster file that is refused: `errors` has every reason, in order of place."""

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors
