"""A BGP speaker of our own for tests: one session at a time over plain TCP, which keeps every message as octets."""
from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from calicopy.bgp import (
    Capabilities,
    Negotiated,
    NlriBatch,
    Open,
    Update,
    decode_open,
    decode_update,
    encode_open,
    negotiate,
)
from calicopy.net import Packed

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, REFRESH = 1, 2, 3, 4, 5
MARKER = b"\xff" * 16


def framed(kind: int, body: bytes = b"") -> bytes:
    """A whole message (RFC 4271 section 4.1)."""
    return MARKER + (19 + len(body)).to_bytes(2, "big") + bytes((kind,)) + body


class RawPeer(asyncio.Protocol):
    """It listens or dials, opens, and answers keepalives. A new connection takes the place of the one before."""

    def __init__(
        self, asn: int, router_id: str, capabilities: Capabilities, *, hold_time_s: int = 90
    ) -> None:
        self.local = Open(asn, hold_time_s, IPv4Address(router_id), capabilities)
        self.peer: Open | None = None
        self.messages: list[tuple[float, int, bytes]] = []  # monotonic seconds, type, body
        self.opened = 0  # sessions that got past our OPEN and theirs
        self.closed = 0
        self._server: asyncio.Server | None = None
        self._transport: asyncio.Transport | None = None
        self._partial = b""
        self._table: dict[tuple[int, Packed], Update] = {}
        self._unread: list[bytes] = []  # UPDATEs that are not in the table yet

    async def listen(self, address: str, port: int) -> None:
        """Take connections."""
        self._server = await asyncio.get_running_loop().create_server(lambda: self, address, port)

    async def dial(self, address: str, port: int, *, source: str, ttl: int = 0) -> None:
        """Connect from `source`, with a TTL of ours from the first packet on. OSError when it is refused."""
        made = socket.socket()
        made.setblocking(False)
        if ttl:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        made.bind((source, 0))
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.sock_connect(made, (address, port)), 3)
        await loop.create_connection(lambda: self, sock=made)

    async def close(self) -> None:
        """End the session and stop listening."""
        if self._server is not None:
            self._server.close()
        if self._transport is not None:
            self._transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._partial, self.peer = transport, b"", None
        self._table.clear()
        self.send(OPEN, encode_open(self.local))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed += 1

    def data_received(self, data: bytes) -> None:
        data = self._partial + data
        while len(data) >= 19 and len(data) >= (size := int.from_bytes(data[16:18], "big")):
            self._take(data[18], data[19:size])
            data = data[size:]
        self._partial = data

    def _take(self, kind: int, body: bytes) -> None:
        self.messages.append((time.monotonic(), kind, body))
        if kind == UPDATE:
            self._unread.append(body)
        elif kind == OPEN:
            self.peer = decode_open(body)
            self.opened += 1
            self.send(KEEPALIVE)

    # for tests

    def send(self, kind: int, body: bytes = b"") -> None:
        """Send one message."""
        assert self._transport is not None
        self._transport.write(framed(kind, body))

    @property
    def established(self) -> bool:
        """Whether the other side confirmed our OPEN, in this or an earlier session."""
        return bool(self.opened) and any(kind == KEEPALIVE for _, kind, _ in self.messages)

    @property
    def negotiated(self) -> Negotiated:
        """What both OPENs agree on."""
        assert self.peer is not None
        return negotiate(self.local, self.peer)

    def bodies(self, kind: int) -> list[bytes]:
        """The bodies of all messages of one type."""
        return [body for _, one, body in self.messages if one == kind]

    def forget(self) -> None:
        """As if nothing had been heard."""
        self.messages.clear()
        self.routes().clear()

    def routes(self) -> dict[tuple[int, Packed], Update]:
        """What the peer holds: (path id, prefix) to the UPDATE that announced it last."""
        unread, self._unread = self._unread, []
        for body in unread:
            update = decode_update(body, self.negotiated.receive)
            for batch in update.withdrawn:
                for key in keys(batch):
                    self._table.pop(key, None)
            for batch in update.announced:
                self._table.update(dict.fromkeys(keys(batch), update))
        return self._table


def keys(batch: NlriBatch) -> Iterator[tuple[int, Packed]]:
    """Path id (0 without) and prefix of each."""
    return zip(batch.path_ids or (0,) * len(batch.prefixes), batch.prefixes, strict=True)
