"""Raw BGP speakers in the namespace of a lab node, for tests that wait in plain functions.

A thread is in that namespace and runs a loop, in which `RawPeer`s live; it sends their keepalives. All else a test says
octet by octet.
"""
from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address
from typing import Any, TypeVar

import faults
import labs
from rawpeer import KEEPALIVE, NOTIFICATION, UPDATE, RawPeer, framed

from calicopy.bgp import Capabilities, GracefulRestart, Notification, decode_notification
from calicopy.bgp.encode import encode_attribute
from calicopy.bgp.nlri import encode_nlri
from calicopy.net import Family, Prefix

T = TypeVar("T")
PORT = 179
TCP_MD5SIG = 14  # linux/tcp.h
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
RESTART = GracefulRestart(120, ((Family.IPV4, True),))


def capabilities(asn: int, *, restart: GracefulRestart | None = RESTART, **more: Any) -> Capabilities:
    """IPv4 unicast, route refresh, 4-octet AS numbers, graceful restart."""
    parts: dict[str, Any] = {"families": (Family.IPV4,), "route_refresh": True, **more}
    return Capabilities(asn4=asn, graceful_restart=restart, **parts)


def attribute(code: int, value: bytes, *, flags: int = 0x40) -> bytes:
    """One path attribute."""
    return encode_attribute(flags, code, value)


def as_path(*numbers: int) -> bytes:
    """An AS_PATH of one AS_SEQUENCE."""
    value = bytes((2, len(numbers))) + b"".join(one.to_bytes(4, "big") for one in numbers) if numbers else b""
    return attribute(2, value)


def owner(router_id: str) -> bytes:
    """The large community that names the owner of a block."""
    words = (64512).to_bytes(4, "big") + (1).to_bytes(4, "big") + IPv4Address(router_id).packed
    return attribute(32, words, flags=0xC0)


def md5_signature(peer: str, key: bytes) -> bytes:
    """struct tcp_md5sig of linux/tcp.h: the key for an IPv4 peer (RFC 2385)."""
    address = struct.pack("=HH4s", socket.AF_INET, 0, IPv4Address(peer).packed)
    return struct.pack("=128sBBHi80s", address, 0, 0, len(key), 0, key)


def packed(prefixes: Iterable[str]) -> bytes:
    """Prefixes as NLRI."""
    return encode_nlri([Prefix.parse(prefix).packed for prefix in prefixes], None)


def update(*prefixes: str, next_hop: str, path: Iterable[int] = (), more: bytes = b"") -> bytes:
    """The body of an UPDATE with ORIGIN, AS_PATH, NEXT_HOP, and whatever octets of attributes follow."""
    found = attribute(1, b"\0") + as_path(*path) + attribute(3, ip_address(next_hop).packed) + more
    return body(found, nlri=packed(prefixes))


def body(attributes: bytes = b"", *, nlri: bytes = b"", withdrawn: bytes = b"") -> bytes:
    """An UPDATE of these octets."""
    head = len(withdrawn).to_bytes(2, "big") + withdrawn + len(attributes).to_bytes(2, "big")
    return head + attributes + nlri


class Session:
    """One raw peer, seen from the test's thread."""

    def __init__(self, space: Space, peer: RawPeer) -> None:
        self._space = space
        self.peer = peer

    def send(self, kind: int, *bodies: bytes) -> None:
        """Messages of one kind, in one write."""
        self._space.call(self._write, b"".join(framed(kind, one) for one in bodies))

    async def _write(self, data: bytes) -> None:
        transport = self.peer._transport
        assert transport is not None
        transport.write(data)

    def update(self, *bodies: bytes) -> None:
        """UPDATEs."""
        self.send(UPDATE, *bodies)

    def end_of_rib(self) -> None:
        """End-of-RIB of IPv4."""
        self.update(b"\0\0\0\0")

    @property
    def is_up(self) -> bool:
        """Whether the session is Established, and still is."""
        return self.peer.established and not self.peer.closed

    @property
    def notification(self) -> Notification | None:
        """The last NOTIFICATION that came."""
        bodies = self.peer.bodies(NOTIFICATION)
        return decode_notification(bodies[-1]) if bodies else None

    def close(self) -> None:
        """Break the connection."""
        self._space.call(self.peer.close)


