"""Every call over real sockets: answers, refusals and their details, and what the read-only socket lets through."""
from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import islice

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from calicopy.api.access import READING
from calicopy.api.server import ApiServer
from calicopy.core import views
from calicopy.net import Prefix
from calicopy.v1 import (
    ipam_pb2,
    ipam_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    peer_pb2,
    peer_pb2_grpc,
    route_pb2,
    route_pb2_grpc,
    types_pb2,
    workload_pb2,
    workload_pb2_grpc,
)

POOL = Prefix.parse("10.244.0.0/16")


def details_of(error: grpc.aio.AioRpcError, message):
    status = rpc_status.from_call(error)
    assert status is not None
    for detail in status.details:
        if detail.Unpack(message):
            return message
    raise AssertionError(f"{status} has no {message.DESCRIPTOR.name}")


async def test_the_status_comes_whole(channel):
    answer = await node_pb2_grpc.NodeServiceStub(channel).GetStatus(node_pb2.GetStatusRequest())
    assert answer.status.node == "node1"
    assert answer.status.asn == 64512
    assert answer.status.started_at.ToMilliseconds() == 1_790_000_000_250
    assert [tunnel.encapsulation for tunnel in answer.status.tunnels] == ["ipip", "vxlan"]
    assert answer.status.tunnels[0].stranger_packets == 3
    assert [(way.node, way.pod_mtu) for way in answer.status.next_hops] == [("node2", 1480), ("node3", 0)]


async def test_a_peer_is_found_by_name_and_by_any_way_to_write_its_address(channel):
    stub = peer_pb2_grpc.PeerServiceStub(channel)
    assert [peer.name for peer in (await stub.ListPeers(peer_pb2.ListPeersRequest())).peers] == ["node2", "node3"]
    for wanted in ("node2", "192.0.2.2"):
        answer = await stub.GetPeer(peer_pb2.GetPeerRequest(peer=wanted))
        assert answer.peer.state == peer_pb2.SESSION_STATE_ESTABLISHED
        assert answer.peer.families[0].rejected_by_reason == {"outside-pools": 1}


async def test_an_unknown_peer_is_named_with_a_code_for_programs(channel):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await peer_pb2_grpc.PeerServiceStub(channel).GetPeer(peer_pb2.GetPeerRequest(peer="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no peer 'nobody': the peers of this node are node2, node3"
    info = details_of(caught.value, error_details_pb2.ErrorInfo())
    assert (info.reason, info.domain, dict(info.metadata)) == ("unknown-peer", "calicopy", {"subject": "nobody"})


async def test_routes_come_in_pages(channel, backend):
    backend.route_list = [replace(backend.route_list[0], prefix=prefix) for prefix in islice(POOL.subnets(28), 2500)]
    stub = route_pb2_grpc.RouteServiceStub(channel)
    pages = [len(page.routes) async for page in stub.ListRoutes(route_pb2.ListRoutesRequest())]
    assert pages == [1000, 1000, 500]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (route_pb2.ListRoutesRequest(view=route_pb2.ROUTE_VIEW_RECEIVED), "peer"),
        (route_pb2.ListRoutesRequest(view=route_pb2.ROUTE_VIEW_ADVERTISED), "peer"),
        (route_pb2.ListRoutesRequest(prefix="10.244.0.1/26"), "prefix"),
        (route_pb2.ListRoutesRequest(prefix="x" * 10_000), "prefix"),
        (route_pb2.ListRoutesRequest(view=99), "view"),
        (route_pb2.ListRoutesRequest(family=99), "family"),
        (route_pb2.ListRoutesRequest(peer="a\x1b[31m"), "peer"),
    ],
)
async def test_a_wrong_field_of_a_route_query_is_named(channel, request_, field):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in route_pb2_grpc.RouteServiceStub(channel).ListRoutes(request_):
            pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = details_of(caught.value, error_details_pb2.BadRequest()).field_violations
    assert [violation.field for violation in violations] == [field]


