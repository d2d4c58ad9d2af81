"""What others do to the host's routes, next hops, tunnels and settings, as lines of the event log.

Theory of operation: what is put right within milliseconds leaves no trace in the status, and who looks later sees
counters alone. So each trouble is told once when it begins and once when it is over, and what somebody else changed is
told with the first of it. Who fights us over routes does so many times a second: one line for all of it per pace.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from calicopy.core.commands import Command, Log
from calicopy.core.views import LogView

DRIFT_PACE_S = 10.0
_NAMED = 3


class HostLog:
    """Tells of trouble and of repair. Times are monotonic seconds."""

    def __init__(self, *, emit: Callable[[Command], None]) -> None:
        self._emit = emit
        self._drifted: Counter[str] = Counter()
        self._count = 0
        self._quiet_until = 0.0

    def checked(self, component: str, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        """What is wrong with a part of the host, by object: as it was known, and as it is."""
        for subject, message in now.items():
            if before.get(subject) != message:
                self._say(component, subject, "host-problem", message, "warning")
        for subject in sorted(before.keys() - now.keys()):
            self._say(component, subject, "host-problem-over", f"no more: {before[subject]}")

    def put_right(self, component: str, subject: str, message: str) -> None:
        """Something of ours that somebody else changed, and that is as it should be again."""
        self._say(component, subject, "put-right", message, "warning")

    def drifted(self, names: Sequence[str]) -> None:
        """Routes or next hops of ours that were changed by others; they are written again. `flush` tells."""
        self._count += len(names)
        for name in names:
            if name in self._drifted or len(self._drifted) < _NAMED:
                self._drifted[name] += 1

    def flush(self, now: float) -> None:
        """Tell of what drifted, when it is time."""
        if self._count and now >= self._quiet_until:
            named = ", ".join(f"{name} ({times} times)" if times > 1 else name for name, times in self._drifted.items())
            rest = self._count - self._drifted.total()
            more = f" and {rest} more" if rest else ""
            text = "somebody else, or the kernel, changed or deleted what is ours, and it is written again: "
            self._say("kernel", "", "drift", f"{text}{named}{more}", "warning")
            self._drifted.clear()
            self._count = 0
            self._quiet_until = now + DRIFT_PACE_S

    def deadline(self) -> float | None:
        """When to `flush` what is held back."""
        return self._quiet_until if self._count else None

    def _say(self, component: str, subject: str, code: str, message: str, level: str = "info") -> None:
        self._emit(Log(LogView(component, subject, code, message, level)))
