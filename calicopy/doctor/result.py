"""What a check says."""
from __future__ import annotations

import enum
from dataclasses import dataclass

from calicopy.config.resolve import NodeConfig


class Verdict(enum.Enum):
    """How grave it is. `FAIL`: something of calicopy does not work so; `WARN`: it may not, or only slowly."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and what to do about it (empty where nothing is to be done)."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the checks may know: this node of the cluster file, when there is one."""

    node: NodeConfig | None


def ok(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, Verdict.OK, found)


def warn(name: str, found: str, advice: str) -> Finding:
    """It works, or may work."""
    return Finding(name, Verdict.WARN, found, advice)


def fail(name: str, found: str, advice: str) -> Finding:
    """It does not work so."""
    return Finding(name, Verdict.FAIL, found, advice)


def skipped(name: str, why: str) -> Finding:
    """It was not looked at."""
    return Finding(name, Verdict.SKIPPED, why)
