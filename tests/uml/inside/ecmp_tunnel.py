"""Two routers say that an address is behind two nodes: `s` sends through tunl0 to both, and nothing goes bare.

Calico's routes of several members leave the tunnel out (calico#4462, bird#90). Prints the route, its nexthop objects
and how the flows spread; exit code 0 when all of that holds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ecmp
import labs

WITHIN_S = 120.0  # nobody is fast in here


def main() -> int:
    """The lab, its checks, and down again."""
    labs.POLL_S = 0.5
    with tempfile.TemporaryDirectory() as name, ecmp.ecmp_lab(Path(name), "ipip", ends_by_hand=True) as lab:
        ecmp.check(lab, "ipip", within=WITHIN_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
