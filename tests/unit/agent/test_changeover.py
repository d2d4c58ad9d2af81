"""A change from its begin to its outcome: what is refused, what holds, what is restored, and who may say so."""
from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from corescript import N2, Script, snapshot

from calicopy.agent.changeover import Changeover
from calicopy.agent.config_files import ConfigFiles
from calicopy.api.backend import ConfigKind, RefusalKind, RefusedError
from calicopy.config import load_text
from calicopy.config.resolve import resolve
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.views import ApplyStage, ProgressView, SessionEffect
from calicopy.seam import speaker as sp

TOR = "10.0.0.9"
NODES = "nodes:\n  - {name: n1, address: 10.0.0.1/24}\n  - {name: n2, address: 10.0.0.2/24}\n"
POOLS = "pools:\n  - {cidr: 10.244.0.0/22, block_size: 26}\n"
OLD = NODES + POOLS
WITH_TOR = OLD + f"bgp:\n  peers:\n    - {{name: tor, address: {TOR}, as: 64600}}\n"


async def until(check: Callable[[], object]) -> None:
    """Poll until `check` gives something true."""
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


class Agent:
    """A changeover before a core whose speaker takes every set of sessions, unless it `refuses`."""

    def __init__(self, directory: Path) -> None:
        self.own = directory / "cluster.yaml"
        self.own.write_text(OLD)
        self.files = ConfigFiles(self.own, directory / "state")
        node = resolve(load_text(OLD, filename="f").require(), "n1")
        self.script = Script(node, snapshot("10.244.0.0/26")).boot().up(N2).end_of_rib(N2)
        self.refuses = ""
        self.told: list[str] = []
        self.steps: list[bool] = []  # after each step, whether a file is read or a change under way
        self.changeover = Changeover(
            self.script.core, self.files, self.post, text=OLD.encode(), changed=lambda node: self.told.append(node.name)
        )
        self.answer()

    def post(self, event: ev.CoreEvent) -> None:
        self.script.tell(event)
        self.answer()
        self.changeover.stepped()
        self.steps.append(self.changeover.changing())

    def answer(self) -> None:
        for command in self.script.take(do.SetSessions):
            self.script.tell(ev.SessionsSet(self.refuses, command.serial))

    def names(self) -> set[str]:
        return {peer.configured.name for peer in self.script.core.peers.values()}

    def tor_comes_up(self) -> None:
        self.script.node = self.script.core.node
        self.script.up(TOR).end_of_rib(TOR)

    async def apply(self, text: str, *, confirm_s: int = 0) -> ProgressView:
        return [step async for step in self.changeover.apply(text.encode(), "new.yaml", confirm_s=confirm_s)][-1]

    async def begin(self, text: str, *, confirm_s: int = 0) -> asyncio.Task[ProgressView]:
        """An apply that waits for something."""
        task = asyncio.create_task(self.apply(text, confirm_s=confirm_s))
        await until(lambda: (change := self.changeover.under_way()) and change.missing)
        return task

    def running(self) -> str:
        return self.changeover.config(ConfigKind.RUNNING).text.decode()


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    made = Agent(tmp_path)
    yield made
    await made.changeover.stop()


