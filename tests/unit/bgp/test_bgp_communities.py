"""Communities as operators write them."""
from __future__ import annotations

import pytest

from calicopy.bgp import format_community, format_large_community, parse_community, parse_large_community
from calicopy.bgp.communities import WELL_KNOWN


@pytest.mark.parametrize(("text", "number"), [
    ("64512:100", 0xFC000064), ("0:0", 0), ("65535:65535", 0xFFFFFFFF),
    ("no-export", 0xFFFFFF01), ("no-advertise", 0xFFFFFF02), ("no-export-subconfed", 0xFFFFFF03),
    ("graceful-shutdown", 0xFFFF0000), ("blackhole", 0xFFFF029A),
])  # fmt: skip
def test_a_community_is_read_and_written_the_same_way(text: str, number: int) -> None:
    assert parse_community(text) == number
    assert format_community(number) == text


def test_a_well_known_community_may_be_written_as_its_numbers() -> None:
    for number in WELL_KNOWN.values():
        assert parse_community(f"{number >> 16}:{number & 0xFFFF}") == number


@pytest.mark.parametrize("text", ["64512:1:167772161", "0:0:0", "4294967295:4294967295:4294967295"])
def test_a_large_community_is_read_and_written_the_same_way(text: str) -> None:
    assert format_large_community(parse_large_community(text)) == text


@pytest.mark.parametrize("text", ["", "100", "65536:1", "1:65536", "1:2:3", "a:b", "01:1", " 1:1", "-1:1", "1:", "٣:1"])
def test_what_is_no_community_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected AS:VALUE"):
        parse_community(text)


@pytest.mark.parametrize("text", ["", "1:1", "1:2:3:4", "4294967296:0:0", "1:2:x", "01:2:3", "1:2:99999999999"])
def test_what_is_no_large_community_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected A:B:C"):
        parse_large_community(text)
