"""`/readyz`: HTTP/1.1 on a unix socket, and, when asked for, on a TCP port of this host.

Theory of operation: for probes of machines that do not speak gRPC. A request is a head of bounded size that has to be
there in bounded time; so many connections at a time, of each listener, so that who may come by the TCP port alone can
take none of the unix socket's; one request a connection. Nothing of a request is used but method, path, query and what
it accepts. The answer is the verdict and its reasons: nothing else can be asked here, which is why the TCP port needs
no certificates. A port that cannot be had costs the port alone: it is tried again until it can.
"""
from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from calicopy.api.sockets import PublishedSocket, find_group
from calicopy.config.fields import Listen
from calicopy.config.model import AgentSection
from calicopy.core.views import ProblemView, ReadinessView, ReasonView

log = logging.getLogger(__name__)

SOCKET_NAME = "readyz.sock"
MOST_CONNECTIONS = 32  # of one listener
MOST_OCTETS = 4096
PATIENCE_S = 2.0  # for the whole of a connection
LINGER_S = 0.2
PORT_RETRY_S = 1.0
PATH = "/readyz"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out; `allow`: the methods, where the method was wrong."""

    status: HTTPStatus
    body: bytes
    json: bool = False
    allow: bool = False

    def encode(self, *, head_only: bool = False) -> bytes:
        """As octets."""
        kind = "application/json" if self.json else "text/plain; charset=utf-8"
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *(["Allow: GET, HEAD"] if self.allow else []),
        ]
        head = "\r\n".join([*lines, "", ""]).encode("ascii")
        return head if head_only else head + self.body


def answer_to(head: bytes, judge: Callable[[], ReadinessView]) -> bytes:
    """The octets of the answer to the head of a request (RFC 9112 sections 2 and 3)."""
    try:
        first, *fields = head.decode("ascii").split("\r\n")
        method, target, version = first.split(" ")
    except ValueError:  # UnicodeDecodeError too
        return refusal(HTTPStatus.BAD_REQUEST).encode()
    if not version.startswith("HTTP/1."):
        wrong = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED if version.startswith("HTTP/") else HTTPStatus.BAD_REQUEST
        return refusal(wrong).encode()
    if method not in ("GET", "HEAD"):
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED).encode()
    try:
        asked = urlsplit(target)
        query = parse_qs(asked.query, keep_blank_values=True, max_num_fields=8)
    except ValueError:
        return refusal(HTTPStatus.BAD_REQUEST).encode()
    if asked.path != PATH:
        return refusal(HTTPStatus.NOT_FOUND).encode(head_only=method == "HEAD")
    accepts = [value for name, _, value in (field.partition(":") for field in fields) if name.lower() == "accept"]
    as_json = "json" in query.get("format", ()) or any("application/json" in value.lower() for value in accepts)
    found = verdict(judge(), as_json=as_json, strict="strict" in query)
    return found.encode(head_only=method == "HEAD")


def refusal(status: HTTPStatus) -> Answer:
    """Why a request gets no verdict."""
    return Answer(status, f"{status.phrase.lower()}\n".encode("ascii"), allow=status is HTTPStatus.METHOD_NOT_ALLOWED)


def verdict(view: ReadinessView, *, as_json: bool, strict: bool) -> Answer:
    """200 and "ready", or 503 and a reason a line; with `strict` what is degraded counts as a reason too."""
    ready = view.ready and not (strict and view.degraded)
    if as_json:
        said = {
            "ready": ready,
            "reasons": [_fields(one) for one in view.reasons],
            "degraded": [_fields(one) for one in view.degraded],
        }
        text = json.dumps(said) + "\n"
    else:
        text = "".join(f"{line}\n" for line in (*(("ready",) if ready else ()), *lines_of(view)))
    return Answer(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, text.encode("utf-8"), as_json)


def lines_of(view: ReadinessView) -> Iterator[str]:
    """A line each, without control characters: part of it may be the words of others."""
    for mark, problems in (("", view.reasons), ("degraded: ", view.degraded)):
        for one in problems:
            where = f"{one.component} {one.object}".rstrip()
            yield _printable(f"{mark}{where}: {one.reason.message} ({one.reason.code})")


def _fields(one: ProblemView) -> dict[str, str]:
    return {
        "component": one.component, "object": one.object, "code": one.reason.code, "message": one.reason.message,
    }  # fmt: skip


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


class ReadyzServer:
    """Serves the verdict of `judge`, which is called for every request."""

    def __init__(
        self, judge: Callable[[], ReadinessView], settings: AgentSection, *, listen: Listen | None = None
    ) -> None:
        self._judge = judge
        self._path = Path(settings.run_dir) / SOCKET_NAME
        self._group = settings.socket_group
        self._listen = listen
        self._published: PublishedSocket | None = None
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._retrying: asyncio.Task[None] | None = None
        self._port_error = ""
        self.tcp_port: int | None = None
        """The TCP port in use, once it is, when there is one."""

    async def start(self) -> None:
        """Serve. Raises OSError when the unix socket cannot be had."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._published = PublishedSocket(
                self._path, group=find_group(self._group), bind=lambda name: listening.bind(os.fspath(name))
            )
            server = await asyncio.start_unix_server(self._listener(), sock=listening, limit=MOST_OCTETS)
            self._servers.append(server)
        except BaseException:
            listening.close()
            await self.stop()
            raise
        if self._listen is not None and not await self._open_port(self._listen):
            self._retrying = asyncio.create_task(self._retry_port(self._listen))

    async def _open_port(self, listen: Listen) -> bool:
        """Whether the TCP port could be had. Why not is logged once."""
        try:
            server = await asyncio.start_server(self._listener(), str(listen.host), listen.port, limit=MOST_OCTETS)
        except OSError as error:
            said = os.strerror(error.errno) if error.errno else str(error)
            if said != self._port_error:
                log.error("cannot listen on %s for /readyz: %s; it is tried again", listen, said)
            self._port_error = said
            return False
        self._servers.append(server)
        self._port_error = ""
        self.tcp_port = server.sockets[0].getsockname()[1]
        log.info("/readyz on http://%s%s", listen, PATH)
        return True

    async def _retry_port(self, listen: Listen) -> None:
        while True:
            await asyncio.sleep(PORT_RETRY_S)
            if await self._open_port(listen):
                return

    def problems(self) -> tuple[ProblemView, ...]:
        """What the status says of it."""
        if not self._port_error:
            return ()
        text = f"cannot listen on {self._listen}: {self._port_error}; it is tried again every second"
        return (ProblemView("agent", PATH, ReasonView("readyz-port", text)),)

    async def stop(self) -> None:
        """End, with what is under way; the socket disappears."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)
        if self._published is not None:
            self._published.remove()
            self._published = None
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _listener(self) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        """What takes the connections of one listener, with a bound of its own."""
        own: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(own) >= MOST_CONNECTIONS:
                writer.transport.abort()
                return
            task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
            for tasks in (own, self._connections):
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        return connected

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request. Who is slow, or goes away, is left alone."""
        try:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(PATIENCE_S):
                    said = await self._answer(reader)
                    if said:
                        writer.write(said)
                        await writer.drain()
                        writer.write_eof()
                        await _read_rest(reader)
        except Exception:
            log.exception("/readyz")
        finally:
            writer.transport.abort()  # nothing waits in it, but for who does not read

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE).encode()
        except asyncio.IncompleteReadError as error:
            return refusal(HTTPStatus.BAD_REQUEST).encode() if error.partial else b""
        return answer_to(head[:-4], self._judge)


async def _read_rest(reader: asyncio.StreamReader) -> None:
    """What is closed unread is reset, and then the other side may never see the answer (RFC 9112 section 9.6)."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while await reader.read(MOST_OCTETS):
                pass
