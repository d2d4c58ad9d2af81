"""`calicopy drain`, `undrain`, and what status and watch say of them."""
from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from calicopy.core import views
from calicopy.core.drain_state import DrainPhase, DrainStep, DrainView


def test_each_step_is_a_line_and_what_has_no_other_path_is_named(calicopy):
    done = calicopy("drain")
    assert done.code == 0
    assert done.lines == [
        "recorded: recorded",
        "waiting: waiting for other paths of 1 prefix",
        "no-alternative: no other path is known of 1 prefix: 10.244.0.0/26",
        "drained: all is withdrawn",
    ]


def test_programs_get_the_result(calicopy):
    result = calicopy("drain", "--wait", "2m", "-o", "json").json
    assert (result["step"], result["last"]) == ("drained", True)
    assert result["drain"] == {
        "phase": "drained",
        "since": "2026-09-21T14:13:20.250Z",
        "wait_s": 120.0,
        "waiting": 0,
        "without_alternative": ["10.244.0.0/26"],
        "without_count": 1,
    }
    assert calicopy("undrain", "-o", "json").json == {"was_drained": True}


def test_addresses_in_use_refuse_it_unless_it_is_forced(calicopy, agent):
    agent.backend.in_use = True
    done = calicopy("drain")
    assert (done.code, done.out) == (4, "")
    assert done.err.splitlines() == [
        "calicopy: 1 address is in use here: 10.244.0.1 (workload:web); detach them first, or drain with --force",
        "  reason: addresses-in-use",
    ]
    assert calicopy("drain", "--force").code == 0


@pytest.mark.parametrize("wait", ["10", "ten", "-1s", "s", "1d"])
def test_a_wait_is_a_duration_with_its_unit(calicopy, wait):
    done = calicopy("drain", "--wait", wait)
    assert done.code == 2
    assert "is no duration with its unit, such as 30s, 2m or 1h" in done.err


def test_a_wait_without_end_is_refused(calicopy):
    done = calicopy("drain", "--wait", "2h")
    assert (done.code, done.err.splitlines()[0]) == (4, "calicopy: wait_s: is 7200, expected 0 to 3600 seconds")


def test_a_drain_that_somebody_takes_back_is_an_error(calicopy, agent):
    async def taken_back(*, force, wait_s):
        yield DrainStep("undrained", "in service again", DrainView(DrainPhase.ACTIVE, 0, 0), last=True)

    agent.backend.drain = taken_back
    done = calicopy("drain")
    assert (done.code, done.err) == (1, "calicopy: the node is not drained: in service again\n")


def test_a_drain_whose_agent_goes_away_goes_on(calicopy, agent):
    async def cut_short(*, force, wait_s):
        yield DrainStep("recorded", "it holds", DrainView(DrainPhase.DRAINING, 0, 0))
        agent.end()
        await asyncio.Event().wait()

    agent.backend.drain = cut_short
    done = calicopy("drain")
    assert (done.code, done.out) == (3, "recorded: it holds\n")
    assert done.err.splitlines()[0].startswith("calicopy: the connection to the agent broke: the drain goes on")


def test_the_read_only_socket_refuses_both(calicopy, agent):
    for words in (["drain"], ["undrain"]):
        done = calicopy(*words, "--socket", agent.settings.read_only_socket_path)
        assert (done.code, "read-only socket" in done.err) == (4, True)


def test_undrain_says_whether_there_was_something_to_undo(calicopy):
    assert calicopy("undrain").out == "the node was not drained\n"
    calicopy("drain")
    assert calicopy("undrain").out == "in service again\n"


def test_the_status_shows_it_and_its_check_fails(calicopy, agent):
    calicopy("drain")
    agent.backend.health = views.Health.DRAINED
    done = calicopy("status", "--check")
    assert done.code == 5
    assert any(line.split()[:2] == ["Health", "drained"] for line in done.lines)
    (line,) = [line for line in done.lines if line.startswith("Drain ")]
    assert line.split()[1:4] == ["drained", "since", "2026-09-21T14:13:20.250Z"]
    assert line.endswith("withdrawn without another path: 1")
    assert calicopy("status", "-o", "json").json["drain"]["phase"] == "drained"


def test_a_node_that_drains_before_its_end_gives_its_agent_the_time(tmp_path: Path):
    from calicopy.node import DRAIN_TIMEOUT_S, node_services

    def patience(*arguments: str) -> set[tuple[str, float]]:
        services = node_services(str(tmp_path), arguments)
        return {(service.name, service.stop_timeout) for service in services if service.stop_timeout is not None}

    assert patience("--drain") == {("agent", DRAIN_TIMEOUT_S)}
    assert not patience()
