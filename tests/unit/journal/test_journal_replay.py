"""A recorded core played again: the same commands, the same state, and what is said when it is not so."""
from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import corescript
import pytest
from click.testing import CliRunner

from calicopy.agent.journal import recording
from calicopy.cli.replay import replay as command
from calicopy.config.model import ClusterConfig
from calicopy.config.resolve import NodeConfig, resolve
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.core import Core
from calicopy.core.peering.session_events import SessionEvents
from calicopy.ipam import Snapshot
from calicopy.journal import lines
from calicopy.journal.codec import CodecError
from calicopy.journal.replay import replay
from calicopy.seam import speaker as sp


class Recorded(Core):
    """A core that keeps its journal, as the agent's loop does."""

    journal: list[bytes]

    def handle(self, happened: list[ev.CoreEvent], now: float) -> list[do.Command]:
        """As the core does, with a line about it."""
        commands = super().handle(happened, now)
        self.journal.append(lines.write(lines.Step(now, tuple(happened), tuple(map(lines.done, commands)))))
        return commands


def busy() -> tuple[corescript.Script, list[bytes]]:
    """A node that boots, hears its peers, assigns an address, loses a peer and a speaker, and drains."""
    script = corescript.Script(corescript.node())
    now = script.now
    core = Recorded(script.node, Snapshot(), now=now)
    begin = lines.Begin(lines.FORMAT, "0", script.node, Snapshot(), now, now)
    core.journal = [lines.write(begin)]
    script.core = core
    script.boot().up(corescript.N2).up(corescript.N3)
    script.hear(corescript.N2, "10.244.1.0/26", "10.244.2.0/26").hear(corescript.N3, "10.244.3.0/26")
    script.end_of_rib(corescript.N2, corescript.N3).wait(5)
    script.tell(ev.AddressRequested(1, "pod", script.node.pools[0].cidr.family)).wait(3)
    script.tell(ev.KernelDumped(corescript.KernelDump({}, next_hops={})))
    script.tell(sp.PeerDown(corescript.N3, "hold timer expired")).wait(1)
    script.tell(sp.SpeakerDetached("gone")).wait(1).attach(corescript.N2)
    script.hear_withdrawn(corescript.N2, "10.244.2.0/26")
    script.tell(ev.DrainRequested(2, force=True, wait_s=1.0, at=5.0)).wait(30)
    return script, core.journal


def test_a_recorded_core_played_again_gives_the_same_commands_and_the_same_state() -> None:
    script, journal = busy()
    outcome = replay(lines.read(journal))
    assert outcome.differences == []
    assert outcome.steps == len(journal) - 1
    assert outcome.commands["WriteRoutes"] > 1
    for family in script.core.fib._trackers:
        assert outcome.core.fib.desired(family) == script.core.fib.desired(family)
        assert outcome.core.fib.actual(family) == script.core.fib.actual(family)
    assert outcome.core.ipam.announcements() == script.core.ipam.announcements()


def test_an_event_that_did_not_happen_shows_as_a_difference_at_its_step(tmp_path: Path) -> None:
    _, journal = busy()
    forged = list(journal)
    at = next(number for number, row in enumerate(forged) if b'"PeerDown"' in row)
    forged[at] = forged[at].replace(b'"PeerDown"', b'"PeerGone"')
    with pytest.raises(CodecError, match=f"line {at + 1}: .*PeerGone"):
        replay(lines.read(forged))
    step = json.loads(journal[at])
    del step["events"]
    forged[at] = json.dumps(step).encode() + b"\n"
    outcome = replay(lines.read(forged))
    assert outcome.differences[0].step == at
    (tmp_path / "journal").write_bytes(b"".join(forged))
    shown = CliRunner().invoke(command, [str(tmp_path / "journal")])
    assert shown.exit_code == 1
    assert f"step {at}, at " in shown.output
    assert "did not come: " in shown.output


