"""When the core reads, writes and sweeps the kernel's routes."""
from __future__ import annotations

import errno
from collections import Counter

from corescript import N2, N3, Script, fresh, node, snapshot

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.kernel_routes import KernelRoutes
from calicopy.core.show import problems, status_view
from calicopy.core.views import Health
from calicopy.fib import Fib, KernelDump, NextHopChange, NextHopObject, NextHopOp, NextHopResult, WriteResult
from calicopy.net import Encapsulation, Family, Prefix
from calicopy.net.interface import InterfaceFacts
from calicopy.seam import speaker as sp

OURS, THEIRS, OLD, POD = "10.244.0.0/26", "10.244.1.0/26", "10.244.1.64/26", "10.244.0.5/32"
V4 = Family.IPV4


def old(*held: type) -> Script:
    """A node whose kernel holds routes of an earlier agent, with two sessions up; `held` is not answered."""
    script = Script(node(), snapshot(OURS), kernel=(OURS, THEIRS, OLD, POD))
    script.held |= set(held)
    return script


def test_nothing_is_swept_before_every_peer_is_in_sync() -> None:
    script = old().boot().up(N2).hear(N2, THEIRS).end_of_rib(N2).wait(60.0)
    assert OLD in script.routes
    assert script.up(N3).end_of_rib(N3).routes == {OURS, THEIRS}


def test_what_is_left_over_goes_when_the_restart_time_has_passed_since_the_start() -> None:
    script = old().boot().up(N2).hear(N2, THEIRS).end_of_rib(N2).wait(119.0)
    assert OLD in script.routes
    assert script.wait(2.0).routes == {OURS, THEIRS}


def test_nothing_is_swept_before_the_workloads_were_told() -> None:
    script = Script(node(1), snapshot(OURS), kernel=(OURS, POD))
    script.tell(ev.InterfacesChanged((InterfaceFacts(2, "eth0", True, True, 1500, ((node(1).addresses[0], 24),)),)))
    assert script.routes == {OURS, POD}
    script.tell(ev.WorkloadsChanged({Prefix.parse(POD): 7}))
    assert script.routes == {OURS, POD}
    assert script.tell(ev.WorkloadsChanged({})).routes == {OURS}


def test_nothing_is_swept_before_the_workloads_were_told_however_late_it_is() -> None:
    script = Script(node(1), snapshot(OURS), kernel=(OURS, POD))
    script.tell(ev.InterfacesChanged((InterfaceFacts(2, "eth0", True, True, 1500, ((node(1).addresses[0], 24),)),)))
    assert script.wait(130.0).routes == {OURS, POD}
    assert script.core.deadline(script.now) != script.now
    assert script.tell(ev.WorkloadsChanged({})).routes == {OURS}


def test_host_routes_of_workloads_that_nobody_told_of_are_not_swept_however_late_it_is() -> None:
    script = Script(node(1), snapshot(OURS), kernel=(OURS, POD))
    script.tell(ev.InterfacesChanged((InterfaceFacts(2, "eth0", True, True, 1500, ((node(1).addresses[0], 24),)),)))
    assert POD in script.wait(500.0).routes


def test_nothing_is_swept_before_the_next_hops_of_what_was_heard_are_known() -> None:
    script = old(do.ResolveNextHops).boot().up(N2).up(N3).hear(N2, THEIRS).end_of_rib(N2, N3)
    assert script.routes == {OURS, THEIRS, OLD, POD}
    (asked,) = script.seen(do.ResolveNextHops)
    answers = script._answer
    script.held.clear()
    script.tell(*answers(asked))
    assert script.routes == {OURS, THEIRS}
    assert not any(
        Prefix.parse(THEIRS).packed in batch.prefixes and batch.target is None
        for write in script.seen(do.WriteRoutes) for batch in write.batches
    )  # fmt: skip


def test_nothing_is_swept_before_the_tunnel_is_there() -> None:
    pools = [{"cidr": "10.244.0.0/22", "encapsulation": "ipip"}]
    script = Script(node(pools=pools), snapshot(OURS), kernel=(OURS, THEIRS, OLD))
    script.held.add(do.SetTunnel)
    script.boot().up(N2).up(N3).hear(N2, THEIRS).end_of_rib(N2, N3)
    assert script.routes == {OURS, THEIRS, OLD}
    script.tell(ev.TunnelSet(Encapsulation.IPIP, 9))
    assert script.routes == {OURS, THEIRS}


