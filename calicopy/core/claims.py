"""When the first claim of a block may be confirmed.

Theory of operation: a node claims its first block without asking anybody, by the joint assignment. Before it uses the
block it listens: a node with another file, or one that holds the block from earlier, would announce it. So the claim is
confirmed as soon as one of these holds, and never later than the last:

- there is no peer to listen to, or every configured peer has sent its End-of-RIB;
- at least one peer is up, and the last End-of-RIB is `QUIET_S` ago;
- `LIMIT_S` have passed since the agent's process began, of which it listened for `LEAST_S` at least.

Once a first claim was confirmed, or the store held a block, the gate stays open: later blocks are claimed by an agent
that has been listening all the time.
"""
from __future__ import annotations

from dataclasses import dataclass, field

QUIET_S = 0.5
LIMIT_S = 2.0
LEAST_S = 1.0  # a session with a living peer is up, and heard out, in 0.3 s


def waiting_since(process_began_at: float, now: float) -> float:
    """When the wait for a first claim counts from, for an agent that can listen from `now` on."""
    return min(now, max(process_began_at, now - (LIMIT_S - LEAST_S)))


@dataclass(slots=True)
class ClaimGate:
    """`expected`: keys of the configured peers. `any_up`: whether a session is up. Times are monotonic seconds."""

    began_at: float
    expected: frozenset[str]
    is_open: bool = False
    any_up: bool = False
    _heard: set[str] = field(default_factory=set)
    _last_heard_at: float | None = None

    def end_of_rib(self, peer: str, now: float) -> None:
        """`peer` has sent all it has; that it goes down later takes nothing back."""
        self._heard.add(peer)
        self._last_heard_at = now

    def check(self, now: float) -> bool:
        """Whether claims may be confirmed; once True it stays so."""
        if not self.is_open:
            deadline = self.deadline()
            self.is_open = self.expected <= self._heard or (deadline is not None and now >= deadline)
        return self.is_open

    def deadline(self) -> float | None:
        """When `check` turns True if nothing else happens; None when it is open."""
        if self.is_open:
            return None
        limit = self.began_at + LIMIT_S
        if self.any_up and self._last_heard_at is not None:
            return min(limit, self._last_heard_at + QUIET_S)
        return limit
