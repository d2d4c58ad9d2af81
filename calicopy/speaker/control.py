"""Keeps ExaBGP's configuration equal to the set of sessions wanted.

Theory of operation: `apply` takes the whole set. The text is written to a temporary file, checked by `exabgp
validate` in a process of its own, synced, renamed, and only then is ExaBGP told to reload; its own list of sessions
says whether that worked. One failed reload would poison every later one, so then ExaBGP is ended (SIGTERM closes the
sessions without a NOTIFICATION, so peers with graceful restart keep the routes) and its supervisor starts it again.
Sessions that did not change keep running. When ExaBGP does not run yet there is nothing to poison: the file is put in
place first, so that the first start costs no check, and taken back if the check then fails.
"""
from __future__ import annotations

import asyncio
import enum
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from calicopy.seam.speaker import CommandResult, SessionSpec, SpecError
from calicopy.speaker.client import SpeakerClient
from calicopy.speaker.launcher import COLD_LINE, ENVFILE
from calicopy.speaker.orphans import Orphans, end_exabgp
from calicopy.speaker.render import config_digest, read_key, render

log = logging.getLogger(__name__)

VALIDATE_TIMEOUT_S = 15.0
CONFIRM_TIMEOUT_S = 3.0
CONFIRM_STEP_S = 0.05
WATCH_STEP_S = 0.5
KEYS_RETRY_S = 5.0
Keys = dict[str, bytes | None]  # key file to what is in it, None where it cannot be read
SessionKey = tuple[str, str, int, int]  # peer, local, local AS, peer AS
SESSION = re.compile(
    r"^neighbor (\S+) \{\n.*?^  local-address (\S+);\n  local-as (\d+);\n  peer-as (\d+);\n", re.MULTILINE | re.DOTALL
)


class ConfigRefused(ValueError):  # noqa: N818 - it is the event's name, as people say it
    """ExaBGP's own check refused the rendered text; the message is ExaBGP's. What ran goes on."""


class Applied(enum.Enum):
    """What `apply` did."""

    UNCHANGED = "unchanged"
    WRITTEN = "written"  # ExaBGP does not run (or is just starting): it will read the file
    RELOADED = "reloaded"
    RESTARTED = "restarted"  # the reload did not work: ExaBGP was ended, to be started again


