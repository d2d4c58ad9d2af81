"""How a call that cannot be answered ends: a gRPC code, a sentence, and `google.rpc.Status` details for programs.

Theory of operation: refusals of the agent carry an ErrorInfo (reason: the stable code; domain: calicopy; metadata: the
object it is about), wrong fields of a request a BadRequest. What nobody expected is logged here with its traceback, and
answered without it.
"""
from __future__ import annotations

import logging
from typing import NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import (  # type: ignore[import-untyped]  # googleapis-common-protos ships no types
    code_pb2,
    error_details_pb2,
    status_pb2,
)
from grpc_status import rpc_status

from calicopy.api.backend import RefusalKind, RefusedError

log = logging.getLogger(__name__)

DOMAIN = "calicopy"
_CODES = {
    RefusalKind.NOT_FOUND: code_pb2.NOT_FOUND,
    RefusalKind.INVALID: code_pb2.INVALID_ARGUMENT,
    RefusalKind.CONFLICT: code_pb2.FAILED_PRECONDITION,
    RefusalKind.EXHAUSTED: code_pb2.RESOURCE_EXHAUSTED,
    RefusalKind.UNAVAILABLE: code_pb2.UNAVAILABLE,
    RefusalKind.FAILED: code_pb2.INTERNAL,
}


class InvalidFieldError(Exception):
    """A field of a request has a value that it cannot have: the field's name, and what was expected."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description


def status_of(error: Exception) -> status_pb2.Status:
    """The status that a call ends with because of `error`."""
    if isinstance(error, RefusedError):
        return _status(
            _CODES[error.kind], str(error), _info(error.code, {"subject": error.subject} if error.subject else {})
        )
    if isinstance(error, InvalidFieldError):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.description)
        bad_request = any_pb2.Any()
        bad_request.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        info = _info("invalid-field", {"field": error.field})
        return _status(code_pb2.INVALID_ARGUMENT, str(error), info, bad_request)
    return _status(code_pb2.INTERNAL, "internal error; the agent's log has the details", _info("internal", {}))


def refused_status(code: int, reason: str, message: str) -> status_pb2.Status:
    """A status of the API itself, such as PERMISSION_DENIED, with its ErrorInfo."""
    return _status(code, message, _info(reason, {}))


async def end_call(context: grpc.aio.ServicerContext[object, object], error: Exception) -> NoReturn:
    """End the call with the status of `error`; what is neither a refusal nor a wrong field is logged."""
    if not isinstance(error, RefusedError | InvalidFieldError):
        log.error("a call failed", exc_info=error)
    await abort(context, status_of(error))


async def abort(context: grpc.aio.ServicerContext[object, object], status: status_pb2.Status) -> NoReturn:
    """End the call with `status`, which travels whole in the trailing metadata."""
    made = rpc_status.to_status(status)
    await context.abort(made.code, made.details, made.trailing_metadata)
    raise AssertionError("abort does not return")


def _status(code: int, message: str, *details: any_pb2.Any) -> status_pb2.Status:
    return status_pb2.Status(code=code, message=message, details=details)


def _info(reason: str, metadata: dict[str, str]) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    return packed
