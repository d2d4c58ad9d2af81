"""Policy and decision for 100,000 prefixes in 16 attribute sets, with one and two paths each, without and with filters.

    python -m bench.bench_rib       # needs no root

Figures are microseconds of CPU time per path, the best of a few runs, from the decoded UPDATE to the selection: stored
in Adj-RIB-In and judged by the import policy (which cannot be told apart: a path is judged as it is stored), then
decided. With the filter that looks at prefixes these come in no order, so that every UPDATE has some of each class.
Beside them stands the same in turns of a fixed pure-Python loop (`calibrate`), so that they can be compared between
machines: RATIO is a figure in such turns. The target is 1.5 us a path for policy and decision, as it stands, on
whatever machine.
"""
from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

from bench.report import Row, print_table, row
from calicopy.agent import GC_THRESHOLD
from calicopy.bgp import NlriBatch, PathAttributes, Update
from calicopy.core.core import DECIDE_SLICE
from calicopy.net import Family, Packed, Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.policy import Action, Changes, Filter, Match, PrefixMatch, Rule
from calicopy.rib import NodeFacts, PeerInfo, PoolFacts, Rib, RibContext

PREFIXES = 100_000
SETS = 16
PER_UPDATE = 800
TARGET_US = 1.5
SLICE_TARGET_MS = 20.0
RUNS = 7
AS = 64512
POOL = Prefix.parse("10.128.0.0/9")
ADDRESSES = [IPv4Address(f"10.0.0.{number}") for number in range(1, SETS + 3)]
ATTRIBUTE_FILTER = Filter("by-attribute", (
    Rule("old", Match(communities=frozenset({5})), action=Action.REJECT),
    Rule("marked", Match(communities=frozenset({7})), Changes(local_pref=200, add_communities=(9,))),
))  # fmt: skip
PREFIX_FILTER = Filter("by-prefix", tuple(
    Rule(text, Match(prefixes=(PrefixMatch(Prefix.parse(text), 24, 32),)), Changes(local_pref=100 + number))
    for number, text in enumerate(("10.129.0.0/16", "10.130.3.0/24", "10.131.128.0/17", "10.136.0.0/14"))
))  # fmt: skip
FILTERS: dict[str, tuple[Filter, ...]] = {
    "no filter": (), "by attribute": (ATTRIBUTE_FILTER,), "by prefix": (PREFIX_FILTER,)
}  # fmt: skip


def calibrate(turns: int = 500_000) -> float:
    """Microseconds for a turn of a fixed loop of integer and dictionary work."""
    table: dict[int, int] = dict.fromkeys(range(16), 0)
    started = time.process_time()
    for turn in range(turns):
        table[turn & 15] += 1
    return (time.process_time() - started) * 1e6 / turns


def rib_with_peers(paths: int, filters: tuple[Filter, ...]) -> tuple[Rib, list[PeerInfo]]:
    """An agent's RIB and `paths` reflectors that are up, whose routes go through `filters`."""
    nodes = {int(ip): NodeFacts(str(ip), int(ip), AS, frozenset({ip})) for ip in ADDRESSES}
    router_id = int(ADDRESSES[0])
    context = RibContext(AS, AS, router_id, router_id, frozenset({ADDRESSES[0]}), (PoolFacts(POOL, 26),), nodes)
    rib = Rib(context)
    peers = []
    for number in range(1, paths + 1):
        address = IPv4Address(f"10.0.1.{number}")
        info = PeerInfo(str(address), f"rr{number}", address, AS, AS, int(address), trust_owner=True)
        peers.append(replace(info, import_filters=filters))
        rib.peer_up(peers[-1])
    rib.set_next_hops({address: NextHopFacts(address, reachable=True) for address in ADDRESSES})
    return rib, peers


def updates(prefixes: list[Packed]) -> list[Update]:
    """The prefixes, `PER_UPDATE` to a message, the attribute sets by turns."""
    owners = ADDRESSES[1 : SETS + 1]
    sets = [
        PathAttributes(local_pref=100, originator_id=ip, communities=(number,), large_communities=((AS, 1, int(ip)),))
        for number, ip in enumerate(owners)
    ]
    found = []
    for number, start in enumerate(range(0, len(prefixes), PER_UPDATE)):
        which = number % SETS
        batch = NlriBatch(Family.IPV4, prefixes[start : start + PER_UPDATE], None, owners[which])
        found.append(Update(announced=(batch,), attributes=sets[which]))
    return found


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def decide(rib: Rib) -> float:
    """Decide all; milliseconds of the longest slice."""
    longest, more = 0.0, True
    while more:
        started = time.process_time()
        more = rib.decide(DECIDE_SLICE).more
        longest = max(longest, time.process_time() - started)
    return longest * 1e3


def one_run(paths: int, filters: tuple[Filter, ...], messages: list[Update]) -> tuple[float, float, float, float]:
    """(us a path to store and judge, us a path to decide, ms of the longest slice, ms of that when filters change)."""
    rib, peers = rib_with_peers(paths, filters)
    slices: list[float] = []

    def store() -> None:
        for peer in peers:
            for message in messages:
                rib.update(peer.key, message)

    scale = 1e6 / (PREFIXES * paths)
    stored, decided = timed(store) * scale, timed(lambda: slices.append(decide(rib))) * scale
    rib.set_peer(replace(peers[0], import_filters=(*filters, ATTRIBUTE_FILTER)))
    return stored, decided, slices[0], decide(rib)


def measure(_directory: object = None) -> list[Row]:
    """`ratio`: in turns of the calibration loop."""
    prefixes = [block.packed for block, _ in zip(POOL.subnets(26), range(PREFIXES), strict=False)]
    ordered = updates(prefixes)
    random.Random(1).shuffle(prefixes)
    scattered = updates(prefixes)
    gc.set_threshold(GC_THRESHOLD, 20, 100)  # as the agent has it
    turn = min(calibrate() for _ in range(RUNS))
    rows = [_row("a turn of the calibration loop", "us", turn, turn)]
    for paths in (1, 2):
        for name, filters in FILTERS.items():
            messages = scattered if name == "by prefix" else ordered
            runs = [one_run(paths, filters, messages) for _ in range(RUNS)]
            turn = min(turn, *(calibrate() for _ in range(RUNS)))
            store, decided, longest, changed = (min(run[index] for run in runs) for index in range(4))
            what = f"{paths} a prefix, {name}"
            rows += [
                _row(f"store and judge a path, {what}", "us", store, turn),
                _row(f"decide a path, {what}", "us", decided, turn),
                _row(f"policy and decision a path, {what}", "us", store + decided, turn, TARGET_US),
                _row(f"longest slice of {DECIDE_SLICE}, {what}", "ms", longest, turn, SLICE_TARGET_MS),
                _row(f"longest slice when filters change, {what}", "ms", changed, turn, SLICE_TARGET_MS),
            ]
    return rows


def _row(name: str, unit: str, value: float, turn: float, target: float | None = None) -> Row:
    made = row(f"rib: {name}", unit, value, target=target)
    return replace(made, ratio=round(value / turn, 2) if unit == "us" else None)


if __name__ == "__main__":
    print_table(measure())
