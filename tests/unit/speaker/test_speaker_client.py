"""The agent's client against a real bridge, with us as ExaBGP at the bridge's pipes."""
from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from calicopy.net import Family
from calicopy.seam.speaker import (
    AnnounceGroup,
    CommandResult,
    PeerUp,
    SessionSpec,
    SpeakerAttached,
    SpeakerDetached,
    SpeakerEvent,
    SpecError,
)
from calicopy.speaker.client import SpeakerClient
from calicopy.speaker.control import Applied, ConfigRefused, SpeakerControl, listed_sessions
from calicopy.speaker.orphans import bridge_instance
from calicopy.speaker.render import Rendered
from calicopy.speaker.unit import listen_addresses, unbindable, wait_for_config

BRIDGE = Path(__file__).parents[3] / "calicopy" / "speaker" / "bridge.py"
PEER = "10.0.0.2"
UP = (
    '{ "exabgp": "5.0.0", "time": 1, "counter": 1, "type": "state", '
    '"neighbor": { "address": { "local": "10.0.0.1", "peer": "10.0.0.2" }, "state": "up" } }\n'
)
SPEC = SessionSpec(
    name="n2", peer_address="127.0.0.2", local_address="127.0.0.1", local_as=1, peer_as=1, router_id="10.0.0.1"
)


