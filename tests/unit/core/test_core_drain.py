"""A node is taken out of service: refused, on disk, last resort, wait, withdrawn; and back."""
from __future__ import annotations

from collections.abc import Sequence

import pytest
import simnet
from corescript import N2, N3, Script, node, owner, planned, snapshot

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core import show
from calicopy.core.core import Core
from calicopy.core.drain_state import DrainCleared, DrainPhase, DrainRecord, DrainSaved
from calicopy.core.views import Health
from calicopy.net import Family, Prefix
from calicopy.seam import speaker as sp

OURS, THEIRS = "10.244.0.0/26", "10.244.1.0/26"
SINCE = 1_790_000_000.0
LEARNED = Prefix.parse(THEIRS).packed


def running(*, used: str = "", drain: DrainRecord | None = None) -> Script:
    """n1 with a block, and both its peers up and in sync."""
    script = Script(node(), snapshot(OURS, used=used), drain=drain).boot().up(N2).up(N3)
    return script.hear(N2, THEIRS).end_of_rib(N2, N3).wait(3)


def ask(script: Script, *, force: bool = False, wait_s: float = 10.0, stopping: bool = False) -> Script:
    script.take(do.Command)  # type: ignore[arg-type]  # forget what was
    return script.tell(ev.DrainRequested(7, force, wait_s, SINCE, stopping=stopping))


def alone(script: Script) -> list[str]:
    view = script.core.drainer.view()
    assert view is not None
    assert view.without_count == len(view.without_alternative)
    return list(map(str, view.without_alternative))


def steps(script: Script) -> list[str]:
    return [command.step.code for command in script.seen(do.DrainProgress)]


def said(commands: Sequence[object], kind: str) -> set[str]:
    """What was announced or withdrawn to n2."""
    found: set[str] = set()
    for command in commands:
        if isinstance(command, do.Advertise) and N2 in command.peers:
            for group in command.announce if kind == "announce" else command.withdraw:
                found.update(group.prefixes)
    return found


def test_it_is_refused_while_addresses_are_in_use_and_they_are_listed() -> None:
    script = ask(running(used="10.244.0.5"))
    (reply,) = script.seen(do.Reply)
    assert str(reply.error) == "1 address is in use here: 10.244.0.5 (pod); detach them first, or drain with --force"
    assert script.core.drainer.phase is DrainPhase.ACTIVE
    assert ask(script, force=True).core.drainer.phase is DrainPhase.DRAINING


def test_it_is_on_disk_before_anybody_is_told() -> None:
    script = running()
    script.held.add(do.Persist)
    ask(script)
    (persist,) = script.seen(do.Persist)
    assert persist.changes == (DrainSaved(DrainRecord(SINCE, 10.0, finished=False)),)
    assert not script.seen(do.Advertise)
    assert not script.seen(do.Reply)
    script.tell(ev.Persisted(persist.token))
    assert [reply.error for reply in script.seen(do.Reply)] == [None]
    assert script.seen(do.Advertise)


def test_a_disk_that_cannot_be_written_refuses_it() -> None:
    script = running()
    script.held.add(do.Persist)
    ask(script)
    (persist,) = script.take(do.Persist)
    script.tell(ev.PersistFailed(persist.token, "disk full"))
    (reply,) = script.seen(do.Reply)
    assert str(reply.error) == "the store could not write: disk full"
    assert script.core.drainer.phase is DrainPhase.ACTIVE


def test_first_a_last_resort_then_withdrawn_while_the_kernel_keeps_forwarding() -> None:
    script = ask(running())
    announced = [group for one in script.seen(do.Advertise) if N2 in one.peers for group in one.announce]
    (group,) = announced
    values = {one.code: one.value for one in group.attributes}
    assert values[8] == b"\xff\xff\x00\x00"
    assert values[5] == b"\0\0\0\0"
    assert owner(1) in group.attributes
    before = script.routes
    script.wait(1.5)
    assert steps(script) == ["recorded", "announced"]
    script.wait(1)
    assert steps(script) == ["recorded", "announced", "no-alternative", "drained"]
    assert said(script.done, "withdraw") == {OURS}
    assert alone(script) == [OURS]
    assert script.routes == before


