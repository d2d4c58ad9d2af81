"""What the tests of the speaker share: one on the loopback with peers of our own, or one beside BIRD."""
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from rawpeer import RawPeer
from speakers import Agent, Host, Pair, eventually


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    created = Host(tmp_path)
    yield created
    created.tear_down()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    created = Pair(tmp_path)
    try:
        created.set_up()
        await eventually(lambda: "Started" in created.log())
        yield created
    finally:
        created.tear_down()


@pytest.fixture
async def agent(host: Host) -> AsyncIterator[Agent]:
    created = Agent(host)
    host.start_speaker()
    yield created
    await created.close()


@pytest.fixture
async def peers() -> AsyncIterator[list[RawPeer]]:
    """Those that a test made; all are closed."""
    made: list[RawPeer] = []
    yield made
    for peer in made:
        await peer.close()
