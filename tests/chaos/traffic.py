"""A packet every 10 ms from each pod to each other one, and a record of every loss with its time.

Theory of operation: one thread holds a UDP socket in each pod's network namespace (setns(2) is a thread's own), sends
and receives. A packet says its number and when it was sent; a packet that comes after one that did not says how many
are missing, and how long the way was closed. Nothing is lost by a thread that is late: it only sends later. It runs as
SCHED_FIFO where that is allowed, like the BFD processes: when it is late by much, the machine stood still for all.
"""
from __future__ import annotations

import ctypes
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PORT = 9900
INTERVAL_S = 0.01
PACKET = struct.Struct("!HQd")  # who sent it, its number, when (monotonic seconds)
BUFFER = 4 << 20
STALL_S = 0.15  # BFD calls a peer gone after 0.3 s
CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)

Flow = tuple[str, str]


@dataclass(slots=True)
class Loss:
    """Packets in a row that did not come: those after number `last` and before `next`, but for `late` of them, which
    were overtaken. `at`: when the last one was sent (monotonic seconds), `gap_s`: from then to the next.
    """

    flow: Flow
    at: float
    gap_s: float
    last: int
    next: int
    late: int = 0

    @property
    def packets(self) -> int:
        """How many are lost."""
        return self.next - self.last - 1 - self.late


class Traffic(threading.Thread):
    """Sends until `stop`. `pods`: name of a node to its pod's address; `namespaces`: to the file of its namespace."""

    def __init__(self, pods: Mapping[str, str], namespaces: Mapping[str, Path]) -> None:
        super().__init__(name="traffic", daemon=True)
        self.names = sorted(pods)
        self.addresses = [(pods[name], PORT) for name in self.names]
        self.losses: list[Loss] = []
        self.received: dict[Flow, int] = {}
        self.stalls: list[float] = []
        self._last: dict[Flow, tuple[int, float]] = {}
        self._ending = threading.Event()
        self._namespaces = namespaces
        self._ready = threading.Event()
        self.error: OSError | None = None

    def begin(self) -> None:
        """Start, and wait until all sockets are there. OSError when one cannot be made."""
        self.start()
        self._ready.wait()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """End it."""
        self._ending.set()
        self.join()

    def silent(self, since: float, flows: Iterable[Flow]) -> dict[Flow, float]:
        """Those of `flows` that got nothing sent after `since`, and for how many seconds nothing has come by."""
        now = time.monotonic()
        never = (0, since)
        return {
            flow: now - self._last.get(flow, never)[1] for flow in flows if self._last.get(flow, never)[1] <= since
        }

    def run(self) -> None:
        """Send and receive."""
        try:
            sockets = [self._socket(self._namespaces[name], self.addresses[at]) for at, name in enumerate(self.names)]
        except OSError as error:
            self.error = error
            return
        finally:
            self._ready.set()
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # of this thread: 0 is the caller's own
        selector = selectors.DefaultSelector()
        for at, one in enumerate(sockets):
            selector.register(one, selectors.EVENT_READ, at)
        due, number = time.monotonic(), 0
        while not self._ending.is_set():
            now = time.monotonic()
            if now >= due:
                if now - due > STALL_S:
                    self.stalls.append(now - due)
                number += 1
                self._send(sockets, number)
                due = max(due + INTERVAL_S, now)
            for key, _ in selector.select(max(0.0, due - time.monotonic())):
                self._receive(sockets[key.data], self.names[key.data])
        selector.close()
        for one in sockets:
            one.close()

    def _send(self, sockets: list[socket.socket], number: int) -> None:
        for at, one in enumerate(sockets):
            packet = PACKET.pack(at, number, time.monotonic())
            for to, address in enumerate(self.addresses):
                if to != at:
                    with suppress(OSError):  # no way just now: it is lost
                        one.sendto(packet, address)

    def _receive(self, one: socket.socket, name: str) -> None:
        while True:
            try:
                data = one.recv(64)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error that the kernel tells
                continue
            at, number, sent = PACKET.unpack(data)
            flow = (self.names[at], name)
            self.received[flow] = self.received.get(flow, 0) + 1
            before, when = self._last.get(flow, (number - 1, sent))
            if number <= before:
                self._overtaken(flow, number)
                continue
            if number > before + 1:
                self.losses.append(Loss(flow, when, sent - when, before, number))
            self._last[flow] = (number, sent)

    def _overtaken(self, flow: Flow, number: int) -> None:
        """It took another way than those after it (a pool changes its encapsulation), and came all the same."""
        for loss in reversed(self.losses):
            if loss.flow == flow and loss.last < number < loss.next:
                loss.late += 1
                return

    @staticmethod
    def _socket(namespace: Path, address: tuple[str, int]) -> socket.socket:
        descriptor = os.open(namespace, os.O_RDONLY)
        try:
            if _LIBC.setns(descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns", str(namespace))
        finally:
            os.close(descriptor)
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        one.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE, linux/asm-generic/socket.h
        one.bind(address)
        return one
