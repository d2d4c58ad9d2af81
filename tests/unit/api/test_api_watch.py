"""The watch stream: snapshot, sync mark, changes, heartbeats, topics, slow and cancelled watchers."""
from __future__ import annotations

import asyncio
import socket
import time

import grpc
import pytest
from memory_agent import block_view, peer_view, route_view

from calicopy.api import watch as watching
from calicopy.core.views import ChangeView, LogView
from calicopy.v1 import watch_pb2, watch_pb2_grpc


def watch(channel, *topics, heartbeat_s=0):
    request = watch_pb2.WatchRequest(topics=topics, heartbeat_s=heartbeat_s)
    return watch_pb2_grpc.WatchServiceStub(channel).Watch(request)


async def until_sync(call):
    """What comes before the sync mark, and the mark."""
    before = []
    while (message := await asyncio.wait_for(call.read(), 10)).WhichOneof("body") != "sync":
        before.append(message)
    return before, message


async def read_all(call):
    """To the end of the stream."""
    while await asyncio.wait_for(call.read(), 10) is not grpc.aio.EOF:
        pass


async def eventually(check, *, within=10.0):
    async with asyncio.timeout(within):
        while not check():  # noqa: ASYNC110 - what is waited for is another process's or library's doing
            await asyncio.sleep(0.01)


async def test_the_snapshot_comes_first_then_the_sync_mark_then_changes(channel, backend):
    call = watch(channel)
    snapshot, sync = await until_sync(call)
    kinds = [message.change.WhichOneof("object") for message in snapshot]
    assert kinds == ["status", "peer", "peer", "block", "block", "route", "route"]
    assert {message.revision for message in (*snapshot, sync)} == {7}
    backend.publish(ChangeView(peer_view("node4", "192.0.2.4")))
    changed = await asyncio.wait_for(call.read(), 10)
    assert (changed.revision, changed.change.peer.name) == (8, "node4")
    assert changed.change.kind == watch_pb2.CHANGE_KIND_SET


async def test_nothing_falls_between_snapshot_and_changes(channel, backend):
    call = watch(channel, watch_pb2.TOPIC_BLOCKS)
    first = await asyncio.wait_for(call.read(), 10)  # the snapshot has begun
    backend.publish(ChangeView(block_view("10.244.9.0/26")))
    rest, _ = await until_sync(call)
    after = await asyncio.wait_for(call.read(), 10)
    assert first.change.block.cidr == "10.244.0.0/26"
    assert len(rest) == 1
    assert after.change.block.cidr == "10.244.9.0/26"


async def test_of_what_is_deleted_only_the_key_comes(channel, backend):
    call = watch(channel, watch_pb2.TOPIC_ROUTES, watch_pb2.TOPIC_PEERS)
    await until_sync(call)
    backend.publish(
        ChangeView(route_view("10.244.0.64/26"), deleted=True),
        ChangeView(peer_view("node2", "192.0.2.2"), deleted=True),
    )
    route, peer = [(await asyncio.wait_for(call.read(), 10)).change for _ in range(2)]
    assert route.kind == peer.kind == watch_pb2.CHANGE_KIND_DELETED
    assert (route.route.prefix, len(route.route.paths)) == ("10.244.0.64/26", 0)
    assert (peer.peer.name, peer.peer.asn) == ("node2", 0)


async def test_only_the_topics_asked_for_come(channel, backend):
    call = watch(channel, watch_pb2.TOPIC_EVENTS)
    assert (await until_sync(call))[0] == []
    backend.publish(ChangeView(route_view("10.244.0.64/26")))
    backend.publish(ChangeView(LogView("peer", "node3", "session-down", "hold timer expired", "warning")))
    message = await asyncio.wait_for(call.read(), 10)
    assert (message.event.object, message.event.level, message.revision) == ("node3", "warning", 9)


async def test_a_quiet_stream_has_heartbeats(channel):
    call = watch(channel, watch_pb2.TOPIC_EVENTS, heartbeat_s=1)
    await until_sync(call)
    message = await asyncio.wait_for(call.read(), 10)
    assert message.WhichOneof("body") == "heartbeat"


