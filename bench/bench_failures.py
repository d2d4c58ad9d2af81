"""A node dies, a path fails in one direction, processes are killed: what is sent into the void, and what is lost.

A flood goes from one host to 32 addresses behind another. The clock starts when the path is cut, and stops with the
last packet that leaves the sender's interface for the dead host. Cut in silence: the dead host's port leaves the
switch, so that nobody sees a carrier go. Beside it, cut in the same way: BIRD with Calico's settings (hold time 240 s,
no BFD; one cut, waited for while all else is measured), and BIRD with BFD at the same 100 ms x 3.

Processes are killed with SIGKILL at the host that the flood goes to, and at the one that it comes from. What is lost is
what left the sender and did not arrive.
"""
from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.fabric import Fabric, wait_for, watching
from bench.flood import PORT, Capture, flooding, udp_to
from bench.report import Row, row, say, spread
from bench.routers import BIRD_PROTOCOL, OUR_PROTOCOL, Bird, Node, blocks, cluster

CUTS = int(os.environ.get("BENCH_CUTS", "20"))
OTHER_CUTS = 5  # of BIRD with BFD, and in each single direction
FLOODED = 32
SILENCE_S = 1.5  # so long without a packet: the flood has ended for good
CALICO_HOLD_S = 240
BACK_S = 3.0  # how long the flood goes on after a kill: more than any part needs to be back
TARGET_S, WORST_S, ONE_WAY_S = 0.3, 0.4, 0.5

Pair = tuple[str, str]
OURS, CALICO, FAIR = ("n1", "n2"), ("b1", "b2"), ("f1", "f2")
FIRST_BLOCK = {OURS: 64, CALICO: 1024, FAIR: 2048}

KILLED: dict[str, tuple[str, ...]] = {
    "the agent": ("agent",),
    "ExaBGP": ("exabgp",),
    "the bridge": ("bridge",),
    "all but BFD": ("supervisor", "agent", "exabgp", "bridge"),
}


def measure(directory: Path) -> list[Row]:
    """Seconds until nothing is sent any more; packets lost; routes deleted."""
    with Fabric(directory, *OURS, *CALICO, *FAIR) as fabric, ExitStack() as stack:
        calico = stack.enter_context(_bird_pair(fabric, CALICO, hold_time_s=CALICO_HOLD_S))
        leaving, cut_at = _cut_for_long(fabric, stack)
        silent, one_way, lost, deleted = _ours(fabric)
        fair, fair_one_way = _fair(fabric)
        say("waiting for BIRD with Calico's settings")
        wait_for(lambda: not calico.tell("show route protocol peer1").count("/26"), what="BIRD gives up", within=360)
        waited = max(leaving.times()) - cut_at
    say(f"cut in silence, BIRD with Calico's settings: {waited:.1f} s")
    worst = {"with BFD": max(fair)}
    return [
        row(f"path cut in silence: last packet to it, median of {CUTS}", "s", silent,
            bird=waited, others={"with BFD": fair}, target=TARGET_S),
        row(f"path cut in silence: last packet to it, worst of {CUTS}", "s", max(silent), others=worst, target=WORST_S),
        row("path cut in one direction: last packet either way, worst", "s", max(one_way),
            others={"with BFD": max(fair_one_way)}, target=ONE_WAY_S),
        *(row(f"{what} killed at either end: packets lost", "packets", each, target=0) for what, each in lost.items()),
        row("all that was killed: routes deleted at either end", "routes", deleted, target=0),
    ]  # fmt: skip


# -- calicopy ---------------------------------------------------------------------------------------------------


def _ours(fabric: Fabric) -> tuple[list[float], list[float], dict[str, int], int]:
    """Seconds of each cut in silence, of each in one direction; packets lost by what was killed; routes deleted."""
    held = {"n1": blocks(1), "n2": _blocks(OURS)}
    config = cluster({name: (fabric.address(name), held[name]) for name in OURS})
    nodes = {name: Node(fabric, name, config) for name in OURS}
    for node in nodes.values():
        node.start()

    def ready() -> None:
        for node in nodes.values():
            node.wait_established(1)
            node.wait_bfd(1)
        # Cut so often, the peer is damped: 30 s at most.
        wait_for(lambda: fabric.routes("n1", OUR_PROTOCOL) >= FLOODED + 1, what="routes", within=90)

    silent = [_cut(fabric, OURS, ready, _unreached(fabric, "n2")) for _ in range(CUTS)]
    say(f"cut in silence, calicopy: {spread(silent)} s")
    one_way = [_cut(fabric, OURS, ready, _deaf(fabric, host)) for host in OURS for _ in range(OTHER_CUTS)]
    say(f"cut in one direction, calicopy: {spread(one_way)} s")
    lost: dict[str, int] = {}
    with watching(fabric, "n1", OUR_PROTOCOL) as here, watching(fabric, "n2", OUR_PROTOCOL) as there:
        for what, parts in KILLED.items():
            for name in OURS:
                ready()
                lost[what] = lost.get(what, 0) + _kill(fabric, nodes[name], parts)
        deleted = len(here.removed()) + len(there.removed())
    say("killed, packets lost: " + ", ".join(f"{what} {count}" for what, count in lost.items()))
    for node in nodes.values():
        node.stop()
    return silent, one_way, lost, deleted


