"""Colours for a terminal: states green or red, reasons dim, headers bold.

Theory of operation: text that goes to a pipe or a file is never touched, nor any with NO_COLOR set (no-color.org) or
TERM=dumb. rich is loaded with the first coloured text, so a command in a script never pays for it. What is painted has
been made printable before: an escape sequence on the terminal is always one of ours.
"""
from __future__ import annotations

import enum
import os
import sys


class Tone(enum.Enum):
    """What a text is to the reader; the value is its style, in the words of rich."""

    PLAIN = ""
    GOOD = "green"
    BAD = "red"
    CHANGING = "yellow"
    ASIDE = "dim"
    HEADER = "bold"


_STATES = {
    Tone.GOOD: ("Established", "ok", "best", "multipath", "confirmed", "assigned", "running"),
    Tone.BAD: ("Idle", "Active", "Connect", "degraded", "rejected", "error", "gone", "not", "exited"),
    Tone.CHANGING: ("OpenSent", "OpenConfirm", "starting", "pending", "retiring", "warning", "draining", "drained"),
    Tone.ASIDE: ("reserved", "free", "lost", "-"),
}
_TONES = {word: tone for tone, words in _STATES.items() for word in words}


def coloured() -> bool:
    """Whether stdout is a terminal whose user has nothing against colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, tone: Tone) -> str:
    """`text` in its tone, on a terminal; else `text`."""
    if tone is Tone.PLAIN or not text or not coloured():
        return text
    return _ansi(text, tone.value)


def tone_of(text: str) -> Tone:
    """The tone of a text that begins with a state: `Established for 3s`, `not installed: ...`; `-` is dim."""
    first = text.partition(" ")[0].rstrip(":,")
    return _TONES.get(first, Tone.PLAIN)


def _ansi(text: str, style: str) -> str:
    from rich.color import ColorSystem
    from rich.style import Style

    return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)