def share(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """n2's block is announced on, as a reflector does."""
    monkeypatch.setattr(script.core.exports, "announced_learned", lambda: [(Family.IPV4, [LEARNED])])


def reflected(script: Script, *, communities: tuple[int, ...] = ()) -> Script:
    """n3 has n2's block too."""
    values = {1: b"\0", 2: b"", 5: (100).to_bytes(4, "big"), 9: bytes((10, 0, 0, 2)), 10: bytes((10, 0, 0, 3))}
    if communities:
        values[8] = b"".join(community.to_bytes(4, "big") for community in communities)
    attributes = [
        sp.RawAttribute(flags=0x80 if code in (9, 10) else 0xC0 if code == 8 else 0x40, code=code, value=value)
        for code, value in values.items()
    ]
    body = simnet.update_body([THEIRS], next_hop=N2, attributes=[*attributes, owner(2)])
    return script.tell(sp.UpdatesReceived(N3, (body,)))


def test_it_waits_for_another_path_of_what_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    script = running()
    share(script, monkeypatch)
    ask(script).wait(5)
    assert script.core.drainer.phase is DrainPhase.DRAINING
    assert steps(script) == ["recorded", "announced", "waiting"]
    view = script.core.drainer.view()
    assert view is not None
    assert view.waiting == 1
    reflected(script).wait(0.5)
    assert script.core.drainer.phase is DrainPhase.DRAINED
    assert alone(script) == [OURS]


def test_a_path_that_is_itself_being_drained_is_no_other_path(monkeypatch: pytest.MonkeyPatch) -> None:
    script = running()
    share(script, monkeypatch)
    reflected(ask(script), communities=(0xFFFF0000,)).wait(9.5)
    assert script.core.drainer.phase is DrainPhase.DRAINING
    script.wait(1)
    assert script.core.drainer.phase is DrainPhase.DRAINED
    assert alone(script) == [OURS, THEIRS]


def test_the_wait_is_bounded_by_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    script = running()
    share(script, monkeypatch)
    assert ask(script, wait_s=0).core.drainer.phase is DrainPhase.DRAINED


def test_the_end_is_on_disk_before_anything_is_withdrawn_and_is_tried_again() -> None:
    script = ask(running())
    script.held.add(do.Persist)
    script.take(do.Command)
    script.wait(2.5)
    (persist,) = script.take(do.Persist)
    assert persist.changes == (DrainSaved(DrainRecord(SINCE, 10.0, finished=True)),)
    script.tell(ev.PersistFailed(persist.token, "disk full"))
    assert steps(script) == ["store-failed"]
    assert not said(script.done, "withdraw")
    script.held.clear()
    script.wait(1.5)
    assert script.core.drainer.phase is DrainPhase.DRAINED
    assert said(script.done, "withdraw") == {OURS}


def test_a_drained_node_comes_back_drained_and_announces_nothing() -> None:
    script = running(drain=DrainRecord(SINCE, finished=True))
    assert script.core.drainer.phase is DrainPhase.DRAINED
    assert said(script.done, "announce") == set()
    assert script.seen(do.SendEndOfRib)


def test_what_the_process_before_had_announced_is_withdrawn() -> None:
    script = Script(node(), snapshot(OURS), drain=DrainRecord(SINCE, finished=True)).boot().attach(N2, N3)
    script.tell(announced_before(N2, OURS)).wait(1)
    assert said(script.done, "withdraw") == {OURS}


def announced_before(peer: str, prefix: str) -> ev.AnnouncedBefore:
    return ev.AnnouncedBefore({peer: {Family.IPV4: ((0, Prefix.parse(prefix).packed),)}})


def test_a_drain_that_a_restart_cut_short_goes_on() -> None:
    script = Script(node(), snapshot(OURS), drain=DrainRecord(SINCE, wait_s=10.0)).boot().up(N2).up(N3)
    assert script.core.drainer.phase is DrainPhase.DRAINING
    script.wait(4)
    assert steps(script) == []  # the tables of the peers come first
    script.end_of_rib(N2, N3).wait(3)
    assert steps(script) == ["announced", "no-alternative", "drained"]


def test_undrain_announces_everything_again_and_is_on_disk() -> None:
    script = ask(running()).wait(3)
    script.take(do.Command)
    script.tell(ev.UndrainRequested(8))
    assert [one.changes for one in script.seen(do.Persist)] == [(DrainCleared(),)]
    assert said(script.done, "announce") == {OURS}
    assert script.core.drainer.view() is None
    assert steps(script) == ["undrained"]


def test_undrain_takes_back_a_drain_that_is_under_way_and_tells_who_waits_for_it() -> None:
    script = ask(running()).wait(1)
    script.tell(ev.UndrainRequested(8)).wait(3)
    assert script.core.drainer.phase is DrainPhase.ACTIVE
    assert steps(script) == ["recorded", "announced", "undrained"]
    assert not said(script.done, "withdraw")


def test_what_is_asked_for_while_the_disk_is_written_waits_its_turn() -> None:
    script = running()
    script.held.add(do.Persist)
    ask(script).tell(ev.UndrainRequested(8))
    for _ in range(2):
        (persist,) = script.take(do.Persist)
        script.tell(ev.Persisted(persist.token))
    assert script.core.drainer.phase is DrainPhase.ACTIVE


def test_a_second_drain_joins_the_first_and_one_that_is_over_is_told_at_once() -> None:
    script = ask(running())
    ask(script).wait(3)
    assert [reply.error for reply in script.seen(do.Reply)] == [None]
    assert steps(script)[-1] == "drained"
    ask(script)
    (progress,) = script.seen(do.DrainProgress)
    assert progress.step.message == "already drained, since 2026-09-21T14:13:20Z"


def test_a_drained_node_gives_out_no_address_but_the_one_that_a_handle_has() -> None:
    script = ask(running(used="10.244.0.5"), force=True).wait(3)
    script.take(do.Command)
    script.tell(ev.AddressRequested(8, "workload:web", Family.IPV4), ev.AddressRequested(9, "pod", Family.IPV4))
    replies = {reply.request: reply for reply in script.seen(do.Reply)}
    assert str(replies[8].error) == (
        "this node is drained since 2026-09-21T14:13:20Z: no address is given out until it is undrained"
    )
    assert [str(record.address) for record in replies[9].addresses] == ["10.244.0.5"]


def test_a_drained_node_claims_no_block() -> None:
    script = Script(node(), drain=DrainRecord(SINCE, finished=True)).boot().up(N2).up(N3).end_of_rib(N2, N3).wait(5)
    assert script.own == set()
    script.tell(ev.UndrainRequested(8)).wait(1)
    assert len(script.own) == 1


def test_a_drain_for_the_end_of_the_process_leaves_nothing_on_disk() -> None:
    script = ask(running(), force=True, stopping=True).wait(3)
    assert not script.seen(do.Persist)
    assert steps(script)[-1] == "drained"
    assert said(script.done, "withdraw") == {OURS}


def status(core: Core) -> tuple[Health, list[str]]:
    view = show.status_view(core, version="", started_at=0, config_file="", counters={})
    return view.health, [f"{one.reason.code}: {one.reason.message}" for one in view.problems]


def test_the_status_says_that_it_is_drained_and_since_when() -> None:
    script = running()
    assert status(script.core) == (Health.OK, [])
    ask(script).wait(3)
    health, problems = status(script.core)
    assert health is Health.DRAINED
    assert problems == [
        "drained: drained since 2026-09-21T14:13:20Z: nothing is announced, no address is given out; "
        "`calicopy undrain` ends it"
    ]
    script.tell(sp.PeerDown(N2, "closed"))
    assert status(script.core)[0] is Health.DEGRADED


def test_a_plan_of_the_file_that_runs_is_empty_on_a_drained_node_too() -> None:
    script = ask(running()).wait(3)
    assert planned(script.core, script.node).announcements == ()
