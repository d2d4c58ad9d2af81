"""`ApiServer`: the agent's gRPC servers.

Theory of operation: two servers on one backend. The full one listens on the read-write socket and, when the cluster
file says so, on TCP with mutual TLS; the other one on the read-only socket, behind an interceptor. The permissions of
the sockets are the access control: who may open a socket may call what it offers. Requests are small, so messages to
the server are bounded; so is the number of calls at a time.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from calicopy.api.access import ReadOnly
from calicopy.api.backend import Backend
from calicopy.api.config_service import ConfigService
from calicopy.api.services import Changes, IpamService, NodeService, PeerService, RouteService, WorkloadService
from calicopy.api.sockets import PublishedSocket, SocketLock, find_group, hold_sockets
from calicopy.api.tls import Certificates, TlsFiles
from calicopy.api.watch import WatchHub, WatchService
from calicopy.config.model import AgentSection, ApiSection
from calicopy.config.yamltree import MAX_BYTES
from calicopy.v1 import (
    config_pb2,
    config_pb2_grpc,
    ipam_pb2,
    ipam_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    peer_pb2,
    peer_pb2_grpc,
    route_pb2,
    route_pb2_grpc,
    watch_pb2,
    watch_pb2_grpc,
    workload_pb2,
    workload_pb2_grpc,
)

log = logging.getLogger(__name__)

LARGEST_REQUEST = MAX_BYTES + 64 * 1024  # a cluster file of the largest size, and what is beside it
MOST_CALLS = 1000
STOP_GRACE_S = 1.0
SERVICES = tuple(
    descriptor.full_name
    for module in (node_pb2, peer_pb2, route_pb2, ipam_pb2, workload_pb2, watch_pb2, config_pb2)
    for descriptor in module.DESCRIPTOR.services_by_name.values()
)
OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_REQUEST),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.so_reuseport", 0),  # a port that another agent has is an error, not shared
)


class ApiServer:
    """Serves `backend` where `settings` say. `lock` is that of the sockets, when it is held already; it is given up
    when the server stops."""

    def __init__(self, backend: Backend, settings: AgentSection, *, lock: SocketLock | None = None) -> None:
        self._settings = settings
        self._changes = Changes()
        self.hub = WatchHub(backend)
        self._backend = backend
        self._lock = lock
        self._sockets: list[PublishedSocket] = []
        self._servers: list[grpc.aio.Server] = []
        self._health = health_aio.HealthServicer()
        self.tcp_port: int | None = None
        """The TCP port in use, once started, when there is one."""

    async def start(self) -> None:
        """Serve. Raises OSError: SocketsHeldError when another agent does, TlsFilesError, and what the host says."""
        path = Path(self._settings.socket_path)
        group = find_group(self._settings.socket_group)
        if self._lock is None:
            self._lock = hold_sockets(self._settings)
        try:
            full = self._server()
            read_only = self._server(ReadOnly())
            self._publish(full, path, group)
            self._publish(read_only, Path(self._settings.read_only_socket_path), group)
            if self._settings.api is not None:
                self.tcp_port = _listen(full, self._settings.api)
            for server in self._servers:
                await server.start()
            await self.set_ready(self._backend.status().readiness.ready)
        except BaseException:
            await self.stop()
            raise

    async def set_ready(self, ready: bool) -> None:
        """What the health service says of every service, and of the whole: SERVING or NOT_SERVING."""
        answer = health_pb2.HealthCheckResponse
        for name in ("", *SERVICES):
            await self._health.set(name, answer.SERVING if ready else answer.NOT_SERVING)

    def _server(self, *interceptors: grpc.aio.ServerInterceptor) -> grpc.aio.Server:
        server = grpc.aio.server(interceptors=interceptors, options=OPTIONS, maximum_concurrent_rpcs=MOST_CALLS)
        node_pb2_grpc.add_NodeServiceServicer_to_server(NodeService(self._backend, self._changes), server)
        peer_pb2_grpc.add_PeerServiceServicer_to_server(PeerService(self._backend, self._changes), server)
        route_pb2_grpc.add_RouteServiceServicer_to_server(RouteService(self._backend), server)
        ipam_pb2_grpc.add_IpamServiceServicer_to_server(IpamService(self._backend, self._changes), server)
        workload_pb2_grpc.add_WorkloadServiceServicer_to_server(WorkloadService(self._backend, self._changes), server)
        config_pb2_grpc.add_ConfigServiceServicer_to_server(ConfigService(self._backend, self._changes), server)
        watch_pb2_grpc.add_WatchServiceServicer_to_server(WatchService(self._backend, self.hub), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        self._servers.append(server)
        return server

    def _publish(self, server: grpc.aio.Server, path: Path, group: int | None) -> None:
        def bind(name: Path) -> None:
            _bound(lambda: server.add_insecure_port(f"unix:{name}"), str(path))

        self._sockets.append(PublishedSocket(path, group=group, bind=bind))

    async def stop(self) -> None:
        """End: watchers are told, changing calls may finish, sockets disappear, the lock goes last."""
        await self._health.enter_graceful_shutdown()
        self.hub.close()
        for published in self._sockets:
            published.remove()
        await asyncio.gather(*(server.stop(STOP_GRACE_S) for server in self._servers))
        await self._changes.finish(STOP_GRACE_S)
        self._servers.clear()
        self._sockets.clear()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _listen(server: grpc.aio.Server, api: ApiSection) -> int:
    certificates = Certificates(TlsFiles(Path(api.cert_file), Path(api.key_file), Path(api.client_ca_file)))
    address = str(api.listen)
    port = _bound(lambda: server.add_secure_port(address, certificates.credentials()), address)
    log.info("API with mutual TLS on %s", address)
    return port


def _bound(bind: Callable[[], int], place: str) -> int:
    """What `bind` gives; the library's RuntimeError becomes an OSError that names the place."""
    try:
        return bind()
    except RuntimeError as error:
        raise OSError(f"cannot listen on {place}: {error}") from error
