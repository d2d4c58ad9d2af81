"""No step of the core is long, however much comes at once."""
from __future__ import annotations

import time
from itertools import islice

import simparts
from corescript import N2, N3, Script, attributes, node, snapshot

from calicopy.core import events as ev
from calicopy.net import Encapsulation, Family
from calicopy.seam import speaker as sp

COUNT = 20_000
SINGLES = 4_000
STEP_S = 0.05  # of CPU; the rule is 20 ms, and some machines are slow


def bodies(count: int, per_body: int) -> tuple[bytes, ...]:
    """UPDATEs of n2 with so many /26 of 10.128.0.0/9 in all, which it owns."""
    prefixes = (f"10.{128 + (n >> 10)}.{n >> 2 & 255}.{(n & 3) * 64}/26" for n in range(count))
    made = []
    while part := list(islice(prefixes, per_body)):
        made.append(simparts.update_body(part, next_hop=N2, attributes=attributes(2)))
    return tuple(made)


def steps(script: Script, *events: ev.CoreEvent) -> list[float]:
    """Run until it is quiet; how long each call took."""
    took: list[float] = []
    waiting = list(events)
    while waiting or script.core.deadline(script.now) == script.now:
        began = time.thread_time()
        commands = script.core.handle(waiting, script.now)
        took.append(time.thread_time() - began)
        waiting = [answer for command in commands for answer in script._answer(command)]
    return took


def large(count: int, per_body: int) -> tuple[Script, list[float]]:
    pools = [{"cidr": "10.128.0.0/9"}, {"cidr": "10.20.0.0/16"}]
    script = Script(node(pools=pools), snapshot("10.20.0.0/26")).boot().up(N2).up(N3).end_of_rib(N3)
    return script, steps(script, sp.UpdatesReceived(N2, bodies(count, per_body)))


def test_a_large_table_is_taken_decided_and_written_in_short_steps() -> None:
    script, took = large(COUNT, 800)
    assert len(script.routes) == COUNT + 1
    assert sorted(took)[len(took) * 9 // 10] < STEP_S
    assert len(took) > 10


def test_a_large_table_that_leaves_at_once_is_removed_in_short_steps() -> None:
    script, _ = large(COUNT, 800)
    took = steps(script, sp.NotificationSeen(N2, False, b"\x06\x02"), sp.PeerDown(N2, "closed"))
    assert len(script.routes) == 1
    assert sorted(took)[len(took) * 9 // 10] < STEP_S


def test_single_prefixes_in_updates_of_their_own_are_taken_in_slices_too() -> None:
    script, took = large(SINGLES, 1)
    assert len(script.routes) == SINGLES + 1
    assert sorted(took)[len(took) * 9 // 10] < STEP_S


def test_link_events_overtake_a_table_that_is_being_taken() -> None:
    script, _ = large(800, 800)
    script.core.handle([sp.UpdatesReceived(N2, bodies(SINGLES, 1))], script.now)
    script.core.handle([ev.TunnelSet(Encapsulation.VXLAN, 7)], script.now)
    assert script.core.host.tunnels.ifindexes[Encapsulation.VXLAN] == 7
    assert script.core.deadline(script.now) == script.now
    assert Family.IPV4 in script.core.peers[N2].families
