"""A pool goes from no encapsulation to IPIP, to VXLAN and back while the nodes follow one after the other, 5 s apart.

Prints what got lost of the pings between all pods; exit code 0 when that is at most a second of any.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import labs
import switching

WITHIN_S = 120.0  # nobody is fast in here
INTERVAL_S = 0.1
STEPS = ("ipip", "vxlan", "none")


def main() -> int:
    """The lab, its pings, and down again."""
    labs.POLL_S = 0.5
    with tempfile.TemporaryDirectory() as name, switching.running(Path(name), (4,)) as lab:
        lost = switching.losses(
            lab, STEPS, Path(name), versions=(4,), interval_s=INTERVAL_S, within=WITHIN_S
        )
        print(f"lost: {lost or 'nothing'}", flush=True)
    return 0 if max(lost.values(), default=0) <= 1.0 / INTERVAL_S else 1


if __name__ == "__main__":
    sys.exit(main())
