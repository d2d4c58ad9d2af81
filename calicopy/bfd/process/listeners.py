"""The listening sockets, and how much of what came in has been read."""
from __future__ import annotations

import errno
import select
import socket

from calicopy.bfd.process.engine import Engine
from calicopy.bfd.process.sockets import MOST_QUEUED, MULTI_PORT, PORTS, listen

AT_ONCE = 256  # datagrams of one socket in a round


class _Listener:
    """`read_up_to`: all that came before is read. While more is in there: what is still to be read until that can be
    said of `mark`.
    """

    __slots__ = ("left", "mark", "multihop", "read_up_to", "socket")

    def __init__(self, made: socket.socket, *, multihop: bool, now: float) -> None:
        self.socket = made
        self.multihop = multihop
        self.left = 0
        self.mark = self.read_up_to = now

    def took(self, count: int, now: float) -> None:
        """So many were read in the round that began at `now`."""
        if count < AT_ONCE:
            self.left, self.read_up_to = 0, now
        elif not self.left:
            self.left, self.mark = MOST_QUEUED, now
        else:
            self.left -= count
            if self.left <= 0:
                self.read_up_to, self.mark, self.left = self.mark, now, MOST_QUEUED


class Listeners:
    """All of them, in a poller. `behind`: some had more than a round takes."""

    __slots__ = ("_by_place", "_poller", "behind")

    def __init__(self, poller: select.epoll) -> None:
        self._poller = poller
        self._by_place: dict[tuple[int, int], _Listener] = {}
        self.behind = False

    def open(self, problems: dict[str, str], now: float) -> None:
        """Listen where that is not done yet; `problems` says why not where it cannot be."""
        for place in PORTS:
            if place in self._by_place:
                continue
            family, port = place
            matter = f"listen {family} {port}"
            problems[matter] = ""
            try:
                made = listen(family, port)
            except OSError as error:
                if family == socket.AF_INET or error.errno == errno.EADDRINUSE:  # a host may have no IPv6
                    problems[matter] = f"cannot listen on UDP port {port}: {error.strerror}"
                continue
            self._by_place[place] = _Listener(made, multihop=port == MULTI_PORT, now=now)
            self._poller.register(made.fileno(), select.EPOLLIN)

    def read(self, engine: Engine, now: float) -> float:
        """Give the engine what has come in, within bounds. Up to which time all of it was given: `now`, or before."""
        read_up_to, self.behind = now, False
        for one in self._by_place.values():
            count = engine.read(one.socket, multihop=one.multihop, most=AT_ONCE, now=now)
            one.took(count, now)
            if one.left:
                self.behind = True
                read_up_to = min(read_up_to, one.read_up_to)
        return read_up_to
