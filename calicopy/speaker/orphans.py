"""An ExaBGP that lives without its bridge: found, and ended, so that its supervisor starts it again.

It drops its bridge at a failed reload. Sessions without a bridge would go on with nobody hearing them.
"""
from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path

from calicopy.speaker.client import SpeakerClient

log = logging.getLogger(__name__)

ORPHAN_S = 3.0  # a bridge that was killed is back in 0.2 s


class Orphans:
    """Looks, now and then, whether ExaBGP has lost its bridge."""

    def __init__(self, client: SpeakerClient) -> None:
        self._client = client
        self._seen, self._seen_at = "", 0.0
        self._tried = ""

    async def look(self) -> None:
        """End ExaBGP when nobody has listened at the bridge's socket for ORPHAN_S: first softly, then for sure."""
        now = asyncio.get_running_loop().time()
        since = self._client.unreachable_since
        if since is None:
            self._seen = self._tried = ""
            return
        instance = await asyncio.to_thread(bridge_instance, self._client.socket_path)
        if instance != self._seen:  # it may have started only now, long after we began to call
            self._seen, self._seen_at = instance, now
        if now - max(since, self._seen_at) < ORPHAN_S or await asyncio.to_thread(has_bridge, instance):
            return
        number = signal.SIGKILL if instance == self._tried else signal.SIGTERM
        if end_exabgp(instance, number):
            log.error("speaker: ExaBGP (%s) runs without its bridge, sent it %s", instance, number.name)
            self._tried = instance
            await asyncio.sleep(ORPHAN_S)


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