async def test_an_address_is_assigned_once_to_a_handle_and_released_by_it(channel):
    stub = ipam_pb2_grpc.IpamServiceStub(channel)
    first = await stub.AssignAddress(ipam_pb2.AssignAddressRequest(handle="h1"))
    again = await stub.AssignAddress(ipam_pb2.AssignAddressRequest(handle="h1"))
    assert first == again
    assert first.address.address == "10.244.0.1"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ReleaseAddress(ipam_pb2.ReleaseAddressRequest(handle="h1", sequence=99))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    released = await stub.ReleaseAddress(ipam_pb2.ReleaseAddressRequest(handle="h1"))
    assert [address.handle for address in released.released] == ["h1"]
    assert not (await stub.ReleaseAddress(ipam_pb2.ReleaseAddressRequest(handle="h1"))).released


async def test_sequence_zero_is_a_sequence_and_not_a_missing_one(channel):
    stub = ipam_pb2_grpc.IpamServiceStub(channel)
    await stub.AssignAddress(ipam_pb2.AssignAddressRequest(handle="h1"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ReleaseAddress(ipam_pb2.ReleaseAddressRequest(handle="h1", sequence=0))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_an_empty_pool_is_resource_exhausted(channel):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ipam_pb2_grpc.IpamServiceStub(channel).AssignAddress(
            ipam_pb2.AssignAddressRequest(handle="h1", pool="other")
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(caught.value, error_details_pb2.ErrorInfo()).reason == "pool-exhausted"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ipam_pb2.AssignAddressRequest(), "handle"),
        (ipam_pb2.AssignAddressRequest(handle="h" * 254), "handle"),
        (ipam_pb2.AssignAddressRequest(handle="h", address="10.244.0"), "address"),
        (ipam_pb2.AssignAddressRequest(handle="h", address="fe80::1%eth0"), "address"),
        (ipam_pb2.AssignAddressRequest(handle="h", address="10.0.0.1", family=types_pb2.FAMILY_IPV6), "family"),
    ],
)
async def test_a_wrong_field_of_an_assignment_is_named(channel, request_, field):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ipam_pb2_grpc.IpamServiceStub(channel).AssignAddress(request_)
    violations = details_of(caught.value, error_details_pb2.BadRequest()).field_violations
    assert [violation.field for violation in violations] == [field]


async def test_pools_blocks_and_addresses_are_listed(channel):
    stub = ipam_pb2_grpc.IpamServiceStub(channel)
    assert [pool.cidr for pool in (await stub.ListPools(ipam_pb2.ListPoolsRequest())).pools] == ["10.244.0.0/16"]
    own = await stub.ListBlocks(ipam_pb2.ListBlocksRequest())
    both = await stub.ListBlocks(ipam_pb2.ListBlocksRequest(include_reserved=True))
    assert (len(own.blocks), len(both.blocks)) == (1, 2)
    free = await stub.ListAddresses(ipam_pb2.ListAddressesRequest(address="10.244.0.9"))
    assert [address.state for address in free.addresses] == ["free"]


