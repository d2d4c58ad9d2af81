"""An API server in a thread of its own, and the command line before it."""
from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, free_port
from memory_agent import MemoryBackend

from calicopy.api.server import ApiServer
from calicopy.cli.main import run
from calicopy.config.model import AgentSection, ApiSection


class Agent:
    """An API server in a thread, and its backend, which a test may set up between commands."""

    def __init__(self, settings: AgentSection) -> None:
        self.settings = settings
        self._up = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(),))

    @property
    def socket(self) -> str:
        return self.settings.socket_path

    async def _main(self) -> None:
        self.backend = MemoryBackend()
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._server = ApiServer(self.backend, self.settings)
        await self._server.start()
        self._up.set()
        await self._stopping.wait()
        await self._server.stop()

    def start(self) -> Agent:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def do(self, work: Callable[[], object]) -> None:
        """Run `work` in the server's loop."""

        async def call() -> None:
            work()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def wait_watched(self) -> None:
        """Until somebody watches."""
        deadline = time.monotonic() + 10
        while not self._server.hub.watching:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> None:
        """From within a call: the server ends."""
        self._stopping.set()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


def serving(settings: AgentSection) -> Iterator[Agent]:
    """An agent until the generator is closed."""
    agent = Agent(settings).start()
    yield agent
    agent.stop()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    yield from serving(AgentSection(run_dir=str(tmp_path / "run")))


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Calicopy = Callable[..., Done]


@pytest.fixture
def calicopy(agent: Agent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Calicopy:
    """Runs `calicopy WORDS` in this process, against `agent`."""
    monkeypatch.setenv("CALICOPY_SOCKET", agent.socket)

    def call(*words: str) -> Done:
        code = run(words)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def bare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calicopy:
    """Runs `calicopy WORDS` where no agent is."""
    monkeypatch.setenv("CALICOPY_SOCKET", str(tmp_path / "none.sock"))

    def call(*words: str) -> Done:
        code = run(words)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@dataclass
class TlsFiles:
    """Pairs of certificate and key; the stranger's are of another CA."""

    ca: Path
    agent: tuple[Path, Path]
    client: tuple[Path, Path]
    stranger: tuple[Path, Path]


@pytest.fixture
def tls_files(tmp_path: Path) -> TlsFiles:
    authority, other = Authority(tmp_path, "ca").make(), Authority(tmp_path, "other").make()
    pairs = authority.sign("agent"), authority.sign("client"), other.sign("stranger")
    return TlsFiles(authority.certificate, *pairs)


@pytest.fixture
def tls_agent(tmp_path: Path, tls_files: TlsFiles) -> Iterator[Agent]:
    certificate, key = map(str, tls_files.agent)
    api = ApiSection(
        listen=f"127.0.0.1:{free_port()}", cert_file=certificate, key_file=key, client_ca_file=str(tls_files.ca)
    )
    yield from serving(AgentSection(run_dir=str(tmp_path / "run"), api=api))