def _kill(fabric: Fabric, node: Node, parts: tuple[str, ...]) -> int:
    """How many packets are lost when these processes of a node are killed. They are started again as they would be."""
    arriving = Capture(fabric, OURS[1], udp_to(PORT))
    leaving = Capture(fabric, OURS[0], udp_to(PORT), leaving=True)
    with flooding(fabric, OURS[0], _addresses(OURS)):
        wait_for(lambda: arriving.holds_one, what="the flood arrives")
        pids = node.processes()
        for part in parts:
            os.kill(pids[part], signal.SIGKILL)
        if "supervisor" in parts:
            node.start_again()
        time.sleep(BACK_S)
    return len(leaving.times()) - len(arriving.times())


# -- the cuts ---------------------------------------------------------------------------------------------------

Cut = tuple[Callable[[], None], Callable[[], None]]


def _unreached(fabric: Fabric, host: str) -> Cut:
    return (lambda: fabric.set_reached(host, reached=False)), (lambda: fabric.set_reached(host, reached=True))


def _deaf(fabric: Fabric, host: str) -> Cut:
    """What the host sends is lost, so nobody hears it."""
    return (lambda: fabric.cut_from(host)), fabric.join_again


def _cut(fabric: Fabric, pair: Pair, ready: Callable[[], None], cut: Cut) -> float:
    """Seconds from the cut to the last packet that the first of the pair sends to the other."""
    ready()
    begin, end = cut
    with flooding(fabric, pair[0], _addresses(pair)):
        leaving = Capture(fabric, pair[0], udp_to(PORT), leaving=True)
        wait_for(lambda: leaving.holds_one, what="the flood leaves")
        began = time.time()
        begin()
        try:
            times = _until_silent(fabric, pair[0], leaving)
        finally:
            end()
    return max([began, *times]) - began


def _until_silent(fabric: Fabric, host: str, first: Capture) -> list[float]:
    """All packets, until none has come for SILENCE_S."""
    time.sleep(SILENCE_S)
    times = first.times()
    while time.time() - max(times, default=0.0) < SILENCE_S:
        more = Capture(fabric, host, udp_to(PORT), leaving=True)
        time.sleep(SILENCE_S)
        times += more.times()
    return times


def _blocks(pair: Pair) -> list[str]:
    return blocks(FLOODED, first=FIRST_BLOCK[pair])


def _addresses(pair: Pair) -> list[str]:
    return [block.partition("/")[0] for block in _blocks(pair)]


# -- BIRD beside it ---------------------------------------------------------------------------------------------


@contextmanager
def _bird_pair(fabric: Fabric, pair: Pair, *, hold_time_s: int, bfd: bool = False) -> Iterator[Bird]:
    """Both run, and the first has the routes of the other, where nothing is changed by hand."""
    near, far = (
        Bird(fabric, host, [fabric.address(other)], statics=statics, enabled=True, hold_time_s=hold_time_s, bfd=bfd)
        for host, other, statics in ((pair[0], pair[1], {}), (pair[1], pair[0], {"st": _blocks(pair)}))
    )
    near.start()
    far.start()
    try:
        _bird_ready(fabric, pair, near, bfd=bfd)
        yield near
    finally:
        far.stop()
        near.stop()


def _bird_ready(fabric: Fabric, pair: Pair, bird: Bird, *, bfd: bool) -> None:
    bird.wait_established()
    if bfd:
        wait_for(lambda: "Up" in bird.tell("show bfd sessions"), what="BIRD's BFD is up", within=60)
    wait_for(lambda: fabric.routes(pair[0], BIRD_PROTOCOL) >= FLOODED, what="BIRD's routes", within=60)


def _cut_for_long(fabric: Fabric, stack: ExitStack) -> tuple[Capture, float]:
    """Cut BIRD with Calico's settings off; what leaves for it from now on, and when (as `time.time`) it was cut."""
    stack.enter_context(flooding(fabric, CALICO[0], _addresses(CALICO)[:1]))
    # As behind a router, which goes on to answer: else ARP fails after half a minute, and the routes lead nowhere.
    fabric.keep_neighbor(CALICO[0], CALICO[1])
    leaving = Capture(fabric, CALICO[0], udp_to(PORT), leaving=True)
    wait_for(lambda: leaving.holds_one, what="the flood leaves")
    cut_at = time.time()
    fabric.set_reached(CALICO[1], reached=False)
    return leaving, cut_at


def _fair(fabric: Fabric) -> tuple[list[float], list[float]]:
    """The same cuts with BIRD and its BFD."""
    with _bird_pair(fabric, FAIR, hold_time_s=9, bfd=True) as bird:

        def ready() -> None:
            _bird_ready(fabric, FAIR, bird, bfd=True)

        silent = [_cut(fabric, FAIR, ready, _unreached(fabric, FAIR[1])) for _ in range(OTHER_CUTS)]
        one_way = [_cut(fabric, FAIR, ready, _deaf(fabric, host)) for host in FAIR for _ in range(OTHER_CUTS)]
    say(f"BIRD with BFD: cut in silence {spread(silent)} s, in one direction {spread(one_way)} s")
    return silent, one_way
