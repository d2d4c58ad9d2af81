"""The TCP listener: only with mutual TLS, and with the files as they are now."""
# ruff: noqa: ASYNC240, PTH105 - a test may wait for a file, and means os.replace and os.rename
from __future__ import annotations

import os
import socket
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from certificates import Authority, free_port
from memory_agent import MemoryBackend

from calicopy.api.server import ApiServer
from calicopy.api.tls import TlsFilesError
from calicopy.config.model import AgentSection, ApiSection
from calicopy.v1 import node_pb2, node_pb2_grpc


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca").make()


@pytest.fixture
def tls_settings(tmp_path: Path, authority: Authority) -> AgentSection:
    certificate, key = authority.sign("agent")
    api = ApiSection(
        listen=f"127.0.0.1:{free_port()}",
        cert_file=str(certificate),
        key_file=str(key),
        client_ca_file=str(authority.certificate),
    )
    return AgentSection(run_dir=str(tmp_path / "run"), api=api)


@pytest_asyncio.fixture
async def tls_server(tls_settings):
    server = ApiServer(MemoryBackend(), tls_settings)
    await server.start()
    yield server
    await server.stop()


async def ask(settings: AgentSection, credentials: grpc.ChannelCredentials | None) -> str:
    address = str(settings.api.listen)
    options = (("grpc.use_local_subchannel_pool", 1),)
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    async with channel:
        answer = await node_pb2_grpc.NodeServiceStub(channel).GetStatus(node_pb2.GetStatusRequest(), timeout=10)
    return answer.status.node


def credentials(authority: Authority, pair: tuple[Path, Path] | None) -> grpc.ChannelCredentials:
    certificate, key = (None, None) if pair is None else (path.read_bytes() for path in pair)
    return grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, certificate)


async def test_a_client_with_a_certificate_of_the_ca_is_served(tls_server, tls_settings, authority):
    assert await ask(tls_settings, credentials(authority, authority.sign("client"))) == "node1"


async def test_nobody_else_is_served(tls_server, tls_settings, authority, tmp_path):
    stranger = Authority(tmp_path, "stranger").make().sign("client-of-stranger")
    for given in (None, credentials(authority, None), credentials(authority, stranger)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(tls_settings, given)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_new_files_are_used_without_a_restart(tls_server, tls_settings, authority, tmp_path):
    old_client = authority.sign("client")
    assert await ask(tls_settings, credentials(authority, old_client)) == "node1"
    new = Authority(tmp_path, "new-ca").make()
    certificate, key = new.sign("agent", "new-agent")
    os.replace(key, tls_settings.api.key_file)
    os.replace(certificate, tls_settings.api.cert_file)
    Path(tls_settings.api.client_ca_file).write_bytes(new.certificate.read_bytes())
    assert await ask(tls_settings, credentials(new, new.sign("new-client"))) == "node1"
    with pytest.raises(grpc.aio.AioRpcError):
        await ask(tls_settings, credentials(new, old_client))


async def test_files_that_do_not_fit_leave_the_last_good_ones_in_use(
    tls_server, tls_settings, authority, tmp_path, caplog
):
    client = credentials(authority, authority.sign("client"))
    _, other_key = authority.sign("other")
    os.replace(other_key, tls_settings.api.key_file)
    assert await ask(tls_settings, client) == "node1"
    assert await ask(tls_settings, client) == "node1"
    assert [record.levelname for record in caplog.records if "TLS files are not used" in record.message] == ["ERROR"]
    Path(tls_settings.api.cert_file).unlink()
    assert await ask(tls_settings, client) == "node1"


@pytest.mark.parametrize("which", ["cert_file", "key_file", "client_ca_file"])
async def test_files_that_cannot_be_used_at_the_start_are_named(tls_settings, which):
    path = Path(getattr(tls_settings.api, which))
    path.write_text("nonsense")
    with pytest.raises(TlsFilesError, match=str(path)):
        await ApiServer(MemoryBackend(), tls_settings).start()
    path.unlink()
    with pytest.raises(TlsFilesError, match=rf"{path}: No such file"):
        await ApiServer(MemoryBackend(), tls_settings).start()
    assert not Path(tls_settings.socket_path).exists()


async def test_a_port_that_is_taken_is_named(tls_settings):
    with socket.socket() as other:
        other.bind(("127.0.0.1", tls_settings.api.listen.port))
        other.listen()
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{tls_settings.api.listen.port}"):
            await ApiServer(MemoryBackend(), tls_settings).start()