async def refused(agent: Agent, text: str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await agent.apply(text)
    assert agent.running() == agent.own.read_text() == OLD
    assert agent.names() == {"n2"}
    assert agent.told == []
    return caught.value


async def test_a_change_that_has_come_up_becomes_the_agents_own_file(agent: Agent) -> None:
    waiting = await agent.begin(WITH_TOR)
    assert agent.own.read_text() == OLD
    agent.tor_comes_up()
    assert (await waiting).stage is ApplyStage.DONE
    assert agent.running() == agent.own.read_text() == WITH_TOR
    assert agent.files.previous() == OLD.encode()
    assert agent.files.pending() is None
    assert agent.changeover.under_way() is None


async def test_what_does_not_come_up_in_time_is_restored(agent: Agent) -> None:
    outcome = await agent.apply(WITH_TOR, confirm_s=1)
    assert outcome.stage is ApplyStage.RESTORED
    assert outcome.missing == ("session with tor: is not up yet",)
    assert agent.running() == agent.own.read_text() == OLD
    assert agent.names() == {"n2"}
    assert agent.script.core.peers[N2].is_up


async def test_what_the_speaker_refuses_is_restored_at_once(agent: Agent) -> None:
    agent.refuses = "no key file"
    outcome = await agent.apply(WITH_TOR)
    assert (outcome.stage, outcome.missing) == (ApplyStage.RESTORED, ("no key file",))


async def test_an_invalid_file_changes_nothing_and_names_every_error(agent: Agent) -> None:
    error = await refused(agent, OLD + "bgp: {mesh: 7, hold_time_s: 1}\n")
    assert (error.kind, error.code) == (RefusalKind.INVALID, "config-invalid")
    assert [line.split(" ")[0] for line in str(error).splitlines()] == ["new.yaml:6:13:", "new.yaml:6:29:"]


async def test_a_file_without_this_node_is_refused(agent: Agent) -> None:
    assert (await refused(agent, OLD.replace("n1", "n3"))).code == "node-not-in-file"


async def test_what_cannot_be_had_at_run_time_is_refused(agent: Agent) -> None:
    error = await refused(agent, OLD + "agent: {route_metric: 5}\n")
    assert error.code == "needs-restart"
    assert "agent.route_metric: 1024 becomes 5" in str(error)


async def test_nothing_is_changed_when_what_runs_cannot_be_kept(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    assert (await refused(agent, WITH_TOR)).code == "not-kept"


async def test_another_change_meanwhile_is_refused_with_who_and_until_when(agent: Agent) -> None:
    waiting = await agent.begin(WITH_TOR)
    with pytest.raises(RefusedError, match=r"apply of new\.yaml, until \d\d:\d\d:\d\d UTC") as caught:
        await agent.apply(OLD)
    assert caught.value.code == "change-under-way"
    assert (await agent.changeover.confirm()).stage is ApplyStage.DONE
    assert (await waiting).missing == ("session with tor: is not up yet",)
    assert agent.own.read_text() == WITH_TOR


async def test_a_rollback_ends_a_change_or_goes_to_the_one_before(agent: Agent) -> None:
    waiting = await agent.begin(WITH_TOR)
    assert [step.stage async for step in agent.changeover.rollback()] == [ApplyStage.RESTORED]
    assert (await waiting).stage is ApplyStage.RESTORED
    with pytest.raises(RefusedError, match="no configuration before"):
        await anext(agent.changeover.rollback())

    other = OLD + "bgp: {multipath_relax: true}\n"
    assert (await agent.apply(other)).stage is ApplyStage.DONE
    assert [step.stage async for step in agent.changeover.rollback()][-1] is ApplyStage.DONE
    assert agent.running() == agent.own.read_text() == OLD
    assert agent.files.previous() == other.encode()


async def test_there_is_nothing_to_confirm_without_a_change(agent: Agent) -> None:
    with pytest.raises(RefusedError, match="nothing to confirm"):
        await agent.changeover.confirm()


async def test_a_listener_that_goes_away_does_not_end_the_change(agent: Agent) -> None:
    waiting = await agent.begin(WITH_TOR)
    waiting.cancel()
    agent.tor_comes_up()
    await until(lambda: not agent.changeover.under_way())
    assert agent.own.read_text() == WITH_TOR


async def test_a_file_that_cannot_be_written_is_said_and_the_change_holds(agent: Agent) -> None:
    agent.own.chmod(0o444)
    outcome = await agent.apply(OLD + "bgp: {multipath_relax: true}\n")
    assert outcome.stage is ApplyStage.NOT_SAVED
    assert f"{agent.own}: the file is read-only" in outcome.message
    assert not agent.changeover.config(ConfigKind.STARTUP).same
    assert agent.files.pending() is None


async def test_an_agent_that_ends_during_a_change_leaves_its_note(agent: Agent) -> None:
    await agent.begin(WITH_TOR)
    await agent.changeover.stop()
    note = agent.files.pending()
    assert note is not None
    assert note.by == "apply of new.yaml"


def problems(agent: Agent) -> list[tuple[str, str, str]]:
    return [(one.object, one.reason.code, one.reason.message) for one in agent.changeover.problems()]


async def test_the_status_says_who_changes_the_configuration_and_until_when(agent: Agent) -> None:
    assert problems(agent) == []
    await agent.begin(WITH_TOR)
    ((who, code, text),) = problems(agent)
    assert (who, code) == ("apply of new.yaml", "change-under-way")
    assert re.match(r"under way until \d\d:\d\d:\d\d UTC at most, not up yet: session with tor: is not up yet; ", text)
    assert "`calicopy config confirm`" in text
    await agent.changeover.confirm()
    assert problems(agent) == []


async def test_the_status_says_that_the_own_file_is_not_what_runs_and_what_a_restart_would_take(agent: Agent) -> None:
    agent.own.write_text(WITH_TOR)
    ((where, code, text),) = problems(agent)
    assert (where, code) == (str(agent.own), "startup-differs")
    assert "a restart would take it: " in text
    assert f"`calicopy apply -f {agent.own}`" in text

    agent.changeover.reload()
    await until(lambda: agent.changeover.under_way())
    [step async for step in agent.changeover.rollback()]
    ((_, code, text),) = problems(agent)
    assert code == "startup-differs"
    assert "SIGHUP did not come up, so that a restart does not take it: " in text


async def test_the_status_says_that_the_own_file_cannot_be_read(agent: Agent) -> None:
    agent.own.unlink()
    assert [code for _, code, _ in problems(agent)] == ["startup-unreadable"]


async def test_a_sighup_during_a_change_is_done_after_it(agent: Agent) -> None:
    waiting = await agent.begin(WITH_TOR)
    agent.own.write_text(OLD + "bgp: {multipath_relax: true}\n")
    for _ in range(100):
        agent.changeover.reload()
    [step async for step in agent.changeover.rollback()]
    await waiting
    await until(lambda: agent.running() != OLD and not agent.changeover.under_way())
    assert agent.script.core.node.cluster.bgp.multipath_relax


async def test_a_sighup_without_a_change_has_the_keys_read_again(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    serial = agent.script.core.wanted.serial
    agent.changeover.reload()
    await until(lambda: agent.script.core.wanted.serial > serial)
    assert "nothing has changed" in caplog.text
    assert agent.changeover.under_way() is None


async def test_the_status_has_the_first_error_of_a_file_that_sighup_refused(agent: Agent) -> None:
    agent.own.write_text("nodes: 7\npools: 8\n")
    agent.changeover.reload()
    await until(lambda: problems(agent)[0][1] == "startup-refused")
    ((where, _, text),) = problems(agent)
    assert where == str(agent.own)
    assert text.startswith(f"it is not what runs, SIGHUP refused it: {agent.own}:1:8: nodes: found the number 7")
    assert text.endswith("(and 1 more, see the agent's log)")
    assert (await agent.apply(OLD + "bgp: {multipath_relax: true}\n")).stage is ApplyStage.DONE
    assert problems(agent) == []


async def test_the_end_of_a_reload_that_is_refused_makes_a_step_so_that_it_is_told(agent: Agent) -> None:
    """Who waits for a reload (`systemctl reload`) is told of its end after a step of the core."""
    agent.own.write_text("nodes: 7\n")
    agent.steps.clear()
    agent.changeover.reload()
    await until(lambda: False in agent.steps)


async def test_what_is_missing_is_said_again_with_the_time_that_is_left(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calicopy.agent.changeover.REMIND_S", 0.3)
    said = [step async for step in agent.changeover.apply(WITH_TOR.encode(), "new.yaml", confirm_s=2)]
    waiting = [step.message for step in said if step.stage is ApplyStage.WAITING]
    assert waiting[0] == "not up yet, 2 s left"
    assert waiting[-1] in ("not up yet, 1 s left", "not up yet, 0 s left")
    assert len(waiting) > 3


async def test_a_plan_is_made_beside_the_loop_and_changes_nothing(agent: Agent) -> None:
    view = await agent.changeover.plan(WITH_TOR.encode(), "new.yaml")
    assert [(session.name, session.effect) for session in view.sessions] == [("tor", SessionEffect.ADDED)]
    assert agent.running() == OLD
    agent.script.tell(sp.PeerDown(N2, "x"))
    with pytest.raises(RefusedError, match=r"new\.yaml:1:1"):
        await agent.changeover.plan(b"- 7", "new.yaml")
