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
import sys
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from calicopy.seam.speaker import CommandResult, SessionSpec, SpecError
from calicopy.speaker.client import SpeakerClient
from calicopy.speaker.launcher import COLD_LINE, ENVFILE
from calicopy.speaker.render import config_digest, render

log = logging.getLogger(__name__)

VALIDATE_TIMEOUT_S = 15.0
CONFIRM_TIMEOUT_S = 3.0
CONFIRM_STEP_S = 0.05
ORPHAN_S = 3.0  # a bridge that was killed is back in 0.2 s
WATCH_STEP_S = 0.5
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

    async def apply(self, specs: Iterable[SessionSpec]) -> Applied:
        """Make these the sessions. Call it again after each `SpeakerAttached`, which may be of an ExaBGP that started
        with an older file. Raises ConfigRefused, OSError (nothing has changed then), and SpecError for sessions that
        cannot be said (after all others were set) or for a set that makes no sense.
        """
        wanted = tuple(specs)
        async with self._lock:
            present = self._read()
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
        """Run for ever: end an ExaBGP that lives without its bridge (it drops it at a failed reload), so that its
        supervisor starts it again. Sessions without a bridge would go on with nobody hearing them.
        """
        seen, seen_at, tried = "", 0.0, ""
        while True:
            await asyncio.sleep(WATCH_STEP_S)
            now = asyncio.get_running_loop().time()
            since = self._client.unreachable_since
            if since is None:
                seen = tried = ""
                continue
            instance = await asyncio.to_thread(bridge_instance, self._client.socket_path)
            if instance != seen:  # it may have started only now, long after we began to call
                seen, seen_at = instance, now
            if now - max(since, seen_at) < ORPHAN_S or await asyncio.to_thread(has_bridge, instance):
                continue
            number = signal.SIGKILL if instance == tried else signal.SIGTERM
            if end_exabgp(instance, number):
                log.error("speaker: ExaBGP (%s) runs without its bridge, sent it %s", instance, number.name)
                tried = instance
                await asyncio.sleep(ORPHAN_S)

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
    environment = {**os.environ, "exabgp_log_level": "CRITICAL", "EXABGP_ENVFILE": str(ENVFILE)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "exabgp", "validate", str(path),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    if niceness:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
    try:
        _, errors = await asyncio.wait_for(process.communicate(), VALIDATE_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"exabgp validate did not end within {VALIDATE_TIMEOUT_S} s"
    if process.returncode == 0:
        return ""
    return errors.decode("utf-8", "replace").strip() or f"exabgp validate ended with {process.returncode}"


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


def bridge_instance(socket_path: str) -> str:
    """The instance of ExaBGP that the last bridge at this socket belonged to, empty when not known."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(Path(f"{socket_path}.peers").read_text(encoding="ascii"))["instance"])
    return ""


def has_bridge(instance: str) -> bool:
    """Whether ExaBGP, `instance` being its `PID.START`, has a living child: a slow bridge is not a gone one."""
    pid = instance.partition(".")[0]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[:2]
            if parent == pid and state not in "ZX":
                return True
    return False


def end_exabgp(instance: str, number: signal.Signals) -> bool:
    """Send the signal to ExaBGP, `instance` being its `PID.START`. False when that process is no more."""
    pid, _, start = instance.partition(".")
    if not pid.isdigit():
        return False
    try:
        descriptor = os.pidfd_open(int(pid))
    except OSError:
        return False
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        if fields[0] in "ZX" or fields[19] != start:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _without_cold(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not COLD_LINE.match(line))
