"""Route batches into the kernel.

Theory of operation: up to 1,000 messages go out in one send, without NLM_F_ACK but on the last. The kernel works
through a send before it returns, applies what it can, and answers each message that failed with NLMSG_ERROR under that
message's sequence number; the last one's answer closes the chunk. An add carries NLM_F_EXCL, so it never changes a
route that is there. On EEXIST the key is read back: ours with the right target is done, ours with another one is
replaced, anything else is foreign and stays. A delete carries protocol and metric, and one of what is gone (ESRCH) is
done. A replace is sent only for keys that the FIB knows to hold a route of ours, and without NLM_F_CREATE.
"""
from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from calicopy.fib.types import RouteBatch, RouteOp, RouteTarget, WriteResult
from calicopy.kernel.dump import lookup_exact, own_routes
from calicopy.kernel.encode import Identity, encode, message_size
from calicopy.kernel.netlink import NetlinkOverrunError, NetlinkSocket
from calicopy.net import Packed

MESSAGES_PER_SEND = 1000
_SMALL_CHUNK = 50
_LOOKUPS_AT_MOST = 32


@dataclass(slots=True)
class _Outcome:
    """What a batch came to so far."""

    failures: list[tuple[Packed, int]] = field(default_factory=list)
    exists: list[Packed] = field(default_factory=list)
    foreign: list[Packed] = field(default_factory=list)


class RouteWriter:
    """Writes batches over one socket. It holds no state of routes; for one thread at a time."""

    def __init__(self, socket: NetlinkSocket, identity: Identity) -> None:
        self._socket = socket
        self._identity = identity

    def write(self, batches: Iterable[RouteBatch]) -> list[WriteResult]:
        """Write every batch, in order; a failing message stops nothing. One result a batch."""
        return [self._write(batch) for batch in batches]

    def _write(self, batch: RouteBatch) -> WriteResult:
        outcome = _Outcome()
        self._send(batch, outcome)
        if outcome.exists:
            self._settle(batch, outcome)
        return WriteResult(batch, outcome.failures, outcome.foreign)

    def _send(self, batch: RouteBatch, outcome: _Outcome) -> None:
        for chunk in _chunks(batch.prefixes, MESSAGES_PER_SEND):
            try:
                failed = self._exchange(batch, chunk)
            except NetlinkOverrunError:
                # Answers are lost, so what failed is not known. Small chunks cannot overrun, and writing again is
                # harmless: what is there already answers EEXIST, what is gone ESRCH.
                failed = []
                self._socket.drain()
                for part in _chunks(chunk, _SMALL_CHUNK):
                    failed += self._exchange(batch, part)
            for packed, code in failed:
                if code == errno.ESRCH and batch.op is RouteOp.DELETE:
                    continue
                if code == errno.EEXIST and batch.op is RouteOp.ADD:
                    outcome.exists.append(packed)
                else:
                    outcome.failures.append((packed, code))

    def _exchange(self, batch: RouteBatch, prefixes: list[Packed]) -> list[tuple[Packed, int]]:
        """Send one chunk; returns what failed, with the errno."""
        first = self._socket.take_sequence(len(prefixes))
        data, order = encode(replace(batch, prefixes=prefixes), self._identity, first)
        size = message_size(batch, self._identity)
        failed = self._socket.exchange(data, first=first, count=len(prefixes), last_size=size)
        return [(order[place], code) for place, code in failed]

    def _settle(self, batch: RouteBatch, outcome: _Outcome) -> None:
        """Find out what holds the keys that an add met, and act on it."""
        wrong: list[Packed] = []
        for packed, held in self._read_back(batch, outcome.exists):
            if held is None:
                outcome.foreign.append(packed)
            elif held != batch.target:
                wrong.append(packed)
        if wrong:
            self._send(replace(batch, op=RouteOp.REPLACE, prefixes=wrong), outcome)

    def _read_back(self, batch: RouteBatch, prefixes: list[Packed]) -> list[tuple[Packed, RouteTarget | None]]:
        """Per prefix the target of our route at its key, or None when that is not ours."""
        if len(prefixes) <= _LOOKUPS_AT_MOST:
            found = [lookup_exact(self._socket, batch.family, packed, self._identity) for packed in prefixes]
            if all(answer.certain for answer in found):
                return [(packed, answer.target) for packed, answer in zip(prefixes, found, strict=True)]
        ours = own_routes(self._socket, batch.family, self._identity).routes
        return [(packed, ours.get(packed)) for packed in prefixes]


def _chunks(prefixes: Sequence[Packed], size: int) -> Iterator[list[Packed]]:
    for start in range(0, len(prefixes), size):
        yield list(prefixes[start : start + size])
