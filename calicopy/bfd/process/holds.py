"""Next hops that a session took out of use: kept so in the kernel until the agent has taken that as its own wish.

Theory of operation: what should be follows from the table and from the next hops that are held, whole. Groups are
rewritten without the members that are out before those become blackholes, since the kernel refuses a blackhole as one
member of several; a group of which nothing is left keeps one, and drops what it gets. Everything is read back before
it is written: only what has our protocol, or the mark of a hold, and an id of ours, is touched. A blackhole is left as
it is, whoever of us made it. What fails is tried again.
"""
from __future__ import annotations

import os
from collections.abc import Iterable

from calicopy.bfd.process.netlink import FIRST_ID, HELD_PROTOCOL, LAST_ID, NextHops, blackhole, group, is_gone
from calicopy.bfd.process.settings import Table

FIRST_RETRY_S, LAST_RETRY_S = 0.01, 1.0


class Holds:
    """What is held, by session. `problem`: why the kernel does not hold all of it, empty when it does."""

    __slots__ = ("_by_peer", "_delay", "_hops", "_table", "problem", "retry_at")

    def __init__(self) -> None:
        self._table = Table()
        self._by_peer: dict[str, tuple[str, ...]] = {}
        self._hops: NextHops | None = None
        self._delay = FIRST_RETRY_S
        self.problem = ""
        self.retry_at = float("inf")

    def hold(self, peer: str, next_hops: Iterable[str]) -> None:
        """Take these out of use for `peer`, or others than before. `apply` does it."""
        self._by_peer[peer] = tuple(next_hops)

    def release(self, peer: str) -> None:
        """Nothing is held for it any more. What the kernel has is the agent's to change."""
        self._by_peer.pop(peer, None)

    def held(self) -> frozenset[int]:
        """The ids of the single objects that are out of use."""
        out = {hop for hops in self._by_peer.values() for hop in hops}
        return frozenset(number for number, (_, hop) in self._table.objects.items() if hop in out)

    def use(self, table: Table) -> None:
        """The kernel's objects are these now. `apply` holds what is to be held of them."""
        self._table = table

    def apply(self, now: float) -> None:
        """Bring the kernel to what is held. Never raises; what fails is due again at `retry_at`."""
        self.retry_at = float("inf")
        held = self.held()
        if not held:
            self.problem, self._delay = "", FIRST_RETRY_S
            return
        try:
            self._hops = self._hops or NextHops()
            self.problem = self._write(self._hops, held)
        except OSError as error:
            self.problem = f"next hops cannot be taken out of use: {error.strerror or error}"
            if self._hops is not None:  # an answer that comes too late is not to be taken for another's
                self._hops.close()
                self._hops = None
        if self.problem:
            self.retry_at = now + self._delay
            self._delay = min(self._delay * 2, LAST_RETRY_S)
        else:
            self._delay = FIRST_RETRY_S

    def _write(self, hops: NextHops, held: frozenset[int]) -> str:
        groups = {one for one, (_, members) in self._table.groups.items() if not held.isdisjoint(members)}
        wanted = [one for one in sorted(groups | held) if FIRST_ID <= one <= LAST_ID]
        found = {
            one: what
            for one, what in hops.read(wanted).items()
            if what.protocol in (self._table.protocol, HELD_PROTOCOL)
        }
        ids, changes = [], []
        for one, what in found.items():
            left = [entry for member, entry in what.members.items() if member not in held]
            left = left or [*what.members.values()][:1]
            if what.members and len(left) < len(what.members):
                ids.append(one)
                changes.append(group(one, left, protocol=what.protocol))
        for one, what in found.items():
            if one in held and not what.blackhole and not what.members:
                ids.append(one)
                changes.append(blackhole(one, what.family))
        refused = [
            f"next hop {one} cannot be taken out of use: {os.strerror(code)}"
            for one, code in zip(ids, hops.write(changes), strict=True)
            if code and not is_gone(code)
        ]
        return refused[0] if refused else ""
