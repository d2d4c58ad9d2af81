"""Adj-RIB-In, policy and decision for 100,000 prefixes in 16 attribute sets, with one and with two paths each.

    bench/bench_rib.py [--json]

Figures are microseconds per path, the best of a few runs, and beside them the same in units of a fixed pure-Python loop
(`calibrate`), so that they can be compared between machines. The target, 1.5 us a path for policy and decision, stands
for a machine that does the loop in `REFERENCE_US` a turn. `measure` gives rows for the table of `make bench`.
"""
from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from calicopy.bgp import NlriBatch, PathAttributes, Update
from calicopy.net import Family, Packed, Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.rib import NodeFacts, PeerInfo, PoolFacts, Rib, RibContext

PREFIXES = 100_000
SETS = 16
PER_UPDATE = 800
SLICE = 2_000
TARGET_US = 1.5
REFERENCE_US = 0.05
RUNS = 5
AS = 64512
POOL = Prefix.parse("10.128.0.0/9")
ADDRESSES = [IPv4Address(f"10.0.0.{number}") for number in range(1, SETS + 3)]


def calibrate(turns: int = 500_000) -> float:
    """Microseconds for a turn of a fixed loop of integer and dictionary work."""
    table: dict[int, int] = dict.fromkeys(range(16), 0)
    started = time.perf_counter()
    for turn in range(turns):
        table[turn & 15] += 1
    return (time.perf_counter() - started) * 1e6 / turns


def rib_with_peers(paths: int) -> tuple[Rib, list[PeerInfo]]:
    """An agent's RIB and `paths` reflectors that are up."""
    nodes = {int(ip): NodeFacts(str(ip), int(ip), AS, frozenset({ip})) for ip in ADDRESSES}
    router_id = int(ADDRESSES[0])
    context = RibContext(AS, AS, router_id, router_id, frozenset({ADDRESSES[0]}), (PoolFacts(POOL, 26),), nodes)
    rib = Rib(context)
    peers = []
    for number in range(1, paths + 1):
        address = IPv4Address(f"10.0.1.{number}")
        peers.append(PeerInfo(str(address), f"rr{number}", address, AS, AS, int(address), trust_owner=True))
        rib.peer_up(peers[-1])
    rib.set_next_hops({address: NextHopFacts(address, reachable=True) for address in ADDRESSES})
    return rib, peers


def updates(prefixes: list[Packed]) -> list[Update]:
    """The prefixes, `PER_UPDATE` to a message, the attribute sets by turns."""
    owners = ADDRESSES[1 : SETS + 1]
    sets = [PathAttributes(local_pref=100, originator_id=ip, large_communities=((AS, 1, int(ip)),)) for ip in owners]
    found = []
    for number, start in enumerate(range(0, len(prefixes), PER_UPDATE)):
        which = number % SETS
        batch = NlriBatch(Family.IPV4, prefixes[start : start + PER_UPDATE], None, owners[which])
        found.append(Update(announced=(batch,), attributes=sets[which]))
    return found


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def one_run(paths: int, messages: list[Update]) -> tuple[float, float, float]:
    """(us a path to store, us a path for policy and decision, ms of the longest slice)."""
    rib, peers = rib_with_peers(paths)
    slices: list[float] = []

    def store() -> None:
        for peer in peers:
            for message in messages:
                rib.update(peer.key, message)

    def decide() -> None:
        more = True
        while more:
            started = time.perf_counter()
            more = rib.decide(SLICE).more
            slices.append(time.perf_counter() - started)

    scale = 1e6 / (PREFIXES * paths)
    return timed(store) * scale, timed(decide) * scale, max(slices) * 1e3


def measure(_directory: object = None) -> list[dict[str, object]]:
    """Rows of {name, unit, calicopy, peers, ratio, target, met}; `ratio`: in turns of the calibration loop."""
    messages = updates([block.packed for block, _ in zip(POOL.subnets(26), range(PREFIXES), strict=False)])
    rows: list[dict[str, object]] = []
    for paths in (1, 2):
        runs = [(*one_run(paths, messages), calibrate()) for _ in range(RUNS)]
        turn = min(run[3] for run in runs)
        store, decide, longest = (min(run[index] for run in runs) for index in range(3))
        target = TARGET_US * turn / REFERENCE_US
        for name, value, unit, limit in (
            (f"store a path, {paths} a prefix", store, "us", None),
            (f"policy and decision a path, {paths} a prefix", decide, "us", target),
            (f"longest slice of {SLICE}, {paths} a prefix", longest, "ms", 20.0),
        ):
            rows.append({
                "name": f"rib: {name}", "unit": unit, "calicopy": round(value, 3), "peers": {},
                "ratio": round(value / turn, 2) if unit == "us" else None,
                "target": None if limit is None else round(limit, 3),
                "met": None if limit is None else value <= limit,
            })  # fmt: skip
    return rows


def main() -> int:
    """Print the rows as a table, or as JSON."""
    rows = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        figure = f"{row['name']:48} {row['calicopy']:8} {row['unit']:3}"
        print(f"{figure} target {row['target']!s:8} loop turns {row['ratio']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
