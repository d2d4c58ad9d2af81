"""The gRPC services, on top of a `Backend`.

Theory of operation: reading calls are answered in one step from memory; long lists are cut into slices, between which
the event loop runs. A changing call goes on to its end also when its caller goes away or its deadline passes: half an
attached workload helps nobody, and the same call again finds what this one did.
"""
# ruff: noqa: N802 - methods are named as the RPCs are
from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from ipaddress import ip_address
from typing import TypeAlias, TypeVar

import grpc

from calicopy.api import convert, convert_explain, convert_peer, fields
from calicopy.api.backend import AddressWishes, Backend, RefusalKind, RefusedError
from calicopy.api.errors import InvalidFieldError, end_call
from calicopy.core.drain_state import DEFAULT_WAIT_S
from calicopy.core.views import PeerView, RouteQuery
from calicopy.net import Family
from calicopy.v1 import (
    ipam_pb2,
    ipam_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    peer_pb2,
    peer_pb2_grpc,
    route_pb2,
    route_pb2_grpc,
    workload_pb2,
    workload_pb2_grpc,
)

Context: TypeAlias = grpc.aio.ServicerContext[object, object]
Service = TypeVar("Service")
Request = TypeVar("Request")
Response = TypeVar("Response")
ROUTES_A_SLICE = 100
LONGEST_DRAIN_S = 3600.0


def answered(
    method: Callable[[Service, Request], Awaitable[Response]],
) -> Callable[[Service, Request, Context], Coroutine[object, object, Response]]:
    """A call with one answer; an exception becomes its status."""

    @functools.wraps(method)
    async def call(self: Service, request: Request, context: Context) -> Response:
        try:
            return await method(self, request)
        except Exception as error:
            await end_call(context, error)

    return call


def streamed(
    method: Callable[[Service, Request], AsyncIterator[Response]],
) -> Callable[[Service, Request, Context], AsyncIterator[Response]]:
    """A call with a stream of answers; an exception becomes its status."""

    @functools.wraps(method)
    async def call(self: Service, request: Request, context: Context) -> AsyncIterator[Response]:
        try:
            async for answer in method(self, request):
                yield answer
        except Exception as error:
            await end_call(context, error)

    return call