@pytest.mark.parametrize("asked", [{"topics": [99]}, {"heartbeat_s": 1_000_000}])
async def test_an_unknown_topic_or_heartbeat_is_refused(channel, asked):
    call = watch_pb2_grpc.WatchServiceStub(channel).Watch(watch_pb2.WatchRequest(**asked))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_read_only_socket_may_watch(read_only):
    assert len((await until_sync(watch(read_only)))[0]) == 7


async def test_a_cancelled_watch_leaves_nothing_behind(channel, backend, server):
    calls = [watch(channel) for _ in range(5)]
    for call in calls:
        await until_sync(call)
    assert (server.hub.watching, len(backend.sinks)) == (5, 1)
    for call in calls:
        call.cancel()
    await eventually(lambda: server.hub.watching == 0)
    assert backend.sinks == []


async def test_a_watcher_whose_connection_breaks_leaves_nothing_behind(server, backend, settings):
    async with grpc.aio.insecure_channel(f"unix:{settings.socket_path}") as channel:
        await until_sync(watch(channel))
    await eventually(lambda: server.hub.watching == 0)
    assert backend.sinks == []


async def test_a_slow_watcher_is_dropped_and_the_others_get_everything(channel, backend, server, settings):
    server.hub._queue_length = 500
    options = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(f"unix:{settings.socket_path}", options=options) as other:
        slow, good = watch(other, watch_pb2.TOPIC_ROUTES), watch(channel, watch_pb2.TOPIC_ROUTES)
        await until_sync(slow)
        await until_sync(good)
        route = route_view("10.244.0.64/26")
        sent = 0
        while not server.hub.dropped:
            backend.publish(*[ChangeView(route)] * 50)
            sent += 50
            for _ in range(50):
                await asyncio.wait_for(good.read(), 10)
            assert sent < 1_000_000
        assert server.hub.watching == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_all(slow)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        backend.publish(ChangeView(block_view("10.244.0.0/26")), ChangeView(route))
        assert (await asyncio.wait_for(good.read(), 10)).change.route.prefix == "10.244.0.64/26"


async def test_a_dropped_watcher_that_reads_nothing_is_cut_off(backend, server, settings, monkeypatch):
    monkeypatch.setattr(watching, "CUT_AFTER_S", 0.2)
    server.hub._queue_length = 100
    cut = asyncio.Event()
    monkeypatch.setattr(watching.Watcher, "cut", lambda self, real=watching.Watcher.cut: (real(self), cut.set()))
    options = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
    async with grpc.aio.insecure_channel(f"unix:{settings.socket_path}", options=options) as channel:
        await until_sync(watch(channel, watch_pb2.TOPIC_ROUTES))
        while not server.hub.dropped:
            backend.publish(*[ChangeView(route_view("10.244.0.64/26"))] * 10)
            await asyncio.sleep(0)
        await asyncio.wait_for(cut.wait(), 10)
    assert backend.sinks == []


async def test_a_hundred_slow_watchers_do_not_hold_up_the_agent(channel, backend, server):
    calls = [watch(channel, watch_pb2.TOPIC_ROUTES) for _ in range(100)]
    for call in calls:
        await until_sync(call)
    route = route_view("10.244.0.64/26")
    steps = []
    for _ in range(20):
        before = time.thread_time()  # of this thread alone, whatever else the machine does
        backend.publish(*[ChangeView(route)] * 100)
        steps.append(time.thread_time() - before)
        await asyncio.sleep(0)
    assert sorted(steps)[len(steps) // 2] < 0.02
    for call in calls:
        call.cancel()
    await eventually(lambda: server.hub.watching == 0)


async def test_watchers_are_told_when_the_agent_stops(server, channel, backend):
    call = watch(channel)
    await until_sync(call)
    before = asyncio.get_running_loop().time()
    await server.stop()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call.read(), 10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "stops" in caught.value.details()
    assert asyncio.get_running_loop().time() - before < 3
    assert backend.sinks == []


async def test_a_connection_that_says_nothing_sensible_harms_nobody(server, settings, channel):
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4096, b""):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(settings.socket_path)
            client.sendall(nonsense)
    assert len((await until_sync(watch(channel)))[0]) == 7
