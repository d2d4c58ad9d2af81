"""Keeps ExaBGP's redial back-off short.

Theory of operation: ExaBGP waits up to 60 s between two attempts to reach a peer (`min(int(1 + next * 1.2), 60)`), and the
passive side of a pair cannot hurry it: a node that comes back after an hour would be without that session for a minute.
`flush adj-rib out` for a peer that is down sends nothing, but sets its back-off to zero. So, once a second, it is given
for every peer that we dial and that is not Established. RFC 4271 section 8 leaves the ConnectRetryTime to us.
"""
from __future__ import annotations

import asyncio
from collections.abc import Iterable

from calicopy.speaker.client import SpeakerClient
from calicopy.speaker.types import FsmState, PeerDown, PeerState, PeerUp, SessionSpec, SpeakerAttached, SpeakerEvent

PACE_S = 1.0


class Redial:
    """Watches the events of the sessions that we dial."""

    def __init__(self, client: SpeakerClient) -> None:
        self._client = client
        self._dialled: set[str] = set()
        self._up: set[str] = set()

    def set_sessions(self, specs: Iterable[SessionSpec]) -> None:
        """The whole set of sessions wanted."""
        self._dialled = {spec.peer_address for spec in specs if not spec.passive}

    def happened(self, event: SpeakerEvent) -> None:
        """Follow which sessions are up."""
        match event:
            case SpeakerAttached():
                self._up = {one.peer for one in event.peers if one.state is FsmState.ESTABLISHED}
            case PeerUp():
                self._up.add(event.peer)
            case PeerDown():
                self._up.discard(event.peer)
            case PeerState() if event.state is not FsmState.ESTABLISHED:
                self._up.discard(event.peer)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(PACE_S)
            if self._client.attached is None:
                continue
            for peer in sorted(self._dialled - self._up):
                await self._client.command(f"neighbor {peer} flush adj-rib out")
