"""Changing the configuration while the agent runs: plan, apply, confirm, rollback, SIGHUP (docs/changes.md).

Theory of operation: a change is judged first, so that what is refused has changed nothing. Then what runs is kept on
disk with a note, the core is given the new configuration, and a task of its own watches until it has come up, is
confirmed, is called back, or its time is over. Whoever asked only listens to that task: it goes on without them. One
change at a time; a SIGHUP that comes meanwhile is done after it.
"""
from __future__ import annotations

import asyncio
import enum
import errno
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace

from calicopy.agent.config_files import ConfigFiles
from calicopy.agent.config_problems import Refusal, clock_text, config_problems
from calicopy.api.backend import ConfigKind, RefusalKind, RefusedError
from calicopy.config.load import LoadResult, load_bytes
from calicopy.config.resolve import NodeConfig, NodeNotFoundError, resolve
from calicopy.core import events as ev
from calicopy.core.change import come_up
from calicopy.core.change.plan import needs_restart, plan
from calicopy.core.core import Core
from calicopy.core.views import ApplyStage, ConfigTextView, PlanView, ProblemView, ProgressView, UnderWayView

log = logging.getLogger(__name__)

DEFAULT_CONFIRM_S = 60
LOOK_S = 0.1  # between two looks whether all has come up
SETTLE_S = 1.0  # after a reset was asked for, the old session may still be seen as up
SAID_ERRORS = 20  # of a file: a status has to fit into a header
REMIND_S = 10.0  # what is still missing is said again so often
LAST = (ApplyStage.DONE, ApplyStage.NOT_SAVED, ApplyStage.RESTORED)


class Verdict(enum.Enum):
    """What an operator says of a change that is under way."""

    CONFIRMED = "confirmed"
    CALLED_BACK = "called back"


@dataclass(slots=True)
class Candidate:
    """A text that was judged, and what it means for this node."""

    text: bytes
    node: NodeConfig
    warnings: tuple[str, ...]


@dataclass(slots=True)
class Change:
    """A change that is under way. `until` is of the loop's clock, `began_at` since the epoch."""

    by: str
    candidate: Candidate
    confirm_s: int
    began_at: float
    until: float
    missing: tuple[str, ...] = ()
    verdict: Verdict | None = None
    said: list[ProgressView] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)  # something was said; another one after each
    wake: asyncio.Event = field(default_factory=asyncio.Event)  # there is a verdict

    def say(self, progress: ProgressView) -> None:
        """Tell everybody who listens."""
        self.said.append(progress)
        self.news.set()
        self.news = asyncio.Event()