class Space:
    """The namespace and its loop."""

    def __init__(self, pid: int) -> None:
        self._path = f"/proc/{pid}/ns/net"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._sessions: list[Session] = []
        self._sockets: list[socket.socket] = []
        self._over = asyncio.Event()

    def _run(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _LIBC.setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {self._path}")
        finally:
            os.close(descriptor)
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        keeping = asyncio.create_task(self._keep_alive())
        await self._over.wait()
        keeping.cancel()

    async def _keep_alive(self) -> None:
        while True:
            for session in self._sessions:
                transport = session.peer._transport
                if session.is_up and transport is not None and not transport.is_closing():
                    session.peer.send(KEEPALIVE)
            await asyncio.sleep(0.5)

    def call(self, work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """Run a coroutine in the namespace; its result."""
        return asyncio.run_coroutine_threadsafe(work(*arguments), self._loop).result(60)

    def session(
        self, target: str, *, source: str, asn: int, router_id: str = "", hold_time_s: int = 9,
        offer: Capabilities | None = None, key: bytes = b"", within: float = 20.0,
    ) -> Session:  # fmt: skip
        """Dial until the session is Established."""
        made: list[Session] = []

        def up() -> bool:
            if not made or made[-1].peer.closed:
                session = self.dial(
                    target, source=source, asn=asn, router_id=router_id, hold_time_s=hold_time_s, offer=offer,
                    key=key,
                )
                made.extend([] if session is None else [session])
            return bool(made) and made[-1].is_up

        labs.wait_until(up, within=within, what=f"a session from {source} to {target}")
        return made[-1]

    def dial(
        self, target: str, *, source: str, asn: int, router_id: str = "", hold_time_s: int = 9,
        offer: Capabilities | None = None, ttl: int = 0, key: bytes = b"",
    ) -> Session | None:  # fmt: skip
        """One attempt, with this TTL and TCP MD5 key from the first packet on; None when nobody takes it."""
        peer = RawPeer(asn, router_id or source, offer or capabilities(asn), hold_time_s=hold_time_s)

        async def connect() -> bool:
            made = socket.socket()
            made.setblocking(False)
            if ttl:
                made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            if key:
                made.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, md5_signature(target, key))
            made.bind((source, 0))
            loop = asyncio.get_running_loop()
            try:
                await asyncio.wait_for(loop.sock_connect(made, (target, PORT)), 2)
            except (OSError, TimeoutError):
                made.close()
                return False
            await loop.create_connection(lambda: peer, sock=made)
            return True

        if not self.call(connect):
            return None
        session = Session(self, peer)
        self._sessions.append(session)
        return session

    def connect(self, target: str, *, source: str) -> socket.socket | None:
        """A connection on which nothing is said; None when it is refused."""

        async def make() -> socket.socket | None:
            made = socket.socket()
            made.settimeout(3)
            made.bind((source, 0))
            try:
                made.connect((target, PORT))
            except OSError:
                made.close()
                return None
            self._sockets.append(made)
            return made

        return self.call(make)

    def end(self) -> None:
        """Close everything; by a NOTIFICATION, so that no route of ours is kept."""
        for session in self._sessions:
            if session.is_up:
                session.send(NOTIFICATION, b"\x06\x02")
            session.close()
        for one in self._sockets:
            one.close()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    def start(self) -> None:
        """Begin."""
        self._thread.start()


@contextmanager
def inside(lab: labs.TestLab, node: str) -> Iterator[Space]:
    """Raw speakers in a node, closed at the end."""
    space = Space(faults.init_pid(lab, node))
    space.start()
    try:
        yield space
    finally:
        space.end()
