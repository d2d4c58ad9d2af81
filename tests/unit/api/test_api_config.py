"""ConfigService over real sockets: planning and showing also on the read-only one, changing on the other alone."""
from __future__ import annotations

from ipaddress import ip_address

import grpc
import pytest

from calicopy.api.backend import ConfigKind, RefusalKind, RefusedError
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
from calicopy.v1 import config_pb2, config_pb2_grpc

VIEW = PlanView(
    sessions=(
        SessionPlan(
            "tor", ip_address("192.0.2.9"), SessionEffect.RESET, (FieldChange("hold_time_s", "9", "30", True),), "note"
        ),
    ),
    announcements=(
        AnnouncementPlan(
            ("tor",), Effect.ADDED, (Prefix.parse("10.244.0.0/26"),), "", "next hop 192.0.2.1"
        ),
    ),
    routes=(RoutePlan(Prefix.parse("10.244.1.0/26"), Effect.REMOVED, "via 192.0.2.2 dev eth1", "", "no session"),),
    sessions_total=1,
    announcements_total=1,
    routes_total=2000,
    restarts=("agent.socket: a becomes b",),
    notes=("not known",),
    warnings=("f:1:1: odd",),
)


async def test_a_plan_comes_whole_also_over_the_read_only_socket(read_only, backend):
    backend.configuration.view = VIEW
    request = config_pb2.PlanRequest(text=b"nodes: []", filename="new.yaml")
    plan = (await config_pb2_grpc.ConfigServiceStub(read_only).Plan(request)).plan
    assert backend.configuration.calls == [("plan", b"nodes: []", "new.yaml")]
    (session,), (announcement,), (route,) = plan.sessions, plan.announcements, plan.routes
    assert (session.name, session.effect, session.fields[0].after) == ("tor", config_pb2.SESSION_EFFECT_RESET, "30")
    assert (list(announcement.prefixes), announcement.effect) == (["10.244.0.0/26"], config_pb2.PLAN_EFFECT_ADDED)
    assert (route.prefix, route.why, plan.routes_total) == ("10.244.1.0/26", "no session", 2000)
    assert (plan.restarts, plan.notes, plan.warnings) == ([*VIEW.restarts], [*VIEW.notes], [*VIEW.warnings])


async def test_an_apply_tells_each_step_and_the_outcome_last(channel, backend):
    backend.configuration.outcome = ProgressView(ApplyStage.RESTORED, "did not come up", ("session with tor: idle",))
    request = config_pb2.ApplyRequest(text=b"x", filename="new.yaml", confirm_s=7)
    steps = [answer.progress async for answer in config_pb2_grpc.ConfigServiceStub(channel).Apply(request)]
    assert [step.stage for step in steps] == [
        config_pb2.APPLY_STAGE_RUNNING, config_pb2.APPLY_STAGE_WAITING, config_pb2.APPLY_STAGE_RESTORED,
    ]  # fmt: skip
    assert list(steps[-1].missing) == ["session with tor: idle"]
    assert backend.configuration.calls == [("apply", b"x", "new.yaml", 7)]


@pytest.mark.parametrize("call", ["Apply", "Confirm", "Rollback"])
async def test_the_read_only_socket_changes_nothing(read_only, backend, call):
    request = {
        "Apply": config_pb2.ApplyRequest(filename="f"),
        "Confirm": config_pb2.ConfirmRequest(),
        "Rollback": config_pb2.RollbackRequest(),
    }[call]
    answer = getattr(config_pb2_grpc.ConfigServiceStub(read_only), call)(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (answer if call == "Confirm" else answer.read())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert backend.configuration.calls == []


async def test_a_refusal_says_what_and_who(channel, backend):
    message = "a change is under way: SIGHUP, until 12:00:00 UTC at most"
    backend.configuration.refusal = RefusedError(RefusalKind.CONFLICT, "change-under-way", message)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in config_pb2_grpc.ConfigServiceStub(channel).Apply(config_pb2.ApplyRequest(filename="f")):
            pass
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == message


@pytest.mark.parametrize(("field", "request_"), [
    ("filename", config_pb2.ApplyRequest(text=b"x")),
    ("confirm_s", config_pb2.ApplyRequest(text=b"x", filename="f", confirm_s=90_000)),
])  # fmt: skip
async def test_a_wrong_field_is_named(channel, field, request_):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in config_pb2_grpc.ConfigServiceStub(channel).Apply(request_):
            pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(field)


async def test_both_texts_and_the_change_that_is_under_way_are_shown(read_only, backend):
    backend.configuration.startup = b"nodes: [] # other\n"
    backend.configuration.change = UnderWayView("SIGHUP", 1_790_000_000.0, 1_790_000_060.0, ("session with tor",))
    stub = config_pb2_grpc.ConfigServiceStub(read_only)
    running = await stub.GetConfig(config_pb2.GetConfigRequest())
    startup = await stub.GetConfig(config_pb2.GetConfigRequest(kind=config_pb2.CONFIG_KIND_STARTUP))
    assert (running.text, startup.text) == (b"nodes: []\n", b"nodes: [] # other\n")
    assert not running.same
    assert (running.change.by, list(running.change.missing)) == ("SIGHUP", ["session with tor"])
    assert running.change.until.seconds == 1_790_000_060
    assert [call[1] for call in backend.configuration.calls] == [ConfigKind.RUNNING, ConfigKind.STARTUP]


async def test_a_file_of_the_largest_size_goes_through(channel, backend):
    text = b"#" * 4 * 1024 * 1024
    await config_pb2_grpc.ConfigServiceStub(channel).Plan(config_pb2.PlanRequest(text=text, filename="f"))
    assert backend.configuration.calls == [("plan", text, "f")]