class Changes:
    """Runs changing calls as tasks of their own, so that they outlive their caller."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[object]] = set()

    async def run(self, work: Coroutine[object, object, Response]) -> Response:
        """The result of `work`; when the caller is cancelled, `work` is not."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Response]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits for it any more

    async def finish(self, timeout_s: float) -> None:
        """Wait for the calls that run, `timeout_s` seconds at most."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)


class NodeService(node_pb2_grpc.NodeServiceServicer):
    """The node as a whole: its status, and whether it is in service."""

    def __init__(self, backend: Backend, changes: Changes) -> None:
        self._backend = backend
        self._changes = changes

    @answered
    async def GetStatus(self, _: node_pb2.GetStatusRequest) -> node_pb2.GetStatusResponse:
        return node_pb2.GetStatusResponse(status=convert.node_status(await self._backend.full_status()))

    @streamed
    async def Drain(self, request: node_pb2.DrainRequest) -> AsyncIterator[node_pb2.DrainResponse]:
        wait_s = request.wait_s if request.HasField("wait_s") else DEFAULT_WAIT_S
        fields.seconds("wait_s", wait_s, most=LONGEST_DRAIN_S)
        async for step in self._backend.drain(force=request.force, wait_s=wait_s):
            yield convert.drain_step(step)

    @answered
    async def Undrain(self, _: node_pb2.UndrainRequest) -> node_pb2.UndrainResponse:
        return node_pb2.UndrainResponse(was_drained=await self._changes.run(self._backend.undrain()))


class PeerService(peer_pb2_grpc.PeerServiceServicer):
    """BGP sessions."""

    def __init__(self, backend: Backend, changes: Changes) -> None:
        self._backend = backend
        self._changes = changes

    @answered
    async def ListPeers(self, _: peer_pb2.ListPeersRequest) -> peer_pb2.ListPeersResponse:
        return peer_pb2.ListPeersResponse(peers=[convert_peer.peer(peer) for peer in self._backend.peers()])

    @answered
    async def GetPeer(self, request: peer_pb2.GetPeerRequest) -> peer_pb2.GetPeerResponse:
        wanted = fields.required("peer", request.peer)
        return peer_pb2.GetPeerResponse(peer=convert_peer.peer(self._find(wanted)))

    @answered
    async def RefreshPeer(self, request: peer_pb2.RefreshPeerRequest) -> peer_pb2.RefreshPeerResponse:
        wanted = self._find(fields.required("peer", request.peer))
        inbound, outbound = request.inbound, request.outbound
        if not inbound and not outbound:
            raise InvalidFieldError("inbound", "or outbound must be set: which routes are to be sent again")
        peer = await self._changes.run(
            self._backend.refresh_peer(wanted.name, inbound=inbound, outbound=outbound)
        )
        return peer_pb2.RefreshPeerResponse(peer=convert_peer.peer(peer))

    @answered
    async def ResetPeer(self, request: peer_pb2.ResetPeerRequest) -> peer_pb2.ResetPeerResponse:
        wanted = self._find(fields.required("peer", request.peer))
        peer = await self._changes.run(self._backend.reset_peer(wanted.name))
        return peer_pb2.ResetPeerResponse(peer=convert_peer.peer(peer))

    def _find(self, wanted: str) -> PeerView:
        peers = self._backend.peers()
        try:
            address = ip_address(wanted)
        except ValueError:
            address = None
        for peer in peers:
            if peer.name == wanted or peer.address == address:
                return peer
        known = ", ".join(peer.name for peer in peers[:10]) + (", ..." if len(peers) > 10 else "")
        raise RefusedError(
            RefusalKind.NOT_FOUND,
            "unknown-peer",
            f"no peer {wanted!r}: the peers of this node are {known or 'none'}",
            subject=wanted,
        )


class RouteService(route_pb2_grpc.RouteServiceServicer):
    """The RIB, and what the kernel holds of it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @streamed
    async def ListRoutes(
        self, request: route_pb2.ListRoutesRequest
    ) -> AsyncIterator[route_pb2.ListRoutesResponse]:
        query = fields.route_query("view", request.view)
        peer = fields.optional("peer", request.peer)
        if query in (RouteQuery.RECEIVED, RouteQuery.ADVERTISED) and not peer:
            raise InvalidFieldError("peer", f"is required for {query.value} routes: a peer's name or address")
        if query in (RouteQuery.ADVERTISED, RouteQuery.INSTALLED) and request.reason:
            raise InvalidFieldError("reason", f"is of a received path: {query.value} routes have none")
        pages = self._backend.routes(
            query,
            peer=peer,
            family=fields.family("family", request.family),
            within=fields.prefix("prefix", request.prefix),
            reason=fields.reason_code("reason", request.reason),
        )
        for page in pages:
            answer = route_pb2.ListRoutesResponse()
            for first in range(0, len(page), ROUTES_A_SLICE):
                answer.routes.extend([convert.route(route) for route in page[first : first + ROUTES_A_SLICE]])
                await asyncio.sleep(0)
            yield answer

    @answered
    async def Explain(self, request: route_pb2.ExplainRequest) -> route_pb2.ExplainResponse:
        target = fields.prefix("target", request.target)
        if target is None:
            raise InvalidFieldError("target", "is required: a prefix or an address, such as 10.244.0.5")
        view = await self._backend.explain(target)
        return route_pb2.ExplainResponse(explanation=convert_explain.explanation(view))


