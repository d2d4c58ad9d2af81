"""Who is gone, by BGP and by BFD, on its way into the kernel before anything else.

Theory of operation: the FIB is told the union of both, whenever one of them is another set. The write comes before any
other work of the step, and before the lines of the log. What BFD says reaches the decision in the round after it. The
BFD process is told that what it holds is our own wish once the kernel has answered.
"""
from __future__ import annotations

from calicopy.core.commands import Command, Log, ResetPeer
from calicopy.core.kernel_routes import KernelRoutes
from calicopy.core.peering.bfd import Bfd
from calicopy.fib import Fib
from calicopy.rib import Rib


class FailOver:
    """Keeps `fib` true to who is gone."""

    def __init__(self, rib: Rib, fib: Fib, bfd: Bfd, kernel: KernelRoutes) -> None:
        self._rib = rib
        self._fib = fib
        self._bfd = bfd
        self._kernel = kernel
        self._told = (rib.dead_next_hops, bfd.dead)

    def tell(self) -> bool:
        """Tell the FIB who is gone; whether that is another set than before."""
        gone = (self._rib.dead_next_hops, self._bfd.dead)
        if gone[0] is self._told[0] and gone[1] is self._told[1]:
            return False
        self._told = gone
        self._fib.set_dead_next_hops(gone[0] | gone[1])
        return True

    def first(self, commands: list[Command], now: float) -> bool:
        """Have packets for nodes that are gone dropped; whether there is something to carry out. `commands` are those
        of this step; the write goes before the lines and resets at their end, which may have to wait for others.
        """
        if not self.tell():
            return False
        at = len(commands)
        while at and isinstance(commands[at - 1], Log | ResetPeer):
            at -= 1
        lines = commands[at:]
        del commands[at:]
        under_way = self._kernel.write_next_hops(now)
        commands += lines
        return under_way

    def heed(self, now: float) -> None:
        """What BFD has come to, for the decision; what is due for it."""
        self._bfd.advance(now)
        self._rib.set_out_of_use(self._bfd.out_of_use)
        if self._bfd.abandons(now):
            self._fib.abandon_holds()

    def written(self, now: float) -> bool:
        """After the writes of a round. Whether something else is to be written because these are through."""
        return self._kernel.next_hops_answered(now) and self._bfd.written(now)
