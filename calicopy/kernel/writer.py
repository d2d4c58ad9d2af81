"""Route batches into the kernel.

Theory of operation: batches go out in sends of up to 256 KB, some 4,000 messages, whatever batch they are of, without
NLM_F_ACK but on the last message. The kernel works through a send before it returns, applies what it can, and answers
each message that failed with NLMSG_ERROR: its sequence number names the batch, and the message that comes back in it
the prefix. Few and large sends matter, since each return from one has to wait for the interpreter lock. An add carries
NLM_F_EXCL, so it never changes a route that is there. On EEXIST the key is read back (many look-ups a send, a dump for
what those leave open): ours with the right target is done, ours with another one is replaced, anything else is foreign
and stays. A delete carries protocol and metric, and one of what is gone (ESRCH) is done. A replace is sent only for
keys that the FIB knows to hold a route of ours, and without NLM_F_CREATE.
"""
from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from calicopy.fib.types import RouteBatch, RouteOp, RouteTarget, WriteResult
from calicopy.kernel.dump import lookup_exact, lookup_ours, own_routes
from calicopy.kernel.encode import Identity, destination, encode, template_of
from calicopy.kernel.netlink import NetlinkOverrunError, NetlinkSocket
from calicopy.net import Family, Packed

OCTETS_PER_SEND = 256 * 1024
"""A few milliseconds of the kernel's time; less where the send buffer could not be made large enough."""
_LOOKUPS_AT_MOST = 32


@dataclass(slots=True)
class _Work:
    """A batch, and what it came to so far."""

    batch: RouteBatch
    template: bytes
    failures: list[tuple[Packed, int]] = field(default_factory=list)
    exists: list[Packed] = field(default_factory=list)
    foreign: list[Packed] = field(default_factory=list)

    def failed(self, packed: Packed, code: int) -> None:
        """Take the kernel's refusal of one prefix."""
        if code == errno.ESRCH and self.batch.op is RouteOp.DELETE:
            return
        if code == errno.EEXIST and self.batch.op is RouteOp.ADD:
            self.exists.append(packed)
        else:
            self.failures.append((packed, code))


_Part = tuple[_Work, list[Packed]]


class RouteWriter:
    """Writes batches over one socket. It holds no state of routes; for one thread at a time."""

    def __init__(self, socket: NetlinkSocket, identity: Identity) -> None:
        self._socket = socket
        self._identity = identity
        self._octets = min(OCTETS_PER_SEND, socket.largest_send)

    def write(self, batches: Iterable[RouteBatch]) -> list[WriteResult]:
        """Write every batch, in order; a failing message stops nothing. One result a batch."""
        works = [self._work(batch) for batch in batches]
        self._send(works)
        ours: dict[Family, Mapping[Packed, RouteTarget]] = {}
        for work in works:
            if work.exists:
                self._settle(work, ours)
        return [WriteResult(work.batch, work.failures, work.foreign) for work in works]

    def _work(self, batch: RouteBatch) -> _Work:
        return _Work(batch, template_of(batch, self._identity))

    def _send(self, works: list[_Work]) -> None:
        for parts in self._sends(works):
            self._exchange_again(parts)

    def _exchange_again(self, parts: list[_Part]) -> None:
        """Send, and in ever smaller sends where the answers did not fit into the receive buffer.

        What failed is not known then, and writing again is harmless: what is there already answers EEXIST, what is
        gone ESRCH.
        """
        try:
            self._exchange(parts)
        except NetlinkOverrunError:
            self._socket.drain()
            for work, prefixes in parts:
                if len(parts) == len(prefixes) == 1:
                    raise
                for small in _slices(prefixes, max(1, len(prefixes) // 20)):
                    self._exchange_again([(work, small)])

    def _sends(self, works: list[_Work]) -> Iterator[list[_Part]]:
        """What goes out at once: whole batches as far as there is room, large ones in pieces."""
        parts, room = list[_Part](), self._octets
        for work in works:
            size = len(work.template)
            for prefixes in _slices(work.batch.prefixes, self._octets // size):
                if parts and len(prefixes) * size > room:
                    yield parts
                    parts, room = [], self._octets
                parts.append((work, prefixes))
                room -= len(prefixes) * size
        if parts:
            yield parts

    def _exchange(self, parts: list[_Part]) -> None:
        """Send the messages of all parts, and take note of what failed."""
        first = self._socket.take_sequence(len(parts))
        data = bytearray()
        for sequence, (work, prefixes) in enumerate(parts, first):
            data += encode(work.template, prefixes, sequence=sequence)
        last_size = len(parts[-1][0].template)
        for refusal in self._socket.exchange(data, first=first, count=len(parts), last_size=last_size):
            parts[refusal.place][0].failed(destination(refusal.message), refusal.errno)

    def _settle(self, work: _Work, ours: dict[Family, Mapping[Packed, RouteTarget]]) -> None:
        """Find out what holds the keys that an add met, and act on it. `ours`: dumps of this write, by need."""
        wrong: list[Packed] = []
        for packed, held in self._read_back(work.batch.family, work.exists, ours):
            if held is None:
                work.foreign.append(packed)
            elif held != work.batch.target:
                wrong.append(packed)
        if wrong:
            again = self._work(replace(work.batch, op=RouteOp.REPLACE, prefixes=wrong))
            self._send([again])
            work.failures += again.failures

    def _read_back(
        self, family: Family, prefixes: list[Packed], ours: dict[Family, Mapping[Packed, RouteTarget]]
    ) -> list[tuple[Packed, RouteTarget | None]]:
        """Per prefix the target of our route at its key, or None when that is not ours."""
        held: dict[Packed, RouteTarget | None] = {**lookup_ours(self._socket, family, prefixes, self._identity)}
        unclear = [packed for packed in prefixes if packed not in held]
        if family not in ours and len(unclear) <= _LOOKUPS_AT_MOST:
            for packed in unclear:
                answer = lookup_exact(self._socket, family, packed, self._identity)
                if answer.certain:
                    held[packed] = answer.target
            unclear = [packed for packed in unclear if packed not in held]
        if unclear and family not in ours:
            ours[family] = own_routes(self._socket, family, self._identity).routes
        held.update((packed, ours[family].get(packed)) for packed in unclear)
        return [(packed, held[packed]) for packed in prefixes]


def _slices(prefixes: list[Packed], size: int) -> Iterator[list[Packed]]:
    if len(prefixes) <= size:  # the common case, without a copy
        if prefixes:
            yield prefixes
        return
    for start in range(0, len(prefixes), size):
        yield prefixes[start : start + size]
