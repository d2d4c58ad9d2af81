"""Communities as text and back."""

from __future__ import annotations

import pytest

from calicopy.policy import Community, community_text, parse_community, split_communities


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0:0", 0),
        ("64512:100", 64512 << 16 | 100),
        ("65535:65535", 0xFFFFFFFF),
        ("graceful-shutdown", 0xFFFF0000),
        ("blackhole", 65535 << 16 | 666),
        ("no-export", 0xFFFFFF01),
        ("no-advertise", 0xFFFFFF02),
        ("no-export-subconfed", 0xFFFFFF03),
        ("64512:1:7", (64512, 1, 7)),
        ("4294967295:0:4294967295", (4294967295, 0, 4294967295)),
    ],
)
def test_a_community_is_read_and_written_as_people_do(text: str, value: Community) -> None:
    assert parse_community(text) == value
    assert community_text(value) == text


def test_a_well_known_one_may_be_given_by_its_numbers() -> None:
    assert community_text(parse_community("65535:0")) == "graceful-shutdown"


@pytest.mark.parametrize(
    "text",
    ["", "1", ":", "1:", "1:2:3:4", "65536:1", "1:65536", "4294967296:1:1", "01:2", "-1:2", "1 :2", "a:b", "٣:٢"],
)
def test_what_is_no_community_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no (large )?community"):
        parse_community(text)


def test_standard_and_large_ones_are_told_apart_in_order() -> None:
    assert split_communities([5, (1, 2, 3), 4]) == ((5, 4), ((1, 2, 3),))