def test_a_core_that_fails_is_shown_with_its_traceback_and_the_step_that_it_failed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, journal = busy()
    at = next(number for number, row in enumerate(journal) if b'"SpeakerDetached"' in row)
    (tmp_path / "journal").write_bytes(b"".join(journal))

    def speaker_detached(self: SessionEvents, event: sp.SpeakerDetached) -> None:
        raise KeyError(event.reason)

    monkeypatch.setattr(SessionEvents, "speaker_detached", speaker_detached)
    shown = CliRunner().invoke(command, [str(tmp_path / "journal")])
    assert shown.exit_code == 1
    trace, _, said = shown.output.partition(f"calicopy: {tmp_path}/journal: ")
    assert trace.startswith("Traceback ")
    assert "in speaker_detached\n" in trace
    assert trace.endswith("KeyError: 'gone'\n")
    sentence, *events = said.splitlines()
    now = lines.read(journal[:1] + journal[at:])
    began, step = next(now), next(now)
    assert isinstance(began, lines.Begin)
    assert isinstance(step, lines.Step)
    when = f"at {step.now - began.now:.3f} s"
    assert sentence == f"the core failed in step {at}, {when}, told SpeakerDetached: KeyError: 'gone'"
    assert events == ["  SpeakerDetached(reason='gone')"]


def test_a_line_that_was_cut_off_by_a_kill_is_where_a_journal_ends() -> None:
    _, journal = busy()
    cut = [*journal[:10], journal[10][:40]]
    assert replay(lines.read(cut)).steps == 9


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "it has no beginning"),
        ([b'{"is":"Full","octets":1}\n'], "line 1: no beginning"),
        ([b"\xff\n"], "line 1: "),
        ([b"[1]\n"], "line 1: .* is none of Begin, Step, Full"),
        ([b'{"is":"Begin"}\n'], "line 1: "),
        ([b'{"is":"Begin","format":1,"version":"0","node":7}\n'], "line 1: "),
    ],
)
def test_what_is_no_journal_is_refused_with_its_line(rows: list[bytes], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        replay(lines.read(rows))


def test_a_file_that_is_no_journal_is_refused_input_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("nodes: []\n")
    refused = CliRunner().invoke(command, [str(tmp_path / "journal")])
    assert refused.exit_code == 4
    assert "is no journal: line 1" in refused.output


def recorded_node(path: Path) -> NodeConfig:
    """n1 of a cluster whose file asks for a journal of 1 MiB."""
    base = corescript.node()
    data = base.cluster.model_dump(mode="json", by_alias=True)
    data["agent"] |= {"journal": str(path), "journal_limit_mib": 1}
    return resolve(ClusterConfig.model_validate(data), "n1")


def test_the_agent_writes_a_journal_from_its_start_and_keeps_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    node = recorded_node(path)
    script = corescript.Script(node)
    for _ in range(2):
        core = Core(node, Snapshot(), now=script.now)
        with recording((node, Snapshot(), None), now=script.now, began_at=script.now) as journal:
            happened: list[ev.CoreEvent] = [ev.WorkloadsChanged({}), sp.SpeakerAttached("one", 1, ())]
            journal.step(script.now, happened, core.handle(happened, script.now))
    for file in (path, path.with_name("journal.1")):
        with file.open("rb") as rows:
            outcome = replay(lines.read(rows))
        assert (outcome.steps, outcome.differences, outcome.began.node) == (1, [], node)
    shown = CliRunner().invoke(command, [str(path), "-o", "json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output)["events"] == {"WorkloadsChanged": 1, "SpeakerAttached": 1}


def test_a_journal_ends_at_its_bound_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal"
    node = recorded_node(path)
    with caplog.at_level(logging.WARNING), recording((node, Snapshot(), None), now=0.0, began_at=0.0) as journal:
        large: list[ev.CoreEvent] = [sp.UpdatesReceived("10.0.0.2", (bytes(200_000),))]
        for _ in range(4):
            journal.step(1.0, large, [])
    assert path.stat().st_size < 1 << 20
    assert len(caplog.records) == 1
    assert "1048576 are its bound" in caplog.text
    with path.open("rb") as rows:
        last = list(lines.read(rows))[-1]
    assert last == lines.Full(path.stat().st_size - len(lines.write(last)))


def test_a_journal_that_cannot_be_written_costs_the_journal_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = recorded_node(tmp_path / "absent" / "journal")
    with caplog.at_level(logging.WARNING), recording((node, Snapshot(), None), now=0.0, began_at=0.0) as journal:
        journal.step(1.0, [ev.Ticked()], [])
    assert "No such file" in caplog.text


def test_a_journal_names_the_file_of_a_key_and_never_reads_it(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("very secret")
    base = corescript.node()
    sessions = tuple(replace(one, password_file=str(key)) for one in base.sessions)
    begin = lines.Begin(lines.FORMAT, "0", replace(base, sessions=sessions), Snapshot(), 0.0, 0.0)
    assert b"very secret" not in lines.write(begin)
