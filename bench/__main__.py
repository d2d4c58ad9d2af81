"""Run the benchmarks: `python -m bench [NAME ...]`. Needs root, iproute2 and BIRD."""
from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

from bench.fabric import BenchError, remove_abandoned
from bench.page import write_page
from bench.report import RESULT, Row, print_table, write_json

BENCHMARKS = (
    "mesh", "start", "announce", "writer", "receive", "failover", "failures", "bfd", "link", "flap", "drift", "reflect",
    "encap", "footprint", "cli", "rib", "plan",
)  # fmt: skip


def run_one(name: str) -> list[Row]:
    """The rows of one benchmark, which is the module `bench.bench_NAME`."""
    module = importlib.import_module(f"bench.bench_{name}")
    print(f"==> {name}: {(module.__doc__ or '').splitlines()[0]}", file=sys.stderr, flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="calicopy-bench-") as directory:
        rows: list[Row] = module.measure(Path(directory))
    print(f"    took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return [replace(row, benchmark=name) for row in rows]


def main(names: list[str]) -> int:
    """Run the named ones (default: all). 1 when one could not be run, else 0, whether targets were met or not."""
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("the benchmarks make network namespaces: run them as root", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    remove_abandoned()
    rows: list[Row] = []
    failed = False
    for name in names or BENCHMARKS:
        try:
            rows += run_one(name)
        except BenchError as error:
            print(f"    {name} failed: {error}", file=sys.stderr)
            failed = True
        except Exception:  # the other figures are wanted all the same
            print(f"    {name} failed:\n{traceback.format_exc()}", file=sys.stderr)
            failed = True
    print_table(rows)
    write_json(rows, RESULT)
    if not names and not failed:
        write_page(rows)
    print(f"written to {RESULT}; {sum(each.met is False for each in rows)} targets missed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
