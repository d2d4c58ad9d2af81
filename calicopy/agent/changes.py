"""What watchers are told: the difference between the pictures of before and of now.

Theory of operation: nothing is computed while nobody watches. With watchers, pictures are taken at most every `PACE_S`
after something happened, so that a storm of changes costs a bounded share of the loop; only what differs goes out.
Routes are too many for that: the core notes which prefixes changed, and only those are looked at, in slices.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from calicopy.agent.backend import AgentBackend
from calicopy.core import show
from calicopy.core.core import Core
from calicopy.core.views import ChangeView, RouteView
from calicopy.net import Family, Packed, Prefix

PACE_S = 0.1
ROUTES_A_TURN = 500

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Changes:
    """Publishes through `backend`."""

    def __init__(self, core: Core, backend: AgentBackend) -> None:
        self._core = core
        self._backend = backend
        self._wake = asyncio.Event()
        self._pictures: dict[str, Mapping[Hashable, object]] = {}
        self._touched: dict[tuple[Family, Packed], None] = {}
        backend.on_watched = self.begin

    def begin(self) -> None:
        """The first watcher comes: take the pictures that its snapshot will show, so that no change after is missed."""
        self._core.touched.clear()
        self._core.note_touched = True
        self._touched.clear()
        self._pictures.clear()
        self._objects()

    def happened(self) -> None:
        """After each step of the core."""
        watched = self._backend.watched
        if watched:
            self._touched.update(dict.fromkeys(self._core.touched))
            self._wake.set()
        elif self._pictures:
            self._pictures.clear()
            self._touched.clear()
        self._core.touched.clear()
        self._core.note_touched = watched

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._backend.publish([*self._objects(), *self._routes()])
            if self._touched:
                self._wake.set()
            await asyncio.sleep(PACE_S)

    def _objects(self) -> list[ChangeView]:
        backend = self._backend
        changes: list[ChangeView] = []
        changes += self._compare("status", {0: backend.status()}, lambda view: ChangeView(view))
        changes += self._compare(
            "peers", {str(view.address): view for view in backend.peers(timed=False)}, lambda view: ChangeView(view)
        )
        blocks = backend.blocks(include_reserved=True)
        changes += self._compare("blocks", {view.cidr: view for view in blocks}, lambda view: ChangeView(view))
        return changes

    def _compare(
        self, name: str, now: Mapping[Hashable, V], wrap: Callable[[V], ChangeView]
    ) -> list[ChangeView]:
        before = self._pictures.get(name)
        self._pictures[name] = now
        if before is None:
            return []
        changes = [wrap(view) for key, view in now.items() if before.get(key) != view]
        gone = (view for key, view in before.items() if key not in now)
        return changes + [ChangeView(view, deleted=True) for view in gone]  # type: ignore[arg-type]  # of V as well

    def _routes(self) -> list[ChangeView]:
        changes = []
        for key in list(self._touched)[:ROUTES_A_TURN]:
            del self._touched[key]
            prefix = Prefix(*key)
            view = show.one_route(self._core, prefix)
            gone = view is None
            changes.append(ChangeView(view or RouteView(prefix, (), None), deleted=gone))
        return changes
