"""calicopy beside BIRD, FRR, GoBGP and OpenBGPD, one cell after the other: `make interop`.

Each daemon gets a lab of its own with three calicopy nodes, and goes through three stages in it: in the nodes' AS as
their route reflector, as a client of a calicopy reflector, and in an AS of its own. Exit code 1 when a cell fails.

    python -m tests.interop [DAEMON ...]     with DAEMON: only these columns, and docs/interop.md is left alone
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from tests.interop import matrix, report
from tests.interop.cells import Outcome

LOGS = Path("build/logs/interop")
RESULT = Path("build/interop.json")
PAGE = Path("docs/interop.md")


def main() -> int:
    """Run the columns, tell each cell, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("daemons", metavar="DAEMON", nargs="*", help=", ".join(each.name for each in matrix.DAEMONS))
    wanted = parser.parse_args().daemons
    unknown = set(wanted) - {each.name for each in matrix.DAEMONS}
    if unknown:
        parser.error(f"no daemon {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        print("interop: labs need root: they make network namespaces", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    shutil.rmtree(LOGS, ignore_errors=True)
    columns = [
        matrix.run(each, LOGS / each.name, tell=lambda cell: print(report.cell_line(cell), flush=True))
        for each in matrix.DAEMONS
        if not wanted or each.name in wanted
    ]
    print(f"\n{report.table(columns)}\n")
    report.write_json(RESULT, columns)
    failed = [cell for column in columns for cell in column.cells if cell.outcome is Outcome.FAILED]
    for cell in failed:
        reason = f"{cell.daemon}: {cell.row.value}: {cell.note}"
        print(f"interop: FAIL: {reason}\n    logs: {LOGS / cell.daemon}", file=sys.stderr)
    changed = not wanted and not failed and report.rewrite(PAGE, columns)
    print(f"interop: {len(failed)} cells failed; {time.monotonic() - began:.0f} s; written to {RESULT}"
          + (f"; {PAGE} changed: commit it" if changed else ""))  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
