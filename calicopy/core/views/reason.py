"""Why something is refused, lost or failed."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReasonView:
    """Why something is refused, lost or failed: a stable code, a sentence, and where the rule is written."""

    code: str
    message: str = ""
    source: str = ""
