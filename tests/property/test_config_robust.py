"""Whatever a cluster file holds, loading answers whole: a config without errors, or errors without a config."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.config.load import load_bytes, load_text

FULL = (Path(__file__).parents[2] / "config" / "full.yaml").read_text()
LINES = FULL.splitlines()
PIECES = st.sampled_from(
    ["&a", "*a", "no", "{", "}", "[", "- ", ": ", "12:30", "\t", "!!x", "---", "0", "null", '"', "%", "?", "<<: x", "é"]
)


def whole(text: str) -> None:
    result = load_text(text, filename="f")
    assert (result.config is None) == bool(result.errors)
    lines = text.count("\n") + 2
    for error in result.errors:
        assert 1 <= error.line <= lines
        assert error.column >= 1
        assert error.message


@settings(max_examples=150)
@given(st.integers(0, len(FULL)), st.integers(0, 12), PIECES)
def test_a_file_with_something_written_over_is_refused_or_taken_whole(at: int, length: int, piece: str) -> None:
    whole(FULL[:at] + piece + FULL[at + length :])


@settings(max_examples=100)
@given(st.lists(st.sampled_from(LINES), max_size=30))
def test_lines_in_any_order_are_refused_or_taken_whole(lines: list[str]) -> None:
    whole("\n".join(lines))


_KEYS = [
    "nodes",
    "name",
    "address",
    "pools",
    "cidr",
    "blocks",
    "bgp",
    "peers",
    "as",
    "agent",
    "api",
    "labels",
    "method",
]


def _flow(value: object) -> str:
    match value:
        case list():
            return "[" + ", ".join(_flow(each) for each in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    return str(value)


_LEAVES = st.sampled_from(
    ["n1", "10.0.0.0/8", "192.0.2.1/24", "7", "-1", "true", "null", "'x'", "fd00::/64", "1.5", ".inf", "9" * 40]
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["nodes", "pools", "bgp", "agent", "cluster", "address_detection"]), _TREES, max_size=4
    )
)
def test_any_tree_is_refused_or_taken_whole(tree: dict[str, object]) -> None:
    whole(_flow(tree) + "\n")


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_octets_are_refused_or_taken_whole(data: bytes) -> None:
    result = load_bytes(data, filename="f")
    assert result.config is None
    assert result.errors
