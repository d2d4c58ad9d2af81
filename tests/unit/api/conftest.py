"""An API server on real sockets before a backend in memory."""
from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from memory_agent import MemoryBackend

from calicopy.api.server import ApiServer
from calicopy.config.model import AgentSection


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def settings(tmp_path: Path) -> AgentSection:
    return AgentSection(run_dir=str(tmp_path / "run"), state_dir=str(tmp_path / "state"))


@pytest_asyncio.fixture
async def server(backend: MemoryBackend, settings: AgentSection) -> AsyncIterator[ApiServer]:
    server = ApiServer(backend, settings)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def channel(server: ApiServer, settings: AgentSection) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{settings.socket_path}") as channel:
        yield channel


@pytest_asyncio.fixture
async def read_only(server: ApiServer, settings: AgentSection) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{settings.read_only_socket_path}") as channel:
        yield channel
