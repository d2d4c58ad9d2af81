"""The unix sockets: their rights, their lock, what is left behind and by whom it is replaced."""
# ruff: noqa: ASYNC220, ASYNC240 - a test may wait for a file, and means os.replace and os.rename
from __future__ import annotations

import asyncio
import grp
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from memory_agent import MemoryBackend

from calicopy.api.server import ApiServer
from calicopy.api.sockets import SocketsHeldError
from calicopy.config.model import AgentSection
from calicopy.v1 import node_pb2, node_pb2_grpc

SERVE = """
import asyncio, sys
from memory_agent import MemoryBackend
from calicopy.api.server import ApiServer
from calicopy.config.model import AgentSection
async def main():
    server = ApiServer(MemoryBackend(), AgentSection(run_dir=sys.argv[1]))
    await server.start()
    print("serving", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
SUPPORT = Path(__file__).parents[2] / "support"


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


async def answers(path: str) -> bool:
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        answer = await node_pb2_grpc.NodeServiceStub(channel).GetStatus(node_pb2.GetStatusRequest(), timeout=5)
    return answer.status.node == "node1"


async def test_the_sockets_are_for_owner_and_group_alone(server, settings):
    assert mode(settings.run_dir) == 0o750
    for path in (settings.socket_path, settings.read_only_socket_path):
        assert stat.S_ISSOCK(os.lstat(path).st_mode)
        assert mode(path) == 0o660
        assert await answers(path)


async def test_the_sockets_get_the_group_of_the_cluster_file(tmp_path):
    group = next(each for each in grp.getgrall() if each.gr_gid != os.getegid())
    settings = AgentSection(run_dir=str(tmp_path / "run"), socket_group=group.gr_name)
    server = ApiServer(MemoryBackend(), settings)
    await server.start()
    try:
        for path in (settings.run_dir, settings.socket_path, settings.read_only_socket_path):
            assert os.lstat(path).st_gid == group.gr_gid
    finally:
        await server.stop()


async def test_a_socket_is_never_open_to_others_not_even_while_it_is_made(tmp_path, monkeypatch):
    seen = []
    real = os.rename

    def look(source, target):
        seen.append((Path(source).name.startswith("."), mode(source)))
        real(source, target)

    monkeypatch.setattr(os, "rename", look)
    before = os.umask(0)
    try:
        server = ApiServer(MemoryBackend(), AgentSection(run_dir=str(tmp_path / "run")))
        await server.start()
        await server.stop()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert seen == [(True, 0o660)] * 2


async def test_a_run_directory_that_is_there_already_is_closed_to_others(tmp_path):
    (tmp_path / "run").mkdir(mode=0o755)
    server = ApiServer(MemoryBackend(), AgentSection(run_dir=str(tmp_path / "run")))
    await server.start()
    await server.stop()
    assert mode(tmp_path / "run") == 0o750


async def test_a_directory_that_is_not_the_run_directory_keeps_its_rights(tmp_path):
    (tmp_path / "shared").mkdir(mode=0o755)
    settings = AgentSection(run_dir=str(tmp_path / "run"), socket=str(tmp_path / "shared" / "agent.sock"))
    server = ApiServer(MemoryBackend(), settings)
    await server.start()
    try:
        assert mode(tmp_path / "shared") == 0o755
        assert mode(tmp_path / "shared" / "agent-ro.sock") == 0o660
    finally:
        await server.stop()


async def test_a_second_agent_is_refused_and_told_who_serves(server, settings):
    second = ApiServer(MemoryBackend(), settings)
    with pytest.raises(SocketsHeldError, match=f"process {os.getpid()} serves this socket already"):
        await second.start()
    assert await answers(settings.socket_path)


async def test_stopping_removes_the_sockets_and_lets_the_next_one_serve(server, settings):
    await server.stop()
    assert not Path(settings.socket_path).exists()
    assert not Path(settings.read_only_socket_path).exists()
    third = ApiServer(MemoryBackend(), settings)
    await third.start()
    try:
        assert await answers(settings.socket_path)
    finally:
        await third.stop()


async def test_an_agent_that_stops_leaves_the_socket_of_the_next_one_alone(server, settings):
    Path(settings.socket_path).unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(settings.socket_path)
        await server.stop()
        assert Path(settings.socket_path).exists()


async def test_the_sockets_of_a_killed_agent_are_replaced(settings):
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    command = [sys.executable, "-c", SERVE, settings.run_dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as first:
        try:
            assert await asyncio.to_thread(first.stdout.readline) == b"serving\n"
            with pytest.raises(SocketsHeldError, match=f"process {first.pid} "):
                await ApiServer(MemoryBackend(), settings).start()
        finally:
            first.send_signal(signal.SIGKILL)
    assert Path(settings.socket_path).exists()
    server = ApiServer(MemoryBackend(), settings)
    await server.start()
    try:
        assert await answers(settings.socket_path)
        left = {path.name for path in Path(settings.run_dir).iterdir()}
        assert left == {"calicopy.sock", "calicopy-ro.sock", "calicopy.sock.lock"}
    finally:
        await server.stop()


async def test_a_file_that_is_no_socket_is_not_replaced(settings):
    Path(settings.run_dir).mkdir()
    Path(settings.read_only_socket_path).write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not a socket.*calicopy-ro\.sock"):
        await ApiServer(MemoryBackend(), settings).start()
    assert Path(settings.read_only_socket_path).read_text() == "mine"
    assert not Path(settings.socket_path).exists()


async def test_a_path_too_long_for_a_socket_is_named(tmp_path):
    settings = AgentSection(run_dir=str(tmp_path / "run"), socket=str(tmp_path / ("x" * 100) / "a.sock"))
    with pytest.raises(OSError, match="path of a socket may have"):
        await ApiServer(MemoryBackend(), settings).start()


async def test_another_user_may_not_open_the_sockets(server, settings):
    probe = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    )
    for path in (settings.socket_path, settings.read_only_socket_path):
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", probe, path], capture_output=True, text=True, check=False
        )
        assert "PermissionError" in done.stderr
