"""`calicopy doctor`: checks a host, before the agent runs and while it does, and says what to do.

Theory of operation: each check looks at one thing and gives findings; it changes nothing. One that cannot look says so
and stops no other one. The checks run beside each other, so that the slowest (probing MTUs) is how long it takes.
"""
from __future__ import annotations

from calicopy.doctor.checks import CHECKS, examine
from calicopy.doctor.result import Finding, Setting, Verdict

__all__ = ["CHECKS", "Finding", "Setting", "Verdict", "examine"]
