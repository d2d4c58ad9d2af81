"""The control socket: whoever attaches is told the whole set, then each change; see `calicopy.bfd.process.settings`.

Theory of operation: nothing here waits. A client that does not read is cut off when too much is kept for it, one that
talks nonsense at once: it attaches again, and is told the whole set.
"""
from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable

_MODE = 0o660
_MOST_CLIENTS = 16
_MOST_KEPT = 4 << 20  # octets for a client that does not read
_LONGEST_LINE = 4096


class Client:
    """One that attached: what it said without an end of line yet, and what it has not read yet."""

    __slots__ = ("heard", "kept", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.heard = b""
        self.kept = bytearray()


class Control:
    """The listening socket and its clients, by descriptor. OSError when the socket cannot be made."""

    __slots__ = ("_listener", "_path", "clients")

    def __init__(self, path: str) -> None:
        self._path = path
        self.clients: dict[int, Client] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with contextlib.suppress(FileNotFoundError):  # of a process that was killed; the state file's lock is ours
                os.unlink(path)  # noqa: PTH108 - pathlib is slow to load
            mask = os.umask(0o777 & ~_MODE)
            try:
                self._listener.bind(path)
            finally:
                os.umask(mask)
            self._listener.listen(_MOST_CLIENTS)
        except BaseException:
            self._listener.close()
            raise

    def fileno(self) -> int:
        """To poll for those who attach."""
        return self._listener.fileno()

    def accept(self, whole: Callable[[], Iterable[str]]) -> int | None:
        """Take the next one, and tell it the whole set. Its descriptor; None when there is none, or too many."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return None
        if len(self.clients) >= _MOST_CLIENTS:
            connection.close()
            return None
        connection.setblocking(False)
        client = Client(connection)
        self.clients[connection.fileno()] = client
        descriptor = connection.fileno()
        self._tell(descriptor, client, "".join(whole()).encode())
        return descriptor if descriptor in self.clients else None

    def lines(self, descriptor: int) -> list[str]:
        """What a client says. It is gone from `clients` when it ended or talks nonsense."""
        client = self.clients[descriptor]
        try:
            data = client.socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except ConnectionResetError:  # it ended before it read all: what it said is still there
            return self.lines(descriptor)
        except OSError:
            data = b""
        *whole, client.heard = (client.heard + data).split(b"\n")
        too_long = any(len(line) > _LONGEST_LINE for line in (*whole, client.heard))
        if not data or too_long:
            self._cut(descriptor)
        return [] if too_long else [line.decode("utf-8", "replace") for line in whole]

    def tell(self, text: str) -> None:
        """Tell all."""
        if not self.clients:
            return
        data = text.encode()
        for descriptor, client in [*self.clients.items()]:
            self._tell(descriptor, client, data)

    def flush(self, descriptor: int) -> None:
        """A client can be told more."""
        self._tell(descriptor, self.clients[descriptor], b"")

    def waiting(self, descriptor: int) -> bool:
        """Whether something is kept for it, so that being able to send is of interest."""
        client = self.clients.get(descriptor)
        return client is not None and bool(client.kept)

    def _tell(self, descriptor: int, client: Client, data: bytes) -> None:
        client.kept += data
        try:
            while client.kept:
                sent = client.socket.send(client.kept)
                del client.kept[:sent]
        except BlockingIOError:
            if len(client.kept) > _MOST_KEPT:
                self._cut(descriptor)
        except OSError:
            client.kept.clear()  # it ended; what it said before is read first

    def _cut(self, descriptor: int) -> None:
        self.clients.pop(descriptor).socket.close()

    def close(self) -> None:
        """No more of it; its path goes."""
        for descriptor in [*self.clients]:
            self._cut(descriptor)
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)  # noqa: PTH108 - as above
