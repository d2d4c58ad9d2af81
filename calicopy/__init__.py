"""calicopy: pod routing for plain Linux hosts."""
from __future__ import annotations

__version__ = "0.1.0"