async def test_a_reserved_block_is_released_and_another_is_not_found(channel):
    stub = ipam_pb2_grpc.IpamServiceStub(channel)
    answer = await stub.ReleaseBlock(ipam_pb2.ReleaseBlockRequest(cidr="10.244.0.64/26"))
    assert answer.block.node == "node2"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ReleaseBlock(ipam_pb2.ReleaseBlockRequest(cidr="10.244.0.64/26"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_attach_and_detach_are_idempotent(channel):
    stub = workload_pb2_grpc.WorkloadServiceStub(channel)
    request = workload_pb2.AttachRequest(netns="pod1", name="pod1")
    assert [(await stub.Attach(request)).created for _ in range(2)] == [True, False]
    listed = await stub.ListWorkloads(workload_pb2.ListWorkloadsRequest())
    assert [(workload.name, workload.interface) for workload in listed.workloads] == [("pod1", "eth0")]
    assert [(await stub.Detach(workload_pb2.DetachRequest(name="pod1"))).detached for _ in range(2)] == [True, False]


async def test_a_change_goes_on_when_its_caller_gives_up(channel, backend):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await go_on.wait()

    backend.before_change = wait
    done = backend.changed
    stub = workload_pb2_grpc.WorkloadServiceStub(channel)
    call = asyncio.ensure_future(stub.Attach(workload_pb2.AttachRequest(netns="pod1", name="pod1")))
    await asyncio.wait_for(begun.wait(), 5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await stub.ListWorkloads(workload_pb2.ListWorkloadsRequest())  # what came before it on the connection is done
    go_on.set()
    await asyncio.wait_for(done.wait(), 5)
    assert [workload.name for workload in backend.workload_list] == ["pod1"]


async def test_a_deadline_of_zero_ends_the_call_and_nothing_else(channel, backend):
    answer = asyncio.Event()  # never set: a quick answer could win against a deadline of now

    async def unanswered(*_args, **_options):
        await answer.wait()

    backend.assign_address = unanswered
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ipam_pb2_grpc.IpamServiceStub(channel).AssignAddress(ipam_pb2.AssignAddressRequest(handle="h"), timeout=0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    answer.set()
    stub = node_pb2_grpc.NodeServiceStub(channel)
    assert (await stub.GetStatus(node_pb2.GetStatusRequest())).status.node == "node1"


async def test_an_oversized_request_is_refused_and_the_connection_goes_on(channel):
    stub = ipam_pb2_grpc.IpamServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.AssignAddress(ipam_pb2.AssignAddressRequest(handle="h" * 5_000_000))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len((await stub.ListPools(ipam_pb2.ListPoolsRequest())).pools) == 1


async def test_a_fault_of_the_agent_is_logged_and_not_shown(channel, backend, caplog):
    def broken():
        raise ZeroDivisionError("a secret")

    backend.pools = broken
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ipam_pb2_grpc.IpamServiceStub(channel).ListPools(ipam_pb2.ListPoolsRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()
    assert "a secret" in caplog.text


def all_calls():
    for module in (node_pb2, peer_pb2, route_pb2, ipam_pb2, workload_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}"


async def test_the_read_only_socket_lets_reading_calls_through_and_nothing_else(read_only):
    changing = {
        "AssignAddress", "ReleaseAddress", "ReleaseBlock", "Attach", "Detach", "Drain", "Undrain", "RefreshPeer",
        "ResetPeer",
    }  # fmt: skip
    for method in all_calls():
        call = read_only.unary_unary(method)(b"")
        try:
            await call
            code = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            code = error.code()
        refused = code is grpc.StatusCode.PERMISSION_DENIED
        assert refused == (method.rpartition("/")[2] in changing) == (method not in READING), method


async def test_an_unknown_call_is_refused_on_the_read_only_socket(read_only):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_only.unary_unary("/calicopy.v2.NewService/Destroy")(b"")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert rpc_status.from_call(caught.value).code == code_pb2.PERMISSION_DENIED


async def test_health_and_reflection_answer_on_both_sockets(channel, read_only):
    for socket in (channel, read_only):
        health = health_pb2_grpc.HealthStub(socket)
        for name in ("", "calicopy.v1.WatchService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        call = reflection_pb2_grpc.ServerReflectionStub(socket).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        names = [service.name async for answer in call for service in answer.list_services_response.service]
        assert "calicopy.v1.IpamService" in names


async def test_health_follows_readiness_and_watchers_are_told(server, channel):
    answer = health_pb2.HealthCheckResponse
    for name in ("", "calicopy.v1.NodeService"):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))
        assert (await watch.read()).status == answer.SERVING
        await server.set_ready(False)
        assert (await watch.read()).status == answer.NOT_SERVING
        await server.set_ready(True)
        assert (await watch.read()).status == answer.SERVING
        watch.cancel()


async def test_health_begins_as_not_serving_on_a_node_that_is_not_ready(backend, settings):
    reason = views.ProblemView("fib", "", views.ReasonView("not-in-sync", "starting"))
    backend.readiness = views.ReadinessView((reason,))
    server = ApiServer(backend, settings)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{settings.socket_path}") as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=""))
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    finally:
        await server.stop()