def test_a_core_without_a_dump_writes_nothing_and_is_not_kept_busy() -> None:
    script = old(do.DumpRoutes).boot()
    assert not script.seen(do.WriteRoutes)
    assert len(script.take(do.DumpRoutes)) == 1
    assert script.core.deadline(script.now) not in (None, script.now)


def test_a_dump_that_fails_is_tried_again_every_second_and_said_once() -> None:
    script = old(do.DumpRoutes).boot()
    for _ in range(3):
        script.tell(ev.KernelDumpFailed("EPERM: not permitted")).wait(1.0)
    assert len(script.seen(do.DumpRoutes)) == 4
    assert len([line for line in script.seen(do.Log) if line.line.code == "dump-failed"]) == 1
    assert "EPERM" in " ".join(problem.reason.message for problem in problems(script.core))


def test_nothing_is_wrong_after_the_sweep_limit_while_the_dump_still_fails() -> None:
    script = old(do.DumpRoutes).boot().tell(ev.KernelDumpFailed("EPERM")).wait(130.0)
    assert script.core.deadline(script.now) != script.now


def test_events_lost_during_a_dump_make_another_one_follow() -> None:
    script = fresh()
    script.held.add(do.DumpRoutes)
    script.take(do.Log)
    script.tell(ev.KernelEventsLost(), ev.KernelEventsLost())
    assert len(script.seen(do.DumpRoutes)) == 1
    script.held.clear()
    script.tell(*script._answer(do.DumpRoutes()))
    assert len(script.seen(do.DumpRoutes)) == 2


def test_the_kernel_and_the_settings_are_looked_at_again_every_thirty_seconds() -> None:
    script = Script(node(1)).boot()
    script.done.clear()
    script.wait(95.0)
    assert len(script.seen(do.DumpRoutes)) == 3
    assert len(script.seen(do.SetHost)) == 3


def test_two_writes_are_under_way_at_a_time_and_no_prefix_in_both() -> None:
    script = old().boot().up(N2).up(N3).end_of_rib(N3).hear(N2, THEIRS)
    script.held.add(do.WriteRoutes)
    script.done.clear()
    script.hear(N2, "10.244.2.0/26").hear_withdrawn(N2, THEIRS)
    script.hear_withdrawn(N2, "10.244.2.0/26").hear(N2, "10.244.2.64/26")
    writes = script.seen(do.WriteRoutes)
    assert len(writes) == 2
    given = [packed for write in writes for batch in write.batches for packed in batch.prefixes]
    assert len(given) == len(set(given))
    script.held.clear()
    for write in writes:
        script.tell(ev.RoutesWritten(tuple(WriteResult(batch) for batch in write.batches)))
    assert "10.244.2.64/26" in script.routes
    deletes = {packed for write in script.seen(do.WriteRoutes) for batch in write.batches
               if batch.target is None for packed in batch.prefixes}
    assert deletes == {Prefix.parse(THEIRS).packed, Prefix.parse("10.244.2.0/26").packed}


def test_a_write_that_fails_is_shown_and_tried_again_later() -> None:
    script = old().boot().up(N2).up(N3).end_of_rib(N2, N3)
    script.held.add(do.WriteRoutes)
    script.done.clear()
    script.hear(N2, "10.244.2.0/26")
    (write,) = script.take(do.WriteRoutes)
    packed = Prefix.parse("10.244.2.0/26").packed
    script.tell(ev.RoutesWritten((WriteResult(write.batches[0], [(packed, 101)]),)))
    assert script.core.fib.counts().failed == 1
    assert any(problem.reason.code == "routes-failed" for problem in problems(script.core))
    script.held.clear()
    assert "10.244.2.0/26" in script.wait(1.0).routes


