"""What may be called on the read-only socket. What is not named here is refused: new calls are safe."""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar, cast

import grpc
from google.rpc import code_pb2  # type: ignore[import-untyped]  # googleapis-common-protos ships no types

from calicopy.api.errors import abort, refused_status
from calicopy.api.services import Context

Request = TypeVar("Request")
Response = TypeVar("Response")
READING = frozenset(
    f"/calicopy.v1.{call}"
    for call in (
        "NodeService/GetStatus",
        "PeerService/ListPeers",
        "PeerService/GetPeer",
        "RouteService/ListRoutes",
        "RouteService/Explain",
        "IpamService/ListPools",
        "IpamService/ListBlocks",
        "IpamService/ListAddresses",
        "WorkloadService/ListWorkloads",
        "WatchService/Watch",
        "ConfigService/Plan",
        "ConfigService/GetConfig",
    )
) | {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}


class ReadOnly(grpc.aio.ServerInterceptor):
    """Lets reading calls through; the others end with PERMISSION_DENIED."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Request, Response] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Request, Response] | None:
        """The call's own handler, or one that refuses."""
        if handler_call_details.method in READING:
            return await continuation(handler_call_details)
        return cast("grpc.RpcMethodHandler[Request, Response]", grpc.unary_unary_rpc_method_handler(_refuse))


async def _refuse(_: object, context: Context) -> NoReturn:
    message = "this is the read-only socket: calls that change something need the read-write one"
    await abort(context, refused_status(code_pb2.PERMISSION_DENIED, "read-only-socket", message))