class IpamService(ipam_pb2_grpc.IpamServiceServicer):
    """Pools, blocks and addresses."""

    def __init__(self, backend: Backend, changes: Changes) -> None:
        self._backend = backend
        self._changes = changes

    @answered
    async def ListPools(self, _: ipam_pb2.ListPoolsRequest) -> ipam_pb2.ListPoolsResponse:
        return ipam_pb2.ListPoolsResponse(pools=[convert.pool(pool) for pool in self._backend.pools()])

    @answered
    async def ListBlocks(
        self, request: ipam_pb2.ListBlocksRequest
    ) -> ipam_pb2.ListBlocksResponse:
        blocks = self._backend.blocks(include_reserved=request.include_reserved)
        return ipam_pb2.ListBlocksResponse(blocks=[convert.block(block) for block in blocks])

    @answered
    async def ListAddresses(
        self, request: ipam_pb2.ListAddressesRequest
    ) -> ipam_pb2.ListAddressesResponse:
        found = self._backend.addresses(
            address=fields.address("address", request.address), handle=fields.optional("handle", request.handle)
        )
        return ipam_pb2.ListAddressesResponse(addresses=[convert.address(address) for address in found])

    @answered
    async def AssignAddress(
        self, request: ipam_pb2.AssignAddressRequest
    ) -> ipam_pb2.AssignAddressResponse:
        address = fields.address("address", request.address)
        family = fields.family("family", request.family)
        if address is not None:
            own = Family.IPV4 if address.version == 4 else Family.IPV6
            if family not in (None, own):
                raise InvalidFieldError("family", f"{family} is not the family of {address}")
            family = own
        assigned = await self._changes.run(
            self._backend.assign_address(
                fields.required("handle", request.handle),
                family=family or Family.IPV4,
                pool=fields.optional("pool", request.pool),
                address=address,
            )
        )
        return ipam_pb2.AssignAddressResponse(address=convert.address(assigned))

    @answered
    async def ReleaseAddress(
        self, request: ipam_pb2.ReleaseAddressRequest
    ) -> ipam_pb2.ReleaseAddressResponse:
        sequence = request.sequence if request.HasField("sequence") else None
        released = await self._changes.run(
            self._backend.release_address(fields.required("handle", request.handle), sequence=sequence)
        )
        return ipam_pb2.ReleaseAddressResponse(released=[convert.address(address) for address in released])

    @answered
    async def ReleaseBlock(
        self, request: ipam_pb2.ReleaseBlockRequest
    ) -> ipam_pb2.ReleaseBlockResponse:
        cidr = fields.prefix("cidr", request.cidr)
        if cidr is None:
            raise InvalidFieldError("cidr", "is required: a block such as 10.244.0.0/26")
        return ipam_pb2.ReleaseBlockResponse(
            block=convert.block(await self._changes.run(self._backend.release_block(cidr)))
        )


class WorkloadService(workload_pb2_grpc.WorkloadServiceServicer):
    """Namespaces with an address."""

    def __init__(self, backend: Backend, changes: Changes) -> None:
        self._backend = backend
        self._changes = changes

    @answered
    async def ListWorkloads(
        self, _: workload_pb2.ListWorkloadsRequest
    ) -> workload_pb2.ListWorkloadsResponse:
        workloads = self._backend.workloads()
        return workload_pb2.ListWorkloadsResponse(workloads=[convert.workload(each) for each in workloads])

    @answered
    async def Attach(self, request: workload_pb2.AttachRequest) -> workload_pb2.AttachResponse:
        workload, created = await self._changes.run(
            self._backend.attach(
                fields.required("netns", request.netns, length=fields.PATH_LENGTH),
                fields.required("name", request.name),
                interface=fields.optional("interface", request.interface) or "eth0",
                wishes=AddressWishes(
                    families=tuple(fields.families("families", request.families)),
                    addresses=tuple(fields.addresses("addresses", request.addresses)),
                    pools=tuple(fields.required("pools", name) for name in request.pools),
                ),
            )
        )
        return workload_pb2.AttachResponse(workload=convert.workload(workload), created=created)

    @answered
    async def Detach(self, request: workload_pb2.DetachRequest) -> workload_pb2.DetachResponse:
        detached = await self._changes.run(self._backend.detach(fields.required("name", request.name)))
        return workload_pb2.DetachResponse(detached=detached)
