"""`calicopy plan`, `apply` and `config`, against an API server."""
from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest

from calicopy.api.backend import ConfigKind, RefusalKind, RefusedError
from calicopy.cli.apply import follow
from calicopy.cli.errors import CliError
from calicopy.cli.options import Output, Target
from calicopy.core.views import (
    AnnouncementPlan,
    ApplyStage,
    Effect,
    FieldChange,
    PlanView,
    ProgressView,
    RoutePlan,
    SessionEffect,
    SessionPlan,
    UnderWayView,
)
from calicopy.net import Prefix
from calicopy.v1 import config_pb2

TEXT = "nodes:\n  - {name: n1, address: 192.0.2.1/24}\npools:\n  - cidr: 10.244.0.0/16\n"
TOR, BLOCK = ip_address("192.0.2.9"), Prefix.parse("10.244.0.0/26")
VIEW = PlanView(
    sessions=(
        SessionPlan("n2", ip_address("192.0.2.2"), SessionEffect.LINGERING, note="stays for 60 s at least"),
        SessionPlan("tor", TOR, SessionEffect.RESET, (
            FieldChange("hold_time_s", "9", "30", True), FieldChange("prefix_limit", "5", "7", False),
        )),
    ),
    announcements=(AnnouncementPlan(("tor",), Effect.ADDED, (BLOCK,) * 5, "", "next hop 192.0.2.1"),),
    routes=(RoutePlan(BLOCK, Effect.CHANGED, "via 192.0.2.2 dev eth1", "via 192.0.2.2 dev tunl0 onlink"),),
    sessions_total=2,
    announcements_total=1,
    routes_total=1001,
    notes=("what tor-b will bring is not known",),
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "new.yaml"
    path.write_text(TEXT)
    return str(path)


def test_a_plan_is_an_aligned_table_for_each_kind_of_change(agent, calicopy, file):
    agent.backend.configuration.view = VIEW
    done = calicopy("plan", "-f", file)
    assert done.code == 0, done.err
    assert agent.backend.configuration.calls == [("plan", TEXT.encode(), file)]
    assert done.lines == [
        "Sessions",
        "  EFFECT     PEER  ADDRESS    FIELD         BEFORE  AFTER  NOTE",
        "  lingering  n2    192.0.2.2  -             -       -      stays for 60 s at least",
        "  reset      tor   192.0.2.9  hold_time_s   9       30     resets the session",
        "  reset      tor   192.0.2.9  prefix_limit  5       7      -",
        "",
        "Announcements",
        "  EFFECT  PEERS  PREFIXES                                              BEFORE  AFTER",
        "  added   tor    10.244.0.0/26 10.244.0.0/26 10.244.0.0/26 and 2 more  -       next hop 192.0.2.1",
        "",
        "Kernel routes",
        "  EFFECT   PREFIX         BEFORE                  AFTER                           WHY",
        "  changed  10.244.0.0/26  via 192.0.2.2 dev eth1  via 192.0.2.2 dev tunl0 onlink  -",
        "  and 1000 more",
        "",
        "Note: what tor-b will bring is not known",
    ]


def test_a_plan_for_programs_has_every_field(agent, calicopy, file):
    agent.backend.configuration.view = VIEW
    shown = calicopy("plan", "-f", file, "-o", "json").json
    assert [session["effect"] for session in shown["sessions"]] == ["lingering", "reset"]
    assert shown["sessions"][1]["fields"][0] == {"name": "hold_time_s", "before": "9", "after": "30", "resets": True}
    assert shown["routes_total"] == 1001


def test_a_plan_without_changes_says_so(calicopy, file):
    done = calicopy("plan", "-f", file)
    assert (done.code, done.out) == (0, "no changes\n")


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_every_error_of_a_file_is_named_with_its_place_before_the_agent_is_asked(agent, calicopy, tmp_path, command):
    path = tmp_path / "new.yaml"
    path.write_text("nodes:\n  - {name: n1, adress: 192.0.2.1/24}\npools:\n  - cidr: 10.244.0.0/99\n")
    done = calicopy(command, "-f", str(path))
    assert done.code == 4
    assert [line.split(" ")[0] for line in done.err.splitlines()] == [f"{path}:2:16:", f"{path}:4:11:"]
    assert done.err == calicopy("config", "validate", str(path)).err
    assert agent.backend.configuration.calls == []
    assert calicopy(command, "-f", str(tmp_path / "none")).code == 4


def test_an_apply_prints_each_step(agent, calicopy, file):
    done = calicopy("apply", "-f", file, "--confirm", "2m")
    assert done.code == 0
    assert agent.backend.configuration.calls == [("apply", TEXT.encode(), file, 120)]
    assert [line.split("  ", 1)[1].strip() for line in done.lines] == [
        "running: the new configuration runs",
        "waiting: not up yet",
        "session with tor: idle",
        "done: all has come up",
    ]


@pytest.mark.parametrize("stage", [ApplyStage.RESTORED, ApplyStage.NOT_SAVED])
def test_an_apply_that_does_not_hold_whole_ends_with_1_and_says_what_is_missing(agent, calicopy, file, stage):
    agent.backend.configuration.outcome = ProgressView(stage, "it did not come up", ("session with tor: refused",))
    done = calicopy("apply", "-f", file)
    assert done.code == 1
    assert "it did not come up" in done.err
    assert "session with tor: refused" in done.err
    assert calicopy("apply", "-f", file, "-o", "json").json["items"][-1]["stage"] == stage.value


def test_an_interrupted_apply_says_that_the_change_goes_on():
    def steps():
        yield config_pb2.ApplyProgress(stage=config_pb2.APPLY_STAGE_RUNNING)
        raise KeyboardInterrupt

    with pytest.raises(CliError, match="the change goes on") as caught:
        follow(steps(), Target("/none", None, 1.0, Output.TABLE))
    assert "`calicopy config rollback` takes it back" in caught.value.details[0]


def test_an_apply_whose_agent_goes_away_says_what_runs_then(agent, calicopy, file):
    async def cut_short(text, filename, *, confirm_s):
        yield ProgressView(ApplyStage.RUNNING, "the new configuration runs")
        agent.end()
        await asyncio.Event().wait()

    agent.backend.configuration.apply = cut_short
    done = calicopy("apply", "-f", file)
    assert done.code == 3
    assert done.err.splitlines()[0] == "calicopy: the connection to the agent broke"
    assert "comes back on what ran before" in done.err


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_file_without_an_end_is_refused_and_not_read(calicopy, command):
    done = calicopy(command, "-f", "/dev/zero")
    assert (done.code, done.err) == (4, "/dev/zero:1:1: the file is larger than 4 MiB, expected a cluster file\n")


def test_a_refused_apply_ends_with_4_and_its_reason(agent, calicopy, file):
    refusal = RefusedError(RefusalKind.CONFLICT, "change-under-way", "a change is under way: SIGHUP")
    agent.backend.configuration.refusal = refusal
    done = calicopy("apply", "-f", file)
    assert done.code == 4
    assert "a change is under way: SIGHUP" in done.err


@pytest.mark.parametrize("time", ["0s", "5x", "-1s", "25h", "60", "9999999999999h"])
def test_a_wrong_time_is_a_wrong_usage(calicopy, file, time):
    assert calicopy("apply", "-f", file, "--confirm", time).code == 2


def test_config_show_prints_the_text_and_what_differs(agent, calicopy):
    done = calicopy("config", "show")
    assert (done.code, done.out, done.err) == (0, "nodes: []\n", "")
    agent.backend.configuration.startup = b"# other\n"
    agent.backend.configuration.change = UnderWayView("SIGHUP", 1_790_000_000.0, 1_790_000_060.0, ())
    done = calicopy("config", "show", "--startup")
    assert done.out == "# other\n"
    assert done.err.splitlines() == [
        "running and startup (/etc/calicopy/cluster.yaml) differ",
        "a change is under way: SIGHUP, until 2026-09-21T14:14:20.000Z at most",
    ]
    shown = calicopy("config", "show", "-o", "json").json
    assert (shown["text"], shown["same"], shown["change"]["by"]) == ("nodes: []\n", False, "SIGHUP")
    assert agent.backend.configuration.calls[-1] == ("config", ConfigKind.RUNNING)


def test_confirm_and_rollback_say_the_outcome(agent, calicopy):
    assert "all has come up" in calicopy("config", "confirm").out
    agent.backend.configuration.outcome = ProgressView(ApplyStage.RESTORED, "called back")
    done = calicopy("config", "rollback", "--confirm", "5s")
    assert done.code == 0
    assert agent.backend.configuration.calls == [("confirm",), ("rollback", 5)]
    assert calicopy("config", "confirm").code == 1