class Changeover:
    """Owns what runs: its text and its meaning. `changed` is told each configuration that the core is given."""

    def __init__(
        self,
        core: Core,
        files: ConfigFiles,
        post: Callable[[ev.CoreEvent], None],
        *,
        text: bytes,
        changed: Callable[[NodeConfig], None],
    ) -> None:
        self._core = core
        self._files = files
        self._post = post
        self._text = text
        self._changed = changed
        self._change: Change | None = None
        self._reading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reload_again = False
        self._refusal: Refusal | None = None
        self._stepped = asyncio.Event()

    def stepped(self) -> None:
        """The core has made a step."""
        self._stepped.set()

    def changing(self) -> bool:
        """Whether a file is being read at a SIGHUP, or a change is under way."""
        return bool(self._tasks)

    # -- reading ------------------------------------------------------------------------------------------------

    async def plan(self, text: bytes, filename: str) -> PlanView:
        """What this text would change. Raises RefusedError."""
        candidate = await self._judge(text, filename)
        steps = plan(self._core, candidate.node)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                view: PlanView = done.value
                break
            await asyncio.sleep(0)
        return replace(view, warnings=candidate.warnings)

    def config(self, kind: ConfigKind) -> ConfigTextView:
        """The text that runs, or that of the agent's own file. Raises RefusedError."""
        startup = self._files.startup()
        text = self._text if kind is ConfigKind.RUNNING else startup
        if text is None:
            raise RefusedError(RefusalKind.FAILED, "no-file", f"{self._files.own} cannot be read")
        return ConfigTextView(text, str(self._files.own), startup == self._text, self.under_way())

    def under_way(self) -> UnderWayView | None:
        """The change that is under way."""
        change = self._change
        if change is None:
            return None
        until = change.began_at + change.confirm_s
        return UnderWayView(change.by, change.began_at, until, change.missing)

    def problems(self) -> tuple[ProblemView, ...]:
        """What the status says of the configuration."""
        return tuple(config_problems(self._files, self._text, self.under_way(), self._refusal))

    async def _judge(self, text: bytes, filename: str) -> Candidate:
        """Load and resolve it, in a thread. Raises RefusedError with every error and its place."""
        async with self._reading:
            return await asyncio.to_thread(self._load, text, filename)

    def _load(self, text: bytes, filename: str) -> Candidate:
        running = self._core.node
        result: LoadResult = load_bytes(text, filename=filename)
        if result.config is None:
            shown = "\n".join(map(str, result.errors[:SAID_ERRORS]))
            more = len(result.errors) - SAID_ERRORS
            raise RefusedError(
                RefusalKind.INVALID, "config-invalid", shown + (f"\nand {more} errors more" if more > 0 else "")
            )
        try:
            node = resolve(result.config, running.name, address=running.address, address6=running.address6)
        except NodeNotFoundError as error:
            raise RefusedError(RefusalKind.INVALID, "node-not-in-file", f"{filename}: {error}") from error
        return Candidate(text, node, tuple(map(str, result.warnings)))

    # -- changing -----------------------------------------------------------------------------------------------

    async def apply(self, text: bytes, filename: str, *, confirm_s: int = 0) -> AsyncIterator[ProgressView]:
        """Make this text the running configuration; the progress up to the outcome. Raises RefusedError."""
        change = await self._begin(text, filename, confirm_s=confirm_s, by=f"apply of {filename}")
        async for progress in _listen(change):
            yield progress

    async def _begin(self, text: bytes, filename: str, *, confirm_s: int, by: str) -> Change:
        self._refuse_another()
        candidate = await self._judge(text, filename)
        self._refuse_another()
        if not candidate.node.ready:
            message = f"{filename}: no address for {candidate.node.name}, and none was detected"
            raise RefusedError(RefusalKind.INVALID, "no-address", message)
        restarts = needs_restart(self._core.node, candidate.node)
        if restarts:
            raise RefusedError(
                RefusalKind.CONFLICT, "needs-restart", "needs a restart of the agent: " + "; ".join(restarts)
            )
        for warning in candidate.warnings:
            log.warning("%s", warning)
        wait_s = confirm_s or DEFAULT_CONFIRM_S
        until = asyncio.get_running_loop().time() + wait_s
        change = self._change = Change(by, candidate, wait_s, time.time(), until)
        try:
            await asyncio.to_thread(self._files.begin, self._text, text, by)
        except OSError as error:
            self._change = None
            message = f"what runs cannot be kept in the state directory, so nothing was changed: {error}"
            raise RefusedError(RefusalKind.FAILED, "not-kept", message) from error
        self._spawn(self._run(change))
        return change

    def _refuse_another(self) -> None:
        view = self.under_way()
        if view is not None:
            message = f"a change is under way: {view.by}, until {clock_text(view.until)} at most"
            raise RefusedError(RefusalKind.CONFLICT, "change-under-way", message)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """After a step the service manager is told of it (`calicopy.agent.service`): nothing else may make one soon."""
        self._tasks.discard(task)
        self._post(ev.Ticked())

    async def _run(self, change: Change) -> None:
        """The change from its begin to its outcome."""
        before, former = self._core.node, self._text
        picture = come_up.picture(self._core, change.candidate.node)
        log.warning("configuration: %s begins", change.by)
        try:
            await self._switch(change.candidate.node)
            self._text = change.candidate.text
            change.say(ProgressView(ApplyStage.RUNNING, f"the new configuration runs: {change.confirm_s} s to come up"))
            why = await self._watch(change, picture)
        except Exception:
            log.exception("configuration: %s failed", change.by)
            why = "an internal error, see the agent's log"
        if why:
            await self._switch(before)
            self._text = former
            await asyncio.to_thread(self._files.restored)
            outcome = ProgressView(ApplyStage.RESTORED, f"{why}: what ran before was restored", change.missing)
        else:
            outcome = await asyncio.to_thread(self._hold, change)
        self._change = None
        level = logging.WARNING if outcome.stage is ApplyStage.DONE else logging.ERROR
        log.log(level, "configuration: %s: %s", change.by, "; ".join((outcome.message, *outcome.missing)))
        change.say(outcome)
        if self._reload_again:
            self._reload_again = False
            self.reload()

    async def _switch(self, node: NodeConfig) -> None:
        """Give the core this configuration, and wait until it has taken it."""
        self._changed(node)
        self._post(ev.ConfigChanged(node))
        while self._core.node is not node:
            self._stepped.clear()
            await self._stepped.wait()

    async def _watch(self, change: Change, before: come_up.Before) -> str:
        """Wait until all has come up, or it is confirmed: then nothing is said. Else why it cannot hold."""
        loop = asyncio.get_running_loop()
        good_since: float | None = None
        said_at = loop.time()
        while True:
            now = loop.time()
            missing = come_up.missing(self._core, before)
            if missing != change.missing or (missing and now >= said_at + REMIND_S):
                change.missing, said_at = missing, now
                if missing:
                    text = f"not up yet, {max(change.until - now, 0):.0f} s left"
                    change.say(ProgressView(ApplyStage.WAITING, text, missing))
            if change.verdict is Verdict.CONFIRMED:
                return ""
            if change.verdict is Verdict.CALLED_BACK:
                return "it was called back"
            if refusal := come_up.refused(self._core, before):
                change.missing = (refusal,)
                return "the speaker refuses the sessions"
            good_since = None if missing else good_since or now
            if good_since is not None and now >= good_since + (SETTLE_S if before.resets else 0.0):
                return ""
            if now >= change.until:
                return f"it did not come up within {change.confirm_s} s"
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await change.wake.wait()

    def _hold(self, change: Change) -> ProgressView:
        """The change holds: keep its text, and make it the agent's own file. In a thread."""
        missing = change.missing
        how = "confirmed although not all has come up" if missing else "all has come up"
        try:
            self._files.keep(change.candidate.text)
        except OSError as error:
            log.error("configuration: the text that runs cannot be kept in the state directory: %s", error)
        try:
            self._files.save(change.candidate.text)
        except OSError as error:
            self._files.restored()
            hint = " (it is mounted on its own: mount its directory)" if error.errno == errno.EBUSY else ""
            message = f"{how}, but the agent's own file could not be written: {error.filename}: {error.strerror}{hint}"
            return ProgressView(ApplyStage.NOT_SAVED, f"{message}. The startup configuration differs", missing)
        self._files.end()
        return ProgressView(ApplyStage.DONE, f"{how}; it is in {self._files.own}", missing)

    async def confirm(self) -> ProgressView:
        """The change that is under way holds; its outcome. Raises RefusedError when there is none."""
        change = self._change
        if change is None:
            raise RefusedError(RefusalKind.CONFLICT, "no-change", "no change is under way: nothing to confirm")
        return await self._decide(change, Verdict.CONFIRMED)

    async def _decide(self, change: Change, verdict: Verdict) -> ProgressView:
        change.verdict = change.verdict or verdict
        change.wake.set()
        async for progress in _listen(change):
            outcome = progress
        return outcome

    async def rollback(self, *, confirm_s: int = 0) -> AsyncIterator[ProgressView]:
        """Restore what ran before. Raises RefusedError when there is nothing to go back to."""
        change = self._change
        if change is not None:
            yield await self._decide(change, Verdict.CALLED_BACK)
            return
        previous = await asyncio.to_thread(self._files.previous)
        if previous is None or previous == self._text:
            raise RefusedError(RefusalKind.CONFLICT, "no-previous", "there is no configuration before the running one")
        change = await self._begin(previous, "the previous configuration", confirm_s=confirm_s, by="rollback")
        async for progress in _listen(change):
            yield progress

    # -- SIGHUP -------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """SIGHUP: apply the agent's own file. What is refused is logged. During a change it is done afterwards."""
        if self._change is not None:
            self._reload_again = True
            log.warning("configuration: SIGHUP while %s is under way: done after it", self._change.by)
            return
        self._spawn(self._reload())

    async def _reload(self) -> None:
        text = await asyncio.to_thread(self._files.startup)
        if text is None:
            log.error("configuration: SIGHUP: %s cannot be read", self._files.own)
            return
        if text == self._text:
            log.info("configuration: SIGHUP: nothing has changed in %s; keys are read again", self._files.own)
            self._post(ev.ConfigChanged(self._core.node))
            return
        try:
            await self._begin(text, str(self._files.own), confirm_s=0, by="SIGHUP")
        except RefusedError as error:
            if error.code == "change-under-way":
                self._reload_again = True
                return
            first, *more = str(error).splitlines()
            counted = f" (and {len(more)} more, see the agent's log)" if more else ""
            self._refusal = Refusal(text, f"{first}{counted}")
            log.error("configuration: SIGHUP: refused, nothing has changed: %s", error)

    async def stop(self) -> None:
        """The agent ends: a change that is under way stays on disk as not good."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _listen(change: Change) -> AsyncIterator[ProgressView]:
    """All that was and will be said of a change, up to its outcome."""
    seen = 0
    while True:
        news = change.news
        while seen < len(change.said):
            progress = change.said[seen]
            seen += 1
            yield progress
            if progress.stage in LAST:
                return
        if seen == len(change.said):
            await news.wait()