def test_a_prefix_that_has_no_usable_way_is_a_problem_of_the_node() -> None:
    script = old(do.ResolveNextHops).boot().up(N2).up(N3).hear(N2, THEIRS).end_of_rib(N2, N3)
    assert not any(problem.reason.code == "routes-unprogrammed" for problem in problems(script.core))  # not decided
    pools = [{"cidr": "10.244.0.0/22", "encapsulation": "ipip"}]
    script = Script(node(pools=pools), snapshot(OURS))
    script.held.add(do.SetTunnel)
    script.boot().up(N2).up(N3).hear(N2, THEIRS).end_of_rib(N2, N3)
    (found,) = [problem for problem in problems(script.core) if problem.reason.code == "routes-unprogrammed"]
    assert found.reason.message.startswith("no usable way for 1 prefix that others announce: ")


def test_status_of_a_node_with_all_peers_in_sync_is_ok() -> None:
    script = old().boot().up(N2).up(N3).end_of_rib(N2, N3)
    view = status_view(script.core, version="1", started_at=0.0, config_file="", counters={})
    assert view.health is Health.OK
    assert not view.problems


def test_the_first_session_after_a_boot_says_that_no_route_was_kept_and_only_that_one() -> None:
    script = fresh()
    (sessions,) = script.take(do.SetSessions)
    assert all(session.restarted_without_state for session in sessions.sessions)
    (sessions,) = script.up(N2).take(do.SetSessions)
    assert not any(session.restarted_without_state for session in sessions.sessions)


def test_sessions_of_a_node_with_routes_in_the_kernel_say_that_they_were_kept() -> None:
    (sessions,) = old().boot().take(do.SetSessions)
    assert not any(session.restarted_without_state for session in sessions.sessions)


def test_sessions_wait_for_the_address_of_the_node() -> None:
    script = Script(node()).tell(sp.SpeakerAttached("one", 1, ()))
    assert not script.seen(do.SetSessions)
    assert script.boot().seen(do.SetSessions)


def test_sessions_that_the_speaker_refused_are_tried_again() -> None:
    script = fresh().tell(ev.SessionsSet("disk full"))
    script.done.clear()
    assert len(script.wait(31.0).seen(do.SetSessions)) == 1
    assert any(problem.reason.code == "sessions-refused" for problem in problems(script.core))


def tunnels(script: Script) -> list[tuple[str, list[str], int]]:
    """The tunnel devices that were asked for: name, addresses, MTU."""
    return [(one.device, [str(address) for address in one.addresses], one.mtu) for one in script.seen(do.SetTunnel)]


def test_the_tunnel_has_an_address_of_ours_once_that_is_on_disk() -> None:
    pools = [{"cidr": "10.244.0.0/22", "encapsulation": "ipip"}]
    script = Script(node(pools=pools), snapshot(OURS))
    script.held.add(do.Persist)
    script.boot()
    assert tunnels(script) == [("tunl0", [], 1480), ("calivx0", [], 1450)]
    script.held.clear()
    script.tell(*(answer for persist in script.take(do.Persist) for answer in script._answer(persist)))
    assert tunnels(script) == [("tunl0", ["10.244.0.0"], 1480)]


def test_a_tunnel_whose_address_was_stored_does_not_wait_for_a_disk_that_is_full() -> None:
    pools = [{"cidr": "10.244.0.0/22", "encapsulation": "ipip"}]
    first = Script(node(pools=pools), snapshot(OURS)).boot()
    script = Script(node(pools=pools), first.core.ipam.snapshot())
    script.held.add(do.Persist)
    script.boot().up(N2).hear(N2, THEIRS)  # a reservation waits for the disk
    assert script.core.ipam.in_flight
    assert tunnels(script) == [("tunl0", ["10.244.0.0"], 1480), ("calivx0", [], 1450)]


def test_what_the_kernel_calls_invalid_has_it_read_again_soon() -> None:
    for code, looks in ((errno.EINVAL, True), (errno.ENETDOWN, False)):
        commands: list[do.Command] = []
        routes = KernelRoutes(Fib(), Counter(), emit=commands.append, now=0.0)
        assert routes.due(0.0)
        routes.dump_came(ev.KernelDumped(KernelDump({}, next_hops={})), 0.0, next_in_s=30.0)
        change = NextHopChange(NextHopOp.ADD, NextHopObject(0x0CA10000, Family.IPV4))
        routes.next_hops_written(ev.NextHopsWritten((NextHopResult(change, code),)), 1.0)
        assert routes.due(2.0) is looks
