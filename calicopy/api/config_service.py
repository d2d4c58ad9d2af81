"""The service that plans and applies configurations, on top of a `Backend`."""
# ruff: noqa: N802 - methods are named as the RPCs are
from __future__ import annotations

from collections.abc import AsyncIterator

from calicopy.api import convert_plan, fields
from calicopy.api.backend import Backend
from calicopy.api.errors import InvalidFieldError
from calicopy.api.services import Changes, answered, streamed
from calicopy.v1 import config_pb2, config_pb2_grpc

LONGEST_CONFIRM_S = 24 * 3600


class ConfigService(config_pb2_grpc.ConfigServiceServicer):
    """The cluster file that runs, and changing it."""

    def __init__(self, backend: Backend, changes: Changes) -> None:
        self._backend = backend
        self._changes = changes

    @answered
    async def Plan(self, request: config_pb2.PlanRequest) -> config_pb2.PlanResponse:
        filename = fields.required("filename", request.filename, length=fields.PATH_LENGTH)
        view = await self._backend.configuration.plan(request.text, filename)
        return config_pb2.PlanResponse(plan=convert_plan.plan(view))

    @streamed
    async def Apply(self, request: config_pb2.ApplyRequest) -> AsyncIterator[config_pb2.ApplyResponse]:
        filename = fields.required("filename", request.filename, length=fields.PATH_LENGTH)
        confirm_s = _confirm_s(request.confirm_s)
        async for progress in self._backend.configuration.apply(request.text, filename, confirm_s=confirm_s):
            yield config_pb2.ApplyResponse(progress=convert_plan.progress(progress))

    @answered
    async def Confirm(self, _: config_pb2.ConfirmRequest) -> config_pb2.ConfirmResponse:
        outcome = await self._changes.run(self._backend.configuration.confirm())
        return config_pb2.ConfirmResponse(progress=convert_plan.progress(outcome))

    @streamed
    async def Rollback(self, request: config_pb2.RollbackRequest) -> AsyncIterator[config_pb2.RollbackResponse]:
        async for progress in self._backend.configuration.rollback(confirm_s=_confirm_s(request.confirm_s)):
            yield config_pb2.RollbackResponse(progress=convert_plan.progress(progress))

    @answered
    async def GetConfig(self, request: config_pb2.GetConfigRequest) -> config_pb2.GetConfigResponse:
        kind = convert_plan.KINDS.get(request.kind)
        if kind is None:
            raise InvalidFieldError("kind", f"{int(request.kind)} is not a configuration that this agent knows")
        return convert_plan.config(self._backend.configuration.config(kind))


def _confirm_s(value: int) -> int:
    if value > LONGEST_CONFIRM_S:
        raise InvalidFieldError("confirm_s", f"{value} is more than {LONGEST_CONFIRM_S} (a day)")
    return value
