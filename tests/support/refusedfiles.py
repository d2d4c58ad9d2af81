"""Cluster files that are refused, and where and in which words each error is to be said."""
from __future__ import annotations

from typing import NamedTuple

from calicopy.config.load import load_text


class Case(NamedTuple):
    sentence: str
    text: str
    expected: list[tuple[str, int, str]]
    """Path, line and a part of the message, of every error in order."""


HEAD = (
    "nodes:\n- {name: n1, address: 192.0.2.1/24}\n- {name: n2, address: 192.0.2.2/24}\npools:\n- cidr: 10.244.0.0/16\n"
)
"""Five good lines; what a case adds begins on line 6, with the pool's other keys or a section."""


def assert_refused(case: Case) -> None:
    """Its errors are those expected: no more, no less, each at its place."""
    result = load_text(case.text, filename="f.yaml")
    assert result.config is None
    got = [(error.path, error.line) for error in result.errors]
    assert got == [(path, line) for path, line, _ in sorted(case.expected, key=lambda each: each[1])] or sorted(
        got
    ) == sorted((path, line) for path, line, _ in case.expected), [str(error) for error in result.errors]
    for path, line, part in case.expected:
        assert any(part in error.message for error in result.errors if (error.path, error.line) == (path, line)), [
            str(error) for error in result.errors
        ]
