"""The agent beside a real BFD process, in a network namespace of its own, whose one peer never answers."""
from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from calicopy.agent.bfd_edge import BfdEdge
from calicopy.bfd.process import STATE_FILE, TABLE_FILE
from calicopy.bfd.process.settings import Table, parse_table
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.net import Family
from calicopy.seam.bfd import BfdSpec, BfdTable, SessionState

PEER = "127.0.0.2"
SPEC = BfdSpec(peer=PEER, local="127.0.0.1", next_hops=(ip_address(PEER),))


@asynccontextmanager
async def process(run_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    words = ("unshare", "--net", sys.executable, "-m", "calicopy.bfd.process.unit", "--run-dir", str(run_dir))
    started = await asyncio.create_subprocess_exec(*words)
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.wait()


class Running:
    """An edge whose tasks run, and what it posted."""

    def __init__(self, run_dir: Path) -> None:
        self.posted: list[ev.CoreEvent] = []
        self.edge = BfdEdge(run_dir, self._post, protocol=117)
        self._more = asyncio.Event()

    def _post(self, event: ev.CoreEvent) -> None:
        self.posted.append(event)
        self._more.set()

    def seen(self) -> list[ev.BfdSeen]:
        return [event for event in self.posted if isinstance(event, ev.BfdSeen)]

    def problems(self) -> dict[str, str]:
        found = [event for event in self.posted if isinstance(event, ev.HostChecked)]
        return dict(found[-1].problems) if found else {}

    async def until(self, check: Callable[[], object]) -> None:
        """Until it holds; looked at after each post, and twenty times a second."""
        async with asyncio.timeout(10):
            while not check():
                self._more.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._more.wait()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    one = Running(tmp_path)
    tasks = [asyncio.create_task(one.edge.write()), asyncio.create_task(one.edge.listen())]
    yield one
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_wanted_session_is_held_and_its_state_told(running: Running, tmp_path: Path) -> None:
    async with process(tmp_path):
        running.edge.put(do.SetBfdSessions((SPEC,)))
        await running.until(lambda: running.seen()[-1].attached and PEER in running.seen()[-1].states)
    assert running.seen()[-1].states[PEER].state is SessionState.DOWN


async def test_what_a_killed_process_knew_is_told_and_the_next_one_goes_on(running: Running, tmp_path: Path) -> None:
    running.edge.put(do.SetBfdSessions((SPEC,)))
    async with process(tmp_path) as first:
        await running.until(lambda: running.seen()[-1].attached and PEER in running.seen()[-1].states)
        before = running.seen()[-1].states[PEER]
        first.kill()
        await running.until(lambda: not running.seen()[-1].attached)
    assert running.seen()[-1].states[PEER].local_discriminator == before.local_discriminator
    async with process(tmp_path):
        await running.until(lambda: running.seen()[-1].attached and PEER in running.seen()[-1].states)
    assert running.seen()[-1].states[PEER].local_discriminator == before.local_discriminator


async def test_a_process_that_was_killed_before_it_read_all_that_we_said_is_gone_too(
    running: Running, tmp_path: Path
) -> None:
    """The kernel says that as a connection that was reset."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bfd.sock"))
        listener.listen()
        listener.setblocking(False)
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        connection.send(b"end\n")
        await running.until(lambda: running.seen()[-1].attached)
        connection.close()  # the poke is not read
        await running.until(lambda: not running.seen()[-1].attached)
    assert "reset" in running.seen()[-1].reason


async def test_a_state_file_that_is_damaged_counts_as_none(running: Running, tmp_path: Path) -> None:
    running.edge.put(do.SetBfdSessions((SPEC,)))
    async with process(tmp_path) as first:
        await running.until(lambda: running.seen()[-1].attached and PEER in running.seen()[-1].states)
        with (tmp_path / STATE_FILE).open("r+b") as file:
            for part in (160, 272):
                file.seek(512 + part + 8)
                file.write(bytes([77]))  # its state, in both parts of the first slot
        first.kill()
        await running.until(lambda: not running.seen()[-1].attached)
    assert running.seen()[-1].states == {}


async def test_a_process_that_is_not_there_is_a_problem_where_sessions_are_wanted(running: Running) -> None:
    await running.until(lambda: running.seen())
    assert not running.seen()[0].attached
    running.edge.put(do.SetBfdSessions((SPEC,)))
    await running.until(lambda: "process" in running.problems())
    running.edge.put(do.SetBfdSessions(()))
    await running.until(lambda: not running.problems())


async def test_the_files_say_what_is_wanted_and_go_when_nothing_is(running: Running, tmp_path: Path) -> None:
    hop = ip_address(PEER)
    running.edge.put(do.SetBfdTable(BfdTable({7: (Family.IPV4, hop)}, {9: (Family.IPV4, (7,))})))
    running.edge.put(do.SetBfdSessions((SPEC,)))
    sessions, table = tmp_path / "bfd.sessions", tmp_path / "bfd.table"
    await running.until(lambda: sessions.exists() and table.exists())
    assert table.read_text() == "protocol 117\nobject 7 4 127.0.0.2\ngroup 9 4 7\nend 3\n"
    running.edge.put(do.SetBfdSessions(()))
    await running.until(lambda: not sessions.exists())


async def test_a_line_that_is_not_the_process_s_ends_the_connection_and_another_is_made(
    running: Running, tmp_path: Path
) -> None:
    attached = 0

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attached
        attached += 1
        writer.write(b"state what is this\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(nonsense, str(tmp_path / "bfd.sock"))
    try:
        await running.until(lambda: attached >= 2)
    finally:
        server.close()
    assert not any(event.attached for event in running.seen())


async def test_the_table_of_an_agent_before_stays_until_this_one_knows_all(running: Running, tmp_path: Path) -> None:
    path = tmp_path / TABLE_FILE
    hop, other = ip_address("192.0.2.2"), ip_address("192.0.2.3")
    path.write_text(Table(objects={1: (4, "192.0.2.2"), 2: (4, "192.0.2.2")}, groups={3: (4, (1, 2))}).as_text())
    running.edge.put(do.SetBfdTable(BfdTable({2: (Family.IPV4, other)})))
    await running.until(lambda: "192.0.2.3" in path.read_text())
    kept = parse_table(path.read_text())
    assert (kept.objects, kept.groups) == ({1: (4, "192.0.2.2"), 2: (4, "192.0.2.3")}, {3: (4, (1, 2))})
    running.edge.put(do.SetBfdTable(BfdTable({2: (Family.IPV4, hop)}), complete=True))
    await running.until(lambda: parse_table(path.read_text()).objects == {2: (4, "192.0.2.2")})
