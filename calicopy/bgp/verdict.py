"""What is wrong with a message, and what must be done about it (RFC 7606).

Theory of operation: the decoder never raises on a broken UPDATE. Each thing that it finds wrong becomes a `Fault`,
which carries the attribute, the kind of mistake, words for people, and the `Verdict` that RFC 7606 (or RFC 4271,
where it was not revised) gives it. The verdict of the message is the strictest of its faults (RFC 7606 section 3 h).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Verdict(enum.IntEnum):
    """How an UPDATE is to be handled, mildest first, so that `max` gives the strictest (RFC 7606 section 2)."""

    OK = 0
    ATTRIBUTE_DISCARD = 1
    TREAT_AS_WITHDRAW = 2
    SESSION_RESET = 3


class FaultKind(enum.Enum):
    """The kind of mistake; the value is a stable name for APIs and logs."""

    MESSAGE_LENGTH = "message-length"
    ATTRIBUTE_OVERRUN = "attribute-overrun"
    ATTRIBUTE_DUPLICATE = "attribute-duplicate"
    ATTRIBUTE_FLAGS = "attribute-flags"
    ATTRIBUTE_LENGTH = "attribute-length"
    ATTRIBUTE_VALUE = "attribute-value"
    ATTRIBUTE_MISSING = "attribute-missing"
    ATTRIBUTE_UNRECOGNIZED = "attribute-unrecognized"
    ATTRIBUTE_MISPLACED = "attribute-misplaced"
    FAMILY_NOT_NEGOTIATED = "family-not-negotiated"
    NEXT_HOP_INVALID = "next-hop-invalid"
    NLRI_LENGTH = "nlri-length"
    NLRI_TRUNCATED = "nlri-truncated"
    NLRI_NOT_LOCATED = "nlri-not-located"


_SUBCODES = {  # UPDATE Message Error subcodes, RFC 4271 section 4.5
    FaultKind.ATTRIBUTE_UNRECOGNIZED: 2,
    FaultKind.ATTRIBUTE_MISSING: 3,
    FaultKind.ATTRIBUTE_FLAGS: 4,
    FaultKind.ATTRIBUTE_LENGTH: 5,
    FaultKind.NEXT_HOP_INVALID: 8,
    FaultKind.ATTRIBUTE_VALUE: 9,
    FaultKind.NLRI_LENGTH: 10,
    FaultKind.NLRI_TRUNCATED: 10,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in an UPDATE; `attribute` is the type code, None where it lies outside; `text` is for people."""

    verdict: Verdict
    kind: FaultKind
    attribute: int | None
    text: str

    @property
    def subcode(self) -> int:
        """The UPDATE Message Error subcode for a NOTIFICATION (RFC 4271 section 4.5); 1, malformed attribute list,
        by default.
        """
        if self.attribute == 2 and self.kind is FaultKind.ATTRIBUTE_VALUE:
            return 11  # malformed AS_PATH
        if self.attribute == 1 and self.kind is FaultKind.ATTRIBUTE_VALUE:
            return 6  # invalid ORIGIN
        return _SUBCODES.get(self.kind, 1)

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.text}"


def strictest(faults: Iterable[Fault]) -> Verdict:
    """The verdict of a message with these faults (RFC 7606 section 3 h)."""
    return max((fault.verdict for fault in faults), default=Verdict.OK)