class SpeakerControl:
    """Writes `config_path` for the ExaBGP behind `client`."""

    def __init__(
        self, client: SpeakerClient, *, config_path: str, bridge_command: tuple[str, ...] | None = None
    ) -> None:
        self._client = client
        self._path = Path(config_path)
        self._bridge_command = bridge_command
        self._lock = asyncio.Lock()
        self._loaded: tuple[str, str] = ("", "")  # (instance, digest) that a reload of ours confirmed
        self._wanted: tuple[SessionSpec, ...] = ()
        self._keys: Keys = {}  # as they were when the sessions were last set

    async def apply(self, specs: Iterable[SessionSpec]) -> Applied:
        """Make these the sessions. Call it again after each `SpeakerAttached`, which may be of an ExaBGP that started
        with an older file. Raises ConfigRefused, OSError (nothing has changed then), and SpecError for sessions that
        cannot be said (after all others were set) or for a set that makes no sense.
        """
        wanted = tuple(specs)
        async with self._lock:
            present = self._read()
            self._wanted, self._keys = wanted, read_keys(wanted)
            rendered = render(
                wanted, socket_path=self._client.socket_path, bridge_command=self._bridge_command, present=present
            )
            applied = await self._apply(rendered.text, present)
        if rendered.problems:
            raise SpecError("; ".join(map(str, rendered.problems)))
        return applied

    async def _apply(self, text: str, present: str) -> Applied:
        attached = self._client.attached
        if attached is None:
            if text == present:
                return Applied.UNCHANGED
            await self._write_then_check(text, present)
            return Applied.WRITTEN
        digest = config_digest(text)
        loaded = self._loaded[1] if self._loaded[0] == attached.instance else attached.config
        if _without_cold(text) == _without_cold(present) and loaded == digest:
            if text != present:
                await asyncio.to_thread(self._write, text)  # read at ExaBGP's next start only
            return Applied.UNCHANGED
        if text != present:
            await self._check_then_write(text)
        return await self._reload(text, attached.instance, digest)

    async def _reload(self, text: str, instance: str, digest: str) -> Applied:
        if await self._client.reload() is not CommandResult.ERROR and await self._confirm(session_keys(text)):
            self._loaded = (instance, digest)
            return Applied.RELOADED
        attached = self._client.attached
        if (attached is not None and attached.instance != instance) or not end_exabgp(instance, signal.SIGTERM):
            return Applied.WRITTEN  # it ended meanwhile, and reads the file when it starts
        log.error("speaker: the reload had no effect, ExaBGP (%s) was ended to start anew", instance)
        return Applied.RESTARTED

    async def _confirm(self, keys: set[SessionKey]) -> bool:
        """Whether ExaBGP lists exactly these sessions, within CONFIRM_TIMEOUT_S (one removed goes a turn later)."""
        deadline = asyncio.get_running_loop().time() + CONFIRM_TIMEOUT_S
        while True:
            text = await self._client.show_neighbors()
            if text is not None and listed_sessions(text) == keys:
                return True
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(CONFIRM_STEP_S)

    async def watch(self) -> None:
        """Run for ever: look after an ExaBGP without its bridge (see orphans.py), and apply key files that changed."""
        orphans = Orphans(self._client)
        before = self._keys
        while True:
            await asyncio.sleep(WATCH_STEP_S)
            await orphans.look()
            keys = await asyncio.to_thread(read_keys, self._wanted)
            if keys != self._keys and keys == before:  # twice the same: nobody is writing it just now
                await self._apply_keys()
            before = keys

    async def _apply_keys(self) -> None:
        """The sessions again, with their keys of now: those whose key is another one are reset, the others stay."""
        log.info("speaker: an MD5 key file changed, setting the sessions anew")
        try:
            await self.apply(self._wanted)
        except SpecError as error:
            log.warning("speaker: %s", error)
        except (ConfigRefused, OSError) as error:
            log.warning("speaker: the sessions could not be set with their new keys: %s", error)
            self._keys = {}
            await asyncio.sleep(KEYS_RETRY_S)

    # the file

    def _read(self) -> str:
        with suppress(OSError):
            return self._path.read_text(encoding="utf-8")
        return ""

    def _write(self, text: str) -> None:
        """Whole or not at all, readable by root alone: it holds the MD5 keys."""
        fresh = self._write_fresh(text)
        fresh.replace(self._path)

    def _write_fresh(self, text: str) -> Path:
        fresh = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)  # one that was left behind keeps its own mode
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        return fresh

    async def _check_then_write(self, text: str) -> None:
        fresh = await asyncio.to_thread(self._write_fresh, text)
        error = await validate(fresh)
        if error:
            fresh.unlink(missing_ok=True)
            raise ConfigRefused(error)
        fresh.replace(self._path)

    async def _write_then_check(self, text: str, present: str) -> None:
        await asyncio.to_thread(self._write, text)
        error = await validate(self._path, niceness=10)  # ExaBGP starts at the same time
        if not error:
            return
        if present:
            await asyncio.to_thread(self._write, present)
        else:
            self._path.unlink(missing_ok=True)
        raise ConfigRefused(error)


async def validate(path: Path, *, niceness: int = 0) -> str:
    """What `exabgp validate` says against the file: empty when it is good. About 0.3 s of another process."""
    return await asyncio.to_thread(_validate, path, niceness)


def _validate(path: Path, niceness: int) -> str:
    environment = {**os.environ, "exabgp_log_level": "CRITICAL", "EXABGP_ENVFILE": str(ENVFILE)}
    with subprocess.Popen(
        [sys.executable, "-m", "exabgp", "validate", str(path)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
    ) as process:  # fmt: skip
        if niceness:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
        try:
            _, errors = process.communicate(timeout=VALIDATE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"exabgp validate did not end within {VALIDATE_TIMEOUT_S} s"
    if process.returncode == 0:
        return ""
    return errors.decode("utf-8", "replace").strip() or f"exabgp validate ended with {process.returncode}"


def read_keys(specs: Iterable[SessionSpec]) -> Keys:
    """The contents of all key files that the sessions name."""
    keys: Keys = {}
    for path in {spec.md5_password_file for spec in specs if spec.md5_password_file is not None}:
        keys[path] = None
        with suppress(OSError):
            keys[path] = read_key(path)
    return keys


def session_keys(text: str) -> set[SessionKey]:
    """The sessions of a rendered text, by what ExaBGP's own list shows of them."""
    return {(peer, local, int(local_as), int(peer_as)) for peer, local, local_as, peer_as in SESSION.findall(text)}


def listed_sessions(text: str) -> set[SessionKey]:
    """The keys in the answer of `show neighbor json`; empty when it is not readable."""
    found = set()
    with suppress(ValueError, KeyError, TypeError):
        for entry in json.loads(text):
            local, peer = entry["local"], entry["peer"]
            addresses = str(ip_address(peer["address"])), str(ip_address(local["address"]))
            found.add((*addresses, int(local["as"]), int(peer["as"])))
    return found


def _without_cold(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not COLD_LINE.match(line))
