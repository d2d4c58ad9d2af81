"""What agent and BFD process write, and read again."""
from __future__ import annotations

import pytest

from calicopy.bfd.process.settings import (
    SessionSetting,
    SettingsError,
    StateLine,
    Table,
    format_sessions,
    parse_sessions,
    parse_state,
    parse_table,
)

SESSIONS = (
    SessionSetting("10.0.0.2", "10.0.0.1", next_hops=("10.0.0.2", "fd00::2")),
    SessionSetting(
        "fe80::2%eth0", "fe80::1%eth0", hop="auto", min_ttl=254, tx_us=50_000, rx_us=0, detect_mult=5,
        auth_type="meticulous-sha1", auth_key_id=7, auth_key_file="/etc/a key", admin_down=True,
    ),
)  # fmt: skip
TABLE = Table(objects={5: (4, "10.0.0.2"), 6: (6, "fd00::2")}, groups={9: (4, (5, 7))}, protocol=99)


def test_sessions_are_read_as_they_were_written() -> None:
    assert parse_sessions(format_sessions(SESSIONS)) == {one.peer: one for one in SESSIONS}
    assert parse_sessions(format_sessions(())) == {}


def test_a_table_is_read_as_it_was_written() -> None:
    assert parse_table(TABLE.as_text()) == TABLE
    assert parse_table(Table().as_text()) == Table()


@pytest.mark.parametrize("text", [format_sessions(SESSIONS), TABLE.as_text()])
def test_no_beginning_of_a_file_passes_for_the_whole(text: str) -> None:
    parse = parse_sessions if text.startswith("session") else parse_table
    for cut in range(len(text)):
        with pytest.raises(SettingsError):
            parse(text[:cut])


@pytest.mark.parametrize(
    "line",
    ["session 10.0.0.2", "session a b multi 0 1 1 3 0", "session a b both 1 1 1 3 0", "auth simple 1 /key", "hops a",
     "session a b multi 1 1 1 256 0", "object 1 4 a"],
)  # fmt: skip
def test_a_line_that_the_agent_never_writes_is_named(line: str) -> None:
    with pytest.raises(SettingsError, match=line[:8]):
        parse_sessions(f"{line}\nend 1\n")


def test_a_state_is_read_as_it_was_written() -> None:
    state = StateLine("10.0.0.2", "single")
    state.state, state.heard, state.changed_at, state.dropped = 3, True, 12.25, {"ttl": 4, "auth": 1}
    again = parse_state(state.as_text())
    assert again.as_text() == state.as_text()
    assert (again.state, again.heard, again.holding, again.changed_at) == (3, True, False, 12.25)
    assert again.dropped == {"ttl": 4, "auth": 1}


@pytest.mark.parametrize("line", ["", "state", "gone 10.0.0.2", StateLine("a", "auto").as_text()])
def test_what_is_no_state_is_refused(line: str) -> None:
    with pytest.raises(SettingsError):
        parse_state(line)