class FakeExabgp:
    """A bridge process, and its pipes in our hands."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "s.sock")
        self.directory = directory
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(BRIDGE), "--socket", self.path, *options,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def say(self, text: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    async def command(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 5)).decode().strip()

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()


@pytest.fixture
async def exabgp(tmp_path: Path) -> AsyncIterator[FakeExabgp]:
    fake = FakeExabgp(tmp_path)
    yield fake
    await fake.kill()


@pytest.fixture
async def client(exabgp: FakeExabgp) -> AsyncIterator[SpeakerClient]:
    async with SpeakerClient(exabgp.path) as created:
        yield created


async def first_batch(client: SpeakerClient) -> list[SpeakerEvent]:
    return await asyncio.wait_for(anext(client.batches()), 5)


async def test_it_waits_for_a_bridge_that_comes_later(exabgp: FakeExabgp, client: SpeakerClient) -> None:
    assert client.attached is None
    assert (await client.command("version")).result is CommandResult.UNKNOWN
    await exabgp.start("--config", "cafe")
    attached = await asyncio.wait_for(client.wait_attached(), 5)
    assert (attached.exabgp_pid, attached.config, attached.peers) == (os.getpid(), "cafe", ())
    assert client.unreachable_since is None
    assert (await first_batch(client)) == [attached]


async def test_a_bridge_that_dies_ends_commands_as_unknown_and_is_attached_to_again(
    exabgp: FakeExabgp, client: SpeakerClient
) -> None:
    await exabgp.start()
    attached = await client.wait_attached()
    await first_batch(client)
    command = asyncio.get_running_loop().create_task(client.command("version"))
    assert await exabgp.command() == "version"
    await exabgp.kill()
    assert (await command).result is CommandResult.UNKNOWN
    assert [type(event) for event in await first_batch(client)] == [SpeakerDetached]
    await exabgp.start()
    again = await asyncio.wait_for(client.wait_attached(), 5)
    assert again.instance == attached.instance == bridge_instance(exabgp.path) or again.instance == attached.instance


async def test_announcements_wait_for_all_their_answers(exabgp: FakeExabgp, client: SpeakerClient) -> None:
    await exabgp.start()
    await client.wait_attached()
    prefixes = tuple(f"10.0.{i // 256}.{i % 256}/32" for i in range(700))
    group = AnnounceGroup(family=Family.IPV4, next_hop="10.0.0.1", prefixes=prefixes)
    announce = asyncio.get_running_loop().create_task(client.announce([PEER], [group]))
    assert (await exabgp.command()).count("/32") == 500
    exabgp.say("done\n")
    assert (await exabgp.command()).count("/32") == 200
    exabgp.say("error\n")
    assert await asyncio.wait_for(announce, 5) is CommandResult.ERROR
    assert await client.announce([PEER], []) is CommandResult.DONE


async def test_events_come_in_batches_in_their_order(exabgp: FakeExabgp, client: SpeakerClient) -> None:
    await exabgp.start()
    exabgp.say(UP)
    await client.wait_attached()
    events: list[SpeakerEvent] = []
    while len(events) < 2:
        events += await first_batch(client)
    assert [type(event) for event in events] == [SpeakerAttached, PeerUp]


async def test_the_first_configuration_is_written_at_once_and_only_root_can_read_it(
    exabgp: FakeExabgp, client: SpeakerClient, tmp_path: Path
) -> None:
    config = tmp_path / "exabgp.conf"
    config.with_name("exabgp.conf.new").touch(0o644)
    control = SpeakerControl(client, config_path=str(config))
    apply = asyncio.get_running_loop().create_task(control.apply([SPEC]))
    while not config.exists():
        assert not apply.done()
        await asyncio.sleep(0.001)
    assert await apply is Applied.WRITTEN
    assert config.stat().st_mode & 0o777 == 0o600
    assert await control.apply([SPEC]) is Applied.UNCHANGED
    assert not config.with_name("exabgp.conf.new").exists()


async def test_a_first_configuration_that_exabgp_refuses_is_taken_back(
    client: SpeakerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "exabgp.conf"
    control = SpeakerControl(client, config_path=str(config))
    monkeypatch.setattr("calicopy.speaker.control.render", lambda *_, **__: Rendered("neighbor {\n"))
    with pytest.raises(ConfigRefused):
        await control.apply([SPEC])
    assert not config.exists()
    monkeypatch.undo()
    await control.apply([SPEC])
    good = config.read_text()
    monkeypatch.setattr("calicopy.speaker.control.render", lambda *_, **__: Rendered("neighbor {\n"))
    with pytest.raises(ConfigRefused):
        await control.apply([SPEC])
    assert config.read_text() == good


async def test_a_missing_key_file_is_told_and_the_other_sessions_are_set(client: SpeakerClient, tmp_path: Path) -> None:
    config = tmp_path / "exabgp.conf"
    control = SpeakerControl(client, config_path=str(config))
    keyed = dataclasses.replace(SPEC, name="keyed", peer_address="127.0.0.9", md5_password_file=str(tmp_path / "none"))
    with pytest.raises(SpecError, match=f"session keyed: cannot read the MD5 key file {tmp_path}/none"):
        await control.apply([SPEC, keyed])
    assert "neighbor 127.0.0.9" not in config.read_text()
    assert f"neighbor {SPEC.peer_address}" in config.read_text()
    (tmp_path / "none").write_text("secret")
    assert await control.apply([SPEC, keyed]) is Applied.WRITTEN


async def test_the_unit_waits_for_the_file_and_for_its_addresses(client: SpeakerClient, tmp_path: Path) -> None:
    config = tmp_path / "exabgp.conf"
    waiting = asyncio.get_running_loop().create_task(asyncio.to_thread(wait_for_config, config))
    elsewhere = SessionSpec(
        name="n2", peer_address="192.0.2.2", local_address="192.0.2.1", local_as=1, peer_as=1, router_id="10.0.0.1"
    )
    control = SpeakerControl(client, config_path=str(config))
    await control.apply([elsewhere])
    assert listen_addresses(config.read_text()) == ["192.0.2.1"]
    assert "192.0.2.1" in (unbindable("192.0.2.1") or "")
    await asyncio.sleep(0.1)  # time enough for several looks at the file
    assert not waiting.done()
    await control.apply([SPEC])
    assert "127.0.0.2" in await asyncio.wait_for(waiting, 5)


def test_a_session_that_does_not_listen_needs_no_address_of_the_host() -> None:
    text = "neighbor a {\n  local-address 192.0.2.1;\n}\n" + "neighbor b {\n  local-address ::1;\n  listen 179;\n}\n"
    assert listen_addresses(text) == ["::1"]


def test_a_list_of_sessions_that_cannot_be_read_is_empty() -> None:
    assert listed_sessions("[{") == set()
    assert listed_sessions('[{"local": {}}]') == set()
