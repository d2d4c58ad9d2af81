"""/readyz over real sockets: what it says, and to whom it says nothing."""
from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from calicopy.agent import readyz
from calicopy.agent.readyz import MOST_CONNECTIONS, MOST_OCTETS, ReadyzServer
from calicopy.config.fields import Listen, parse_readyz_listen
from calicopy.config.model import AgentSection
from calicopy.core.views import ProblemView, ReadinessView, ReasonView

SILENT = ProblemView("tunnel", "n2", ReasonView("tunnel-silent", "10.244.0.1 does not answer"))
DOWN = ProblemView("peer", "n3", ReasonView("down", "hold timer\nexpired\x1b[31m"))


class Served:
    """A server, and what it will say."""

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        self.view = ReadinessView()
        self.asked = 0
        settings = AgentSection(run_dir=str(directory), socket_group="no-such-group")
        listen = None if port is None else Listen(ip_address("127.0.0.1"), port)
        self.server = ReadyzServer(self.judge, settings, listen=listen)
        self.path = directory / "readyz.sock"

    def judge(self) -> ReadinessView:
        self.asked += 1
        return self.view

    async def say(self, octets: bytes) -> bytes:
        """All that comes back until the end."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(octets)
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()

    async def get(self, target: str = "/readyz", *fields: str, method: str = "GET") -> tuple[int, str, str]:
        """(status, head, body)."""
        lines = [f"{method} {target} HTTP/1.1", "Host: x", *fields, "", ""]
        head, _, body = (await self.say("\r\n".join(lines).encode())).decode().partition("\r\n\r\n")
        return int(head.split()[1]), head, body


async def over_tcp(port: int | None) -> str:
    """The body of the answer on the TCP port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
    said = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return said.partition(b"\r\n\r\n")[2].decode()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    made = Served(tmp_path)
    await made.server.start()
    yield made
    await made.server.stop()
    assert not made.path.exists()


async def test_ready_is_200_and_not_ready_is_503_with_a_reason_a_line(served: Served) -> None:
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o660
    status, head, body = await served.get()
    assert (status, body) == (200, "ready\n")
    assert "Content-Length: 6\r\n" in head
    served.view = ReadinessView((SILENT,), (DOWN,))
    status, _, body = await served.get()
    assert status == 503
    assert body.splitlines() == [
        "tunnel n2: 10.244.0.1 does not answer (tunnel-silent)",
        "degraded: peer n3: hold timer\\x0aexpired\\x1b[31m (down)",
    ]


async def test_what_is_degraded_is_said_and_counts_only_for_who_is_strict(served: Served) -> None:
    served.view = ReadinessView((), (SILENT,))
    assert (await served.get())[0] == 200
    assert (await served.get())[2].splitlines()[0] == "ready"
    status, _, body = await served.get("/readyz?strict")
    assert status == 503
    assert body.startswith("degraded: tunnel n2")


@pytest.mark.parametrize(
    ("target", "field"), [("/readyz", "Accept: application/json"), ("/readyz?format=json", "Accept: */*")]
)
async def test_json_for_who_wants_it(served: Served, target: str, field: str) -> None:
    served.view = ReadinessView((SILENT,))
    status, head, body = await served.get(target, field)
    assert status == 503
    assert "application/json" in head
    reason = {"component": "tunnel", "object": "n2", "code": "tunnel-silent", "message": SILENT.reason.message}
    assert json.loads(body) == {"ready": False, "reasons": [reason], "degraded": []}


async def test_head_has_no_body_and_other_methods_and_paths_are_refused(served: Served) -> None:
    status, head, body = await served.get(method="HEAD")
    assert (status, body) == (200, "")
    assert "Content-Length: 6" in head
    assert (await served.get("/"))[0] == 404
    assert (await served.get("/readyz/x"))[0] == 404
    status, head, _ = await served.get(method="POST")
    assert status == 405
    assert "Allow: GET, HEAD" in head


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"\r\n\r\n", b"400"),
        (b"GET /readyz\r\n\r\n", b"400"),
        (b"\xff\xfe\x00 / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET  /readyz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET //[ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /readyz?" + b"a&" * 20 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /readyz HTTP/2.0\r\n\r\n", b"505"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
        (b"GET /readyz HTTP/1.1\r\nX: " + b"y" * (3 * MOST_OCTETS), b"431"),
        (b"GET /readyz HTTP/1.1\r\nX: " + b"y" * (3 * MOST_OCTETS) + b"\r\n\r\n", b"431"),
    ],
)
async def test_malformed_requests_are_refused_and_the_next_is_answered(
    served: Served, octets: bytes, status: bytes
) -> None:
    assert (await served.say(octets)).split()[1] == status
    assert served.asked == 0
    assert (await served.get())[0] == 200


async def test_who_is_slow_or_goes_away_is_let_go_and_holds_nobody_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readyz, "PATIENCE_S", 0.3)
    slow = [await asyncio.open_unix_connection(served.path) for _ in range(MOST_CONNECTIONS - 1)]
    for _, writer in slow:
        writer.write(b"GET /readyz HTTP/1.1\r\n")
    assert (await served.get())[0] == 200
    for reader, writer in slow:
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    reader, writer = await asyncio.open_unix_connection(served.path)
    writer.close()
    assert (await served.get())[0] == 200


async def test_connections_beyond_the_most_are_closed_at_once(served: Served) -> None:
    held = [await asyncio.open_unix_connection(served.path) for _ in range(MOST_CONNECTIONS)]
    await asyncio.sleep(0)
    try:
        reader, writer = await asyncio.open_unix_connection(served.path)
        assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()
    finally:
        for _, writer in held:
            writer.close()


async def test_who_holds_all_connections_of_the_tcp_port_holds_none_of_the_unix_socket(tmp_path: Path) -> None:
    served = Served(tmp_path, port=0)
    await served.server.start()
    held = [await asyncio.open_connection("127.0.0.1", served.server.tcp_port) for _ in range(MOST_CONNECTIONS)]
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.tcp_port)
    assert await asyncio.wait_for(reader.read(), 1) == b""
    assert (await served.get())[0] == 200
    for _, one in (*held, (reader, writer)):
        one.close()
    await served.server.stop()


async def test_a_tcp_port_of_this_host_says_the_same(tmp_path: Path) -> None:
    served = Served(tmp_path, port=0)
    await served.server.start()
    assert await over_tcp(served.server.tcp_port) == "ready\n"
    assert served.server.problems() == ()
    await served.server.stop()


async def test_a_tcp_port_that_is_taken_costs_the_port_alone_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(readyz, "PORT_RETRY_S", 0.02)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        served = Served(tmp_path, port=port)
        await served.server.start()
        assert (await served.get())[0] == 200
        assert served.server.tcp_port is None
        (problem,) = served.server.problems()
        assert problem.reason.code == "readyz-port"
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in problem.reason.message
    async with asyncio.timeout(10):
        while served.server.problems():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
    assert await over_tcp(port) == "ready\n"
    assert [one.levelname for one in caplog.records] == ["ERROR"], "however often it was tried"
    await served.server.stop()


async def test_an_agent_that_ends_while_it_waits_for_the_port_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        served = Served(tmp_path, port=taken.getsockname()[1])
        await served.server.start()
        await served.server.stop()
    assert not served.path.exists()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("text", ["0.0.0.0:80", "192.0.2.1:80", "localhost:80", "127.0.0.1", "[::]:1", "127.0.0.1:0"])
def test_only_a_port_of_this_host_alone_is_taken(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_readyz_listen(text)
    assert str(parse_readyz_listen("[::1]:9099")) == "[::1]:9099"
